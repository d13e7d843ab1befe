"""A run that was interrupted after any step and continued ends with the bits of one that never was."""

import functools
import os

import numpy as np
import pytest
from small_runs import (
    EPOCHS,
    STEPS,
    TRAIN,
    CrashError,
    Interrupt,
    Net,
    different,
    held_out,
    loader,
    mlp,
    outcome,
    trainer,
)

import scratchnet
from scratchnet import nn, optim
from scratchnet.optim import lr_scheduler as schedules
from scratchnet.training import CheckpointError, EarlyStopping, load_checkpoint, save_checkpoint
from scratchnet.training import trainer as trainer_module

TOTAL = EPOCHS * STEPS


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Rows within epochs of four steps; and hundreds of files that no power cut threatens need not reach the disk."""
    monkeypatch.setattr(trainer_module, "LOG_EVERY", 2)
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Run:
    """One variation of the small run: everything is made anew for every process that it stands for."""

    def __init__(self, model=mlp, loader_options=None, dtype="float32", epochs=EPOCHS, rung=None, **options):
        self.model, self.loader_options, self.dtype = model, loader_options or {}, dtype
        self.epochs, self.rung, self.options = epochs, rung, options

    def fit(self, out, seed=0, callbacks=(), **fit_options):
        """A continued run begins with another seed everywhere: all that counts must come from the checkpoint."""
        options = {name: value() if name == "early_stopping" else value for name, value in self.options.items()}
        with scratchnet.use(self.rung or "numba"):
            t = trainer(out, self.model(seed).to(self.dtype), callbacks=callbacks, **options)
            batches = loader(**{"seed": seed, "dtype": self.dtype, **self.loader_options})
            t.fit(batches, held_out(self.dtype), self.epochs, eval_every=3, **fit_options)
        return t

    def whole(self, folder):
        self.fit(folder)
        return outcome(folder)

    def broken(self, folder, step, how, alter=None):
        """Interrupted after `step` steps, then continued."""
        save_every = {"save_every": 1} if how == "crash" else {}
        run = type(self)(
            self.model, self.loader_options, self.dtype, self.epochs, self.rung, **self.options, **save_every
        )
        with pytest.raises(CrashError if how == "crash" else KeyboardInterrupt):
            run.fit(folder, callbacks=[Interrupt(step, how)])
        if alter:
            path = folder / "last.safetensors"
            checkpoint = load_checkpoint(path)
            assert checkpoint.metadata["position"]["global_step"] == step
            alter(checkpoint)
            save_checkpoint(checkpoint, path)
        self.fit(folder, seed=99, resume=True)
        return outcome(folder)


SOME = [(1, "signal"), (2, "crash"), (4, "crash"), (4, "signal"), (7, "crash")]
EVERY = [*[(step, "signal") for step in range(1, TOTAL + 1)], *[(step, "crash") for step in range(TOTAL)]]


def assert_continues(run, folder, interruptions):
    whole = run.whole(folder / "whole")
    assert len(whole["rows"]) >= 2 * EPOCHS
    for step, how in interruptions:
        assert different(run.broken(folder / f"{how}-{step}", step, how), whole) == [], (step, how)
    return whole


# One thing at a time

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=1e-3),
    "SGD nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.99)),
    "Adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "RMSprop centered": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1),
    "two groups": lambda p: optim.SGD([{"params": q, "lr": 0.1 / (i + 1)} for i, q in enumerate(p)], momentum=0.9),
    "a frozen parameter": lambda p: optim.Adam(list(p)[1:], lr=0.01),
    "named": lambda p: optim.SGD([(str(i), q) for i, q in enumerate(p)], lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(tmp_path, optimizer):
    assert_continues(Run(optimizer=OPTIMIZERS[optimizer]), tmp_path, SOME)


class Halving:
    """A schedule with a state of its own, which LambdaLR saves."""

    def __init__(self):
        self.factor = 1.0

    def __call__(self, epoch):
        self.factor /= 2
        return self.factor


def sequence(opt):
    parts = [schedules.LinearLR(opt, 0.1, total_iters=3), schedules.CosineAnnealingLR(opt, 5)]
    return schedules.SequentialLR(opt, parts, milestones=[3])


SCHEDULES = {
    "StepLR": lambda opt: schedules.StepLR(opt, 3, gamma=0.5),
    "MultiStepLR": lambda opt: schedules.MultiStepLR(opt, [12, 1, 5, 5], gamma=0.5),
    "ConstantLR": lambda opt: schedules.ConstantLR(opt, 0.3, total_iters=3),
    "LinearLR": lambda opt: schedules.LinearLR(opt, 0.2, total_iters=6),
    "ExponentialLR": lambda opt: schedules.ExponentialLR(opt, 0.8),
    "CosineAnnealingLR": lambda opt: schedules.CosineAnnealingLR(opt, TOTAL),
    "LambdaLR": lambda opt: schedules.LambdaLR(opt, lambda t: 1 / (1 + t)),
    "LambdaLR with a state": lambda opt: schedules.LambdaLR(opt, Halving()),
    "SequentialLR": sequence,
    "OneCycleLR": lambda opt: schedules.OneCycleLR(opt, 0.2, total_steps=TOTAL),
    "OneCycleLR in three phases": lambda opt: schedules.OneCycleLR(
        opt, 0.2, epochs=2, steps_per_epoch=4, three_phase=True
    ),
    "ReduceLROnPlateau": lambda opt: schedules.ReduceLROnPlateau(opt, patience=0, threshold=0.9, cooldown=1),
}


def test_every_schedule_is_tried():
    named = {name.partition(" ")[0] for name in SCHEDULES}
    assert named == set(schedules.__all__) - {"LRScheduler"}


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(tmp_path, schedule, per):
    if schedule == "ReduceLROnPlateau" and per == "step":
        pytest.skip("it looks at epochs")
    run = Run(schedule=SCHEDULES[schedule], schedule_per=per, epochs=EPOCHS if per == "step" else 4)
    whole = assert_continues(run, tmp_path, SOME)
    rates = {row["lr"] for row in whole["rows"]}
    assert len(rates) > 1


def test_adam_with_one_cycle_moves_its_betas(tmp_path):
    cycle = SCHEDULES["OneCycleLR"]
    assert_continues(Run(optimizer=OPTIMIZERS["Adam"], schedule=cycle, schedule_per="step"), tmp_path, SOME)


class Twice(nn.Chain):
    """One layer used twice, and two names for one Parameter."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.first = nn.Linear(36, 8, rng=rng)
        self.middle = nn.Linear(8, 8, rng=rng)
        self.tied = nn.Linear(8, 8, rng=rng)
        self.tied.weight = self.middle.weight
        self.last = nn.Linear(8, 3, rng=rng)
        names = ["first", "middle", "tied", "last"]
        self.chain = [("flatten", nn.Flatten()), *[(name, getattr(self, name)) for name in names]]
        self.chain.insert(3, ("again", self.middle))


