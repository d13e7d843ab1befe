"""Ideas of convolution, each with numbers from the library's own ops."""

import numpy

from scratchnet import functional as F
from scratchnet import ops
from scratchnet.functional.conv import same_pads
from scratchnet.ops.conv import col2im, im2col
from scratchnet.ops.shape import Array, output_size
from scratchnet.study.explain import samples
from scratchnet.study.explain.page import Beside, Block, Page, Source, at, number_sum, numbers, source

KERNEL = numpy.array([[[[1.0, 0, -1], [1, 0, -1], [1, 0, -1]]]])  # left column less right column: a vertical edge


def concept_page(name: str, title: str, options: dict, introduction: str, blocks: list[Block]) -> Page:
    return Page(name, "concept", title, options, introduction, blocks)


def _conv() -> list[Source]:
    return [source(ops.conv2d, "y = weight.reshape")]


def _size(size: int, kernel: int, padding: str | int) -> int:
    """The output size of a convolution, by running it."""
    x, weight = numpy.ones((1, 1, size, size)), numpy.ones((1, 1, kernel, kernel))
    return F.conv2d(x, weight, padding=padding)[0].shape[2]


def convolution(*, seed: int = 0) -> Page:
    """single-channel convolution: one kernel slides over one image"""
    x = samples.integers(numpy.random.default_rng(seed), (1, 1, 4, 4), 0, 5)
    y, _ = F.conv2d(x, KERNEL)
    places = list(numpy.ndindex(2, 2))
    sums = [
        number_sum(
            at("y", *p), zip(KERNEL.flat, x[0, 0, p[0] : p[0] + 3, p[1] : p[1] + 3].flat, strict=True), y[0, 0][p]
        )
        for p in places
    ]
    return concept_page(
        "convolution",
        "Single-channel convolution",
        {"seed": seed},
        "A small kernel of weights slides over the image. At each place it is multiplied with the window under it, "
        "number by number, and the products are added: one output pixel.",
        [
            Block("Image and kernel", "", [], [Beside([numbers("x", x[0, 0]), numbers("kernel", KERNEL[0, 0])])]),
            Block(
                "The output",
                "y[i,j] = Σ over (u,v) of kernel[u,v] · x[i + u, j + v]",
                _conv(),
                [
                    numbers("y", y[0, 0]),
                    "All four pixels written out, each window row by row:",
                    *sums,
                    "This kernel takes what is right from what is left: it is 0 where a window is even from left to "
                    "right, and large at a vertical edge. (Mathematicians call this cross-correlation; their "
                    "convolution flips the kernel first. With learned weights that makes no difference.)",
                ],
            ),
        ],
    )


def bias(*, seed: int = 0) -> Page:
    """convolution with bias: one number added to a whole feature map"""
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, (1, 1, 4, 4), 0, 5)
    b = numpy.array([2.0])
    without, with_bias = F.conv2d(x, KERNEL)[0], F.conv2d(x, KERNEL, b)
    y, cache = with_bias
    dy = samples.gradient(rng, y.shape)
    dbias = F.conv2d_backward(dy, cache)[2]
    assert dbias is not None
    return concept_page(
        "bias",
        "Convolution with bias",
        {"seed": seed},
        "Each feature map has one bias: a number that is added to all of its pixels.",
        [
            Block(
                "Image, kernel, bias",
                "",
                [],
                [Beside([numbers("x", x[0, 0]), numbers("kernel", KERNEL[0, 0]), numbers("bias", b)])],
            ),
            Block(
                "Without and with",
                "y[i,j] = Σ kernel · window + bias",
                [source(ops.conv2d, "y += bias")],
                [
                    Beside([numbers("without", without[0, 0]), numbers("with", y[0, 0])]),
                    number_sum("y[0,0]", [(without[0, 0, 0, 0],), (b[0],)], y[0, 0, 0, 0]),
                    "Before a ReLU it is a threshold: a pixel passes where the kernel's answer is above −bias.",
                    Beside(
                        [numbers("ReLU without", F.relu(without)[0][0, 0]), numbers("ReLU with", F.relu(y)[0][0, 0])]
                    ),
                ],
            ),
            Block(
                "Its gradient",
                "dbias = Σ dy",
                [source(ops.conv2d_backward, "dbias = dy.sum")],
                [
                    "It went into every pixel of the map, so their gradients add. dy is chosen here.",
                    numbers("dy", dy[0, 0]),
                    number_sum("dbias[0]", [(g,) for g in dy.flat], dbias[0]),
                ],
            ),
            Block(
                "In front of BatchNorm it does nothing",
                "BatchNorm(y + bias) = BatchNorm(y)",
                [],
                [
                    "BatchNorm subtracts each channel's mean, and the bias with it: the convolution needs none.",
                    Beside(
                        [
                            numbers("normalised without", _normalised(without)),
                            numbers("normalised with", _normalised(y)),
                        ]
                    ),
                ],
            ),
        ],
    )


