"""fuse: the same numbers from fewer kernels, on the same parameters, buffers, mode and dropout counters."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnet
from scratchnet import nn, optim
from scratchnet.nn import fuse as fusion
from scratchnet.training import train_step

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _numba():
    with scratchnet.use("numba"):
        yield


def blocks(model):
    """The kinds of the blocks of a fused model, in order."""
    return [
        repr(block) if isinstance(block, fusion.Block) else type(block).__name__
        for block in scratchnet.fuse(model)._blocks
    ]


def differences(model, x, input_grad=True):
    """Relative differences between the plain im2col run of a model and its fused run: y, dx, gradients and buffers."""
    plain = copy.deepcopy(model)
    fused = scratchnet.fuse(model, input_grad)
    with scratchnet.use("im2col"):
        y, cache = plain.forward(x)
        dy = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
        dx = plain.backward(dy, cache)
    y_fused, cache = fused.forward(x)
    dx_fused = fused.backward(dy, cache)
    pairs = {"y": (y, y_fused)}
    if input_grad:
        pairs["dx"] = dx, dx_fused
    else:
        assert dx_fused is None
    for (name, p), q in zip(plain.named_parameters(), fused.parameters(), strict=True):
        pairs[name] = p.grad, q.grad
    for (name, p), q in zip(plain.named_buffers(), fused.buffers(), strict=True):
        pairs[name] = p, q
    result = {}
    for name, (expected, got) in pairs.items():
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype), name
        scale = max(float(np.linalg.norm(expected)), 1e-3 * float(np.sqrt(max(expected.size, 1))))
        result[name] = float(np.linalg.norm(got - expected)) / scale
    return result


def assert_same(model, shape, dtype="float64", input_grad=True):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    for name, difference in differences(model.to(dtype), x, input_grad).items():
        assert difference < TOLERANCE[dtype], f"{name} differs by {difference:.1e}"


def conv_pool(c, o, kernel, pool, **options):
    return nn.Sequential(nn.Conv2d(c, o, kernel, rng=0, **options), nn.ReLU(), pool)


CASES = {
    "conv": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, rng=0)), (2, 3, 6, 7)),
    "conv, relu": (lambda: nn.Sequential(nn.Conv2d(4, 6, (3, 2), 2, 1, groups=2, rng=0), nn.ReLU()), (3, 4, 7, 9)),
    "conv, relu, pool": (lambda: conv_pool(1, 16, 5, nn.MaxPool2d(2), padding=2), (3, 1, 28, 28)),
    "many channels": (lambda: conv_pool(40, 6, 5, nn.MaxPool2d(2), padding=2), (2, 40, 8, 10)),
    "odd sizes": (lambda: conv_pool(3, 5, 3, nn.MaxPool2d(2), padding=1), (2, 3, 9, 11)),
    "overlapping windows": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(3, 2, 1), padding=1), (2, 2, 9, 8)),
    "ceil_mode": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(2, ceil_mode=True), bias=False), (2, 2, 9, 9)),
    "strided conv": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d((2, 1)), stride=(2, 1), padding=1), (2, 2, 9, 8)),
    "dilated pool": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(2, dilation=2)), (2, 2, 9, 8)),
    "dilated conv": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(2), dilation=2), (2, 2, 9, 8)),
    "same": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding="same", rng=0), nn.ReLU()), (2, 2, 5, 5)),
    "norm, relu": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), (4, 3, 5, 6)),
    "norm, max": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d(2)), (4, 3, 6, 8)),
    "norm, relu, max": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (4, 3, 7, 35)),
    "norm, relu, avg": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2)), (4, 3, 7, 9)),
    "norm without parameters": (
        lambda: nn.Sequential(nn.BatchNorm2d(3, affine=False, momentum=None), nn.ReLU()),
        (4, 3, 5, 6),
    ),
    "linear, relu": (lambda: nn.Sequential(nn.Linear(7, 5, rng=0), nn.ReLU()), (3, 7)),
    "linear, relu, dropout": (lambda: nn.Sequential(nn.Linear(9, 33, rng=0), nn.ReLU(), nn.Dropout(rng=0)), (5, 9)),
    "one image": (lambda: conv_pool(1, 1, 1, nn.MaxPool2d(1)), (1, 1, 1, 1)),
    "no image": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(2)), (0, 2, 8, 8)),
    "unbatched": (lambda: conv_pool(2, 3, 3, nn.MaxPool2d(2)), (2, 8, 8)),
    "residual": (
        lambda: nn.Sequential(
            nn.Residual(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False, rng=0), nn.BatchNorm2d(3), nn.ReLU())),
            nn.ReLU(),
        ),
        (2, 3, 6, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_fused_and_plain_agree(case, dtype):
    make, shape = CASES[case]
    assert_same(make(), shape, dtype)


@pytest.mark.parametrize("case", ["conv", "conv, relu, pool", "linear, relu", "strided conv"])
def test_without_the_gradient_of_the_input(case):
    make, shape = CASES[case]
    assert_same(make(), shape, input_grad=False)


sizes = st.integers(1, 9)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(0, 3), st.integers(1, 20), sizes, sizes), st.integers(1, 18), st.data())
def test_conv_relu_pool_of_any_size(shape, outputs, data):
    def draw(*limits):
        return tuple(data.draw(st.integers(low, high)) for low, high in limits)

    kernel, stride, padding = draw((1, 5), (1, 5)), draw((1, 3), (1, 3)), draw((0, 2), (0, 2))
    out = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[2:], kernel, stride, padding, strict=True)]
    if min(out) < 1 or any(n + 2 * p < k for n, k, p in zip(shape[2:], kernel, padding, strict=True)):
        return
    pool = draw((1, min(3, out[0])), (1, min(3, out[1])))
    pool_stride, pool_padding = draw((1, 3), (1, 3)), draw((0, pool[0] // 2), (0, pool[1] // 2))
    layer = nn.MaxPool2d(pool, pool_stride, pool_padding, ceil_mode=data.draw(st.booleans()))
    assert_same(conv_pool(shape[1], outputs, kernel, layer, stride=stride, padding=padding), shape)


def test_what_is_fused():
    assert blocks(conv_pool(1, 2, 3, nn.MaxPool2d(2))) == ["Conv2d–ReLU–MaxPool2d"]
    assert blocks(conv_pool(1, 2, 3, nn.MaxPool2d(2, dilation=2))) == ["Conv2d–ReLU", "MaxPool2d"]
    assert blocks(conv_pool(1, 2, 3, nn.AvgPool2d(2))) == ["Conv2d–ReLU", "AvgPool2d"]
    cifar = blocks(scratchnet.nn.Sequential(*[step for _, step in _system_c().chain]))
    assert cifar == [
        "Conv2d", "BatchNorm2d–ReLU", "Conv2d", "BatchNorm2d–ReLU", "Conv2d–ReLU", "BatchNorm2d–MaxPool2d", "Conv2d",
        "BatchNorm2d–ReLU–AvgPool2d", "Conv2d", "BatchNorm2d–ReLU–MaxPool2d", "Flatten", "Linear–ReLU–Dropout2d",
        "Linear",
    ]  # fmt: skip


def _system_c():
    from scratchnet import models

    return models.build("cifar10", "cnn", rng=0)


def test_everything_is_shared():
    model = _system_c()
    fused = scratchnet.fuse(model)
    assert [id(p) for p in fused.parameters()] == [id(p) for p in model.parameters()]
    assert list(fused.state_dict()) == list(model.state_dict())
    fused.eval()
    assert not model.training
    assert not model.batch_norm1.training
    model.train()
    assert fused.training
    x = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    fused(x)
    assert model.dropout.calls == 1
    assert model.batch_norm5.num_batches_tracked == 1
    assert fused.batch_norm5 is model.batch_norm5
    state = {name: value + 1 for name, value in model.state_dict().items()}
    fused.load_state_dict(state)
    np.testing.assert_array_equal(model.conv1.weight.data, state["conv1.weight"])
    model.double()
    assert fused.eval()(x.astype(np.float64)).dtype == np.float64


def test_training_a_fused_model_trains_the_model():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU(), nn.Linear(3, 2, rng=1))
    before = model.state_dict()
    fused = scratchnet.fuse(model, input_grad=False)
    x, target = np.random.default_rng(0).random((5, 4), np.float32), np.array([0, 1, 0, 1, 1])
    train_step(fused, nn.CrossEntropyLoss(), optim.SGD(fused.parameters(), lr=0.1), x, target)
    assert all((model.state_dict()[name] != value).any() for name, value in before.items())


def test_a_replaced_layer_is_used():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU())
    fused = scratchnet.fuse(model)
    setattr(fused, "0", nn.Linear(4, 6, rng=0))
    assert fused(np.zeros((2, 4), np.float32)).shape == (2, 6)


def test_parameters_assigned_anew_are_told_apart():
    """A layer lists its parameters in the order of their assignment, and here the bias is the first."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, rng=0), nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4, rng=0)
    ).double()
    for layer in (model[0], model[2], model[5]):
        layer.weight = nn.Parameter(layer.weight.data + 0.5)
        layer.bias = nn.Parameter(layer.bias.data - 0.5)
        layer.weight = layer.weight
    assert_same(model, (2, 2, 8, 8))


