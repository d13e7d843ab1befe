"""The museum: every exhibit is found by the check that it names, and what its story says is so.

The exhibits that a layer's gradcheck or parity finds run in tests/mutants, with the other planted bugs.
"""

import math

import numpy as np
import pytest
from mutants.registry import MUTANTS

from scratchnet import backend, nn, ops
from scratchnet.study import museum
from scratchnet.study.museum import EXHIBITS, HEALTHY, checks, loop, quiz, run_check, text
from scratchnet.study.museum.curves import HEIGHT, WIDTH, smoothed, text_plot
from scratchnet.study.museum.exhibit import exhibit as register
from scratchnet.study.museum.exhibit import replaces, with_names
from scratchnet.study.museum.network import NETWORKS, UNIFORM_LOSS

ELSEWHERE = {name for name in EXHIBITS if name in MUTANTS}
ALL = EXHIBITS.values()


def test_there_are_enough_of_every_family():
    assert len(EXHIBITS) >= 25
    assert {e.family for e in ALL} == set(museum.FAMILIES)
    assert len(ELSEWHERE) >= 25  # those that tests/mutants runs


@pytest.mark.parametrize("name", [name for name in EXHIBITS if name not in ELSEWHERE])
def test_the_check_that_an_exhibit_names_finds_it(name):
    exhibit = EXHIBITS[name]
    finding = run_check(exhibit.check, exhibit.bug, exhibit.case)
    assert finding.ok is False, finding.text


def test_a_variant_is_found_as_well():
    variants = [(exhibit, bug) for exhibit in ALL for bug in exhibit.variants]
    assert variants
    for exhibit, bug in variants:
        assert run_check(exhibit.check, bug, exhibit.case).ok is False, exhibit.name


@pytest.mark.parametrize(("check", "case"), sorted({(e.check, e.case) for e in ALL}))
def test_without_a_bug_every_check_passes(check, case):
    finding = run_check(check, HEALTHY, case)
    assert finding.ok is True, finding.text


@pytest.mark.parametrize("exhibit", ALL, ids=EXHIBITS)
def test_the_page_shows_the_code_and_tells_the_story(exhibit):
    lines = text.page(exhibit).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("  ✗") for line in lines) or any(line.startswith("  ✓") for line in lines)
    for story in (exhibit.why, exhibit.effect, exhibit.notice):
        assert story.endswith((".", ".”", ".)"))
    code = list(text.difference(exhibit))
    changed = [line for line in code if line[2:3] in "✗✓" and line[2:3]]
    assert 1 <= len(changed) <= 14  # a mistake and not another function


def test_names_and_titles_are_told_apart():
    assert len({e.title for e in ALL}) == len(EXHIBITS)
    assert all(name == name.lower() and " " not in name for name in EXHIBITS)


def test_an_exhibit_is_registered_once():
    taken = next(iter(EXHIBITS))
    with pytest.raises(ValueError, match="is there already"):
        register(taken, right=ops.linear, bug=replaces("linear"), family="loss")(ops.linear)


def test_switching_a_bug_on_leaves_nothing_behind():
    before = ops.conv2d_backward.__globals__["col2im"]
    parameter = nn.Parameter(np.zeros(2))
    for exhibit in ALL:
        with exhibit.bug.active():
            assert backend.overridden() == bool(exhibit.bug.overrides)
        exhibit.bug.planted(NETWORKS["cnn"](rng=0))
    assert not backend.overridden()
    assert ops.conv2d_backward.__globals__["col2im"] is before
    assert type(parameter) is nn.Parameter
    assert type(nn.Dropout()) is nn.Dropout


def test_a_helper_is_replaced_in_a_copy():
    copy = with_names(ops.conv2d_backward, col2im=None)
    assert copy.__globals__["col2im"] is None
    assert copy.__code__ is ops.conv2d_backward.__code__


# What the stories say in numbers


