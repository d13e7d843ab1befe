"""The contract of modules: no per-call state, the everyday form, registration, state_dict, modes, copies."""

import copy
import inspect
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import scratchnet
from scratchnet import nn


def net(rng=0):
    rng = np.random.default_rng(rng)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, rng=rng),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5, rng=rng),
        nn.Flatten(),
        nn.Linear(48, 4, rng=rng),
    )


X = np.random.default_rng(1).standard_normal((5, 2, 4, 4)).astype("float32")
DY = np.random.default_rng(2).standard_normal((5, 4)).astype("float32")


def torch_net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 4),
    )


def test_the_everyday_form_equals_the_explicit_one():
    explicit, everyday = net(), net()
    y, cache = explicit.forward(X)
    dx = explicit.backward(DY, cache)
    np.testing.assert_array_equal(everyday(X), y)
    np.testing.assert_array_equal(everyday.backward(DY), dx)
    for p, q in zip(explicit.parameters(), everyday.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_a_second_backward_is_an_error():
    model = net()
    model(X)
    model.backward(DY)
    with pytest.raises(RuntimeError, match="nothing to go back through"):
        model.backward(DY)


@pytest.mark.parametrize("quiet", ["eval", "no_grad"])
def test_evaluation_and_no_grad_keep_nothing(quiet):
    model = net()
    model(X)  # its cache must not serve the backward of the later call
    if quiet == "eval":
        model.eval()(X)
    else:
        with scratchnet.no_grad():
            model(X)
            assert model.forward(X)[1] is None
    with pytest.raises(RuntimeError, match="nothing to go back through"):
        model.backward(DY)


def test_backward_with_the_cache_of_no_grad_is_an_error():
    model = net()
    with scratchnet.no_grad():
        _, cache = model.forward(X)
    with pytest.raises(RuntimeError, match="no_grad"):
        model.backward(DY, cache)


def test_two_forwards_have_two_caches():
    model = net().eval()  # deterministic
    other = X[::-1].copy()
    _, first = model.forward(X)
    _, second = model.forward(other)
    dx_second = model.backward(DY, second)
    dx_first = model.backward(DY, first)
    model.zero_grad()
    np.testing.assert_array_equal(dx_first, model.backward(DY, model.forward(X)[1]))
    np.testing.assert_array_equal(dx_second, model.backward(DY, model.forward(other)[1]))


def test_gradients_accumulate_until_zero_grad():
    model = net().eval()
    model.backward(DY, model.forward(X)[1])
    once = [p.grad.copy() for p in model.parameters()]
    model.backward(DY, model.forward(X)[1])
    for grad, p in zip(once, model.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, grad + grad)
    model.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_frozen_parameter_gets_no_gradient():
    model = net()
    model[0].requires_grad_(False)
    model(X)
    model.backward(DY)
    assert model[0].weight.grad is None
    assert model[5].weight.grad is not None


def test_a_module_used_twice_adds_its_gradients():
    class Twice(nn.Chain):
        def __init__(self):
            self.fc = nn.Linear(4, 4, rng=0)
            self.chain = [("first", self.fc), ("tanh", nn.Tanh()), ("second", self.fc)]

    ours = Twice().double()
    theirs = torch.nn.Linear(4, 4).double()
    ours.fc.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    theirs(torch.tanh(theirs(x))).sum().backward()
    dx = ours.backward(np.ones((3, 4)), ours.forward(x.detach().numpy())[1])
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.fc.weight.grad, theirs.weight.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.fc.bias.grad, theirs.bias.grad.numpy(), rtol=1e-12)
    assert list(ours.state_dict()) == ["fc.weight", "fc.bias"]


def test_state_dict_has_torchs_keys_order_shapes_and_dtypes():
    ours, theirs = net().state_dict(), torch_net().state_dict()
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert ours[key].shape == tuple(value.shape)
        assert ours[key].dtype == value.numpy().dtype


def test_state_dict_travels_both_ways():
    ours, theirs = net(), torch_net()
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in net(7).state_dict().items()})
    result = ours.load_state_dict(theirs.state_dict())
    assert result == ([], [])
    for key, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, theirs.state_dict()[key].numpy())


def test_state_dict_is_a_copy_and_loading_keeps_the_parameters():
    model = net()
    state, weight = model.state_dict(), model[0].weight
    state["0.weight"][:] = 9
    assert not (model[0].weight.data == 9).any()
    model.load_state_dict(state)
    assert model[0].weight is weight
    assert (weight.data == 9).all()
    state["0.weight"][:] = 1
    assert (weight.data == 9).all()


def test_loading_is_all_or_nothing():
    model = net()
    before, bad = model.state_dict(), model.state_dict()
    bad["0.weight"] = bad["0.weight"] + 1
    bad["5.bias"] = np.zeros(3, "float32")
    del bad["1.running_mean"]
    bad["extra"] = np.zeros(1)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(bad)
    for part in ("5.bias: expected shape (4,), got (3,)", "missing keys: 1.running_mean", "unexpected keys: extra"):
        assert part in str(error.value)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(RuntimeError, match=r"5\.bias"):  # a wrong shape is an error without strict too
        model.load_state_dict(bad, strict=False)
    del bad["5.bias"]
    assert model.load_state_dict(bad, strict=False) == (["1.running_mean", "5.bias"], ["extra"])


