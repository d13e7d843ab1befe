"""Gradient provenance: the terms sum to the gradient, for every layer, and the way leads to the loss."""

import warnings

import numpy as np
import pytest

from scratchnet import backend, fuse, models, nn, ops
from scratchnet.study import trace_terms
from scratchnet.study.trace import element, trace
from scratchnet.study.trace_graph import Graph

TOLERANCE = 1e-12
ALL = 60  # elements of a tensor that are all traced; of a larger one so many at random


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tied(*shape, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, shape).astype("float64")


def moved(norm):
    """A BatchNorm whose running statistics and parameters are not those that it starts with."""
    rng = np.random.default_rng(3)
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            setattr(norm, name, rng.uniform(0.5, 2, norm.num_features))
    for parameter in norm.parameters():
        parameter.data = rng.uniform(0.5, 2, parameter.shape)
    return norm


def norm_cases():
    images, rows, series = normal(3, 2, 4, 3), normal(5, 3), normal(4, 2, 3)
    return {
        "BatchNorm2d training": (nn.BatchNorm2d(2), images),
        "BatchNorm2d evaluation": (moved(nn.BatchNorm2d(2)).eval(), images),
        "BatchNorm2d batch statistics in evaluation": (nn.BatchNorm2d(2, track_running_stats=False).eval(), images),
        "BatchNorm2d without parameters": (nn.BatchNorm2d(2, affine=False), images),
        "BatchNorm1d training": (moved(nn.BatchNorm1d(3)), rows),
        "BatchNorm1d of series": (moved(nn.BatchNorm1d(2)), series),
    }


def conv_cases():
    x = normal(2, 4, 7, 6)
    modes = ("reflect", "replicate", "circular")
    return {
        "Conv2d": (nn.Conv2d(4, 3, 3, rng=0), x),
        "Conv2d uneven": (nn.Conv2d(4, 3, (3, 2), (2, 1), (1, 0), (1, 2), rng=0), x),
        "Conv2d groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2, rng=0), x),
        "Conv2d depthwise": (nn.Conv2d(4, 4, 3, groups=4, bias=False, rng=0), x),
        "Conv2d same": (nn.Conv2d(4, 2, (3, 2), padding="same", dilation=(2, 1), rng=0), x),
        "Conv2d valid": (nn.Conv2d(4, 2, 2, stride=3, padding="valid", rng=0), x),
        "Conv2d unbatched": (nn.Conv2d(4, 2, 3, padding=2, rng=0), x[0]),
        **{f"Conv2d {mode}": (nn.Conv2d(4, 2, 3, 2, (2, 1), padding_mode=mode, rng=0), x) for mode in modes},
        **{f"Conv2d same {mode}": (nn.Conv2d(4, 2, 2, padding="same", padding_mode=mode, rng=0), x) for mode in modes},
        "Conv1d": (nn.Conv1d(2, 4, 3, 2, 1, 2, groups=2, rng=0), normal(3, 2, 9)),
        "Conv1d same circular": (nn.Conv1d(2, 3, 4, padding="same", padding_mode="circular", rng=0), normal(3, 2, 9)),
        "Conv1d unbatched": (nn.Conv1d(2, 3, 3, padding=1, rng=0), normal(2, 6)),
        "ConvTranspose2d": (nn.ConvTranspose2d(4, 2, 3, 2, 1, 1, rng=0), normal(2, 4, 3, 4)),
        "ConvTranspose2d groups": (
            nn.ConvTranspose2d(4, 6, (2, 3), (1, 2), (0, 1), groups=2, dilation=(2, 1), rng=0),
            normal(2, 4, 3, 4),
        ),
        "ConvTranspose2d unbatched": (nn.ConvTranspose2d(4, 2, 2, 3, bias=False, rng=0), normal(4, 3, 2)),
    }


