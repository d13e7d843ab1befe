"""python -m scratchnet.step: its numbers are torch's, its page shows them, what it spells out and quotes is true."""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
import torch.nn.functional as F

import scratchnet
from scratchnet import backend, ops, step
from scratchnet.study import _layout as layout
from scratchnet.study import step as study
from scratchnet.study._step_path import find_path, spelled_sums
from scratchnet.study.step_page import page

ROOT = Path(scratchnet.__file__).resolve().parents[1]
# No pixel of these is zero but for rounding, where ReLU's choice would hang on the order of summation. In digit 87 and
# random 12 ReLU cuts every pixel.
CASES = [(image, seed) for image in ("digit", "random") for seed in (0, 3, 5, 25, 30)] + [("digit", 87), ("random", 12)]


def as_json(capsys, *arguments: object) -> dict:
    assert step.main([*map(str, arguments), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    return {name: arrays(value) for name, value in printed.items()}


def arrays(value):
    if isinstance(value, dict):
        return {name: arrays(entry) for name, entry in value.items()}
    return numpy.array(value) if isinstance(value, list) else value


class TorchNet(torch.nn.Module):
    def __init__(self, parameters: dict[str, numpy.ndarray]) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3, dtype=torch.float64)
        self.fc = torch.nn.Linear(8, 3, dtype=torch.float64)
        self.load_state_dict({name: torch.tensor(value) for name, value in parameters.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = {"input": x, "conv": self.conv(x)}
        y["relu"] = F.relu(y["conv"])
        y["pool"] = F.max_pool2d(y["relu"], 2)
        y["flatten"] = y["pool"].flatten(1)
        y["fc"] = self.fc(y["flatten"])
        return y


def torch_step(ours: dict) -> dict:
    """The same step in torch, from the same image and parameters, in the same form."""
    net = TorchNet(ours["parameters"])
    target = torch.tensor([ours["target"]])
    y = net(torch.tensor(ours["activations"]["input"], requires_grad=True))
    for activation in y.values():
        activation.retain_grad()
    loss = F.cross_entropy(y["fc"], target)
    loss.backward()

    columns = F.unfold(y["input"], 3).detach().requires_grad_()
    (net.conv.weight.view(2, 9) @ columns).backward(y["conv"].grad.view(1, 2, 16), inputs=[columns])
    _, index = F.max_pool2d(y["relu"], 2, return_indices=True)  # row·4 + column of the map
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}

    torch.optim.SGD(net.parameters(), lr=ours["lr"]).step()
    logits_after = net(y["input"])["fc"]
    return {
        "activations": y,
        "activation_gradients": {name: activation.grad for name, activation in y.items()},
        "parameter_gradients": gradients,
        "new_parameters": net.state_dict(),
        "columns": columns[0],
        "dcolumns": columns.grad[0],
        "winners": index // 4 % 2 * 2 + index % 4 % 2,
        "probabilities": y["fc"].softmax(1),
        "loss": loss,
        "logits_after": logits_after,
        "probabilities_after": logits_after.softmax(1),
        "loss_after": F.cross_entropy(logits_after, target),
    }


def flat(values: dict) -> dict[str, numpy.ndarray]:
    """{"activations": {"conv": …}, …} → {"activations.conv": …, …}"""
    result = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= {f"{name}.{key}": entry for key, entry in flat(value).items()}
        else:
            result[name] = numpy.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
    return result


@pytest.mark.parametrize("rung", backend.CPU_RUNGS)
@pytest.mark.parametrize(("image", "seed"), CASES)
def test_every_array_is_torchs(capsys, image: str, seed: int, rung: str) -> None:
    ours = as_json(capsys, "--image", image, "--seed", seed, "--lr", 0.07, "--rung", rung)
    theirs = flat(torch_step(ours))
    got = flat({name: value for name, value in ours.items() if name not in ("image", "seed", "lr", "rung", "target")})
    got = {name: value for name, value in got.items() if not name.startswith("parameters.")}
    assert got.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert got[name].shape == expected.shape, name
        error, size = numpy.linalg.norm(got[name] - expected), numpy.linalg.norm(expected)
        assert error <= 1e-12 * size, f"{name}: off by {error}"
    assert ours["rung"] == rung


def test_the_default_lowers_the_loss_and_moves_every_parameter_tensor() -> None:
    result = study.run()
    assert result.loss_after < result.loss
    assert result.image == "digit"
    assert (result.target, result.lr) == (2, 0.1)
    for name, gradient in result.parameter_gradients.items():
        assert numpy.any(gradient), name


def test_the_numbers_come_from_the_library_and_not_from_a_second_implementation() -> None:
    def broken(dy, cache):
        return 2 * ops.relu_backward(dy, cache)

    with scratchnet.use("im2col"):  # whose cache ops.relu_backward takes
        right = study.run()
        with backend.override("relu_backward", broken):
            wrong = study.run()
    for name in ("conv", "input"):
        numpy.testing.assert_array_equal(
            wrong.activation_gradients[name], 2 * right.activation_gradients[name], strict=True
        )
    assert wrong.loss_after != right.loss_after


def test_seed_image_and_rate_decide_everything_and_global_state_is_left_alone() -> None:
    before = numpy.random.get_state()[1].copy()  # noqa: NPY002 - it must not change
    pages = {page(study.run(*arguments)) for arguments in ((0,), (0,), (1,), (0, 0.2), (0, 0.1, "random"))}
    assert len(pages) == 4
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], before)  # noqa: NPY002
    with pytest.raises(ValueError, match="expected one of digit, random, got 'cat'"):
        study.run(image="cat")


