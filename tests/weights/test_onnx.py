"""to_onnx: every layer, every option, every network, against onnxruntime."""

import itertools
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx_runs import assert_same, run, stir

from scratchnet import fuse, models, nn, weights

IMAGES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
NETWORKS = [(family, name) for family, names in models.MODELS.items() for name in names]


def images(rng, n, *shape):
    return rng.standard_normal((n, *shape)).astype("float32")


def check(model, *shape, seed=0, opset=17):
    """Export with a batch of any size and compare on batches of 1 and 3."""
    rng = np.random.default_rng(seed)
    stir(model, rng)
    proto = weights.to_onnx(model, (None, *shape), opset=opset)
    assert_same(proto, model, images(rng, 3, *shape), images(rng, 1, *shape))
    return proto


def operators(proto):
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(("family", "name"), NETWORKS)
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_networks(family, name, opset):
    proto = check(models.build(family, name, rng=1), *IMAGES[family], opset=opset)
    assert [x.name for x in proto.graph.input] == ["input"]
    assert [y.name for y in proto.graph.output] == ["logits"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert "Dropout" not in operators(proto)
    assert proto.opset_import[0].version == opset


def test_names_are_those_of_the_state_dict_and_of_activations():
    model = models.build("cifar10", "cnn", rng=0).eval()
    proto = weights.to_onnx(model, (None, 3, 32, 32))
    keys = {key for key in model.state_dict() if "num_batches_tracked" not in key}
    assert {initializer.name for initializer in proto.graph.initializer} == keys
    outputs = [node.output[0] for node in proto.graph.node]
    names = [name for name in model.activations(images(np.random.default_rng(0), 1, 3, 32, 32)) if name != "dropout"]
    assert outputs == [*names[1:-1], "logits"]


def test_old_runtimes_read_the_file():
    versions = {13: 7, 17: 8, 21: 10}  # opset → the version of the container that came with it
    for opset, version in versions.items():
        assert weights.to_onnx(nn.ReLU(), (None, 3), opset=opset).ir_version == version


def test_a_batch_of_fixed_size():
    model = models.build("mnist", "mlp", rng=0)
    proto = weights.to_onnx(model, (4, 1, 28, 28), input_name="x", output_name="y")
    dims = [value.type.tensor_type.shape.dim for value in (proto.graph.input[0], proto.graph.output[0])]
    assert [[d.dim_value for d in dim] for dim in dims] == [[4, 1, 28, 28], [4, 10]]
    assert_same(proto, model, images(np.random.default_rng(0), 4, 1, 28, 28))


def test_the_model_is_left_as_it_is_and_a_fused_one_gives_the_same_file():
    model = models.build("cifar10", "cnn", rng=0)
    before = model.state_dict()
    proto = weights.to_onnx(model, (None, 3, 32, 32))
    assert model.training
    assert all((model.state_dict()[key] == value).all() for key, value in before.items())
    assert weights.to_onnx(fuse(model), (None, 3, 32, 32)).SerializeToString() == proto.SerializeToString()


def test_float64_models_become_float32():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double()
    x = images(np.random.default_rng(0), 2, 3)
    y = run(weights.to_onnx(model, (None, 3)), x)
    np.testing.assert_allclose(y, model.eval()(x.astype("float64")), rtol=1e-5, atol=1e-6)


def test_writes_a_file_with_metadata(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    weights.to_onnx(model, (None, 3), tmp_path / "m.onnx", metadata={"classes": '["a", "b"]'})
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.key: entry.value for entry in proto.metadata_props} == {"classes": '["a", "b"]'}
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


CONVS = {
    "kernel_size": [1, 3, (2, 3), (3, 1)],
    "stride": [1, 2, (1, 3)],
    "padding": [0, 1, (2, 1), "same", "valid"],
    "dilation": [1, 2, (2, 1)],
    "groups": [1, 2],
    "bias": [True, False],
    "padding_mode": ["zeros", "reflect", "replicate", "circular"],
}
TRANSPOSED = {
    "kernel_size": [1, 3, (2, 3)],
    "stride": [1, 2, (3, 2)],
    "padding": [0, 1, (0, 1)],
    "output_padding": [0, 1, (0, 1)],
    "groups": [1, 2],
    "bias": [True, False],
    "dilation": [1, 2, (1, 2)],
}
MAX_POOLS = {
    "kernel_size": [1, 2, 3, (2, 3), [3, 2], (3,)],
    "stride": [None, 1, 2, (3, 2), 4],
    "padding": [0, 1, (0, 1)],
    "dilation": [1, 2, (1, 3)],
    "ceil_mode": [False, True],
}
AVG_POOLS = {
    "kernel_size": [1, 2, 3, (2, 3), (3, 4)],
    "stride": [None, 1, 2, (3, 2), 4],
    "padding": [0, 1, (0, 1)],
    "ceil_mode": [False, True],
    "count_include_pad": [False, True],
    "divisor_override": [None, 3, -2],
}


def sample(options, count, seed):
    """`count` random combinations of options."""
    everything = list(itertools.product(*options.values()))
    picked = np.random.default_rng(seed).permutation(len(everything))[:count]
    return [dict(zip(options, everything[i], strict=True)) for i in picked]


def sweep(build, options, count, shape, at_least):
    """Compare all combinations that our own layer takes."""
    ran = 0
    for number, case in enumerate(sample(options, count, seed=number_of(build))):
        try:
            model = nn.Sequential(build(**case))
            model.copy().eval()(np.ones((1, *shape), "float32"))
        except ValueError:
            continue  # no such layer, in torch as here
        try:
            check(model, *shape, seed=number)
        except AssertionError as error:
            raise AssertionError(f"{model}: {error}") from None
        ran += 1
    assert ran >= at_least, f"{ran} combinations ran"


def number_of(build):
    return sum(map(ord, build.__name__))


def conv2d(**options):
    return nn.Conv2d(4, 6, **options, rng=0)


def conv1d(**options):
    first = {name: value[-1] if isinstance(value, tuple) else value for name, value in options.items()}
    return nn.Conv1d(4, 6, **first, rng=0)


def conv_transpose2d(**options):
    return nn.ConvTranspose2d(4, 6, **options, rng=0)


@pytest.mark.parametrize(
    ("build", "options", "count", "shape", "at_least"),
    [
        (conv2d, CONVS, 1000, (4, 7, 8), 700),
        (conv1d, CONVS, 400, (4, 9), 280),
        (conv_transpose2d, TRANSPOSED, 972, (4, 4, 5), 500),
        (nn.MaxPool2d, MAX_POOLS, 540, (2, 7, 9), 360),
        (nn.MaxPool2d, MAX_POOLS, 540, (2, 6, 5), 360),
        (nn.AvgPool2d, AVG_POOLS, 900, (2, 7, 9), 600),
    ],
)
def test_options(build, options, count, shape, at_least):
    sweep(build, options, count, shape, at_least)


@pytest.mark.parametrize("size", [1, 2, 5, (3, 7), (None, 4), (None, None), (7, 1), (7, 3), (2, 4), 9])
def test_adaptive_pooling(size):
    check(nn.Sequential(nn.AdaptiveAvgPool2d(size)), 3, 7, 8)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.ReLU()], (3, 4)),
        ([nn.LeakyReLU(0.2)], (3, 4)),
        ([nn.Sigmoid()], (3, 4)),
        ([nn.Tanh()], (3, 4)),
        ([nn.GELU()], (3, 4)),
        ([nn.GELU("tanh")], (3, 4)),
        ([nn.Softmax(1)], (3, 4)),
        ([nn.Softmax(-1)], (3, 4)),
        ([nn.Softmax()], (3, 4)),
        ([nn.Softmax()], (3, 4, 5)),
        ([nn.Softmax(0)], (3, 4)),
        ([nn.LogSoftmax(-2)], (3, 4)),
        ([nn.Dropout(0.5)], (6,)),
        ([nn.Identity()], (6,)),
        ([], (6,)),
        ([nn.ReLU(), nn.Dropout(0.9), nn.Dropout2d(0.9)], (3, 4, 5)),
        ([nn.Linear(6, 4, rng=0)], (6,)),
        ([nn.Linear(6, 6, bias=False, rng=0)], (6,)),
        ([nn.Linear(6, 6, rng=0)], (3, 6)),
        ([nn.Linear(6, 4, bias=False, rng=0)], (2, 3, 6)),
        ([nn.Flatten()], (2, 3, 4)),
        ([nn.Flatten()], (6,)),
        ([nn.Flatten(2)], (2, 3, 4)),
        ([nn.Flatten(1, 2)], (2, 3, 4)),
        ([nn.Flatten(-2)], (2, 3, 4)),
        ([nn.Flatten(0)], (2, 3, 4)),
        ([nn.Flatten(0, 1)], (2, 3, 4)),
        ([nn.Flatten(0, 1), nn.Linear(4, 2, rng=0)], (3, 4)),
        ([nn.BatchNorm1d(6)], (6,)),
        ([nn.BatchNorm1d(6, eps=0.3)], (6, 5)),
        ([nn.BatchNorm2d(3, affine=False)], (3, 4, 5)),
        ([nn.BatchNorm2d(3, bias=False)], (3, 4, 5)),
        ([nn.BatchNorm2d(3, track_running_stats=False, eps=0.2)], (3, 4, 5)),
        ([nn.BatchNorm1d(3, track_running_stats=False, affine=False)], (3, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.filterwarnings("ignore:softmax. without dim")
def test_layers(layers, shape, opset):
    if layers and isinstance(layers[0], nn.Dropout | nn.Identity):
        assert operators(check(nn.Sequential(*layers), *shape, opset=opset)) == ["Identity"]
    else:
        check(nn.Sequential(*layers), *shape, opset=opset)


def test_a_single_layer_is_a_model():
    check(nn.Linear(6, 4, rng=0), 6)
    check(nn.Residual(nn.Linear(6, 6, rng=0)), 6)


def test_branches_shared_modules_and_names_that_meet():
    class Net(nn.Chain):
        def __init__(self):
            self.weight = nn.Conv2d(2, 2, 3, padding=1, rng=0)  # "weight.weight" beside a step called "weight.weight"
            inner = nn.Sequential(self.weight, nn.BatchNorm2d(2), nn.ReLU())
            self.concat = nn.Concat(inner, nn.Identity(), nn.Residual(self.weight, inner), dim=-3)
            self.chain = [
                ("input", self.weight),
                ("logits", self.concat),
                ("weight.weight", nn.ReLU()),
                ("relu", nn.ReLU()),
                ("last", nn.Residual(nn.Identity())),
            ]

    proto = check(Net(), 2, 5, 5)
    assert sum(initializer.name.endswith("weight.weight") for initializer in proto.graph.initializer) == 1


@pytest.mark.parametrize("dim", [1, 2, -1])
def test_concat(dim):
    check(nn.Concat(nn.ReLU(), nn.Sigmoid(), dim=dim), 2, 3, 4)


def test_what_cannot_be_derived_says_so():
    class Own(nn.Module):
        def forward(self, x):
            return 2 * x, None

        def backward(self, dy, cache):
            return 2 * dy

    class Doubled(nn.Linear):
        def forward(self, x):
            y, cache = super().forward(x)
            return 2 * y, cache

    class Named(nn.Linear):
        pass

    with pytest.raises(NotImplementedError, match=r"1 \(Own\) has a forward of its own.*nn\.Chain"):
        weights.to_onnx(nn.Sequential(nn.ReLU(), Own()), (None, 3))
    with pytest.raises(NotImplementedError, match=r"the model \(Doubled\)"):
        weights.to_onnx(Doubled(3, 3), (None, 3))
    check(Named(3, 2, rng=0), 3)
    with pytest.raises(NotImplementedError, match=r"0: MaxPool2d.* gives 2 outputs"):
        weights.to_onnx(nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (None, 1, 4, 4))


@pytest.mark.parametrize(
    ("model", "shape", "options", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8), {}, "0: expected an input of 4 axes, the batch first"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (None, 1, 8, 8), {}, "0: conv2d: expected 3 input channels"),
        (nn.Residual(nn.Linear(3, 4)), (None, 3), {}, r"Residual: main gives shape \(2, 4\)"),
        (nn.Concat(nn.Linear(3, 4), nn.ReLU(), dim=0), (None, 3), {}, "dimensions"),
        (nn.Linear(3, 4), (None, None), {}, "batch axis first"),
        (nn.Linear(3, 4), (None,), {}, "batch axis first"),
        (nn.Linear(3, 4), (), {}, "batch axis first"),
        (nn.Linear(3, 4), (0, 3), {}, "batch axis first"),
        (nn.Linear(3, 4), (None, 3.0), {}, "batch axis first"),
        (nn.Linear(3, 4), (None, 3), {"opset": 12}, "opset between 13 and"),
        (nn.Linear(3, 4), (None, 3), {"opset": 999}, "opset between 13 and"),
    ],
)
def test_wrong_arguments(model, shape, options, message):
    with pytest.raises(ValueError, match=message):
        weights.to_onnx(model, shape, **options)


