"""The emulated GPU as fixtures: `gpu` (fast) and `checked_gpu` (every access of a kernel is checked)."""

from collections.abc import Iterator
from types import ModuleType

import gpu_emulation
import pytest


def _install(mode: str, backwards: bool = False) -> Iterator[ModuleType]:
    if reason := gpu_emulation.missing():
        pytest.skip(reason)
    with gpu_emulation.install(mode, backwards) as cupy:
        yield cupy


@pytest.fixture
def gpu() -> Iterator[ModuleType]:
    """The stand-in for cupy, in sys.modules during the test."""
    yield from _install("fast")


@pytest.fixture
def checked_gpu() -> Iterator[ModuleType]:
    """As `gpu`, with races, bounds, alignment and reads of unwritten shared memory reported."""
    yield from _install("checked")


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def either_order(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """As `checked_gpu`, with blocks and threads run first to last, and last to first."""
    yield from _install("checked", request.param)
