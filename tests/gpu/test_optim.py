"""The optimizers' updates for many parameters in one launch, against the textbook's on the CPU."""

import gpu_emulation
import numpy as np
import pytest

import scratchnet
from scratchnet import optim
from scratchnet.nn.parameter import Parameter

OPTIMIZERS = {
    "SGD": (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "SGD dampened": (optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "SGD plain": (optim.SGD, {}),
    "SGD nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "Adam": (optim.Adam, {"weight_decay": 0.1}),
    "Adam amsgrad": (optim.Adam, {"amsgrad": True}),
    "AdamW": (optim.AdamW, {"maximize": True}),
    "RMSprop": (optim.RMSprop, {}),
    "RMSprop momentum": (optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.1}),
    "RMSprop centered": (optim.RMSprop, {"centered": True}),
    "Adagrad": (optim.Adagrad, {}),
    "Adagrad decay": (optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
}
SHAPES = (3, 4), (1,), (), (70, 9), (0, 3), (257,)


def trained(name, dtype, place, steps=4):
    """The parameters after some steps with the same gradients."""
    make, options = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    params = [Parameter(place(np.asarray(rng.standard_normal(shape), dtype))) for shape in SHAPES]
    optimizer = make(params, lr=0.01, **options)
    launches = []
    for _ in range(steps):
        for param in params:
            param.grad = place(np.asarray(rng.standard_normal(param.shape), dtype))
        before = gpu_emulation.counters.launches
        with gpu_emulation.no_sync():
            optimizer.step()
        launches.append(gpu_emulation.counters.launches - before)
    return [param.data for param in params], launches


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_the_textbooks(either_order, name, dtype):
    with scratchnet.use("im2col"):
        expected, _ = trained(name, dtype, np.asarray)
    params, launches = trained(name, dtype, either_order.asarray)
    if either_order.ndarray is gpu_emulation.arrays.ndarray:
        assert launches[1:] == [1, 1, 1]  # the first step makes the state, by the textbook
    for ours, theirs in zip(params, expected, strict=True):
        tolerance = 2e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(ours.get(), theirs, rtol=tolerance, atol=tolerance)


def test_parameters_that_share_memory_are_updated_in_turn(checked_gpu):
    """As the textbook does, one by one: threads would do it at the same time."""
    whole = checked_gpu.ones(6, checked_gpu.float32)
    twice = [Parameter(whole[:4]), Parameter(whole[2:])]
    optimizer = optim.SGD(twice, lr=1.0)
    for param in twice:
        param.grad = checked_gpu.ones(4, checked_gpu.float32)
    optimizer.step()
    np.testing.assert_array_equal(whole.get(), [0, 0, -1, -1, 0, 0])
