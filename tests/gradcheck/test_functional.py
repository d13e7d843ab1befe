"""The gradient check of every op in scratchnet.functional, on every rung that runs on the CPU.

Each case is a pair of functions of the arrays that have a gradient; all numbers of a case are drawn from one seed.
"""

import numpy as np
import pytest

import scratchnet
from scratchnet import functional as F
from scratchnet.backend import CPU_RUNGS, FILES
from scratchnet.study import gradcheck

CASES = {}


def case(op, *arrays, name="", kinks=None, **options):
    """Note F.op(*arrays, **options), with at least so many elements on kinks (none, if not said)."""
    CASES[f"{op} {name}".strip()] = op, arrays, options, kinks


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tied(*shape, seed=0):
    """A few small integers: windows full of ties."""
    return np.random.default_rng(seed).integers(-1, 3, shape).astype("float64")


def batch_norm(x, weight, bias, **options):
    (y, _, _), cache = F.batch_norm(x, options.pop("mean", None), options.pop("var", None), weight, bias, **options)
    return y, cache


FORWARD = {"batch_norm": batch_norm}

case("conv2d", normal(2, 2, 5, 4), normal(3, 2, 3, 2), normal(3), name="plain")
case("conv2d", normal(2, 2, 5, 4), normal(3, 2, 3, 2), None, name="without bias")
case("conv2d", normal(1, 2, 6, 5), normal(2, 2, 3, 3), normal(2), name="overlapping", stride=2, padding=1)
case("conv2d", normal(1, 1, 7, 6), normal(2, 1, 2, 2), normal(2), name="gaps", stride=3)
case(
    "conv2d",
    normal(1, 2, 7, 8),
    normal(2, 2, 3, 2),
    normal(2),
    name="pairs",
    stride=(2, 1),
    padding=(0, 1),
    dilation=(1, 3),
)
case("conv2d", normal(1, 4, 4, 3), normal(4, 2, 3, 2), normal(4), name="groups", padding=1, groups=2)
case("conv2d", normal(2, 3, 4, 3), normal(3, 1, 2, 2), normal(3), name="depthwise", groups=3)
case("conv2d", normal(1, 2, 4, 5), normal(2, 2, 2, 3), normal(2), name="same", padding="same", dilation=(1, 2))
case("conv2d", normal(2, 5, 4), normal(3, 2, 3, 2), normal(3), name="unbatched")
case("conv1d", normal(2, 4, 6), normal(4, 2, 3), normal(4), stride=2, padding=2, dilation=2, groups=2)
case("conv_transpose2d", normal(1, 2, 3, 4), normal(2, 2, 3, 2), normal(2), stride=(2, 1), padding=1)
case(
    "conv_transpose2d",
    normal(1, 4, 3, 3),
    normal(4, 1, 2, 3),
    normal(2),
    name="groups",
    stride=2,
    output_padding=1,
    groups=2,
)
for mode in ("zeros", "reflect", "replicate", "circular"):
    case("pad2d", normal(2, 2, 4, 5), name=mode, pads=(2, 1, 0, 3), mode=mode)

case("max_pool2d", normal(2, 2, 6, 4), name="plain", kernel_size=2)
case("max_pool2d", normal(1, 2, 6, 6), name="overlapping", kernel_size=3, stride=2, padding=1)
case("max_pool2d", normal(1, 1, 7, 6), name="dilated", kernel_size=(2, 3), stride=1, padding=(0, 1), dilation=2)
case("max_pool2d", normal(1, 2, 5, 6), name="ceil", kernel_size=2, ceil_mode=True)
case("max_pool2d", tied(2, 2, 6, 5), name="ties", kernel_size=(3, 2), stride=(2, 1), padding=1, kinks=20)
case("max_pool2d", normal(2, 4, 4), name="unbatched", kernel_size=2)
case("avg_pool2d", normal(2, 2, 6, 4), name="plain", kernel_size=2)
case("avg_pool2d", normal(1, 2, 6, 5), name="overlapping", kernel_size=3, stride=2, padding=1)
case("avg_pool2d", normal(1, 1, 6, 5), name="ceil", kernel_size=(2, 3), stride=3, padding=(1, 0), ceil_mode=True)
case("avg_pool2d", normal(1, 2, 5, 5), name="real pixels", kernel_size=3, stride=2, padding=1, count_include_pad=False)
case("avg_pool2d", normal(1, 2, 5, 5), name="divisor", kernel_size=3, stride=1, divisor_override=-5)
case("adaptive_avg_pool2d", normal(2, 2, 7, 5), output_size=(3, 2))
case("adaptive_avg_pool2d", normal(1, 2, 3, 4), name="larger", output_size=(5, None))

