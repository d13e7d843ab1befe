"""benchmarks/gpu.py, as far as it goes without a GPU."""

import math

import pytest

from benchmarks import gpu as benchmark
from benchmarks.systems import SYSTEMS
from scratchnet import backend


@pytest.mark.parametrize("variant", benchmark.VARIANTS["scratchnet"])
def test_our_side_trains_and_is_timed(emulated, monkeypatch, variant):
    monkeypatch.setattr(benchmark, "WINDOW", 1e-6)
    monkeypatch.setattr(benchmark, "WINDOWS", 2)
    monkeypatch.setattr(benchmark, "WARM_UP", 1)
    with backend.use("cuda"):  # restored afterwards
        found = benchmark.measure_ours(variant, SYSTEMS["D20"])
    assert found["steps"] == 2
    assert found["median_ms"] > 0
    assert 1.5 < found["loss"] < 3


@pytest.mark.parametrize("variant", ["eager", "eager+fused"])
def test_torch_s_side_trains(variant):
    step = benchmark.torch_step(variant, SYSTEMS["D20"], "cpu")
    losses = [float(step()) for _ in range(3)]
    assert all(map(math.isfinite, losses))


def test_the_table_compares_with_the_best_of_torch():
    text = benchmark.table(
        {("A", "scratchnet", "cuda"): [2.0, 1.0, 3.0], ("A", "torch", "eager"): [8.0], ("A", "torch", "graph"): [5.0]}
    )
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["2.50", "0.62", "1.00"]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    def none(name):
        raise backend.DeviceError("device gpu: no NVIDIA driver was found")

    monkeypatch.setattr(backend, "device", none)
    assert benchmark.main([]) == 2
    assert "no NVIDIA driver" in capsys.readouterr().err
