"""The Trainer as a library: batches and models of any kind, what a step computes, what it tells, what it writes."""

import json
import math
import signal
import threading

import numpy as np
import pytest
import torch
from small_runs import CLASSES, Interrupt, Net, held_out, images, loader, mlp, trainer

from scratchnet import nn, optim
from scratchnet.optim.lr_scheduler import ExponentialLR, OneCycleLR, ReduceLROnPlateau
from scratchnet.training import Callback, CheckpointError, RunFolder, Trainer, evaluate, load_checkpoint, train_step


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Gradients(Callback):
    """Copies the gradients of every step."""

    def __init__(self):
        self.steps = []

    def on_gradients(self, trainer):
        self.steps.append({name: p.grad.copy() for name, p in trainer.model.named_parameters()})


def batches_of(sizes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, 1, 6, 6)).astype(dtype), rng.integers(0, 3, n)) for n in sizes]


def joined(batches):
    return [tuple(np.concatenate(part) for part in zip(*batches, strict=True))]


def gradients(batches, **options):
    watch = Gradients()
    trainer(None, mlp().double(), lambda p: optim.SGD(p, lr=0.0), callbacks=[watch], **options).fit(batches)
    return watch.steps


# Steps


def test_epochs_are_the_loop_of_five_lines():
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    batches, losses = loader(seed=0), []
    for _ in range(2):
        for x, target in batches:
            losses.append((float(train_step(model, criterion, optimizer, x, target)), len(target)))

    t = trainer(None, Net(), fuse=False)
    history = t.fit(loader(seed=0), epochs=2)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(t.model.state_dict()[name], value)
    epochs = losses[:4], losses[4:]
    means = [sum(loss * n for loss, n in epoch) / sum(n for _, n in epoch) for epoch in epochs]
    assert [metrics["train_loss"] for metrics in history] == pytest.approx(means, rel=1e-12)


def test_fused_and_unfused_agree():
    states = []
    for fuse in (True, False):
        t = trainer(None, Net().double(), fuse=fuse)
        t.fit(loader(dtype="float64"), epochs=2)
        states.append(t.model.state_dict())
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-9, atol=1e-12)


def close(a, b, tolerance=1e-13):
    return all(np.linalg.norm(a[name] - b[name]) <= tolerance * np.linalg.norm(b[name]) for name in b)


@pytest.mark.parametrize("sizes", [[5, 5], [5, 3], [1, 7], [4, 4, 4], [6, 5, 1]])
def test_accumulated_gradients_are_those_of_one_batch_of_all_images(sizes):
    batches = batches_of(sizes)
    [accumulated] = gradients(batches, accumulate=len(sizes))
    [at_once] = gradients(joined(batches))
    assert close(accumulated, at_once)
    assert not close(accumulated, gradients(batches)[-1], 1e-3)


def test_a_last_group_that_is_smaller_is_a_mean_over_its_own_images():
    batches = batches_of([4, 4, 4, 4, 3])
    groups = gradients(batches, accumulate=2)
    alone = [gradients(joined(batches[i : i + 2]))[0] for i in (0, 2, 4)]
    assert len(groups) == 3
    assert all(close(group, expected) for group, expected in zip(groups, alone, strict=True))


def test_accumulated_losses_are_means_over_images():
    batches = batches_of([4, 2, 3])
    seen = []

    class Losses(Callback):
        def on_step_end(self, trainer, loss):
            seen.append((trainer.step, trainer.global_step, loss))

    t = trainer(None, mlp().double(), lambda p: optim.SGD(p, lr=0.0), accumulate=2, callbacks=[Losses()])
    history = t.fit(batches)
    expected = [evaluate(t.model, t.criterion, part).loss for part in (batches[:2], batches[2:])]
    assert [(step, number) for step, number, _ in seen] == [(1, 1), (2, 2)]
    assert [loss for *_, loss in seen] == pytest.approx(expected, rel=1e-13)
    assert history[0]["train_loss"] == pytest.approx(evaluate(t.model, t.criterion, batches).loss, rel=1e-13)
    assert t.steps_per_epoch == 2


def norm(gradients):
    return math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))


