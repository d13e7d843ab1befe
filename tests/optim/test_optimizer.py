"""What all optimizers share: groups, errors, zero_grad, closures and repr."""

import numpy as np
import pytest
import torch

from scratchnet import optim
from scratchnet.nn.parameter import Parameter

OPTIMIZERS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
REJECTED = (ValueError, TypeError)


def parameters(count=2):
    return [Parameter(np.full(3, float(i + 1))) for i in range(count)]


def torch_parameters(count=2):
    return [torch.nn.Parameter(torch.full((3,), float(i + 1))) for i in range(count)]


def bad_options():
    for name in OPTIMIZERS:
        for value in (-0.1, "0.1", None, [0.1], 1j):
            yield name, {"lr": value}
            yield name, {"weight_decay": value}
    for value in (-0.1, "0.9", None):
        yield "SGD", {"momentum": value}
        yield "RMSprop", {"momentum": value}
        yield "RMSprop", {"alpha": value}
        yield "Adagrad", {"lr_decay": value}
        yield "Adagrad", {"initial_accumulator_value": value}
        for name in ("Adam", "AdamW", "RMSprop", "Adagrad"):
            yield name, {"eps": value}
    for name in ("Adam", "AdamW", "RMSprop", "Adagrad"):
        yield name, {"lr": float("nan")}
    yield "SGD", {"nesterov": True}
    yield "SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}
    bad_betas = [
        (1.0, 0.9),
        (0.9, 1.0),
        (-0.1, 0.9),
        (0.9, -0.1),
        (0, 0.9),
        (0.9, 0),
        ("0.9", 0.9),
        (0.9, None),
    ]
    for name in ("Adam", "AdamW"):
        for betas in (*bad_betas, (0.9,), 0.9, None):
            yield name, {"betas": betas}
        yield name, {"no_such_option": 1}


