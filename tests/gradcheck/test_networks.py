"""The gradient check of whole networks: shared layers, branches, ties, kinks, dropout and BatchNorm together."""

import numpy as np
import pytest

import scratchnet
from scratchnet import nn
from scratchnet.backend import CPU_RUNGS
from scratchnet.study import gradcheck


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class SharedPool(nn.Chain):
    """Two convolutions that share one pool, as the tutorial's system B has it."""

    def __init__(self, pool):
        rng = np.random.default_rng(0)
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1, rng=rng)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1, rng=rng)
        self.pool = pool
        self.fc = nn.Linear(8, 3, rng=rng)
        self.chain = [
            ("conv1", self.conv1),
            ("relu1", nn.ReLU()),
            ("pool1", self.pool),
            ("conv2", self.conv2),
            ("relu2", nn.ReLU()),
            ("pool2", self.pool),
            ("flatten", nn.Flatten()),
            ("fc", self.fc),
        ]


class SharedLinear(nn.Chain):
    """One layer twice: its gradients add up."""

    def __init__(self):
        self.fc = nn.Linear(4, 4, rng=0)
        self.chain = [("first", self.fc), ("tanh", nn.Tanh()), ("second", self.fc)]


def batch_norm_network():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, rng=rng),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout2d(0.3, rng=rng),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4, rng=rng),
        nn.BatchNorm1d(4),
        nn.LeakyReLU(0.1),
        nn.Dropout(0.3, rng=rng),
    )


def inception_block():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Concat(
            nn.Conv2d(2, 2, 1, rng=rng),
            nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, rng=rng), nn.GELU()),
            nn.MaxPool2d(3, 1, padding=1),
        ),
        nn.Residual(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=3, rng=rng), nn.BatchNorm2d(6), nn.ReLU())),
        nn.Residual(nn.Conv2d(6, 2, 2, stride=2, rng=rng), nn.Conv2d(6, 2, 1, stride=2, rng=rng)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LogSoftmax(1),
    )


NETWORKS = {
    "shared max pool": lambda: (SharedPool(nn.MaxPool2d(2)), normal(2, 1, 8, 8)),
    "shared average pool": lambda: (SharedPool(nn.AvgPool2d(2)), normal(2, 1, 8, 8)),
    "shared linear": lambda: (SharedLinear(), normal(3, 4)),
    "batch norm and dropout": lambda: (batch_norm_network(), normal(4, 1, 6, 6)),
    "concat and residual": lambda: (inception_block(), normal(2, 2, 4, 4)),
}


@pytest.mark.parametrize("mode", ["elements", "directions"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient(name, training, mode):
    model, x = NETWORKS[name]()
    report = gradcheck(model.train(training), x, mode=mode)
    report.check()
    assert {result.name for result in report} == {"x", *(name for name, _ in model.named_parameters())}


@pytest.mark.parametrize("rung", CPU_RUNGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_rung(name, rung):
    model, x = NETWORKS[name]()
    with scratchnet.use(rung):
        gradcheck(model, x, mode="directions", directions=2).check()


def test_ties_behind_relu():
    """A pool over many zeros: all of its windows without a positive pixel are ties."""
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Tanh())
    x = np.random.default_rng(0).integers(-3, 2, (2, 2, 7, 7)).astype("float64")
    report = gradcheck(model, x)
    report.check()
    assert report["x"].kinks > 30


def test_a_network_with_its_loss():
    class WithLoss(nn.Module):
        def __init__(self):
            self.model, self.criterion = batch_norm_network(), nn.CrossEntropyLoss(label_smoothing=0.1)

        def forward(self, x, target):
            logits, cache = self.model.forward(x)
            loss, loss_cache = self.criterion.forward(logits, target)
            return loss, (cache, loss_cache)

        def backward(self, dloss, cache):
            return self.model.backward(self.criterion.backward(dloss, cache[1]), cache[0])

    report = gradcheck(WithLoss(), normal(4, 1, 6, 6), np.array([0, 3, 1, 1]))
    report.check()
    assert {"x", "model.0.bias", "model.7.weight"} <= {result.name for result in report}
    assert abs(report["model.0.bias"].analytic) < 1e-12  # in front of BatchNorm: zero by mathematics


def test_a_big_network_in_directions():
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, rng=rng),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10, rng=rng),
    )
    report = gradcheck(model, normal(8, 3, 16, 16).astype("float32"), directions=3)
    assert report.mode == "directions"
    report.check()