def test_the_numbers_in_the_stories():
    story = {name: " ".join((e.why, e.effect, e.notice)) for name, e in EXHIBITS.items()}
    assert f"{-math.log(math.e / (math.e + 9)):.3f}" == "1.461"
    assert "1.461" in story["softmax-twice"]
    assert f"{-math.log(1e-7):.1f}" == "16.1"
    assert "16.1" in story["log-of-clipped-probability"]
    assert f"{(1 - 0.9) / (1 - 0.999) ** 0.5:.2f}" == "3.16"
    assert "3.16" in story["adam-without-bias-correction"]
    slopes = [y * (1 - y) for y in (0.5, 1 / (1 + math.exp(-1)))]
    assert [f"{slope:.3g}" for slope in slopes] == ["0.25", "0.197"]
    assert "0.197" in story["sigmoid-derivative-of-y"]
    assert f"{1 - (31 / 32) ** 0.5:.1%}" == "1.6%"
    assert "1.6%" in story["batch-norm-running-var-biased"]
    assert [round(0.1 * (1 + 0.9 * b), 5) for b in (1, 1.9, 2.71)] == [0.19, 0.271, 0.3439]
    assert "0.19, then 0.271, then 0.3439" in story["nesterov-sign"]
    assert 88 < math.log(np.finfo("float32").max) < 89
    assert 709 < math.log(np.finfo("float64").max) < 710
    assert "88" in story["softmax-overflows"]


def test_running_var_of_one_to_four():
    x, options = np.array([[1.0], [2], [3], [4]]), (None, None, np.zeros(1), np.ones(1), True, 0.1, 1e-5)
    biased = EXHIBITS["batch-norm-running-var-biased"].wrong
    assert ops.batch_norm(x, *options)[0][2] == pytest.approx(1.066667, abs=1e-6)
    assert biased(x, *options)[0][2] == pytest.approx(1.025)


def test_the_sum_of_dx_tells_the_paths_of_batch_norm():
    x, dy = checks.cases.normal(4, 3, 2, 2), checks.cases.normal(4, 3, 2, 2, seed=1)
    cache = ops.batch_norm(x, np.ones(3), np.zeros(3), None, None, True, 0.1, 1e-12)[1]
    sums = lambda dx: (abs(dx.sum(axis=(0, 2, 3))).max(), abs((dx * cache.x_hat).sum(axis=(0, 2, 3))).max())  # noqa: E731
    right = sums(ops.batch_norm_backward(dy, cache)[0])
    without_mean = sums(EXHIBITS["batch-norm-forgets-the-mean"].wrong(dy, cache)[0])
    without_variance = sums(EXHIBITS["batch-norm-forgets-the-variance"].wrong(dy, cache)[0])
    assert max(right) < 1e-9
    assert without_mean[0] > 0.1 > 1e-9 > without_mean[1]
    assert without_variance[1] > 0.1 > 1e-9 > without_variance[0]


# Training


@pytest.fixture(scope="module")
def healthy():
    return museum.train(HEALTHY, steps=60)


def run(name, steps=60):
    return museum.train(EXHIBITS[name].bug, EXHIBITS[name].network, EXHIBITS[name].optimizer, steps)


def test_the_healthy_network_learns_and_training_repeats(healthy):
    assert len(healthy.losses) == 60
    assert np.mean(healthy.losses[-10:]) < 1.8 < UNIFORM_LOSS < healthy.losses[0] + 0.2
    assert museum.train(HEALTHY, steps=60) == healthy


@pytest.mark.parametrize("name", ["images-shuffled-without-labels", "initialised-to-zero", "softmax-twice"])
def test_some_never_leave_the_loss_of_guessing(name):
    assert min(run(name).losses) > 2.2


def test_a_wrong_sign_in_nesterov_diverges():
    assert not np.isfinite(run("nesterov-sign", 120).losses[-1])


@pytest.mark.parametrize(
    "name", ["batch-norm-momentum-inverted", "max-pool-pads-with-zero", "relu-writes-into-dy", "dropout-in-evaluation"]
)
def test_some_do_not_show_in_the_loss(name, healthy):
    assert run(name).losses == healthy.losses