@pytest.mark.parametrize("bad", [[1, 2], {"0.weight": [[1.0]]}, {"0.weight": "text"}, {"0.weight": np.array(["a"])}])
def test_loading_what_is_no_array_is_a_type_error(bad):
    with pytest.raises(TypeError, match="load_state_dict"):
        net().load_state_dict(bad, strict=False)


def test_double_and_float_convert_all_but_the_counter():
    model = net().double()
    model(X.astype("float64"))
    model.backward(DY.astype("float64"))
    dtypes = {key: value.dtype.name for key, value in model.state_dict().items()}
    assert dtypes.pop("1.num_batches_tracked") == "int64"
    assert set(dtypes.values()) == {"float64"}
    assert {p.grad.dtype.name for p in model.float().parameters()} == {"float32"}
    assert model[0].weight.dtype == np.float32


def test_wrong_dtype_names_both():
    with pytest.raises(TypeError, match="float32 or float64, got 'int8'"):
        nn.Linear(2, 2, dtype="int8")
    with pytest.raises(TypeError, match="expected weight of the input's float64, got float32"):
        nn.Linear(2, 2)(np.zeros((1, 2)))


def test_deepcopy_and_pickle_keep_weights_and_forget_the_pending_call():
    model = net()
    model(X)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.copy()):
        for (key, value), (_, other) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
            np.testing.assert_array_equal(value, other, err_msg=key)
        assert twin[0].weight is not model[0].weight
        assert twin.chain[0][1] is twin[0]
        with pytest.raises(RuntimeError, match="nothing to go back through"):
            twin.backward(DY)
    np.testing.assert_array_equal(copy.deepcopy(model)(X), pickle.loads(pickle.dumps(model))(X))


def test_replacing_a_layer_replaces_its_step():
    class Net(nn.Chain):
        def __init__(self):
            self.fc = nn.Linear(4, 2, rng=0)
            self.chain = [("fc", self.fc), ("relu", nn.ReLU())]

    model = Net()
    model.fc = nn.Linear(4, 3, rng=0)
    assert model(np.ones((1, 4), "float32")).shape == (1, 3)


def test_assigning_an_array_over_a_parameter_is_an_error():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear\.weight: expected a Parameter or None, got ndarray"):
        layer.weight = np.zeros((2, 2), "float32")


def test_attributes():
    layer = nn.Linear(2, 2)
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = layer.wieght
    assert {"weight", "bias"} <= set(dir(layer))
    del layer.bias
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    with pytest.raises(AttributeError, match="bias"):
        del layer.bias


def test_modes_reach_every_step_also_those_without_a_name_of_their_own():
    class Net(nn.Chain):
        def __init__(self):
            self.fc = nn.Linear(4, 2, rng=0)
            self.chain = [("fc", self.fc), ("drop", nn.Dropout())]

    model = Net()
    assert all(not m.training for m in model.eval().modules())
    assert all(m.training for m in model.train().modules())
    assert [name for name, _ in model.named_modules()] == ["", "fc", "drop"]
    with pytest.raises(ValueError, match="expected a bool"):
        model.train("yes")


def test_shared_parameters_are_listed_once():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_repr_is_torchs():
    assert repr(nn.Conv2d(1, 16, (3, 5), 2, 1, bias=False)) == repr(torch.nn.Conv2d(1, 16, (3, 5), 2, 1, bias=False))
    ours = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.Flatten())
    theirs = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.MaxPool2d(2)), torch.nn.Flatten()
    )
    assert repr(ours) == repr(theirs)


def test_errors_name_the_step():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 16, 5)), nn.ReLU())
    message = "0.0: conv2d: expected 3 input channels (weight 16×3×5×5), got an input of shape (50, 1, 28, 28)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model(np.zeros((50, 1, 28, 28), "float32"))


def test_duplicate_or_wrong_steps_are_errors():
    class Net(nn.Chain):
        def __init__(self, chain):
            self.chain = chain

    with pytest.raises(ValueError, match="needs a name of its own, got a twice"):
        Net([("a", nn.ReLU()), ("a", nn.ReLU())])
    with pytest.raises(TypeError, match="expected step 'a' as a module, got int"):
        Net([("a", 3)])


def test_activations_and_their_gradients_have_the_same_names():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh())), nn.Linear(4, 2, rng=1))
    x = np.ones((3, 4), "float32")
    activations = model.activations(x)
    assert list(activations) == ["input", "0.main.0", "0.main.1", "0.main", "0.shortcut", "0", "1"]
    np.testing.assert_array_equal(activations["0"], activations["0.main"] + x)
    dx = activations.backward(np.ones((3, 2), "float32"))
    assert list(activations.grad) == list(activations)
    assert all(activations.grad[name].shape == activations[name].shape for name in activations)
    model_dx = model.backward(np.ones((3, 2), "float32"), model.forward(x)[1])
    np.testing.assert_array_equal(dx, model_dx)
    np.testing.assert_array_equal(activations.grad["input"], dx)
    with pytest.raises(KeyError, match="no activation is called 'conv9'"):
        _ = activations["conv9"]