class OwnPasses(nn.Module):
    """Writes its own forward and backward."""

    def __init__(self, seed=0):
        self.flatten, self.fc = nn.Flatten(), nn.Linear(36, 3, rng=seed)
        self.drop = nn.Dropout(0.2, rng=seed)

    def forward(self, x):
        x, flat = self.flatten.forward(x)
        x, dropped = self.drop.forward(x)
        y, cache = self.fc.forward(x)
        return y, (flat, dropped, cache)

    def backward(self, dy, cache):
        flat, dropped, cache = cache
        return self.flatten.backward(self.drop.backward(self.fc.backward(dy, cache), dropped), flat)


def fortran(seed=0):
    """Weights that are laid out by columns."""
    model = mlp(seed)
    for parameter in model.parameters():
        parameter.data = np.asfortranarray(parameter.data)
    return model


def cumulative(seed=0):
    """BatchNorm whose momentum depends on how many batches it has seen."""
    rng = np.random.default_rng(seed)
    norm = nn.BatchNorm1d(8, momentum=None)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8, rng=rng), norm, nn.ReLU(), nn.Linear(8, 3, rng=rng))


VARIATIONS = {
    "dropout and BatchNorm": Run(Net),
    "unfused": Run(Net, fuse=False),
    "on im2col": Run(Net, rung="im2col"),
    "float64": Run(Net, dtype="float64"),
    "cumulative BatchNorm": Run(cumulative),
    "shared parameters": Run(Twice),
    "shared parameters, averaged": Run(Twice, ema=0.5),
    "own passes": Run(OwnPasses),
    "weights by columns": Run(fortran, rung="im2col", fuse=False),
    "augmentation": Run(loader_options={"augment": True}),
    "augmentation without shuffling": Run(loader_options={"augment": True, "shuffle": False}),
    "no shuffling": Run(loader_options={"shuffle": False}),
    "limited epochs": Run(loader_options={"batch_size": 4, "limit_batches": 4}),
    "without the last batch": Run(loader_options={"batch_size": 6, "drop_last": True}),
    "averaged weights": Run(Net, ema=0.9),
    "averaged weights, long memory": Run(Net, ema=0.99, epochs=3),
    "an odd number of batches for each two": Run(Net, {"batch_size": 4}, accumulate=2),
    "clipped": Run(clip_norm=0.01),
    "early stopping": Run(early_stopping=lambda: EarlyStopping(1, min_delta=10.0), epochs=5),
    "early stopping that waits": Run(early_stopping=lambda: EarlyStopping(4, min_delta=10.0), epochs=8),
}


