"""Mistakes in convolution. Each function is the right one of scratchnet/ops/conv.py but for the mistake."""

from scratchnet.ops import conv
from scratchnet.ops.conv import Conv2dCache, col2im, im2col
from scratchnet.ops.pad import crop, pad_with
from scratchnet.ops.shape import Array, Pair, array_module, output_size, pair, tap
from scratchnet.study.museum.exhibit import exhibit, helper_of, replaces, with_names

FAMILY = "convolution"
Gradients = tuple[Array, Array, Array | None]


def _col2im_overwrites_by_windows(dcols: Array, x_shape: tuple[int, ...], stride: Pair, dilation: Pair) -> Array:
    """As a loop over windows overwrites: the last window that covers a pixel, so its smallest (u, v), stays."""
    kh, kw, *out = dcols.shape[2:]
    dx = array_module(dcols).zeros(x_shape, dcols.dtype)
    for u in reversed(range(kh)):
        for v in reversed(range(kw)):
            dx[tap(u, v, stride, dilation, (out[0], out[1]))] = dcols[:, :, u, v]
    return dx


_in_place_of_col2im = helper_of("conv2d_backward", conv.conv2d_backward, "col2im")


@exhibit(
    "col2im-overwrites",
    title="col2im overwrites where windows overlap",
    family=FAMILY,
    right=conv.col2im,
    bug=_in_place_of_col2im,
    variants=(_in_place_of_col2im(_col2im_overwrites_by_windows),),
    check="gradcheck",
    case="conv",
    why="col2im is read as the inverse of im2col, which would put every pixel back where it came from. It is the "
    "gradient of im2col: a pixel that was copied into nine columns has nine paths to the loss, and they add up.",
    effect="dx keeps one of up to KH·KW contributions. It still points roughly downhill, so the network trains, more "
    "slowly the more layers lie below. The first layer's own weights are not hurt: nobody needs its dx.",
    notice="dweight and dbias are right and dx is wrong, but only where windows overlap: with stride ≥ kernel size the "
    "bug is invisible, so check with stride < kernel. A round trip col2im(im2col(x)) = x is the symptom, no proof: "
    "the right col2im gives each pixel times the number of its windows.",
    seen=(
        "oreilly-japan/deep-learning-from-scratch issue 27: a reader proposes = for the book's (right) +=",
        "CNugteren/CLBlast issue 270: col2im expected to be the inverse of im2col, without additions",
    ),
)
def col2im_overwrites(dcols: Array, x_shape: tuple[int, ...], stride: Pair, dilation: Pair) -> Array:
    kh, kw, *out = dcols.shape[2:]
    dx = array_module(dcols).zeros(x_shape, dcols.dtype)  # (N, C, H, W)
    for u in range(kh):
        for v in range(kw):
            dx[tap(u, v, stride, dilation, (out[0], out[1]))] = dcols[:, :, u, v]
    return dx


