"""The exercises, in the order of the chapters, with the calls that judge them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy

import scratchnet
from scratchnet import functional as F
from scratchnet import nn, ops
from scratchnet.ops.conv import conv2d_backward
from scratchnet.ops.shape import Array
from scratchnet.study.exercises.task import Arguments, Exercise, Outputs, Trial
from scratchnet.study.museum.checks import make_optimizer
from scratchnet.study.museum.exhibit import Bug

Functions = Mapping[str, Callable]
Pair = tuple[Callable, Callable, dict[str, Array]]  # what gradcheck takes


def _numbers(dtype: str, *shape: int, seed: int = 0) -> Array:
    return numpy.random.default_rng((seed, 3)).standard_normal(shape).astype(dtype)


def _computed(compute: Callable[[], Outputs]) -> Callable[[Bug], Outputs]:
    """`compute` on the rung im2col, with the overrides of a bug."""

    def expected(bug: Bug) -> Outputs:
        with scratchnet.use("im2col"), bug.active(), numpy.errstate(all="ignore"):
            return compute()

    return expected


def _output(op: Callable, *inputs: Any) -> Callable[[Bug], Outputs]:
    """What the op's forward function computes, as y."""
    return _computed(lambda: {"y": op(*inputs)[0]})


def _backward(op: Callable, forward: Callable, dy: Array, names: tuple[str, ...]) -> Callable[[Bug], Outputs]:
    """The gradients that the op's backward function gives for dy, by name."""

    def compute() -> Outputs:
        gradients = op(dy.copy(), forward()[1])
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return dict(zip(names, gradients, strict=True))

    return _computed(compute)


# 1 A neuron


def _neuron(dtype: str) -> list[Trial]:
    x, w, b = _numbers(dtype, 5, 3), _numbers(dtype, 3, seed=1), _numbers(dtype, 1, seed=2)[0]
    dy = _numbers(dtype, 5, seed=3)

    def forward() -> tuple[Array, Any, Any]:
        z, first = F.linear(x, w[None], b[None])
        y, second = F.sigmoid(z)
        return y, first, second

    def backward() -> Outputs:
        _, first, second = forward()
        dx, dw, db = F.linear_backward(F.sigmoid_backward(dy[:, None].copy(), second), first)
        return {"dx": dx, "dw": dw[0], "db": numpy.asarray(db).sum()}

    def pair(functions: Functions) -> Pair:
        return *_with_inputs(functions["neuron"], functions["neuron_backward"]), {"x": x, "w": w, "b": numpy.asarray(b)}

    return [
        Trial(
            "neuron", "5 inputs of 3 numbers", {"x": x, "w": w, "b": b}, _computed(lambda: {"y": forward()[0][:, 0]})
        ),
        Trial(
            *("neuron_backward", "5 inputs of 3 numbers", {"dy": dy, "x": x, "w": w, "b": b}, _computed(backward)),
            gradcheck=pair,
        ),
    ]


def _with_inputs(forward: Callable, backward: Callable, *rest: Any) -> tuple[Callable, Callable]:
    """The pair (forward, backward) that gradcheck takes of functions that are given all inputs each time."""
    return (
        lambda *inputs: (forward(*inputs, *rest), inputs),
        lambda dy, inputs: backward(dy, *inputs, *rest),
    )


# 2 A layer


def _linear(dtype: str) -> list[Trial]:
    trials = []
    for rows, inputs, outputs in ((4, 5, 3), (6, 4, 4)):
        x, weight = _numbers(dtype, rows, inputs), _numbers(dtype, outputs, inputs, seed=1)
        bias, dy = _numbers(dtype, outputs, seed=2), _numbers(dtype, rows, outputs, seed=3)
        trials.append(_linear_trial(x, weight, bias, dy))
    return trials


def _linear_trial(x: Array, weight: Array, bias: Array, dy: Array) -> Trial:
    def pair(functions: Functions) -> Pair:
        def backward(dy: Array, inputs: tuple[Array, ...]) -> Any:
            return functions["linear_backward"](dy, inputs[0], inputs[1])

        return lambda *inputs: (ops.linear(*inputs)[0], inputs), backward, {"x": x, "weight": weight, "bias": bias}

    title = f"{len(x)} inputs of {weight.shape[1]} numbers, {weight.shape[0]} outputs"
    names = ("dx", "dweight", "dbias")
    expected = _backward(F.linear_backward, lambda: F.linear(x, weight, bias), dy, names)
    return Trial("linear_backward", title, {"dy": dy, "x": x, "weight": weight}, expected, pair)


