"""Modules against torch's: every option, parameters and buffers loaded from torch, training and evaluation."""

import copy
import warnings

import numpy as np
import pytest
import torch
from parity_cases import DTYPES, assert_close, normal

from scratchnet import nn


def assert_module_parity(ours, theirs, *batches, terms=None):
    """One forward and backward pass per batch; y, dx, every parameter's (summed) gradient and every buffer agree.

    `terms` gives dx's, and by name a parameter's, sum over absolute terms where torch's own on absolute values is
    not it (see parity_cases).
    """
    for dtype in DTYPES:
        ours.to(dtype)
        theirs.to(getattr(torch, dtype))
        ours.load_state_dict(theirs.state_dict())
        ours.zero_grad()
        theirs.zero_grad()
        for batch in batches:
            _step(ours, theirs, batch.astype(dtype), terms)
        assert set(ours.state_dict()) == set(theirs.state_dict())


def _torch_step(module, x, dy):
    x = torch.from_numpy(x.copy()).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on the cost of an uneven padding="same"
        y = module(x)
    y.backward(torch.from_numpy(dy.copy()))
    return y.detach().numpy(), x.grad.numpy()


def _absolute(module):
    module = copy.deepcopy(module).double()
    for p in module.parameters():
        p.data.abs_()
        p.grad = None if p.grad is None else p.grad.abs()
    return module


def _step(ours, theirs, x, terms):
    absolute = _absolute(theirs)
    y, cache = ours.forward(x)
    dy = normal(*y.shape, seed=1).astype(x.dtype)
    dx = ours.backward(dy, cache)
    their_y, their_dx = _torch_step(theirs, x, dy)
    y_terms, dx_terms = _torch_step(absolute, abs(x).astype("float64"), abs(dy).astype("float64"))
    terms = {} if terms is None else terms(theirs, x.astype("float64"), dy.astype("float64"))
    assert_close(y, their_y, terms.get("y", y_terms), "y")
    assert_close(dx, their_dx, terms.get("dx", dx_terms), "dx")
    their_parameters, sizes = dict(theirs.named_parameters()), dict(absolute.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(their_parameters)
    for name, p in ours.named_parameters():
        assert_close(p.grad, their_parameters[name].grad.numpy(), terms.get(name, sizes[name].grad.numpy()), name)
    state = ours.state_dict()
    for name, buffer in theirs.named_buffers():
        assert_close(np.asarray(state[name]), buffer.numpy(), buffer.numpy(), name)


CONV_OPTIONS = [
    {"stride": (2, 1), "padding": (1, 2)},
    {"stride": 2, "bias": False},
    {"padding": (2, 1), "dilation": (2, 1), "groups": 2},
    {"padding": "same"},
    {"padding": "same", "dilation": (1, 2), "groups": 4},
    {"padding": "valid", "stride": (1, 2)},
]


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("options", CONV_OPTIONS)
def test_conv2d(mode, options):
    """Every padding mode with every form of padding; the kernel is even in one axis, so that "same" is uneven."""
    arguments = {"in_channels": 4, "out_channels": 4, "kernel_size": (3, 2), "padding_mode": mode, **options}
    assert_module_parity(nn.Conv2d(**arguments), torch.nn.Conv2d(**arguments), normal(2, 4, 5, 6))
    assert_module_parity(nn.Conv2d(**arguments), torch.nn.Conv2d(**arguments), normal(4, 5, 6))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "options", [{"padding": 2, "stride": 2}, {"padding": "same", "groups": 2}, {"dilation": 2, "bias": False}]
)
def test_conv1d(mode, options):
    arguments = {"in_channels": 4, "out_channels": 6, "kernel_size": 4, "padding_mode": mode, **options}
    assert_module_parity(nn.Conv1d(**arguments), torch.nn.Conv1d(**arguments), normal(2, 4, 9))


