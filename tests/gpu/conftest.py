"""The GPU as fixtures: emulated, and with `pytest -m gpu` a real one as well.

`gpu` is fast, `checked_gpu` checks every access of a kernel, and `either_order` does so with blocks and threads run
first to last and last to first. What is about the emulator itself, or is counted by it, has the fixture `emulated`.
"""

from collections.abc import Iterator
from types import ModuleType

import gpu_emulation
import pytest

from scratchnet import backend

CHOICES = {
    "gpu": ["fast"],
    "emulated": ["fast"],
    "checked_gpu": ["checked"],
    "either_order": ["forwards", "backwards"],
}
ON_THE_EMULATOR_ONLY = ("test_emulator", "test_stand_in", "test_device")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    about_the_emulator = metafunc.module.__name__.rpartition(".")[2] in ON_THE_EMULATOR_ONLY
    real_too = "gpu" in metafunc.config.getoption("markexpr") and not about_the_emulator
    for name, choices in CHOICES.items():
        if name in metafunc.fixturenames:
            real = [pytest.param("real", marks=pytest.mark.gpu)] if real_too and name != "emulated" else []
            if len(choices) > 1 or real:
                metafunc.parametrize(name, [*choices, *real], indirect=True)


def _cupy(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    choice = getattr(request, "param", CHOICES[request.fixturename][0])
    if choice == "real":
        try:
            yield backend.device("gpu").xp
        except backend.DeviceError as error:
            pytest.skip(str(error))
        return
    if reason := gpu_emulation.missing():
        pytest.skip(reason)
    with gpu_emulation.install("fast" if choice == "fast" else "checked", choice == "backwards") as cupy:
        yield cupy


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """cupy, or what stands for it in sys.modules during the test."""
    yield from _cupy(request)


@pytest.fixture
def emulated(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    yield from _cupy(request)


@pytest.fixture
def checked_gpu(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    yield from _cupy(request)


@pytest.fixture
def either_order(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    yield from _cupy(request)
