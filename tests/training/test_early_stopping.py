"""When training stops because it has stopped getting better."""

import math

import pytest
from small_runs import held_out, loader, trainer

from scratchnet.training import EarlyStopping


def stops_after(stopping: EarlyStopping, values: list[float], monitor="test_loss") -> int | None:
    """The number of the epoch after which it says stop, None if it never does."""
    for epoch, value in enumerate(values, 1):
        if stopping.update({monitor: value, "other": 0.0}):
            return epoch
    return None


@pytest.mark.parametrize(
    ("patience", "losses", "epoch"),
    [
        (1, [3, 2, 2], 3),
        (1, [3, 2, 1, 0], None),
        (2, [3, 2, 2.5, 1.9, 2, 2.1], 6),
        (2, [3, 4, 5], 3),
        (3, [3, 4, 5], None),
        (1, [math.inf, math.inf], 2),
        (1, [math.inf, 5, 4], None),
    ],
)
def test_patience(patience, losses, epoch):
    assert stops_after(EarlyStopping(patience), losses) == epoch


def test_an_improvement_is_more_than_min_delta():
    assert stops_after(EarlyStopping(2, min_delta=0.5), [3, 2.5, 2.0]) is None  # the second: 1.0 below the best
    assert stops_after(EarlyStopping(1, min_delta=0.5), [3, 2.5]) == 2
    assert stops_after(EarlyStopping(1, min_delta=0.5), [3, 2.4]) is None
    assert stops_after(EarlyStopping(3, min_delta=0.5), [3, 2.9, 2.8, 2.7]) == 4  # small steps do not add up to one …
    assert stops_after(EarlyStopping(4, min_delta=0.5), [3, 2.8, 2.6, 2.4, 2.3]) is None  # … until they do


def test_accuracy_is_better_if_higher_and_losses_if_lower():
    rising = [0.1, 0.2, 0.3, 0.4]
    assert stops_after(EarlyStopping(2, monitor="test_accuracy"), rising, "test_accuracy") is None
    assert stops_after(EarlyStopping(2, monitor="test_accuracy"), rising[::-1], "test_accuracy") == 3
    assert stops_after(EarlyStopping(2, monitor="train_loss"), rising, "train_loss") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "patience as a whole number ≥ 1, got 0"),
        ((1.5,), "patience as a whole number ≥ 1, got 1.5"),
        ((True,), "patience as a whole number ≥ 1, got True"),
        ((1, -0.1), "min_delta ≥ 0, got -0.1"),
        ((1, math.nan), "min_delta ≥ 0, got nan"),
        ((1, 0.0, "accuracy"), "monitor as one of test_loss, train_loss, test_accuracy, got 'accuracy'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(*arguments)


@pytest.mark.parametrize("metrics", [{}, {"test_loss": math.nan}, {"train_loss": 1.0}])
def test_a_figure_that_is_not_there_is_an_error(metrics):
    with pytest.raises(ValueError, match=r"EarlyStopping: expected test_loss in an epoch's metrics, got (None|nan)"):
        EarlyStopping(1).update(metrics)


def test_state_comes_back():
    one, other = EarlyStopping(3), EarlyStopping(3)
    assert stops_after(one, [2, 3, 4]) is None
    other.load_state_dict(one.state_dict())
    assert (other.best, other.waited) == (2, 2)
    assert other.update({"test_loss": 2.0})


def test_a_trainer_stops_and_stays_stopped(tmp_path):
    t = trainer(tmp_path, early_stopping=EarlyStopping(2, min_delta=100.0))
    assert len(t.fit(loader(), held_out(), 9)) == 3  # the first epoch, and two without an improvement
    assert t.stopped
    again = trainer(tmp_path, early_stopping=EarlyStopping(2, min_delta=100.0))
    assert again.fit(loader(), held_out(), 9, resume=True) == []
    assert again.stopped


def test_a_trainer_that_is_not_to_stop_does_not(tmp_path):
    t = trainer(early_stopping=EarlyStopping(5, min_delta=100.0))
    assert len(t.fit(loader(), held_out(), 5)) == 5
    assert not t.stopped


def test_a_trainer_without_test_batches_can_watch_the_training_loss_only():
    assert len(trainer(early_stopping=EarlyStopping(1, 100.0, "train_loss")).fit(loader(), None, 9)) == 2
    with pytest.raises(ValueError, match="expected test_loss in an epoch's metrics, got None"):
        trainer(early_stopping=EarlyStopping(1)).fit(loader(), None, 9)
