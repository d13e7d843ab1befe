import pytest
from http_mirrors import serving


@pytest.fixture
def mirrors(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SCRATCHNET_OFFLINE", raising=False)
    with serving() as served:
        yield served
