"""The state dict: to torch and back, resuming exactly, older formats, and wrong ones that change nothing."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from scratchnet import optim
from scratchnet.nn.parameter import Parameter

OPTIMIZERS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
REJECTED = (ValueError, TypeError)
OPTIONS = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "dampening": 0.1},
    "Adam": {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "betas": (0.8, 0.9)},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
}


def parameters(count=2):
    return [Parameter(np.full(3, float(i + 1))) for i in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_crosses_to_torch_and_back(make_pair, name, dtype):
    pair = make_pair(name, dtype, **OPTIONS[name]).run(7)
    expected = make_pair(name, dtype, **OPTIONS[name]).run(21)
    pair.load_ours_into_theirs()
    pair.run(7).assert_agree()
    pair.load_theirs_into_ours()
    pair.run(7).assert_agree()
    for ours, uninterrupted in zip(pair.ours, expected.ours, strict=True):
        np.testing.assert_allclose(ours.data, uninterrupted.data, rtol=1e-12 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_is_a_snapshot_that_resumes_exactly(make_pair, name):
    pair = make_pair(name, **OPTIONS[name]).run(5)
    snapshot = pair.optimizer.state_dict()
    kept = copy.deepcopy(snapshot)
    data = [param.data.copy() for param in pair.ours]
    gradients = [[np.ones(param.shape) * step for param in pair.ours] for step in range(3)]

    def three_steps(optimizer):
        for step in gradients:
            for param, grad in zip(pair.ours, step, strict=True):
                param.grad = grad
            optimizer.step()
        return [param.data.copy() for param in pair.ours]

    first = three_steps(pair.optimizer)
    np.testing.assert_equal(snapshot, kept)
    for param, value in zip(pair.ours, data, strict=True):
        param.data[...] = value
    resumed = pair.make_ours(pair.ours)
    resumed.load_state_dict(snapshot)
    for one, other in zip(first, three_steps(resumed), strict=True):
        assert np.array_equal(one, other)
    np.testing.assert_equal(snapshot, kept)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_survive_json(make_pair, name):
    """A checkpoint keeps arrays as they are and the rest as JSON."""
    pair = make_pair(name, **OPTIONS[name]).run(3)
    state_dict = pair.optimizer.state_dict()
    groups = json.loads(json.dumps(state_dict["param_groups"]))
    pair.optimizer = pair.make_ours(pair.ours)
    pair.optimizer.load_state_dict({"state": state_dict["state"], "param_groups": groups})
    assert pair.optimizer.state_dict()["param_groups"] == state_dict["param_groups"]
    pair.run(3).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_copies_and_pickles(make_pair, name):
    pair = make_pair(name, **OPTIONS[name]).run(3)
    for clone in (copy.deepcopy(pair.optimizer), pickle.loads(pickle.dumps(pair.optimizer))):
        params = [param for group in clone.param_groups for param in group["params"]]
        for param, original in zip(params, pair.ours, strict=True):
            assert param is not original
            param.grad = np.ones(param.shape)
        clone.step()
        assert clone.state_dict()["state"].keys() == {0, 1, 2, 3}


def test_loaded_state_takes_dtype_and_leaves_the_source_alone():
    param = parameters(1)[0]
    optimizer = optim.SGD([param], momentum=0.9)
    state_dict = {
        "state": {0: {"momentum_buffer": np.ones(3, dtype=np.float32)}},
        "param_groups": optimizer.state_dict()["param_groups"],
    }
    optimizer.load_state_dict(state_dict)
    assert optimizer.state[param]["momentum_buffer"].dtype == np.float64
    param.grad = np.ones(3)
    optimizer.step()
    assert (state_dict["state"][0]["momentum_buffer"] == 1).all()


def test_older_states_of_torch():
    """A momentum buffer of None, step as a number, options that did not exist, tensors as options."""
    param = parameters(1)[0]
    sgd = optim.SGD([param], lr=1.0, momentum=0.9, maximize=True, dampening=0.5)
    group = {"lr": torch.tensor(0.5, dtype=torch.float64), "momentum": 0.9, "dampening": 0.5}
    group |= {"weight_decay": 0, "params": [0]}
    sgd.load_state_dict({"state": {0: {"momentum_buffer": None}}, "param_groups": [group]})
    assert sgd.param_groups[0]["maximize"] is False
    assert sgd.param_groups[0]["lr"] == 0.5
    assert type(sgd.param_groups[0]["lr"]) is float
    param.grad = np.ones(3)
    sgd.step()
    assert (param.data == 0.5).all()

    adam = optim.AdamW([param])
    group = {"lr": 0.1, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.1, "fused": True, "params": [0]}
    adam.load_state_dict(
        {"state": {0: {"step": 4, "exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}}, "param_groups": [group]}
    )
    assert adam.param_groups[0]["decoupled_weight_decay"] is True
    assert adam.param_groups[0]["fused"] is None
    assert adam.param_groups[0]["betas"] == (0.9, 0.99)
    adam.step()
    assert adam.state[param]["step"] == 5


def wrong_states():
    def change(key, value):
        return lambda d: d["param_groups"][0].update({key: value})

    def drop(key):
        return lambda d: d["param_groups"][0].pop(key)

    return {
        "not a dict": lambda d: None,
        "no state": lambda d: d.pop("state"),
        "no groups": lambda d: d.pop("param_groups"),
        "state is a list": lambda d: d.update(state=[]),
        "groups is None": lambda d: d.update(param_groups=None),
        "one group less": lambda d: d["param_groups"].pop(),
        "one parameter less": lambda d: d["param_groups"][1]["params"].pop(),
        "group without params": drop("params"),
        "group without lr": drop("lr"),
        "group without betas": drop("betas"),
        "negative lr": change("lr", -1.0),
        "lr as text": change("lr", "0.1"),
        "beta of one": change("betas", [0.9, 1.0]),
        "index too large": lambda d: d["state"].update({9: d["state"][0]}),
        "index as text": lambda d: d["state"].update({"0": d["state"].pop(0)}),
        "entries are no dict": lambda d: d["state"].update({3: [1, 2]}),
        "wrong shape": lambda d: d["state"][3].update(exp_avg=np.ones(7)),
        "no array": lambda d: d["state"][3].update(exp_avg=[1.0]),
        "missing moment": lambda d: d["state"][3].pop("exp_avg_sq"),
        "missing step": lambda d: d["state"][3].pop("step"),
        "negative step": lambda d: d["state"][3].update(step=-1),
        "step is NaN": lambda d: d["state"][3].update(step=float("nan")),
        "step of two": lambda d: d["state"][3].update(step=np.ones(2)),
        "another optimizer's": lambda d: d["state"][3].update(momentum_buffer=np.ones(())),
    }


@pytest.mark.parametrize("case", list(wrong_states()))
def test_wrong_state_changes_nothing(make_pair, case):
    pair = make_pair("Adam", amsgrad=True).run(6)
    before = pair.optimizer.state_dict()
    wrong = copy.deepcopy(before)
    if case == "not a dict":
        wrong = [1, 2]
    else:
        wrong_states()[case](wrong)
    for entries in wrong["state"].values() if isinstance(wrong, dict) and case.startswith("one ") else ():
        entries["exp_avg"] = entries["exp_avg"] + 1
    with pytest.raises(REJECTED, match="Adam"):
        pair.optimizer.load_state_dict(wrong)
    np.testing.assert_equal(pair.optimizer.state_dict(), before)
    pair.run(2).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_another_optimizer_is_rejected(make_pair, name):
    for other in OPTIMIZERS:
        if other != name and {name, other} != {"Adam", "AdamW"}:
            with pytest.raises(ValueError, match=name):
                make_pair(name).optimizer.load_state_dict(make_pair(other).run(1).optimizer.state_dict())