@pytest.mark.parametrize(
    "options", [{}, {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2, "bias": False}]
)
def test_conv_transpose2d(options):
    arguments = {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 4), **options}
    assert_module_parity(nn.ConvTranspose2d(**arguments), torch.nn.ConvTranspose2d(**arguments), normal(2, 4, 3, 4))


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    for shape in ((5, 4), (4,), (2, 3, 4)):
        assert_module_parity(nn.Linear(4, 3, bias=bias), torch.nn.Linear(4, 3, bias=bias), normal(*shape))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxPool2d", {"kernel_size": 2}),
        (
            "MaxPool2d",
            {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "ceil_mode": True},
        ),
        ("AvgPool2d", {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "ceil_mode": True}),
        ("AvgPool2d", {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
        ("AvgPool2d", {"kernel_size": 2, "divisor_override": -3}),
        ("AdaptiveAvgPool2d", {"output_size": (3, None)}),
        ("AdaptiveAvgPool2d", {"output_size": 1}),
    ],
)
def test_pools(name, options):
    for shape in ((2, 3, 5, 6), (3, 5, 6)):
        assert_module_parity(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), normal(*shape))


@pytest.mark.parametrize(
    ("name", "options"),
    [("ReLU", {}), ("LeakyReLU", {"negative_slope": 0.2}), ("Sigmoid", {}), ("Tanh", {}), ("GELU", {}),
     ("GELU", {"approximate": "tanh"}), ("Softmax", {"dim": 1}), ("LogSoftmax", {"dim": -1}), ("Flatten", {}),
     ("Flatten", {"start_dim": 2, "end_dim": -1}), ("Identity", {})],
)  # fmt: skip
def test_without_parameters(name, options):
    assert_module_parity(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), normal(3, 4, 2))