def _normalised(y: Array) -> Array:
    return F.batch_norm(y, None, None, training=True)[0][0][0, 0]


def padding(*, seed: int = 0) -> Page:
    """zero padding: a border, so that the edge counts and the size stays"""
    x = samples.integers(numpy.random.default_rng(seed), (1, 1, 4, 4), 1, 5)
    padded = numpy.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y, _ = F.conv2d(x, KERNEL, padding=1)
    covers = []
    for p in (0, 1):
        ones = im2col(numpy.ones((1, 1, 4 + 2 * p, 4 + 2 * p)), (3, 3), 1, 1)
        count = col2im(numpy.ones_like(ones), (1, 1, 4 + 2 * p, 4 + 2 * p), 1, 1)[0, 0]
        covers.append(count[p : 4 + p, p : 4 + p])
    depth = [[8, 8]]
    while depth[-1][0] > 2:
        depth.append([_size(depth[-1][0], 3, 0), _size(depth[-1][1], 3, 1)])
    return concept_page(
        "padding",
        "Zero padding",
        {"seed": seed},
        "A border of zeros is laid around the image before the kernel slides over it.",
        [
            Block(
                "The border",
                "x̂ = x inside a border of P zeros        here P = 1",
                [],
                [Beside([numbers("x", x[0, 0]), numbers("x̂", padded[0, 0])])],
            ),
            Block(
                "The output keeps its size",
                f"OH = H + 2P − KH + 1 = 4 + 2·1 − 3 + 1 = {y.shape[2]}",
                [source(output_size, "return (size"), *_conv()],
                [
                    numbers("y", y[0, 0]),
                    number_sum("y[0,0]", zip(KERNEL.flat, padded[0, 0, :3, :3].flat, strict=True), y[0, 0, 0, 0]),
                ],
            ),
            Block(
                "The edge counts",
                "",
                [source(col2im, "dx[tap(")],
                [
                    "In how many 3×3 windows each pixel lies. Without padding a corner is seen once; with it, four "
                    "times.",
                    Beside([numbers("without padding", covers[0]), numbers("with padding 1", covers[1])]),
                ],
            ),
            Block(
                "Deep networks keep their images",
                "",
                [source(output_size, "return (size")],
                [
                    "An 8×8 image through one 3×3 convolution after another: each takes two rows and two columns away, "
                    "unless it is padded. The side length after each layer:",
                    numbers(
                        "side length",
                        numpy.array(depth).T,
                        rows=["no padding", "padding 1"],
                        columns=[str(i) for i in range(len(depth))],
                        corner="layers",
                    ),
                ],
            ),
        ],
    )


def valid(*, seed: int = 0) -> Page:
    """no padding: only windows that lie inside the image"""
    x = samples.integers(numpy.random.default_rng(seed), (1, 1, 5, 5), 0, 5)
    y, _ = F.conv2d(x, KERNEL, padding="valid")
    sizes = [_size(5, k, "valid") for k in range(1, 6)]
    strided = [F.conv2d(x, KERNEL, stride=s, padding="valid")[0].shape[2] for s in (1, 2, 3)]
    return concept_page(
        "valid",
        "“Valid” convolution",
        {"seed": seed},
        "Valid means no padding: a window counts only if it lies wholly inside the image, so the output is smaller.",
        [
            Block(
                "The size formula",
                f"OH = H − KH + 1 = 5 − 3 + 1 = {y.shape[2]}        with stride S: ⌊(H − KH) / S⌋ + 1",
                [source(output_size, "return (size")],
                [
                    "A window of KH rows starts at row 0 at the earliest and at row H − KH at the latest: H − KH + 1 "
                    "places.",
                    Beside([numbers("x", x[0, 0]), numbers("y", y[0, 0])]),
                    number_sum("y[2,2]", zip(KERNEL.flat, x[0, 0, 2:, 2:].flat, strict=True), y[0, 0, 2, 2]),
                ],
            ),
            Block(
                "Output sizes",
                "",
                [],
                [
                    "A 5×5 image and kernels of 1×1 to 5×5:",
                    numbers(
                        "OH", numpy.array([sizes]), rows=["OH"], columns=[str(k) for k in range(1, 6)], corner="KH"
                    ),
                    "A 3×3 kernel with strides:",
                    numbers(
                        "OH by stride", numpy.array([strided]), rows=["OH"], columns=["1", "2", "3"], corner="stride"
                    ),
                ],
            ),
        ],
    )


