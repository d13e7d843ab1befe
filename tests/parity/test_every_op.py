"""What holds for every op alike: parity, array layouts, empty batches, unbatched input, and which rung ran."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from parity_cases import CASES, as_list, assert_close, assert_parity, forward, normal

from scratchnet import backend
from scratchnet import functional as F

LAYOUTS = {
    "Fortran order": lambda a: np.array(a, order="F"),
    "last axes transposed": lambda a: np.array(a.swapaxes(-1, -2), order="C").swapaxes(-1, -2) if a.ndim > 1 else a,
    "first axis last": lambda a: np.moveaxis(np.array(np.moveaxis(a, 0, -1), order="C"), -1, 0) if a.ndim else a,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every other element": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "zero strides": lambda a: np.broadcast_to(a.flat[0], a.shape),
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_every_op_has_a_case():
    assert {op for op, _, _ in CASES.values()} == {*backend.FILES, "conv1d"} - {"dropout"}  # see test_dropout.py


@pytest.mark.parametrize("op", backend.FILES)
def test_no_op_falls_back_to_im2col_unnoticed(op, rung):
    """A rung has both functions of a pair or neither, under these names; the loops lack flatten alone."""
    name = f"{backend.RUNGS[rung].package}.{backend.FILES[op]}"
    module = import_module(name) if find_spec(name) else None
    has_forward, has_backward = hasattr(module, op), hasattr(module, f"{op}_backward")
    assert has_forward == has_backward
    assert backend.implementation(op, rung).rung == (rung if has_forward else "im2col")
    if rung in ("loops", "im2col"):
        assert has_forward or (rung, op) == ("loops", "flatten")


def test_typical_call(case):
    op, inputs, options = case
    assert_parity(op, inputs, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(case, layout):
    op, inputs, options = case
    if layout == "zero strides" and op == "batch_norm" and options.get("training"):
        inputs = [normal(2, 1, 1, 1) * np.ones((2, 3, 5, 6)), *inputs[1:]]  # a constant channel has no variance
    assert_parity(op, inputs, layout=LAYOUTS[layout], **options)


def test_only_dy_has_strides_of_its_own(case):
    """What arrives from a sum: one number, broadcast."""
    op, inputs, options = case
    result, cache = forward(op, inputs, options)
    shape, backward = as_list(result)[0].shape, getattr(F, f"{op}_backward")
    broadcast = as_list(backward(np.broadcast_to(np.float64(0.7), shape), cache))
    whole = as_list(backward(np.full(shape, 0.7), cache))
    for a, b in zip(broadcast, whole, strict=True):
        assert_close(a, b, b)


def test_empty_batch(case):
    """N = 0: results of the right shape, zero gradients of the parameters; a mean over nothing is NaN."""
    op, inputs, options = case
    options = {name: v[:0] if name == "target" else v for name, v in options.items()}
    assert_parity(op, [inputs[0][:0], *inputs[1:]], **options)


TAKES_UNBATCHED = ("conv", "pad2d", "max_pool2d", "avg_pool2d", "adaptive", "linear", "cross_entropy", "nll_loss")


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(TAKES_UNBATCHED)])
def test_unbatched(name):
    op, inputs, options = CASES[name]
    options = {name: np.asarray(v[0]) if name == "target" else v for name, v in options.items()}
    assert_parity(op, [inputs[0][0], *inputs[1:]], **options)


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("value", [-1.5, -0.0, 0.0, 2.0])
def test_activation_of_a_single_number(op, value):
    assert_parity(op, [np.array(value)])


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_softmax_of_a_single_number(op):
    assert_parity(op, [np.array(1.5)], dim=-1)
