"""Arguments at the edge: what torch accepts we compute, and what torch rejects we reject.

A case is a module, made from torch.nn and from ours, and its inputs. Where ours differs on purpose, DIFFERENT says why.
"""

import numpy as np
import pytest
import torch
from module_parity import assert_modules_agree
from parity_cases import normal

from scratchnet import nn

INF, NAN = float("inf"), float("nan")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's: an empty weight, an implicit dim, …
REJECTIONS = ValueError, TypeError, RuntimeError, NotImplementedError
EXTREMES = np.array([NAN, INF, -INF, 0.0, -0.0, 1000.0, -1000.0])
ROWS = np.array([[NAN, 1, 2], [INF, 1, 2], [-INF, 1, 2], [-INF, -INF, -INF], [1e30, 1, -1e30]])
LOGITS = np.array([[1000, -1000, 0], [-INF, 0, 0], [INF, 0, 0], [NAN, 0, 0]])


def t(*indices, dtype="int64"):
    return np.array(indices, dtype)


def w(n, *values):
    """A class weight as n's modules take it."""
    return torch.tensor(values, dtype=torch.float64) if n is torch.nn else np.array(values, "float64")


CASES = [
    # convolution: lists, NumPy's integers, tuples of one; empty ones, floats and wrong lengths are rejected
    (lambda n: n.Conv2d(3, 4, [3, 2], padding=[1, 2]), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, stride=(2,), padding=(1,)), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(4, 4, np.int64(3)), normal(2, 4, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, bias=None), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, (3, 3, 3)), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, stride=()), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3.0), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, stride=0), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 0, 3), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, padding=2), normal(2, 3, 0, 5)),
    (lambda n: n.Conv2d(3, 4, 1, padding=1), normal(0, 3, 0, 0)),
    (lambda n: n.Conv2d(3, 4, 3), normal(5, 5)),
    (lambda n: n.Conv2d(3, 4, (2, 4), padding="same", padding_mode="circular"), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, padding=5, padding_mode="circular"), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, padding=6, padding_mode="circular"), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, padding=5, padding_mode="reflect"), normal(2, 3, 5, 5)),
    (lambda n: n.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"), normal(0, 3, 5, 5)),
    (lambda n: n.Conv1d(3, 4, 4, padding="same"), normal(2, 3, 5)),
    (lambda n: n.Conv1d(3, 4, [3], stride=[2]), normal(3, 5)),
    (lambda n: n.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), normal(2, 3, 5, 5)),
    (lambda n: n.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2), normal(2, 3, 5, 5)),
    (lambda n: n.ConvTranspose2d(3, 4, 3, dilation=3, output_padding=2), normal(2, 3, 5, 5)),
    (lambda n: n.ConvTranspose2d(3, 4, 3, padding=2), normal(2, 3, 1, 1)),
    (lambda n: n.ConvTranspose2d(3, 0, 3), normal(2, 3, 5, 5)),
    # pooling: () is the default stride; flags are bools; at most half of the kernel is padding, dilated or not
    (lambda n: n.MaxPool2d(2, stride=()), normal(2, 3, 5, 5)),
    (lambda n: n.AvgPool2d([2, 3], stride=[]), normal(2, 3, 5, 5)),
    (lambda n: n.MaxPool2d(2, ceil_mode=1), normal(2, 3, 5, 5)),
    (lambda n: n.AvgPool2d(2, count_include_pad=0), normal(2, 3, 5, 5)),
    (lambda n: n.MaxPool2d(3, padding=2, dilation=2), normal(2, 3, 9, 9)),
    (lambda n: n.MaxPool2d(3, padding=1, dilation=2), normal(2, 3, 9, 9)),
    (lambda n: n.MaxPool2d(2, padding=-1), normal(2, 3, 5, 5)),
    (lambda n: n.MaxPool2d(2), normal(0, 3, 5, 5)),
    (lambda n: n.MaxPool2d(2), normal(2, 0, 5, 5)),
    (lambda n: n.MaxPool2d(2), np.full((1, 1, 4, 4), NAN)),
    (lambda n: n.MaxPool2d(2), np.full((1, 1, 4, 4), -INF)),
    (lambda n: n.AvgPool2d(2, divisor_override=np.int64(-3)), normal(2, 3, 5, 5)),
    (lambda n: n.AvgPool2d(2, divisor_override=2.5), normal(2, 3, 5, 5)),
    (lambda n: n.AdaptiveAvgPool2d([3, None]), normal(2, 3, 5, 5)),
    (lambda n: n.AdaptiveAvgPool2d(None), normal(2, 3, 5, 5)),
    (lambda n: n.AdaptiveAvgPool2d((3,)), normal(2, 3, 5, 5)),
    (lambda n: n.AdaptiveAvgPool2d(-1), normal(2, 3, 5, 5)),
    # batch normalisation
    (lambda n: n.BatchNorm1d(3), normal(3)),
    (lambda n: n.BatchNorm1d(3), normal(1, 3)),
    (lambda n: n.BatchNorm1d(3), normal(4, 3, 0)),
    (lambda n: n.BatchNorm1d(3, eps=0), normal(4, 3)),
    (lambda n: n.BatchNorm1d(3, momentum=2.0, eps=np.float32(0.3)), normal(4, 3)),
    (lambda n: n.BatchNorm1d(3, momentum=-0.5), normal(4, 3)),
    (lambda n: n.BatchNorm1d(3, affine=0, track_running_stats=0), normal(4, 3)),
    (lambda n: n.BatchNorm1d(3, track_running_stats=False).eval(), normal(1, 3, 2)),
    (lambda n: n.BatchNorm2d(3), normal(4, 3, 0, 5)),
    (lambda n: n.BatchNorm2d(3), normal(4, 3)),
    # linear
    (lambda n: n.Linear(0, 4), normal(2, 0)),
    (lambda n: n.Linear(3, 0), normal(2, 3)),
    (lambda n: n.Linear(0, 0), normal(2, 0)),
    (lambda n: n.Linear(3, 4), normal(2, 0, 3)),
    (lambda n: n.Linear(3, 4), np.array(1.0)),
    (lambda n: n.Linear(np.int64(3), np.int32(4), bias=0), normal(3)),
    # activations
    (lambda n: n.ReLU(), EXTREMES),
    (lambda n: n.LeakyReLU(0.0), EXTREMES),
    (lambda n: n.LeakyReLU(-0.3), normal(2, 3)),
    (lambda n: n.LeakyReLU("a"), normal(2, 3)),
    (lambda n: n.Sigmoid(), EXTREMES),
    (lambda n: n.Tanh(), EXTREMES),
    (lambda n: n.GELU(), EXTREMES),
    (lambda n: n.GELU("tanh"), EXTREMES),
    (lambda n: n.GELU("erf"), normal(2)),
    *[(lambda n: n.Softmax(), normal(*range(2, 2 + ndim))) for ndim in range(5)],
    (lambda n: n.LogSoftmax(), normal(2, 3)),
    (lambda n: n.Softmax(1), ROWS),
    (lambda n: n.LogSoftmax(1), ROWS),
    (lambda n: n.Softmax(1), normal(2, 0)),
    (lambda n: n.Softmax(1), np.array(1.0)),
    (lambda n: n.Softmax(1.0), normal(2, 3)),
    (lambda n: n.Flatten(0), np.array(1.0)),
    (lambda n: n.Flatten(1), normal(2, 0, 4)),
    (lambda n: n.Flatten(2, 1), normal(2, 3, 4)),
    (lambda n: n.Dropout(1), normal(2, 3)),
    (lambda n: n.Dropout(np.float32(0)), EXTREMES),
    (lambda n: n.Dropout(NAN), normal(2, 3)),
    (lambda n: n.Dropout2d(1), normal(0, 3, 4, 4)),
    # losses
    (lambda n: n.CrossEntropyLoss(ignore_index=7), normal(4, 3), t(0, 1, 2, 7)),
    (lambda n: n.CrossEntropyLoss(ignore_index=1), normal(4, 3), t(1, 1, 1, 1)),
    (lambda n: n.CrossEntropyLoss(), normal(4, 3), t(0, 1, 2, -1)),
    (lambda n: n.CrossEntropyLoss(ignore_index=1.0), normal(4, 3), t(1, 1, 1, 0)),
    (lambda n: n.CrossEntropyLoss(), normal(4, 3), t(0, 1, 2, 0, dtype="uint8")),
    (lambda n: n.CrossEntropyLoss(), normal(4, 3), t(0, 1, 1, 0, dtype="bool")),
    (lambda n: n.CrossEntropyLoss(), normal(4, 3), t(0, 1, 2, 0).reshape(4, 1)),
    (lambda n: n.CrossEntropyLoss(label_smoothing=1), normal(4, 3), t(0, 1, 2, 0)),
    (lambda n: n.CrossEntropyLoss(label_smoothing=1.1), normal(4, 3), t(0, 1, 2, 0)),
    (lambda n: n.CrossEntropyLoss(w(n, 1, 0, 2), label_smoothing=0.3), normal(4, 3), t(0, 1, 2, -100)),
    (lambda n: n.CrossEntropyLoss(w(n, 1, 0, 2), label_smoothing=1.0), normal(4, 3), abs(normal(4, 3, seed=1))),
    (lambda n: n.CrossEntropyLoss(w(n, 0, 0, 0)), normal(4, 3), t(0, 1, 2, 1)),
    (lambda n: n.CrossEntropyLoss(w(n, 0, 0, 0)), normal(4, 3), t(0, 1, -100, 1)),
    (lambda n: n.CrossEntropyLoss(w(n, -1, 2, 0)), normal(4, 3), t(0, 1, 2, 1)),
    (lambda n: n.CrossEntropyLoss(reduction="sum"), LOGITS, t(1, 1, 1, 1)),
    (lambda n: n.CrossEntropyLoss(w(n, 0, 1, 1), reduction="none"), LOGITS, t(0, 0, 0, 0)),
    (lambda n: n.CrossEntropyLoss(reduction="none", label_smoothing=0.1), LOGITS[:2], t(1, 1)),
    (lambda n: n.CrossEntropyLoss(), normal(4, 3, 0), np.zeros((4, 0), "int64")),
    (lambda n: n.CrossEntropyLoss(), normal(4, 1), abs(normal(4, 1, seed=1))),
    (lambda n: n.CrossEntropyLoss(), normal(4, 0), t(0, 0, 0, 0)),
    (lambda n: n.NLLLoss(w(n, 0, 0, 0)), normal(4, 3), t(0, 1, 2, 0)),
    (lambda n: n.NLLLoss(w(n, 0, 1, 1), reduction="none"), np.array([[-INF, 0, 0]]), t(0)),
    (lambda n: n.NLLLoss(reduction="none"), np.array([[-INF, 0, 0], [NAN, 0, 0]]), t(-100, 1)),
    (lambda n: n.NLLLoss(reduction="sum"), normal(0, 3), np.zeros(0, "int64")),
    (lambda n: n.MSELoss(), normal(0, 3), normal(0, 3)),
    (lambda n: n.MSELoss(), np.array([INF, NAN, 1]), np.array([INF, 0, 1])),
    (lambda n: n.MSELoss(reduction="x"), normal(4, 3), normal(4, 3)),
]

