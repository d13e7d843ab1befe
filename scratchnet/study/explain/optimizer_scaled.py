"""RMSprop and Adagrad: steps divided by the size of past gradients."""

from typing import Any

from scratchnet import optim
from scratchnet.optim.adagrad import adagrad_update
from scratchnet.optim.rmsprop import rmsprop_update
from scratchnet.study.explain.optimizer import decayed, optimizer_page
from scratchnet.study.explain.page import Equation, Page, equation
from scratchnet.study.explain.samples import Shape


def rmsprop(
    *,
    input: Shape = (3,),
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    steps: int = 2,
    seed: int = 0,
) -> Page:
    """the gradient over the root of a running mean of its square"""
    options = dict(locals())
    formula = [
        *(["g ← g + λ·θ        λ = weight decay"] if weight_decay else []),
        "v ← α·v + (1 − α)·g²        v starts at 0",
        *(["ḡ ← α·ḡ + (1 − α)·g"] if centered else []),
        "d = √(v − ḡ²) + ε" if centered else "d = √v + ε",
        *(["b ← μ·b + g/d", "θ ← θ − γ·b"] if momentum else ["θ ← θ − γ·g/d"]),
    ]
    lines = [
        *(["grad = grad + weight_decay"] if weight_decay else []),
        "square_avg *= alpha",
        "square_avg += (1",
        *(
            ["grad_avg += (1", "denominator = xp.sqrt(square_avg - grad_avg"]
            if centered
            else ["denominator = xp.sqrt(square_avg) + eps"]
        ),
        *(
            ["momentum_buffer *= momentum", "momentum_buffer += grad", "param -= lr * momentum_buffer"]
            if momentum
            else ["param -= lr * grad / denominator"]
        ),
    ]

    def terms(s: dict[str, Any], old: dict[str, Any], t: int) -> list[Equation]:
        p, g, v, d = old["θ"], s["gradient"] + weight_decay * old["θ"], s["square_avg"], s["denominator"]
        made = [
            *decayed(old, s, weight_decay),
            equation("v[0]", "{a} · {v} + (1 − {a}) · {g}·{g}", v, a=alpha, v=old["v"], g=g),
        ]
        if centered:
            made += [
                equation("ḡ[0]", "{a} · {m} + (1 − {a}) · {g}", s["grad_avg"], a=alpha, m=old["ḡ"], g=g),
                equation("d[0]", "√({v} − {m}·{m}) + {eps}", d, v=v, m=s["grad_avg"], eps=eps),
            ]
        else:
            made.append(equation("d[0]", "√{v} + {eps}".replace("{v}", "({v})"), d, v=v, eps=eps))
        if momentum:
            b = s["momentum_buffer"]
            made += [
                equation("b[0]", "{mu} · {b} + {g} / {d}", b, mu=momentum, b=old["b"], g=g, d=d),
                equation("new θ[0]", "{p} − {lr} · {b}", s["param"], p=p, lr=lr, b=b),
            ]
        else:
            made.append(equation("new θ[0]", "{p} − {lr} · {g} / {d}", s["param"], p=p, lr=lr, g=g, d=d))
        return made

    notes = (
        "v starts at 0 and, unlike Adam's, is not corrected for it: the first steps are long, up to 1/√(1 − α) times γ."
    )
    if centered or momentum or weight_decay:
        notes = "v starts at 0 and, unlike Adam's, is not corrected for it: the first steps are long."
    make = lambda p: optim.RMSprop(p, lr, alpha, eps, weight_decay, momentum, centered)  # noqa: E731
    shown = {
        "v": "square_avg",
        **({"ḡ": "grad_avg"} if centered else {}),
        **({"b": "momentum_buffer"} if momentum else {}),
    }
    return optimizer_page(
        "rmsprop",
        "RMSprop: steps of a size of their own",
        options,
        make,
        rmsprop_update,
        formula,
        lines,
        shown,
        terms,
        notes,
    )


def adagrad(
    *,
    input: Shape = (3,),
    lr: float = 0.01,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    steps: int = 2,
    seed: int = 0,
) -> Page:
    """the gradient over the root of the sum of its squares"""
    options = dict(locals())
    rate = "γ/(1 + (t − 1)·η)" if lr_decay else "γ"
    formula = [
        *(["g ← g + λ·θ        λ = weight decay"] if weight_decay else []),
        "s ← s + g²        s starts at 0",
        f"θ ← θ − {rate} · g/(√s + ε)" + ("        η = lr_decay" if lr_decay else ""),
    ]
    lines = [
        *(["grad = grad + weight_decay"] if weight_decay else []),
        "square_sum += grad",
        "decayed_lr =",
        "param -= decayed_lr",
    ]

    def terms(s: dict[str, Any], old: dict[str, Any], t: int) -> list[Equation]:
        p, g = old["θ"], s["gradient"] + weight_decay * old["θ"]
        return [
            *decayed(old, s, weight_decay),
            equation("s[0]", "{s} + {g}·{g}", s["square_sum"], s=old["s"], g=g),
            *(
                [equation("rate", "{lr} / (1 + {t} · {eta})", s["decayed_lr"], lr=lr, t=t - 1, eta=lr_decay)]
                if lr_decay
                else []
            ),
            equation(
                "new θ[0]",
                "{p} − {lr} · {g} / (√({s}) + {eps})",
                s["param"],
                p=p,
                lr=s["decayed_lr"],
                g=g,
                s=s["square_sum"],
                eps=eps,
            ),
        ]

    notes = "s only grows, so an element's steps shrink with the gradients that it has seen."
    make = lambda p: optim.Adagrad(p, lr, lr_decay, weight_decay, eps=eps)  # noqa: E731
    return optimizer_page(
        "adagrad", "Adagrad: rates that fall", options, make, adagrad_update, formula, lines, {"s": "sum"}, terms, notes
    )
