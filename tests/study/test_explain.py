"""The explain pages: every number is torch's, every sum gives what it says, every quoted line is there."""

import html.parser
import json
import math
import re
from pathlib import Path

import numpy
import pytest
import torch
import torch.nn.functional as TF

import scratchnet
from scratchnet import functional, optim
from scratchnet.study import explain as study
from scratchnet.study.explain import explain
from scratchnet.study.explain.page import Equation, Sum, arrays_of
from scratchnet.study.explain.watch import Watch

ROOT = Path(scratchnet.__file__).resolve().parents[1]

# name, options
CASES = [
    ("conv2d", {}),
    ("conv2d", {"input": (2, 2, 4, 5), "kernel": (2, 3), "stride": (2, 1), "padding": (1, 0), "out_channels": 2}),
    ("conv2d", {"input": (1, 2, 5, 5), "kernel": 2, "dilation": 2, "groups": 2, "out_channels": 4, "seed": 3}),
    ("conv2d", {"input": (1, 1, 4, 4), "kernel": 2, "padding": "same", "no_bias": True}),
    ("conv2d", {"input": (1, 1, 5, 5), "stride": 3, "padding": "valid"}),  # two rows and columns in no window
    ("conv2d", {"input": (1, 1, 1, 1), "kernel": 2, "stride": 2, "padding": 2, "dilation": 2}),
    ("conv1d", {}),
    ("conv1d", {"input": (2, 2, 6), "kernel": 2, "padding": "same", "out_channels": 2, "groups": 2}),
    ("conv1d", {"input": (1, 2, 7), "stride": 2, "dilation": 2, "padding": 2}),
    ("conv_transpose2d", {}),
    ("conv_transpose2d", {"input": (2, 2, 2, 3), "kernel": (2, 3), "padding": 1, "output_padding": 1, "groups": 2,
                          "out_channels": 4, "seed": 1}),
    ("conv_transpose2d", {"stride": 1, "dilation": 2, "no_bias": True}),
    ("max_pool2d", {}),
    ("max_pool2d", {"ties": True}),
    ("max_pool2d", {"input": (2, 2, 5, 5), "kernel": 3, "stride": 2, "padding": 1, "ties": True, "seed": 2}),
    ("max_pool2d", {"input": (1, 1, 5, 5), "kernel": 2, "ceil_mode": True}),
    ("max_pool2d", {"input": (1, 1, 5, 5), "kernel": 2, "stride": 1, "dilation": 2}),
    ("avg_pool2d", {}),
    ("avg_pool2d", {"input": (1, 2, 5, 5), "kernel": 3, "stride": 2, "padding": 1}),
    ("avg_pool2d", {"input": (1, 1, 5, 5), "kernel": 3, "stride": 2, "padding": 1, "exclude_pad": True}),
    ("avg_pool2d", {"input": (1, 1, 5, 5), "kernel": 2, "ceil_mode": True}),
    ("avg_pool2d", {"kernel": 3, "stride": 1, "divisor_override": 2}),
    ("adaptive_avg_pool2d", {}),
    ("adaptive_avg_pool2d", {"input": (2, 1, 4, 6), "output": 4}),
    ("linear", {}),
    ("linear", {"input": (3, 4), "out_features": 1, "no_bias": True}),
    ("flatten", {}),
    ("flatten", {"input": (2, 3, 4), "start_dim": 0, "end_dim": 1}),
    *(("pad2d", {"mode": mode, "pads": (2, 1, 0, 1)}) for mode in ("zeros", "reflect", "replicate", "circular")),
    ("pad2d", {"input": (2, 2, 2, 3), "mode": "zeros"}),
    ("batch_norm", {}),
    ("batch_norm", {"input": (2, 2, 2, 3), "momentum": 0.3, "eps": 0.1, "seed": 4}),
    ("batch_norm", {"input": (2, 3, 4)}),
    ("batch_norm", {"eval": True}),
    *((name, {"p": p}) for name in ("dropout", "dropout2d") for p in (0.0, 0.25, 0.5, 1.0)),
    ("dropout", {"input": (2, 3), "call": 2**32 + 5, "stream": 9, "seed": 7}),
    *((name, options) for name in ("relu", "sigmoid", "tanh") for options in ({}, {"input": (2, 3), "seed": 1})),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    *((name, options) for name in ("softmax", "log_softmax")
      for options in ({}, {"dim": 0}, {"input": (4,), "seed": 5})),
    *((name, {"reduction": r, "seed": 3}) for name in ("nll_loss", "cross_entropy", "mse_loss")
      for r in ("mean", "sum", "none")),
    ("cross_entropy", {"input": (3, 4), "label_smoothing": 0.1}),
    ("cross_entropy", {"label_smoothing": 1.0}),
    ("mse_loss", {"input": (2, 1, 3)}),
]  # fmt: skip
STEPS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.0, "weight_decay": 0.1}),
    ("sgd", {"nesterov": True, "weight_decay": 0.1, "steps": 3}),
    ("sgd", {"dampening": 0.5, "steps": 3}),
    ("adam", {}),
    ("adam", {"weight_decay": 0.1, "amsgrad": True, "beta2": 0.5, "steps": 4, "lr": 0.1}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.5, "amsgrad": True, "beta2": 0.5, "steps": 3, "lr": 0.1}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "steps": 3}),
    ("rmsprop", {"centered": True}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.5, "weight_decay": 0.1, "steps": 3}),
]
CONCEPTS = [(name, {}) for name in study.CONCEPTS]
ALL = [(name, False, options) for name, options in CASES + STEPS] + [(name, True, {}) for name, _ in CONCEPTS]


