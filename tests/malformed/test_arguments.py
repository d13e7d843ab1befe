# ruff: noqa: E501 - a table, one case a line
"""Malformed arguments of the library: each is a ValueError, TypeError or RuntimeError whose message names the cause."""

import numpy as np
import pytest

import scratchnet
from scratchnet import backend, datasets, models, nn, optim
from scratchnet import functional as F

X = np.zeros((2, 3, 8, 8), "float32")
V = np.zeros((2, 3), "float32")
W = np.zeros((4, 3, 3, 3), "float32")
B = np.zeros(4, "float32")
T = np.zeros(2, "int64")
S3 = np.ones(3, "float32")
LABELS = np.zeros(4, "int64")
IMAGES = np.zeros((4, 1, 2, 2), "uint8")
SET = datasets.ArrayDataset("toy", "train", IMAGES, LABELS, ("a", "b"))
P = nn.Parameter(np.ones(2, "float32"))


def f64(a):
    return a.astype("float64")


def backward(op, y_and_cache, dy):
    return getattr(F, f"{op}_backward")(dy, y_and_cache[1])


CASES = [
    # what is no array of numbers
    (lambda: F.relu([1.0, -1.0]), "expected the input as a NumPy or CuPy array, got list"),
    (lambda: F.relu(3.0), "got float"),
    (lambda: F.relu(None), "got NoneType"),
    (lambda: F.relu("text"), "got str"),
    (lambda: F.relu(np.zeros(3, "int64")), "expected the input of float32 or float64, got int64"),
    (lambda: F.relu(np.zeros(3, "float16")), "got float16"),
    (lambda: F.relu(np.zeros(3, "complex64")), "got complex64"),
    (lambda: F.relu(np.zeros(3, bool)), "got bool"),
    (lambda: F.relu(np.array(["a"])), "got <U1"),
    (lambda: F.relu(np.array([None])), "got object"),
    (lambda: F.tanh([[1.0]]), "tanh: expected the input"),
    (lambda: F.sigmoid(np.zeros(2, "uint8")), "sigmoid: expected the input of float32 or float64, got uint8"),
    (lambda: F.gelu(np.zeros(2, "int8")), "gelu: expected the input of float32"),
    # conv2d
    (lambda: F.conv2d(X[0, 0], W), r"conv2d: expected an input of shape \(N, C, H, W\) or \(C, H, W\), got \(8, 8\)"),
    (lambda: F.conv2d(X[:, :2], W), r"expected 3 input channels \(weight 4×3×3×3\), got an input of shape \(2, 2, 8, 8\)"),
    (lambda: F.conv2d(X, W[0]), r"expected weight of shape \(O, C/groups, KH, KW\), got \(3, 3, 3\)"),
    (lambda: F.conv2d(X, W[..., :0]), r"expected weight of shape .* got \(4, 3, 3, 0\)"),
    (lambda: F.conv2d(X, f64(W)), "expected weight of the input's float32, got float64"),
    (lambda: F.conv2d(X, W, B[:3]), r"expected bias of shape \(4,\), got \(3,\)"),
    (lambda: F.conv2d(X, W, f64(B)), "expected bias of the input's float32, got float64"),
    (lambda: F.conv2d(X, None), "expected weight as a NumPy or CuPy array, got NoneType"),
    (lambda: F.conv2d(X, W, B, stride=0), "conv2d: expected stride ≥ 1, got 0"),
    (lambda: F.conv2d(X, W, B, stride=-1), "expected stride ≥ 1, got -1"),
    (lambda: F.conv2d(X, W, B, stride=1.5), "expected stride as an integer, got 1.5"),
    (lambda: F.conv2d(X, W, B, stride=True), "expected stride as an integer, got True"),
    (lambda: F.conv2d(X, W, B, stride=(1, 2, 3)), r"expected stride as an integer or a pair \(h, w\), got \(1, 2, 3\)"),
    (lambda: F.conv2d(X, W, B, stride=()), r"expected stride as an integer or a pair \(h, w\), got \(\)"),
    (lambda: F.conv2d(X, W, B, stride=None), "expected stride as an integer, got None"),
    (lambda: F.conv2d(X, W, B, padding=-1), "expected padding ≥ 0, got -1"),
    (lambda: F.conv2d(X, W, B, padding="full"), "expected padding as one of valid, same, got 'full'"),
    (lambda: F.conv2d(X, W, B, 2, "same"), "padding='same' needs stride 1, got stride 2"),
    (lambda: F.conv2d(X, W, B, dilation=0), "expected dilation ≥ 1, got 0"),
    (lambda: F.conv2d(X, W, B, dilation=4), r"no smaller than the kernel 3×3 with dilation 4, got shape \(2, 3, 8, 8\)"),
    (lambda: F.conv2d(X[..., :2], W, B), r"expected an input no smaller than the kernel 3×3"),
    (lambda: F.conv2d(X, W, B, groups=0), "expected groups ≥ 1, got 0"),
    (lambda: F.conv2d(X, W, B, groups=3), "expected out_channels divisible by groups=3, got 4"),
    (lambda: F.conv2d(X, W, B, groups=2), "expected 6 input channels .* in 2 groups"),
    (lambda: nn.Conv2d(3, 4, 0), "Conv2d: expected kernel_size ≥ 1, got 0"),
    (lambda: nn.Conv2d(3, 4, (1, 2, 3)), "expected kernel_size as an integer or a pair"),
    (lambda: nn.Conv2d(3, 4, "3"), "expected kernel_size as an integer, got '3'"),
    (lambda: nn.Conv2d(-1, 4, 3), "expected in_channels ≥ 0, got -1"),
    (lambda: nn.Conv2d(3, 4.0, 3), "expected out_channels as an integer, got 4.0"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "expected in_channels divisible by groups=2, got 3"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), "expected out_channels divisible by groups=2, got 3"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "expected padding_mode as one of zeros, reflect, replicate, circular"),
    (lambda: nn.Conv2d(3, 4, 3, padding="half"), "expected padding as one of valid, same, got 'half'"),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), "padding='same' needs stride 1"),
    (lambda: nn.Conv2d(3, 4, 3, dtype="int8"), "dtype: expected float32 or float64, got 'int8'"),
    (lambda: nn.Conv2d(3, 4, 3, padding=8, padding_mode="reflect")(X), "expected reflect pads of at most 7"),
    (lambda: nn.Conv2d(3, 4, 3, padding=9, padding_mode="circular")(X), "expected circular pads of at most 8"),
    (lambda: nn.Conv1d(3, 4, (1, 2)), "Conv1d: expected kernel_size as one integer, got \\(1, 2\\)"),
    (lambda: nn.Conv1d(3, 4, 3)(X), r"conv1d: expected an input of shape \(N, C, L\) or \(C, L\)"),
    (lambda: F.conv1d(X[:, :, 0], W[..., 0], B, stride=(1, 1)), "conv1d: expected stride as one integer"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1)(X), "expected output_padding below stride or dilation"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), "ConvTranspose2d: expected padding as an integer or a pair"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "expected padding_mode='zeros'"),
    (lambda: nn.ConvTranspose2d(2, 4, 3)(X), "conv_transpose2d: expected 2 input channels"),
    # pooling
    (lambda: F.max_pool2d(X, 0), "max_pool2d: expected kernel_size ≥ 1, got 0"),
    (lambda: F.max_pool2d(X, 2, stride=0), "expected stride ≥ 1, got 0"),
    (lambda: F.max_pool2d(X, 2, padding=2), "expected padding of at most half of the window, got padding 2"),
    (lambda: F.max_pool2d(X, 2, dilation=0), "expected dilation ≥ 1, got 0"),
    (lambda: F.max_pool2d(X, 9), r"expected an input no smaller than the window \(9, 9\), got shape \(2, 3, 8, 8\)"),
    (lambda: F.max_pool2d(X[0, 0], 2), "max_pool2d: expected an input of shape"),
    (lambda: F.max_pool2d(X[:, :0], 2), "expected at least one channel and one pixel"),
    (lambda: F.max_pool2d(X.astype(int), 2), "got int64"),
    (lambda: nn.MaxPool2d(0), "MaxPool2d: expected kernel_size ≥ 1"),
    (lambda: nn.MaxPool2d(None), "expected kernel_size as an integer, got None"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0), "expected a divisor_override other than 0"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=1.5), "expected divisor_override as an integer, got 1.5"),
    (lambda: F.avg_pool2d(X, 3, padding=2), "avg_pool2d: expected padding of at most half"),
    (lambda: F.avg_pool2d(X, (2, 2, 2)), "expected kernel_size as an integer or a pair"),
    (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), "expected output_size as an integer or a pair"),
    (lambda: F.adaptive_avg_pool2d(X, -1), "expected output_size ≥ 0, got -1"),
    (lambda: F.adaptive_avg_pool2d(X, 2.0), "expected output_size as an integer, got 2.0"),
    # batch norm
    (lambda: nn.BatchNorm2d(3)(V), r"BatchNorm2d: expected an input of shape \(N, C, H, W\), got \(2, 3\)"),
    (lambda: nn.BatchNorm2d(4)(X), r"BatchNorm2d: expected 4 channels, got an input of shape \(2, 3, 8, 8\)"),
    (lambda: nn.BatchNorm1d(3)(X), r"BatchNorm1d: expected an input of shape \(N, C\) or \(N, C, L\)"),
    (lambda: nn.BatchNorm1d(3)(V[:1]), r"expected more than 1 value per channel when training, got .* \(1, 3\)"),
    (lambda: nn.BatchNorm2d(3)(X[:1, :, :1, :1]), "expected more than 1 value per channel when training"),
    (lambda: nn.BatchNorm2d(-1), "expected num_features ≥ 0, got -1"),
    (lambda: nn.BatchNorm2d(3)(f64(X)), "of the input's float64, got float32"),
    (lambda: nn.BatchNorm2d(3)(X.astype(int)), "BatchNorm2d: expected the input of float32 or float64, got int64"),
    (lambda: F.batch_norm(X, None, None), "expected running_mean and running_var in evaluation, got None"),
    (lambda: F.batch_norm(X, S3, None, training=True), "expected both running_mean and running_var, or neither"),
    (lambda: F.batch_norm(X, S3[:2], S3), r"expected running_mean of shape \(3,\), got \(2,\)"),
    (lambda: F.batch_norm(X, S3, S3, B), r"expected weight of shape \(3,\), got \(4,\)"),
    (lambda: F.batch_norm(X, S3, S3, eps=-1.0), "expected eps"),
    (lambda: F.batch_norm(X, S3, S3, momentum="0.1", training=True), "expected momentum as a number, got '0.1'"),
    # linear, flatten, activations
    (lambda: F.linear(V, np.zeros((4, 5), "float32")), r"expected 5 input features \(weight 4×5\), got .* \(2, 3\)"),
    (lambda: F.linear(V, V[0]), r"expected weight of shape \(out_features, in_features\), got \(3,\)"),
    (lambda: F.linear(V, V, S3), r"expected bias of shape \(2,\), got \(3,\)"),
    (lambda: F.linear(V, f64(V)), "expected weight of the input's float32, got float64"),
    (lambda: nn.Linear(-3, 2), "Linear: expected in_features ≥ 0, got -3"),
    (lambda: nn.Linear(3, "2"), "Linear: expected out_features as an integer, got '2'"),
    (lambda: nn.Linear(3, 2)(np.zeros((2, 4), "float32")), "expected 3 input features"),
    (lambda: F.flatten(X, 3, 1), "expected start_dim before end_dim, got 3 and 1"),
    (lambda: F.flatten(X, 4), "expected start_dim between -4 and 3, got 4"),
    (lambda: nn.Flatten(1, 5)(X), "expected end_dim between -4 and 3, got 5"),
    (lambda: nn.Flatten(1.0), "Flatten: expected start_dim as an integer, got 1.0"),
    (lambda: F.softmax(V, 2), "softmax: expected dim between -2 and 1, got 2"),
    (lambda: F.softmax(V, "1"), "expected dim as an integer, got '1'"),
    (lambda: F.log_softmax(V, -3), "log_softmax: expected dim between -2 and 1, got -3"),
    (lambda: F.gelu(V, "fast"), "gelu: expected approximate as one of none, tanh, got 'fast'"),
    (lambda: nn.GELU("fast"), "GELU: expected approximate as one of none, tanh"),
    (lambda: nn.LeakyReLU("0.1"), "LeakyReLU: expected negative_slope as a number, got '0.1'"),
    # dropout
    (lambda: nn.Dropout(1.5), "Dropout: expected a probability p between 0 and 1, got 1.5"),
    (lambda: nn.Dropout(-0.1), "between 0 and 1, got -0.1"),
    (lambda: nn.Dropout(float("nan")), "between 0 and 1, got nan"),
    (lambda: nn.Dropout("half"), "expected p as a number, got 'half'"),
    (lambda: nn.Dropout2d(2), "Dropout2d: expected a probability p"),
    (lambda: F.dropout(V, 0.5, seed=-1), "expected seed ≥ 0, got -1"),
    (lambda: F.dropout(V, 0.5, stream=2**32), r"expected stream < 2\^32"),
    (lambda: F.dropout(V, 0.5, call=1.0), "expected call as an integer, got 1.0"),
    # losses
    (lambda: F.cross_entropy(V, np.array([0, 3])), r"expected targets between 0 and 2, got 3 at position \(1,\)"),
    (lambda: F.cross_entropy(V, np.array([-1, 0])), r"expected targets between 0 and 2, got -1 at position \(0,\)"),
    (lambda: F.cross_entropy(V, T[:1]), r"expected a target of shape \(2,\) for an input \(2, 3\), got \(1,\)"),
    (lambda: F.cross_entropy(V, T.astype("float32")), "expected class indices as an integer array, got an array of float32"),
    (lambda: F.cross_entropy(V, [0, 1]), "expected class indices as an integer array, got list"),
    (lambda: F.cross_entropy(V, f64(V)), "expected class probabilities of the input's float32, got float64"),
    (lambda: F.cross_entropy(V, T, S3[:2]), r"expected weight of shape \(3,\), got \(2,\)"),
    (lambda: F.cross_entropy(V, T, label_smoothing=1.5), "expected label_smoothing between 0 and 1, got 1.5"),
    (lambda: F.cross_entropy(V, T, reduction="avg"), "expected reduction as one of none, mean, sum, got 'avg'"),
    (lambda: F.cross_entropy(V, T, ignore_index=0.5), "expected ignore_index as an integer, got 0.5"),
    (lambda: F.cross_entropy(X.sum(), T), "cross_entropy: expected"),
    (lambda: F.cross_entropy(V.astype(int), T), "cross_entropy: expected the input of float32 or float64, got int64"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=-0.1), "CrossEntropyLoss: expected label_smoothing between 0 and 1"),
    (lambda: nn.CrossEntropyLoss(reduction="max"), "CrossEntropyLoss: expected reduction as one of none, mean, sum"),
    (lambda: nn.CrossEntropyLoss(weight=[1, 2]), "expected weight as a NumPy or CuPy array, got list"),
    (lambda: F.nll_loss(V, np.array([0, 9])), "nll_loss: expected targets between 0 and 2, got 9"),
    (lambda: F.nll_loss(V, V), "expected class indices as an integer array"),
    (lambda: F.mse_loss(V, V[:1]), r"expected target of shape \(2, 3\), got \(1, 3\)"),
    (lambda: F.mse_loss(V, f64(V)), "expected target of the input's float32, got float64"),
    (lambda: nn.MSELoss(reduction=None), "MSELoss: expected reduction as one of"),
    # backward
    (lambda: backward("relu", F.relu(V), V[:1]), r"relu_backward: expected dy of y's shape \(2, 3\), got \(1, 3\)"),
    (lambda: backward("relu", F.relu(V), f64(V)), "expected dy as an array of float32, got an array of float64"),
    (lambda: backward("relu", F.relu(V), 1.0), "expected dy as an array of float32, got float"),
    (lambda: backward("tanh", F.relu(V), V), "tanh_backward: expected a cache of tanh, got one of relu"),
    (lambda: F.relu_backward(V, None), "expected the cache that relu returned, got NoneType"),
    (lambda: F.relu_backward(V, V), "expected the cache that relu returned, got ndarray"),
    (lambda: nn.ReLU().backward(V), "ReLU: nothing to go back through"),
    (lambda: nn.CrossEntropyLoss().backward(), "CrossEntropyLoss: nothing to go back through"),
    # modules
    (lambda: nn.Sequential(nn.ReLU, nn.Tanh()), "expected step '0' as a module, got type"),
    (lambda: nn.Residual(3), "Residual: expected main as a module, got int"),
    (lambda: nn.Concat(), "Concat: expected at least one branch, got none"),
    (lambda: nn.Parameter(np.zeros(2, "int64")), "Parameter: expected an array of float32 or float64, got int64"),
    (lambda: nn.Linear(2, 2).to("float16"), "dtype: expected float32 or float64, got 'float16'"),
    (lambda: nn.Linear(2, 2).to("tpu"), "dtype: expected float32 or float64, got 'tpu'"),
    (lambda: nn.Linear(2, 2).load_state_dict([1]), "expected a mapping of arrays, got list"),
    (lambda: nn.Linear(2, 2).load_state_dict({}), "missing keys: weight, bias"),
    (lambda: models.build("imagenet", "cnn"), "family: expected one of mnist, cifar10, got 'imagenet'"),
    (lambda: models.build("mnist", "vgg"), "model for mnist: expected one of cnn, dropout, mlp, lenet5, deep, got 'vgg'"),
    (lambda: models.build("cifar10", "simple")(np.zeros((1, 3, 64, 64), "float32")), "fc1: linear: expected 2048 input features"),
    (lambda: nn.summary(nn.Linear(3, 2), (2, 4)), "expected 3 input features"),
    # rungs and devices
    (lambda: scratchnet.use("fast"), "rung: expected one of loops, im2col.*, got 'fast'"),
    (lambda: scratchnet.override("conv3d", len).__enter__(), "no function is called 'conv3d'"),
    (lambda: backend.device("cuda"), "expected auto, cpu, gpu or gpu:N, got 'cuda'"),
    (lambda: backend.device("gpu:-1"), "expected auto, cpu, gpu or gpu:N, got 'gpu:-1'"),
    # optimizers
    (lambda: optim.SGD([], lr=0.1), "empty parameter list"),
    (lambda: optim.SGD(P, lr=0.1), "expected params to be an iterable"),
    (lambda: optim.SGD([1, 2], lr=0.1), "one of the params is int"),
    (lambda: optim.SGD([P], lr=-1), "SGD: Invalid learning rate: -1"),
    (lambda: optim.SGD([P], lr="fast"), "lr"),
    (lambda: optim.SGD([P], lr=0.1, momentum=-0.5), "momentum"),
    (lambda: optim.SGD([P], lr=0.1, nesterov=True), "[Nn]esterov"),
    (lambda: optim.Adam([P], betas=(1.0, 0.9)), "beta"),
    (lambda: optim.Adam([P], eps=-1), "eps"),
    (lambda: optim.Adam([{"params": [P]}, {"params": [P]}]), "more than one parameter group"),
    (lambda: optim.SGD([P], lr=0.1).load_state_dict({"state": {}}), "param_groups"),
    (lambda: optim.lr_scheduler.StepLR(optim.SGD([P], lr=0.1), 0), "step_size"),
    (lambda: optim.lr_scheduler.StepLR(P, 1), "[Oo]ptimizer"),
    # datasets
    (lambda: datasets.load("mnits"), "unknown dataset 'mnits'"),
    (lambda: datasets.load("mnist", "valid"), "valid"),
    (lambda: datasets.load("folder:"), "expected 'folder:PATH'"),
    (lambda: datasets.load("folder:/nowhere/at/all"), "/nowhere/at/all"),
    (lambda: datasets.DataLoader(SET, 0), "batch_size"),
    (lambda: datasets.DataLoader(SET, 2.5), "batch_size"),
    (lambda: datasets.DataLoader(SET, 2, rng="seed"), "rng"),
    (lambda: datasets.DataLoader(SET, 2, limit_batches=-1), "limit_batches"),
    (lambda: SET.subset(9), "9"),
    (lambda: datasets.Normalize(0.5, 0.0), "std"),
    (lambda: datasets.ToFloat("int8"), "int8"),
    (lambda: datasets.ArrayDataset("toy", "train", IMAGES, LABELS[:3], ("a", "b")), "3"),
    (lambda: datasets.ArrayDataset("toy", "train", IMAGES.astype("float32"), LABELS, ("a", "b")), "uint8"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CASES, ids=range(len(CASES)))
def test_the_message_names_the_cause(call, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message) as error:
        call()
    assert not isinstance(error.value, NotImplementedError)


def test_there_are_enough_of_them():
    assert len(CASES) > 180
