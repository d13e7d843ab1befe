"""ONNX's backend node tests of this library's layers: their own inputs and expected outputs, forward.

A function for each operator translates its attributes into our arguments. What is not built is a row of EXCLUDED.
"""

import warnings

import numpy as np
import pytest

from scratchnet import functional as F

onnx = pytest.importorskip("onnx")
loader = pytest.importorskip("onnx.backend.test.loader")

EXCLUDED = {
    "test_averagepool_1d_default": "pooling is of images",
    "test_averagepool_2d_dilations": "torch's average pooling has no dilation",
    "test_averagepool_2d_pads": "torch takes padding of at most half of the window",
    "test_averagepool_2d_pads_count_include_pad": "torch takes padding of at most half of the window",
    "test_averagepool_2d_same_lower": "torch's pooling pads evenly",
    "test_averagepool_2d_same_upper": "torch's pooling pads evenly",
    "test_constant_pad": "the constant is 0",
    "test_constant_pad_axes": "the constant is 0",
    "test_constant_pad_negative_axes": "the constant is 0",
    "test_convtranspose_1d": "transposed convolution is of images",
    "test_convtranspose_autopad_same": "torch's transposed convolution crops evenly",
    "test_gemm_default_matrix_bias": "a bias is (O,)",
    "test_maxpool_1d_default": "pooling is of images",
    "test_maxpool_2d_pads": "torch takes padding of at most half of the window",
    "test_maxpool_2d_same_lower": "torch's pooling pads evenly",
    "test_maxpool_2d_same_upper": "torch's pooling pads evenly",
    "test_maxpool_2d_uint8": "arrays are float32 or float64",
    "test_training_dropout": "the mask comes from NumPy's generator",
    "test_training_dropout_default": "the mask comes from NumPy's generator",
    "test_training_dropout_default_mask": "the mask comes from NumPy's generator",
    "test_training_dropout_mask": "the mask comes from NumPy's generator",
}
SPATIAL = ("AveragePool", "ConvTranspose", "MaxPool")  # their "3d" tests are of volumes: images have two axes
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 5e-4}  # expects four decimals


def same_pads(size, kernel, stride, mode):
    """auto_pad along one axis: as many windows as strides fit in, the odd pixel of padding above or below."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2) if mode == b"SAME_UPPER" else (total - total // 2, total // 2)


def pads_of(x, kernel, stride, attributes):
    """((top, bottom), (left, right)); ONNX lists all beginnings, then all ends."""
    if "auto_pad" in attributes:
        sizes = zip(x.shape[2:], kernel, stride, strict=True)
        return tuple(same_pads(*axis, attributes["auto_pad"]) for axis in sizes)
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return (top, bottom), (left, right)


def even(pads):
    (top, bottom), (left, right) = pads
    assert (top, left) == (bottom, right)
    return top, left


def conv(x, weight, bias=None, *, strides=(1, 1), dilations=(1, 1), group=1, kernel_shape=None, **attributes):
    (top, bottom), (left, right) = pads_of(x, weight.shape[2:], strides, attributes)
    x, _ = F.pad2d(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides, 0, dilations, group)[:1]


def conv_transpose(
    x, weight, bias=None, *, strides=(1, 1), dilations=(1, 1), group=1, output_padding=(0, 0), **attributes
):
    padding = even(pads_of(x, weight.shape[2:], strides, attributes))
    if "output_shape" in attributes:
        natural = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, weight.shape[2:], strict=True)]
        output_padding = [size - n for size, n in zip(attributes["output_shape"], natural, strict=True)]
    return F.conv_transpose2d(x, weight, bias, strides, padding, output_padding, group, dilations)[:1]


def max_pool(x, *, kernel_shape, strides=(1, 1), dilations=(1, 1), ceil_mode=0, storage_order=0, **attributes):
    padding = even(pads_of(x, kernel_shape, strides, attributes))
    options = strides, padding, dilations, bool(ceil_mode), True
    (y, indices), _ = F.max_pool2d(x, kernel_shape, *options)
    assert x.shape[:2] == (1, 1) or storage_order == 0  # ONNX counts through all images, we within each
    height, width = x.shape[2:]
    return y, indices % width * height + indices // width if storage_order else indices


def average_pool(x, *, kernel_shape, strides=(1, 1), ceil_mode=0, count_include_pad=0, **attributes):
    padding = even(pads_of(x, kernel_shape, strides, attributes))
    return F.avg_pool2d(x, kernel_shape, strides, padding, bool(ceil_mode), bool(count_include_pad))[:1]


def batch_normalization(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    training, n = bool(training_mode), x.size // x.shape[1]
    (y, new_mean, new_var), _ = F.batch_norm(x, mean, var, scale, bias, training, 1 - momentum, epsilon)
    new_var = momentum * var + (new_var - momentum * var) * (n - 1) / n  # ONNX keeps the biased variance
    return (y, new_mean, new_var.astype(x.dtype)) if training else (y,)


def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    x, weight = a.T if transA else a, b if transB else b.T
    bias = None if c is None else (np.broadcast_to(c, (1, len(weight)))[0] * beta).astype(a.dtype)
    return F.linear((alpha * x).astype(a.dtype), weight, bias)[:1]


def dropout(x, ratio=0.5, training=False, *, seed=0, **attributes):
    y, _ = F.dropout(x, float(ratio), bool(training))
    return y, np.ones(x.shape, bool)  # nothing is dropped in the tests that are left


def flatten(x, *, axis=1):
    """ONNX's is a matrix: the axes before `axis`, and the others."""
    axis %= x.ndim
    y, _ = F.flatten(x, axis)
    return (F.flatten(y, 0, axis - 1)[0] if axis else y[None],)