@pytest.mark.parametrize(("image", "seed"), CASES)
def test_spelled_sums_give_the_number_in_the_array(image: str, seed: int) -> None:
    result = study.run(seed, 0.1, image)
    path = find_path(result)
    sums = spelled_sums(result, path)
    for key, (_, terms, value) in sums.items():
        size = sum(abs(float(numpy.prod(term))) for term in terms)
        assert abs(sums[key].value() - value) <= 1e-14 * size, key
    assert [len(sums[key].terms) for key in ("conv", "fc", "dfc", "dflatten", "dcolumns", "update")] == [
        10, 9, 1, 3, 2, 2,
    ]  # fmt: skip
    if result.activations["relu"].any():
        y = result.activations["conv"][0, path.channel, path.row, path.column]
        assert y == result.activations["flatten"][0, path.feature] > 0
    if image == "digit" and seed == 0:
        assert len(sums["dinput"].terms) >= 4, "the default page shows windows that overlap"
        assert len(sums["dkernel"].terms) >= 3


@pytest.mark.parametrize(("image", "seed"), CASES)
def test_spelled_sums_on_the_page_can_be_calculated(image: str, seed: int) -> None:
    result = study.run(seed, 0.1, image)
    text = page(result, 10)
    for key, (name, terms, value) in spelled_sums(result, find_path(result)).items():
        assert text.count(f"\n   {name} = ") == 1, key
        _, *sides = text[text.index(f"\n   {name} = ") + 1 :].split("\n\n")[0].split(" = ") if terms else ["", "0", "0"]
        *_, formula, shown = sides
        assert re.fullmatch(r"[-+·().\de\s]+", formula), key
        calculated = eval(formula.replace("·", "*").replace("\n", " "))
        assert float(shown) == pytest.approx(value, abs=1e-10), key
        assert calculated == pytest.approx(value, abs=1e-8), key


def test_softmax_and_loss_on_the_page_can_be_calculated() -> None:
    result = study.run()
    text = page(result, 10)
    formula, shown = re.search(r"p\[2\] = (e\^.*) = (\S+)", text).groups()
    value = eval(re.sub(r"e\^\(?(-?[\d.]+)\)?(?=[\s)]|$)", r"numpy.exp(\1)", formula) + formula.count("x") * ")")
    assert value == pytest.approx(result.probabilities[0, 2], abs=1e-9) == pytest.approx(float(shown), abs=1e-9)
    inner, loss = re.search(r"loss = -log (\S+) = (\S+)", text).groups()
    assert -numpy.log(float(inner)) == pytest.approx(float(loss), abs=1e-8)
    assert float(loss) == pytest.approx(result.loss, abs=1e-9)


def numbers_by_line(text: str) -> list[list[float]]:
    """The numbers of each line, in their order, whatever brackets and rules stand between."""
    return [
        [float(n) for n in re.findall(r"(?<![\w,.\]])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w,:])", line)]
        for line in text.split("\n")
    ]


