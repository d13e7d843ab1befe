"""python -m scratchnet.lockstep, and what it says of planted bugs."""

import contextlib
import json
import sys

import numpy as np
import pytest

import scratchnet.lockstep
from scratchnet import backend, ops
from scratchnet.study.museum import EXHIBITS

NETWORKS = [(family, model) for family, of in scratchnet.models.MODELS.items() for model in of]


@pytest.mark.parametrize(("family", "model"), NETWORKS)
def test_every_network_agrees_with_its_twin(run, family, model):
    # a small rate: at its own, ResNet-20 on noise is chaotic
    code, out, err = run(family, "--model", model, "--steps", 3, "--batch-size", 4, "--lr", 0.001)
    assert (code, err) == (0, "")
    assert "agrees with torch within 1e-09 for 3 steps" in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("way", [("--rung", "numba"), ("--rung", "numba", "--fuse"), ("--dtype", "float32")])
def test_every_way_to_compute_agrees(run, way):
    code, out, _ = run("cifar10", "--steps", 3, *way, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["ok"]
    kinds = {worst["kind"] for worst in report["worst"]}
    assert {"loss", "gradient", "parameter", "buffer"} <= kinds
    assert ("activation" in kinds) == ("--fuse" not in way)


def slightly(function, place=None):
    """The function, its (first) result off by one part in ten million."""

    def wrong(*args, **options):
        result = function(*args, **options)
        if isinstance(result, tuple):
            at = place or 0
            return tuple(r * (1 + 1e-7) if i == at else r for i, r in enumerate(result))
        return result * (1 + 1e-7)

    return wrong


@pytest.mark.parametrize(
    ("name", "function", "kind", "tensor"),
    [
        ("conv2d", slightly(ops.conv2d), "activation", "conv1"),
        ("relu", slightly(ops.relu), "activation", "relu1"),
        ("cross_entropy", slightly(ops.cross_entropy), "loss", "loss"),
        ("cross_entropy_backward", slightly(ops.cross_entropy_backward), "activation gradient", "fc2"),
        ("linear_backward", slightly(ops.linear_backward), "activation gradient", "dropout"),
        ("linear_backward", slightly(ops.linear_backward, 1), "gradient", "fc2.weight"),
        ("max_pool2d_backward", slightly(ops.max_pool2d_backward), "activation gradient", "relu2"),
        ("conv2d_backward", slightly(ops.conv2d_backward), "activation gradient", "pool1"),
        ("conv2d_backward", slightly(ops.conv2d_backward, 2), "gradient", "conv2.bias"),
    ],
)
def test_the_first_wrong_tensor_of_a_planted_bug_is_named(run, name, function, kind, tensor):
    with backend.override(name, function):
        code, out, _ = run("mnist", "--model", "dropout", "--batch-size", 4, "--json")
    first = json.loads(out)["first"]
    assert code == 1
    assert (first["step"], first["kind"], first["tensor"]) == (1, kind, tensor)
    assert first["error"] == pytest.approx(1e-7, rel=0.1)


@pytest.mark.parametrize(
    ("exhibit", "steps", "kind", "tensor"),
    [
        ("batch-norm-running-var-biased", 1, "buffer", "batch_norm4.running_var"),
        ("batch-norm-eps-outside-the-root", 1, "activation", "batch_norm1"),
        ("batch-norm-forgets-the-mean", 1, "activation gradient", "conv5"),
        ("dropout-new-mask-in-backward", 1, "activation gradient", "relu6"),
        ("max-pool-last-tie-wins", 1, "activation gradient", "relu5"),
    ],
)
def test_float32_names_the_museum_s_bugs(run, exhibit, steps, kind, tensor):
    with contextlib.ExitStack() as stack:
        for op, function in EXHIBITS[exhibit].bug.overrides.items():
            stack.enter_context(backend.override(op, function))
        code, out, _ = run("cifar10", "--dtype", "float32", "--batch-size", 8, "--steps", 2, "--json")
    first = json.loads(out)["first"]
    assert (code, first["step"], first["kind"], first["tensor"]) == (1, steps, kind, tensor)


def test_json_has_no_nan(run):
    with backend.override("relu_backward", lambda dy, cache: np.full_like(dy, np.nan)):
        code, out, _ = run("mnist", "--model", "dropout", "--batch-size", 2, "--json")
    assert code == 1
    assert json.loads(out, parse_constant=pytest.fail)["first"]["error"] is None


def test_a_wrong_optimizer_is_seen_in_the_parameters(run, monkeypatch):
    exact = scratchnet.lockstep.make_optimizer

    def with_other_momentum(recipe, model):
        optimizer = exact(recipe, model)
        optimizer.param_groups[0]["momentum"] *= 1 + 1e-6
        return optimizer

    monkeypatch.setattr(scratchnet.lockstep, "make_optimizer", with_other_momentum)
    code, out, _ = run("mnist", "--model", "dropout", "--batch-size", 4, "--lr", 0.1, "--json")
    first = json.loads(out)["first"]
    assert (code, first["step"], first["kind"]) == (1, 2, "parameter")  # the first step has no momentum yet


def test_nan_is_a_difference(run):
    def nan(dy, cache):
        return np.full_like(dy, np.nan)

    with backend.override("relu_backward", nan):
        code, out, _ = run("mnist", "--model", "dropout", "--batch-size", 2)
    assert code == 1
    assert "activation gradient fc1: differs by nan" in out


def test_without_torch_it_says_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "scratchnet.study.lockstep", raising=False)
    code, out, err = run("mnist")
    assert code == 1
    assert out == ""
    assert "needs PyTorch" in err


@pytest.mark.parametrize(("argv", "message"), [(("mnist", "--model", "x"), "'x'"), (("mnist", "--steps", "0"), "0")])
def test_a_wrong_argument_is_an_error(run, argv, message):
    code, out, err = run(*argv)
    assert code == 2
    assert out == ""
    assert message in err
