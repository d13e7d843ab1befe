"""Convolution and padding; the mathematics is in scratchnet/ops/conv.py and pad.py."""

from typing import NamedTuple

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array, Pair, output_size

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class PaddedSaved(NamedTuple):
    """A convolution whose input was padded by an op of its own."""

    pad: Saved
    conv: Saved


def same_pads(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """padding="same" as (left, right, top, bottom): of an uneven total the extra one goes right and below."""
    total_h, total_w = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Saved | PaddedSaved]:
    """Convolve x (N, C, H, W) or (C, H, W) with weight (O, C/groups, KH, KW) and bias (O,) → y (N, O, OH, OW).

    padding is a number, a pair, "valid" (none) or "same" (OH = H and OW = W, stride 1 only).
    """
    op = "conv2d"
    check.check_float(op, "the input", x)
    check.check_ndim(op, x, (3, 4), "(N, C, H, W) or (C, H, W)")
    check.check_parameter(op, "weight", weight, x)
    if weight.ndim != 4 or 0 in weight.shape[2:]:
        raise ValueError(f"{op}: expected weight of shape (O, C/groups, KH, KW), got {weight.shape}")
    return _convolve(op, x, weight, bias, stride, padding, dilation, groups)


def _convolve(op: str, x: Array, weight: Array, bias: Array | None, stride, padding, dilation, groups):
    """What conv1d and conv2d share, once both look at images: the other checks, "same" padding, the call."""
    strides = check.integer_pair(op, "stride", stride, 1)
    dilations = check.integer_pair(op, "dilation", dilation, 1)
    groups = check.integer(op, "groups", groups, 1)
    o, c_group, kh, kw = weight.shape
    if o == 0:
        raise ValueError(f"{op}: expected at least one output channel, got weight of shape {weight.shape}")
    if o % groups:
        raise ValueError(f"{op}: expected out_channels divisible by groups={groups}, got {o}")
    if 0 in x.shape[-2:] and 0 not in x.shape[:-2]:
        raise ValueError(f"{op}: expected images of at least one pixel, got an input of shape {x.shape}")
    if x.shape[-3] != c_group * groups:
        in_groups = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{op}: expected {c_group * groups} input channel{'' if c_group * groups == 1 else 's'} "
            f"(weight {check.dims(weight.shape)}{in_groups}), got an input of shape {x.shape}"
        )
    if bias is not None:
        check.check_parameter(op, "bias", bias, x, (o,))
    if isinstance(padding, str):
        check.choice(op, "padding", padding, ("valid", "same"))
        if padding == "same" and strides != (1, 1):
            raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}")
        left, right, top, bottom = same_pads((kh, kw), dilations) if padding == "same" else (0, 0, 0, 0)
        if (left, top) != (right, bottom):
            x, pad = pad2d(x, (left, right, top, bottom))
            y, conv = _convolve(op, x, weight, bias, strides, (0, 0), dilations, groups)
            return y, PaddedSaved(pad, conv)
        paddings = top, left
    else:
        paddings = check.integer_pair(op, "padding", padding, 0)
    for size, kernel, s, p, d in zip(x.shape[-2:], (kh, kw), strides, paddings, dilations, strict=True):
        if output_size(size, kernel, s, p, d) < 1:
            raise ValueError(
                f"{op}: expected an input no smaller than the kernel {check.dims((kh, kw))} with dilation "
                f"{dilation}, got shape {x.shape} with padding {padding}"
            )
    return forward("conv2d", x, weight, bias, strides, paddings, dilations, groups, unbatched=x.ndim == 3)


def conv2d_backward(dy: Array, cache: Saved | PaddedSaved) -> tuple[Array, Array, Array | None]:
    """dy of y's shape → dx, dweight, dbias (None without bias)."""
    if isinstance(cache, PaddedSaved):
        dx, dweight, dbias = backward("conv2d", dy, cache.conv)
        return pad2d_backward(dx, cache.pad), dweight, dbias
    return backward("conv2d", dy, cache)


