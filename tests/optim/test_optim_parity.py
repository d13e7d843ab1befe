"""Every optimizer with every combination of options, step by step against torch."""

import inspect
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnet import optim
from scratchnet.nn.parameter import Parameter

OPTIMIZERS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]


def combinations(**choices):
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


GRID = (
    [
        ("SGD", {"lr": 0.05, **options})
        for options in combinations(
            momentum=[0, 0.9],
            dampening=[0, 0.3],
            weight_decay=[0, 0.1],
            nesterov=[False, True],
            maximize=[False, True],
        )
        if not options["nesterov"] or (options["momentum"] > 0 and options["dampening"] == 0)
    ]
    + [
        ("Adam", {"lr": 0.01, **options})
        for options in combinations(
            betas=[(0.9, 0.999), (0.3, 0.8)],
            weight_decay=[0, 0.1],
            amsgrad=[False, True],
            maximize=[False, True],
            decoupled_weight_decay=[False, True],
        )
    ]
    + [
        ("AdamW", {"lr": 0.01, **options})
        for options in combinations(
            eps=[1e-8, 1e-2], weight_decay=[0, 0.1], amsgrad=[False, True], maximize=[False, True]
        )
    ]
    + [
        ("RMSprop", {"lr": 0.01, **options})
        for options in combinations(
            alpha=[0.99, 0.6],
            weight_decay=[0, 0.1],
            momentum=[0, 0.9],
            centered=[False, True],
            maximize=[False, True],
        )
    ]
    + [
        ("Adagrad", {"lr": 0.1, **options})
        for options in combinations(
            lr_decay=[0, 0.1],
            weight_decay=[0, 0.1],
            initial_accumulator_value=[0, 0.2],
            eps=[1e-10, 1e-2],
            maximize=[False, True],
        )
    ]
)


def name_of(case):
    return "-".join(f"{key}={value}" for key, value in case.items()) if isinstance(case, dict) else case


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("SGD", {"momentum": 0.9}, 0.4390),
        ("SGD", {"momentum": 0.9, "nesterov": True}, 0.1951),
        ("Adam", {"weight_decay": 0.1}, 0.70009),
        ("AdamW", {"weight_decay": 0.1}, 0.67329),
    ],
    ids=name_of,
)
def test_three_steps_from_one(name, options, expected):
    param = Parameter(np.ones(1))
    optimizer = getattr(optim, name)([param], lr=0.1, **options)
    for _ in range(3):
        param.grad = np.ones(1)
        optimizer.step()
    assert param.data[0] == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), GRID, ids=name_of)
def test_options_against_torch(make_pair, name, options, dtype):
    pair = make_pair(name, dtype, **options)
    for _ in range(5):
        pair.run(5).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_with_defaults(make_pair, name):
    make_pair(name, groups=False).run(50).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(data=st.data())
