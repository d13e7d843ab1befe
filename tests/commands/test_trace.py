"""python -m scratchnet.trace"""

import json
import math

import pytest
from trained_runs import train

from scratchnet import backend


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace") / "run"
    return train(folder, "mnist", "--limit-batches", "2", "--eval-limit", "10", "--epochs", "1")


def test_json_has_no_nan(run):
    def nan(dy, cache):
        return dy * float("nan")

    with backend.override("relu_backward", nan):
        code, out, _ = run("mnist", "--tensor", "conv1.0.weight", "--index", "3,0,2,2", "--json")
    way = json.loads(out, parse_constant=pytest.fail)["way"]
    assert way[0]["gradient"] is None
    assert code == 0


@pytest.mark.parametrize("what", [("--tensor", "conv1.0.weight", "--index", "3,0,2,2"), ("--tensor", "input"), ()])
def test_a_checkpoint_is_traced_to_the_loss(run, checkpoint, what):
    code, out, err = run(checkpoint, "--image", "7", *what)
    assert (code, err) == (0, "")
    assert "there softmax gives p" in out.splitlines()[-1]
    assert max(map(len, out.splitlines()[1:])) <= 100  # the first line holds the checkpoint's path


def test_the_terms_of_the_json_add_up(run, checkpoint):
    code, out, _ = run(checkpoint, "--tensor", "conv1.0.weight", "--index", "3,0,2,2", "--image", "7,8", "--json")
    assert code == 0
    first = json.loads(out)["way"][0]
    values = [value for part in first["parts"] for value in part["values"]]
    assert len(values) == first["terms"] > 100
    assert math.isclose(math.fsum(values), first["gradient"], rel_tol=1e-10)
    assert first["index"] == [3, 0, 2, 2]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--tensor", "conv9.weight"), "nothing is called 'conv9.weight'"),
        (("--index", "99,0,0,0"), "99"),
        (("--index", "1,a"), "whole numbers"),
        (("--image", "10000"), "10000"),
    ],
)
def test_a_wrong_argument_is_an_error(run, argv, message):
    code, out, err = run("mnist", *argv)
    assert code == 2
    assert out == ""
    assert message in err


def test_a_broken_checkpoint_is_an_error(run, tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"not a checkpoint")
    code, out, err = run(path)
    assert code == 1
    assert out == ""
    assert "last.safetensors" in err
