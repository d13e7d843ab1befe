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
    check.check_float("conv2d", "the input", x)
    check.check_ndim("conv2d", x, (3, 4), "(N, C, H, W) or (C, H, W)")
    check.check_parameter("conv2d", "weight", weight, x)
    if weight.ndim != 4 or 0 in weight.shape[2:]:
        raise ValueError(f"conv2d: expected weight of shape (O, C/groups, KH, KW), got {weight.shape}")
    strides = check.integer_pair("conv2d", "stride", stride, 1)
    dilations = check.integer_pair("conv2d", "dilation", dilation, 1)
    groups = check.integer("conv2d", "groups", groups, 1)
    o, c_group, kh, kw = weight.shape
    if o % groups:
        raise ValueError(f"conv2d: expected out_channels divisible by groups={groups}, got {o}")
    if x.shape[-3] != c_group * groups:
        in_groups = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"conv2d: expected {c_group * groups} input channels (weight {check.dims(weight.shape)}{in_groups}), "
            f"got an input of shape {x.shape}"
        )
    if bias is not None:
        check.check_parameter("conv2d", "bias", bias, x, (o,))

    if isinstance(padding, str):
        check.choice("conv2d", "padding", padding, ("valid", "same"))
        if padding == "same" and strides != (1, 1):
            raise ValueError(f"conv2d: padding='same' needs stride 1, got stride {stride}")
        left, right, top, bottom = same_pads((kh, kw), dilations) if padding == "same" else (0, 0, 0, 0)
        if (left, top) != (right, bottom):
            x, pad = pad2d(x, (left, right, top, bottom))
            y, conv = conv2d(x, weight, bias, strides, "valid", dilations, groups)
            return y, PaddedSaved(pad, conv)  # type: ignore[arg-type]  # "valid" never pads
        paddings = top, left
    else:
        paddings = check.integer_pair("conv2d", "padding", padding, 0)

    for size, kernel, s, p, d in zip(x.shape[-2:], (kh, kw), strides, paddings, dilations, strict=True):
        if output_size(size, kernel, s, p, d) < 1:
            raise ValueError(
                f"conv2d: expected an input no smaller than the kernel {check.dims((kh, kw))} with dilation "
                f"{dilation}, got shape {x.shape} with padding {padding}"
            )
    return forward("conv2d", x, weight, bias, strides, paddings, dilations, groups, unbatched=x.ndim == 3)


def conv2d_backward(dy: Array, cache: Saved | PaddedSaved) -> tuple[Array, Array, Array | None]:
    """dy of y's shape → dx, dweight, dbias (None without bias)."""
    if isinstance(cache, PaddedSaved):
        dx, dweight, dbias = backward("conv2d", dy, cache.conv)
        return pad2d_backward(dx, cache.pad), dweight, dbias
    return backward("conv2d", dy, cache)


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
