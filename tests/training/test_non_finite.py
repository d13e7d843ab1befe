"""A loss that is not finite: which layer was first, and nothing saved over what was good."""

import functools
import warnings

import numpy as np
import pytest
from small_runs import Net, held_out, loader, mlp, trainer

import scratchnet
from scratchnet import nn, ops, optim
from scratchnet.training import Callback, NonFiniteLossError, load_checkpoint
from scratchnet.training.non_finite import count_non_finite, first_non_finite, non_finite_weight
from scratchnet.training.state import dropout_counters

IMAGE = np.random.default_rng(0).random((5, 1, 6, 6), dtype="float32")


@pytest.fixture(autouse=True)
def quiet():
    """Overflows are what these tests are about."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def poisoned(op, number, value=np.inf):
    """An op whose `number`-th call has one element that is not finite."""
    calls = []

    @functools.wraps(op)
    def forward(*arguments, **options):
        y, cache = op(*arguments, **options)
        calls.append(y)
        if len(calls) == number:
            y = y.copy()
            y.flat[3] = value
        return y, cache

    return forward


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    ("op", "number", "layer"),
    [
        ("conv2d", 1, "conv, Conv2d"),
        ("max_pool2d", 1, "pool, MaxPool2d"),
        ("linear", 1, "fc1, Linear"),
        ("linear", 2, "fc2, Linear"),
    ],
)
def test_the_first_layer_is_named(op, number, layer, value):
    model = Net()
    with scratchnet.override(op, poisoned(getattr(ops, op), number, value)):
        text = first_non_finite(model, IMAGE, dropout_counters(model))
    assert (
        text == f"the first non-finite value is in the output of {layer} ({count_of(text)} of {size_of(text)} elements)"
    )


def count_of(text):
    return text.rpartition("(")[2].split(" of ")[0]


def size_of(text):
    return text.rpartition(" of ")[2].split(" ")[0]


def test_layers_inside_of_others_are_named_by_their_path():
    inner = nn.Sequential(nn.Linear(4, 4, rng=0), nn.ReLU())
    model = nn.Sequential(nn.Linear(4, 4, rng=1), nn.Residual(inner, nn.Linear(4, 4, rng=2)))
    x = np.ones((2, 4), "float32")
    inner[0].weight.data[0] = 3e38
    text = first_non_finite(model, x * np.float32(1e3), {})
    assert text.startswith("the first non-finite value is in the output of 1.main.0, Linear (")


def test_the_input_is_named_first():
    x = IMAGE.copy()
    x[0, 0, 0, :2] = np.nan
    assert first_non_finite(Net(), x, {}) == "the first non-finite value is in the input batch (2 of 180 elements)"


def test_a_weight_is_named_before_its_output():
    model = Net()
    model.fc1.weight.data[2, 3] = np.nan
    text = first_non_finite(model, IMAGE, dropout_counters(model))
    assert (
        text == "the first non-finite value is in parameter fc1.weight (1 of 216 elements), which the step before wrote"
    )


def test_only_the_loss():
    assert "finite: it became non-finite in the loss itself" in first_non_finite(mlp(), IMAGE, {})


def test_a_model_that_writes_its_own_forward_is_named_as_a_whole():
    class Own(nn.Module):
        def forward(self, x):
            return x / np.float32(0), None

    text = first_non_finite(Own(), IMAGE, {})
    assert text == "the first non-finite value is in the output of the model, Own (180 of 180 elements)"


def test_the_replay_draws_the_same_masks():
    """Dropout scales what it keeps, and here that overflows: only a replay of the same step finds the same count."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5, rng=3))
    x = np.full((5, 36), 2e38, "float32")
    model(x)  # the counter has moved on
    before = dropout_counters(model)
    wrong = int((~np.isfinite(model(x))).sum())
    text = first_non_finite(model, x, before)
    assert text == f"the first non-finite value is in the output of 1, Dropout ({wrong} of 180 elements)"
    other = first_non_finite(model, x, dropout_counters(model))
    assert "in the output of 1, Dropout" in other
    assert other != text


@pytest.mark.parametrize("fuse", [True, False])
def test_a_trainer_replays_with_the_masks_of_the_step_that_failed(fuse):
    def model():
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5, rng=3), nn.Linear(36, 3, rng=0))

    x = np.full((5, 1, 6, 6), 2e38, "float32")
    wrong = int((~np.isfinite(model()[1](x))).sum())
    other = model()[1]
    other.calls = 1
    assert wrong != (~np.isfinite(other(x))).sum()
    with pytest.raises(NonFiniteLossError, match=rf"output of 1, Dropout \({wrong} of 180 elements\)"):
        trainer(None, model(), fuse=fuse).fit([(x, np.zeros(5, int))])