def _relu(dtype: str) -> list[Trial]:
    x, dy = numpy.round(2 * _numbers(dtype, 4, 5)) / 2, _numbers(dtype, 4, 5, seed=1)  # halves: some are 0
    smooth = _numbers(dtype, 4, 5)

    def pair(functions: Functions) -> Pair:
        return *_with_inputs(functions["relu"], functions["relu_backward"]), {"x": smooth}

    return [
        Trial("relu", "numbers of both signs and zeros", {"x": x}, _output(F.relu, x)),
        _relu_backward("no input is 0", dy, smooth, pair),
        _relu_backward("some inputs are exactly 0", dy, x),
    ]


def _relu_backward(title: str, dy: Array, x: Array, pair: Callable | None = None) -> Trial:
    expected = _backward(F.relu_backward, lambda: F.relu(x), dy, ("dx",))
    return Trial("relu_backward", title, {"dy": dy, "x": x}, expected, pair)


# 3 Softmax and cross entropy


def _softmax(dtype: str) -> list[Trial]:
    x, big, dy = _numbers(dtype, 4, 5), 1000 * _numbers(dtype, 4, 5), _numbers(dtype, 4, 5, seed=1)

    def pair(functions: Functions) -> Pair:
        return *_with_inputs(functions["softmax"], functions["softmax_backward"]), {"x": x}

    return [
        Trial("softmax", "ordinary numbers", {"x": x}, _output(F.softmax, x, 1)),
        Trial("softmax", "numbers in the thousands", {"x": big}, _output(F.softmax, big, 1)),
        _softmax_backward("ordinary numbers", dy, x, pair),
        _softmax_backward("numbers in the thousands", dy, big),
    ]


def _softmax_backward(title: str, dy: Array, x: Array, pair: Callable | None = None) -> Trial:
    expected = _backward(F.softmax_backward, lambda: F.softmax(x, 1), dy, ("dx",))
    return Trial("softmax_backward", title, {"dy": dy, "x": x}, expected, pair)


def _cross_entropy(dtype: str) -> list[Trial]:
    target = numpy.array([0, 3, 1, 1, 2])
    trials = []
    for title, scale in (("ordinary logits", 1), ("sure and wrong logits", 20), ("logits in the thousands", 1000)):
        logits = (scale * _numbers(dtype, 5, 4)).astype(dtype)
        arguments = {"logits": logits, "target": target}
        trials.append(_loss_trial(title, arguments))
        trials.append(_dlogits_trial(title, arguments))
    return trials


def _loss_trial(title: str, arguments: Arguments) -> Trial:
    return Trial(
        "cross_entropy", title, arguments, _computed(lambda: {"loss": F.cross_entropy(*arguments.values())[0]})
    )


def _dlogits_trial(title: str, arguments: Arguments) -> Trial:
    def pair(functions: Functions) -> Pair:
        def backward(dloss: Array, inputs: tuple[Array, ...]) -> Any:
            return dloss * functions["cross_entropy_backward"](*inputs), None

        return lambda *inputs: (functions["cross_entropy"](*inputs), inputs), backward, arguments

    one = numpy.asarray(1.0, arguments["logits"].dtype)
    forward = lambda: F.cross_entropy(*arguments.values())  # noqa: E731
    expected = _backward(F.cross_entropy_backward, forward, one, ("dlogits",))
    return Trial("cross_entropy_backward", title, arguments, expected, pair if "ordinary" in title else None)


# 4 A network


def _stepped(name: str, bug: Bug, param: Array, grads: list[Array], **options: Any) -> tuple[Array, dict[str, Array]]:
    """The parameter and the optimizer's state after a step for each gradient."""
    parameter = nn.Parameter(param.copy())
    optimizer = make_optimizer(name, bug, [parameter])
    optimizer.param_groups[0].update(options)
    with scratchnet.use("im2col"):
        for grad in grads:
            parameter.grad = grad
            optimizer.step()
    return parameter.data, optimizer.state[parameter]


