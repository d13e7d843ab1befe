"""Activation functions: elementwise ones with their derivatives, and softmax with its Jacobian."""

from collections.abc import Callable
from typing import Any

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.activation import _erf, _gelu_tanh
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Block, Equation, Page, at, equation, number_sum, numbers, parts, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch

Source = tuple[Callable[..., Any], str]


def relu(*, input: Shape = (7,), seed: int = 0) -> Page:
    """max(x, 0)"""
    formulas = "y = max(x, 0)", "f′(x) = 1 where x > 0, else 0"
    sources = [(ops.relu, "return")], [(ops.relu_backward, "return")]
    note = "relu′(0) is 0 by convention: the kink has no derivative. A unit whose x is never positive gets no gradient."

    def one(x: float, y: float) -> Equation:
        return equation("y", "max({x}, 0)", y, x=x)

    return _elementwise(
        "relu", "ReLU: pass what is positive", dict(locals()), input, seed, formulas, sources, note, one
    )


def leaky_relu(*, input: Shape = (7,), negative_slope: float = 0.01, seed: int = 0) -> Page:
    """x, or a small multiple of it where it is negative"""
    formulas = f"y = x where x > 0, else {negative_slope:g} · x", f"f′(x) = 1 where x > 0, else {negative_slope:g}"
    sources = [(ops.leaky_relu, "return")], [(ops.leaky_relu_backward, "return")]
    note = (
        "At 0 the derivative is the slope, as in torch. Negative inputs keep a gradient: every unit goes on learning."
    )

    def one(x: float, y: float) -> Equation:
        return equation("y", "{x} · {slope}" if x <= 0 else "{x}", y, x=x, slope=negative_slope)

    return _elementwise(
        "leaky_relu", "Leaky ReLU", dict(locals()), input, seed, formulas, sources, note, one, negative_slope
    )


def sigmoid(*, input: Shape = (7,), seed: int = 0) -> Page:
    """1 / (1 + e^−x)"""
    formulas = "y = 1 / (1 + e^−x)", "f′(x) = y · (1 − y)"
    sources = (
        [(ops.sigmoid, "e = xp.exp(-abs(x))"), (ops.sigmoid, "y = xp.where")],
        [(ops.sigmoid_backward, "return")],
    )
    note = (
        "The derivative is at most ¼, at 0, and nearly 0 where |x| is large: there the gradient vanishes. It is "
        "written in y, so y is all that is saved."
    )

    def one(x: float, y: float) -> Equation:
        return equation("y", "1 / (1 + e^(−{x}))", y, x=x)

    return _elementwise("sigmoid", "Sigmoid", dict(locals()), input, seed, formulas, sources, note, one)


def tanh(*, input: Shape = (7,), seed: int = 0) -> Page:
    """the hyperbolic tangent"""
    formulas = "y = tanh(x) = (e^x − e^−x) / (e^x + e^−x)", "f′(x) = 1 − y²"
    sources = [(ops.tanh, "y = array_module")], [(ops.tanh_backward, "return")]
    note = "The derivative is at most 1, at 0, and nearly 0 where |x| is large."

    def one(x: float, y: float) -> Equation:
        return equation("y", "(e^{x} − e^(−{x})) / (e^{x} + e^(−{x}))", y, x=x)

    return _elementwise("tanh", "Hyperbolic tangent", dict(locals()), input, seed, formulas, sources, note, one)


def gelu(*, input: Shape = (7,), approximate: str = "none", seed: int = 0) -> Page:
    """x times the normal distribution function"""
    options = dict(locals())
    if approximate == "tanh":
        formulas = (
            "y = ½ · x · (1 + tanh u)        u = √(2/π) · (x + 0.044715·x³)",
            "f′(x) = ½ · (1 + tanh u) + ½ · x · (1 − tanh² u) · u′",
        )
        forward: list[Source] = [(_gelu_tanh, "return"), (ops.gelu, "return")]
        backward: list[Source] = [(ops.gelu_backward, "du ="), (ops.gelu_backward, "return dy * (0.5")]
        root, text = (2 / numpy.pi) ** 0.5, "0.5 · {x} · (1 + tanh({root} · ({x} + {k} · {x}·{x}·{x})))"
    else:
        formulas = "y = x · Φ(x) = ½ · x · (1 + erf(x/√2))", "f′(x) = Φ(x) + x · φ(x)"
        forward = [(_erf, "return numpy.vectorize"), (ops.gelu, "return")]
        backward = [
            (ops.gelu_backward, "distribution ="),
            (ops.gelu_backward, "density ="),
            (ops.gelu_backward, "return dy * (distribution"),
        ]
        root, text = 0.5**0.5, "0.5 · {x} · (1 + erf({x} · {root}))"
    note = (
        "Φ is the distribution function of the normal distribution, φ its density. Unlike ReLU it is smooth, and falls "
        "below 0 for negative x before it comes back to 0; for large x it is close to x."
    )

    def one(x: float, y: float) -> Equation:
        return equation("y", text, y, x=x, root=root, **({"k": 0.044715} if approximate == "tanh" else {}))

    title = "GELU" if approximate == "none" else "GELU, tanh form"
    return _elementwise("gelu", title, options, input, seed, formulas, (forward, backward), note, one, approximate)