def contains(lines: list[list[float]], row: numpy.ndarray, digits: int) -> bool:
    n, tolerance = len(row), 0.5000001 * 10**-digits
    return any(
        numpy.abs(numpy.array(line[at : at + n]) - row).max() <= tolerance
        for line in lines
        for at in range(len(line) - n + 1)
    )


@pytest.mark.parametrize("digits", [2, 4, 6])
@pytest.mark.parametrize(("image", "seed"), CASES)
def test_the_page_shows_every_number(image: str, seed: int, digits: int) -> None:
    result = study.run(seed, 0.1, image)
    text = page(result, digits)
    lines = numbers_by_line(text)
    rows = {
        "columns": result.columns,
        "dcolumns": result.dcolumns[:, result.dcolumns.any(axis=0)],
        "fc.weight": result.parameters["fc.weight"],
        "its gradient": result.parameter_gradients["fc.weight"],
        "conv.weight": result.parameters["conv.weight"],
        "gradient of conv.weight": result.parameter_gradients["conv.weight"],
    }
    for name in ("input", "conv", "relu", "pool", "flatten"):
        rows[name], rows[f"d{name}"] = result.activations[name], result.activation_gradients[name]
    for name, array in rows.items():
        for row in array.reshape(-1, array.shape[-1]) if array.size else []:
            assert contains(lines, row, digits), f"{name}: no line shows {row}"
    for c in range(3):
        before, after = (
            [result.activations["fc"], result.probabilities],
            [result.logits_after, result.probabilities_after],
        )
        z, p, z_after, p_after = (a[0, c] for a in (*before, *after))
        assert contains(lines, numpy.array([z, z_after, p, p_after]), digits)
        q = float(c == result.target)
        assert contains(lines, numpy.array([p, q, result.activation_gradients["fc"][0, c]]), digits)
    for loss in (result.loss, result.loss_after):
        assert f"{loss:.{digits}f}" in text


def test_the_table_shows_every_parameter_with_its_gradient_and_new_value() -> None:
    result = study.run()
    number = r"(-?[\d.]+)"
    entries = re.findall(rf"((?:conv|fc)\.\w+)\[([\d,]+)\] +{number} +{number} +{number}", page(result))
    assert len(entries) == 47
    shown = {(name, tuple(map(int, place.split(",")))): tuple(map(float, values)) for name, place, *values in entries}
    for name, old in result.parameters.items():
        for place in numpy.ndindex(old.shape):
            gradient, new = result.parameter_gradients[name][place], result.new_parameters[name][place]
            assert shown[name, place] == pytest.approx((old[place], gradient, new), abs=0.51e-4)


def test_brackets_mark_what_relu_cuts_and_what_pooling_chooses() -> None:
    result = study.run()
    text = page(result)
    convolution, pooling, routing = (text.split(f"\n{n}. ")[1].split(f"\n{n + 1}. ")[0] for n in (2, 4, 11))
    cut = [float(n) for n in re.findall(r"\((-\d+\.\d+)\)", convolution.split("The result")[1])]
    y, relu = result.activations["conv"], result.activations["relu"]
    assert sorted(cut) == pytest.approx(sorted(y[y <= 0].round(4)))
    winners = [float(n) for n in re.findall(r"(?<!\w)\[(\d+(?:\.\d+)?)\]", pooling)]
    assert sorted(winners) == pytest.approx(sorted(result.activations["pool"].ravel().round(4)))
    passed, blocked = re.findall(r"\[(-?\d+\.\d+)\]", routing), re.findall(r"\((-?\d+\.\d+)\)", routing)
    routed = result.activation_gradients["relu"]
    assert sorted(map(float, passed)) == pytest.approx(sorted(routed[(routed != 0) & (relu > 0)].round(4)))
    assert sorted(map(float, blocked)) == pytest.approx(sorted(routed[(routed != 0) & (relu == 0)].round(4)))


def test_dcolumns_marks_the_entries_that_add_up_to_the_pixel() -> None:
    result = study.run()
    spelled = spelled_sums(result, find_path(result))["dinput"]
    matrix = page(result).split("\n14. ")[1].split("the matrix:")[1].split("Windows overlap")[0]
    marked = [float(n) for n in re.findall(r"\[(-?\d+\.\d+)\]", matrix)]
    assert sorted(marked) == pytest.approx(sorted(round(term[0], 4) for term in spelled.terms))
    assert sum(marked) == pytest.approx(spelled.result, abs=len(marked) * 0.5e-4)