@pytest.mark.parametrize(("name", "options"), list(bad_options()))
def test_bad_options_are_rejected_as_in_torch(name, options):
    with pytest.raises(Exception):  # noqa: B017, PT011 (torch lets an IndexError through)
        getattr(torch.optim, name)(torch_parameters(), **options)
    with pytest.raises(REJECTED):
        getattr(optim, name)(parameters(), **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -0.1}, "SGD: Invalid learning rate: -0.1"),
        ("SGD", {"lr": "0.1"}, "SGD: expected lr to be a number, got '0.1'"),
        ("SGD", {"lr": float("nan")}, "SGD: Invalid learning rate: nan"),
        ("SGD", {"dampening": "much"}, "SGD: expected dampening to be a number, got 'much'"),
        ("SGD", {"nesterov": True, "momentum": 0.5, "dampening": 0.1}, "got momentum=0.5, dampening=0.1"),
        ("Adam", {"betas": (0.9, 1.0)}, "Adam: Invalid beta parameter at index 1: 1.0"),
        ("AdamW", {"weight_decay": -1}, "AdamW: Invalid weight_decay value: -1"),
        ("RMSprop", {"alpha": -2}, "RMSprop: Invalid alpha value: -2"),
        ("Adagrad", {"eps": -3}, "Adagrad: Invalid epsilon value: -3"),
    ],
)
def test_messages_quote_the_value(name, options, message):
    with pytest.raises(REJECTED) as error:
        getattr(optim, name)(parameters(), **options)
    assert message in str(error.value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_unusual_options_that_torch_accepts(name):
    for options in ({"lr": 0}, {"lr": 1}, {"weight_decay": 2}, {"lr": np.float32(0.1)}, {"maximize": True}):
        getattr(torch.optim, name)(torch_parameters(), **options)
        assert getattr(optim, name)(parameters(), **options).param_groups[0].items() >= options.items()
    optim.SGD(parameters(), dampening=-1.0, momentum=1.5)
    optim.RMSprop(parameters(), alpha=1.5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchs_implementation_options(name):
    make = getattr(optim, name)
    defaults = make(parameters()).defaults
    for option in ("foreach", "fused", "capturable", "differentiable"):
        if option in defaults:
            make(parameters(), **{option: False})
            make(parameters(), **{option: None})
            with pytest.raises(NotImplementedError, match=f"{option}=True"):
                make(parameters(), **{option: True})


PARAMS = {
    "empty list": lambda P: [],
    "empty generator": lambda P: (p for p in ()),
    "one parameter": lambda P: P[0],
    "a number": lambda P: 3,
    "None": lambda P: None,
    "a string": lambda P: "weights",
    "numbers": lambda P: [1.0, 2.0],
    "None in the list": lambda P: [P[0], None],
    "a list in the list": lambda P: [[P[0]]],
    "one dict": lambda P: {"params": P},
    "dict after parameter": lambda P: [P[0], {"params": [P[1]]}],
    "parameter after dict": lambda P: [{"params": [P[0]]}, P[1]],
    "set in a group": lambda P: [{"params": {P[0], P[1]}}],
    "number in a group": lambda P: [{"params": 3}],
    "none in a group": lambda P: [{"params": [None]}],
    "two groups share": lambda P: [{"params": [P[0]]}, {"params": [P[1], P[0]]}],
    "some names": lambda P: [("a", P[0]), P[1]],
    "a group with names, one without": lambda P: [{"params": [("a", P[0])]}, {"params": [P[1]]}],
}


@pytest.mark.parametrize("case", list(PARAMS))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bad_params_raise_the_same_type_as_in_torch(name, case):
    with pytest.raises(REJECTED) as theirs:
        getattr(torch.optim, name)(PARAMS[case](torch_parameters()))
    with pytest.raises(REJECTED) as ours:
        getattr(optim, name)(PARAMS[case](parameters()))
    assert ours.type is theirs.type
    assert name in str(ours.value)


def test_bad_params_of_other_kinds():
    with pytest.raises(ValueError, match="no 'params'"):
        optim.SGD([{"lr": 0.1}])
    with pytest.raises(TypeError, match="one of the params is ndarray"):
        optim.SGD([np.ones(3)])
    with pytest.raises(TypeError, match="one of the params is Parameter"):
        optim.SGD(torch_parameters())
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1"):
        optim.SGD([{"params": parameters(), "lr": -1}])
    with pytest.raises(ValueError, match="Invalid beta parameter"):
        optim.Adam([{"params": parameters(), "betas": (0.9, 2.0)}])


ACCEPTED = {
    "a generator": lambda P: (p for p in P),
    "a tuple": lambda P: tuple(P),
    "groups": lambda P: [{"params": P[:1], "lr": 0.5}, {"params": P[1], "note": "own"}],
    "an empty group": lambda P: [{"params": []}, {"params": P}],
    "named": lambda P: [("weight", P[0]), ("bias", P[1])],
    "named groups": lambda P: [{"params": [("weight", P[0])]}, {"params": [("bias", P[1])], "lr": 0.5}],
}


@pytest.mark.parametrize("case", list(ACCEPTED))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_params_and_repr_as_in_torch(name, case):
    ours = getattr(optim, name)(ACCEPTED[case](parameters()))
    theirs = getattr(torch.optim, name)(ACCEPTED[case](torch_parameters()))
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    assert repr(ours) == repr(theirs)


def test_group_dicts_are_left_as_they_are():
    group = {"params": parameters(), "lr": 0.5}
    before = dict(group)
    optim.SGD([group], momentum=0.9)
    assert group == before


def test_a_rejected_group_is_not_added():
    params = parameters(3)
    optimizer = optim.SGD(params[:2])
    for group in (
        {"params": params[1:]},
        {"params": params[2], "lr": -1},
        {"params": [params[2], 1]},
        params[2],
    ):
        with pytest.raises(REJECTED):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_duplicate_in_a_group_warns_and_is_updated_twice():
    param, reference = parameters(1)[0], torch_parameters(1)[0]
    with pytest.warns(UserWarning, match="duplicate parameters"):
        theirs = torch.optim.SGD([reference, reference], lr=0.1)
    with pytest.warns(UserWarning, match="duplicate parameters") as record:
        ours = optim.SGD([param, param], lr=0.1)
    assert record[0].filename == __file__
    param.grad, reference.grad = np.ones(3), torch.ones(3)
    ours.step()
    theirs.step()
    np.testing.assert_allclose(param.data, 1 - 0.2, rtol=1e-15)
    np.testing.assert_allclose(reference.detach().numpy(), 1 - 0.2, rtol=1e-6)
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]


def test_zero_grad():
    params = parameters()
    optimizer = optim.SGD(params)
    given = np.ones(3)
    params[0].grad = given
    optimizer.zero_grad(set_to_none=False)
    assert (params[0].grad == 0).all()
    assert params[1].grad is None
    assert (given == 1).all()
    optimizer.zero_grad()
    assert params[0].grad is None


def test_closure():
    param = parameters(1)[0]
    optimizer = optim.SGD([param], lr=0.5)

    def closure():
        param.grad = 2 * param.data
        return float((param.data**2).sum())

    assert optimizer.step(closure) == 3.0
    assert (param.data == 0).all()
    assert optimizer.step() is None


def test_skipped_parameters_have_no_state():
    params = parameters()
    for name in ("SGD", "Adam", "AdamW", "RMSprop"):
        optimizer = getattr(optim, name)(params)
        params[0].grad, params[1].grad = np.ones(3), None
        before = params[1].data.copy()
        optimizer.step()
        assert params[1] not in optimizer.state
        assert np.array_equal(params[1].data, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("grad", [np.ones(1), np.ones((1, 3)), np.ones(3, dtype=np.float32)])
def test_gradient_that_does_not_fit(name, grad):
    params = parameters()
    params[0].grad, params[1].grad = np.ones(3), grad
    optimizer = getattr(optim, name)(params)
    with pytest.raises(RuntimeError, match=r"gradient of parameter 1 of group 0"):
        optimizer.step()
    assert (params[0].data == 1).all()


def test_optimizer_of_ones_own():
    class SignSGD(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def update_parameter(self, param, group):
            param.data -= group["lr"] * np.sign(param.grad)
            self.state[param]["last"] = param.grad.copy()

    params = parameters()
    optimizer = SignSGD(params, lr=0.5)
    params[0].grad = np.array([-2.0, 0.0, 3.0])
    optimizer.step()
    assert np.array_equal(params[0].data, [1.5, 1.0, 0.5])
    again = SignSGD(params, lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["lr"] == 0.5
    assert np.array_equal(again.state[params[0]]["last"], [-2.0, 0.0, 3.0])
    with pytest.raises(NotImplementedError, match="update_parameter"):
        optim.Optimizer(params, {}).step()
