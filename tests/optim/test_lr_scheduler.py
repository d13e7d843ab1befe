"""Every scheduler against torch, epoch by epoch: rates, momenta, resuming, chaining, warnings and errors."""

import inspect
import json
import math
import warnings

import numpy as np
import pytest
import torch

from scratchnet import optim
from scratchnet.nn.parameter import Parameter
from scratchnet.optim import lr_scheduler

REJECTED = (ValueError, TypeError)
EPOCHS = 80
THEIRS = torch.optim.lr_scheduler
NAMES = lr_scheduler.__all__


def our_optimizer(name="SGD", rates=(0.1, 0.03, 1.0), **options):
    return getattr(optim, name)([{"params": [Parameter(np.ones(2))], "lr": lr} for lr in rates], **options)


def their_optimizer(name="SGD", rates=(0.1, 0.03, 1.0), **options):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in rates]
    return getattr(torch.optim, name)(groups, **options)


def factor(epoch):
    return 1 / (1 + epoch)


class Decay:
    """A callable object, whose attributes are saved."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


def warmup_then_cosine(lib, opt):
    first = lib.LinearLR(opt, start_factor=0.1, total_iters=10)
    return lib.SequentialLR(opt, [first, lib.CosineAnnealingLR(opt, T_max=30, eta_min=1e-3)], milestones=[10])


def four_in_a_row(lib, opt):
    schedulers = [
        lib.ConstantLR(opt, factor=0.5, total_iters=4),
        lib.ExponentialLR(opt, gamma=0.9),
        lib.MultiStepLR(opt, milestones=[3, 8], gamma=0.5),
        lib.LambdaLR(opt, [factor, factor, Decay(0.8)]),
    ]
    return lib.SequentialLR(opt, schedulers, milestones=[7, 20, 44])


def skipped(lib, opt):
    schedulers = [lib.ExponentialLR(opt, 0.5), lib.ExponentialLR(opt, 0.9), lib.StepLR(opt, 3)]
    return lib.SequentialLR(opt, schedulers, milestones=[6, 6])


SCHEDULES = {
    "step": lambda lib, opt: lib.StepLR(opt, 7),
    "step gamma": lambda lib, opt: lib.StepLR(opt, step_size=3, gamma=0.7),
    "multistep": lambda lib, opt: lib.MultiStepLR(opt, [5, 40, 41]),
    "multistep repeated": lambda lib, opt: lib.MultiStepLR(opt, milestones=[12, 3, 12], gamma=0.3),
    "multistep at zero": lambda lib, opt: lib.MultiStepLR(opt, milestones=[0, 2], gamma=0.3),
    "exponential": lambda lib, opt: lib.ExponentialLR(opt, 0.93),
    "exponential growing": lambda lib, opt: lib.ExponentialLR(opt, gamma=1.1),
    "cosine": lambda lib, opt: lib.CosineAnnealingLR(opt, 60),
    "cosine up again": lambda lib, opt: lib.CosineAnnealingLR(opt, T_max=13, eta_min=0.02),
    "cosine of one": lambda lib, opt: lib.CosineAnnealingLR(opt, T_max=1),
    "cosine half": lambda lib, opt: lib.CosineAnnealingLR(opt, T_max=12.5),
    "linear": lambda lib, opt: lib.LinearLR(opt),
    "linear down": lambda lib, opt: lib.LinearLR(opt, start_factor=1.0, end_factor=0.0, total_iters=50),
    "linear up": lambda lib, opt: lib.LinearLR(opt, start_factor=1e-3, end_factor=0.8, total_iters=70),
    "linear none": lambda lib, opt: lib.LinearLR(opt, total_iters=0),
    "constant": lambda lib, opt: lib.ConstantLR(opt),
    "constant long": lambda lib, opt: lib.ConstantLR(opt, factor=0.3, total_iters=50),
    "lambda": lambda lib, opt: lib.LambdaLR(opt, factor),
    "lambdas": lambda lib, opt: lib.LambdaLR(opt, lr_lambda=[factor, lambda epoch: 0.9**epoch, Decay(0.97)]),
    "one cycle": lambda lib, opt: lib.OneCycleLR(opt, 0.5, total_steps=EPOCHS),
    "one cycle linear": lambda lib, opt: lib.OneCycleLR(
        opt, max_lr=[0.1, 0.2, 0.3], epochs=8, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.45
    ),
    "one cycle three": lambda lib, opt: lib.OneCycleLR(
        opt,
        0.5,
        EPOCHS,
        three_phase=True,
        div_factor=10,
        final_div_factor=100.0,
        base_momentum=[0.8, 0.7, 0.6],
    ),
    "one cycle three linear": lambda lib, opt: lib.OneCycleLR(
        opt, 0.5, EPOCHS + 7, three_phase=True, anneal_strategy="linear", max_momentum=[0.9, 0.91, 0.92]
    ),
    "one cycle rate only": lambda lib, opt: lib.OneCycleLR(opt, 0.5, EPOCHS, cycle_momentum=False),
    "one cycle fall only": lambda lib, opt: lib.OneCycleLR(opt, 0.5, EPOCHS, pct_start=0.0),
    "warm-up then cosine": warmup_then_cosine,
    "four in a row": four_in_a_row,
    "skipped": skipped,
}


def assert_same_groups(ours, theirs):
    for group, reference in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert group.keys() == reference.keys()
        for key in reference:
            if key in ("lr", "initial_lr", "min_lr", "max_lr", "momentum", "betas"):
                np.testing.assert_allclose(group[key], reference[key], rtol=1e-15, atol=0)


def assert_same(scheduler, reference):
    assert_same_groups(scheduler.optimizer, reference.optimizer)
    assert scheduler.last_epoch == reference.last_epoch
    np.testing.assert_allclose(scheduler.get_last_lr(), reference.get_last_lr(), rtol=1e-15, atol=0)
    assert scheduler.get_last_lr() == [group["lr"] for group in scheduler.optimizer.param_groups]


def advance(*schedulers):
    for scheduler in schedulers:
        scheduler.optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_every_epoch_against_torch(schedule, optimizer):
    ours = SCHEDULES[schedule](lr_scheduler, our_optimizer(optimizer))
    theirs = SCHEDULES[schedule](THEIRS, their_optimizer(optimizer))
    for _ in range(EPOCHS):
        assert_same(ours, theirs)
        advance(ours, theirs)
    assert_same(ours, theirs)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("stop", [3, 31])
def test_resuming_from_the_state_dict(schedule, stop):
    """Ours into ours by way of JSON, ours into torch's and torch's into ours, half way."""
    make = SCHEDULES[schedule]
    theirs = make(THEIRS, their_optimizer())
    ours = make(lr_scheduler, our_optimizer())
    for _ in range(stop):
        advance(ours, theirs)
    state = ours.state_dict()
    assert state.keys() == theirs.state_dict().keys()

    through_json = make(lr_scheduler, our_optimizer())
    through_json.load_state_dict(json.loads(json.dumps(state)))
    through_json.optimizer.load_state_dict(json.loads(json.dumps(ours.optimizer.state_dict())))
    from_torch = make(lr_scheduler, our_optimizer())
    from_torch.load_state_dict(theirs.state_dict())
    from_torch.optimizer.load_state_dict(theirs.optimizer.state_dict())
    into_torch = make(THEIRS, their_optimizer())
    into_torch.load_state_dict(state)
    into_torch.optimizer.load_state_dict(ours.optimizer.state_dict())
    for _ in range(40):
        advance(theirs, through_json, from_torch, into_torch)
        assert_same(through_json, theirs)
        assert_same(from_torch, theirs)
        assert_same(through_json, into_torch)


@pytest.mark.parametrize("schedule", ["step", "multistep", "exponential", "cosine", "linear", "constant", "lambda"])
def test_resuming_by_last_epoch(schedule):
    """A new scheduler over groups that have lr and initial_lr goes on where last_epoch says."""
    make = {
        "step": lambda lib, opt: lib.StepLR(opt, 4, last_epoch=6),
        "multistep": lambda lib, opt: lib.MultiStepLR(opt, [7, 9], last_epoch=6),
        "exponential": lambda lib, opt: lib.ExponentialLR(opt, 0.9, last_epoch=6),
        "cosine": lambda lib, opt: lib.CosineAnnealingLR(opt, 20, last_epoch=6),
        "linear": lambda lib, opt: lib.LinearLR(opt, total_iters=10, last_epoch=6),
        "constant": lambda lib, opt: lib.ConstantLR(opt, total_iters=8, last_epoch=6),
        "lambda": lambda lib, opt: lib.LambdaLR(opt, factor, last_epoch=6),
    }[schedule]
    optimizers = our_optimizer(), their_optimizer()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"], group["lr"] = group["lr"], group["lr"] * 0.7
    ours, theirs = make(lr_scheduler, optimizers[0]), make(THEIRS, optimizers[1])
    for _ in range(20):
        assert_same(ours, theirs)
        advance(ours, theirs)
    with pytest.raises(ValueError, match="initial_lr"):
        make(lr_scheduler, our_optimizer())


def test_two_schedulers_on_one_optimizer_multiply():
    optimizers = our_optimizer(), their_optimizer()
    pairs = [
        (lib.ExponentialLR(opt, 0.95), lib.StepLR(opt, 4, gamma=0.5))
        for lib, opt in zip((lr_scheduler, THEIRS), optimizers, strict=True)
    ]
    for _ in range(20):
        for schedulers in pairs:
            schedulers[0].optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
        assert_same_groups(*optimizers)
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.95**20 * 0.5**5, rel=1e-13)


def test_known_rates():
    """By hand: StepLR(2) from 1, warm-up over 4 from a quarter, half a cosine over 4."""

    def rates(make, count):
        scheduler = make(our_optimizer(rates=(1.0,)))
        values = []
        for _ in range(count):
            values += scheduler.get_last_lr()
            advance(scheduler)
        return values

    assert rates(lambda o: lr_scheduler.StepLR(o, 2), 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01], rel=1e-15)
    linear = rates(lambda o: lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=3), 6)
    assert linear == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], rel=1e-15)
    cosine = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 4), 6)
    expected = [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0, 0.5 - math.sqrt(0.125)]
    assert cosine == pytest.approx(expected, rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("name", NAMES)
def test_signature_is_torchs(name):
    ours = inspect.signature(getattr(lr_scheduler, name)).parameters.values()
    theirs = inspect.signature(getattr(THEIRS, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


PLATEAUS = [
    {},
    {"factor": 0.5, "patience": 0},
    {"mode": "max", "patience": 2, "threshold": 0.05},
    {"threshold_mode": "abs", "threshold": 0.1, "patience": 3, "cooldown": 4},
    {"mode": "max", "threshold_mode": "abs", "patience": 1, "min_lr": 0.01},
    {"patience": 1, "min_lr": [0.05, 0.01, 0.2], "eps": 1e-2},
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateau_against_torch(options):
    rng = np.random.default_rng(3)
    metrics = 2 ** -np.arange(EPOCHS / 5).repeat(5) + 0.2 * rng.standard_normal(EPOCHS)
    metrics[17] = math.nan
    ours = lr_scheduler.ReduceLROnPlateau(our_optimizer(), **options)
    theirs = THEIRS.ReduceLROnPlateau(their_optimizer(), **options)
    for epoch, metric in enumerate(metrics):
        ours.step(metric)
        theirs.step(metric)
        assert_same(ours, theirs)
        state = theirs.state_dict()
        assert ours.state_dict() == state
        assert ours.in_cooldown == theirs.in_cooldown
        if epoch == 30:
            optimizer = our_optimizer()
            optimizer.load_state_dict(ours.optimizer.state_dict())
            ours = lr_scheduler.ReduceLROnPlateau(optimizer)
            ours.load_state_dict(json.loads(json.dumps(state)))
    assert ours.get_last_lr() != [0.1, 0.03, 1.0]


def test_plateau_over_a_new_group():
    for min_lr in (0.05, [0.01, 0.05, 0.2]):
        scheduler = lr_scheduler.ReduceLROnPlateau(our_optimizer(), patience=0, min_lr=min_lr)
        scheduler.optimizer.add_param_group({"params": Parameter(np.ones(2)), "lr": 0.3})
        scheduler.step(1.0)
        if isinstance(min_lr, list):
            with pytest.raises(RuntimeError, match="4 parameter groups"):
                scheduler.step(2.0)
        else:
            scheduler.step(2.0)
            assert scheduler.get_last_lr() == pytest.approx([0.05, 0.03, 0.1, 0.05])


@pytest.mark.parametrize("schedule", ["step", "multistep", "exponential", "cosine", "linear", "constant", "lambda"])
def test_deprecated_epoch_argument(schedule):
    ours, theirs = (
        SCHEDULES[schedule](lr_scheduler, our_optimizer()),
        SCHEDULES[schedule](THEIRS, their_optimizer()),
    )
    advance(ours, theirs)
    for epoch in (9, 42, 3):
        with pytest.warns(UserWarning, match="epoch parameter") as record:
            ours.step(epoch)
        assert record[0].filename == __file__
        with pytest.warns(UserWarning, match="epoch parameter"):
            theirs.step(epoch)
        assert_same(ours, theirs)


def test_warnings_about_the_order_of_calls():
    for lib, make in ((lr_scheduler, our_optimizer), (THEIRS, their_optimizer)):
        scheduler = lib.StepLR(make(), 5)
        with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
            scheduler.step()
        scheduler.step()
        with pytest.warns(UserWarning, match=r"get_last_lr\(\)"):
            scheduler.get_lr()

    class Own(optim.SGD):
        def step(self, closure=None):
            """A step that does not tell whether it was called."""

    scheduler = lr_scheduler.StepLR(Own([Parameter(np.ones(2))]), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(scheduler)


def test_one_cycle_ends():
    ours = lr_scheduler.OneCycleLR(our_optimizer(), 0.5, total_steps=5)
    theirs = THEIRS.OneCycleLR(their_optimizer(), 0.5, total_steps=5)
    for _ in range(5):
        advance(ours, theirs)
        assert_same(ours, theirs)
    for scheduler in (ours, theirs):
        with pytest.raises(ValueError, match="Tried to step 6 times"):
            scheduler.step()


def test_phase_without_length():
    """torch divides by zero here."""
    for pct_start, total_steps in ((0.1, 10), (1.0, 4)):
        scheduler = lr_scheduler.OneCycleLR(our_optimizer(), 0.5, total_steps=total_steps, pct_start=pct_start)
        for _ in range(total_steps):
            advance(scheduler)
            assert all(0 < lr <= 0.5 for lr in scheduler.get_last_lr())
    scheduler = lr_scheduler.OneCycleLR(our_optimizer(), 0.5, total_steps=10, pct_start=0.1)
    assert scheduler.get_last_lr() == [0.5, 0.5, 0.5]


def test_constant_factor_of_zero():
    """torch divides by zero here."""
    scheduler = lr_scheduler.ConstantLR(our_optimizer(), factor=0, total_iters=2)
    assert scheduler.get_last_lr() == [0, 0, 0]
    for _ in range(2):
        advance(scheduler)
    assert scheduler.get_last_lr() == [0.1, 0.03, 1.0]


def test_linear_without_length_in_a_sequence():
    """torch divides by zero here."""
    optimizer = our_optimizer()
    schedulers = [
        lr_scheduler.ExponentialLR(optimizer, 0.5),
        lr_scheduler.LinearLR(optimizer, 0.5, total_iters=0),
    ]
    scheduler = lr_scheduler.SequentialLR(optimizer, schedulers, milestones=[1])
    advance(scheduler)
    assert scheduler.get_last_lr() == [0.05, 0.015, 0.5]


WRONG = {
    "no optimizer": lambda lib, opt: lib.StepLR(opt.param_groups, 3),
    "lambda no optimizer": lambda lib, opt: lib.LambdaLR(None, factor),
    "plateau no optimizer": lambda lib, opt: lib.ReduceLROnPlateau(3),
    "one cycle no optimizer": lambda lib, opt: lib.OneCycleLR([opt], 0.1, 5),
    "step missing": lambda lib, opt: lib.StepLR(opt),
    "step zero": lambda lib, opt: lib.StepLR(opt, 0),
    "step text": lambda lib, opt: lib.StepLR(opt, "3"),
    "milestone number": lambda lib, opt: lib.MultiStepLR(opt, 5),
    "cosine zero": lambda lib, opt: lib.CosineAnnealingLR(opt, 0),
    "cosine text": lambda lib, opt: lib.CosineAnnealingLR(opt, "10"),
    "exponential none": lambda lib, opt: lib.ExponentialLR(opt, None),
    "exponential text": lambda lib, opt: lib.ExponentialLR(opt, "0.9"),
    "linear start zero": lambda lib, opt: lib.LinearLR(opt, start_factor=0),
    "linear start above": lambda lib, opt: lib.LinearLR(opt, start_factor=1.1),
    "linear end below": lambda lib, opt: lib.LinearLR(opt, end_factor=-0.1),
    "linear end above": lambda lib, opt: lib.LinearLR(opt, end_factor=1.1),
    "constant above": lambda lib, opt: lib.ConstantLR(opt, factor=1.1),
    "constant below": lambda lib, opt: lib.ConstantLR(opt, factor=-0.1),
    "lambda count": lambda lib, opt: lib.LambdaLR(opt, [factor, factor]),
    "lambda number": lambda lib, opt: lib.LambdaLR(opt, 0.5),
    "one cycle no length": lambda lib, opt: lib.OneCycleLR(opt, 0.1),
    "one cycle half length": lambda lib, opt: lib.OneCycleLR(opt, 0.1, epochs=3),
    "one cycle zero": lambda lib, opt: lib.OneCycleLR(opt, 0.1, total_steps=0),
    "one cycle float": lambda lib, opt: lib.OneCycleLR(opt, 0.1, total_steps=10.0),
    "one cycle epochs": lambda lib, opt: lib.OneCycleLR(opt, 0.1, epochs=-1, steps_per_epoch=10),
    "one cycle batches": lambda lib, opt: lib.OneCycleLR(opt, 0.1, epochs=1, steps_per_epoch=1.5),
    "one cycle pct": lambda lib, opt: lib.OneCycleLR(opt, 0.1, 10, pct_start=1.2),
    "one cycle pct int": lambda lib, opt: lib.OneCycleLR(opt, 0.1, 10, pct_start=1),
    "one cycle strategy": lambda lib, opt: lib.OneCycleLR(opt, 0.1, 10, anneal_strategy="step"),
    "one cycle max_lr": lambda lib, opt: lib.OneCycleLR(opt, [0.1, 0.2], 10),
    "one cycle momenta": lambda lib, opt: lib.OneCycleLR(opt, 0.1, 10, max_momentum=[0.9]),
    "one cycle div": lambda lib, opt: lib.OneCycleLR(opt, 0.1, 10, div_factor=0),
    "plateau factor": lambda lib, opt: lib.ReduceLROnPlateau(opt, factor=1.0),
    "plateau mode": lambda lib, opt: lib.ReduceLROnPlateau(opt, mode="least"),
    "plateau threshold": lambda lib, opt: lib.ReduceLROnPlateau(opt, threshold_mode="ratio"),
    "plateau min_lr": lambda lib, opt: lib.ReduceLROnPlateau(opt, min_lr=[0.1]),
    "plateau metric": lambda lib, opt: lib.ReduceLROnPlateau(opt).step("low"),
    "plateau no metric": lambda lib, opt: lib.ReduceLROnPlateau(opt).step(),
    "sequence empty": lambda lib, opt: lib.SequentialLR(opt, [], []),
    "sequence milestones": lambda lib, opt: lib.SequentialLR(opt, [lib.StepLR(opt, 3)], [3]),
    "sequence numbers": lambda lib, opt: lib.SequentialLR(opt, [1, 2], [3]),
    "sequence plateau": lambda lib, opt: lib.SequentialLR(opt, [lib.ReduceLROnPlateau(opt)], []),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_errors_as_in_torch(case):
    with pytest.raises(Exception):  # noqa: B017, PT011 (torch divides by zero, or has no attribute)
        advance(WRONG[case](THEIRS, their_optimizer()))
    with pytest.raises(REJECTED):
        WRONG[case](lr_scheduler, our_optimizer())


def test_errors_of_other_kinds():
    optimizer, other = our_optimizer(), our_optimizer()
    with pytest.raises(ValueError, match="same optimizer"):
        lr_scheduler.SequentialLR(optimizer, [lr_scheduler.StepLR(other, 3)], [])
    schedulers = [lr_scheduler.StepLR(optimizer, 3) for _ in range(3)]
    with pytest.raises(ValueError, match="rising order"):
        lr_scheduler.SequentialLR(optimizer, schedulers, [9, 3])
    with pytest.raises(NotImplementedError, match="put its schedulers into one list"):
        lr_scheduler.SequentialLR(optimizer, [lr_scheduler.SequentialLR(optimizer, schedulers[:1], [])], [])
    with pytest.raises(ValueError, match="Adagrad has neither"):
        lr_scheduler.OneCycleLR(our_optimizer("Adagrad"), 0.1, 10)
    assert "max_lr" not in optimizer.param_groups[0]
    with pytest.raises(NotImplementedError, match="get_lr"):
        lr_scheduler.LRScheduler(optimizer)


@pytest.mark.parametrize("schedule", ["cosine", "lambdas", "warm-up then cosine", "one cycle"])
def test_wrong_state_changes_nothing(schedule):
    scheduler = SCHEDULES[schedule](lr_scheduler, our_optimizer())
    before = scheduler.state_dict()
    good = {**before, "last_epoch": 99}
    two_groups = SCHEDULES["cosine"](lr_scheduler, our_optimizer(rates=(0.1, 0.2))).state_dict()
    wrong = [
        None,
        {},
        {**good, "surplus": 1},
        {k: v for k, v in good.items() if k != "last_epoch"},
        two_groups,
    ]
    wrong.append(SCHEDULES["step"](lr_scheduler, our_optimizer()).state_dict())
    if schedule == "lambdas":
        wrong.append({**good, "lr_lambdas": [None]})
    if schedule == "warm-up then cosine":
        wrong.append({**good, "_schedulers": good["_schedulers"][:1]})
        wrong.append({**good, "_schedulers": [{**good["_schedulers"][0], "last_epoch": 99}, {}]})
    for state in wrong:
        with pytest.raises(ValueError, match=r"LR: expected"):
            scheduler.load_state_dict(state)
        assert scheduler.state_dict() == before


def test_plateau_rejects_a_state_with_an_unknown_mode():
    scheduler = lr_scheduler.ReduceLROnPlateau(our_optimizer())
    with pytest.raises(ValueError, match="mode least is unknown"):
        scheduler.load_state_dict({**scheduler.state_dict(), "mode": "least", "last_epoch": 5})
    assert scheduler.last_epoch == 0


def test_states_of_older_torch_versions_load():
    scheduler = lr_scheduler.StepLR(our_optimizer(), 3)
    state = {k: v for k, v in scheduler.state_dict().items() if k != "_is_initial"}
    scheduler.load_state_dict({**state, "verbose": False, "last_epoch": 4})
    assert scheduler.last_epoch == 4


def test_returned_rates_are_a_copy():
    scheduler = lr_scheduler.StepLR(our_optimizer(), 3)
    scheduler.get_last_lr().clear()
    assert scheduler.get_last_lr() == [0.1, 0.03, 1.0]