@pytest.mark.parametrize("variation", VARIATIONS)
def test_every_variation(tmp_path, variation):
    assert_continues(VARIATIONS[variation], tmp_path, SOME)


@pytest.mark.parametrize("bit_generator", ["MT19937", "PCG64DXSM", "Philox", "SFC64"])
def test_loaders_with_other_generators(tmp_path, bit_generator):
    class Seeded(Run):
        def fit(self, out, seed=0, **options):
            rng = np.random.Generator(getattr(np.random, bit_generator)(seed))
            self.loader_options = {"rng": rng}
            return super().fit(out, seed, **options)

    run = Seeded()
    whole = run.whole(tmp_path / "whole")
    for step in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            run.fit(tmp_path / str(step), callbacks=[Interrupt(step)])
        run.fit(tmp_path / str(step), seed=99, resume=True)
        assert different(outcome(tmp_path / str(step)), whole) == []


# Everything at once, interrupted after every step

EVERYTHING = Run(
    Net,
    {"batch_size": 4, "augment": True},  # 7 batches: 4 steps, the last of one batch
    optimizer=OPTIMIZERS["SGD nesterov"],
    schedule=SCHEDULES["OneCycleLR"],
    schedule_per="step",
    accumulate=2,
    clip_norm=1.0,
    ema=0.9,
    early_stopping=lambda: EarlyStopping(5, min_delta=10.0),
    criterion=nn.CrossEntropyLoss(label_smoothing=0.1),
)


def test_everything_at_once_after_every_step(tmp_path):
    assert_continues(EVERYTHING, tmp_path, EVERY)


def test_interrupted_after_every_single_step(tmp_path):
    whole = EVERYTHING.whole(tmp_path / "whole")
    folder = tmp_path / "broken"
    for step in range(1, TOTAL + 1):
        with pytest.raises(KeyboardInterrupt):
            EVERYTHING.fit(folder, seed=step - 1, callbacks=[Interrupt(step)], resume=True)
    EVERYTHING.fit(folder, seed=99, resume=True)
    assert different(outcome(folder), whole) == []


def test_in_the_same_process_with_the_same_objects(tmp_path):
    whole = EVERYTHING.whole(tmp_path / "whole")
    t = trainer(
        tmp_path / "broken",
        Net(),
        **{k: v() if k == "early_stopping" else v for k, v in EVERYTHING.options.items()},
        callbacks=[Interrupt(2), Interrupt(5, "crash")],
        save_every=1,
    )
    batches = loader(**EVERYTHING.loader_options)
    for error in (KeyboardInterrupt, CrashError):
        with pytest.raises(error):
            t.fit(batches, held_out(), EPOCHS, eval_every=3, resume=True)
    t.callbacks.clear()
    t.fit(batches, held_out(), EPOCHS, eval_every=3, resume=True)
    assert different(outcome(tmp_path / "broken"), whole) == []