def pad(x, pads, *, mode):
    (_, _, top, left), (_, _, bottom, right) = pads[:4], pads[4:]
    mode = {b"edge": "replicate", b"reflect": "reflect", b"wrap": "circular"}[mode]
    return F.pad2d(x.astype("float64"), (left, right, top, bottom), mode)[:1]


def cross_entropy(logits, target, weight=None, *, reduction=b"mean", ignore_index=-100):
    loss, _ = F.cross_entropy(logits, target, weight, ignore_index, reduction.decode())
    return loss, F.log_softmax(logits, 1)[0]


def nll_loss(log_p, target, weight=None, *, reduction=b"mean", ignore_index=-100):
    return F.nll_loss(log_p, target, weight, ignore_index, reduction.decode())[:1]


# operator → ours, and how many of its tests must run
OPERATORS = {
    "AveragePool": (average_pool, 7),
    "BatchNormalization": (batch_normalization, 4),
    "Conv": (conv, 6),
    "ConvTranspose": (conv_transpose, 8),
    "Dropout": (dropout, 8),
    "Flatten": (flatten, 9),
    "Gelu": (lambda x, approximate=b"none": F.gelu(x, approximate.decode())[:1], 4),
    "Gemm": (gemm, 10),
    "GlobalAveragePool": (lambda x: F.adaptive_avg_pool2d(x, 1)[:1], 2),
    "LeakyRelu": (lambda x, alpha=0.01: F.leaky_relu(x, alpha)[:1], 3),
    "LogSoftmax": (lambda x, axis=-1: F.log_softmax(x, axis)[:1], 7),
    "MaxPool": (max_pool, 9),
    "NegativeLogLikelihoodLoss": (nll_loss, 18),
    "Pad": (pad, 3),
    "Relu": (lambda x: F.relu(x)[:1], 1),
    "Sigmoid": (lambda x: F.sigmoid(x)[:1], 2),
    "Softmax": (lambda x, axis=-1: F.softmax(x, axis)[:1], 7),
    "SoftmaxCrossEntropyLoss": (cross_entropy, 34),
    "Tanh": (lambda x: F.tanh(x)[:1], 2),
}


@pytest.fixture(scope="module")
def node_tests():
    """operator → its tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX computes all of its examples when they are loaded
        cases = loader.load_model_tests(kind="node")
    tests = {}
    for case in cases:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS:
            tests.setdefault(nodes[0].op_type, []).append(case)
    return tests


@pytest.mark.parametrize("operator", OPERATORS)
def test_node(operator, node_tests):
    function, at_least = OPERATORS[operator]
    ran = 0
    for case in node_tests[operator]:
        if case.name in EXCLUDED or (operator in SPATIAL and "3d" in case.name):
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}
        for inputs, outputs in case.data_sets:
            results = function(*inputs, **attributes)
            for result, expected in zip(results, outputs, strict=False):
                assert result.shape == expected.shape, case.name
                rtol = ROUNDED.get(case.name, 1e-5)
                np.testing.assert_allclose(result, expected, rtol=rtol, atol=1e-6, err_msg=case.name)
            assert len(results) >= len(outputs), case.name
        ran += 1
    assert ran >= at_least, f"{ran} tests ran"
