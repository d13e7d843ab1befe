"""python -m scratchnet.explain: options, exit codes, output."""

import json
import subprocess
import sys

import pytest

from scratchnet.study import explain as study

# options that are 0 or False where the default is not, and the other way round
CHANGED = [
    ("conv2d", "--padding", "0"),
    ("conv2d", "--padding", "0x1", "--no-bias", "--seed", "0"),
    ("dropout", "-p", "0"),
    ("adamw", "--weight-decay", "0", "--amsgrad"),
    ("sgd", "--momentum", "0"),
    ("flatten", "--start-dim", "0"),
    ("softmax", "--dim", "0"),
    ("max_pool2d", "--ties", "--stride", "1"),
    ("batch_norm", "--eval"),
    ("pad2d", "--pads", "0x0x1x2", "--mode", "zeros"),
]
EVERYTHING = [*((n,) for n in study.OPS), *((n,) for n in study.OPTIMIZERS), *(("concept", n) for n in study.CONCEPTS)]


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_every_page_prints_within_100_columns(run, words):
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert out == study.text(study.explain(words[-1], len(words) == 2)) + "\n"


@pytest.mark.parametrize("words", EVERYTHING, ids=" ".join)
def test_every_page_has_help_for_its_options(run, words):
    code, out, _ = run(*words, "--help")
    assert code == 0
    for name in study.writer(words[-1], len(words) == 2).__kwdefaults__ or {}:
        assert f"--{name.replace('_', '-')}" in out


@pytest.mark.parametrize("words", EVERYTHING + CHANGED, ids=" ".join)
def test_the_command_under_the_title_makes_the_page_again(run, words):
    _, out, _ = run(*words)
    lines = out.split("\n")
    call = " ".join(" ".join(lines[1 : lines.index("")]).split())
    assert call.split()[0] == "explain"
    assert run(*call.split()[1:])[1] == out


def test_options_of_the_issue(run):
    shape = ("--input", "1x1x4x4", "--kernel", 3, "--stride", 1, "--padding", 1, "--dilation", 1, "--groups", 1)
    code, out, _ = run("conv2d", *shape, "--out-channels", 2)
    assert code == 0
    assert "y   1×2×4×4" in out
    assert run("max_pool2d", "--input", "1x1x4x4", "--kernel", "2", "--ties")[0] == 0
    assert run("batch_norm", "--input", "4x2")[0] == 0
    assert "(1 − 0.25)" in run("dropout", "-p", "0.25")[1]
    assert "ε = 0.1" in run("cross_entropy", "--input", "2x3", "--label-smoothing", "0.1")[1]
    assert "new θ" in run("adam")[1]
    assert (
        "x   1×1×5×4"
        in run("conv2d", "--input", "1x1x5x4", "--kernel", "2x3", "--padding", "0x1", "--stride", "2x1")[1]
    )
    assert "y   1×1×4×4" in run("conv2d", "--padding", "same", "--kernel", "2")[1]


def test_options_change_the_numbers(run):
    plain = run("conv2d")[1]
    assert run("conv2d", "--seed", 1)[1] != plain
    assert run("conv2d", "--no-bias")[1] != plain
    assert "0.34300" in run("batch_norm", "--digits", 5)[1]


def test_ops_come_before_concepts_of_the_same_name(run):
    assert "Philox" in run("dropout")[1]
    assert "Four calls" in run("concept", "dropout")[1]
    assert run("valid") == run("concept", "valid")
    assert run("receptive-field") == run("receptive_field")
    assert run("concept", "relu")[0] == 2


def test_list_names_everything(run):
    code, out, _ = run("--list")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert names == [*study.OPS, *study.OPTIMIZERS, *study.CONCEPTS]
    assert max(map(len, out.splitlines())) <= 100
    assert run()[0] == run("--help")[0] == 0
    assert "usage:" in run()[1]