def pool_cases():
    x, ties = normal(2, 2, 7, 6), tied(2, 2, 7, 6)
    nan = ties.copy()
    nan[0, 0, 1, 1] = nan[0, 0, 1, 2] = np.nan
    return {
        "MaxPool2d": (nn.MaxPool2d(2), x),
        "MaxPool2d overlapping, tied": (nn.MaxPool2d(3, 1, 1), ties),
        "MaxPool2d dilated, ceil": (nn.MaxPool2d((2, 3), 2, (1, 0), (2, 1), ceil_mode=True), ties),
        "MaxPool2d NaN": (nn.MaxPool2d(2), nan),
        "MaxPool2d unbatched": (nn.MaxPool2d(2), x[0]),
        "AvgPool2d": (nn.AvgPool2d(2), x),
        "AvgPool2d padded": (nn.AvgPool2d(3, 2, 1), x),
        "AvgPool2d without padding": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), x),
        "AvgPool2d ceil": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), x),
        "AvgPool2d ceil without padding": (nn.AvgPool2d(4, 3, 2, ceil_mode=True, count_include_pad=False), x),
        "AvgPool2d divisor": (nn.AvgPool2d((3, 2), 1, divisor_override=-5), x),
        "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, 4)), x),
        "AdaptiveAvgPool2d one": (nn.AdaptiveAvgPool2d((1, None)), x[0]),
    }


def other_cases():
    x = normal(3, 4, 5)
    inner = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, rng=1), nn.Tanh())
    return {
        "Linear": (nn.Linear(5, 3, rng=0), normal(4, 5)),
        "Linear without bias": (nn.Linear(5, 3, bias=False, rng=0), x),
        "Linear of one vector": (nn.Linear(5, 3, rng=0), normal(5)),
        "ReLU": (nn.ReLU(), tied(3, 4, 5)),
        "LeakyReLU": (nn.LeakyReLU(0.2), tied(3, 4, 5)),
        "Sigmoid": (nn.Sigmoid(), x),
        "Tanh": (nn.Tanh(), x),
        "GELU": (nn.GELU(), x),
        "GELU tanh": (nn.GELU("tanh"), x),
        "Softmax": (nn.Softmax(-2), x),
        "LogSoftmax": (nn.LogSoftmax(1), x),
        "Dropout": (nn.Dropout(0.4, rng=0), x),
        "Dropout 1": (nn.Dropout(1.0, rng=0), x),
        "Dropout evaluation": (nn.Dropout(0.4, rng=0).eval(), x),
        "Dropout2d": (nn.Dropout2d(0.5, rng=0), normal(3, 4, 2, 2)),
        "Flatten": (nn.Flatten(), normal(2, 3, 4)),
        "Flatten some": (nn.Flatten(1, 2), normal(2, 3, 2, 2)),
        "Identity": (nn.Identity(), x),
        "Residual": (nn.Residual(inner), normal(2, 2, 4, 4)),
        "Residual with shortcut": (nn.Residual(inner, nn.Conv2d(2, 2, 1, rng=2)), normal(2, 2, 4, 4)),
        "Concat": (nn.Concat(inner, nn.Identity(), nn.Conv2d(2, 3, 1, rng=2)), normal(2, 2, 4, 4)),
        "Concat along the width": (nn.Concat(inner, nn.AvgPool2d((1, 2)), dim=-1), normal(2, 2, 4, 4)),
    }