def test_a_loader_that_was_looked_into_begins_its_epoch_anew(tmp_path):
    class Peeked(Run):
        def fit(self, out, seed=0, callbacks=(), **options):
            batches = loader(seed)
            next(iter(batches))
            trainer(out, mlp(seed), callbacks=callbacks).fit(batches, held_out(), EPOCHS, eval_every=3, **options)

    run = Peeked()
    assert_continues(run, tmp_path, [(0, "crash"), (1, "signal"), (4, "signal")])


def test_two_uninterrupted_runs_are_the_same_and_another_seed_is_not(tmp_path):
    one, two = (EVERYTHING.whole(tmp_path / name) for name in "ab")
    assert different(one, two) == []
    EVERYTHING.fit(tmp_path / "c", seed=1)
    assert ("last", "conv.weight") in different(one, outcome(tmp_path / "c"))


# What the comparison would notice


def zero(part, key):
    def alter(checkpoint):
        checkpoint.metadata[part][key] = 0

    return alter


def forget_dropout(checkpoint):
    for counters in checkpoint.metadata["dropout"].values():
        counters[2] = 0


def forget_dropout_seed(checkpoint):
    checkpoint.metadata["dropout"]["drop"][0] += 1


def forget_order(checkpoint):
    checkpoint.metadata["batches"]["rng"] = loader(5, 4, augment=True).state_dict()["rng"]


def forget_momentum(checkpoint):
    checkpoint.optimizer.clear()


def forget_one_momentum(checkpoint):
    del checkpoint.optimizer["conv.bias.momentum_buffer"]


def forget_rate(checkpoint):
    checkpoint.metadata["optimizer"]["param_groups"][0]["max_lr"] = 0.1


def forget_schedule(checkpoint):
    checkpoint.metadata["scheduler"]["state"]["last_epoch"] = 0


def forget_average_steps(checkpoint):
    checkpoint.metadata["ema_steps"] = 0


def forget_average(checkpoint):
    checkpoint.ema.update(checkpoint.model)


def forget_statistics(checkpoint):
    checkpoint.model["bn.running_mean"][:] = 0


def forget_last_bit(checkpoint):
    weight = checkpoint.model["fc2.bias"]
    weight[0] = np.nextafter(weight[0], np.float32(np.inf))


def forget_waiting(checkpoint):
    checkpoint.metadata["early_stopping"]["state"] = {"best": None, "waited": 0}


OMISSIONS = {
    "dropout calls": forget_dropout,
    "dropout seed": forget_dropout_seed,
    "order": forget_order,
    "next batch": zero("batches", "next_batch"),
    "momentum": forget_momentum,
    "one momentum": forget_one_momentum,
    "maximal rate": forget_rate,
    "schedule": forget_schedule,
    "average": forget_average,
    "average's steps": forget_average_steps,
    "running mean": forget_statistics,
    "one bit": forget_last_bit,
    "waiting": forget_waiting,
    "loss so far": zero("position", "total_loss"),
    "images so far": zero("position", "images"),
    "step": zero("position", "step"),
    "global step": zero("position", "global_step"),
}


@functools.cache
def everything(folder):
    return EVERYTHING.whole(folder)


@pytest.mark.parametrize("omission", OMISSIONS)
def test_every_part_of_the_state_is_needed(tmp_path, tmp_path_factory, omission):
    alter = OMISSIONS[omission]
    whole = everything(tmp_path_factory.getbasetemp() / "everything")
    assert different(EVERYTHING.broken(tmp_path / "same", 6, "signal", lambda checkpoint: None), whole) == []
    try:
        altered = EVERYTHING.broken(tmp_path / "altered", 6, "signal", alter)
    except ValueError as error:  # two schedules notice a step too many by themselves
        assert "Tried to step 9 times" in str(error)  # noqa: PT017
    else:
        assert different(altered, whole) != []