def ids(case) -> str:
    name, *_, options = case
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


@pytest.fixture(scope="module")
def page_of():
    made = {}

    def page_of(name, concept, options):
        key = (name, concept, json.dumps(options))
        if key not in made:
            made[key] = explain(name, concept, **options)
        return made[key]

    return page_of


def close(ours, theirs, tol=1e-12) -> None:
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else numpy.asarray(theirs)
    ours = numpy.asarray(ours)
    assert ours.shape == theirs.shape
    assert numpy.linalg.norm(ours - theirs) <= tol * max(numpy.linalg.norm(theirs), 1)


def leaf(a) -> torch.Tensor:
    return torch.tensor(numpy.asarray(a, dtype=float), requires_grad=True)


def evaluate(equation: Equation) -> float:
    """The formula as Python, with the values in full."""
    text = equation.formula
    for ours, python in (("·", "*"), ("√", "sqrt"), ("−", "-"), ("^", "**")):
        text = text.replace(ours, python)
    text = text.format(**{name: f"({value!r})" for name, value in equation.values.items()})
    known = {"sqrt": math.sqrt, "log": math.log, "max": max, "e": math.e, "tanh": math.tanh, "erf": math.erf}
    return eval(text, {"__builtins__": {}}, known)


# -- all pages ---------------------------------------------------------------------------------------------------------