LAYERS = {**conv_cases(), **pool_cases(), **norm_cases(), **other_cases()}
LAYER_TYPES = {
    cls
    for cls in vars(nn).values()
    if isinstance(cls, type) and issubclass(cls, nn.Module) and cls not in (nn.Module, nn.Chain, nn.Sequential)
}
INDICES = np.array([2, 0, 3, 1])
LOSSES = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), normal(4, 5), INDICES),
    "CrossEntropyLoss smoothed, weighted": (
        nn.CrossEntropyLoss(weight=np.arange(1.0, 6), label_smoothing=0.2), normal(4, 5), INDICES
    ),
    "CrossEntropyLoss ignoring": (nn.CrossEntropyLoss(ignore_index=0), normal(4, 5), INDICES),
    "CrossEntropyLoss sum": (nn.CrossEntropyLoss(reduction="sum"), normal(4, 5), INDICES),
    "CrossEntropyLoss none": (nn.CrossEntropyLoss(reduction="none"), normal(4, 5), INDICES),
    "CrossEntropyLoss images": (nn.CrossEntropyLoss(), normal(2, 3, 2, 2), np.arange(8).reshape(2, 2, 2) % 3),
    "CrossEntropyLoss probabilities": (
        nn.CrossEntropyLoss(weight=np.arange(1.0, 6), label_smoothing=0.1), normal(4, 5), abs(normal(4, 5, seed=1))
    ),
    "CrossEntropyLoss unbatched": (nn.CrossEntropyLoss(), normal(5), np.array(3)),
    "NLLLoss": (nn.NLLLoss(weight=np.arange(1.0, 6), ignore_index=3), normal(4, 5), INDICES),
    "NLLLoss none": (nn.NLLLoss(reduction="none"), normal(4, 5), INDICES),
    "MSELoss": (nn.MSELoss(), normal(4, 5), normal(4, 5, seed=1)),
    "MSELoss none": (nn.MSELoss(reduction="none"), normal(4, 5), normal(4, 5, seed=1)),
}  # fmt: skip


def indices_of(shape):
    everything = list(np.ndindex(shape))
    if len(everything) <= ALL:
        return everything
    return [everything[i] for i in np.random.default_rng(1).choice(len(everything), ALL, replace=False)]


def wrong_elements(graph, names):
    """The elements whose terms do not sum to the gradient that backward computed."""
    wrong = []
    for name in names:
        shape = (
            graph.values[name].data.shape if name in graph.values else dict(graph.model.named_parameters())[name].shape
        )
        for index in indices_of(shape):
            found = element(graph, name, index)
            if not abs(found.total - found.gradient) <= TOLERANCE * found.absolute:
                wrong.append(found.label)
    return wrong


def graph_of(module, x):
    module = module.copy().double()
    graph = Graph(module, x)
    graph.backward(normal(*graph.output.data.shape, seed=9))
    return graph


def names_in(graph):
    return [name for name in graph.values if graph.values[name].users] + [n for n, _ in graph.model.named_parameters()]


@pytest.mark.parametrize("case", LAYERS)
def test_the_terms_sum_to_the_gradient(case):
    with backend.use("im2col"):
        graph = graph_of(*LAYERS[case])
    assert names_in(graph)[0] == "input"
    assert wrong_elements(graph, names_in(graph)) == []


@pytest.mark.parametrize("case", LOSSES)
def test_the_terms_of_a_loss_sum_to_the_gradient(case):
    criterion, x, target = LOSSES[case]
    with backend.use("im2col"):
        graph = Graph(nn.Identity(), x, criterion, target)
        graph.backward()
    assert wrong_elements(graph, ["input", "output"]) == []


def test_every_layer_is_tested():
    tested = {type(m) for module, _ in LAYERS.values() for m in module.modules()} | {
        type(c) for c, _, _ in LOSSES.values()
    }
    assert tested >= LAYER_TYPES


def test_a_wrong_term_is_seen(monkeypatch):
    """Every layer's test would fail if its rule were wrong in one term, or its backward pass in one element."""
    exact = trace_terms.at

    def one_off(array, index):
        values = np.array(exact(array, index))
        values[:1] *= 1 + 1e-9
        return values

    with backend.use("im2col"):
        for case, (module, x) in LAYERS.items():
            if case in ("Dropout 1", "MaxPool2d NaN"):
                continue
            graph = graph_of(module, x)
            monkeypatch.setattr(trace_terms, "at", one_off)
            assert wrong_elements(graph, ["input"]), case
            monkeypatch.undo()