def test_evaluation_uses_running_statistics():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)).eval()
    model[0].running_mean = np.array([1, 2], np.float32)
    assert_same(model, (3, 2, 4, 6), "float32")
    assert model[0].num_batches_tracked == 0


def test_overrides_reach_a_fused_model():
    fused = scratchnet.fuse(conv_pool(1, 2, 3, nn.MaxPool2d(2)))
    x = np.ones((1, 1, 6, 6), np.float32)
    with scratchnet.override("relu", lambda x: (x * 0 + 7, x)):
        assert (fused(x) == 7).all()


@pytest.mark.parametrize("rung", ["loops", "im2col"])
def test_another_rung_runs_the_plain_layers(rung):
    with scratchnet.use(rung):
        fused = scratchnet.fuse(nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU()))
        _, caches = fused.forward(np.ones((1, 3), np.float32))
    (kernel_y, _), *_ = caches
    assert kernel_y is None


def test_errors_are_those_of_the_layers():
    fused = scratchnet.fuse(conv_pool(3, 2, 3, nn.MaxPool2d(2)))
    with pytest.raises(ValueError, match="expected 3 input channels"):
        fused(np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(TypeError, match="float32"):
        fused(np.zeros((2, 3, 8, 8), np.float64))
    with pytest.raises(TypeError, match="float32 or float64"):
        fused(np.zeros((2, 3, 8, 8), int))
    y, cache = fused.forward(np.zeros((2, 3, 8, 8), np.float32))
    for dy in (y[:1], y.astype(np.float64), None):
        with pytest.raises(ValueError, match="backward expected dy"):
            fused.backward(dy, cache)
    with pytest.raises(TypeError, match="expected a module"):
        scratchnet.fuse("model")
    with scratchnet.no_grad(), pytest.raises(RuntimeError, match="no_grad"):
        fused.backward(y, fused.forward(np.zeros((2, 3, 8, 8), np.float32))[1])


def test_one_value_per_channel_is_an_error():
    fused = scratchnet.fuse(nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused(np.zeros((1, 2, 1, 1), np.float32))


def test_statistics_of_the_wrong_size_are_an_error():
    """They would be read beyond their end."""
    fused = scratchnet.fuse(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    x = np.zeros((2, 3, 4, 4), np.float32)
    fused(x)
    for wrong in (np.zeros(2, np.float32), np.zeros(3, np.float64)):
        getattr(fused, "0").running_mean = wrong
        with pytest.raises((ValueError, TypeError), match="running_mean"):
            fused(x)


def test_copies_and_pickles():
    fused = scratchnet.fuse(nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU()))
    x = np.ones((1, 3), np.float32)
    for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        np.testing.assert_array_equal(other(x), fused(x))
        assert next(other.parameters()) is not next(fused.parameters())
        other.parameters().__next__().data[...] = 0
        assert (other(x) != fused(x)).any()


def test_nan_and_infinity_pass_as_in_the_plain_layers():
    x = np.random.default_rng(0).normal(size=(2, 2, 8, 8))
    x[0, 0, 3, 3], x[1, 1, 2, 5] = np.nan, np.inf
    model = conv_pool(2, 3, 3, nn.MaxPool2d(2), padding=1).double()
    fused = scratchnet.fuse(model)
    with scratchnet.use("im2col"):
        expected = model.forward(x)[0]
    np.testing.assert_allclose(fused.forward(x)[0], expected, rtol=1e-12)


def test_results_are_not_overwritten_by_later_calls():
    fused = scratchnet.fuse(conv_pool(2, 3, 3, nn.MaxPool2d(2)))
    rng = np.random.default_rng(0)
    first = fused.forward(rng.random((2, 2, 8, 8), np.float32))
    kept = first[0].copy()
    for _ in range(5):
        fused.forward(rng.random((2, 2, 8, 8), np.float32))
    np.testing.assert_array_equal(first[0], kept)


def test_an_empty_batch_moves_no_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    fused = scratchnet.fuse(model)
    fused(np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype("float32"))
    before = model.state_dict()
    y = fused(np.zeros((0, 3, 5, 5), "float32"))
    assert y.shape == (0, 3, 5, 5)
    for name in ("0.running_mean", "0.running_var"):
        np.testing.assert_array_equal(model.state_dict()[name], before[name])