case("batch_norm", normal(6, 3), normal(3), normal(3), name="training 2-D", training=True)
case("batch_norm", 3 + 2 * normal(3, 2, 3, 2), normal(2), normal(2), name="training 4-D", training=True, eps=0.1)
case("batch_norm", normal(3, 2, 4), None, None, name="training bare", training=True)
STATISTICS = {"mean": normal(2), "var": normal(2) ** 2}
case("batch_norm", normal(3, 2, 4), normal(2), normal(2), name="evaluation", **STATISTICS)
case("batch_norm", normal(3, 2, 4), None, None, name="evaluation bare", **STATISTICS)
case("linear", normal(4, 3), normal(2, 3), normal(2), name="plain")
case("linear", normal(2, 3, 4), normal(2, 4), None, name="3-D without bias")
case("linear", normal(3), normal(2, 3), normal(2), name="unbatched")
case("flatten", normal(2, 3, 2, 2), start_dim=1)

case("relu", normal(4, 5), name="plain")
ZEROS = int((tied(4, 5) == 0).sum())
case("relu", tied(4, 5), name="zeros", kinks=ZEROS)
case("leaky_relu", normal(4, 5), name="plain", negative_slope=0.2)
case("leaky_relu", tied(4, 5), name="zeros", negative_slope=-0.3, kinks=ZEROS)
for op in ("sigmoid", "tanh"):
    case(op, 3 * normal(4, 5))
for approximate in ("none", "tanh"):
    case("gelu", 2 * normal(4, 5), name=approximate, approximate=approximate)
for op in ("softmax", "log_softmax"):
    case(op, normal(3, 4), name="rows", dim=1)
    case(op, 10 * normal(2, 3, 4), name="columns", dim=-2)
case("dropout", normal(5, 6), p=0.4, seed=3, stream=1, call=2)
case("dropout", normal(5, 6), name="of everything", p=1.0)
case("dropout2d", normal(3, 4, 2, 2), p=0.4, seed=3)

INDICES, PIXELS = np.array([0, 3, 2, 3, 1]), np.random.default_rng(0).integers(0, 3, (2, 2, 3))
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(4), 5)
WEIGHT = np.array([0.5, 2.0, 1.0, 0.2])
for reduction in ("mean", "sum", "none"):
    case("cross_entropy", normal(5, 4), name=reduction, target=INDICES, reduction=reduction)
    options = {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.1, "reduction": reduction}
    case("cross_entropy", normal(5, 4), name=f"all options {reduction}", target=INDICES, **options)
    case("nll_loss", normal(5, 4), name=reduction, target=INDICES, weight=WEIGHT, ignore_index=3, reduction=reduction)
    case("mse_loss", normal(5, 4), name=reduction, target=normal(5, 4, seed=1), reduction=reduction)
case("cross_entropy", normal(5, 4), name="probabilities", target=PROBABILITIES, weight=WEIGHT, label_smoothing=0.3)
case("cross_entropy", normal(2, 3, 2, 3), name="pixels", target=PIXELS, ignore_index=1)
case("cross_entropy", normal(4), name="unbatched", target=np.array(2))


def pair(op, arrays, options):
    """The op as a pair of functions of the arrays that are there, with the gradients of those."""
    forward, backward = FORWARD.get(op) or getattr(F, op), getattr(F, f"{op.removesuffix('2d')}_backward", None)
    backward = getattr(F, f"{op}_backward", backward)
    there = [array is not None for array in arrays]

    def of_those(*given):
        values = iter(given)
        return forward(*(next(values) if is_there else None for is_there in there), **options)

    def gradients(dy, cache):
        result = backward(dy, cache)
        if not isinstance(result, tuple):
            return result
        assert [gradient is not None for gradient in result] == there
        return tuple(gradient for gradient in result if gradient is not None)

    return (of_those, gradients), [array for array in arrays if array is not None]


@pytest.mark.parametrize("rung", CPU_RUNGS)
@pytest.mark.parametrize("name", CASES)
def test_gradient(name, rung):
    op, arrays, options, kinks = CASES[name]
    target, inputs = pair(op, arrays, options)
    with scratchnet.use(rung):
        report = gradcheck(target, *inputs, mode="elements")
    report.check()
    assert [result.checked for result in report] == [array.size for array in inputs]
    counted = sum(result.kinks for result in report)
    assert counted >= kinks if kinks else counted == 0


def test_every_op_has_a_case():
    assert {op for op, *_ in CASES.values()} >= set(FILES)