# Continuing in another way


def test_more_epochs_than_planned(tmp_path):
    long = Run(Net, epochs=4)
    whole = long.whole(tmp_path / "whole")
    Run(Net, epochs=2).fit(tmp_path / "short")
    assert len(long.fit(tmp_path / "short", seed=99, resume=True).run.rows()) == len(whole["rows"])
    assert different(outcome(tmp_path / "short"), whole) == []


def test_a_finished_run_has_nothing_to_do(tmp_path):
    whole = Run().whole(tmp_path)
    t = trainer(tmp_path, mlp(99))
    assert t.fit(loader(99), held_out(), EPOCHS, resume=True) == []
    assert t.epoch == EPOCHS + 1
    assert different(outcome(tmp_path), whole) == []


def test_from_the_generation_before_where_the_last_one_is_damaged(tmp_path):
    whole = Run(Net).whole(tmp_path / "whole")
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        Run(Net, save_every=1).fit(folder, callbacks=[Interrupt(6)])
    last, before = folder / "last.safetensors", folder / "last.previous.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"the generation before it is .*last\.previous\.safetensors"):
        Run(Net).fit(folder, resume=True)
    good = before.read_bytes()
    with pytest.raises(CrashError):  # killed again before it has saved anything new
        Run(Net).fit(folder, resume=before, callbacks=[Interrupt(5, "crash")])
    assert before.read_bytes() == good  # the damaged file has not taken its place
    assert load_checkpoint(last).metadata["position"]["global_step"] == 5
    Run(Net).fit(folder, seed=99, resume=True)
    assert different(outcome(folder), whole) == []


