"""pytest benchmarks: the same steps under pytest-benchmark, to compare this version with an earlier one.

    pytest benchmarks                                     scratchnet
    pytest benchmarks -k torch                            PyTorch, in a process of its own
    pytest benchmarks --benchmark-autosave, later --benchmark-compare

One process can time one framework only, so the first one that runs decides, and the other is skipped. Ratios to
PyTorch are the business of the drivers, such as `python -m benchmarks.hot_loop`.
"""

import importlib.util
import sys

import pytest

from benchmarks import layers, steps
from benchmarks.systems import OURS, SYSTEMS
from benchmarks.worker import FOREIGN

if importlib.util.find_spec("pytest_benchmark") is None:
    pytest.skip("needs pytest-benchmark", allow_module_level=True)

CONTESTANTS = [
    *(("scratchnet", variant) for variant in OURS),
    *(pytest.param("torch", variant, marks=pytest.mark.torch) for variant in ("eager", "channels_last")),
]


def skip_beside_another(framework: str) -> None:
    others = [name for name in FOREIGN[framework] if name in sys.modules]
    if others:
        pytest.skip(f"{framework} is timed in a process of its own, and {', '.join(others)} is loaded in this one")


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda system: system.name)
@pytest.mark.parametrize(("framework", "variant"), CONTESTANTS)
def test_step(benchmark, framework, variant, system):
    skip_beside_another(framework)
    if variant == "channels_last" and not system.convolutions:
        pytest.skip("channels_last is a layout of images")
    step = steps.build(framework, variant, system)
    benchmark.extra_info["description"] = step.description
    assert isinstance(benchmark(step.run), float)


@pytest.mark.parametrize("passes", layers.PASSES)
@pytest.mark.parametrize("layer", layers.LAYERS)
@pytest.mark.parametrize(("framework", "variant"), CONTESTANTS)
def test_layer(benchmark, framework, variant, layer, passes):
    skip_beside_another(framework)
    step = layers.build(framework, variant, layer, passes)
    benchmark.extra_info["description"] = step.description
    benchmark(step.run)
