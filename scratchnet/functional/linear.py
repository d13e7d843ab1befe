"""The fully connected layer and flatten; the mathematics is in scratchnet/ops/linear.py and flatten.py."""

from scratchnet.functional import _check as check
from scratchnet.functional._call import Saved, backward, forward
from scratchnet.ops.shape import Array


def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Saved]:
    """y = x · weightᵀ + bias: x (…, I), weight (O, I), bias (O,) → y (…, O); x (I,) alone is fine."""
    check.check_float("linear", "the input", x)
    check.check_parameter("linear", "weight", weight, x)
    if weight.ndim != 2:
        raise ValueError(f"linear: expected weight of shape (out_features, in_features), got {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected {weight.shape[1]} input features (weight {check.dims(weight.shape)}), "
            f"got an input of shape {x.shape}"
        )
    if bias is not None:
        check.check_parameter("linear", "bias", bias, x, weight.shape[:1])
    return forward("linear", x, weight, bias, unbatched=x.ndim == 1)


def linear_backward(dy: Array, cache: Saved) -> tuple[Array, Array, Array | None]:
    """dy (…, O) → dx (…, I), dweight (O, I), dbias (O,) or None."""
    return backward("linear", dy, cache)


def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> tuple[Array, Saved]:
    """Join the axes start_dim … end_dim into one; nn.Flatten starts at 1 and so keeps the batch axis."""
    check.check_float("flatten", "the input", x)
    start, end = (check.axis("flatten", n, v, x.ndim) for n, v in (("start_dim", start_dim), ("end_dim", end_dim)))
    if start > end:
        raise ValueError(f"flatten: expected start_dim before end_dim, got {start_dim} and {end_dim}")
    return forward("flatten", x, start, end)


def flatten_backward(dy: Array, cache: Saved) -> Array:
    return backward("flatten", dy, cache)
