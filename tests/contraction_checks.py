"""The kernels that multiply matrices, held against the loops rung between guards."""

import numpy as np

from scratchnet import backend
from scratchnet.kernels.cpu import conv, conv_pool

TOLERANCE = {np.dtype("float32"): 1e-5, np.dtype("float64"): 1e-12}


def loops(op):
    return backend.implementation(op, "loops")


def assert_close(got, expected, inputs):
    """Up to rounding of the largest sum that these inputs could give."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        if b is None:
            assert a is None
            continue
        assert a.shape == b.shape
        assert a.dtype == inputs[0].dtype
        scale = max(float(np.abs(b).max(initial=0)), 1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[a.dtype] * scale)


def check(guarded, inputs, forward, forward_loops):
    """forward(*inputs) → (y, backward); the same for the loops rung, on copies between no guards."""
    own = [None if x is None else guarded.array(x) for x in inputs]
    y, backward = forward(*own)
    expected, backward_loops = forward_loops(*inputs)
    dy = np.random.default_rng(9).standard_normal(y.shape).astype(y.dtype)
    got, wanted = backward(guarded.array(dy)), backward_loops(dy)
    assert guarded.intact(), "a kernel wrote beside its arrays"
    for x, before in zip(own, inputs, strict=True):
        if x is not None:
            np.testing.assert_array_equal(x, before)
    assert_close([y, *got], [expected, *wanted], inputs)


def conv_inputs(rng, n, c, h, w, o, groups, kernel, dtype, bias=True):
    x, weight = rng.standard_normal((n, c * groups, h, w)), rng.standard_normal((o * groups, c, *kernel))
    return [x.astype(dtype), weight.astype(dtype), rng.standard_normal(o * groups).astype(dtype) if bias else None]


def conv_check(guarded, inputs, relu=False, **options):
    def forward(*arrays):
        y, cache = conv.conv2d_relu(*arrays, **options, relu=relu)
        return y, lambda dy: conv.conv2d_backward(dy, cache)

    def forward_loops(*arrays):
        y, cache = loops("conv2d").forward(*arrays, **options)
        if not relu:
            return y, lambda dy: loops("conv2d").backward(dy, cache)
        z, relu_cache = loops("relu").forward(y)
        return z, lambda dy: loops("conv2d").backward(loops("relu").backward(dy, relu_cache), cache)

    check(guarded, inputs, forward, forward_loops)


def pool_check(guarded, inputs, stride, padding, kernel, pool_stride, pool_padding, ceil_mode):
    def forward(*arrays):
        y, cache = conv_pool.conv_relu_max_pool(*arrays, stride, padding, kernel, pool_stride, pool_padding, ceil_mode)
        return y, lambda dy: conv_pool.conv_relu_max_pool_backward(dy, cache)

    def forward_loops(*arrays):
        ops = [
            ("conv2d", (stride, padding)),
            ("relu", ()),
            ("max_pool2d", (kernel, pool_stride, pool_padding, 1, ceil_mode)),
        ]
        (x, weight, bias), caches = arrays, []
        y, cache = loops("conv2d").forward(x, weight, bias, stride, padding)
        caches.append(("conv2d", cache))
        for op, options in ops[1:]:
            y, cache = loops(op).forward(y, *options)
            caches.append((op, cache))

        def backward(dy):
            for op, cache in reversed(caches):
                dy = loops(op).backward(dy, cache)
            return dy

        return y, backward

    check(guarded, inputs, forward, forward_loops)
