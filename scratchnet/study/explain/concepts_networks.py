"""What an output sees, and what networks share and build up, with numbers from the library's own ops."""

import numpy

from scratchnet import functional as F
from scratchnet import nn, ops
from scratchnet.ops.conv import col2im
from scratchnet.study.explain import samples
from scratchnet.study.explain.concepts import concept_page
from scratchnet.study.explain.page import Beside, Block, Page, number_sum, numbers, source


def receptive_field(*, seed: int = 0) -> Page:
    """what part of the image an output pixel sees"""
    x = numpy.ones((1, 1, 9, 9))
    kernel = numpy.ones((1, 1, 3, 3))
    caches, sizes, y = [], [9], x
    for _ in range(3):
        y, cache = F.conv2d(y, kernel)
        caches.append(cache)
        sizes.append(y.shape[2])
    seen = []
    for depth in (1, 2, 3):
        dy = numpy.zeros((1, 1, sizes[depth], sizes[depth]))
        dy[0, 0, sizes[depth] // 2, sizes[depth] // 2] = 1
        for cache in reversed(caches[:depth]):
            dy = F.conv2d_backward(dy, cache)[0]
        seen.append(dy[0, 0])
    sides = [int((a.any(axis=0)).sum()) for a in seen]
    table, r, j = [], 1, 1
    for k, s in ((3, 1), (2, 2), (3, 1), (2, 2)):
        r, j = r + (k - 1) * j, j * s
        table.append([k, s, j, r])
    return concept_page(
        "receptive_field",
        "Local receptive field",
        {},
        "A pixel of a feature map sees only a window of the image, not all of it. Layer by layer that window grows.",
        [
            Block(
                "Found by backpropagation",
                "the receptive field of y is where ∂y/∂x can be other than 0",
                [source(col2im, "dx[tap(")],
                [
                    "Kernels of ones, 3×3 with stride 1, on a 9×9 image. The gradient of the middle pixel after 1, 2 "
                    "and 3 layers, taken back to the image: each number counts the ways from that pixel of the image "
                    "to the output.",
                    *(numbers(f"after {d} layer{'s'[: d > 1]}", a) for d, a in zip((1, 2, 3), seen, strict=True)),
                    f"The side of the receptive field: {', '.join(map(str, sides))}. Most ways lead to its middle.",
                ],
            ),
            Block(
                "The formula",
                "r ← r + (K − 1) · j        j ← j · S        r = j = 1 for the image",
                [],
                [
                    "r is the side of the receptive field, j the distance on the image between neighbours of a map. "
                    "System E's two convolutions and pools, each 3×3 stride 1 and 2×2 stride 2:",
                    numbers(
                        "fields",
                        numpy.array(table),
                        rows=["conv1", "pool", "conv2", "pool"],
                        columns=["K", "S", "j", "r"],
                        corner="layer",
                    ),
                    number_sum("r after conv2", [(1.0,), (2.0, 1.0), (1.0, 1.0), (2.0, 2.0)], table[2][3]),
                    "A pool of stride 2 doubles what every later kernel adds.",
                ],
            ),
        ],
    )


def parameter_sharing(*, seed: int = 0) -> Page:
    """a convolution's parameters against those of a fully connected layer"""
    rng = numpy.random.default_rng(seed)
    x, kernel = samples.integers(rng, (1, 1, 3, 3), 0, 5), numpy.array([[[[1.0, 2], [3, 4]]]])
    y, cache = F.conv2d(x, kernel)
    rows = [F.conv2d_backward(e.reshape(1, 1, 2, 2), cache)[0].ravel() for e in numpy.eye(4)]
    matrix = numpy.stack(rows)  # ∂y/∂x: y is linear in x
    z, saved = F.linear(x.reshape(1, 9), matrix)
    dy = samples.gradient(rng, y.shape)
    _, dweight, _ = F.conv2d_backward(dy, cache)
    _, dmatrix, _ = F.linear_backward(dy.reshape(1, 4), saved)
    shared = [dmatrix[p, q] for p, q in zip(*numpy.nonzero(matrix == 1), strict=True)]
    pixels = [f"{i},{j}" for i in range(3) for j in range(3)]
    windows = [f"{i},{j}" for i in range(2) for j in range(2)]
    conv = sum(p.data.size for p in nn.Conv2d(3, 16, 3, padding=1).parameters())
    inputs, outputs = 3 * 32 * 32, 16 * 32 * 32
    full = inputs * outputs + outputs
    return concept_page(
        "parameter_sharing",
        "Parameter sharing",
        {"seed": seed},
        "A fully connected layer has a weight for every pair of input and output. A convolution uses the same few "
        "weights at every place.",
        [
            Block(
                "A convolution is a fully connected layer with most weights 0 and the others shared",
                "y = M · x        x and y as vectors",
                [source(ops.conv2d_backward, "dcols = W.swapaxes"), source(col2im, "dx[tap(")],
                [
                    Beside([numbers("x", x[0, 0]), numbers("kernel", kernel[0, 0]), numbers("y", y[0, 0])]),
                    "The fully connected layer that does the same: a row for each output pixel, a column for each "
                    "input pixel. (Its rows are ∂y/∂x, which backward gives for a dy of one 1.)",
                    numbers("M", matrix, rows=windows, columns=pixels, corner="y\\x"),
                    "M · x:",
                    numbers("M · x", z[0], columns=windows),
                    f"{matrix.size} weights, of which {int((matrix != 0).sum())} are not 0; they are the same 4 "
                    "numbers, 4 times.",
                ],
            ),
            Block(
                "Shared weights add up their gradients",
                "dkernel[u,v] = Σ over the places of M that hold kernel[u,v] of dM",
                [source(ops.conv2d_backward, "dweight = (dY @"), source(ops.linear_backward, "dweight = dY.T")],
                [
                    "dy is chosen here.",
                    numbers("dy", dy[0, 0]),
                    numbers("dM", dmatrix, rows=windows, columns=pixels, corner="y\\x"),
                    numbers("dkernel", dweight[0, 0]),
                    number_sum("dkernel[0,0]", [(g,) for g in shared], dweight[0, 0, 0, 0]),
                ],
            ),
            Block(
                "In numbers: conv1 of system E, 3×32×32 → 16×32×32",
                f"convolution:     16·3·3·3 + 16 = {conv:,} parameters\n"
                f"fully connected: {inputs:,}·{outputs:,} + {outputs:,} = {full:,} parameters",
                [],
                [
                    f"{full / conv:,.0f} times as many. And a larger image needs no larger kernel.",
                    numbers(
                        "parameters",
                        numpy.array([[conv], [full]]),
                        rows=["convolution", "fully connected"],
                        columns=["parameters"],
                    ),
                ],
            ),
        ],
    )


def hierarchy() -> Page:
    """edges, then corners: later layers combine what earlier ones found"""
    x = numpy.zeros((1, 1, 6, 6))
    x[..., 2:, 2:] = 1
    edges = numpy.array([[[[-1.0, 1], [-1, 1]]], [[[-1.0, -1], [1, 1]]]])
    first, _ = F.relu(F.conv2d(x, edges)[0])
    combine = numpy.array([[[[0.0, 0], [1, 0]], [[0.0, 1], [0, 0]]]])
    threshold = numpy.array([-3.0])
    both, _ = F.conv2d(first, combine, threshold)
    corner, _ = F.relu(both)
    i, j = numpy.unravel_index(int(corner[0, 0].argmax()), corner.shape[2:])
    terms = zip(combine.flat, first[0, :, i : i + 2, j : j + 2].flat, strict=True)
    return concept_page(
        "hierarchy",
        "Hierarchy of features",
        {},
        "The first layer finds edges. The second sees not pixels but maps of edges, and finds what they form. The "
        "kernels here are written by hand; training finds its own.",
        [
            Block("The image: a bright square", "", [], [numbers("x", x[0, 0])]),
            Block(
                "First layer: vertical and horizontal edges",
                "f = ReLU(convolution with two 2×2 kernels)",
                [source(ops.conv2d, "y = weight.reshape"), source(ops.relu, "return")],
                [
                    Beside([numbers("vertical", edges[0, 0]), numbers("horizontal", edges[1, 0])]),
                    "Each map answers where its edge is:",
                    numbers("f", first[0]),
                ],
            ),
            Block(
                "Second layer: both at once are a corner",
                "g[i,j] = ReLU(f[0, i + 1, j] + f[1, i, j + 1] − 3)",
                [source(ops.conv2d, "y += bias"), source(ops.relu, "return")],
                [
                    "A vertical edge below and a horizontal edge to the right: a corner. Each answers with 2, so the "
                    "sum passes the threshold 3 only where both are. Before ReLU and after it:",
                    Beside([numbers("sum − 3", both[0, 0]), numbers("g", corner[0, 0])]),
                    number_sum(f"(sum − 3)[{i},{j}]", [*terms, (threshold[0],)], both[0, 0, i, j]),
                    f"Of {corner.size} places {numpy.count_nonzero(corner)} is left, ({i},{j}): the square's corner.",
                ],
            ),
        ],
    )


CONCEPTS = {write.__name__: write for write in (receptive_field, parameter_sharing, hierarchy)}
