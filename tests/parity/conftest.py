"""Every parity test runs on every rung that takes arrays on the CPU."""

import pytest

import scratchnet


@pytest.fixture(
    autouse=True, scope="module", params=[n for n, r in scratchnet.backend.RUNGS.items() if "cpu" in r.devices]
)
def rung(request):
    with scratchnet.use(request.param):
        yield request.param