def test_everything_is_there():
    ops = {name for name in functional.__all__ if not name.endswith("_backward")}
    assert set(study.OPS) == ops
    assert set(study.OPTIMIZERS) == {name.lower() for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")}
    assert all(hasattr(optim, name) for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"))
    wanted = {"convolution", "bias", "padding", "valid", "same", "channels", "receptive_field", "parameter_sharing",
              "pooling", "hierarchy", "batch_norm", "dropout", "residual"}  # fmt: skip
    assert set(study.CONCEPTS) == wanted
    assert {name for name, _ in CASES} == ops
    assert {name for name, _ in STEPS} == set(study.OPTIMIZERS)


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_sums_written_out_give_their_result(page_of, case):
    page = page_of(*case)
    assert page.sums() or page.name in ("flatten", "dropout", "dropout2d")  # with p = 1 nothing is left to write out
    for part in page.sums():
        value = part.value() if isinstance(part, Sum) else evaluate(part)
        scale = max(abs(part.result), *(abs(math.prod(t)) for t in part.terms)) if isinstance(part, Sum) else 1
        assert abs(value - part.result) <= 1e-13 * max(scale, 1), part


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_a_sum_named_like_an_entry_is_that_entry(page_of, case):
    """`dx[0,0,1,2]` is the number at that place of the array dx that stands in the same block."""
    found = 0
    for block in page_of(*case).blocks:
        for part in block.parts:
            match = re.fullmatch(r"((?:new )?[^\[\] ]+)\[([\d,]+)\]", getattr(part, "name", "")) if isinstance(
                part, Sum | Equation) else None  # fmt: skip
            arrays = {numbers.name: numbers.values for numbers in arrays_of(block)}
            if match and match[1] in arrays:
                index = tuple(int(i) for i in match[2].split(","))
                assert arrays[match[1]][index] == pytest.approx(part.result, rel=1e-13, abs=1e-300), part.name
                found += 1
    if not case[1] and case[0] not in ("flatten", "dropout", "dropout2d"):
        assert found


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_quoted_lines_exist_and_start_as_they_should(page_of, case):
    sources = [source for block in page_of(*case).blocks for source in block.sources]
    assert sources
    for file, line, code, fragment in sources:
        assert (ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1].strip() == code
        assert code.startswith(fragment), f"{file}:{line} should start with {fragment!r}"


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_text_fits_and_names_every_array(page_of, case):
    page = page_of(*case)
    lines = study.text(page).split("\n")
    assert max(map(len, lines)) <= 100
    assert not any(re.search(r"\bnan\b|\de-1[3-9]", line) for line in lines)
    for name, values in page.numbers().items():
        shown = f"{name}   {'×'.join(map(str, values.shape))}" if values.ndim else f"{name} ="
        assert any(shown in line for line in lines), name


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_json_round_trips(page_of, case):
    page = page_of(*case)
    read = json.loads(json.dumps(page.as_json(), allow_nan=False))
    assert read == page.as_json() | {"options": read["options"]}
    for block, back in zip(page.blocks, read["blocks"], strict=True):
        for numbers in arrays_of(block):
            again = numpy.array(back["arrays"][numbers.name], float).reshape(numbers.values.shape)
            assert numpy.array_equal(again, numbers.values, equal_nan=True), numbers.name
        names = [numbers.name for numbers in arrays_of(block)]
        assert len(set(names)) == len(names), "two arrays of one name hide each other"


class Balance(html.parser.HTMLParser):
    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open, self.cells, self.marked = [], [], 0

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)
        self.marked += tag == "td" and ("class", "mark") in attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_html_is_whole_and_has_every_number(page_of, case):
    page = page_of(*case)
    source = study.html(page)
    reader = Balance()
    reader.feed(source)
    assert reader.open == []
    assert "http" not in source
    assert "prefers-color-scheme: dark" in source
    arrays = [numbers for block in page.blocks for numbers in arrays_of(block) if numbers.values.ndim]
    assert len(reader.cells) == sum(numbers.values.size for numbers in arrays)
    assert reader.marked == sum(len(numbers.marks) for numbers in arrays)
    flat = numpy.concatenate([numpy.asarray(numbers.values, float).ravel() for numbers in arrays])
    for shown, value in zip(reader.cells, flat, strict=True):
        if math.isfinite(value):
            assert float(shown) == pytest.approx(value, abs=0.6e-4)


def test_text_shows_the_numbers_and_marks():
    page = explain("conv2d")
    lines = study.text(page).split("\n")
    for name in ("x", "y", "dy", "dx", "dweight"):
        values = page.numbers()[name][0, 0]
        start = lines.index(f"   {name}   1×1×{len(values)}×{len(values[0])}") + 1
        read = [[float(n) for n in line.split()] for line in lines[start : start + len(values)]]
        assert numpy.array_equal(read, values)
    marked = re.findall(r"\s\[(-?\d+)\]", study.text(page))
    (total,) = (part for part in page.sums() if part.name.startswith("dx["))
    assert sorted(map(float, marked)) == sorted(term[0] for term in total.terms)


# -- torch -------------------------------------------------------------------------------------------------------------


def backward(y: torch.Tensor, a: dict, leaves: dict) -> None:
    """Gradients of torch for the page's dy, against the page's."""
    y.backward(torch.tensor(a["dy"]))
    for name, tensor in leaves.items():
        close(a[name], tensor.grad)


def case_ids(name):
    return [options for n, options in CASES if n == name]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("options", case_ids("conv2d"), ids=str)
def test_conv2d(page_of, options):
    check_convolution(page_of("conv2d", False, options), options, TF.conv2d)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("options", case_ids("conv1d"), ids=str)
def test_conv1d(page_of, options):
    def conv1d(x, weight, bias, *rest):
        return TF.conv1d(x[:, :, 0], weight[:, :, 0], bias, *rest)[:, :, None]

    check_convolution(page_of("conv1d", False, options), options, conv1d)


def joined(page, name: str, groups: int, images: int) -> numpy.ndarray:
    """The matrices of a page (one for each image and group) as (N, G, rows, columns)."""
    own = [a for key, a in page.numbers().items() if key == name or re.fullmatch(rf"{name}\[[\d,]+\]", key)]
    return numpy.stack(own).reshape(images, groups, *own[0].shape)


def check_convolution(page, options, conv):
    a = page.numbers()
    groups, padding = options.get("groups", 1), options.get("padding", 1)
    x, weight = leaf(a["x"]), leaf(a["weight"])
    bias = leaf(a["bias"]) if "bias" in a else None
    y = conv(x, weight, bias, options.get("stride", 1), padding, options.get("dilation", 1), groups)
    close(a["y"], y)
    leaves = {"dx": x, "dweight": weight} | ({} if bias is None else {"dbias": bias})
    backward(y, a, leaves)

    cols = joined(page, "cols", groups, len(a["x"]))
    kernel = a["weight"].shape[2:]
    stride, dilation = (options.get(key, 1) for key in ("stride", "dilation"))
    if page.name == "conv1d":
        stride, dilation = (1, stride), (1, dilation)
    padded = torch.tensor(a.get("x̂", a["x"]))
    unfolded = TF.unfold(padded, kernel, dilation, 0, stride)
    close(cols.reshape(len(cols), -1, cols.shape[-1]), unfolded)
    W = a["weight"].reshape(groups, -1, cols.shape[2])
    Y = joined(page, "Y", groups, len(cols))
    close(Y, W @ cols)
    dY = a["dy"].reshape(len(cols), groups, -1, cols.shape[3])
    dcols = joined(page, "dcols", groups, len(cols))
    close(dcols, W.swapaxes(1, 2) @ dY)
    flat = torch.tensor(dcols.reshape(len(cols), -1, cols.shape[3]))
    folded = TF.fold(flat, tuple(padded.shape[2:]), kernel, dilation, 0, stride)
    close(a.get("dx̂", a["dx"]), folded)
    ones = torch.ones(1, cols.shape[2] // a["weight"].shape[1], cols.shape[3], dtype=torch.float64)
    covered = TF.fold(ones, tuple(padded.shape[2:]), kernel, dilation, 0, stride)[0, 0]
    if "x̂" in a:  # cut the border off: where the padded image of ones is 0
        h, w = a["x"].shape[2:]
        top, left = (numpy.array(padded.shape[2:]) - (h, w)) // 2
        covered = covered[top : top + h, left : left + w]
    close(a["windows that cover a pixel"], covered)
    totals = [part for part in page.sums() if part.name.startswith("dx[")]
    assert [len(total.terms) for total in totals] == [covered.max()] * bool(covered.max())


@pytest.mark.parametrize("options", case_ids("conv_transpose2d"), ids=str)
def test_conv_transpose2d(page_of, options):
    page = page_of("conv_transpose2d", False, options)
    a, groups = page.numbers(), options.get("groups", 1)
    x, weight = leaf(a["x"]), leaf(a["weight"])
    bias = leaf(a["bias"]) if "bias" in a else None
    rest = [options.get(key, default) for key, default in
            (("stride", 2), ("padding", 0), ("output_padding", 0), ("groups", 1), ("dilation", 1))]  # fmt: skip
    y = TF.conv_transpose2d(x, weight, bias, *rest)
    close(a["y"], y)
    backward(y, a, {"dx": x, "dweight": weight} | ({} if bias is None else {"dbias": bias}))
    n, c = a["x"].shape[:2]
    X = a["x"].reshape(n, groups, c // groups, -1)
    W = a["weight"].reshape(groups, c // groups, -1)
    close(joined(page, "cols", groups, n), W.swapaxes(1, 2) @ X)
    close(W @ joined(page, "dcols", groups, n), a["dx"].reshape(X.shape))
    flat = torch.tensor(joined(page, "cols", groups, n).reshape(n, -1, X.shape[-1]))
    kernel = a["weight"].shape[2:]
    close(a["full"], TF.fold(flat, a["full"].shape[2:], kernel, rest[4], 0, rest[0]))


@pytest.mark.parametrize("options", case_ids("max_pool2d"), ids=str)
def test_max_pool2d(page_of, options):
    page = page_of("max_pool2d", False, options)
    a, x = page.numbers(), leaf(page.numbers()["x"])
    stride = options.get("stride", options.get("kernel", 2))
    y, indices = TF.max_pool2d(x, options.get("kernel", 2), stride, options.get("padding", 0),
                               options.get("dilation", 1), options.get("ceil_mode", False), True)  # fmt: skip
    close(a["y"], y)
    assert numpy.array_equal(a["indices"], indices)
    backward(y, a, {"dx": x})
    (windows,) = [n for block in page.blocks for n in arrays_of(block) if n.name == "windows"]
    assert numpy.array_equal(windows.values.max(0), a["y"][0, 0].ravel())
    assert [windows.values[i] for i in sorted(windows.marks, key=lambda m: m[1])] == list(a["y"][0, 0].ravel())
    first = [int(numpy.flatnonzero(column == column.max())[0]) for column in windows.values.T]
    assert sorted(windows.marks, key=lambda m: m[1]) == [(k, p) for p, k in enumerate(first)]
    equal = (windows.values == windows.values.max(0)).sum(0)
    assert numpy.array_equal(a["pixels equal to the maximum"], equal)
    assert ("FIRST of equal pixels" in study.text(page)) == (equal > 1).any() == options.get("ties", False)


@pytest.mark.parametrize("options", case_ids("avg_pool2d"), ids=str)
def test_avg_pool2d(page_of, options):
    a = page_of("avg_pool2d", False, options).numbers()
    x = leaf(a["x"])
    ceil_mode, include, divisor = (options.get(key) for key in ("ceil_mode", "exclude_pad", "divisor_override"))
    windows = options.get("kernel", 2), options.get("stride"), options.get("padding", 0)
    y = TF.avg_pool2d(x, *windows, bool(ceil_mode), not include, divisor)
    close(a["y"], y)
    close(a["total"] / a["d"], y)
    close(a["share"], a["dy"] / a["d"])
    backward(y, a, {"dx": x})


@pytest.mark.parametrize("options", case_ids("adaptive_avg_pool2d"), ids=str)
def test_adaptive_avg_pool2d(page_of, options):
    a = page_of("adaptive_avg_pool2d", False, options).numbers()
    x = leaf(a["x"])
    y = TF.adaptive_avg_pool2d(x, options.get("output", (3, 2)))
    close(a["y"], y)
    backward(y, a, {"dx": x})
    (r0, r1), (c0, c1) = a["rows of window"][-1], a["columns of window"][0]
    assert a["y"][0, 0, -1, 0] == pytest.approx(a["x"][0, 0, r0:r1, c0:c1].mean())


@pytest.mark.parametrize("options", case_ids("linear"), ids=str)
def test_linear(page_of, options):
    a = page_of("linear", False, options).numbers()
    x, weight = leaf(a["x"]), leaf(a["weight"])
    bias = leaf(a["bias"]) if "bias" in a else None
    y = TF.linear(x, weight, bias)
    close(a["y"], y)
    backward(y, a, {"dx": x, "dweight": weight} | ({} if bias is None else {"dbias": bias}))


@pytest.mark.parametrize("options", case_ids("flatten"), ids=str)
def test_flatten(page_of, options):
    a = page_of("flatten", False, options).numbers()
    x = leaf(a["x"])
    y = x.flatten(options.get("start_dim", 1), options.get("end_dim", -1))
    close(a["y"], y)
    backward(y, a, {"dx": x})


@pytest.mark.parametrize("options", case_ids("pad2d"), ids=str)
def test_pad2d(page_of, options):
    a = page_of("pad2d", False, options).numbers()
    x = leaf(a["x"])
    mode = {"zeros": "constant"}.get(options["mode"], options["mode"])
    y = TF.pad(x, options.get("pads", (1, 1, 1, 1)), mode)
    close(a["y"], y)
    backward(y, a, {"dx": x})


@pytest.mark.parametrize("options", case_ids("batch_norm"), ids=str)
def test_batch_norm(page_of, options):
    a = page_of("batch_norm", False, options).numbers()
    training, eps, momentum = not options.get("eval"), options.get("eps", 1e-5), options.get("momentum", 0.1)
    x, weight, bias = leaf(a["x"]), leaf(a["γ"]), leaf(a["β"])
    mean, var = torch.tensor(a["running_mean"]), torch.tensor(a["running_var"])
    y = TF.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    close(a["y"], y)
    backward(y, a, {"dx": x, "dγ": weight, "dβ": bias})
    if not training:
        return
    close(a["new running_mean"], mean)
    close(a["new running_var"], var)
    axes = (0, *range(2, x.ndim))
    close(a["μ"], x.mean(axes))
    close(a["σ²"], x.var(axes, unbiased=False))
    close(a["x̂"], TF.batch_norm(x, None, None, training=True, eps=eps))

    def gradient(own: bool, of_mean: bool, of_var: bool) -> torch.Tensor:
        """∂loss/∂x by torch along the chosen paths: what is cut is detached."""
        x = leaf(a["x"])
        channel = lambda t: t.reshape(1, -1, *[1] * (x.ndim - 2))  # noqa: E731
        kept = lambda t, keep: t if keep else t.detach()  # noqa: E731
        mean, var = kept(channel(x.mean(axes)), of_mean), kept(channel(x.var(axes, unbiased=False)), of_var)
        y = (kept(x, own) - mean) / torch.sqrt(var + eps) * channel(torch.tensor(a["γ"])) + channel(
            torch.tensor(a["β"])
        )
        y.backward(torch.tensor(a["dy"]))
        return x.grad

    close(a["direct"], gradient(True, False, False))
    close(a["through the mean"], gradient(False, True, False))
    close(a["through the variance"], gradient(False, False, True))
    close(a["direct"] + a["through the mean"] + a["through the variance"], a["dx"])


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0].startswith("dropout")], ids=str)
def test_dropout(page_of, name, options):
    a = page_of(name, False, options).numbers()
    p = options.get("p", 0.5)
    scale = 1 / (1 - p) if p < 1 else 0.0
    bits = a["r"][~numpy.isnan(a["r"])]
    assert numpy.array_equal(a["mask"], (bits.reshape(a["mask"].shape) >= p * 2**32))
    assert numpy.array_equal(a["mask"], a["mask of backward"])
    close(a["y"], a["x"] * a["mask"] * scale)
    close(a["dx"], a["dy"] * a["mask"] * scale)
    key = {"seed": options.get("seed", 0), "stream": options.get("stream", 0), "call": options.get("call", 0)}
    close(a["y"], getattr(functional, name)(a["x"], p, **key)[0])


def test_dropouts_counters_are_those_of_philox():
    from scratchnet.kernels.loops.dropout import philox4x32

    a = explain("dropout", input=(2, 4), seed=7, stream=9, call=2**32 + 5).numbers()
    for counter, bits in zip(a["counters"], a["r"], strict=True):
        assert [int(b) for b in bits] == list(philox4x32(tuple(int(c) for c in counter), (7, 9)))


ELEMENTWISE = {
    "relu": lambda x, o: TF.relu(x),
    "leaky_relu": lambda x, o: TF.leaky_relu(x, o.get("negative_slope", 0.01)),
    "sigmoid": lambda x, o: torch.sigmoid(x),
    "tanh": lambda x, o: torch.tanh(x),
    "gelu": lambda x, o: TF.gelu(x, approximate=o.get("approximate", "none")),
    "softmax": lambda x, o: TF.softmax(x, o.get("dim", -1)),
    "log_softmax": lambda x, o: TF.log_softmax(x, o.get("dim", -1)),
}


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0] in ELEMENTWISE], ids=str)
def test_activation(page_of, name, options):
    a = page_of(name, False, options).numbers()
    x = leaf(a["x"])
    y = ELEMENTWISE[name](x, options)
    close(a["y"], y)
    backward(y, a, {"dx": x})
    if "f′" in a:
        close(a["f′"] * a["dy"], a["dx"])
    if "∂y_i/∂x_j" in a:
        axis = options.get("dim", -1) % x.ndim
        line = a["x"] if x.ndim == 1 else a["x"][0] if axis == 1 else a["x"][:, 0]
        jacobian = torch.autograd.functional.jacobian(lambda t: ELEMENTWISE[name](t, {"dim": 0}), torch.tensor(line))
        close(a["∂y_i/∂x_j"], jacobian)


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0].endswith("loss")], ids=str)
def test_nll_and_mse(page_of, name, options):
    a = page_of(name, False, options).numbers()
    reduction = options.get("reduction", "mean")
    x = leaf(a["x"] if name == "mse_loss" else a["log p"])
    target = torch.tensor(a["target"] if name == "mse_loss" else a["target t"])
    loss = getattr(TF, name)(x, target, reduction=reduction)
    check_loss(page_of(name, False, options), loss, reduction)
    loss.sum().backward()
    close(a["dx"], x.grad)