def test_clipping_scales_all_gradients_together():
    batches = batches_of([8])
    [plain] = gradients(batches)
    [clipped] = gradients(batches, clip_norm=0.01)
    assert norm(plain) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    scale = 0.01 / (norm(plain) + 1e-6)
    assert close(clipped, {name: g * scale for name, g in plain.items()})
    [untouched] = gradients(batches, clip_norm=1e3)
    assert all(np.array_equal(untouched[name], g) for name, g in plain.items())


def test_clipping_is_of_the_accumulated_gradient():
    batches = batches_of([4, 4])
    [accumulated] = gradients(batches, accumulate=2, clip_norm=0.01)
    [at_once] = gradients(joined(batches), clip_norm=0.01)
    assert close(accumulated, at_once)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torchs(smoothing):
    batches = batches_of([8])
    t = trainer(None, mlp().double(), criterion=nn.CrossEntropyLoss(label_smoothing=smoothing))
    logits = torch.from_numpy(t.model.eval()(batches[0][0]))
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batches[0][1]), label_smoothing=smoothing)
    assert t.fit(batches)[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-13)


def test_schedules_step_with_steps_or_with_epochs():
    rates = []

    class Rates(Callback):
        def on_gradients(self, trainer):
            rates.append(trainer.lr)

    plain = {"optimizer": lambda p: optim.SGD(p, lr=1e-3), "callbacks": [Rates()]}
    trainer(schedule=lambda opt: ExponentialLR(opt, 0.5), **plain).fit(loader(), epochs=2)
    assert rates == [1e-3] * 4 + [5e-4] * 4
    rates.clear()
    trainer(schedule=lambda opt: ExponentialLR(opt, 0.5), schedule_per="step", **plain).fit(loader(), epochs=2)
    assert rates == pytest.approx([1e-3 / 2**i for i in range(8)])
    rates.clear()
    trainer(schedule=lambda opt: OneCycleLR(opt, 0.01, total_steps=8), schedule_per="step", **plain).fit(
        loader(), epochs=2
    )
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1e-3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.01, total_steps=8, cycle_momentum=False)
    expected = []
    for _ in range(8):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        schedule.step()
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("tested", [True, False])
def test_reduce_on_plateau_gets_the_test_loss_or_the_training_loss(tested):
    given = []

    class Spy(ReduceLROnPlateau):
        def step(self, metrics):
            given.append(metrics)
            super().step(metrics)

    t = trainer(schedule=lambda opt: Spy(opt))
    history = t.fit(loader(), held_out() if tested else None, epochs=2)
    assert given == [metrics["test_loss" if tested else "train_loss"] for metrics in history]


# Batches and models of every kind


def test_a_list_of_batches():
    t = trainer()
    history = t.fit([*loader(shuffle=False)], [*held_out()], epochs=3)
    assert [metrics["epoch"] for metrics in history] == [1, 2, 3]
    assert [metrics["step"] for metrics in history] == [4, 8, 12]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert set(history[0]) == {"epoch", "step", "train_loss", "test_loss", "test_accuracy", "lr", "seconds"}
    expected = evaluate(t.model, t.criterion, held_out())
    assert history[-1]["test_loss"] == pytest.approx(expected.loss, rel=1e-6)
    assert history[-1]["test_accuracy"] == expected.accuracy
    assert all(isinstance(value, int | float) for value in history[0].values())


@pytest.mark.parametrize("batches", [iter([]), (pair for pair in []), zip([], [], strict=True)])
def test_batches_that_run_out_are_refused(batches):
    with pytest.raises(TypeError, match="expected batches that have a length and can be iterated anew"):
        trainer().fit(batches)


def test_no_epochs_and_no_test_batches():
    t = trainer()
    assert t.fit(loader(), epochs=0) == []
    [metrics] = t.fit(loader(), epochs=1)
    assert set(metrics) == {"epoch", "step", "train_loss", "lr", "seconds"}


