"""Dropout: where the random bits come from, and the one mask of both passes."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.ops.dropout import keep_mask, philox
from scratchnet.ops.shape import Array
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, equation, number_sum, numbers, source
from scratchnet.study.explain.samples import Shape
from scratchnet.study.explain.watch import Watch


def dropout(*, input: Shape = (2, 4), p: float = 0.5, stream: int = 0, call: int = 0, seed: int = 0) -> Page:
    """single elements dropped at random in training"""
    return _page("dropout", dict(locals()), channels=False)


def dropout2d(*, input: Shape = (2, 4, 2, 2), p: float = 0.5, stream: int = 0, call: int = 0, seed: int = 0) -> Page:
    """whole channels dropped at random in training"""
    return _page("dropout2d", dict(locals()), channels=True)


def _page(name: str, options: dict, channels: bool) -> Page:
    shape, p, key, call = options["input"], options["p"], (options["seed"], options["stream"]), options["call"]
    samples.check_shape(shape, "NxCxHxW" if channels else "a shape", (4,) if channels else (1, 2, 3, 4))
    rng = numpy.random.default_rng(options["seed"])
    x = samples.integers(rng, shape, 1, 9)
    watch = Watch(keep_mask, ops.dropout, ops.dropout_backward)
    with watch:
        y, cache = getattr(F, name)(x, p, seed=key[0], stream=key[1], call=call)
        dy = samples.gradient(rng, y.shape)
        dx = F.dropout_backward(dy, cache)
    bits = watch.after(keep_mask, "bits = philox(")["bits"]
    saved = watch.after(ops.dropout, "cache = DropoutCache(")["cache"]
    whole = watch.after(ops.dropout_backward, "return")["cache"]
    threshold = round(p * 2**32)
    article, what = ("A", "channel") if channels else ("An", "element")
    kept = int(saved.mask.sum())
    first = tuple(int(i) for i in numpy.argwhere(numpy.broadcast_to(saved.mask, x.shape))[0]) if kept else None
    scaled = (
        [] if first is None else [number_sum(f"y[{','.join(map(str, first))}]", [(x[first], saved.scale)], y[first])]
    )
    scale = (
        [equation("1/(1 − p)", "1 / (1 − {p})", saved.scale, p=p)] if p < 1 else ["With p = 1 the scale is taken as 0."]
    )
    blocks = [
        Block("Input", "", [], [numbers("x", x)]),
        _bits(bits, key, call, what),
        Block(
            "The mask",
            f"keep the {what} if r ≥ p · 2³²",
            [source(keep_mask, "return (bits >=")],
            [
                f"p · 2³² = {p:g} · 4294967296 = {threshold}. {article} {what} is dropped with probability p = {p:g}; "
                f"here {kept} of {saved.mask.size} {what}s stay.",
                numbers("mask", saved.mask.astype(float)),
            ],
        ),
        Block(
            "Forward",
            "y = mask · x / (1 − p)",
            [source(ops.dropout, "cache = DropoutCache("), source(ops.dropout, "return xp.where(mask")],
            [
                "The scale keeps the expected value of y at x, so evaluation needs no change: there dropout is y = x.",
                *scale,
                numbers("y", y),
                *scaled,
            ],
        ),
        Block(
            "Backward: the SAME mask",
            "dx = mask · dy / (1 − p)",
            [source(ops.dropout_backward, "return")],
            [
                "What was dropped had no influence on the loss, and gets no gradient. The mask comes from the cache of "
                "the forward call; a new one would be the gradient of another function. dy is chosen here.",
                Beside([numbers("dy", dy), numbers("mask of backward", whole.mask.astype(float))]),
                numbers("dx", dx),
                *(
                    [number_sum(f"dx[{','.join(map(str, first))}]", [(dy[first], saved.scale)], dx[first])]
                    if first
                    else []
                ),
            ],
        ),
    ]
    title = "Dropout of whole channels" if channels else "Dropout"
    introduction = (
        "The mask is a function of three integers, (seed, stream, call), and of the position: Philox4x32-10 makes four "
        "random numbers of each block number, in any order, on any device, with any number of threads."
    )
    return Page(name, "op", title, options, introduction, blocks)


def _bits(bits: Array, key: tuple[int, int], call: int, what: str) -> Block:
    blocks = -(-len(bits) // 4)
    table = numpy.array([[b, 0, call & 0xFFFFFFFF, call >> 32] for b in range(blocks)], float)
    made = numpy.full((blocks, 4), numpy.nan)
    made.flat[: len(bits)] = bits
    return Block(
        "Random bits",
        f"key = (seed, stream) = ({key[0]}, {key[1]})        counter = (block, 0, call, call >> 32)",
        [source(philox, "counter[0] = xp.arange"), source(keep_mask, "bits = philox(")],
        [
            f"Block b makes the bits r of {what}s 4b … 4b + 3, each a whole number 0 … 4294967295.",
            Beside(
                [
                    numbers("counters", table, columns=["block", "0", "call", "call >> 32"], corner="b"),
                    numbers("r", made, columns=["4b", "4b + 1", "4b + 2", "4b + 3"], corner="b"),
                ]
            ),
            *([f"NaN stands where the last block has more numbers than there are {what}s."] if len(bits) % 4 else []),
        ],
    )