@exhibit(
    "conv-dx-kernel-flipped",
    title="dx with the kernel upside down",
    family=FAMILY,
    right=conv.conv2d_backward,
    bug=replaces("conv2d_backward"),
    check="gradcheck",
    case="conv",
    why="“The gradient of a convolution is a convolution with the flipped kernel” is true of the formula that slides a "
    "kernel over dy. In dcols = Wᵀ·dY the flip is already there, since col2im puts every column back where it was "
    "read; flipping W once more undoes it.",
    effect="The gradient reaches the right neighbourhood with the weights of the opposite pixel. Layers below learn "
    "from a distorted signal; the layer itself learns as it should.",
    notice="dx is wrong, dweight is right. Symmetric kernels (a blur, a Laplacian) hide it: check with random weights.",
)
def conv_dx_kernel_flipped(dy: Array, cache: Conv2dCache) -> Gradients:
    cols, weight, x_shape, has_bias, stride, padding, dilation = cache
    (n, c, h, w), (o, _, kh, kw), (ph, pw) = x_shape, weight.shape, pair(padding)
    groups, k, p = cols.shape[1:]

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dY = dy.reshape(n, groups, o // groups, p)  # (N, G, O/G, P)
    dweight = (dY @ cols.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (O, C/G, KH, KW)
    W = weight[:, :, ::-1, ::-1].reshape(groups, o // groups, k)  # (G, O/G, K)
    dcols = W.swapaxes(1, 2) @ dY  # (N, G, K, P)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])  # (N, C, KH, KW, OH, OW)
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), stride, dilation)  # (N, C, H + 2·PH, W + 2·PW)
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias


@exhibit(
    "conv-dx-ignores-stride",
    title="The backward pass forgets the stride",
    family=FAMILY,
    right=conv.conv2d_backward,
    bug=replaces("conv2d_backward"),
    check="gradcheck",
    case="strided conv",
    why="Backward is written and tested with stride 1, and stride is added to the forward pass later. Written as a "
    "convolution over dy, the backward pass needs dy spread out by stride − 1 zeros, which is easy to forget or to "
    "mix up with the dilation.",
    effect="All gradient lands in the upper left part of the image, at the wrong pixels; the rest gets none.",
    notice="With stride 1 everything is right. Look where dx is not zero: here the lower right of it is empty.",
    seen=(
        "huggingface/candle pull request 2337: stride and dilation swapped in the backward pass of a transposed "
        "convolution, found with stride 2",
    ),
)
def conv_dx_ignores_stride(dy: Array, cache: Conv2dCache) -> Gradients:
    cols, weight, x_shape, has_bias, _, padding, dilation = cache
    (n, c, h, w), (o, _, kh, kw), (ph, pw) = x_shape, weight.shape, pair(padding)
    groups, k, p = cols.shape[1:]

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dY = dy.reshape(n, groups, o // groups, p)  # (N, G, O/G, P)
    dweight = (dY @ cols.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (O, C/G, KH, KW)
    W = weight.reshape(groups, o // groups, k)  # (G, O/G, K)
    dcols = W.swapaxes(1, 2) @ dY  # (N, G, K, P)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])  # (N, C, KH, KW, OH, OW)
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), 1, dilation)  # (N, C, H + 2·PH, W + 2·PW)
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias


@exhibit(
    "conv-dweight-averaged",
    title="The weight gradient is a mean over the batch, again",
    family=FAMILY,
    right=conv.conv2d_backward,
    bug=replaces("conv2d_backward"),
    check="gradcheck",
    case="conv",
    why="Somebody remembers that gradients are averaged over the batch, and the loss has done it already: its mean put "
    "1/N into dy. A layer sums over the batch, always, whatever the loss is.",
    effect="This layer's learning rate is N times too small while its bias and all other layers learn at full speed. "
    "With Adam, which rescales every gradient, almost nothing is seen.",
    notice="numeric = N × analytic for each element: the ratio is the batch size, and changes with it.",
    seen=("sebgao/cTensor issue 3: the weight gradient divided by B·H·W; the author: “You are right. My fault here.”",),
)
def conv_dweight_averaged(dy: Array, cache: Conv2dCache) -> Gradients:
    cols, weight, x_shape, has_bias, stride, padding, dilation = cache
    (n, c, h, w), (o, _, kh, kw), (ph, pw) = x_shape, weight.shape, pair(padding)
    groups, k, p = cols.shape[1:]

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dY = dy.reshape(n, groups, o // groups, p)  # (N, G, O/G, P)
    dweight = (dY @ cols.swapaxes(2, 3)).mean(axis=0).reshape(weight.shape)  # (O, C/G, KH, KW)
    W = weight.reshape(groups, o // groups, k)  # (G, O/G, K)
    dcols = W.swapaxes(1, 2) @ dY  # (N, G, K, P)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])  # (N, C, KH, KW, OH, OW)
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), stride, dilation)  # (N, C, H + 2·PH, W + 2·PW)
    return crop(dx, (pw, pw, ph, ph)), dweight, dbias


@exhibit(
    "conv-padding-cut-at-one-end",
    title="The padding is cut off at one end only",
    family=FAMILY,
    right=conv.conv2d_backward,
    bug=replaces("conv2d_backward"),
    check="gradcheck",
    case="conv",
    why="dx comes out of col2im with the padding around it, 2·p too large. dx[:, :, :H, :W] has the right shape, and "
    "shapes are what gets noticed.",
    effect="The whole gradient image is shifted by p pixels. The layers below hear about their neighbours.",
    notice="A shift by p: dx equals the right one moved down and right, with the padding's gradient in the first row.",
)
def conv_padding_cut_at_one_end(dy: Array, cache: Conv2dCache) -> Gradients:
    cols, weight, x_shape, has_bias, stride, padding, dilation = cache
    (n, c, h, w), (o, _, kh, kw), (ph, pw) = x_shape, weight.shape, pair(padding)
    groups, k, p = cols.shape[1:]

    dbias = dy.sum(axis=(0, 2, 3)) if has_bias else None  # (O,)
    dY = dy.reshape(n, groups, o // groups, p)  # (N, G, O/G, P)
    dweight = (dY @ cols.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (O, C/G, KH, KW)
    W = weight.reshape(groups, o // groups, k)  # (G, O/G, K)
    dcols = W.swapaxes(1, 2) @ dY  # (N, G, K, P)
    dcols = dcols.reshape(n, c, kh, kw, *dy.shape[2:])  # (N, C, KH, KW, OH, OW)
    dx = col2im(dcols, (n, c, h + 2 * ph, w + 2 * pw), stride, dilation)  # (N, C, H + 2·PH, W + 2·PW)
    return crop(dx, (0, 2 * pw, 0, 2 * ph)), dweight, dbias


def _cropped_at_the_end(y: Array, pads: tuple[int, int, int, int]) -> Array:
    return crop(y, (0, pads[0] + pads[1], 0, pads[2] + pads[3]))


@exhibit(
    "conv-padding-on-one-side",
    title="All padding on the right and the bottom",
    family=FAMILY,
    right=conv.conv2d,
    bug=replaces("conv2d", with_names(conv.conv2d_backward, crop=_cropped_at_the_end)),
    check="parity",
    case="conv",
    why="The size formula only asks for 2·p more rows and columns; it does not say where they go.",
    effect="None that a curve shows: the network learns filters that are shifted. Its weights are worth nothing in "
    "another framework, and its feature maps drift by p pixels a layer.",
    notice="Every gradient is right for the function that is computed. Compare outputs with another implementation, "
    "or feed one bright pixel and look where the kernel appears.",
)
def conv_padding_on_one_side(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    n, _, h, w = x.shape
    o, c_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    k, p = c_group * kh * kw, oh * ow

    cols = im2col(pad_with(x, (0, 2 * pw, 0, 2 * ph)), (kh, kw), stride, dilation)  # (N, C, KH, KW, OH, OW)
    cols = cols.reshape(n, groups, k, p)  # (N, G, K, P)
    y = weight.reshape(groups, o // groups, k) @ cols  # (N, G, O/G, P)
    y = y.reshape(n, o, oh, ow)  # (N, O, OH, OW)
    if bias is not None:
        y += bias[:, None, None]
    return y, Conv2dCache(cols, weight, x.shape, bias is not None, stride, padding, dilation)


def _of_the_flipped_kernel(dy: Array, cache: Conv2dCache) -> Gradients:
    """The gradient that belongs to a forward pass with a flipped kernel."""
    dx, dweight, dbias = conv.conv2d_backward(dy, cache)
    return dx, dweight[:, :, ::-1, ::-1], dbias


@exhibit(
    "conv-flips-the-kernel",
    title="A true convolution, where torch correlates",
    family=FAMILY,
    right=conv.conv2d,
    bug=replaces("conv2d", _of_the_flipped_kernel),
    check="parity",
    case="conv",
    why="The layer is called a convolution, and mathematicians (and scipy.signal.convolve2d) flip the kernel.",
    effect="None on training: the network learns the flipped weights. Weights that come from torch, or go there, give "
    "nonsense.",
    notice="No gradient check can see it, since forward and backward agree. It takes another implementation, or one "
    "bright pixel as input: a correlation shows the kernel turned by 180°, a true convolution as it is.",
)
def conv_flips_the_kernel(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    weight = weight[:, :, ::-1, ::-1]
    n, _, h, w = x.shape
    o, c_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    k, p = c_group * kh * kw, oh * ow

    cols = im2col(pad_with(x, (pw, pw, ph, ph)), (kh, kw), stride, dilation)  # (N, C, KH, KW, OH, OW)
    cols = cols.reshape(n, groups, k, p)  # (N, G, K, P)
    y = weight.reshape(groups, o // groups, k) @ cols  # (N, G, O/G, P)
    y = y.reshape(n, o, oh, ow)  # (N, O, OH, OW)
    if bias is not None:
        y += bias[:, None, None]
    return y, Conv2dCache(cols, weight, x.shape, bias is not None, stride, padding, dilation)