def test_regression(tmp_path):
    """Targets that are no classes: loss alone, and best is the lowest."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 5))
    y = x @ rng.standard_normal((5, 2)) + 1
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    model = nn.Linear(5, 2, rng=0).double()
    t = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.2, momentum=0.5), out=tmp_path / "run")
    history = t.fit(batches, batches, epochs=40)
    assert history[-1]["test_loss"] < 1e-4
    assert all(math.isnan(metrics["test_accuracy"]) for metrics in history)
    best = min(range(40), key=lambda i: history[i]["test_loss"])
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.metadata["position"]["epoch"] == best + 2  # it stands at the beginning of the next
    assert t.best == -history[best]["test_loss"]
    assert t.run.rows()[-1]["test_accuracy"] == "nan"
    again = nn.Linear(5, 2, rng=1).double()
    t = Trainer(again, nn.MSELoss(), optim.SGD(again.parameters(), lr=0.2, momentum=0.5), out=tmp_path / "run")
    assert t.fit(batches, batches, epochs=40, resume=True) == []
    assert np.array_equal(again.weight.data, model.weight.data)


class Own(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(36, 3, rng=0)

    def forward(self, x):
        y, cache = self.fc.forward(x.reshape(len(x), -1))
        return y, (cache, x.shape)

    def backward(self, dy, cache):
        return self.fc.backward(dy, cache[0]).reshape(cache[1])


@pytest.mark.parametrize("fuse", [True, False])
def test_a_model_with_its_own_forward_and_backward(fuse):
    t = trainer(None, Own(), fuse=fuse)
    history = t.fit(loader(), held_out(), epochs=5)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    twin = trainer(None, nn.Sequential(nn.Flatten(), nn.Linear(36, 3, rng=0)), fuse=False)
    assert [m["train_loss"] for m in twin.fit(loader(), held_out(), 5)] == pytest.approx(
        [m["train_loss"] for m in history], rel=1e-5
    )


def test_the_fast_model_shares_the_models_parameters():
    t = trainer(None, Net())
    assert t.fast_model is not t.model
    assert [id(p) for p in t.fast_model.parameters()] == [id(p) for p in t.model.parameters()]
    assert trainer(None, t.model, fuse=False).fast_model is t.model


def test_evaluation_leaves_the_mode_as_it_was():
    t = trainer(None, Net())
    t.model.train()
    t.evaluate(held_out())
    assert t.model.training
    t.model.eval()
    t.evaluate(held_out())
    assert not t.model.training


def test_classes_are_counted():
    class First(nn.Module):
        """Says class 0, whatever it sees."""

        def forward(self, x):
            return np.eye(3)[np.zeros(len(x), int)], None

        def backward(self, dy, cache):
            return dy

    result = evaluate(First(), nn.CrossEntropyLoss(), held_out())
    labels = images(15, 2).labels
    assert result.total.tolist() == np.bincount(labels, minlength=len(CLASSES)).tolist()
    assert result.correct.tolist() == [int((labels == 0).sum()), 0, 0]
    assert result.accuracy == (labels == 0).mean()


# What callbacks are told


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self, trainer):
        self.events.append(("begin", trainer.epoch, trainer.step, trainer.global_step))

    def on_gradients(self, trainer):
        assert all(p.grad is not None for p in trainer.model.parameters())
        self.events.append(("gradients", trainer.epoch, trainer.step, trainer.global_step))

    def on_step_end(self, trainer, loss):
        assert isinstance(loss, float)
        self.events.append(("step", trainer.epoch, trainer.step, trainer.global_step))

    def on_evaluation(self, trainer, loss, result):
        assert 0 <= result.accuracy <= 1
        self.events.append(("evaluation", trainer.epoch, trainer.step, trainer.global_step))

    def on_epoch_end(self, trainer, metrics):
        assert metrics["epoch"] == trainer.epoch
        self.events.append(("epoch", trainer.epoch, trainer.step, trainer.global_step))

    def on_train_end(self, trainer):
        self.events.append(("end", trainer.epoch, trainer.step, trainer.global_step))


def expected_events(epochs, steps, eval_every):
    number = 0
    yield ("begin", 1, 0, 0)
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            yield ("gradients", epoch, step - 1, number)
            number += 1
            yield ("step", epoch, step, number)
            if step % eval_every == 0:
                yield ("evaluation", epoch, step, number)
        yield ("epoch", epoch, steps, number)
    yield ("end", epochs + 1, 0, number)


def test_callbacks_are_told_in_order():
    one, two = Recorder(), Recorder()
    trainer(callbacks=[one, two]).fit(loader(), held_out(), 2, eval_every=2)
    assert one.events == two.events == [*expected_events(2, 4, 2)]


def test_a_resumed_run_begins_where_it_was(tmp_path):
    first, second = Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", callbacks=[first, Interrupt(3)]).fit(loader(), held_out(), 2)
    assert first.events[-1] == ("step", 1, 3, 3)
    trainer(tmp_path / "run", callbacks=[second]).fit(loader(), held_out(), 2, resume=True)
    assert second.events[:2] == [("begin", 1, 3, 3), ("gradients", 1, 3, 3)]
    assert first.events[1:] + second.events[1:] == [*expected_events(2, 4, 9)][1:]


def test_evaluation_within_epochs_has_batches_of_its_own():
    seen = []

    class Count(Callback):
        def on_evaluation(self, trainer, loss, result):
            seen.append(int(result.total.sum()))

    trainer(callbacks=[Count()]).fit(loader(), held_out(), eval_every=2, eval_batches=[*held_out()][:1])
    trainer(callbacks=[Count()]).fit(loader(), held_out(), eval_every=4)
    trainer(callbacks=[Count()]).fit(loader(), None, eval_every=1)
    assert seen == [8, 8, 15]


# What is written


def test_without_a_run_folder_nothing_is_written(tmp_path):
    trainer(save_every=1).fit(loader(), held_out(), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [str, RunFolder, lambda path: path])
def test_a_run_folder(tmp_path, kind):
    t = trainer(kind(tmp_path / "deep" / "run"), about={"note": "ünï"})
    history = t.fit(loader(), held_out(), 2)
    folder = tmp_path / "deep" / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "metrics.csv",
        "last.safetensors",
        "last.previous.safetensors",
        "best.safetensors",
    }
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["note"] == "ünï"
    rows = t.run.rows()
    assert [(row["event"], int(row["epoch"]), int(row["step"])) for row in rows] == [("epoch", 1, 4), ("epoch", 2, 8)]
    for row, metrics in zip(rows, history, strict=True):
        assert {name: float(row[name]) for name in metrics} == metrics


def test_last_is_written_before_the_first_step(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", callbacks=[Fail()]).fit(loader())
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.metadata["position"]["global_step"] == 0
    assert all(np.array_equal(value, mlp().state_dict()[name]) for name, value in checkpoint.model.items())


class Fail(Callback):
    def on_gradients(self, trainer):
        raise KeyboardInterrupt


@pytest.mark.parametrize("save_every", [1, 2, 3, None])
def test_save_every(tmp_path, save_every, monkeypatch):
    saved = []
    real = RunFolder.exists
    t = trainer(tmp_path / "run", save_every=save_every)
    save = t._save
    monkeypatch.setattr(t, "_save", lambda *a, **o: (saved.append(t.global_step), save(*a, **o)))
    t.fit(loader(), epochs=2)
    within = [] if save_every is None else [step for step in range(1, 8) if step % save_every == 0 and step != 4]
    assert saved == sorted([0, 4, 8, *within])
    assert real(t.run)


def test_best_is_the_best_epoch(tmp_path):
    t = trainer(tmp_path / "run", Net(), lambda p: optim.SGD(p, lr=0.5))
    history = t.fit(loader(), held_out(), 8)
    accuracies = [metrics["test_accuracy"] for metrics in history]
    best = accuracies.index(max(accuracies))  # the first of equals
    assert load_checkpoint(tmp_path / "run").metadata["position"]["epoch"] == best + 2
    assert t.best == max(accuracies)
    model = Net()
    model.load_state_dict(load_checkpoint(tmp_path / "run").weights)
    assert evaluate(model, t.criterion, held_out()).accuracy == t.best


def test_without_test_batches_there_is_no_best(tmp_path):
    trainer(tmp_path / "run").fit(loader(), epochs=2)
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert load_checkpoint(tmp_path / "run").metadata["position"]["epoch"] == 3


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    trainer(tmp_path / "run").fit(loader())
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(
        FileExistsError, match=r"run: holds a run already \(last.safetensors\): continue it with resume"
    ):
        trainer(tmp_path / "run", mlp(5)).fit(loader(), epochs=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resume_true_begins_or_continues(tmp_path):
    assert len(trainer(tmp_path / "run").fit(loader(), epochs=1, resume=True)) == 1
    [metrics] = trainer(tmp_path / "run", mlp(5)).fit(loader(), epochs=2, resume=True)
    assert (metrics["epoch"], metrics["step"]) == (2, 8)
    with pytest.raises(ValueError, match="resume=True needs a run folder"):
        trainer().fit(loader(), resume=True)
    with pytest.raises(CheckpointError, match="expected a checkpoint, got: No such file"):
        trainer(tmp_path / "other").fit(loader(), resume=tmp_path / "nowhere.safetensors")


def test_what_a_checkpoint_cannot_hold_is_told_before_the_first_step(tmp_path):
    watch = Gradients()
    with pytest.raises(CheckpointError, match="expected metadata of JSON values, got object"):
        trainer(tmp_path / "run", about={"thing": object()}, callbacks=[watch]).fit(loader())
    named = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    named.optimizer = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"a parameter cannot be called 'optimizer\.weight'"):
        trainer(tmp_path / "other", named, callbacks=[watch]).fit(loader())
    assert watch.steps == []


# Interruptions


def test_ctrl_c_without_a_run_folder_is_an_ordinary_one():
    """It ends the step where it is, and the handlers are Python's own."""
    reached = []

    class CtrlC(Callback):
        def on_gradients(self, trainer):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            signal.raise_signal(signal.SIGINT)
            reached.append(trainer.step)

    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if pytest runs in the background
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer(callbacks=[CtrlC()]).fit(loader())
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert reached == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_after_an_interruption_the_epoch_begins_again():
    losses = []

    class Once(Callback):
        def on_step_end(self, trainer, loss):
            losses.append(loss)
            if trainer.global_step == 2:
                raise KeyboardInterrupt

    t = trainer(callbacks=[Once()])
    batches = loader(batch_size=6, drop_last=True)
    with pytest.raises(KeyboardInterrupt):
        t.fit(batches, epochs=2)
    history = t.fit(batches, epochs=2)
    assert [(metrics["epoch"], metrics["step"]) for metrics in history] == [(1, 6), (2, 10)]
    means = [sum(losses[i : i + 4]) / 4 for i in (2, 6)]
    assert [metrics["train_loss"] for metrics in history] == pytest.approx(means, rel=1e-12)
    assert (t.epoch, t.step, t.images) == (3, 0, 0)