@pytest.mark.parametrize("digits", [1, 4, 10])
def test_the_page_is_at_most_100_columns_wide(digits: int) -> None:
    for (image, seed), lr in itertools.product(CASES, (1e-5, 1000.0)):
        for line in page(study.run(seed, lr, image), digits).split("\n"):
            assert len(line) <= 100, line
            assert line == line.rstrip()


def test_what_one_decimal_shows_exactly_has_one_and_an_exact_zero_is_bare() -> None:
    image = page(study.run()).split("1. The image x")[1].split("2. Convolution")[0].split("\n")
    assert image[5:7] == ["   1  0    0.8  1.0  1.0  0.8  0", "   2  0    0    0    0.4  1.0  0"]


def quotes(text: str) -> list[tuple[str, int, str]]:
    """(file, line, code) of every line quoted, beside its place or below it."""
    found = re.findall(r"^   (scratchnet/\S+\.py):(\d+)(?: {3,}(\S.*)|\n {6}(\S.*))$", text, re.MULTILINE)
    return [(file, int(line), beside or below) for file, line, beside, below in found]


@pytest.mark.parametrize("digits", [4, 10])
def test_quoted_lines_exist_and_hold_the_quoted_code(digits: int) -> None:
    text = page(study.run(), digits)
    found = quotes(text)
    assert len(found) == len(re.findall(r"scratchnet/\S+\.py:\d+", text)) >= 20
    for file, line, code in found:
        source = (ROOT / file).read_text(encoding="utf-8").split("\n")[line - 1].strip()
        assert code in (source, source.partition("  # ")[0])
        assert not code.startswith("def "), f"{file}:{line}: the line to quote was not found, only its function"
    for number in range(2, 16):
        assert quotes(text.split(f"\n{number}. ")[1].split(f"\n{number + 1}. ")[0]), f"section {number} quotes nothing"
    files = {file for file, _, _ in found}
    assert {f"scratchnet/ops/{name}.py" for name in ("conv", "activation", "pool", "flatten", "linear", "loss")} < files


def test_a_quoted_line_is_found_wherever_it_stands(tmp_path: Path) -> None:
    def load(text: str):
        file = tmp_path / f"module{len(text)}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double

    code = "def double(x):\n    y = 2 * x  # twice\n    return y\n"
    assert layout.find(load(code), "y =")[1:] == (2, "y = 2 * x  # twice")
    assert layout.find(load("\n\n# moved\n" + code), "y =")[1:] == (5, "y = 2 * x  # twice")
    rewritten = load("# mine\ndef double(x):\n    return x + x\n")
    assert layout.find(rewritten, "y =")[1:] == (2, "def double(x):")


def test_verdict_on_the_loss(capsys) -> None:
    for lr, verdict in (("0.1", "the step lowered it"), ("0", "the step did not lower it")):
        assert step.main(["--lr", lr]) == 0
        assert capsys.readouterr().out.endswith(f": {verdict}.\n")


WRONG = [
    ("--seed", "-1"),
    ("--seed", "one"),
    ("--lr", "nan"),
    ("--lr", "-0.1"),
    ("--lr",),
    ("--digits", "0"),
    ("--digits", "11"),
    ("--rung", "nope"),
    ("--image", "cat"),
    ("--nope",),
    ("surplus",),
]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_argument_is_exit_code_2_and_one_line(capsys, arguments: tuple[str, ...]) -> None:
    assert step.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .*\n", err)
    assert arguments[-1].lstrip("-") in err


def test_a_loss_that_is_not_finite_is_exit_code_1(capsys) -> None:
    assert step.main(["--lr", "1e300"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: the loss after the step is nan: --lr 1e\+300 is too large\n", err)


def run_module(*arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "scratchnet.step", *arguments]
    return subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)


def test_as_a_program(capsys) -> None:
    assert step.main([]) == 0
    expected = capsys.readouterr().out
    good, bad, ascii_only = run_module(), run_module("--lr", "x"), run_module(encoding="ascii")
    assert (good.returncode, good.stderr) == (0, b"")
    assert good.stdout.decode().replace("\r\n", "\n") == expected
    assert (bad.returncode, bad.stdout, bad.stderr.count(b"\n")) == (2, b"", 1)
    assert (ascii_only.returncode, ascii_only.stderr) == (0, b"")