def _sgd(dtype: str) -> list[Trial]:
    param, first, second = (_numbers(dtype, 6, seed=seed) for seed in range(3))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}
    trials = []
    for title, done, grad in (("the first step", [], first), ("the second step", [first], second)):

        def expected(bug: Bug, grads: tuple[Array, ...] = (*done, grad)) -> Outputs:
            moved, state = _stepped("sgd", bug, param, list(grads), **options)
            return {"param": moved, "buffer": state["momentum_buffer"]}

        before, state = _stepped("sgd", Bug(), param, done, **options)
        buffer = state.get("momentum_buffer", numpy.zeros_like(param))
        arguments = {"param": before, "grad": grad, "buffer": buffer.copy(), **options}
        trials.append(Trial("sgd_step", title, arguments, expected))
    return trials


def _adam(dtype: str) -> list[Trial]:
    trials = []
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    for title, size, steps in (
        ("the first step", 1.0, 1),
        ("the first step, gradients of 1e-5", 1e-5, 1),
        ("the third step", 1.0, 3),
    ):
        param = _numbers(dtype, 6)
        grads = [(size * _numbers(dtype, 6, seed=seed)).astype(dtype) for seed in range(1, steps + 1)]

        def expected(bug: Bug, param: Array = param, grads: list[Array] = grads) -> Outputs:
            moved, state = _stepped("adam", bug, param, grads, lr=0.1)
            return {"param": moved, "m": state["exp_avg"], "v": state["exp_avg_sq"]}

        before, state = _stepped("adam", Bug(), param, grads[:-1], lr=0.1)
        m, v = (state.get(name, numpy.zeros_like(param)).copy() for name in ("exp_avg", "exp_avg_sq"))
        arguments = {"param": before, "grad": grads[-1], "m": m, "v": v, "t": steps, **options}
        trials.append(Trial("adam_step", title, arguments, expected))
    return trials


# 5 Convolution

CONVOLUTIONS = (
    ("kernel 3, stride 1, no padding", (2, 2, 5, 6), (3, 2, 3, 3), 1, 0),
    ("kernel 3, stride 1, padding 1", (2, 2, 5, 6), (3, 2, 3, 3), 1, 1),
    ("kernel 2 × 3, stride 2, padding 1", (2, 2, 7, 6), (3, 2, 2, 3), 2, 1),
)


