"""Ctrl-C and SIGTERM while a step is being computed: remember it, finish the step, then stop."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Pending:
    """Which signal came, if one did. `raise_` stops the program as the signal would have."""

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def raise_(self) -> None:
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[Pending]:
    """Within the block the first SIGINT or SIGTERM is only noted; a second one stops at once.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def note(number: int, frame: FrameType | None) -> None:
        again = bool(pending)
        pending.signal = number
        if again:
            pending.raise_()
        # print could find itself interrupted halfway through another print
        with contextlib.suppress(OSError):  # Ctrl-C may have ended who reads stderr, such as tee
            os.write(2, b"\nfinishing the step and saving; once more stops at once\n")

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
