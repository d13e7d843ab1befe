"""Running a learner's file: whatever goes wrong in it becomes a sentence that names the line."""

import inspect
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy

SECONDS = 30  # for one call; the largest takes a loop over a thousand elements


class Problem(Exception):
    """What is wrong with the learner's file, in words."""


class _TooLong(BaseException):
    """Not an Exception, so that no `except Exception` of the learner's swallows it."""


def load(path: Path, functions: tuple[str, ...]) -> dict[str, Callable]:
    """The functions that the file defines, by name."""
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Problem(f"{path.name} is no text in UTF-8") from None
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise Problem(f"line {error.lineno}: {error.msg}" + (f": {line}" if line else "")) from None
    except ValueError as error:  # null bytes
        raise Problem(str(error)) from None
    names: dict[str, Any] = {"__name__": "exercise", "__file__": str(path)}
    with guarded(path, f"running {path.name}"):
        exec(code, names)
    found = {}
    for name in functions:
        if name not in names:
            near = [n for n, value in names.items() if inspect.isfunction(value) and not n.startswith("_")]
            raise Problem(f"no function is called {name}" + (f"; there is {', '.join(near)}" if near else ""))
        if not callable(names[name]):
            raise Problem(f"{name} is no function but {type(names[name]).__name__}")
        found[name] = names[name]
    return found


@contextmanager
def guarded(path: Path, what: str) -> Iterator[None]:
    """Turn every exception, a call of exit and an endless loop into a Problem; what is printed goes to stderr."""
    try:
        with _limited(), numpy.errstate(all="ignore"), redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except NotImplementedError:
        raise Problem(f"{what}: not written yet{_line(path)}") from None
    except _TooLong:
        raise Problem(f"{what}: not done after {SECONDS} seconds: an endless loop?") from None
    except SystemExit:
        raise Problem(f"{what}: it called exit()") from None
    except RecursionError:
        raise Problem(f"{what}: it calls itself without end{_line(path)}") from None
    except Problem:
        raise
    except BaseException as error:
        raise Problem(f"{what}: {type(error).__name__}: {error}{_line(path)}") from None


def _line(path: Path) -> str:
    """Where in the learner's file the exception at hand was raised."""
    frames = [frame for frame in traceback.extract_tb(sys.exc_info()[2]) if frame.filename == str(path)]
    if not frames:
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = frames[-1].lineno or 0
    return f", in line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else f", in line {number}"


@contextmanager
def _limited() -> Iterator[None]:
    """Raise _TooLong after SECONDS, where the platform and the thread allow an alarm."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
