"""Optimizers: a step from old to new parameters, with every term."""

from collections.abc import Callable
from typing import Any

import numpy

from scratchnet import nn, optim
from scratchnet.optim.adam import adam_update
from scratchnet.optim.sgd import sgd_update
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Equation, Page, equation, numbers, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch

START = "θ are the parameters, g their gradients, γ = lr. The gradients are chosen here, anew for each step."


def sgd(
    *,
    input: Shape = (3,),
    lr: float = 0.1,
    momentum: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    steps: int = 2,
    seed: int = 0,
) -> Page:
    """stochastic gradient descent, with momentum"""
    options = dict(locals())
    formula = [
        *(["g ← g + λ·θ        λ = weight decay"] if weight_decay else []),
        *(
            ["b ← g at the first step, later b ← μ·b + (1 − τ)·g" if dampening else "b ← μ·b + g        b starts at 0"]
            if momentum
            else []
        ),
        "θ ← θ − γ·(g + μ·b)" if nesterov else "θ ← θ − γ·b" if momentum else "θ ← θ − γ·g",
    ]
    lines = [
        *(["grad = grad + weight_decay"] if weight_decay else []),
        *(["momentum_buffer *= momentum", "momentum_buffer += (1"] if momentum else []),
        *(["grad = grad + momentum * momentum_buffer if nesterov"] if momentum else []),
        "param -= lr",
    ]

    def terms(s: dict[str, Any], old: dict[str, Any], t: int) -> list[Equation]:
        g = s["gradient"] + weight_decay * old["θ"]
        made = decayed(old, s, weight_decay)
        if momentum:
            made += [
                equation("b[0]", "{b}", s["momentum_buffer"], b=g)
                if t == 1 and dampening
                else equation(
                    "b[0]",
                    "{mu} · {b} + {rest} · {g}",
                    s["momentum_buffer"],
                    mu=momentum,
                    b=old["b"],
                    rest=1 - s["dampening"],
                    g=g,
                )
            ]
        if nesterov:
            return [
                *made,
                equation(
                    "new θ[0]",
                    "{p} − {lr} · ({g} + {mu} · {b})",
                    s["param"],
                    p=old["θ"],
                    lr=lr,
                    g=g,
                    mu=momentum,
                    b=s["momentum_buffer"],
                ),
            ]
        step = s["momentum_buffer"] if momentum else g
        return [*made, equation("new θ[0]", "{p} − {lr} · {g}", s["param"], p=old["θ"], lr=lr, g=step)]

    notes = (
        "The buffer b is a running sum of gradients: where they agree, steps grow up to 1/(1 − μ) times."
        if momentum
        else "Without momentum nothing is remembered from step to step."
    )
    make = lambda p: optim.SGD(p, lr, momentum, dampening, weight_decay, nesterov)  # noqa: E731
    shown = {"b": "momentum_buffer"} if momentum else {}
    return optimizer_page(
        "sgd", "SGD: a step against the gradient", options, make, sgd_update, formula, lines, shown, terms, notes
    )


def adam(
    *,
    input: Shape = (3,),
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    steps: int = 2,
    seed: int = 0,
) -> Page:
    """a learning rate for each element, from averages of gradient and square"""
    return _adam("adam", optim.Adam, dict(locals()), False)


def adamw(
    *,
    input: Shape = (3,),
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    amsgrad: bool = False,
    steps: int = 2,
    seed: int = 0,
) -> Page:
    """Adam with weight decay as a step of its own"""
    return _adam("adamw", optim.AdamW, dict(locals()), True)


