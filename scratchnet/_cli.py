"""What the commands share: exit codes, and arguments that are checked as they are parsed.

Exit codes: 0 done; 2 an argument is wrong or the device asked for is not available; 1 everything found at run
time; 130 after Ctrl-C. A user's mistake never shows a traceback.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scratchnet.backend import DeviceError


class UsageError(ValueError):
    """An argument that argparse could not judge, such as a model that this dataset does not have."""


def run(command: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Run a command and turn what it raises into an exit code and one line on stderr."""
    try:
        return command(argv) or 0
    except (UsageError, DeviceError) as error:
        return _fail(error, 2)
    except MemoryError as error:
        return _fail(f"out of memory: {error}; a smaller --batch-size needs less", 1)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def as_json(value: Any) -> str:
    """One line of JSON, with null for NaN and the infinities, which JSON does not have."""
    return json.dumps(_without_nan(value), allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def tutorials_dropout2d() -> Iterator[None]:
    """No warning that Dropout2d gets a 2-D input: system C's does, as the tutorial's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*dropout2d")
        yield


def positive_int(text: str) -> int:
    return _number(int, text, "a whole number ≥ 1", lambda value: value >= 1)


def non_negative_int(text: str) -> int:
    return _number(int, text, "a whole number ≥ 0", lambda value: value >= 0)


def positive_float(text: str) -> float:
    return _number(float, text, "a number > 0", lambda value: 0 < value < math.inf)


def non_negative_float(text: str) -> float:
    return _number(float, text, "a number ≥ 0", lambda value: 0 <= value < math.inf)


def share(text: str) -> float:
    return _number(float, text, "a number between 0 and 1", lambda value: 0 <= value <= 1)


def fraction(text: str) -> float:
    return _number(float, text, "a number between 0 and 1, neither of them", lambda value: 0 < value < 1)


def _number(kind: Callable, text: str, expected: str, valid: Callable):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not valid(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