def same(*, seed: int = 0) -> Page:
    """as much padding as keeps the image's size"""
    x = samples.integers(numpy.random.default_rng(seed), (1, 1, 4, 4), 0, 5)
    y, _ = F.conv2d(x, KERNEL, padding="same")
    even = numpy.array([[[[1.0, 1.0], [1.0, 1.0]]]])
    z, _ = F.conv2d(x, even, padding="same")
    rows = []
    for k in range(1, 6):
        left, right, _, _ = same_pads((k, k), (1, 1))
        rows.append([k - 1, left, right, _size(5, k, "same")])
    return concept_page(
        "same",
        "“Same” convolution",
        {"seed": seed},
        "Same means: as much padding as makes the output as large as the input. It needs stride 1.",
        [
            Block(
                "The size formula",
                "P = (KH − 1) / 2 on each side, for an odd KH        OH = H + 2P − KH + 1 = H",
                [source(same_pads, "return total_w // 2"), source(output_size, "return (size")],
                [
                    "A 3×3 kernel takes two rows away, so P = 1 gives them back.",
                    Beside([numbers("x", x[0, 0]), numbers("y", y[0, 0])]),
                ],
            ),
            Block(
                "How much padding",
                "total = D·(KH − 1)        ⌊total/2⌋ left and above, the rest right and below",
                [source(same_pads, "total_h, total_w =")],
                [
                    "A 5×5 image. An even kernel has an odd total, and the extra column goes to the right, the extra "
                    "row "
                    "below, as in torch:",
                    numbers(
                        "padding",
                        numpy.array(rows),
                        rows=[str(k) for k in range(1, 6)],
                        columns=["total", "left", "right", "OW"],
                        corner="KW",
                    ),
                    "x under a 2×2 kernel of ones: each pixel plus its neighbours to the right and below.",
                    numbers("sums of 2×2", z[0, 0]),
                    number_sum("sums[3,3]", [(x[0, 0, 3, 3],), (0.0,), (0.0,), (0.0,)], z[0, 0, 3, 3]),
                ],
            ),
        ],
    )


def channels(*, seed: int = 0) -> Page:
    """several input channels to several feature maps"""
    rng = numpy.random.default_rng(seed)
    x = samples.integers(rng, (1, 2, 3, 3), 0, 4)
    weight = samples.integers(rng, (3, 2, 2, 2), -1, 2)
    b = samples.integers(rng, (3,), 0, 2)
    y, _ = F.conv2d(x, weight, b)
    parts = numpy.stack(
        [[F.conv2d(x[:, c : c + 1], weight[o : o + 1, c : c + 1])[0][0, 0] for c in range(2)] for o in range(3)]
    )
    return concept_page(
        "channels",
        "Several channels, several feature maps",
        {"seed": seed},
        "A colour image has three channels. Each output channel (feature map) has a kernel for every input channel; it "
        "adds their answers and its bias.",
        [
            Block("Input: C = 2 channels", "", [], [numbers("x", x[0])]),
            Block(
                "Weight: O·C = 3·2 kernels of 2×2, and O biases",
                f"O·C·KH·KW + O = 3·2·2·2 + 3 = {weight.size + b.size} parameters",
                [],
                [numbers("weight", weight), numbers("bias", b)],
            ),
            Block(
                "Output: O = 3 feature maps",
                "y[o] = Σ over c of (kernel[o,c] over x[c]) + bias[o]",
                [*_conv(), source(ops.conv2d, "y += bias")],
                [
                    "What each kernel gives on its own channel, [o,c]:",
                    numbers("answers", parts),
                    "Added over c, with the bias:",
                    numbers("y", y[0]),
                    number_sum("y[0,0,0]", [*((v,) for v in parts[0, :, 0, 0]), (b[0],)], y[0, 0, 0, 0]),
                ],
            ),
        ],
    )


CONCEPTS = {write.__name__: write for write in (convolution, bias, padding, valid, same, channels)}
