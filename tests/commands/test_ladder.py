"""python -m scratchnet.ladder, and what it measures."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from scratchnet import backend, functional
from scratchnet.study import ladder as study
from scratchnet.study._ladder_cases import OPS, make_case, reduced, sizes_of

SMALL = {
    "batch_size": 2, "in_channels": 2, "out_channels": 2, "channels": 2, "size": 4, "in_features": 3,
    "out_features": 4, "features": 3, "classes": 3,
}  # fmt: skip
TEXTBOOK = ("--rungs", "im2col", "--seconds", "0.001")


def small(op):
    return {name: value for name, value in SMALL.items() if name in OPS[op].sizes}


@pytest.mark.parametrize("op", OPS)
def test_every_op_climbs_loops_and_textbook(op):
    result = study.ladder(op, small(op), ("loops", "im2col"), seconds=0.001, torch=False)
    assert [step.rung for step in result] == ["loops", "im2col"]
    assert all(step.forward > 0 and step.backward > 0 and step.scale == 1 for step in result)


@pytest.mark.parametrize("op", OPS)
def test_both_frameworks_get_the_same_call(op):
    torch = pytest.importorskip("torch")
    case = make_case(op, sizes_of(op, small(op)), "float64")
    with backend.use("im2col"):
        result, cache = getattr(functional, op)(*case.arrays, **case.options)
        y = result[0] if isinstance(result, tuple) else result
        gradients = getattr(functional, f"{op}_backward")(np.ones_like(y), cache)
    tensors = [torch.from_numpy(array.copy()) for array in case.arrays]
    sources = [t.requires_grad_() for t, wanted in zip(tensors, case.differentiable, strict=True) if wanted]
    theirs = (getattr(torch.nn.functional, op, None) or getattr(torch, op))(*tensors, **case.options)
    assert theirs.shape == y.shape
    if op != "dropout":  # other random numbers
        np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
        expected = torch.autograd.grad(theirs, sources, torch.ones_like(theirs))
        ours = [g for g in (gradients if isinstance(gradients, tuple) else (gradients,)) if g is not None]
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-9, atol=1e-11)


def test_the_table(run):
    code, out, err = run("linear", "--batch-size", 2, "--in-features", 8, "--out-features", 4,
                         "--rungs", "loops,im2col", "--seconds", "0.001", "--no-torch")  # fmt: skip
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "linear (fc1 of cifar10 simple): float32, 1 thread"
    assert lines[1] == "batch_size 2, in_features 8, out_features 4"
    assert [re.split(r"\s{2,}", line.strip())[0] for line in lines[3:6]] == ["rung", "loops", "im2col"]
    assert "torch" not in out


def test_torch_stands_at_the_top(run):
    pytest.importorskip("torch")
    code, out, _ = run("relu", "--batch-size", 2, *TEXTBOOK)
    assert code == 0
    assert re.search(r"^(im2col|torch) is [\d.]+ times as fast as (torch|im2col), forward and backward$", out, re.M)


def test_the_numba_rung_has_a_share_of_the_peak(run):
    code, out, _ = run("linear", "--rungs", "im2col,numba", "--seconds", "0.05", "--no-torch", "--json")
    assert code == 0
    data = json.loads(out)
    textbook, compiled = data["steps"]
    assert compiled["rung"] == "numba"
    assert compiled["multiply_adds"] == 64 * 2048 * 512
    seconds = compiled["forward"] + compiled["backward"]
    assert compiled["share_of_peak"] == pytest.approx(6 * 64 * 2048 * 512 / seconds / data["peak"])
    assert 0 < compiled["share_of_peak"] < 1.2  # more than the peak would be a wrong peak
    assert compiled["speed_up"] == pytest.approx((textbook["forward"] + textbook["backward"]) / seconds)
    assert textbook["speed_up"] is None


def test_what_a_rung_lacks_is_not_timed_as_its_own(monkeypatch):
    monkeypatch.setitem(backend._table, ("tanh", "numba"), backend.implementation("tanh", "im2col"))
    result = study.ladder("tanh", small("tanh"), ("im2col", "numba"), seconds=0.001, torch=False)
    assert [step.rung for step in result] == ["im2col"]
    assert "numba: has no tanh of its own, and would run im2col's" in result.notes
    with pytest.raises(RuntimeError, match="nothing to time"):
        study.ladder("tanh", small("tanh"), ("numba",), seconds=0.001, torch=False)


def test_the_cache_is_counted_once_and_without_inputs():
    x = np.ones((4, 8), np.float32)
    scratch = np.ones(10, np.float32)
    assert study.cache_bytes((x, (scratch, scratch, None, 3), x[:2]), (x,)) == (128 + 40 + 64, 40)
    result = study.ladder("conv2d", {"batch_size": 2}, ("im2col",), seconds=0.001, torch=False)
    columns = 2 * 16 * 25 * 14 * 14 * 4
    assert result["im2col"].scratch == columns
    assert result["im2col"].kept == columns + 32 * 16 * 25 * 4


def test_loops_run_at_a_smaller_size():
    sizes = sizes_of("conv2d", {})
    fewer, scale = reduced("conv2d", sizes, 100_000)
    assert fewer["batch_size"] == 1
    assert {k: fewer[k] for k in ("size", "kernel_size")} == {"size": 14, "kernel_size": 5}
    assert OPS["conv2d"].iterations(fewer) <= 100_000
    assert OPS["conv2d"].iterations(fewer) * scale == OPS["conv2d"].iterations(sizes)
    assert reduced("conv2d", sizes, 10**9) == (sizes, 1.0)


def test_a_scaled_rung_says_so(monkeypatch):
    monkeypatch.setattr(study, "LOOP_ITERATIONS", 50)
    monkeypatch.setattr(study, "_median", lambda call, seconds: 0.5)
    changes = {"batch_size": 8, "features": 20}
    result = study.ladder("mse_loss", changes, ("loops",), seconds=0.001, torch=False)
    step = result["loops"]
    assert (step.scale, step.sizes["batch_size"]) == (4.0, 2)
    assert (step.forward, step.backward) == (2.0, 2.0)
    assert "≈ loops: timed at batch_size 2, and multiplied by 4" in str(result)
    assert "\n≈ loops " in str(result)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["conv3d"], "invalid choice: 'conv3d'"),
        (["linear", "--kernel-size", "3"], "linear has the sizes batch_size, in_features, out_features, got kernel"),
        (["linear", "--rungs", "im2col,cuda9"], "rungs: expected some of loops, im2col, numba"),
        (["linear", "--batch-size", "0"], "expected a whole number ≥ 1, got '0'"),
    ],
)
def test_wrong_arguments(run, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_sizes_that_do_not_fit(run):
    code, out, err = run("conv2d", "--kernel-size", 50, *TEXTBOOK)
    assert (code, out) == (1, "")
    assert err.startswith("error: conv2d: expected an input no smaller than the kernel")


def test_the_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "ladder.svg"
    assert run("relu", "--batch-size", 2, *TEXTBOOK, "--no-torch", "--plot", path)[0] == 0
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().startswith("<?xml")
    assert len(re.findall(r"patch_", text)) > 4


def test_the_command_loads_nothing_that_it_does_not_use():
    code = (
        "import sys, scratchnet.ladder as l; l.main(['relu', '--batch-size', '1', '--rungs', 'im2col', '--seconds', "
        "'0.001', '--no-torch']); print([m for m in ('torch', 'numba', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