def _conv_arrays(dtype: str, x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> list[Array]:
    return [_numbers(dtype, *x_shape), _numbers(dtype, *weight_shape, seed=1), _numbers(dtype, weight_shape[0], seed=2)]


def _conv(dtype: str) -> list[Trial]:
    trials = []
    for title, x_shape, weight_shape, stride, padding in CONVOLUTIONS:
        x, weight, bias = _conv_arrays(dtype, x_shape, weight_shape)
        arguments = {"x": x, "weight": weight, "bias": bias, "stride": stride, "padding": padding}
        trials.append(Trial("conv2d", title, arguments, _output(F.conv2d, *arguments.values())))
    return trials


def _conv_backward(dtype: str) -> list[Trial]:
    return [_conv_backward_trial(dtype, *row) for row in CONVOLUTIONS]


def _conv_backward_trial(dtype: str, title: str, x_shape: Any, weight_shape: Any, stride: int, padding: int) -> Trial:
    x, weight, bias = _conv_arrays(dtype, x_shape, weight_shape)
    forward = lambda: F.conv2d(x, weight, bias, stride, padding)  # noqa: E731
    with scratchnet.use("im2col"):
        dy = _numbers(dtype, *forward()[0].shape, seed=3)

    def pair(functions: Functions) -> Pair:
        def backward(dy: Array, inputs: tuple[Array, ...]) -> Any:
            return functions["conv2d_backward"](dy, inputs[0], inputs[1], stride, padding)

        def forward(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
            return ops.conv2d(x, weight, bias, stride, padding)[0], (x, weight)

        return forward, backward, {"x": x, "weight": weight, "bias": bias}

    arguments = {"dy": dy, "x": x, "weight": weight, "stride": stride, "padding": padding}
    expected = _backward(F.conv2d_backward, forward, dy, ("dx", "dweight", "dbias"))
    return Trial("conv2d_backward", title, arguments, expected, pair)


def _col2im(dtype: str) -> list[Trial]:
    trials = []
    for title, shape, height, width, stride in (
        ("windows that do not overlap", (2, 2, 2, 2, 3, 3), 6, 6, 2),
        ("windows that overlap", (2, 2, 3, 2, 3, 4), 5, 5, 1),
        ("stride 2, and a last row and column that no window covers", (2, 1, 3, 3, 2, 2), 6, 6, 2),
    ):
        dcols = _numbers(dtype, *shape)

        def expected(bug: Bug, dcols: Array = dcols, size: tuple = (height, width), stride: int = stride) -> Outputs:
            # the exhibit replaces the function that conv2d_backward calls col2im by
            names = getattr(bug.overrides.get("conv2d_backward"), "__globals__", conv2d_backward.__globals__)
            return {"dx": names["col2im"](dcols, (*dcols.shape[:2], *size), stride, 1)}

        arguments = {"dcols": dcols, "height": height, "width": width, "stride": stride}
        trials.append(Trial("col2im", title, arguments, expected))
    return trials


# 6 A CNN


def _max_pool(dtype: str) -> list[Trial]:
    ties = numpy.random.default_rng(4).integers(-2, 3, (2, 2, 6, 6)).astype(dtype)
    return [
        _max_pool_trial("kernel 2, stride 2", _numbers(dtype, 2, 2, 6, 6), 2, 2),
        _max_pool_trial("kernel 3, stride 1: windows overlap", _numbers(dtype, 2, 2, 6, 6), 3, 1),
        _max_pool_trial("all numbers negative", -1 - abs(_numbers(dtype, 2, 2, 6, 6)), 2, 2),
        _max_pool_trial("ties", ties, 2, 2),
    ]


def _max_pool_trial(title: str, x: Array, kernel: int, stride: int) -> Trial:
    forward = lambda: F.max_pool2d(x, kernel, stride)  # noqa: E731
    with scratchnet.use("im2col"):
        dy = _numbers(x.dtype.name, *forward()[0].shape, seed=3)

    def pair(functions: Functions) -> Pair:
        def backward(dy: Array, inputs: tuple[Array, ...]) -> Any:
            return functions["max_pool2d_backward"](dy, *inputs, kernel, stride)

        return lambda *inputs: (ops.max_pool2d(inputs[0], kernel, stride)[0], inputs), backward, {"x": x}

    arguments = {"dy": dy, "x": x, "kernel": kernel, "stride": stride}
    return Trial("max_pool2d_backward", title, arguments, _backward(F.max_pool2d_backward, forward, dy, ("dx",)), pair)


def _avg_pool(dtype: str) -> list[Trial]:
    return [
        _avg_pool_trial("kernel 2, stride 2, no padding", dtype, 6, 6, 2, 2, 0),
        _avg_pool_trial("kernel 3, stride 2, padding 1", dtype, 5, 6, 3, 2, 1),
    ]


def _avg_pool_trial(title: str, dtype: str, height: int, width: int, kernel: int, stride: int, padding: int) -> Trial:
    x = _numbers(dtype, 2, 2, height, width)
    options = kernel, stride, padding, False, False
    with scratchnet.use("im2col"):
        dy = _numbers(dtype, *F.avg_pool2d(x, *options)[0].shape, seed=3)

    def pair(functions: Functions) -> Pair:
        def backward(dy: Array, inputs: tuple[Array, ...]) -> Any:
            return functions["avg_pool2d_backward"](dy, height, width, kernel, stride, padding)

        return lambda *inputs: (ops.avg_pool2d(inputs[0], *options)[0], inputs), backward, {"x": x}

    arguments = {"dy": dy, "height": height, "width": width, "kernel": kernel, "stride": stride, "padding": padding}
    expected = _backward(F.avg_pool2d_backward, lambda: F.avg_pool2d(x, *options), dy, ("dx",))
    return Trial("avg_pool2d_backward", title, arguments, expected, pair)


def _dropout(dtype: str) -> list[Trial]:
    return [trial for p in (0.2, 0.5, 1.0) for trial in _dropout_trials(dtype, p)]


def _dropout_trials(dtype: str, p: float) -> list[Trial]:
    x, dy = _numbers(dtype, 6, 5), _numbers(dtype, 6, 5, seed=1)
    forward = lambda: F.dropout(x, p)  # noqa: E731
    with scratchnet.use("im2col"):
        mask = forward()[1].cache.mask

    def pair(functions: Functions) -> Pair:
        return *_with_inputs(
            functions["dropout"], lambda dy, x, *rest: functions["dropout_backward"](dy, *rest), mask, p
        ), {"x": x}

    return [
        Trial("dropout", f"p = {p}", {"x": x, "mask": mask, "p": p}, _output(F.dropout, x, p, True)),
        Trial(
            *("dropout_backward", f"p = {p}", {"dy": dy, "mask": mask, "p": p}),
            _backward(F.dropout_backward, forward, dy, ("dx",)),
            pair if p < 1 else None,
        ),
    ]


# 7 BatchNorm

EPS = 1e-5


def _norm_arrays(dtype: str) -> list[Array]:
    x = (2 + 3 * _numbers(dtype, 4, 3, 3, 2)).astype(dtype)
    return [x, _numbers(dtype, 3, seed=1), _numbers(dtype, 3, seed=2)]


def _batch_norm(dtype: str) -> list[Trial]:
    x, gamma, beta = _norm_arrays(dtype)
    mean, var = _numbers(dtype, 3, seed=3), abs(_numbers(dtype, 3, seed=4)) + 1
    nearly_constant = (x * dtype_scale(dtype)).astype(dtype)
    trials = []
    for title, images in (("4 images, 3 channels", x), ("channels that are nearly constant", nearly_constant)):

        def compute(images: Array = images) -> Outputs:
            outputs, _ = F.batch_norm(images, mean, var, gamma, beta, True, 0.1, EPS)
            return dict(zip(("y", "running_mean", "running_var"), outputs, strict=True))

        arguments: Arguments = {"x": images, "gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var}
        trials.append(Trial("batch_norm", title, arguments | {"momentum": 0.1, "eps": EPS}, _computed(compute)))
    return trials


def dtype_scale(dtype: str) -> float:
    """Small enough that ε matters, and large enough for the digits of the dtype."""
    return 1e-2 if dtype == "float32" else 1e-4


def _batch_norm_backward(dtype: str) -> list[Trial]:
    x, gamma, beta = _norm_arrays(dtype)
    dy = _numbers(dtype, *x.shape, seed=5)

    def pair(functions: Functions) -> Pair:
        def forward(x: Array, gamma: Array, beta: Array) -> tuple[Array, Any]:
            return ops.batch_norm(x, gamma, beta, None, None, True, 0.1, EPS)[0][0], (x, gamma)

        return (
            forward,
            lambda dy, inputs: functions["batch_norm_backward"](dy, *inputs, EPS),
            {"x": x, "gamma": gamma, "beta": beta},
        )

    arguments = {"dy": dy, "x": x, "gamma": gamma, "eps": EPS}
    forward = lambda: F.batch_norm(x, None, None, gamma, beta, True, 0.1, EPS)  # noqa: E731
    expected = _backward(F.batch_norm_backward, forward, dy, ("dx", "dgamma", "dbeta"))
    return [Trial("batch_norm_backward", "4 images, 3 channels", arguments, expected, pair)]


EXERCISES = (
    Exercise(1, "neuron", ("neuron", "neuron_backward"), _neuron, ("sigmoid", "linear")),
    Exercise(2, "linear", ("linear_backward",), _linear, ("linear",)),
    Exercise(2, "relu", ("relu", "relu_backward"), _relu, ("relu",)),
    Exercise(3, "softmax", ("softmax", "softmax_backward"), _softmax, ("softmax",)),
    Exercise(3, "cross_entropy", ("cross_entropy", "cross_entropy_backward"), _cross_entropy, ("cross_entropy",)),
    Exercise(4, "sgd", ("sgd_step",), _sgd, ("sgd",)),
    Exercise(4, "adam", ("adam_step",), _adam, ("adam",)),
    Exercise(5, "conv", ("conv2d",), _conv, ("conv2d",)),
    Exercise(5, "conv_backward", ("conv2d_backward",), _conv_backward, ("conv2d",)),
    Exercise(5, "col2im", ("col2im",), _col2im, ("conv2d",)),
    Exercise(6, "max_pool", ("max_pool2d_backward",), _max_pool, ("max_pool2d",)),
    Exercise(6, "avg_pool", ("avg_pool2d_backward",), _avg_pool, ("avg_pool2d",)),
    Exercise(6, "dropout", ("dropout", "dropout_backward"), _dropout, ("dropout",)),
    Exercise(7, "batch_norm", ("batch_norm",), _batch_norm, ("batch_norm",)),
    Exercise(7, "batch_norm_backward", ("batch_norm_backward",), _batch_norm_backward, ("batch_norm",)),
)