@pytest.mark.parametrize("options", case_ids("cross_entropy"), ids=str)
def test_cross_entropy(page_of, options):
    page = page_of("cross_entropy", False, options)
    a, reduction, smoothing = page.numbers(), options.get("reduction", "mean"), options.get("label_smoothing", 0.0)
    z = leaf(a["z"])
    loss = TF.cross_entropy(z, torch.tensor(a["target t"]), reduction=reduction, label_smoothing=smoothing)
    check_loss(page, loss, reduction)
    loss.sum().backward()
    close(a["dz"], z.grad)
    close(a["p"], TF.softmax(z, 1))
    close(a["log p"], TF.log_softmax(z, 1))
    close(a["p − q"], a["p"] - a["q"])
    close(a["dz"], a["p − q"] / (len(a["z"]) if reduction == "mean" else 1))


def check_loss(page, loss, reduction):
    if reduction == "none":
        close(page.numbers()["l"], loss)
    else:
        (total,) = [part for part in page.sums() if part.name == "loss"]
        assert total.result == pytest.approx(loss.item(), rel=1e-13)


TORCH_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad"}
STATE = {"b": "momentum_buffer", "m": "exp_avg", "v": "exp_avg_sq", "v̂": "max_exp_avg_sq", "ḡ": "grad_avg", "s": "sum"}


