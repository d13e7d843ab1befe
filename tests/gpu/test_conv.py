"""Convolutions on the cuda rung: odd shapes and every option against torch; fused with ReLU and max pooling."""

import gpu_emulation
import numpy as np
import pytest
from parity_cases import assert_parity, normal

from scratchnet.kernels.gpu import conv, conv_pool
from scratchnet.ops import conv as textbook_module
from scratchnet.ops import conv2d, conv2d_backward, max_pool2d, max_pool2d_backward, relu, relu_backward

# x, weight, options: one pixel, tails of tiles in rows and columns, several parts of dW, groups, everything at once
CASES = {
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "a 1 x 1 kernel": ((2, 3, 4, 5), (17, 3, 1, 1), {}),
    "the size of the image": ((3, 2, 4, 3), (5, 2, 4, 3), {}),
    "padding larger than the kernel": ((1, 1, 2, 2), (1, 1, 2, 2), {"padding": 3}),
    "more channels than a tile": ((1, 18, 5, 5), (66, 18, 3, 3), {"padding": 1}),
    "several parts of dW": ((3, 2, 24, 24), (3, 2, 3, 3), {"padding": 1}),
    "stride beyond the kernel": ((2, 2, 9, 11), (4, 2, 2, 3), {"stride": (3, 4)}),
    "dilation": ((2, 3, 9, 8), (4, 3, 3, 2), {"dilation": (2, 3), "padding": (1, 2)}),
    "depthwise": ((2, 4, 6, 6), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    "all of them": ((2, 6, 7, 9), (4, 3, 3, 2), {"groups": 2, "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)}),
    "no example": ((0, 2, 5, 5), (3, 2, 3, 3), {}),
}


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("case", CASES)
def test_conv2d(checked_gpu, case, bias):
    x, weight, options = CASES[case]
    assert_parity("conv2d", [normal(*x), normal(*weight, seed=1), normal(weight[0], seed=2) if bias else None],
                  xp=checked_gpu, **options)  # fmt: skip


@pytest.mark.parametrize("case", ["all of them", "depthwise"])
def test_in_either_order(either_order, case):
    x, weight, options = CASES[case]
    assert_parity(
        "conv2d", [normal(*x), normal(*weight, seed=1), normal(weight[0], seed=2)], xp=either_order, **options
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "output_padding": 1},
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2), "dilation": (1, 2), "groups": 2},
        {"dilation": 3, "output_padding": 2, "padding": 1},
    ],
)
def test_transposed(checked_gpu, options):
    groups = options.get("groups", 1)
    inputs = [normal(2, 4, 3, 5), normal(4, 6 // groups, 3, 2, seed=1), normal(6, seed=2)]
    assert_parity("conv_transpose2d", inputs, xp=checked_gpu, **options)
    assert_parity("conv_transpose2d", [*inputs[:2], None], xp=checked_gpu, **options)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), ((2, 1), (1, 2), (1, 2)), (3, 1, 1)])
def test_columns_in_memory_agree_with_the_textbook(checked_gpu, stride, padding, dilation):
    x, kernel = normal(2, 3, 7, 8), (3, 2)
    (ph, pw) = padding if isinstance(padding, tuple) else (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    cols, sizes = conv.im2col(checked_gpu.asarray(x), kernel, stride, padding, dilation)
    np.testing.assert_array_equal(cols.get(), textbook_module.im2col(padded, kernel, stride, dilation))
    dcols = normal(*cols.shape, seed=1)
    dx = textbook_module.col2im(dcols, padded.shape, stride, dilation)[:, :, ph : ph + 7, pw : pw + 8]
    np.testing.assert_allclose(conv.col2im(checked_gpu.asarray(dcols), sizes).get(), dx, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wants_dx", [False, True])
def test_with_relu_and_max_pooling(checked_gpu, wants_dx, dtype):
    """As the textbook's functions one after the other."""
    x, weight, bias = (normal(*s, seed=k).astype(dtype) for k, s in enumerate([(2, 3, 8, 9), (5, 3, 3, 3), (5,)]))
    z, conv_cache = conv2d(x, weight, bias, (1, 1), (1, 1))
    y, relu_cache = relu(z)
    pooled, pool_cache = max_pool2d(y, (3, 2), (2, 2), (1, 0), 1, True)
    dy, dy_relu = normal(*pooled.shape, seed=7).astype(dtype), normal(*y.shape, seed=8).astype(dtype)
    through_pool = conv2d_backward(relu_backward(max_pool2d_backward(dy, pool_cache), relu_cache), conv_cache)
    expected = pooled, *through_pool, y, *conv2d_backward(relu_backward(dy_relu, relu_cache), conv_cache)

    arrays = [checked_gpu.asarray(a) for a in (x, weight, bias)]
    dy, dy_relu = checked_gpu.asarray(dy), checked_gpu.asarray(dy_relu)
    with gpu_emulation.no_sync():
        a, cache = conv_pool.conv_relu_max_pool(*arrays, (1, 1), (1, 1), (3, 2), (2, 2), (1, 0), True)
        through_pool = conv_pool.conv_relu_max_pool_backward(dy, cache, wants_dx)
        b, cache = conv.conv2d_relu(*arrays, (1, 1), (1, 1))
        through_relu = conv.conv2d_backward(dy_relu, cache, wants_dx)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for ours, theirs in zip((a, *through_pool, b, *through_relu), expected, strict=True):
        if ours is None:
            assert not wants_dx
            continue
        error = np.linalg.norm(ours.get() - theirs)
        assert error <= tolerance * np.linalg.norm(theirs)