def test_resuming_keeps_two_generations(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Run(Net, save_every=1).fit(tmp_path, callbacks=[Interrupt(6)])
    for _ in range(3):
        with pytest.raises(CrashError):
            Run(Net).fit(tmp_path, resume=True, callbacks=[Interrupt(6, "crash")])
    positions = [
        load_checkpoint(tmp_path / f"last{name}.safetensors").metadata["position"] for name in (".previous", "")
    ]
    assert [position["global_step"] for position in positions] == [5, 6]


def test_from_best_back_in_the_run_keeps_the_last(tmp_path):
    run = Run(optimizer=lambda p: optim.SGD(p, lr=0.0), epochs=4)  # no epoch is better than the first
    whole = run.whole(tmp_path)
    crash = Interrupt(STEPS, "crash")
    with pytest.raises(CrashError):
        run.fit(tmp_path, seed=99, resume=tmp_path / "best.safetensors", callbacks=[crash])
    assert load_checkpoint(tmp_path / "last.previous.safetensors").metadata["position"]["global_step"] == 4 * STEPS
    run.fit(tmp_path, seed=98, resume=True)
    assert different(outcome(tmp_path), whole) == []


def test_into_another_folder(tmp_path):
    whole = Run(Net).whole(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Run(Net).fit(tmp_path / "first", callbacks=[Interrupt(3)])
    before = outcome(tmp_path / "first")
    Run(Net).fit(tmp_path / "second", seed=99, resume=tmp_path / "first")
    assert different(outcome(tmp_path / "first"), before) == []
    second = outcome(tmp_path / "second")
    assert [key for key in different(second, whole) if key != "rows"] == []
    assert second["rows"] == [row for row in whole["rows"] if int(row["step"]) > 3]
    with pytest.raises(FileExistsError, match="holds a run already"):
        Run(Net).fit(tmp_path / "second", resume=tmp_path / "first")
    assert different(outcome(tmp_path / "second"), second) == []


def test_a_checkpoint_without_a_folder(tmp_path):
    Run(Net).fit(tmp_path)
    t = trainer(None, Net(5))
    t.fit(loader(), held_out(), EPOCHS, resume=load_checkpoint(tmp_path, prefer="last"))
    state = load_checkpoint(tmp_path, prefer="last").model
    assert all(np.array_equal(value, state[name]) for name, value in t.model.state_dict().items())


# What cannot be continued


def interrupted(folder, step=2, **options):
    with pytest.raises(KeyboardInterrupt):
        trainer(folder, callbacks=[Interrupt(step)], **options).fit(loader(), held_out(), EPOCHS)


def wider(seed=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.ReLU(), nn.Linear(9, 3))


def deeper(seed=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3))


def with_dropout(seed=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Dropout(0.5), nn.Linear(8, 3))


MISFITS = {
    "another class": ({"model": Net()}, "model: expected Net, as here, got Sequential"),
    "another width": ({"model": wider()}, r"1.weight: expected shape \(9, 36\), got \(8, 36\)"),
    "another depth": ({"model": deeper()}, "missing keys: 4.weight, 4.bias"),
    "dropout": ({"model": with_dropout()}, "expected dropout called '2' there as well"),
    "another optimizer": ({"optimizer": lambda p: optim.Adam(p)}, "optimizer: expected Adam, as here, got SGD"),
    "more groups": ({"optimizer": OPTIMIZERS["two groups"]}, "different number of parameter groups: expected 4, got 1"),
    "fewer parameters": (
        {"optimizer": lambda p: optim.SGD(list(p)[:2], momentum=0.9)},
        "optimizer: it has no parameter '3",
    ),
    "a schedule": ({"schedule": SCHEDULES["StepLR"]}, "scheduler: expected StepLR, as here, got none"),
    "averaging": ({"ema": 0.9}, r"expected averaged weights \(ema\)"),
    "early stopping": (
        {"early_stopping": EarlyStopping(1)},
        "early_stopping: expected EarlyStopping, as here, got none",
    ),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_checkpoint_of_another_kind_of_run_is_refused(tmp_path, kind):
    interrupted(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    options, message = MISFITS[kind]
    with pytest.raises(CheckpointError, match=message) as caught:
        trainer(tmp_path, **options).fit(loader(), held_out(), EPOCHS, resume=True)
    assert f"{tmp_path / 'last.safetensors'}: cannot be continued here" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_reverse_of_each(tmp_path):
    for i, name in enumerate(("a schedule", "averaging", "early stopping", "dropout")):
        folder = tmp_path / str(i)
        interrupted(folder, **MISFITS[name][0])
        message = "'2' here as well" if name == "dropout" else "got StepLR|expected no averaged|got EarlyStopping"
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))
        with pytest.raises(CheckpointError, match=message):
            trainer(folder, model).fit(loader(), held_out(), EPOCHS, resume=True)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (loader(batch_size=5), "within an epoch with batch_size 7: expected the same here, got 5"),
        (loader(shuffle=False), "expected the state of a loader with shuffle=False"),
        ([*loader()], "within an epoch, which a list cannot continue: use a DataLoader"),
    ],
)
def test_batches_of_another_kind_cannot_continue_an_epoch(tmp_path, batches, message):
    interrupted(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        trainer(tmp_path).fit(batches, held_out(), EPOCHS, resume=True)


def test_a_dataset_of_another_size_cannot_continue_an_epoch(tmp_path):
    from scratchnet.datasets import DataLoader

    interrupted(tmp_path)
    fewer = DataLoader(TRAIN.subset(20), 7, shuffle=True, rng=0)
    with pytest.raises(CheckpointError, match="within an epoch with samples 26: expected the same here, got 20"):
        trainer(tmp_path).fit(fewer, held_out(), EPOCHS, resume=True)


def test_a_list_of_batches_is_continued_between_epochs(tmp_path):
    batches = [*loader(shuffle=False)]
    for name, interruptions in (("whole", []), ("broken", [Interrupt(STEPS)])):
        t = trainer(tmp_path / name, callbacks=interruptions)
        if interruptions:
            with pytest.raises(KeyboardInterrupt):
                t.fit(batches, held_out(), EPOCHS)
            t = trainer(tmp_path / name, mlp(99))
        t.fit(batches, held_out(), EPOCHS, resume=True)
    assert different(outcome(tmp_path / "broken"), outcome(tmp_path / "whole")) == []