def doubled_bias(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    return dx, dweight, 2 * dbias


def overwriting_col2im(dy, cache):
    dx, dweight, dbias = ops.conv2d_backward(dy, cache)
    dx = dx.copy()
    dx[0, 0, 2, 2] *= 0.5
    return dx, dweight, dbias


@pytest.mark.parametrize(("mutant", "tensor"), [(doubled_bias, "bias"), (overwriting_col2im, "input")])
def test_a_wrong_backward_pass_is_seen(mutant, tensor):
    with backend.use("im2col"), backend.override("conv2d_backward", mutant):
        graph = graph_of(nn.Conv2d(1, 2, 3, rng=0), normal(2, 1, 5, 5))
    assert wrong_elements(graph, [tensor])
    assert not wrong_elements(graph, ["weight"])


class Shared(nn.Chain):
    """One layer twice, inside a residual connection, beside a concatenation."""

    def __init__(self):
        self.fc = nn.Linear(4, 4, rng=0)
        self.wide = nn.Concat(self.fc, nn.Sequential(nn.Linear(4, 2, rng=1), nn.Sigmoid()))
        self.head = nn.Linear(6, 3, rng=2)
        self.chain = [
            ("first", self.fc),
            ("tanh", nn.Tanh()),
            ("residual", nn.Residual(nn.Sequential(self.fc, nn.ReLU()))),
            ("wide", self.wide),
            ("head", self.head),
        ]


def test_a_layer_used_several_times_has_the_terms_of_each_use():
    model, x, target = Shared().double(), normal(3, 4), np.array([0, 2, 1])
    graph = Graph(model.copy(), x, nn.CrossEntropyLoss(), target)
    graph.backward()
    assert wrong_elements(graph, names_in(graph)) == []
    found = element(graph, "fc.weight", (1, 2))
    assert [part.use.name for part in found.parts] == ["first", "residual.main.0", "wide.0"]
    tanh = element(graph, "tanh", (0, 1))  # feeds both branches of the residual connection
    assert [part.use.name for part in tanh.parts] == ["residual.main.0", "residual.shortcut"]


@pytest.mark.parametrize("rung", ["im2col", "numba"])
@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_the_graph_computes_what_the_model_does(name, rung):
    model = models.build("cifar10", name, rng=0).double()
    x, target = normal(2, 3, 32, 32), np.array([1, 2])
    with backend.use(rung), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = Graph(model.copy(), x, nn.CrossEntropyLoss(), target)
        graph.backward()
        criterion, activations = nn.CrossEntropyLoss(), model.activations(x)
        loss = criterion(activations.output, target)
        activations.backward(criterion.backward())
    assert graph.values["loss"].data == loss
    assert set(activations) | {"output", "loss"} == set(graph.values)
    for key, value in activations.items():
        np.testing.assert_array_equal(graph.values[key].data, value)
        np.testing.assert_array_equal(graph.values[key].grad, activations.grad[key])
    for (key, ours), (_, theirs) in zip(graph.model.named_parameters(), model.named_parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad, theirs.grad, err_msg=key)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("family", "name"), [(f, n) for f, of in models.MODELS.items() for n in of])
def test_the_way_leads_from_every_network_to_the_loss(family, name, training):
    model = models.build(family, name, rng=0).double().train(training)
    x = normal(2, *((1, 28, 28) if family == "mnist" else (3, 32, 32)))
    tensor = next(key for key, _ in model.named_parameters())
    with backend.use("im2col"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = trace(model, x, np.array([3, 4]), tensor)
    assert result.agrees
    assert (result.elements[0].name, result.elements[-1].name) == (tensor, "loss")
    assert result.elements[-1].gradient == 1
    logit = result.elements[-2]
    assert logit.gradient == pytest.approx((result.probability - result.target) / 2, rel=1e-9)
    assert all(e.largest() is not None for e in result.elements[:-1])
    assert max(map(len, str(result).splitlines())) <= 100


def test_the_index_of_the_largest_gradient_is_the_default():
    model, x = nn.Sequential(nn.Linear(4, 3, rng=0)).double(), normal(2, 4)
    result = trace(model, x, np.array([0, 1]), "input")
    graph = Graph(model, x, nn.CrossEntropyLoss(), np.array([0, 1]))
    graph.backward()
    assert abs(result.element.gradient) == abs(graph.input.grad).max()


def test_the_three_paths_of_batch_norm():
    model = nn.Sequential(nn.BatchNorm1d(2)).double()
    found = trace(model, normal(5, 2), np.array([0, 1, 1, 0, 1]), "input", (1, 0)).element
    (part,) = found.parts
    assert part.terms.paths == ["own x̂"] + ["mean"] * 5 + ["variance"] * 5


def test_a_dead_unit_stops_the_way():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.ReLU(), nn.Linear(2, 2, rng=0)).double()
    model[0].bias.data = np.array([-100.0, 1.0])
    result = trace(model, normal(1, 2), np.array([0]), "0.weight", (0, 1))
    assert [e.label for e in result.elements] == ["0.weight[0,1]"]
    assert result.element.gradient == 0
    assert result.stop == "every term is 0: no gradient comes through here"


