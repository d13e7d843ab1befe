"""Every op on the cuda rung against torch, on the emulated GPU, each access of a kernel checked."""

import numpy as np
import pytest
from parity_cases import CASES, assert_parity, each_array, forward, normal

import scratchnet
from scratchnet import backend
from scratchnet import functional as F
from scratchnet.study import gradcheck


@pytest.mark.parametrize("case", CASES)
def test_typical_call(either_order, case):
    op, inputs, options = CASES[case]
    assert_parity(op, inputs, xp=either_order, **options)


@pytest.mark.parametrize("case", CASES)
def test_im2col_on_the_device_agrees_too(gpu, case):
    op, inputs, options = CASES[case]
    with scratchnet.use("im2col"):
        assert_parity(op, inputs, xp=gpu, **options)


@pytest.mark.parametrize("case", CASES)
def test_strided_views(checked_gpu, case):
    """A kernel that read the memory of a view as if it were contiguous would be refused, or wrong."""
    op, inputs, options = CASES[case]

    def every_other(a):
        return None if a is None else checked_gpu.asarray(np.repeat(a, 2, axis=-1))[..., ::2]

    inputs = [None if a is None else a.astype("float32") for a in inputs]
    options = {name: v.astype("float32") if np.asarray(v).dtype == "float64" and np.ndim(v) else v
               for name, v in options.items()}  # fmt: skip
    on_device = {name: checked_gpu.asarray(v) if isinstance(v, np.ndarray) else v for name, v in options.items()}
    run, back = getattr(F, op), getattr(F, f"{op}_backward")
    if op == "batch_norm":
        x, weight, bias = inputs
        inputs, keywords = [x], {"weight": weight, "bias": bias}
    else:
        keywords = {}
    results = []
    for place in (checked_gpu.asarray, every_other):
        named = {k: place(v) for k, v in keywords.items()}
        args = [None if a is None else place(a) for a in inputs]
        result, cache = run(*args, **{**on_device, **named})
        y = result[0] if isinstance(result, tuple) else result
        dy = place(normal(*y.shape, seed=3).astype("float32")) if y.ndim else checked_gpu.asarray(np.float32(2))
        gradients = back(dy, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        results.append([y.get(), *(None if g is None else g.get() for g in gradients)])
    for plain, strided in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, strided)


@pytest.mark.parametrize("op", backend.FILES)
def test_the_rung_has_both_functions_of_a_pair(gpu, op):
    pair = backend.implementation(op, "cuda")
    assert pair.rung == ("im2col" if op in AS_IM2COL else "cuda")


AS_IM2COL = ("flatten",)  # a view: there is nothing to compute


@pytest.mark.parametrize("case", CASES)
def test_gradient_check(gpu, case):
    """Against finite differences, without torch."""
    op, inputs, options = CASES[case]
    if op == "max_pool2d":
        inputs = [normal(*inputs[0].shape)]  # at ties there is no slope
    there = [i for i, a in enumerate(inputs) if a is not None]
    on_device = each_array(gpu.asarray, options)

    def run(*arrays):
        chosen = dict(zip(there, arrays, strict=True))
        result, cache = forward(
            op, [gpu.asarray(chosen[i]) if i in chosen else None for i in range(len(inputs))], on_device
        )
        return (result[0] if isinstance(result, tuple) else result).get(), cache

    def back(dy, cache):
        gradients = getattr(F, f"{op}_backward")(gpu.asarray(np.asarray(dy)), cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        found = tuple(gradients[i].get() for i in there)
        return found if len(found) > 1 else found[0]

    report = gradcheck((run, back), *(inputs[i] for i in there))
    assert report.ok, report
