import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torch: times PyTorch, in a process where scratchnet's kernels are not loaded")
