"""What the ladder times: for each op arrays of one of the five systems' sizes, any of which an option changes.

An op has the same name and the same arguments in scratchnet.functional and in torch.nn.functional, so that one case
serves both.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from scratchnet.ops.shape import Array, output_size

Sizes = dict[str, int]


class Case(NamedTuple):
    """One call of an op: op(*arrays, **options). differentiable says which of the arrays get a gradient."""

    arrays: tuple[Array, ...]
    options: dict[str, Any]
    differentiable: tuple[bool, ...]
    multiply_adds: int  # forward; 0 for an op that memory bounds, not arithmetic


class Op(NamedTuple):
    where: str  # which layer of which system has the default sizes
    sizes: Sizes
    make: Callable[[Sizes, numpy.random.Generator, Any], Case]
    iterations: Callable[[Sizes], int]  # of the innermost of nested loops, forward
    divisible: tuple[str, ...]  # the sizes that may be made smaller without changing the cost of an iteration


def _normal(rng: numpy.random.Generator, dtype: Any, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(dtype)


def _image(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Array:
    return _normal(rng, dtype, s["batch_size"], s["channels"], s["size"], s["size"])


def _windows(s: Sizes) -> int:
    """The output positions of an image."""
    return max(output_size(s["size"], s["kernel_size"], s["stride"], s["padding"], s.get("dilation", 1)), 0) ** 2


def _conv2d_iterations(s: Sizes) -> int:
    taps = s["in_channels"] // s["groups"] * s["kernel_size"] ** 2
    return s["batch_size"] * s["out_channels"] * _windows(s) * taps


def _conv2d(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    c, o, k, size = s["in_channels"], s["out_channels"], s["kernel_size"], s["size"]
    x = _normal(rng, dtype, s["batch_size"], c, size, size)
    weight, bias = _normal(rng, dtype, o, c // s["groups"], k, k), _normal(rng, dtype, o)
    options = {name: s[name] for name in ("stride", "padding", "dilation", "groups")}
    return Case((x, weight, bias), options, (True, True, True), _conv2d_iterations(s))


def _conv_transpose2d_iterations(s: Sizes) -> int:
    return s["batch_size"] * s["in_channels"] * s["size"] ** 2 * s["out_channels"] * s["kernel_size"] ** 2


def _conv_transpose2d(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    c, o, k, size = s["in_channels"], s["out_channels"], s["kernel_size"], s["size"]
    x = _normal(rng, dtype, s["batch_size"], c, size, size)
    weight, bias = _normal(rng, dtype, c, o, k, k), _normal(rng, dtype, o)
    options = {name: s[name] for name in ("stride", "padding")}
    return Case((x, weight, bias), options, (True, True, True), _conv_transpose2d_iterations(s))


def _pool(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    options = {name: s[name] for name in ("kernel_size", "stride", "padding")}
    return Case((_image(s, rng, dtype),), options, (True,), 0)


def _pool_iterations(s: Sizes) -> int:
    return s["batch_size"] * s["channels"] * _windows(s) * s["kernel_size"] ** 2


def _adaptive_avg_pool2d(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    return Case((_image(s, rng, dtype),), {"output_size": s["output_size"]}, (True,), 0)


def _batch_norm(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    zeros, ones = numpy.zeros(s["channels"], dtype), numpy.ones(s["channels"], dtype)
    arrays = (_image(s, rng, dtype), zeros, ones, ones.copy(), zeros.copy())  # x, running mean and var, weight, bias
    return Case(arrays, {"training": True}, (True, False, False, True, True), 0)


def _linear(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    n, i, o = s["batch_size"], s["in_features"], s["out_features"]
    arrays = _normal(rng, dtype, n, i), _normal(rng, dtype, o, i), _normal(rng, dtype, o)
    return Case(arrays, {}, (True, True, True), n * i * o)


def _elementwise(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    return Case((_image(s, rng, dtype),), {}, (True,), 0)


def _dropout(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    return Case((_normal(rng, dtype, s["batch_size"], s["features"]),), {"p": 0.5}, (True,), 0)


def _rows(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    return Case((_normal(rng, dtype, s["batch_size"], s["classes"]),), {"dim": 1}, (True,), 0)


def _class_loss(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    target = rng.integers(0, s["classes"], s["batch_size"])
    return Case((_normal(rng, dtype, s["batch_size"], s["classes"]), target), {}, (True, False), 0)


def _mse_loss(s: Sizes, rng: numpy.random.Generator, dtype: Any) -> Case:
    shape = s["batch_size"], s["features"]
    return Case((_normal(rng, dtype, *shape), _normal(rng, dtype, *shape)), {}, (True, False), 0)


def _product(*names: str) -> Callable[[Sizes], int]:
    return lambda s: math.prod(s[name] for name in names)


_POOL = {"kernel_size": 2, "stride": 2, "padding": 0}
_IMAGE = _product("batch_size", "channels", "size", "size")
_A1 = "after conv1 of mnist cnn"
_A1_SIZES = {"batch_size": 50, "channels": 16, "size": 28}
_C1_SIZES = {"batch_size": 64, "channels": 4, "size": 32}
_LOGITS = {"batch_size": 50, "classes": 10}

OPS: dict[str, Op] = {
    "conv2d": Op(
        "conv2 of mnist cnn",
        {
            "batch_size": 50,
            "in_channels": 16,
            "out_channels": 32,
            "size": 14,
            "kernel_size": 5,
            "stride": 1,
            "padding": 2,
            "dilation": 1,
            "groups": 1,
        },
        _conv2d,
        _conv2d_iterations,
        ("batch_size", "out_channels"),
    ),
    "conv_transpose2d": Op(
        "no system's: twice the size of an image after conv2 of mnist cnn",
        {
            "batch_size": 50,
            "in_channels": 32,
            "out_channels": 16,
            "size": 7,
            "kernel_size": 2,
            "stride": 2,
            "padding": 0,
        },
        _conv_transpose2d,
        _conv_transpose2d_iterations,
        ("batch_size", "out_channels"),
    ),
    "linear": Op(
        "fc1 of cifar10 simple",
        {"batch_size": 64, "in_features": 2048, "out_features": 512},
        _linear,
        _product("batch_size", "in_features", "out_features"),
        ("batch_size", "out_features"),
    ),
    "max_pool2d": Op(_A1, {**_A1_SIZES, **_POOL}, _pool, _pool_iterations, ("batch_size",)),
    "avg_pool2d": Op(
        "pool2 of cifar10 cnn, batch 64",
        {"batch_size": 64, "channels": 32, "size": 16, **_POOL},
        _pool,
        _pool_iterations,
        ("batch_size",),
    ),
    "adaptive_avg_pool2d": Op(
        "pool of resnet20",
        {"batch_size": 128, "channels": 64, "size": 8, "output_size": 1},
        _adaptive_avg_pool2d,
        _IMAGE,
        ("batch_size",),
    ),
    "batch_norm": Op("batch_norm1 of cifar10 cnn, batch 64", _C1_SIZES, _batch_norm, _IMAGE, ("batch_size",)),
    **{
        name: Op(_A1, _A1_SIZES, _elementwise, _IMAGE, ("batch_size",))
        for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu")
    },
    "dropout": Op(
        "dropout of mnist dropout",
        {"batch_size": 64, "features": 512},
        _dropout,
        _product("batch_size", "features"),
        ("batch_size",),
    ),
    **{
        name: Op("the logits of mnist cnn", _LOGITS, _rows, _product("batch_size", "classes"), ("batch_size",))
        for name in ("softmax", "log_softmax")
    },
    **{
        name: Op("the logits of mnist cnn", _LOGITS, _class_loss, _product("batch_size", "classes"), ("batch_size",))
        for name in ("cross_entropy", "nll_loss")
    },
    "mse_loss": Op(
        "the logits of mnist cnn",
        {"batch_size": 50, "features": 10},
        _mse_loss,
        _product("batch_size", "features"),
        ("batch_size",),
    ),
}
SIZE_NAMES = tuple(dict.fromkeys(name for op in OPS.values() for name in op.sizes))


def sizes_of(op: str, changes: Sizes) -> Sizes:
    """The op's default sizes with some replaced."""
    if op not in OPS:
        raise ValueError(f"ladder: expected an op out of {', '.join(OPS)}, got {op!r}")
    unknown = [name for name in changes if name not in OPS[op].sizes]
    if unknown:
        raise ValueError(f"ladder: {op} has the sizes {', '.join(OPS[op].sizes)}, got {', '.join(unknown)}")
    return {**OPS[op].sizes, **changes}


def make_case(op: str, sizes: Sizes, dtype: Any = "float32", seed: int = 0) -> Case:
    return OPS[op].make(sizes, numpy.random.default_rng(seed), numpy.dtype(dtype))


def reduced(op: str, sizes: Sizes, iterations: int) -> tuple[Sizes, float]:
    """The sizes made smaller until nested loops take about that many iterations, and by what factor they fell."""
    spec, small = OPS[op], dict(sizes)
    names = [name for name in spec.divisible if name == "batch_size" or sizes.get("groups", 1) == 1]
    while spec.iterations(small) > iterations:
        name = max(names, key=lambda name: small[name])
        if small[name] == 1:
            break
        small[name] //= 2
    return small, spec.iterations(sizes) / max(spec.iterations(small), 1)
