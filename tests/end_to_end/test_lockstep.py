"""Whole networks beside their torch twins: same weights, batches and dropout masks, fifty steps in float64."""

import numpy as np
import pytest
import torch

import scratchnet
from scratchnet import models, nn, optim
from scratchnet.training import train_step
from torch_ref.masks import share_masks
from torch_ref.models import MODELS as TORCH_MODELS

STEPS = 50
TOLERANCE = 1e-9

SYSTEMS = {
    "A": ("mnist", "cnn", 10, ("Adam", {"lr": 0.001})),
    "B": ("mnist", "dropout", 16, ("SGD", {"lr": 0.01, "momentum": 0.9})),
    "C": ("cifar10", "cnn", 4, ("SGD", {"lr": 0.01, "momentum": 0.9})),
    "D": ("mnist", "mlp", 20, ("SGD", {"lr": 0.1})),
    "E": ("cifar10", "simple", 8, ("Adam", {"lr": 0.001})),
    "LeNet-5": ("mnist", "lenet5", 16, ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True})),
    # At lr 0.1 training on noise is chaotic: a rounding difference of 1e-16 grows to 1e-6 within fifty steps.
    "ResNet-20": ("cifar10", "resnet20", 4, ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4})),
}


def batches(dataset: str, size: int, steps: int):
    rng = np.random.default_rng(1)
    shape = (size, 1, 28, 28) if dataset == "mnist" else (size, 3, 32, 32)
    for _ in range(steps):
        yield rng.uniform(0, 1, shape), rng.integers(0, 10, size)


def twins(dataset: str, model: str):
    torch.manual_seed(0)
    theirs = TORCH_MODELS[dataset][model]().double()
    ours = models.build(dataset, model, rng=0).double()
    ours.load_state_dict(theirs.state_dict())
    share_masks(ours, theirs)
    return ours, theirs


def torch_step(model, optimizer, x, target) -> float:
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(target))
    loss.backward()
    optimizer.step()
    return loss.item()


def distance(ours, theirs) -> float:
    """The largest relative difference of any parameter or buffer, tensor by tensor."""
    expected = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    return max(
        float(np.linalg.norm(value - expected[name]) / max(np.linalg.norm(expected[name]), 1e-300))
        for name, value in ours.state_dict().items()
    )


def run_in_lockstep(ours, theirs, dataset: str, size: int, optimizer, steps: int) -> float:
    """The largest relative difference of any loss, and after the last step of any state."""
    kind, options = optimizer
    our_optimizer = getattr(optim, kind)(ours.parameters(), **options)
    their_optimizer = getattr(torch.optim, kind)(theirs.parameters(), **options)
    criterion, worst = nn.CrossEntropyLoss(), 0.0
    for x, target in batches(dataset, size, steps):
        loss = float(train_step(ours, criterion, our_optimizer, x, target))
        expected = torch_step(theirs, their_optimizer, x, target)
        worst = max(worst, abs(loss - expected) / abs(expected))
    return max(worst, distance(ours, theirs))


WAYS = {
    "im2col": lambda model: model,
    "numba": lambda model: model,
    "numba, fused": scratchnet.fuse,
    "numba, fused, without the input's gradient": lambda model: scratchnet.fuse(model, input_grad=False),
}


@pytest.mark.filterwarnings("ignore:.*dropout2d")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_fifty_steps_agree_with_torch(system, way):
    dataset, model, size, optimizer = SYSTEMS[system]
    ours, theirs = twins(dataset, model)
    with scratchnet.use(way.partition(",")[0]):
        assert run_in_lockstep(WAYS[way](ours), theirs, dataset, size, optimizer, STEPS) < TOLERANCE


@pytest.mark.filterwarnings("ignore:.*dropout2d")
@pytest.mark.parametrize("system", SYSTEMS)
def test_state_dicts_have_the_same_keys_order_and_shapes(system):
    dataset, model, *_ = SYSTEMS[system]
    theirs = TORCH_MODELS[dataset][model]().state_dict()
    ours = models.build(dataset, model, rng=0).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: tuple(v.shape) for k, v in theirs.items()}
    assert list(ours) == list(theirs)
    into_torch = TORCH_MODELS[dataset][model]()
    into_torch.load_state_dict({name: torch.from_numpy(value) for name, value in ours.items()})


def _one_step_distance(ours, theirs) -> float:
    return run_in_lockstep(ours, theirs, "mnist", 10, ("SGD", {"lr": 0.01, "momentum": 0.9}), 2)


def test_the_comparison_fails_for_another_mask():
    ours, theirs = twins("mnist", "dropout")
    assert _one_step_distance(ours, theirs) < TOLERANCE
    ours, theirs = twins("mnist", "dropout")
    next(m for m in ours.modules() if isinstance(m, nn.Dropout)).stream += 1
    assert _one_step_distance(ours, theirs) > 1e-4


def test_the_comparison_fails_for_a_slightly_wrong_gradient(monkeypatch):
    ours, theirs = twins("mnist", "dropout")
    weight = ours.fc1.weight
    exact = weight.accumulate
    monkeypatch.setattr(weight, "accumulate", lambda gradient: exact(gradient * (1 + 1e-5)), raising=True)
    assert _one_step_distance(ours, theirs) > TOLERANCE
