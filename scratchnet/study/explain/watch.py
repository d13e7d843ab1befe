"""What the local variables of a function were after each of its lines.

A page shows the numbers that the quoted line made, and not a second computation of them. So the public function is
called as a user would call it, and a trace function looks on: inside the watched functions it copies the local
variables whenever a line is done.
"""

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import numpy

from scratchnet.study import _layout as layout

Locals = dict[str, Any]


class Watch:
    """A context in which the lines of the given functions are recorded; of a repeated line, its last time."""

    def __init__(self, *functions: Callable) -> None:
        self._codes = {function.__code__ for function in functions}
        self._seen: dict[tuple[CodeType, int], Locals] = {}
        self._returned: dict[CodeType, Locals] = {}

    def __enter__(self) -> "Watch":
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def after(self, function: Callable, fragment: str) -> Locals:
        """The local variables after the line that starts with the fragment; at the end if there is no such line."""
        _, line, _ = layout.find(function, fragment)
        code = function.__code__
        if code not in self._returned:
            raise RuntimeError(f"explain: {function.__name__} was not called; is it overridden?")
        return self._seen.get((code, line), self._returned[code])

    def _call(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        if frame.f_code not in self._codes:
            return None
        done: int | None = None  # the line that the next event finds finished

        def each(frame: FrameType, event: str, argument: Any) -> Callable:
            nonlocal done
            if event in ("line", "return"):
                values = {name: _copy(value) for name, value in frame.f_locals.items()}
                if done is not None:
                    self._seen[frame.f_code, done] = values
                done = frame.f_lineno
            if event == "return":
                self._returned[frame.f_code] = values
            return each

        return each


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, numpy.ndarray) else value