@pytest.mark.parametrize(("name", "options"), STEPS, ids=str)
def test_optimizer(page_of, name, options):
    page = page_of(name, False, options)
    given = {key: value for key, value in page.options.items() if key not in ("input", "steps", "seed")}
    if "beta1" in given:
        given["betas"] = given.pop("beta1"), given.pop("beta2")
    old = page.blocks[0].parts[0].numbers[0].values
    parameter = leaf(old)
    optimizer = getattr(torch.optim, TORCH_OPTIMIZERS[name])([parameter], **given)
    assert len(page.blocks) == options.get("steps", 2)
    for block in page.blocks:
        a = {numbers.name: numbers.values for numbers in arrays_of(block)}
        close(a["old θ"], parameter)
        parameter.grad = torch.tensor(a["g"])
        optimizer.step()
        close(a["new θ"], parameter)
        state = optimizer.state[parameter]
        shown = [key[4:] for key in a if key.startswith("new ") and key != "new θ"]
        for symbol in shown:
            key = "square_avg" if name == "rmsprop" and symbol == "v" else STATE[symbol]
            close(a[f"new {symbol}"], state[key])
        names = [part.name for part in block.parts if isinstance(part, Equation)]
        assert names[-1] == "new θ[0]"
        assert {f"{symbol}[0]" for symbol in shown} <= set(names)


