"""What an exercise is: functions to write, and the calls that they are judged by."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

from scratchnet.ops.shape import Array
from scratchnet.study.museum.exhibit import Bug

CHAPTERS = (  # of docs/learn; the eighth, CIFAR-10, has no exercise that is judged
    "A neuron",
    "A layer",
    "Softmax and cross entropy",
    "A network",
    "Convolution",
    "A CNN",
    "BatchNorm",
)

Arguments = dict[str, Any]
Outputs = dict[str, Array]


@dataclass(frozen=True)
class Trial:
    """One call of a function of the learner's.

    `expected(bug)` computes the outputs by this library's own ops, with a bug of the museum switched on or with none.
    `gradcheck`, of a backward function, makes of all functions of the learner's the pair (forward, backward) and the
    inputs, by name, that `study.gradcheck` takes.
    """

    function: str
    title: str
    arguments: Arguments
    expected: Callable[[Bug], Outputs]
    gradcheck: Callable[[Mapping[str, Callable]], tuple[Callable, Callable, dict[str, Array]]] | None = None


@dataclass(frozen=True)
class Exercise:
    """`module` is the solution's file; `ops` are the functions whose exhibits a wrong answer is compared with."""

    chapter: int
    module: str
    functions: tuple[str, ...]
    trials: Callable[[str], list[Trial]]  # of a dtype
    ops: tuple[str, ...] = ()

    @cached_property
    def _solution(self) -> ModuleType:
        return import_module(f"scratchnet.study.exercises.solutions.{self.module}")

    @property
    def title(self) -> str:
        return self.text.partition("\n")[0].rstrip(".")

    @property
    def text(self) -> str:
        """The task, as the solution's file opens with it."""
        return inspect.getdoc(self._solution) or ""

    @property
    def solution(self) -> str:
        return inspect.getsource(self._solution).replace("  # noqa: F401", "")

    def skeleton(self) -> str:
        """The solution without its bodies and without its helpers."""
        tree = ast.parse(self.solution)
        source = self.solution.splitlines()
        parts = [f'"""{self.text}\n"""', "import numpy as np"]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in self.functions:
                head = "\n".join(source[node.lineno - 1 : node.body[0].end_lineno])
                parts.append(f"\n{head}\n    raise NotImplementedError")
        return "\n\n".join(parts) + "\n"

    def signature(self, function: str) -> inspect.Signature:
        return inspect.signature(getattr(self._solution, function))

    def returns(self, function: str) -> str:
        """The docstring of a function: what it takes and returns, with shapes."""
        return textwrap.dedent(inspect.getdoc(getattr(self._solution, function)) or "")