def test_a_model_that_is_none():
    with pytest.raises(TypeError, match="expected a module, got function"):
        weights.to_onnx(lambda x: x, (None, 3))


def test_without_the_package_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from scratchnet import nn, weights\n"
        "try: weights.to_onnx(nn.ReLU(), (None, 3))\n"
        "except RuntimeError as error: print(error)"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'scratchnet[onnx]'" in text


# The comparison itself has to fail where it should: one fault planted in a good file at a time.


def node_of(proto, operator):
    return next(node for node in proto.graph.node if node.op_type == operator)


def attribute(proto, operator, name):
    return next(a for a in node_of(proto, operator).attribute if a.name == name)


def wrong_epsilon(proto):
    attribute(proto, "BatchNormalization", "epsilon").f = 1e-3


def mean_and_variance_swapped(proto):
    inputs = node_of(proto, "BatchNormalization").input
    inputs[3], inputs[4] = inputs[4], inputs[3]


def transposed_linear(proto):
    attribute(proto, "Gemm", "transB").i = 0


def bias_dropped(proto):
    node_of(proto, "Conv").input.pop()


def ceil_mode_dropped(proto):
    attribute(proto, "MaxPool", "pads").ints[2:] = [0, 0]


def padding_counted(proto):
    node_of(proto, "AveragePool").attribute.append(onnx.helper.make_attribute("count_include_pad", 1))