# -- concepts ----------------------------------------------------------------------------------------------------------


def test_concept_sizes(page_of):
    for k, size in enumerate(page_of("valid", True, {}).numbers()["OH"][0], 1):
        assert size == TF.conv2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, k, k)).shape[2]
    for s, size in enumerate(page_of("valid", True, {}).numbers()["OH by stride"][0], 1):
        assert size == TF.conv2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3), stride=s).shape[2]
    same = page_of("same", True, {}).numbers()
    for total, left, right, size in same["padding"]:
        assert (left + right, size) == (total, 5)
        assert left <= right <= left + 1
    below = TF.pad(torch.tensor(same["x"])[None, None], (0, 1, 0, 1))
    close(same["sums of 2×2"], TF.conv2d(below, torch.ones(1, 1, 2, 2, dtype=torch.float64))[0, 0])
    padding = page_of("padding", True, {}).numbers()
    assert padding["side length"].tolist() == [[8, 6, 4, 2], [8, 8, 8, 8]]
    close(padding["y"], TF.conv2d(torch.tensor(padding["x̂"])[None, None], EDGE)[0, 0])
    assert padding["without padding"].sum() == 4 * 9
    assert (padding["without padding"][0, 0], padding["with padding 1"][0, 0]) == (1, 4)


EDGE = torch.tensor([[[[1.0, 0, -1]] * 3]], dtype=torch.float64)