DIFFERENT = [  # torch accepts these
    (lambda n: n.Conv2d(3, 4, True), normal(2, 3, 5, 5), "a bool among the sizes is a slip"),
    (lambda n: n.Dropout(True), normal(2, 3), "a bool among the numbers is a slip"),
    (lambda n: n.BatchNorm1d(3, eps=0).eval(), normal(4, 3), "eps must be positive, also if it is only evaluated"),
    (lambda n: n.ReLU(), np.arange(3), "arrays are float32 or float64"),
    (lambda n: n.MSELoss(), (normal(4, 1), normal(4)), "broadcasting a loss is nearly always a mistake"),
    (lambda n: n.MSELoss(), (normal(4), normal(4).astype("float32")), "one dtype in, the same out"),
    (lambda n: n.MSELoss(size_average=False), (normal(4), normal(4)), "deprecated by torch, not built"),
    (lambda n: n.CrossEntropyLoss(label_smoothing=-0.1), (normal(4, 3), t(0, 1, 2, 0)), "torch ignores it"),
    (lambda n: n.CrossEntropyLoss(), (normal(4, 0), normal(4, 0)), "there is no class"),
    (lambda n: n.NLLLoss(), (normal(3), t(1)), "torch's own backward rejects the shape"),
    (lambda n: n.ConvTranspose2d(3, 4, 3, output_padding=1), normal(0, 3, 5, 5), "torch checks it for N > 0 only"),
]


