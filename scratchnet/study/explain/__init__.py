"""The whole story of one op, optimizer or concept, with real small numbers.

    page = explain("conv2d", input=(1, 1, 4, 4), kernel=3)      numbers, sums and lines of source, as data
    print(text(page))                                           as text; html(page) as a page to look at

What a page shows was computed by the lines that it quotes: the public function runs on small whole numbers, and what
happens inside is read off while it runs. `OPS`, `OPTIMIZERS` and `CONCEPTS` list what there is; the options of each are
the keyword arguments of its function.
"""

import warnings
from collections.abc import Callable
from typing import Any

from scratchnet import backend
from scratchnet.study.explain import (
    activation,
    concepts,
    concepts_layers,
    concepts_networks,
    conv,
    conv_transpose,
    dropout,
    linear,
    loss,
    norm,
    optimizer,
    optimizer_scaled,
    pool,
)
from scratchnet.study.explain.html import html
from scratchnet.study.explain.page import Page, TooLargeError
from scratchnet.study.explain.text import text

Writer = Callable[..., Page]


def _named(*writers: Writer) -> dict[str, Writer]:
    return {writer.__name__: writer for writer in writers}


OPS = _named(
    conv.conv2d,
    conv.conv1d,
    conv_transpose.conv_transpose2d,
    pool.max_pool2d,
    pool.avg_pool2d,
    pool.adaptive_avg_pool2d,
    linear.linear,
    linear.flatten,
    linear.pad2d,
    norm.batch_norm,
    dropout.dropout,
    dropout.dropout2d,
    activation.relu,
    activation.leaky_relu,
    activation.gelu,
    activation.sigmoid,
    activation.tanh,
    activation.softmax,
    activation.log_softmax,
    loss.nll_loss,
    loss.cross_entropy,
    loss.mse_loss,
)
OPTIMIZERS = _named(optimizer.sgd, optimizer.adam, optimizer.adamw, optimizer_scaled.rmsprop, optimizer_scaled.adagrad)
CONCEPTS = {**concepts.CONCEPTS, **concepts_networks.CONCEPTS, **concepts_layers.CONCEPTS}


def writer(name: str, concept: bool = False) -> Writer:
    """The function that writes the page; of an op and a concept with one name the op, unless `concept`."""
    plain = name.replace("-", "_")
    everything = CONCEPTS if concept else {**CONCEPTS, **OPTIMIZERS, **OPS}
    if plain not in everything:
        raise ValueError(f"explain: expected one of {', '.join(sorted(everything))}, got {name!r}")
    return everything[plain]


def explain(name: str, concept: bool = False, **options: Any) -> Page:
    """The page of an op, optimizer or concept. A ValueError tells of an unknown name or an option that does not fit."""
    write = writer(name, concept)
    with backend.use("im2col"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropout2d")
        return write(**options)


__all__ = ["CONCEPTS", "OPS", "OPTIMIZERS", "Page", "TooLargeError", "explain", "html", "text", "writer"]