class Own(nn.Module):
    def forward(self, x):
        return 2 * x, None

    def backward(self, dy, cache):
        return 2 * dy


class OwnLinear(nn.Linear):
    def forward(self, x):
        y, cache = super().forward(x)
        return 2 * y, cache


@pytest.mark.parametrize("own", [Own(), OwnLinear(3, 3, rng=1)])
def test_a_layer_of_ones_own_is_said_to_be_unknown(own):
    model = nn.Sequential(nn.Linear(2, 3, rng=0), own, nn.Linear(3, 3, rng=0)).double()
    x, target = normal(2, 2), np.array([0, 1])
    with pytest.raises(NotImplementedError, match=f"1: {type(own).__name__} writes its own forward and backward"):
        trace(model, x, target, "0")
    result = trace(model, x, target, "0.weight", (0, 0))
    assert result.agrees
    assert "writes its own" in result.stop
    assert "writes its own" in str(result)
    assert trace(model, x, target, "2.weight", (0, 0)).elements[-1].name == "loss"


def test_a_fused_model_is_traced_as_the_plain_one():
    model, x, target = models.build("mnist", "cnn", rng=0).double(), normal(1, 1, 28, 28), np.array([3])
    with backend.use("im2col"):
        plain, fused = (trace(m, x, target, "conv1.1", (0, 1, 2, 3)).as_json() for m in (model, fuse(model)))
    assert plain == fused


def test_the_model_is_left_alone():
    model, x = models.build("mnist", "dropout", rng=0).double(), normal(1, 1, 28, 28)
    before = model.state_dict()
    trace(model, x, np.array([3]), "conv1.weight")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert dict(model.named_modules())["dropout"].calls == 0
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize(
    ("tensor", "index", "message"),
    [
        ("conv9", None, "nothing is called 'conv9'; there are input, 0, output, loss, 0.weight, 0.bias"),
        ("0.weight", (0, 0, 0), "0.weight is 3×4, so expected 2 numbers from 0 below these sizes, got 0,0,0"),
        ("0.weight", (0, 4), "got 0,4"),
        ("input", (-1, 0), "got -1,0"),
    ],
)
def test_wrong_arguments(tensor, index, message):
    model = nn.Sequential(nn.Linear(4, 3, rng=0)).double()
    with pytest.raises(ValueError, match=message):
        trace(model, normal(2, 4), np.array([0, 1]), tensor, index)


def test_json_holds_every_term():
    model, x = nn.Sequential(nn.Linear(4, 3, rng=0)).double(), normal(2, 4)
    result = trace(model, x, np.array([0, 1]), "input", (1, 2))
    (part,) = result.as_json()["way"][0]["parts"]
    terms = [dy * w for dy, w in zip(part["dy"], part["factors"][0]["values"], strict=True)]
    assert terms == part["values"]
    assert sum(terms) == pytest.approx(result.element.gradient, rel=1e-14)
    assert part["factors"][0]["name"] == "0.weight"
    assert part["factors"][0]["index"] == [[0, 2], [1, 2], [2, 2]]
    assert part["source"]["code"].startswith("dx = dy @ weight")