def test_residual_and_concat_agree_with_torch():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    dy = np.random.default_rng(1).standard_normal((2, 7, 4, 4))
    conv = nn.Conv2d(3, 3, 3, padding=1, rng=0)
    side = nn.Conv2d(3, 4, 1, rng=1)
    model = nn.Concat(nn.Residual(conv), side).double()
    t_conv, t_side = torch.nn.Conv2d(3, 3, 3, padding=1).double(), torch.nn.Conv2d(3, 4, 1).double()
    model.load_state_dict(
        {f"0.main.{k}": v for k, v in t_conv.state_dict().items()}
        | {f"1.{k}": v for k, v in t_side.state_dict().items()}
    )
    t_x = torch.from_numpy(x).requires_grad_()
    t_y = torch.cat([t_conv(t_x) + t_x, t_side(t_x)], 1)
    t_y.backward(torch.from_numpy(dy))
    y, cache = model.forward(x)
    np.testing.assert_allclose(y, t_y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(model.backward(dy, cache), t_x.grad.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(conv.weight.grad, t_conv.weight.grad.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(side.bias.grad, t_side.bias.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_residual_names_both_shapes():
    with pytest.raises(ValueError, match=r"main gives shape \(2, 3\) and the shortcut \(2, 4\)"):
        nn.Residual(nn.Linear(4, 3)).forward(np.zeros((2, 4), "float32"))


def test_a_model_with_its_own_forward_and_backward_trains():
    class Doubled(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(4, 2, rng=0)

        def forward(self, x):
            y, cache = self.fc.forward(x)
            return 2 * y, cache

        def backward(self, dy, cache):
            return self.fc.backward(2 * dy, cache)

    model = Doubled()
    x, dy = np.ones((3, 4), "float32"), np.ones((3, 2), "float32")
    model(x)
    model.backward(dy)
    np.testing.assert_array_equal(model.fc.weight.grad, np.full((2, 4), 6, "float32"))


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(lambda r: nn.Linear(400, 300, rng=r), 400), (lambda r: nn.Conv2d(8, 90, (3, 5), groups=2, rng=r), 60)],
)
def test_initialisation_is_torchs(layer, fan_in):
    bound = fan_in**-0.5
    module = layer(0)
    weight = module.weight.data
    assert abs(weight).max() <= bound
    assert abs(module.bias.data).max() <= bound
    # The mean and variance of a uniform distribution in ±bound, within five standard errors.
    assert abs(weight.mean()) < 5 * bound / np.sqrt(3 * weight.size)
    assert abs(weight.var() / (bound**2 / 3) - 1) < 5 * np.sqrt(0.8 / weight.size)
    np.testing.assert_array_equal(weight, layer(0).weight.data)
    assert not np.array_equal(weight, layer(1).weight.data)


def test_nothing_touches_global_random_state():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is checked
    model = net()
    model(X)
    model.backward(DY)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_dropout_draws_a_new_mask_each_call_and_repeats_from_its_three_integers():
    drop = nn.Dropout(0.5, rng=0)
    x = np.ones(1000, "float32")
    first, second = drop(x), drop(x)
    assert not np.array_equal(first, second)
    assert drop.calls == 2
    again = nn.Dropout(0.5)
    again.seed, again.stream, again.calls = drop.seed, drop.stream, 0
    np.testing.assert_array_equal(again(x), first)
    np.testing.assert_array_equal(again(x), second)
    drop.eval()(x)
    assert drop.calls == 2


@pytest.mark.parametrize("make", [lambda: nn.MSELoss(size_average=True), lambda: nn.NLLLoss(reduce=False)])
def test_options_that_are_not_built_say_so(make):
    with pytest.raises(NotImplementedError, match="are not built"):
        make()


def test_import_is_light():
    code = (
        "import sys, scratchnet; "
        "print([m for m in ('torch', 'numba', 'cupy', 'matplotlib', 'tqdm', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


TORCH_NAMES = sorted(set(nn.__all__) & set(dir(torch.nn)) - {"Module", "Parameter", "Sequential", "Identity"})


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_signatures_are_torchs(name):
    def parameters(cls):
        _, *found = inspect.signature(cls.__init__).parameters.values()  # of cls: __new__'s in Python 3.11.2
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [(p.name, p.default) for p in found if p.kind not in kinds and p.name != "rng"]

    theirs = parameters(getattr(torch.nn, name))
    ours = parameters(getattr(nn, name))
    assert ours[: len(theirs)] == theirs  # an older torch lacks our last


def test_gradients_of_two_shapes_do_not_broadcast():
    parameter = nn.Parameter(np.zeros((3, 4), "float32"))
    parameter.accumulate(np.ones((3, 4), "float32"))
    with pytest.raises(ValueError, match=r"expected another gradient of shape \(3, 4\), got \(3, 1\)"):
        parameter.accumulate(np.ones((3, 1), "float32"))