def conv1d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] | str = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> tuple[Array, Saved | PaddedSaved]:
    """Convolve x (N, C, L) or (C, L) with weight (O, C/groups, K): conv2d over images of height 1."""
    op = "conv1d"
    check.check_float(op, "the input", x)
    check.check_ndim(op, x, (2, 3), "(N, C, L) or (C, L)")
    check.check_parameter(op, "weight", weight, x)
    if weight.ndim != 3 or weight.shape[2] == 0:
        raise ValueError(f"{op}: expected weight of shape (O, C/groups, K), got {weight.shape}")
    strides = 1, *check.integers(op, "stride", stride, 1, 1)
    dilations = 1, *check.integers(op, "dilation", dilation, 1, 1)
    paddings = padding if isinstance(padding, str) else (0, *check.integers(op, "padding", padding, 0, 1))
    y, cache = _convolve(op, x[..., None, :], weight[:, :, None], bias, strides, paddings, dilations, groups)
    return y[..., 0, :], cache


def conv1d_backward(dy: Array, cache: Saved | PaddedSaved) -> tuple[Array, Array, Array | None]:
    """dy of y's shape → dx, dweight, dbias (None without bias)."""
    check.check_float("conv1d_backward", "dy", dy)
    dx, dweight, dbias = conv2d_backward(dy[..., None, :], cache)
    return dx[..., 0, :], dweight[:, :, 0], dbias


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> tuple[Array, Saved]:
    """Spread x (N, C, H, W) or (C, H, W) by weight (C, O/groups, KH, KW) and bias (O,) → y (N, O, OH, OW)."""
    op = "conv_transpose2d"
    check.check_float(op, "the input", x)
    check.check_ndim(op, x, (3, 4), "(N, C, H, W) or (C, H, W)")
    check.check_parameter(op, "weight", weight, x)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"{op}: expected weight of shape (C, O/groups, KH, KW), got {weight.shape}")
    strides = check.integer_pair(op, "stride", stride, 1)
    paddings = check.integer_pair(op, "padding", padding, 0)
    output_paddings = check.integer_pair(op, "output_padding", output_padding, 0)
    dilations = check.integer_pair(op, "dilation", dilation, 1)
    groups = check.integer(op, "groups", groups, 1)
    if x.shape[-3] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{op}: expected {weight.shape[0]} input channels (weight {check.dims(weight.shape)}), divisible by "
            f"groups={groups}, got an input of shape {x.shape}"
        )
    if bias is not None:
        check.check_parameter(op, "bias", bias, x, (weight.shape[1] * groups,))
    sizes = zip(x.shape[-2:], weight.shape[2:], strides, paddings, output_paddings, dilations, strict=True)
    for size, kernel, s, p, extra, d in sizes:
        if extra >= max(s, d):
            raise ValueError(f"{op}: expected output_padding below stride or dilation, got {output_padding}")
        if (size - 1) * s - 2 * p + d * (kernel - 1) + extra + 1 < 1 or size == 0:
            raise ValueError(f"{op}: nothing is left of an input of shape {x.shape} after padding {padding}")
    options = strides, paddings, output_paddings, groups, dilations
    return forward(op, x, weight, bias, *options, unbatched=x.ndim == 3)


def conv_transpose2d_backward(dy: Array, cache: Saved) -> tuple[Array, Array, Array | None]:
    """dy of y's shape → dx, dweight, dbias (None without bias)."""
    return backward("conv_transpose2d", dy, cache)


def pad2d(x: Array, pads: tuple[int, int, int, int], mode: str = "zeros") -> tuple[Array, Saved]:
    """Pad the last two axes of x (N, C, H, W) or (C, H, W) by pads = (left, right, top, bottom).

    mode is zeros, reflect (pads < the axis), replicate or circular (pads ≤ the axis).
    """
    check.check_float("pad2d", "the input", x)
    check.check_ndim("pad2d", x, (3, 4), "(N, C, H, W) or (C, H, W)")
    check.choice("pad2d", "mode", mode, PADDING_MODES)
    if not isinstance(pads, tuple | list) or len(pads) != 4:
        raise ValueError(f"pad2d: expected pads as (left, right, top, bottom), got {pads!r}")
    left, right, top, bottom = (check.integer("pad2d", "pads", p, 0) for p in pads)
    for size, before, after in zip(x.shape[-2:], (top, left), (bottom, right), strict=True):
        limit = {"reflect": size - 1, "circular": size}.get(mode, max(before, after))
        if max(before, after) > limit or (mode == "replicate" and size == 0):
            raise ValueError(f"pad2d: expected {mode} pads of at most {limit} for shape {x.shape}, got {pads}")
    return forward("pad2d", x, (left, right, top, bottom), mode, unbatched=x.ndim == 3)


def pad2d_backward(dy: Array, cache: Saved) -> Array:
    return backward("pad2d", dy, cache)
