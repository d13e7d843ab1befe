"""The exercises: solutions pass, skeletons fail, and every mistake gets a message that helps."""

import ast

import numpy as np
import pytest

from scratchnet.study.exercises import CHAPTERS, EXERCISES, judge, load
from scratchnet.study.museum import EXHIBITS

BY_NAME = {exercise.module: exercise for exercise in EXERCISES}


@pytest.fixture
def judged(tmp_path):
    """judged("linear", source) → Judgement"""

    def judged(name, source):
        path = tmp_path / "mine.py"
        path.write_text(source, encoding="utf-8")
        return judge(BY_NAME[name], path)

    return judged


def changed(name, *changes):
    """The solution with some of its text replaced."""
    source = BY_NAME[name].solution
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def test_there_are_enough_in_every_chapter():
    assert len(EXERCISES) >= 10
    assert {exercise.chapter for exercise in EXERCISES} == set(range(1, len(CHAPTERS) + 1))
    assert [exercise.chapter for exercise in EXERCISES] == sorted(exercise.chapter for exercise in EXERCISES)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_solution_passes(judged, name):
    judgement = judged(name, BY_NAME[name].solution)
    assert judgement.ok, judgement
    assert all(any(function in line for line in judgement.passed) for function in BY_NAME[name].functions)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_skeleton_is_a_file_that_fails(judged, name):
    exercise = BY_NAME[name]
    skeleton = exercise.skeleton()
    defined = [node.name for node in ast.parse(skeleton).body if isinstance(node, ast.FunctionDef)]
    assert defined == list(exercise.functions)
    assert "return" not in skeleton.replace("Return new arrays", "")  # no body has stayed
    judgement = judged(name, skeleton)
    assert "not written yet" in judgement.problem
    assert judgement.passed == []


@pytest.mark.parametrize("name", BY_NAME)
def test_backward_functions_are_gradchecked(judged, name):
    backward = [function for function in BY_NAME[name].functions if function.endswith("backward")]
    passed = judged(name, BY_NAME[name].solution).passed
    assert all(any(line.startswith(f) and line.endswith("gradcheck") for line in passed) for f in backward)


# Files that do not even run

SIGNATURE = "def linear_backward(dy, x, weight):\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def linear_backward(dy, x, weight)\n    pass\n", "line 1: expected ':'"),
        ("\0", "null bytes"),
        ("import numpy as np\nx = np.zeros(3)[7]\n", "in line 2: x = np.zeros(3)[7]"),
        ("import flying_pigs\n", "No module named 'flying_pigs'"),
        ("raise SystemExit(0)\n", "called exit()"),
        ("def linear_backwards(dy, x, weight):\n    pass\n", "there is linear_backwards"),
        ("linear_backward = 3\n", "is no function but int"),
        (
            "def linear_backward(dy, x):\n    pass\n",
            "expected linear_backward(dy, x, weight), got linear_backward(dy, x)",
        ),
        (SIGNATURE + "    return dy @ weights, dy.T @ x, dy.sum(axis=0)\n", "name 'weights' is not defined, in line 2"),
        (SIGNATURE + "    return dy @ weight.T, dy.T @ x, dy.sum(axis=0)\n", "ValueError: matmul"),
        (SIGNATURE + "    return linear_backward(dy, x, weight)\n", "calls itself without end"),
        (SIGNATURE + "    raise BaseException('no')\n", "BaseException: no"),
        (SIGNATURE + "    dx = dy @ weight\n", "returned None: is a return missing?"),
        (SIGNATURE + "    return dy @ weight\n", "expected 3 values, dx, dweight, dbias; it returned one ndarray"),
        (SIGNATURE + "    return dy @ weight, dy.T @ x\n", "it returned 2 values"),
        (SIGNATURE + "    return (dy @ weight).tolist(), dy.T @ x, dy.sum(axis=0)\n", "dx is no array but list"),
        (
            SIGNATURE + "    return dy @ weight, x.T @ dy, dy.sum(axis=0)\n",
            "has shape (5, 3), expected (3, 5): transposed?",
        ),
        (SIGNATURE + "    return dy @ weight, dy.T @ x, dy\n", "dbias has shape (4, 3), expected (3,)"),
        (SIGNATURE + "    return dy @ weight, dy.T @ x, dy.sum(axis=0) / 0\n", "a division by zero"),
        (SIGNATURE + "    dy *= 2\n    return dy @ weight, dy.T @ x, dy.sum(axis=0)\n", "changed its argument dy"),
        (SIGNATURE + "    x[0] = 0\n    return dy @ weight, dy.T @ x, dy.sum(axis=0)\n", "changed its argument x"),
        (
            "import numpy as np\n" + SIGNATURE + "    return np.eye(len(dy)) @ dy @ weight, dy.T @ x, dy.sum(axis=0)\n",
            "is float64 for arguments of float32",
        ),
    ],
)
def test_what_goes_wrong_is_said(judged, source, message):
    judgement = judged("linear", source)
    assert not judgement.ok
    assert message in judgement.problem