@pytest.mark.parametrize(
    "words", [("conv2d",), ("max_pool2d", "--padding", 1), ("dropout", "--input", "2x3"), ("adam",)]
)
def test_json_is_what_the_page_holds(run, words):
    code, out, _ = run(*words, "--json")
    assert code == 0
    read = json.loads(out)
    assert read["name"] == words[0]
    assert all(set(s) == {"file", "line", "code"} for block in read["blocks"] for s in block["source"])
    arrays = {name for block in read["blocks"] for name in block["arrays"]}
    assert arrays
    if words[0] == "max_pool2d":
        padded = next(block["arrays"]["x̂"] for block in read["blocks"] if "x̂" in block["arrays"])
        assert float(padded[0][0][0][0]) == -float("inf")


def test_html_is_written_to_the_file(run, tmp_path):
    file = tmp_path / "page.html"
    code, out, _ = run("conv2d", "--html", file)
    assert code == 0
    assert out == f"wrote {file}\n"
    assert file.read_text(encoding="utf-8") == study.html(study.explain("conv2d"))
    code, _, err = run("conv2d", "--html", tmp_path / "no" / "such" / "page.html")
    assert code == 1
    assert err.startswith("error:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convolve", "expected one of"),
        ("concept", "expected the name"),
        ("concept nothing", "expected one of"),
        ("--json conv2d", "expected the name"),
        ("conv2d --input 4", "NxCxHxW"),
        ("conv2d --input 1x1x0x4", "expected sizes ≥ 1"),
        ("conv2d --input many", "expected sizes ≥ 1"),
        ("conv2d --input 1x3x224x224", "150,528 numbers"),
        ("conv2d --input 99999999999999999999x1x1x1", "a page shows at most"),
        ("conv2d --kernel 5 --padding 0", "no smaller than the kernel"),
        ("conv2d --kernel 0", "expected --kernel ≥ 1"),
        ("conv2d --kernel 3x3x3", "height x width"),
        ("conv2d --stride 0", "expected --stride ≥ 1"),
        ("conv2d --padding full", "expected a number"),
        ("conv2d --padding same --stride 2", "needs stride 1"),
        ("conv2d --groups 2", "divisible by --groups"),
        ("conv2d --groups 0", "groups"),
        ("conv2d --out-channels 3 --groups 2 --input 1x2x4x4", "divisible by groups"),
        ("conv2d --p 0.5", "unrecognized"),
        ("conv2d --digits 20", "1 to 10"),
        ("conv2d --seed -1", "≥ 0"),
        ("conv1d --kernel 3x3", "whole number"),
        ("conv_transpose2d --output-padding 5", "output_padding"),
        ("max_pool2d --kernel 9", "no smaller"),
        ("pad2d --pads 1x1", "left x right"),
        ("pad2d --mode reflect --pads 3x3x3x3", "at most"),
        ("pad2d --mode mirror", "invalid choice"),
        ("dropout -p 2", "between 0 and 1"),
        ("dropout -p much", "a finite number"),
        ("dropout -p nan", "a finite number"),
        ("batch_norm --input 1x3", "more than 1 value"),
        ("batch_norm --eps 0", "eps"),
        ("softmax --dim 4", "dim"),
        ("flatten --start-dim 2 --end-dim 1", "start_dim"),
        ("cross_entropy --label-smoothing 2", "label_smoothing"),
        ("cross_entropy --reduction most", "invalid choice"),
        ("sgd --lr -1", "learning rate"),
        ("sgd --steps 0", "≥ 1"),
        ("sgd --nesterov --momentum 0", "momentum"),
        ("adam --beta1 1", "beta"),
        ("avg_pool2d --divisor-override 0", "divisor_override"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(run, words, message):
    code, out, err = run(*words.split())
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("error:")
    assert err.count("\n") == 1


def test_a_piped_ascii_terminal_and_the_start_module():
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet", "explain", "relu"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0
    assert b"?" in done.stdout
    assert done.stderr == b""


def test_torch_is_not_imported():
    code = (
        "import sys, scratchnet.explain as e; e.main(['conv2d']); e.main(['adam']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