def test_a_second_fit_goes_on():
    t, whole = trainer(), trainer()
    batches = loader()
    parts = t.fit(batches, epochs=1) + t.fit(batches, epochs=3)
    together = whole.fit(loader(), epochs=3)
    assert [m["train_loss"] for m in parts] == [m["train_loss"] for m in together]


def test_in_another_thread_signals_are_left_alone(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    seen, result = [], []

    class Look(Callback):
        def on_step_end(self, trainer, loss):
            seen.append(signal.getsignal(signal.SIGINT))

    t = trainer(tmp_path / "run", callbacks=[Look()])
    thread = threading.Thread(target=lambda: result.append(t.fit(loader())))
    thread.start()
    thread.join()
    assert len(result[0]) == 1
    assert set(seen) == {before}


# Arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule_per": "batch"}, ValueError, "expected schedule_per as 'epoch' or 'step', got 'batch'"),
        ({"accumulate": 0}, ValueError, "expected accumulate as a whole number ≥ 1, got 0"),
        ({"accumulate": 2.0}, ValueError, "expected accumulate as a whole number ≥ 1, got 2.0"),
        ({"accumulate": True}, ValueError, "expected accumulate as a whole number ≥ 1, got True"),
        ({"save_every": -1}, ValueError, "expected save_every as a whole number ≥ 1, got -1"),
        ({"ema": 1.0}, ValueError, r"expected decay as a number in \[0, 1\), got 1.0"),
        (
            {"schedule": lambda opt: ReduceLROnPlateau(opt), "schedule_per": "step"},
            ValueError,
            "ReduceLROnPlateau looks at the metrics of epochs: expected schedule_per='epoch'",
        ),
    ],
)
def test_arguments_out_of_range(options, error, message):
    with pytest.raises(error, match=message):
        trainer(**options)