def test_an_endless_loop_ends(judged, monkeypatch):
    monkeypatch.setattr(load, "SECONDS", 0.2)
    patient = (
        "    try:\n        for _ in range(10**8):\n            pass\n    except Exception:\n        return 0, 0, 0\n"
    )
    judgement = judged("linear", SIGNATURE + patient)
    assert "an endless loop?" in judgement.problem
    assert judged("linear", BY_NAME["linear"].solution).ok  # the alarm is off again


def test_what_the_file_prints_stays_out_of_the_way(judged, capsys):
    source = changed("linear", ("    return dy", "    print('hello')\n    return dy"))
    assert judged("linear", source).ok
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_a_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in judge(BY_NAME["linear"], tmp_path / "mine.py").problem


# Mistakes that run: exercise, what is changed in its solution, and the exhibits that it is recognised as

MISTAKES = {
    "col2im-overwrites": ("col2im", [("+= dcols", "= dcols")]),
    "conv-dx-kernel-flipped": (
        "conv_backward",
        [("dy[:, :, i, j], weight,", "dy[:, :, i, j], weight[:, :, ::-1, ::-1],")],
    ),
    "conv-dweight-averaged": ("conv_backward", [("return dx, dweight,", "return dx, dweight / len(x),")]),
    "conv-padding-cut-at-one-end": (
        "conv_backward",
        [("dx_padded[:, :, padding : padding + h, padding : padding + w]", "dx_padded[:, :, :h, :w]")],
    ),
    "conv-flips-the-kernel": ("conv", [("(window, weight,", "(window, weight[:, :, ::-1, ::-1],")]),
    "conv-padding-on-one-side": (
        "conv",
        [("(padding, padding), (padding, padding)", "(0, 2 * padding), (0, 2 * padding)")],
    ),
    "max-pool-overwrites": ("max_pool", [("+= dy", "= dy")]),
    "max-pool-feeds-all-ties": (
        "max_pool",
        [
            ("        u, v = divmod(int(window.argmax()), kernel)\n", ""),
            (
                "dx[n, c, top + u, left + v] += dy[n, c, i, j]",
                "dx[n, c, top : top + kernel, left : left + kernel] += (window == window.max()) * dy[n, c, i, j]",
            ),
        ],
    ),
    "max-pool-last-tie-wins": (
        "max_pool",
        [("int(window.argmax())", "kernel**2 - 1 - int(window[::-1, ::-1].argmax())")],
    ),
    "avg-pool-gradient-undivided": ("avg_pool", [(" / count", "")]),
    "linear-dweight-transposed": ("linear", [("dy.T @ x", "(x.T @ dy if x.shape[1] == dy.shape[1] else dy.T @ x)")]),
    "linear-dbias-averaged": ("linear", [("dy.sum(axis=0)", "dy.mean(axis=0)")]),
    "linear-dbias-summed-over-everything": ("linear", [("dy.sum(axis=0)", "np.full_like(dy[0], dy.sum())")]),
    "relu-mask-from-dy": ("relu", [("np.where(x > 0", "np.where(dy > 0")]),
    "relu-passes-at-zero": ("relu", [("np.where(x > 0", "np.where(x >= 0")]),
    "sigmoid-derivative-of-y": ("neuron", [("    dz =", "    y = 1 / (1 + np.exp(-y))\n    dz =")]),
    "cross-entropy-not-averaged": ("cross_entropy", [("dlogits / len(target)", "dlogits")]),
    "log-of-clipped-probability": (
        "cross_entropy",
        [("-_log_softmax(logits)[", "-np.log(np.exp(_log_softmax(logits)).clip(1e-7, 1 - 1e-7))[")],
    ),
    "softmax-twice": (
        "cross_entropy",
        [("    return -_log_softmax(logits)", "    return -_log_softmax(np.exp(_log_softmax(logits)))")],
    ),
    "dropout-not-rescaled": ("dropout", [("np.where(mask, x / (1 - p), 0)", "np.where(mask, x, 0)")]),
    "dropout-divides-by-p": ("dropout", [("np.where(mask, x / (1 - p), 0)", "np.where(mask, x / p, 0)")]),
    "dropout-gradient-not-masked": ("dropout", [("np.where(mask, dy / (1 - p), 0)", "dy / (1 - p)")]),
    "dropout-gradient-not-rescaled": ("dropout", [("np.where(mask, dy / (1 - p), 0)", "np.where(mask, dy, 0)")]),
    "batch-norm-running-var-biased": ("batch_norm", [("(n / (n - 1)) * ", "")]),
    "batch-norm-momentum-inverted": (
        "batch_norm",
        [("    mean, var =", "    momentum = 1 - momentum\n    mean, var =")],
    ),
    "batch-norm-eps-outside-the-root": ("batch_norm", [("np.sqrt(var + eps)[", "(np.sqrt(var) + eps)[")]),
    "batch-norm-forgets-the-mean": ("batch_norm_backward", [("dy - dbeta[:, None, None] / n", "dy")]),
    "batch-norm-forgets-the-variance": ("batch_norm_backward", [(" - x_hat * dgamma[:, None, None] / n", "")]),
    "batch-norm-constant-statistics": (
        "batch_norm_backward",
        [("dy - dbeta[:, None, None] / n - x_hat * dgamma[:, None, None] / n", "dy")],
    ),
    "batch-norm-divides-by-batch": ("batch_norm_backward", [("x.size // x.shape[1]", "len(x)")]),
    "sgd-decay-after-momentum": (
        "sgd",
        [
            ("momentum * buffer + (grad + weight_decay * param)", "momentum * buffer + grad"),
            ("param - lr * buffer, buffer", "param - lr * (buffer + weight_decay * param), buffer"),
        ],
    ),
    "adam-without-bias-correction": ("adam", [("m / (1 - beta1**t), v / (1 - beta2**t)", "m, v")]),
    "adam-eps-inside-the-root": ("adam", [("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)")]),
}


