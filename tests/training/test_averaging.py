"""Averaged weights: the formula written out, and torch.optim.swa_utils."""

import dataclasses

import numpy as np
import pytest
import torch
from small_runs import Net, held_out, loader, trainer
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from scratchnet import nn, recipes
from scratchnet.training import ModelEMA, evaluate
from torch_ref.train import make_average


def twins():
    """One small model of each library with equal weights, and what changes both at random."""
    ours = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Linear(4, 2, rng=1)).double()
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).double()
    theirs.load_state_dict({name: torch.from_numpy(np.asarray(v)) for name, v in ours.state_dict().items()})
    rng = np.random.default_rng(3)

    def move():
        state = {name: value + rng.standard_normal(value.shape) for name, value in ours.state_dict().items()}
        state["1.num_batches_tracked"] = ours.state_dict()["1.num_batches_tracked"] + 1
        ours.load_state_dict(state)
        theirs.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in state.items()})

    return ours, theirs, move


def assert_equal_states(ema: ModelEMA, averaged: AveragedModel) -> None:
    expected = averaged.module.state_dict()
    state = ema.state_dict()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        np.testing.assert_allclose(value, expected[name].numpy(), rtol=1e-13, atol=1e-13)
        assert str(value.dtype) == str(expected[name].dtype).removeprefix("torch.")


def test_a_constant_decay_is_torchs():
    """Below 2/11, the warm-up's first value, a decay is constant from the beginning."""
    ours, theirs, move = twins()
    ema = ModelEMA(ours, 0.1)
    average = get_ema_avg_fn(0.1)

    def floats_only(old, new, steps):  # torch truncates the average of an integer
        return average(old, new, steps) if old.is_floating_point() else new

    averaged = AveragedModel(theirs, avg_fn=floats_only, use_buffers=True)
    averaged.update_parameters(theirs)  # the first is a copy
    for _ in range(5):
        move()
        ema.update()
        averaged.update_parameters(theirs)
        assert_equal_states(ema, averaged)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_the_warm_up_is_that_of_torch_ref(decay):
    ours, theirs, move = twins()
    ema = ModelEMA(ours, decay)
    averaged = make_average(dataclasses.replace(recipes.find("mnist"), ema=decay), theirs)
    for _ in range(30):
        move()
        ema.update()
        averaged.update_parameters(theirs)
    assert_equal_states(ema, averaged)


def test_the_formula():
    """avg ← d·avg + (1 − d)·weight with d = min(decay, (1 + t)/(10 + t)), one number at a time."""
    model = nn.Linear(1, 1, bias=False, rng=0).double()
    ema = ModelEMA(model, 0.5)
    expected = model.weight.data.item()
    for step in range(1, 21):
        weight = float(step**2)
        model.weight.data = np.array([[weight]])
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        assert ema.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-14)
    assert ema.steps == 20


def test_float32_stays_float32_and_counters_are_copied():
    model = Net()
    ema = ModelEMA(model, 0.9)
    model(np.random.default_rng(0).random((4, 1, 6, 6), dtype="float32"))
    ema.update()
    state = ema.state_dict()
    assert {str(value.dtype) for name, value in state.items() if "tracked" not in name} == {"float32"}
    assert state["bn.num_batches_tracked"] == 1
    assert state["bn.num_batches_tracked"].dtype == np.int64


def test_a_model_that_was_trained_before_can_be_averaged():
    """BatchNorm's counter is a NumPy scalar then, which nothing can be written into."""
    model = Net()
    x = np.random.default_rng(0).random((4, 1, 6, 6), dtype="float32")
    model(x)
    ema = ModelEMA(model, 0.9)
    model(x)
    ema.update()
    assert ema.state_dict()["bn.num_batches_tracked"] == 2


def test_weights_are_swapped_within_the_block_only():
    model = nn.Linear(2, 2, rng=0)
    ema = ModelEMA(model, 0.9)
    first = model.weight.data.copy()
    model.weight.data = model.weight.data + 11
    ema.update()
    own = model.weight.data
    with pytest.raises(ZeroDivisionError), ema.applied():  # noqa: PT012
        np.testing.assert_allclose(model.weight.data, first + 11 * 9 / 11, rtol=1e-6)
        raise ZeroDivisionError
    assert model.weight.data is own
    own += 1  # what is written into the weights does not reach the average
    np.testing.assert_allclose(ema.state_dict()["weight"], first + 9, rtol=1e-6)


def test_the_optimizer_goes_on_with_the_same_arrays():
    model = nn.Linear(2, 2, rng=0)
    data = model.weight.data
    ema = ModelEMA(model, 0.9)
    for _ in range(3):
        ema.update()
        ema.state_dict()
    assert model.weight.data is data


def test_a_shared_parameter_is_averaged_once():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model[1].weight = model[0].weight
    ema = ModelEMA(model, 0.0)
    model[0].weight.data = model[0].weight.data + 1
    ema.update()
    state = ema.state_dict()
    np.testing.assert_array_equal(state["0.weight"], model[0].weight.data)
    np.testing.assert_array_equal(state["1.weight"], model[0].weight.data)


def test_state_comes_back():
    model = Net()
    ema, other = ModelEMA(model, 0.9), ModelEMA(Net(5), 0.9)
    model.load_state_dict(Net(7).state_dict())
    ema.update()
    other.load_state_dict(ema.state_dict())
    assert all(np.array_equal(value, other.state_dict()[name]) for name, value in ema.state_dict().items())
    np.testing.assert_array_equal(other.model.fc1.weight.data, Net(5).fc1.weight.data)  # the model's own stay


@pytest.mark.parametrize("decay", [-0.1, 1, 1.0, float("nan"), True, "0.9", None])
def test_decays_out_of_range(decay):
    with pytest.raises(ValueError, match=r"ModelEMA: expected decay as a number in \[0, 1\)"):
        ModelEMA(nn.Linear(1, 1), decay)


def test_a_trainer_measures_and_saves_the_average(tmp_path):
    from scratchnet.training import load_checkpoint

    t = trainer(tmp_path, Net(), ema=0.99)
    history = t.fit(loader(), held_out(), 2)
    checkpoint = load_checkpoint(tmp_path, prefer="last")
    own, averaged = Net(), Net()
    own.load_state_dict(checkpoint.model)
    averaged.load_state_dict(checkpoint.weights)
    losses = [evaluate(model, nn.CrossEntropyLoss(), held_out()).loss for model in (own, averaged)]
    assert history[-1]["test_loss"] == pytest.approx(losses[1], rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3 * losses[1]
    assert np.array_equal(t.model.fc1.weight.data, checkpoint.model["fc1.weight"])  # training went on with its own


def test_averaging_changes_no_step(tmp_path):
    with_average, without = trainer(None, Net(), ema=0.9), trainer(None, Net())
    for t in (with_average, without):
        t.fit(loader(), held_out(), 2)
    for name, value in without.model.state_dict().items():
        np.testing.assert_array_equal(with_average.model.state_dict()[name], value)