def _elementwise(
    name: str,
    title: str,
    options: dict,
    shape: Shape,
    seed: int,
    formulas: tuple[str, str],
    sources: tuple[list[Source], list[Source]],
    note: str,
    one: Callable[[float, float], Equation],
    *arguments: Any,
) -> Page:
    samples.check_shape(shape, "a shape of up to four axes", (1, 2, 3, 4))
    rng = numpy.random.default_rng(seed)
    middle = shape[0] // 2
    x = numpy.arange(shape[0]) - float(middle) if len(shape) == 1 else samples.integers(rng, shape, -3, 3)
    y, cache = getattr(F, name)(x, *arguments)
    backward = getattr(F, f"{name}_backward")
    slope = backward(numpy.ones_like(y), cache)
    dy = samples.gradient(rng, shape)
    dy = numpy.where(dy == 0, 1, dy)
    dx = backward(dy, cache)
    place = tuple(
        int(i) for i in numpy.unravel_index(int(numpy.argmin(x) if name == "leaky_relu" else numpy.argmax(x)), shape)
    )
    written = one(float(x[place]), float(y[place]))
    kept = {key: value for key, value in options.items() if key in ("input", "approximate", "negative_slope", "seed")}
    return Page(
        name,
        "op",
        title,
        kept,
        "Each output depends on one input only, so the chain rule has one term: dx = dy · f′(x).",
        [
            Block(
                "Forward",
                formulas[0],
                [source(*each) for each in sources[0]],
                [numbers("x", x), numbers("y", y), written._replace(name=at("y", *place))],
            ),
            Block(
                "Backward",
                f"dx = dy · f′(x)        {formulas[1]}",
                [source(*each) for each in sources[1]],
                [
                    "f′ below is what backward gives for dy = 1.",
                    numbers("f′", slope),
                    "dy is chosen here.",
                    numbers("dy", dy),
                    numbers("dx", dx),
                    number_sum(at("dx", *place), [(dy[place], slope[place])], dx[place]),
                    note,
                ],
            ),
        ],
    )


def softmax(*, input: Shape = (2, 3), dim: int = -1, seed: int = 0) -> Page:
    """probabilities from numbers: e^x over their sum"""
    return _along("softmax", "Softmax: numbers become probabilities", dict(locals()))


def log_softmax(*, input: Shape = (2, 3), dim: int = -1, seed: int = 0) -> Page:
    """the logarithm of softmax, without losing small probabilities"""
    return _along("log_softmax", "Log-softmax", dict(locals()))


def _along(name: str, title: str, options: dict) -> Page:
    shape, dim = options["input"], options["dim"]
    samples.check_shape(shape, "one or two axes", (1, 2))
    rng = numpy.random.default_rng(options["seed"])
    x = samples.integers(rng, shape, -1, 4)
    op, back = getattr(ops, name), getattr(ops, f"{name}_backward")
    watch = Watch(op, back)
    with watch:
        y, cache = getattr(F, name)(x, dim)
        dy = rng.permutation(numpy.arange(x.size) % 5 - 2.0).reshape(shape)  # no line of equal numbers: its dx is 0
        dx = getattr(F, f"{name}_backward")(dy, cache)
    p = watch.after(back, "y, dim =")["y"]
    axis = dim % len(shape)
    line = (slice(None),) if len(shape) == 1 else ((0, slice(None)) if axis == 1 else (slice(None), 0))
    xs, ps, dys = x[line], p[line], dy[line]
    first = (0,) * len(shape)
    eye = numpy.eye(len(xs))
    log = name == "log_softmax"
    jacobian = eye - ps if log else ps[:, None] * (eye - ps)  # ∂y_i/∂x_j at [i, j]
    shifted = xs - xs.max()
    values = {f"x{i}": v for i, v in enumerate(shifted)}
    total = " + ".join("e^{" + key + "}" for key in values)
    forward = (
        [source(op, "shifted = "), source(op, "y = shifted")]
        if log
        else [source(op, "e = array_module"), source(op, "y = e / e.sum")]
    )
    made = (
        equation(at("y", *first), "{x0} − log(" + total + ")", y[first], **values)
        if log
        else equation(at("y", *first), "e^{x0} / (" + total + ")", y[first], **values)
    )
    where = "sample 0" if line == (0, slice(None)) else "the first line along that axis"
    return Page(
        name,
        "op",
        title,
        options,
        f"Along axis {dim} every output depends on every input, so the derivative of a line is a matrix.",
        [
            Block("Input", "", [], [numbers("x", x)]),
            Block(
                "Forward",
                "y_i = x_i − log Σ_k e^x_k" if log else "y_i = e^x_i / Σ_k e^x_k",
                forward,
                [
                    "The largest x is subtracted first. That cancels in the fraction, and keeps e^x from overflowing.",
                    numbers("x − max, of the first line", shifted),
                    made,
                    numbers("y", y),
                    *(parts("e^y are the probabilities:", numbers("p", p)) if log else []),
                    number_sum("sum of the probabilities", [(v,) for v in ps], ps.sum()),
                ],
            ),
            Block(
                f"The Jacobian of {where}",
                "∂y_i/∂x_j = [i = j] − p_j" if log else "∂y_i/∂x_j = y_i · ([i = j] − y_j)",
                [],
                [
                    numbers("∂y_i/∂x_j", jacobian, corner="i\\j", columns=[str(j) for j in range(len(xs))]),
                    "Each row sums to 0: the same number added to all x changes no y.",
                ],
            ),
            Block(
                "Backward: dy times the Jacobian, without building it",
                "dx_j = dy_j − p_j · Σ_i dy_i"
                if log
                else "dx_j = Σ_i dy_i · ∂y_i/∂x_j = y_j · (dy_j − Σ_i dy_i · y_i)",
                [source(back, "return")],
                [
                    "dy is chosen here.",
                    numbers("dy", dy),
                    numbers("dx", dx),
                    number_sum(at("dx", *first), zip(dys, jacobian[:, 0], strict=True), dx[first]),
                ],
            ),
        ],
    )