def _batch_norm_terms(theirs, x, dy):
    """A bound on the absolute terms of dx and dγ for |x̂| as large as its parts: see parity_cases._batch_norm_terms."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    batch = theirs.training or theirs.running_mean is None
    mean = x.mean(axis=axes) if batch else theirs.running_mean.double().numpy()
    var = x.var(axis=axes) if batch else theirs.running_var.double().numpy()
    inv_std = 1 / np.sqrt(var + theirs.eps).reshape(shape)
    x_hat = (abs(x) + abs(mean.reshape(shape))) * inv_std
    gamma = np.ones(1) if theirs.weight is None else abs(theirs.weight.detach().double().numpy()).reshape(shape)
    dweight, dbias, n = (abs(dy) * x_hat).sum(axis=axes), abs(dy).sum(axis=axes), x.size // x.shape[1]
    paths = abs(dy) + ((dbias.reshape(shape) + x_hat * dweight.reshape(shape)) / n if batch else 0)
    return {"y": gamma * x_hat, "dx": gamma * inv_std * paths, "weight": dweight, "bias": dbias}


@pytest.mark.parametrize(("name", "shapes"), [("BatchNorm1d", [(4, 3), (2, 3, 5)]), ("BatchNorm2d", [(2, 3, 4, 5)])])
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_batch_norm_over_three_batches_then_in_evaluation(name, shapes, momentum, affine, track):
    options = {"momentum": momentum, "affine": affine, "track_running_stats": track, "eps": 1e-3}
    for shape in shapes:
        ours, theirs = getattr(nn, name)(3, **options), getattr(torch.nn, name)(3, **options)
        if affine:
            torch.nn.init.normal_(theirs.weight)
            torch.nn.init.normal_(theirs.bias)
        batches = [(seed + 1) * normal(*shape, seed=seed) + seed for seed in range(3)]
        assert_module_parity(ours.train(), theirs.train(), *batches, terms=_batch_norm_terms)
        if track:
            assert ours.num_batches_tracked == 3 * len(DTYPES)
        assert_module_parity(ours.eval(), theirs.eval(), *batches, terms=_batch_norm_terms)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MSELoss"])
def test_losses(name, reduction):
    options = {"reduction": reduction}
    logits, target = normal(5, 4), np.array([0, 3, 1, -100, 2])
    weight = np.array([0.5, 2, 1, 0.25])
    if name == "MSELoss":
        target = normal(5, 4, seed=1)
    elif name == "CrossEntropyLoss":
        options |= {"ignore_index": -100, "label_smoothing": 0.1}
    classes = {} if name == "MSELoss" else {"weight": weight}
    tensors = {key: torch.from_numpy(value) for key, value in classes.items()}
    ours, theirs = getattr(nn, name)(**classes, **options), getattr(torch.nn, name)(**tensors, **options)
    x = torch.from_numpy(logits.copy()).requires_grad_()
    loss, their_loss = ours(logits, target), theirs(x, torch.from_numpy(target))
    dloss = normal(*loss.shape, seed=2) if reduction == "none" else np.float64(1)
    their_loss.backward(torch.from_numpy(np.asarray(dloss)))
    dlogits = ours.backward(dloss) if reduction == "none" else ours.backward()
    np.testing.assert_allclose(loss, their_loss.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dlogits, x.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d"])
def test_dropout_in_evaluation_is_the_identity(name):
    module, x = getattr(nn, name)(0.7).eval(), normal(2, 3, 4, 5)
    y, cache = module.forward(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(module.backward(x, cache), x)


def test_dropout_draws_another_mask_at_every_call():
    module, x = nn.Dropout(0.5, rng=0), np.ones((10, 10))
    (first, first_cache), (second, second_cache) = module.forward(x), module.forward(x)
    assert (first != second).any()
    np.testing.assert_array_equal(module.backward(x, first_cache), first)
    np.testing.assert_array_equal(module.backward(x, second_cache), second)


class Twice(nn.Chain):
    """One convolution and one pool, each used twice."""

    def __init__(self):
        self.conv = nn.Conv2d(2, 2, (3, 1), padding=(1, 0))
        self.pool = nn.MaxPool2d(2, 1)
        self.chain = [
            ("conv1", self.conv), ("pool1", self.pool), ("conv2", self.conv), ("relu", nn.ReLU()), ("pool2", self.pool)
        ]  # fmt: skip


class TorchTwice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 2, (3, 1), padding=(1, 0))
        self.pool = torch.nn.MaxPool2d(2, 1)

    def forward(self, x):
        return self.pool(torch.relu(self.conv(self.pool(self.conv(x)))))


def test_a_module_used_twice_adds_its_gradients():
    """Also over two batches: gradients add until zero_grad."""
    assert_module_parity(Twice(), TorchTwice(), normal(2, 2, 5, 6), normal(3, 2, 4, 5, seed=1))


def test_residual_and_concat_add_the_gradients_of_their_branches():
    class TorchBranches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.main = torch.nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = torch.cat([x, x], 1)
            return x + self.main(x)

    class Branches(nn.Chain):
        def __init__(self):
            self.residual = nn.Residual(nn.Conv2d(4, 4, 3, padding=1))
            self.chain = [("concat", nn.Concat(nn.Identity(), nn.Identity())), ("residual", self.residual)]

    ours, theirs = Branches(), TorchBranches()
    ours.double()
    theirs.double()
    ours.load_state_dict({f"residual.{key}": value for key, value in theirs.state_dict().items()})
    x, dy = normal(2, 2, 4, 5), normal(2, 4, 4, 5, seed=1)
    y, cache = ours.forward(x)
    dx = ours.backward(dy, cache)
    their_y, their_dx = _torch_step(theirs, x, dy)
    y_terms, dx_terms = _torch_step(_absolute(theirs), abs(x), abs(dy))
    assert_close(y, their_y, y_terms)
    assert_close(dx, their_dx, dx_terms)
    for name, p in theirs.named_parameters():
        gradient = getattr(ours.residual.main, name.removeprefix("main.")).grad
        assert_close(gradient, p.grad.numpy(), p.grad.numpy())