def test_the_test_loss_is_that_of_evaluation(healthy):
    for name in ("dropout-in-evaluation", "batch-norm-batch-statistics-in-evaluation", "batch-norm-momentum-inverted"):
        assert run(name).test_loss != healthy.test_loss


def test_a_bug_that_stops_training_is_told_with_its_step():
    stopped = run("linear-dweight-transposed")
    assert stopped.losses == []
    assert "expected the gradient" in stopped.error
    assert text.result(stopped).startswith("stopped at step 1 by RuntimeError")


def test_a_step_and_an_epoch_are_whole():
    x, labels = loop.shuffled(np.random.default_rng(0), np.arange(9), np.arange(9))
    assert (x == labels).all()
    assert sorted(x) == list(range(9))
    assert list(x) != list(range(9))


# Curves


def test_a_curve_is_smoothed_by_means():
    assert smoothed([1, 3, 5, 7], 2) == [2, 6]
    assert smoothed([1.0, math.nan, 3.0, 5.0], 2) == [math.inf, 4]
    assert smoothed([1.0], 72) == [1.0]


def test_the_plot_marks_each_curve_and_what_leaves_the_frame():
    steps = list(range(WIDTH))
    plot = text_plot({"a": [2.0 for _ in steps], "b": [1.0 if s < 36 else math.inf for s in steps]}, WIDTH)
    rows = [line.partition("┤")[2] for line in plot.splitlines() if "┤" in line]
    assert len(rows) == HEIGHT
    assert rows[0][:36] == "·" * 36
    assert rows[0][36:] == "↑" * 36
    assert rows[round((HEIGHT - 1) / 2)].startswith("×" * 36)
    assert text_plot({"a": [2.0] * 72, "b": [2.0] * 72}, 72).count("◆") == 73  # one in the legend
    assert max(map(len, plot.splitlines())) <= 100


# The quiz


def test_every_answer_comes_up_and_stays_with_its_number():
    answers = [quiz.hidden(seed) for seed in range(1000)]
    assert set(answers) == set(quiz.candidates())
    assert answers[:50] == [quiz.hidden(seed) for seed in range(50)]
    assert quiz.HEALTHY_NAME in answers
    assert {EXHIBITS[name].family for name in set(answers) - {quiz.HEALTHY_NAME}} == set(museum.FAMILIES)


def test_every_hidden_bug_can_be_found_with_the_tools():
    for name in quiz.candidates():
        if name == quiz.HEALTHY_NAME:
            continue
        exhibit = EXHIBITS[name]
        parts = quiz.TOOLS[exhibit.check]
        assert any(exhibit.case in (part, *quiz.PARTS.get(part, ())) for part in parts), name


def test_the_parts_are_layers_of_the_network():
    names = {name for name, _ in NETWORKS["cnn"](rng=0).chain}
    assert set(quiz.PARTS) - names == {"shared", "loss"}
    assert {"shared1", "shared2"} <= names


def test_the_tools_of_the_quiz_find_nothing_in_a_healthy_network(monkeypatch):
    monkeypatch.setattr(quiz, "hidden", lambda seed: quiz.HEALTHY_NAME)
    for check, parts in quiz.TOOLS.items():
        for part in parts:
            findings = quiz.examine(0, check, part)
            assert findings
            assert all(finding.ok is not False for _, finding in findings), (check, part)


def test_a_hidden_bug_shows_where_it_is_and_not_elsewhere(monkeypatch):
    monkeypatch.setattr(quiz, "hidden", lambda seed: "max-pool-overwrites")
    assert [f.ok for _, f in quiz.examine(0, "gradcheck", "maxpool")] == [True, False, True]
    assert all(f.ok for _, f in quiz.examine(0, "gradcheck", "conv1"))


def test_without_torch_parity_and_optimizer_say_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    for check, case in (("parity", "relu"), ("optimizer", "sgd")):
        finding = run_check(check, HEALTHY, case)
        assert finding.ok is None
        assert "pip install torch" in finding.text