def test_the_replay_changes_nothing():
    model = Net()
    criterion = nn.CrossEntropyLoss()
    criterion(model(IMAGE), np.zeros(5, int))
    model.backward(criterion.backward())
    model(IMAGE)  # a call that is waiting for its backward
    state, counters = model.state_dict(), dropout_counters(model)
    gradients = [p.grad.copy() for p in model.parameters()]
    data = [p.data for p in model.parameters()]
    with scratchnet.override("linear", poisoned(ops.linear, 1)):
        assert "fc1" in first_non_finite(model, IMAGE, counters)
    assert dropout_counters(model) == counters
    assert model.training
    assert all(np.array_equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.data is array for p, array in zip(model.parameters(), data, strict=True))
    assert all(np.array_equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert model.backward(np.ones((5, 3), "float32")) is not None


def test_counting():
    assert count_non_finite(np.array([1.0, 2.0])) == ""
    assert count_non_finite(np.array([np.nan, np.inf, 0, -np.inf])) == "3 of 4 elements"
    assert count_non_finite(np.array([1, 2])) == ""
    assert count_non_finite(np.zeros((0, 3))) == ""


def test_weights_and_buffers_are_looked_through():
    model = Net()
    assert non_finite_weight(model) is None
    model.bn.running_var[1] = np.inf
    assert non_finite_weight(model) == "buffer bn.running_var (1 of 3 elements)"
    model.fc2.bias.data[0] = np.nan
    assert non_finite_weight(model) == "parameter fc2.bias (1 of 3 elements)"


# In a run


class Spoil(Callback):
    """Changes the model before the step that follows `after`."""

    def __init__(self, after, change):
        self.after, self.change = after, change

    def on_step_end(self, trainer, loss):
        if trainer.global_step == self.after:
            self.change(trainer)


def overflow_in_fc1(trainer):
    trainer.model.fc1.weight.data[:] = 3e38


def overflow_in_conv(trainer):
    """BatchNorm's statistics become NaN in the very pass that fails; they are not the cause."""
    trainer.model.conv.weight.data[:] = 3e38


def nan_in_fc2(trainer):
    trainer.model.fc2.weight.data[0, 0] = np.nan


def large_rate(trainer):
    trainer.optimizer.param_groups[0]["lr"] = 1e38


SPOILT = {
    "overflow": (
        overflow_in_fc1,
        r"the loss is \S+ at step 7: the first non-finite value is in the output of fc1, Linear",
    ),
    "before BatchNorm": (overflow_in_conv, r"the loss is \S+ at step 7: .* is in the output of conv, Conv2d"),
    "weight": (nan_in_fc2, r"at step 7: .* in parameter fc2\.weight \(1 of 24 elements\), which the step before wrote"),
    "rate": (large_rate, r"the loss is \S+ at step \d+: the first non-finite value is in"),
}


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("save_every", [1, None])
@pytest.mark.parametrize("kind", SPOILT)
def test_a_run_stops_with_the_reason_and_its_last_good_checkpoint(tmp_path, kind, save_every, fuse):
    change, message = SPOILT[kind]
    t = trainer(tmp_path, Net(), callbacks=[Spoil(6, change)], save_every=save_every, fuse=fuse)
    if kind == "weight" and save_every:
        message = r"parameter fc2\.weight \(1 of 24 elements\) is not finite after step 6, so nothing was saved"
    with pytest.raises(NonFiniteLossError, match=message):
        t.fit(loader(), held_out(), 3)
    for name in ("last", "last.previous", "best"):
        checkpoint = load_checkpoint(tmp_path / f"{name}.safetensors")
        assert all(np.isfinite(value).all() for value in checkpoint.arrays().values())
    position = load_checkpoint(tmp_path, prefer="last").metadata["position"]
    assert position["global_step"] >= (4 if save_every is None else 5)
    if save_every and kind != "weight":
        return  # what was saved is finite, but what had already gone wrong in step 6 is in it
    good = trainer(tmp_path, Net(9))
    assert good.fit(loader(9), held_out(), 3, resume=True)[-1]["epoch"] == 3


def test_weights_that_break_in_the_last_step_of_an_epoch_are_not_saved(tmp_path):
    t = trainer(tmp_path, Net(), callbacks=[Spoil(8, nan_in_fc2)])
    with pytest.raises(
        NonFiniteLossError, match=r"parameter fc2\.weight .* is not finite after step 8, so nothing was saved"
    ):
        t.fit(loader(), held_out(), 3)
    assert load_checkpoint(tmp_path, prefer="last").metadata["position"]["global_step"] == 4


def test_the_learning_rate_that_is_too_large():
    t = trainer(None, Net(), lambda p: optim.SGD(p, lr=1e30))
    with pytest.raises(NonFiniteLossError, match="a smaller learning rate often helps"):
        t.fit(loader(), epochs=3)


def test_the_failing_batch_of_an_accumulated_step_is_the_one_that_is_replayed():
    batches = [(IMAGE, np.zeros(5, int)), (IMAGE * np.float32("nan"), np.zeros(5, int))]
    with pytest.raises(NonFiniteLossError, match="is in the input batch"):
        trainer(accumulate=2).fit(batches)


def test_a_run_that_fails_leaves_dropout_and_statistics_of_the_failing_pass_alone():
    """first_non_finite works on a copy: what the model holds is what its own forward pass left."""
    one, other = Net(), Net()
    batch = [(IMAGE, np.zeros(5, int))]
    one.fc1.weight.data[:] = other.fc1.weight.data[:] = 3e38
    with pytest.raises(NonFiniteLossError):
        trainer(None, one, fuse=False).fit(batch)
    other.train()
    other(batch[0][0])
    assert dropout_counters(one) == dropout_counters(other)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(one.state_dict()[name], value)