def rejects(make, inputs):
    """Whether torch raises in the constructor or in forward."""
    try:
        make(torch.nn).double()(*map(torch.from_numpy, map(np.array, inputs)))
    except Exception:  # torch also raises its own faults, such as IndexError
        return True
    return False


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_torch_accepts_and_rejects_the_same(case):
    make, *inputs = case
    inputs = [np.asarray(x) for x in inputs]
    if rejects(make, inputs):
        with pytest.raises(REJECTIONS):
            make(nn).double().forward(*inputs)
    else:
        assert_modules_agree(make(nn).double(), make(torch.nn).double(), inputs)


@pytest.mark.parametrize(("make", "inputs", "why"), DIFFERENT, ids=[why for _, _, why in DIFFERENT])
def test_rejected_on_purpose(make, inputs, why):
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    assert not rejects(make, inputs)
    with pytest.raises(REJECTIONS):
        make(nn).double().forward(*inputs)


@pytest.mark.parametrize(
    "make", [lambda n: n.ReLU(True), lambda n: n.LeakyReLU(0.1, True), lambda n: n.Dropout(0.0, inplace=True)]
)
def test_inplace_is_a_hint(make):
    ours, theirs, x = make(nn).double(), make(torch.nn), normal(3, 4)
    before = x.copy()
    y, _ = ours.forward(x)
    assert repr(ours) == repr(theirs)
    np.testing.assert_array_equal(y, theirs(torch.from_numpy(x.copy())))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
def test_softmax_without_dim_warns(name):
    with pytest.warns(UserWarning, match=r"takes axis 1 of \(2, 3\)"):
        getattr(nn, name)()(normal(2, 3))


def test_max_pool_with_indices_is_a_module():
    x = normal(2, 3, 5, 6)
    pool = nn.MaxPool2d(2, return_indices=True)
    y, indices = pool(x)
    dx = pool.backward(np.ones_like(y))
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), indices.reshape(2, 3, -1), 2).reshape(y.shape), y
    )
    np.testing.assert_array_equal(np.flatnonzero(dx[0, 0]), np.sort(indices[0, 0], axis=None))
