"""Every parity test runs on every rung that takes arrays on the CPU."""

import pytest

import scratchnet


@pytest.fixture(autouse=True, scope="module", params=scratchnet.backend.CPU_RUNGS)
def rung(request):
    with scratchnet.use(request.param):
        yield request.param
