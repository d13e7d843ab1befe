"""The comparison with torch: equal modules agree, every planted difference fails, and the message says where."""

import builtins
import copy

import numpy as np
import pytest
import torch

import scratchnet
from scratchnet import nn, ops
from scratchnet.study import ParityReport, parity

T = torch.nn
DTYPES = ("float64", "float32")


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(), scratchnet.use("im2col"):  # some tests replace functions and read its caches
        torch.manual_seed(0)
        yield


def numbers(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def message_of(report):
    assert not report.ok
    with pytest.raises(AssertionError) as caught:
        report.check()
    return str(caught.value)


def failing(report):
    return [result.name for result in report if not result.ok]


# Equal modules

LAYERS = {
    "linear": (lambda n: n.Linear(5, 3), (4, 5)),
    "linear without bias": (lambda n: n.Linear(5, 3, bias=False), (4, 2, 5)),
    "conv": (lambda n: n.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7, 6)),
    "conv same": (lambda n: n.Conv2d(4, 6, (3, 5), padding="same", dilation=(1, 2)), (2, 4, 7, 6)),
    "conv reflect": (lambda n: n.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 6)),
    "conv unbatched": (lambda n: n.Conv2d(4, 6, 3), (4, 7, 6)),
    "conv1d": (lambda n: n.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 7)),
    "transposed conv": (lambda n: n.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2), (2, 4, 5, 4)),
    "batch norm": (lambda n: n.BatchNorm2d(4), (3, 4, 5, 2)),
    "batch norm cumulative": (lambda n: n.BatchNorm1d(4, momentum=None), (6, 4)),
    "batch norm bare": (lambda n: n.BatchNorm2d(4, affine=False, track_running_stats=False), (3, 4, 5, 2)),
    "max pool": (lambda n: n.MaxPool2d(3, 2, padding=1), (2, 3, 7, 6)),
    "avg pool": (lambda n: n.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), (2, 3, 7, 6)),
    "adaptive": (lambda n: n.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 5)),
    "relu": (lambda n: n.ReLU(), (4, 5)),
    "leaky": (lambda n: n.LeakyReLU(-0.3), (4, 5)),
    "gelu": (lambda n: n.GELU("tanh"), (4, 5)),
    "sigmoid": (lambda n: n.Sigmoid(), (4, 5)),
    "softmax": (lambda n: n.Softmax(1), (4, 5)),
    "log softmax": (lambda n: n.LogSoftmax(-1), (4, 5)),
    "flatten": (lambda n: n.Flatten(), (2, 3, 4)),
    "dropout without drops": (lambda n: n.Dropout(0.0), (4, 5)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_agree(layer, training, dtype):
    make, shape = LAYERS[layer]
    ours, theirs = make(nn).train(training), make(T).train(training)
    report = parity(ours, theirs, numbers(*shape, dtype=dtype))
    report.check()
    assert report.ok
    names = {"output", "x.grad", *(f"{name}.grad" for name, _ in theirs.named_parameters())}
    assert {result.name for result in report} == names | {name for name, _ in theirs.named_buffers()}


LOSSES = {
    "cross entropy": lambda n, w: n.CrossEntropyLoss(w),
    "sum": lambda n, w: n.CrossEntropyLoss(reduction="sum", label_smoothing=0.2, ignore_index=1),
    "none": lambda n, w: n.CrossEntropyLoss(w, reduction="none"),
    "nll": lambda n, w: n.NLLLoss(w),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_agree(loss, dtype):
    weight = np.array([0.5, 1, 2, 0.1], dtype)
    target = np.array([0, 1, 3, 2, 2])
    for logits in (numbers(5, 4, dtype=dtype), 100 * numbers(5, 4, dtype=dtype)):
        ours, theirs = LOSSES[loss](nn, weight), LOSSES[loss](T, torch.tensor(weight))
        report = parity(ours, theirs, logits, target)
        report.check()
        assert {"output", "logits.grad"} <= {r.name for r in report} or loss == "nll"


def test_a_loss_that_is_nearly_zero_agrees():
    logits = np.array([[30.0, -5.0, 0.0]])
    parity(nn.CrossEntropyLoss(), T.CrossEntropyLoss(), logits, np.array([0])).check()


def test_mse_and_class_probabilities_agree():
    x, target = numbers(4, 3), numbers(4, 3, seed=1)
    parity(nn.MSELoss(), T.MSELoss(), x, target).check()
    probabilities = np.exp(target) / np.exp(target).sum(axis=1, keepdims=True)
    parity(nn.CrossEntropyLoss(), T.CrossEntropyLoss(), x, probabilities).check()


class Net(nn.Chain):
    def __init__(self, n=nn):
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(24, 10)
        self.chain = [
            ("conv1", self.conv1),
            ("bn1", self.bn1),
            ("relu1", nn.ReLU()),
            ("pool1", self.pool),
            ("conv2", self.conv2),
            ("pool2", self.pool),
            ("flatten", nn.Flatten()),
            ("fc", self.fc),
        ]


class TorchNet(T.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = T.Conv2d(1, 4, 3, padding=1)
        self.bn1 = T.BatchNorm2d(4)
        self.conv2 = T.Conv2d(4, 6, 3)
        self.pool = T.MaxPool2d(2)
        self.fc = T.Linear(24, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.pool(self.conv2(x)), 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_agrees_and_stays_as_it_was(training, dtype):
    ours, theirs = Net().train(training), TorchNet().train(training)
    before, torch_before = ours.state_dict(), copy.deepcopy(theirs.state_dict())
    report = parity(ours, theirs, numbers(5, 1, 12, 12, dtype=dtype))
    report.check()
    assert len(report) == 13
    assert report["conv1.bias.grad"].shape == (4,)
    assert "1e-12 for each of 8 layer calls" in " ".join(str(report).split()) or dtype == "float32"
    assert all(np.array_equal(value, before[key]) for key, value in ours.state_dict().items())
    assert all(torch.equal(value, torch_before[key]) for key, value in theirs.state_dict().items())
    assert all(parameter.grad is None for parameter in [*ours.parameters(), *theirs.parameters()])
    assert ours.training == theirs.training == training


def test_a_residual_network_agrees():
    def build(n):
        return n.Sequential(n.Conv2d(3, 3, 3, padding=1), n.BatchNorm2d(3), n.ReLU(), n.Conv2d(3, 3, 3, padding=1))

    class TorchResidual(T.Module):
        def __init__(self):
            super().__init__()
            self.main, self.shortcut = build(T), T.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.main(x) + self.shortcut(x)

    ours = nn.Residual(build(nn), nn.Conv2d(3, 3, 1))
    parity(ours, TorchResidual(), numbers(4, 3, 6, 5)).check()


def test_a_gradient_that_vanishes_through_relu_and_batch_norm():
    """Two rows per channel: x̂ is ±1 whatever x is, so that BatchNorm's dx and all before it is nearly zero."""

    def build(n):
        return n.Sequential(n.Linear(4, 6), n.LeakyReLU(0.2), n.BatchNorm1d(6, eps=1e-12), n.Linear(6, 2))

    report = parity(build(nn), build(T), numbers(2, 4))
    report.check()
    assert abs(report["0.weight.grad"].torch) < 1e-6


# Planted differences

ERRORS = {
    "sign": lambda dx, dw, db: (dx, -dw, db),
    "factor": lambda dx, dw, db: (dx / 4, dw, db),
    "mean for sum": lambda dx, dw, db: (dx, dw, db / 8),
    "bias only": lambda dx, dw, db: (dx, dw, db + 1e-3),
    "1e-9 relative": lambda dx, dw, db: (dx, dw * (1 + 1e-9), db),
    "zero": lambda dx, dw, db: (0 * dx, dw, db),
    "a single element": lambda dx, dw, db: (dx, dw + 1e-6 * (np.arange(dw.size) == 17).reshape(dw.shape), db),
}
BLAMED = {"sign": "weight", "factor": "x", "mean for sum": "bias", "bias only": "bias", "zero": "x"}


@pytest.mark.parametrize("error", ERRORS)
def test_a_wrong_gradient_is_found_and_no_other_is_blamed(error):
    def wrong(dy, cache):
        return ERRORS[error](*ops.conv2d_backward(dy, cache))

    with scratchnet.override("conv2d_backward", wrong):
        report = parity(nn.Conv2d(2, 3, 3), T.Conv2d(2, 3, 3), numbers(4, 2, 5, 5))
    blamed = f"{BLAMED.get(error, 'weight')}.grad"
    assert failing(report) == [blamed]
    assert report.worst is report[blamed]
    message = message_of(report)
    assert blamed in message
    if error == "a single element":
        assert report["weight.grad"].index == (0, 1, 2, 2)
        assert "(0,1,2,2)" in message


def test_a_single_wrong_element_of_a_big_tensor():
    def wrong(dy, cache):
        dx, dweight, dbias = ops.linear_backward(dy, cache)
        dweight[123, 45] *= 1.001
        return dx, dweight, dbias

    with scratchnet.override("linear_backward", wrong):
        report = parity(nn.Linear(100, 200), T.Linear(100, 200), numbers(3, 100))
    assert report["weight.grad"].index == (123, 45)
    message = message_of(report)
    assert "(123,45)" in message
    ours, theirs = report["weight.grad"].ours, report["weight.grad"].torch
    assert ours == pytest.approx(1.001 * theirs)
    assert f"{ours:.6g}" in message
    assert f"{theirs:.6g}" in message


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_a_wrong_bias_gradient_in_a_network(layer):
    """conv1's bias is in front of BatchNorm: its gradient is zero by mathematics, and an error is still an error."""

    def wrong(dy, cache):
        dx, dweight, dbias = ops.conv2d_backward(dy, cache)
        return dx, dweight, dbias + (1e-6 if len(dbias) == {"conv1": 4, "conv2": 6}[layer] else 0)

    with scratchnet.override("conv2d_backward", wrong):
        report = parity(Net(), TorchNet(), numbers(5, 1, 12, 12))
    assert failing(report) == [f"{layer}.bias.grad"]


def test_s_does_not_come_from_the_code_under_test():
    def huge(dy, cache):
        dx, dweight, dbias = ops.conv2d_backward(dy, cache)
        return 1e20 * dx, 1e20 * dweight, 1e20 * dbias

    with scratchnet.override("conv2d_backward", huge):
        report = parity(nn.Conv2d(2, 3, 3), T.Conv2d(2, 3, 3), numbers(4, 2, 5, 5))
    assert failing(report) == ["x.grad", "weight.grad", "bias.grad"]


class Biased(nn.BatchNorm2d):
    """running_var from the biased variance."""

    def forward(self, x):
        before = self.running_var
        y, cache = super().forward(x)
        self.running_var = 0.9 * before + 0.1 * x.var(axis=(0, 2, 3))
        return y, cache


def test_a_wrong_running_var():
    report = parity(Biased(3), T.BatchNorm2d(3), numbers(4, 3, 5, 5))
    assert failing(report) == ["running_var"]


class Uncounted(nn.BatchNorm2d):
    def forward(self, x):
        y, cache = super().forward(x)
        self.num_batches_tracked = self.num_batches_tracked - 1
        return y, cache


def test_a_wrong_counter():
    assert failing(parity(Uncounted(3), T.BatchNorm2d(3), numbers(4, 3, 5, 5))) == ["num_batches_tracked"]


def test_the_last_of_tied_maxima():
    def last(dy, cache):
        """Right as a subgradient, so gradcheck passes it; but not what torch does."""
        flipped = cache._replace(winner=cache.kernel_size[0] * cache.kernel_size[1] - 1 - 0 * cache.winner)
        return ops.max_pool2d_backward(dy, flipped)

    x = np.zeros((1, 1, 4, 4))
    parity(nn.MaxPool2d(2), T.MaxPool2d(2), x).check()
    with scratchnet.override("max_pool2d_backward", last):
        assert failing(parity(nn.MaxPool2d(2), T.MaxPool2d(2), x)) == ["x.grad"]


def test_nan_and_infinity_have_to_be_in_the_same_places():
    x = numbers(3, 4)
    x[1, 2], x[2, 0] = np.nan, np.inf
    for ours, theirs in ((nn.Linear(4, 2), T.Linear(4, 2)), (nn.ReLU(), T.ReLU()), (nn.Sigmoid(), T.Sigmoid())):
        parity(ours, theirs, x).check()

    def without_nan(x):
        y, cache = ops.relu(x)
        return np.nan_to_num(y, posinf=np.inf), cache

    with scratchnet.override("relu", without_nan):
        report = parity(nn.ReLU(), T.ReLU(), x)
    assert failing(report) == ["output"]
    assert report["output"].index == (1, 2)
    assert "output: NaN or inf in one and not in the other at (1,2)" in message_of(report)

    def negative(x):
        y, cache = ops.relu(x)
        return np.where(np.isinf(y), -y, y), cache

    with scratchnet.override("relu", negative):
        assert parity(nn.ReLU(), T.ReLU(), x)["output"].index == (2, 0)


def test_shapes_dtypes_and_missing_gradients():
    class Transposed(nn.Linear):
        def backward(self, dy, cache):
            dx = super().backward(dy, cache)
            self.weight.grad = self.weight.grad.T
            self.bias.grad = None
            return dx.astype("float32")

    message = " ".join(message_of(parity(Transposed(4, 3), T.Linear(4, 3), numbers(5, 4))).split())
    assert "weight.grad: ours has shape (4, 3), torch's (3, 4): transposed?" in message
    assert "bias.grad: ours has none" in message
    assert "x.grad: ours is float32, torch's float64" in message


def test_another_output_shape():
    report = parity(nn.MaxPool2d(2), T.MaxPool2d(2, ceil_mode=True), numbers(1, 1, 5, 5))
    assert [result.name for result in report] == ["output"]
    assert "output: ours has shape (1, 1, 2, 2), torch's (1, 1, 3, 3)" in message_of(report)


def test_writing_into_dy_or_x():
    class InPlace(nn.ReLU):
        def backward(self, dy, cache):
            dy *= cache.cache.active
            return dy

    class Clears(nn.ReLU):
        def forward(self, x):
            y, cache = super().forward(x)
            x[...] = 0
            return y, cache

    x = np.array([1.0, -1.0])
    assert "dy: ours wrote into it (first at (1))" in message_of(parity(InPlace(), T.ReLU(), x))
    report = parity(Clears(), T.ReLU(), x)
    assert failing(report) == ["x"]
    assert x[0] == 1


def test_the_tolerance_is_the_stated_one():
    def scaled(dy, cache):
        return ops.relu_backward(dy, cache) * factor

    x = np.ones(100)
    for excess, ok in ((0.9e-6, True), (1.1e-6, False)):
        factor = 1 + excess
        with scratchnet.override("relu_backward", scaled):
            report = parity(nn.ReLU(), T.ReLU(), x, tol=1e-6)
        assert report.ok == ok
        assert report["x.grad"].error == pytest.approx(excess / 1e-6, rel=1e-6)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("factor", [1, 1 + 1e-10])
def test_units_do_not_matter(size, factor):
    def scaled(dy, cache):
        return tuple(gradient * factor for gradient in ops.linear_backward(dy, cache))

    x, dy = size * numbers(5, 4), size * numbers(5, 3, seed=1)
    with scratchnet.override("linear_backward", scaled):
        report = parity(nn.Linear(4, 3), T.Linear(4, 3), x, dy=dy)
    assert failing(report) == ([] if factor == 1 else ["x.grad", "weight.grad", "bias.grad"])


def test_the_given_dy_is_used():
    dy = np.array([[2.0, 0.0]])
    report = parity(nn.Linear(3, 2), T.Linear(3, 2), np.ones((1, 3)), dy=dy)
    report.check()
    assert report["bias.grad"].torch in (0.0, 2.0)


# Arguments


def test_modules_in_different_modes_and_dropout_in_training():
    x = numbers(3, 4)
    with pytest.raises(ValueError, match=r"ours is in evaluation mode and torch's in training: call"):
        parity(nn.ReLU().eval(), T.ReLU(), x)
    for layer in ("Dropout", "Dropout2d"):
        with pytest.raises(ValueError, match=r"call .eval\(\) on both, or set p=0"):
            parity(nn.Sequential(getattr(nn, layer)(0.3)), T.Sequential(getattr(T, layer)(0.3)), x)
    parity(nn.Sequential(nn.Dropout(0.3)).eval(), T.Sequential(T.Dropout(0.3)).eval(), x).check()


def test_bad_arguments():
    x = numbers(3, 4)
    with pytest.raises(TypeError, match=r"torch_module as a torch\.nn\.Module, got Linear"):
        parity(nn.Linear(4, 2), nn.Linear(4, 2), x)
    with pytest.raises(TypeError, match="ours as a scratchnet Module, got Linear"):
        parity(T.Linear(4, 2), T.Linear(4, 2), x)
    with pytest.raises(ValueError, match=r"torch's state does not fit into ours: .*unexpected keys: bias"):
        parity(nn.Linear(4, 2, bias=False), T.Linear(4, 2), x)
    with pytest.raises(ValueError, match=r"weight: expected shape \(3, 4\), got \(2, 4\)"):
        parity(nn.Linear(4, 3), T.Linear(4, 2), x)
    with pytest.raises(TypeError, match="all of float32 or all of float64, got float64, float32"):
        parity(nn.MSELoss(), T.MSELoss(), x, x.astype("float32"))
    with pytest.raises(TypeError, match="got int64"):
        parity(nn.ReLU(), T.ReLU(), np.arange(3))
    with pytest.raises(TypeError, match="input 0 as a NumPy array, got Tensor"):
        parity(nn.ReLU(), T.ReLU(), torch.ones(3))
    with pytest.raises(ValueError, match="at least one input"):
        parity(nn.ReLU(), T.ReLU())
    with pytest.raises(ValueError, match=r"dy of float64 and shape \(3, 2\), got float64 and \(2, 3\)"):
        parity(nn.Linear(4, 2), T.Linear(4, 2), x, dy=np.ones((2, 3)))
    with pytest.raises(ValueError, match="tol > 0"):
        parity(nn.ReLU(), T.ReLU(), x, tol=0)


def test_without_torch(monkeypatch):
    real = builtins.__import__

    def no_torch(name, *arguments, **options):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(ImportError, match="parity needs PyTorch, which cannot be imported"):
        parity(nn.ReLU(), T.ReLU(), np.ones(3))


def test_report_type():
    report = parity(nn.Linear(4, 2), T.Linear(4, 2), numbers(3, 4))
    assert isinstance(report, ParityReport)
    assert "Linear(in_features=4, out_features=2, bias=True)" in str(report)


@pytest.mark.parametrize("shape", [(4, 3), (0, 3)])
def test_batch_norm_without_bias_and_without_images(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    report = parity(nn.BatchNorm1d(3, bias=False), torch.nn.BatchNorm1d(3, bias=False), x)
    assert report.ok, str(report)
    assert {"weight.grad", "running_mean"} <= {tensor.name for tensor in report}


@pytest.mark.parametrize("name", ["Tanh", "Sigmoid"])
def test_saturated_activations_agree_and_a_wrong_one_does_not(name):
    x = np.linspace(-8, 8, 200, dtype="float32").reshape(20, 10)
    ours, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
    assert parity(ours, theirs, x).ok
    with scratchnet.override(f"{name.lower()}_backward", lambda dy, cache: dy * cache.y):
        assert not parity(ours, theirs, x).ok
