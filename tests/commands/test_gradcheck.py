"""python -m scratchnet.gradcheck"""

import json

import pytest

import scratchnet.gradcheck
from scratchnet import backend, ops


@pytest.mark.parametrize("model", [("mnist",), ("mnist", "--model", "dropout"), ("mnist", "--rung", "numba", "--eval")])
def test_right_gradients_pass(run, model):
    code, out, err = run(*model, "--batch-size", "2", "--directions", "2")
    assert (code, err) == (0, "")
    assert "tensors agree" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_wrong_backward_pass_is_named(run):
    def too_small(dy, cache):
        dx, dweight, dbias = ops.conv2d_backward(dy, cache)
        return dx, dweight * (1 - 1e-5), dbias

    with backend.override("conv2d_backward", too_small):
        code, out, _ = run("mnist", "--batch-size", "2", "--directions", "2", "--json")
    assert code == 1
    report = json.loads(out)
    assert not report["ok"]
    assert [t["name"] for t in report["tensors"] if not t["ok"]] == ["conv1.0.weight", "conv2.0.weight"]
    assert all(t["error"] > 1 and t["analytic"] != t["numeric"] for t in report["tensors"] if not t["ok"])


def test_kinks_near_by_do_not_hide_a_small_error(run):
    """Along a direction some of system C's ReLU inputs cross 0, and D(h) still moves at the first steps."""

    def slightly_wrong(dy, cache):
        dx, dweight, dbias = ops.batch_norm_backward(dy, cache)
        return dx, dweight * (1 + 1e-5), dbias

    with backend.override("batch_norm_backward", slightly_wrong):
        code, out, _ = run("cifar10", "--json")
    assert code == 1
    wrong = [t["name"] for t in json.loads(out)["tensors"] if not t["ok"]]
    assert wrong == [f"batch_norm{k}.weight" for k in range(1, 6)]


def test_json_has_no_nan(run):
    def nan(dy, cache):
        return dy * float("nan")

    with backend.override("relu_backward", nan):
        code, out, _ = run("mnist", "--model", "dropout", "--batch-size", "2", "--directions", "1", "--json")
    assert code == 1
    assert json.loads(out, parse_constant=pytest.fail)["tensors"][0]["analytic"] is None


def test_every_element_is_checked(run, monkeypatch):
    checked = {}

    def gradcheck(model, x, **options):
        checked.update(options)
        return scratchnet.study.gradcheck(model, x, mode="directions", directions=1)

    monkeypatch.setattr(scratchnet.gradcheck, "gradcheck", gradcheck)
    assert run("mnist", "--model", "mlp", "--exhaustive", "--batch-size", "1")[0] == 0
    assert checked["mode"] == "elements"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nothing",), "nothing"),
        (("mnist", "--model", "resnet20"), "resnet20"),
        (("mnist", "--tol", "2"), "between 0 and 1"),
        (("mnist", "--batch-size", "0"), "0"),
    ],
)
def test_a_wrong_argument_is_an_error(run, argv, message):
    code, out, err = run(*argv)
    assert code == 2
    assert out == ""
    assert message in err