@pytest.mark.parametrize("exhibit", MISTAKES)
def test_a_mistake_of_the_museum_is_recognised(judged, exhibit):
    name, changes = MISTAKES[exhibit]
    judgement = judged(name, changed(name, *changes))
    assert not judgement.ok
    assert exhibit in judgement.exhibits
    advice = next(line for line in judgement.advice if f"'{exhibit}'" in line)
    assert EXHIBITS[exhibit].notice in advice
    assert f"museum show {exhibit}" in advice


def test_a_loop_that_overwrites_is_recognised_too(judged):
    source = changed("conv_backward", ("dx_padded[window] +=", "dx_padded[window] ="))
    assert judged("conv_backward", source).exhibits == ["col2im-overwrites"]


def test_most_exhibits_of_the_exercises_ops_are_recognised():
    assert len(MISTAKES) >= 30


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("softmax", (" - x.max(axis=1, keepdims=True)", ""), "softmax, numbers in the thousands, float64: y is nan"),
        ("cross_entropy", ("logits - logits.max(axis=1, keepdims=True)", "logits.copy()"), "logits in the thousands"),
        ("relu", ("np.where(x > 0, dy, 0)", "np.where(x > 0, dy, 0 * dy + 1e-3)"), "dx is wrong"),
        (
            "dropout",
            ("np.where(mask, dy / (1 - p), 0) if p < 1 else np.zeros_like(dy)", "mask * (dy / np.float64(1 - p))"),
            "p = 1.0",
        ),
        ("conv_backward", ("dx_padded[window] +=", "dx_padded[window] ="), "dx is wrong"),
        ("neuron", ("dz.sum()", "dz.mean()"), "db is wrong"),
        ("avg_pool", ("/ count", "/ kernel**2"), "kernel 3, stride 2, padding 1"),
        ("linear", ("dy @ weight", "(1 + 1e-8) * dy @ weight"), "float64: dx is wrong"),
        ("sgd", ("param - lr * buffer", "param + lr * buffer"), "param is wrong"),
    ],
)
def test_other_mistakes_are_found(judged, name, change, message):
    judgement = judged(name, changed(name, change))
    assert not judgement.ok
    assert message in judgement.problem


def test_a_wrong_gradient_comes_with_its_place_its_pattern_and_gradcheck(judged):
    judgement = judged("linear", changed("linear", ("dy @ weight", "3 * dy @ weight")))
    assert "20 of 20 elements are off" in judgement.advice[0]
    assert "numeric = 0.333333 × analytic" in judgement.advice[1]
    assert "analytic" in judgement.report
    assert "✗ x " in judgement.report  # by its name
    assert judgement.exhibits == []


def test_the_calls_of_a_trial_are_not_the_learners_to_change(judged):
    """A file that changes its arguments cannot spoil the next trial's."""
    exercise = BY_NAME["linear"]
    before = [trial.arguments["dy"].copy() for trial in exercise.trials("float64")]
    judged("linear", SIGNATURE + "    dy *= 2\n    return dy @ weight, dy.T @ x, dy.sum(axis=0)\n")
    after = [trial.arguments["dy"] for trial in exercise.trials("float64")]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
