"""Whether forward calls keep what a backward call would need."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


def grad_enabled() -> bool:
    return _enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within `with scratchnet.no_grad():` forward calls keep no caches, which saves memory; backward is an error."""
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)
