"""torch's own samples of every op and module, and its own error inputs, through ours.

They come from what PyTorch tests itself with (OpInfo and ModuleInfo). What is not built is a row of EXCLUDED with its
reason, and has to be a clear error here; what assert_parity cannot compare has a test of its own.
"""

import inspect

import numpy as np
import pytest
import torch
from module_parity import assert_modules_agree
from parity_cases import assert_parity
from torch_internals import arrays, torch_internals

from scratchnet import functional as F
from scratchnet import nn

op_db = torch_internals("common_methods_invocations").op_db
modules = torch_internals("common_modules")

REJECTIONS = ValueError, TypeError, RuntimeError, NotImplementedError

# ours, torch's OpInfo, and how many of its samples must run: on every rung, and on the slow loops
OPS = [
    ("adaptive_avg_pool2d", "nn.functional.adaptive_avg_pool2d", 10, 6),
    ("avg_pool2d", "nn.functional.avg_pool2d", 7, 6),
    ("batch_norm", "nn.functional.batch_norm", 10, 10),
    ("conv1d", "nn.functional.conv1d", 10, 10),
    ("conv2d", "nn.functional.conv2d", 30, 21),
    ("conv_transpose2d", "nn.functional.conv_transpose2d", 12, 12),
    ("cross_entropy", "nn.functional.cross_entropy", 21, 21),
    ("flatten", "flatten", 51, 39),
    ("gelu", "nn.functional.gelu", 8, 8),
    ("leaky_relu", "nn.functional.leaky_relu", 9, 9),
    ("linear", "nn.functional.linear", 20, 20),
    ("log_softmax", "log_softmax", 7, 6),
    ("max_pool2d", "nn.functional.max_pool2d", 131, 131),
    ("mse_loss", "nn.functional.mse_loss", 6, 6),
    ("nll_loss", "nn.functional.nll_loss", 61, 61),
    ("pad2d", "nn.functional.pad.circular", 6, 5),
    ("pad2d", "nn.functional.pad.constant", 29, 23),
    ("pad2d", "nn.functional.pad.reflect", 9, 8),
    ("pad2d", "nn.functional.pad.replicate", 9, 8),
    ("relu", "nn.functional.relu", 40, 32),
    ("sigmoid", "sigmoid", 37, 32),
    ("softmax", "softmax", 7, 6),
    ("tanh", "tanh", 31, 23),
]
ERROR_INPUTS = {"conv1d": 10, "conv2d": 10, "max_pool2d": 7, "avg_pool2d": 5, "adaptive_avg_pool2d": 3, "gelu": 1}

EXCLUDED = [
    ("pad2d", lambda x, options: min(options["pads"]) < 0, "negative pads, which crop, are not built"),
    ("pad2d", lambda x, options: len(options["pads"]) != 4, "the two axes of images are padded, no third one"),
    ("pad2d", lambda x, options: x.ndim not in (3, 4), "images are (N, C, H, W) or (C, H, W)"),
]

# Gradients of these come first in assert_parity's list of inputs; the other arguments are options.
PARAMETERS = dict.fromkeys(["conv1d", "conv2d", "conv_transpose2d", "linear", "batch_norm"], ("weight", "bias"))
LARGEST = {"loops": 250}  # elements of an input; the loops take a microsecond and more for each step
EVERY = {"max_pool2d": 11}  # its 1440 samples are a full grid; 11 divides none of its sides


def opinfo(name):
    (info,) = (info for info in op_db if info.full_name == name)
    return info


def as_pad2d(x, pad, mode="constant", value=None):
    """torch's arguments as pad2d's: rows (…, L) as images of height 1, and the constant 0, the only one built."""
    if len(pad) == 2:
        x, pad = x if x.ndim == 4 else x[..., None, :], (*pad, 0, 0)
    return x, {"pads": tuple(pad), "mode": "zeros" if mode == "constant" else mode}


def by_our_names(op, x, *args, **kwargs):
    """The arguments of a sample as x and options."""
    if op == "pad2d":
        return as_pad2d(x, *args, **kwargs)
    named = inspect.signature(getattr(F, op)).bind(x, *args, **kwargs).arguments
    return x, dict(list(named.items())[1:])


def samples(op, info):
    """torch's samples as (x, options), in float64."""
    torch.manual_seed(0)
    generators = [info.sample_inputs] + ([info.reference_inputs] if info.reference_inputs_func else [])
    for generate in generators:
        for i, sample in enumerate(generate("cpu", torch.float64)):
            if i % EVERY.get(op, 1) == 0:
                x, args, kwargs = arrays((sample.input, sample.args, sample.kwargs))
                yield by_our_names(op, x, *args, **kwargs)


def excluded(op, x, options):
    return any(op == name and applies(x, options) for name, applies, _ in EXCLUDED)


def assert_indices(x, options):
    """max_pool2d's second output."""
    (y, indices), _ = F.max_pool2d(x, **options, return_indices=True)
    theirs, their_indices = torch.nn.functional.max_pool2d(torch.from_numpy(x), **options, return_indices=True)
    np.testing.assert_array_equal(y, theirs)
    np.testing.assert_array_equal(indices, their_indices)
    assert indices.dtype == "int64"


