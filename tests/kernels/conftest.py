"""What the fuzzing of kernels stands on: element types, numbers of threads, and guards around every array."""

import numpy as np
import pytest
from guarded_arrays import Guarded

import scratchnet
from scratchnet.kernels.cpu import _compile, conv, conv_batch, conv_pool, linear, norm_pool, winograd


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request, monkeypatch):
    """Two threads also where there is next to no work, so that some of them have nothing to do."""
    if request.param > _compile.numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one processor only")
    monkeypatch.setattr(_compile, "_threads", request.param)
    monkeypatch.setattr(_compile, "GRAIN", 1)
    return request.param


@pytest.fixture
def guarded(monkeypatch):
    guarded = Guarded()
    for module in (conv, conv_batch, conv_pool, linear, norm_pool, winograd):
        monkeypatch.setattr(module, "empty", guarded.empty)
    return guarded


@pytest.fixture(autouse=True)
def _numba():
    with scratchnet.use("numba"):
        yield