def test_drawn_hyperparameters(make_pair, name, data):
    unit = st.floats(0.01, 0.99)
    options = {"lr": data.draw(st.floats(1e-6, 1.0)), "weight_decay": data.draw(st.floats(0, 1))}
    if name in ("SGD", "RMSprop"):
        options["momentum"] = data.draw(unit)
    if name == "SGD":
        options["dampening"] = data.draw(st.floats(-1, 1))
    if name in ("Adam", "AdamW"):
        options["betas"] = (data.draw(unit), data.draw(unit))
    if name == "RMSprop":
        options["alpha"] = data.draw(unit)
    if name == "Adagrad":
        options["lr_decay"] = data.draw(st.floats(0, 10))
    make_pair(name, **options).run(6).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_signature_is_torchs(name):
    ours = inspect.signature(getattr(optim, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.optim, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_follow_changes_of_the_group(make_pair, name):
    """The rate, the decay and (OneCycleLR changes them) the momentum are read at every step."""
    pair = make_pair(name, **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {}))
    pair.run(3)
    for optimizer in (pair.optimizer, pair.reference):
        group = optimizer.param_groups[0]
        group.update(lr=0.3, weight_decay=0.2)
        if "momentum" in group:
            group["momentum"] = 0.5
        if "betas" in group:
            group["betas"] = (0.5, 0.9)
    pair.run(4).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_group_added_in_the_middle(make_pair, name):
    pair = make_pair(name).run(3)
    value = np.arange(6.0).reshape(2, 3)
    pair.ours.append(Parameter(value.copy()))
    pair.theirs.append(torch.nn.Parameter(torch.from_numpy(value.copy())))
    pair.optimizer.add_param_group({"params": pair.ours[-1], "lr": 0.5})
    pair.reference.add_param_group({"params": pair.theirs[-1], "lr": 0.5})
    pair.run(4).assert_agree()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_is_in_place(name):
    data = np.ones((3, 2), dtype=np.float32).T  # not C-contiguous
    param = Parameter(data)
    param.grad = np.full((2, 3), 0.5, dtype=np.float32)
    param.grad.flags.writeable = False
    getattr(optim, name)([param]).step()
    assert param.data is data
    assert param.data.dtype == np.float32
    assert (data != 1).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numpy_scalars_as_options_do_not_promote(make_pair, name):
    """A float64 scalar of NumPy would turn a float32 step into a float64 one, rounded differently."""
    plain, scalar = make_pair(name, "float32"), make_pair(name, "float32")
    for group in scalar.optimizer.param_groups:
        for key, value in group.items():
            if isinstance(value, float):
                group[key] = np.float64(value)
    plain.run(5)
    scalar.run(5)
    for ours, theirs in zip(plain.ours, scalar.ours, strict=True):
        assert np.array_equal(ours.data, theirs.data)
        assert theirs.data.dtype == np.float32


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_follows_the_parameter_to_another_dtype(make_pair, name):
    """After model.double() the data are new float64 arrays, and so the state becomes."""
    pair = make_pair(name, "float32").run(3)
    for param in pair.ours:
        param.data, param.grad = param.data.astype(np.float64), np.ones(param.shape)
    pair.optimizer.step()
    for entries in pair.optimizer.state.values():
        for key, value in entries.items():
            assert value.dtype == (np.float32 if key == "step" else np.float64)


def test_first_step_is_not_dampened():
    param = Parameter(np.zeros(1))
    optimizer = optim.SGD([param], lr=1.0, momentum=0.9, dampening=0.5)
    param.grad = np.array([2.0])
    optimizer.step()
    assert optimizer.state[param]["momentum_buffer"] == 2.0
    assert param.data == -2.0


def test_zero_gradient_without_eps_is_nan_as_in_torch():
    param, reference = Parameter(np.ones(2)), torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    param.grad, reference.grad = np.array([0.0, 1.0]), torch.tensor([0.0, 1.0], dtype=torch.float64)
    optim.Adam([param], eps=0).step()
    torch.optim.Adam([reference], eps=0).step()
    np.testing.assert_allclose(param.data, reference.detach().numpy(), rtol=1e-15)
    assert np.isnan(param.data[0])


def test_amsgrad_and_momentum_can_be_switched_on_later():
    param = Parameter(np.ones(2))
    for optimizer, option in (
        (optim.Adam([param]), {"amsgrad": True}),
        (optim.RMSprop([param]), {"momentum": 0.9}),
    ):
        for _ in range(2):
            param.grad = np.ones(2)
            optimizer.step()
            optimizer.param_groups[0].update(option)
        assert np.isfinite(param.data).all()
        assert len(optimizer.state[param]) == 3 + (option == {"amsgrad": True})


def test_update_is_the_one_point_to_replace():
    calls = []

    class Recorded(optim.SGD):
        @staticmethod
        def update(param, grad, momentum_buffer, **options):
            calls.append((param, grad, momentum_buffer, options["lr"]))

    param = Parameter(np.ones(2))
    param.grad = np.ones(2)
    Recorded([param], lr=0.25, momentum=0.9).step()
    assert len(calls) == 1
    assert calls[0][0] is param.data
    assert calls[0][1] is param.grad
    assert calls[0][2].shape == (2,)
    assert calls[0][3] == 0.25
    assert (param.data == 1).all()
