"""python -m scratchnet.museum"""

import json

import pytest

from scratchnet.study.museum import EXHIBITS, quiz


@pytest.fixture
def run(run):
    """run("show", …) → exit code, standard output, standard error; the text fits a terminal"""

    def run_and_look(*argv):
        code, out, err = run(*argv)
        assert all(len(line) <= 100 for line in out.splitlines() if not line.startswith((" ", "{", "[", '"')))
        return code, out, err

    return run_and_look


def seed_of(name):
    return next(seed for seed in range(2000) if quiz.hidden(seed) == name)


def test_list(run):
    code, out, _ = run("list")
    assert code == 0
    assert all(f"  {name} " in out for name in EXHIBITS)
    code, out, _ = run("list", "--json")
    assert {row["name"] for row in json.loads(out)} == set(EXHIBITS)


def test_show(run):
    code, out, _ = run("show", "col2im-overwrites")
    assert code == 0
    assert "  ✗             dx[tap(u, v, stride, dilation, (out[0], out[1]))] = dcols[:, :, u, v]" in out
    assert "  ✓             dx[tap(u, v, stride, dilation, (out[0], out[1]))] += dcols[:, :, u, v]" in out
    assert "scratchnet/ops/conv.py:" in out
    row = json.loads(run("show", "col2im-overwrites", "--json")[1])
    assert row["check"] == "gradcheck"
    assert any("✗" in line for line in row["code"])


def test_run_says_what_training_and_the_checks_say(run):
    code, out, _ = run("run", "max-pool-pads-with-zero", "--steps", 4)
    assert code == 0
    assert "gradcheck on 'padded max pool': passes" in out
    assert "parity on 'padded max pool': finds it" in out
    assert "gradcheck cannot see this" in out
    assert "Both losses are equal" in out
    assert max(map(len, run("run", "initialised-to-zero", "--steps", 4)[1].splitlines())) <= 100
    code, out, _ = run("run", "col2im-overwrites", "--steps", 4)
    assert "gradcheck on 'conv': finds it" in out
    assert "gradcheck cannot see this" not in out
    code, out, _ = run("run", "gradients-never-zeroed", "--steps", 4)
    assert "neither gradcheck nor parity" in out
    assert "fresh gradients on 'network': finds it" in out


def test_run_as_json(run):
    code, out, _ = run("run", "linear-dweight-transposed", "--steps", 4, "--json")
    assert code == 0
    row = json.loads(out, parse_constant=pytest.fail)  # no NaN, which JSON does not have
    assert len(row["healthy"]["losses"]) == 4
    assert row["wrong"]["test_loss"] is None
    assert "expected the gradient" in row["wrong"]["error"]
    assert row["findings"]["gradcheck"]["ok"] is False


def test_run_writes_a_picture(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, _ = run("run", "relu-mask-from-dy", "--steps", 4, "--plot", tmp_path / "curves.png")
    assert code == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("run", "relu-mask-from-dy", "--steps", 4, "--plot", tmp_path / "curves.xyz")
    assert code == 1
    assert "xyz" in err


def test_a_quiz_from_its_start_to_its_answer(run):
    seed = seed_of("batch-norm-forgets-the-mean")
    code, out, _ = run("quiz", "--seed", seed)
    assert code == 0
    assert f"Quiz {seed}:" in out
    assert "batch-norm" not in out
    assert "passes" in run("quiz", "--seed", seed, "--check", "gradcheck", "--layer", "conv1")[1]
    code, out, _ = run("quiz", "--seed", seed, "--check", "gradcheck", "--layer", "bn1")
    assert code == 0
    assert "gradcheck, batch norm: ✗ fails" in out
    assert run("quiz", "--seed", seed, "--answer", "col2im-overwrites")[0] == 1
    code, out, _ = run("quiz", "--seed", seed, "--answer", "batch-norm-forgets-the-mean")
    assert code == 0
    assert out.startswith("Yes")
    assert "without the path through the mean" in run("quiz", "--seed", seed, "--reveal")[1]


def test_a_quiz_may_have_no_bug(run):
    seed = seed_of("healthy")
    assert run("quiz", "--seed", seed, "--answer", "healthy")[0] == 0
    assert run("quiz", "--seed", seed, "--answer", "col2im-overwrites")[0] == 1
    assert "no bug" in run("quiz", "--seed", seed, "--reveal")[1]


def test_a_quiz_shows_the_curve_without_the_name(run):
    seed = seed_of("images-shuffled-without-labels")
    code, out, _ = run("quiz", "--seed", seed, "--check", "curve", "--steps", 4)
    assert code == 0
    assert f"quiz {seed}" in out
    assert "shuffled" not in out


def test_a_quiz_without_a_number_draws_one(run):
    code, out, _ = run("quiz")
    assert code == 0
    assert out.startswith("Quiz ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "flying-pigs"], "flying-pigs"),
        (["run", "flying-pigs"], "flying-pigs"),
        (["quiz", "--check", "gradcheck", "--layer", "conv1"], "--seed"),
        (["quiz", "--answer", "healthy"], "--seed"),
        (["quiz", "--seed", 1, "--check", "gradcheck"], "conv1"),
        (["quiz", "--seed", 1, "--check", "expectation", "--layer", "conv1"], "dropout"),
        (["quiz", "--seed", 1, "--layer", "conv1"], "--check"),
        (["quiz", "--seed", 1, "--answer", "flying-pigs"], "flying-pigs"),
        (["quiz", "--seed", 1, "--answer", "sigmoid-derivative-of-y"], "sigmoid"),
        (["quiz", "--seed", 1, "--reveal", "--answer", "healthy"], "one of"),
        (["quiz", "--seed", -1], "-1"),
        (["run", "relu-mask-from-dy", "--steps", 0], "0"),
        ([], "command"),
    ],
)
def test_wrong_arguments(run, argv, message):
    code, _, err = run(*argv)
    assert code == 2
    assert message in err