def test_concept_convolution_bias_and_channels(page_of):
    a = page_of("convolution", True, {}).numbers()
    close(a["y"], TF.conv2d(torch.tensor(a["x"])[None, None], EDGE)[0, 0])
    b = page_of("bias", True, {}).numbers()
    close(b["with"], b["without"] + b["bias"])
    close(b["normalised with"], b["normalised without"])
    c = page_of("channels", True, {}).numbers()
    y = TF.conv2d(torch.tensor(c["x"])[None], torch.tensor(c["weight"]), torch.tensor(c["bias"]))[0]
    close(c["y"], y)
    close(c["answers"].sum(1) + c["bias"][:, None, None], y)


def test_concept_receptive_field(page_of):
    a = page_of("receptive_field", True, {}).numbers()
    for depth, side in ((1, 3), (2, 5), (3, 7)):
        x = torch.ones(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
        y = x
        for _ in range(depth):
            y = TF.conv2d(y, torch.ones(1, 1, 3, 3, dtype=torch.float64))
        y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
        seen = a[f"after {depth} layer{'s'[: depth > 1]}"]
        close(seen, x.grad[0, 0])
        assert (seen > 0).sum() == side * side
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, 1, 1), torch.nn.AvgPool2d(2), torch.nn.Conv2d(1, 1, 3, 1, 1),
                              torch.nn.AvgPool2d(2))  # fmt: skip
    for depth, (_, _, _, side) in enumerate(a["fields"], 1):
        x = torch.ones(1, 1, 32, 32, requires_grad=True)
        y = net[:depth](x)
        y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
        assert (x.grad[0, 0] != 0).any(0).sum() == side


def test_concept_parameter_sharing(page_of):
    a = page_of("parameter_sharing", True, {}).numbers()
    close(a["M"] @ a["x"].ravel(), a["y"].ravel())
    close(a["M · x"], a["y"].ravel())
    close(a["dM"], numpy.outer(a["dy"].ravel(), a["x"].ravel()))
    for value in (1, 2, 3, 4):  # kernel entries, row by row
        assert a["dM"][a["M"] == value].sum() == a["dkernel"].ravel()[value - 1]
    conv = sum(p.numel() for p in torch.nn.Conv2d(3, 16, 3, padding=1).parameters())
    full = sum(p.numel() for p in torch.nn.Linear(3 * 32 * 32, 16 * 32 * 32, device="meta").parameters())
    assert a["parameters"].ravel().tolist() == [conv, full] == [448, 50_348_032]