@pytest.mark.parametrize(("op", "name", "all_rungs", "loops"), OPS, ids=[name for _, name, _, _ in OPS])
def test_samples(op, name, all_rungs, loops, rung):
    ran = 0
    for x, options in samples(op, opinfo(name)):
        if x.size > LARGEST.get(rung, 5000):
            continue
        if excluded(op, x, options):
            with pytest.raises(REJECTIONS):
                getattr(F, op)(x, **options)
            continue
        if op == "batch_norm" and x.ndim == 1:
            continue  # test_batch_norm_of_an_empty_vector
        if options.pop("return_indices", False):
            assert_indices(x, options)
        parameters = [options.pop(parameter, None) for parameter in PARAMETERS.get(op, ())]
        assert_parity(op, [x, *parameters], **options)
        ran += 1
    assert ran >= (loops if rung == "loops" else all_rungs), f"{ran} samples ran"


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_an_empty_vector(training):
    """torch lets (0,) through: one sample of no channels, without its batch axis."""
    x = np.zeros(0)
    (y, mean, var), cache = F.batch_norm(x, x, x, training=training)
    dx, dweight, dbias = F.batch_norm_backward(y, cache)
    assert y.shape == mean.shape == var.shape == dx.shape == (0,)
    assert dweight is None
    assert dbias is None


@pytest.mark.parametrize(
    ("op", "name", "at_least"), [("dropout", "nn.functional.dropout", 19), ("dropout2d", "nn.functional.dropout2d", 13)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("ignore:dropout2d")
def test_dropout_samples(op, name, at_least, dtype):
    """The masks are our own: values are 0 or x/(1 − p), and with p = 0, p = 1 or in evaluation as torch's."""
    ran = 0
    for x, options in samples(op, opinfo(name)):
        x, p = x.astype(dtype), options.get("p", 0.5)
        y, cache = getattr(F, op)(x, **options)
        dx = F.dropout_backward(np.ones_like(x), cache)
        if 0 < p < 1 and options.get("training", True):
            keep = dx != 0
            assert keep.any() or x.size == 1
            assert not keep.all() or x.size == 1
            expected = np.where(keep, x / (1 - p), 0)
            np.testing.assert_allclose(dx, np.where(keep, 1 / (1 - p), 0), rtol=1e-6)
        else:
            expected = getattr(torch.nn.functional, op)(torch.from_numpy(x), **options).numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        assert y.dtype == dx.dtype == dtype
        ran += 1
    assert ran >= at_least


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_to_another_dtype_is_not_built(name):
    with pytest.raises(TypeError, match="dtype"):
        getattr(F, name)(np.ones(3), 0, dtype="float32")


@pytest.mark.parametrize("op", ERROR_INPUTS)
def test_error_inputs(op):
    errors = list(opinfo(f"nn.functional.{op}").error_inputs("cpu"))
    assert len(errors) >= ERROR_INPUTS[op]
    for error in errors:
        sample = error.sample_input
        with pytest.raises(error.error_type):
            opinfo(f"nn.functional.{op}")(sample.input, *sample.args, **sample.kwargs)
        x, args, kwargs = arrays((sample.input, sample.args, sample.kwargs))
        with pytest.raises(REJECTIONS, match=f"^{op}"):
            getattr(F, op)(x, *args, **kwargs)


MODULES = {  # how many samples must run in each mode and dtype
    "AdaptiveAvgPool2d": 5,
    "AvgPool2d": 7,
    "BatchNorm1d": 8,
    "BatchNorm2d": 7,
    "Conv1d": 4,
    "Conv2d": 4,
    "ConvTranspose2d": 2,
    "CrossEntropyLoss": 105,
    "GELU": 3,
    "LeakyReLU": 5,
    "Linear": 3,
    "LogSoftmax": 4,
    "MSELoss": 8,
    "MaxPool2d": 2,
    "NLLLoss": 28,
    "ReLU": 4,
    "Sigmoid": 4,
    "Softmax": 3,
    "Tanh": 3,
}


def module_info(name):
    (info,) = (info for info in modules.module_db if info.name == f"nn.{name}")
    return info


def make(name, constructor, dtype):
    """Our module from a sample's constructor arguments."""
    args, kwargs = arrays((constructor.args, constructor.kwargs))
    return getattr(nn, name)(*args, **kwargs).to(str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_module_samples(name, training, rung):
    info, ran = module_info(name), 0
    dtypes = (torch.float64,) if rung == "loops" else (torch.float64, torch.float32)
    for dtype in dtypes:
        torch.manual_seed(0)
        for sample in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=training):
            constructor, forward = sample.constructor_input, sample.forward_input
            if constructor.kwargs.get("return_indices"):
                continue  # two outputs: test_samples
            theirs = info.module_cls(*constructor.args, **constructor.kwargs).to(dtype).train(training)
            inputs = [np.array(x) for x in arrays([*forward.args, *forward.kwargs.values()])]
            ours = make(name, constructor, dtype).train(training)
            assert repr(ours) == repr(theirs)
            assert_modules_agree(ours, theirs, inputs)
            ran += 1
    assert ran >= MODULES[name] * len(dtypes)


@pytest.mark.parametrize(
    "name", ["BatchNorm1d", "BatchNorm2d", "MaxPool2d", "NLLLoss", "CrossEntropyLoss", "Softmax", "LogSoftmax"]
)
def test_module_error_inputs(name):
    info = module_info(name)
    errors = info.module_error_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
    assert errors
    for error in errors:
        sample = error.module_error_input
        with pytest.raises(REJECTIONS):
            make(name, sample.constructor_input, torch.float64).forward(*arrays(sample.forward_input.args))