def _adam(name: str, kind: Callable, options: dict, decoupled: bool) -> Page:
    lr, beta1, beta2, eps, decay = (options[key] for key in ("lr", "beta1", "beta2", "eps", "weight_decay"))
    amsgrad = options["amsgrad"]
    formula = [
        *(
            (["θ ← θ − γ·λ·θ        λ = weight decay"] if decoupled else ["g ← g + λ·θ        λ = weight decay"])
            if decay
            else []
        ),
        "m ← β₁·m + (1 − β₁)·g",
        "v ← β₂·v + (1 − β₂)·g²        m and v start at 0",
        *(["v̂ ← max(v̂, v)"] if amsgrad else []),
        f"θ ← θ − γ · m/(1 − β₁ᵗ) / (√({'v̂' if amsgrad else 'v'}/(1 − β₂ᵗ)) + ε)",
    ]
    lines = [
        *((["param *= 1 - lr"] if decoupled else ["grad = grad + weight_decay"]) if decay else []),
        "exp_avg += (1",
        "exp_avg_sq *= beta2",
        "exp_avg_sq += (1",
        *(["xp.maximum(max_exp_avg_sq"] if amsgrad else []),
        "denominator = xp.sqrt",
        "param -= (lr",
    ]

    def terms(s: dict[str, Any], old: dict[str, Any], t: int) -> list[Equation]:
        p, g = old["θ"], s["gradient"]
        made = []
        if decay and decoupled:
            made.append(
                equation("decayed θ[0]", "{p} − {lr} · {decay} · {p}", p - lr * decay * p, p=p, lr=lr, decay=decay)
            )
            p = p - lr * decay * p
        elif decay:
            made, g = decayed(old, s, decay), g + decay * p
        m, v, c1, c2 = s["exp_avg"], s["raw_exp_avg_sq"], s["bias_correction1"], s["bias_correction2"]
        top = s["exp_avg_sq"]  # the largest so far, with amsgrad
        made += [
            equation("m[0]", "{beta} · {m} + (1 − {beta}) · {g}", m, beta=beta1, m=old["m"], g=g),
            equation("v[0]", "{beta} · {v} + (1 − {beta}) · {g}·{g}", v, beta=beta2, v=old["v"], g=g),
            *([equation("v̂[0]", "max({old}, {v})", top, old=old["v̂"], v=v)] if amsgrad else []),
            equation("1 − β₁ᵗ", "1 − {beta}^{t}", c1, beta=beta1, t=t),
            equation("1 − β₂ᵗ", "1 − {beta}^{t}", c2, beta=beta2, t=t),
            equation(
                "√(v/(1 − β₂ᵗ)) + ε".replace("v/", "v̂/" if amsgrad else "v/"),
                "√({v} / {c}) + {eps}",
                s["denominator"],
                v=top,
                c=c2,
                eps=eps,
            ),
            equation("new θ[0]", "{p} − {lr} · {m} / {c} / {d}", s["param"], p=p, lr=lr, m=m, c=c1, d=s["denominator"]),
        ]
        return made

    notes = (
        "m and v start at 0 and are too small at first; dividing by 1 − βᵗ makes them weighted means of the gradients "
        "and of their squares so far. "
        + (
            "At the first step m/(1 − β₁) is g and v/(1 − β₂) is g², so every element with a gradient that is large "
            "against ε moves by γ, whatever the gradient's size. "
            if not (decay and not decoupled)
            else ""
        )
        + (
            "Besides, there is the weight decay, which does not pass through m and v: every element shrinks by the "
            "same factor."
            if decoupled
            else ""
        )
    ).strip()
    make = lambda p: kind(p, lr, (beta1, beta2), eps, decay, amsgrad)  # noqa: E731
    shown = {"m": "exp_avg", "v": "exp_avg_sq", **({"v̂": "max_exp_avg_sq"} if amsgrad else {})}
    title = "AdamW: decay on its own" if decoupled else "Adam: a learning rate for each element"
    return optimizer_page(name, title, options, make, adam_update, formula, lines, shown, terms, notes)


def decayed(old: dict[str, Any], s: dict[str, Any], decay: float) -> list[Equation]:
    if not decay:
        return []
    g = s["gradient"] + decay * old["θ"]
    return [equation("(g + λ·θ)[0]", "{g} + {decay} · {p}", g, g=s["gradient"], decay=decay, p=old["θ"])]


def optimizer_page(
    name: str,
    title: str,
    options: dict[str, Any],
    make: Callable,
    update: Callable,
    formula: list[str],
    lines: list[str],
    shown: dict[str, str],
    terms: Callable,
    notes: str,
) -> Page:
    """shown names the optimizer's state: symbol → key. terms(locals, old values, t) are the equations of element 0."""
    samples.check_shape(options["input"], "one axis", (1,))
    samples.check_small(steps=options["steps"], most=5)
    rng = numpy.random.default_rng(options["seed"])
    parameter = nn.Parameter(samples.tenths(rng, options["input"], -2, 2))
    optimizer = make([parameter])
    blocks = []
    for t in range(1, options["steps"] + 1):
        parameter.grad = samples.tenths(rng, options["input"], -2, 2)
        state = {symbol: _of(optimizer, parameter, key) for symbol, key in shown.items()}
        before = {"θ": parameter.data.copy(), **state}
        watch = Watch(update)
        with watch:
            optimizer.step()
        after = {
            "θ": parameter.data.copy(),
            **{symbol: _of(optimizer, parameter, key) for symbol, key in shown.items()},
        }
        seen = {key: _first(value) for key, value in watch.after(update, lines[-1]).items()}
        seen["gradient"] = parameter.grad[0]
        if "v" in after:
            seen["raw_exp_avg_sq"] = after["v"][0]  # with amsgrad the function goes on to call the largest one so
        parts: list[Any] = [
            Beside([numbers("old θ", before["θ"]), numbers("g", parameter.grad)]),
            *([Beside([numbers(f"old {symbol}", before[symbol]) for symbol in shown])] if shown else []),
            "Element 0, term by term:",
            *terms(seen, {key: value[0] for key, value in before.items()}, t),
            Beside([*(numbers(f"new {symbol}", after[symbol]) for symbol in shown), numbers("new θ", after["θ"])]),
            *([notes] if t == 1 else []),
        ]
        blocks.append(Block(f"Step {t}", "\n".join(formula), [source(update, line) for line in lines], parts))
    return Page(name, "optimizer", title, options, START, blocks)


def _first(value: Any) -> Any:
    return value.flat[0] if isinstance(value, numpy.ndarray) else value


def _of(optimizer: Any, parameter: Any, key: str) -> Any:
    value = optimizer.state[parameter].get(key)
    return numpy.zeros_like(parameter.data) if value is None else value.copy()