def test_concept_hierarchy_pooling_and_residual(page_of):
    a = page_of("hierarchy", True, {}).numbers()
    assert numpy.argwhere(a["g"]).tolist() == [[1, 1]]
    close(a["g"], numpy.maximum(a["sum − 3"], 0))
    close(a["sum − 3"], a["f"][0, 1:, :-1] + a["f"][1, :-1, 1:] - 3)
    p = page_of("pooling", True, {}).numbers()
    x = leaf(p["x"])
    TF.max_pool2d(x[None, None], 2).backward(torch.tensor(p["dy"])[None, None])
    close(p["dx of max"], x.grad)
    x = leaf(p["x"])
    TF.avg_pool2d(x[None, None], 2).backward(torch.tensor(p["dy"])[None, None])
    close(p["dx of average"], x.grad)
    r = page_of("residual", True, {}).numbers()
    close(r["y"], r["W"] @ r["x"] + r["x"])
    close(r["dx"], r["W"].T @ r["dy"] + r["dy"])
    close(r["residual"][0], 1.1 ** numpy.array([1, 2, 3, 4]))
    close(r["plain"][0], 0.1 ** numpy.array([1, 2, 3, 4]))


def test_concept_batch_norm_and_dropout(page_of):
    a = page_of("batch_norm", True, {}).numbers()
    x = torch.tensor(a["x"])
    close(a["y of x"], TF.batch_norm(x, None, None, training=True))
    close(a["y of 10·x + 3"], TF.batch_norm(10 * x + 3, None, None, training=True))
    mean, var = (torch.tensor(a["running"][-1, i : i + 1]) for i in (0, 1))
    close(a["y in evaluation"], TF.batch_norm(x, mean, var))
    close(a["first sample alone"], a["y in evaluation"][:1])
    d = page_of("dropout", True, {}).numbers()
    assert set(d["y"].ravel() / numpy.tile(d["x"], 4)) == {0, 2}
    assert (abs(d["mean of y"] - d["x"]) <= 5 * d["x"] / 4096**0.5).all()  # five standard deviations of the mean
    close(d["y in evaluation"], d["x"])


# -- the tools of it ---------------------------------------------------------------------------------------------------


def test_watch_sees_the_variables_after_each_line_and_leaves_tracing_alone():
    import sys

    def function(a):
        a = a + 1
        for i in (1, 2, 3):
            a = a * 2 + 0 * i
        a += -i + 1
        print(end="")
        return a

    before = sys.gettrace()
    with Watch(function) as watch:
        assert function(numpy.array([1.0])) == 14
    assert sys.gettrace() is before
    assert watch.after(function, "a = a + 1")["a"] == 2
    assert watch.after(function, "a = a * 2")["a"] == 16
    assert watch.after(function, "a += -i")["a"] == 14
    with pytest.raises(RuntimeError, match="was not called"):
        Watch(function).after(function, "a = a + 1")


def test_watch_copies_arrays_that_change_in_place():
    def function(a):
        b = a * 1
        b += 1
        b *= 3
        return b

    with Watch(function) as watch:
        function(numpy.zeros(2))
    assert [watch.after(function, line)["b"][0] for line in ("b = a", "b += 1", "b *= 3")] == [0, 1, 3]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("conv2d", {"input": (1, 3, 32, 32)}, "3,072 numbers"),
        ("conv2d", {"input": (1, 4, 6, 6), "kernel": 3}, "a page shows at most"),
        ("relu", {"input": (193,)}, "193 numbers, a page shows at most 192"),
        ("conv2d", {"kernel": 99}, "too large to print"),
        ("conv2d", {"input": (4, 4)}, "NxCxHxW"),
        ("conv2d", {"input": (1, 1, 2, 2), "kernel": 5, "padding": 0}, "no smaller than the kernel"),
        ("conv2d", {"groups": 2}, "divisible by --groups"),
        ("conv2d", {"padding": "same", "stride": 2}, "needs stride 1"),
        ("max_pool2d", {"padding": 2}, "at most half"),
        ("batch_norm", {"input": (1, 2)}, "more than 1 value"),
        ("dropout", {"p": 2.0}, "between 0 and 1"),
        ("adam", {"beta1": 1.0}, "beta"),
        ("sgd", {"steps": 99}, "at most 5"),
        ("softmax", {"dim": 5}, "dim"),
        ("nothing", {}, "expected one of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_so(name, options, message):
    with pytest.raises(ValueError, match=message):
        explain(name, **options)


def test_the_same_seed_gives_the_same_page_and_another_seed_other_numbers():
    assert study.text(explain("conv2d", seed=5)) == study.text(explain("conv2d", seed=5))
    assert study.text(explain("conv2d", seed=5)) != study.text(explain("conv2d", seed=6))


def test_digits():
    four, six = (study.text(explain("gelu"), digits) for digits in (4, 6))
    assert "0.8413" in four
    assert "0.841345" in six
    assert "0.841345" not in four