def wrong_slope(proto):
    attribute(proto, "LeakyRelu", "alpha").f = 0.01


def dilation_forgotten(proto):
    attribute(proto, "Conv", "dilations").ints[:] = [1, 1]
    attribute(proto, "Conv", "pads").ints[:] = [1, 1, 1, 1]


def shortcut_forgotten(proto):
    inputs = node_of(proto, "Add").input
    inputs[1] = inputs[0]


class Everything(nn.Chain):
    def __init__(self):
        self.conv = nn.Conv2d(2, 4, 3, padding=2, dilation=2, rng=0)
        self.block = nn.Residual(nn.Sequential(nn.BatchNorm2d(4), nn.LeakyReLU(0.1)))
        self.fc = nn.Linear(16, 16, rng=0)
        self.chain = [
            ("conv", self.conv),  # (N, 4, 7, 7)
            ("block", self.block),
            ("pool1", nn.MaxPool2d(2, ceil_mode=True)),  # (N, 4, 4, 4)
            ("pool2", nn.AvgPool2d(3, 2, 1, count_include_pad=False)),  # (N, 4, 2, 2)
            ("flatten", nn.Flatten()),
            ("fc", self.fc),
        ]


@pytest.mark.parametrize(
    "plant",
    [
        wrong_epsilon,
        mean_and_variance_swapped,
        transposed_linear,
        bias_dropped,
        ceil_mode_dropped,
        padding_counted,
        wrong_slope,
        dilation_forgotten,
        shortcut_forgotten,
    ],
)
def test_a_planted_fault_is_caught(plant):
    model, x = Everything(), images(np.random.default_rng(1), 3, 2, 7, 7)
    proto = check(model, 2, 7, 7)
    plant(proto)
    with pytest.raises(AssertionError, match=r"differs by|onnxruntime: .*Gemm"):
        assert_same(proto, model, x)
