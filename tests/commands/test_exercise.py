"""python -m scratchnet.exercise"""

import json

import pytest

from scratchnet.study.exercises import EXERCISES

NUMBER = next(n for n, exercise in enumerate(EXERCISES, 1) if exercise.module == "col2im")


def test_list(run):
    code, out, _ = run("list")
    assert code == 0
    assert all(exercise.title in out for exercise in EXERCISES)
    assert max(map(len, out.splitlines())) <= 100
    assert [row["number"] for row in json.loads(run("list", "--json")[1])] == list(range(1, len(EXERCISES) + 1))


@pytest.mark.parametrize("number", range(1, len(EXERCISES) + 1))
def test_show(run, number):
    code, out, _ = run("show", number)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for function in EXERCISES[number - 1].functions:
        assert f"{function}(" in out
    assert "return " not in out  # the solution stays hidden


def test_from_start_to_solution(run, tmp_path):
    file = tmp_path / "mine.py"
    assert run("start", NUMBER, file)[0] == 0
    assert "NotImplementedError" in file.read_text()
    code, out, _ = run("check", NUMBER, file)
    assert code == 1
    assert "not written yet" in out

    code, solution, _ = run("solution", NUMBER)
    assert code == 0
    file.write_text(solution)
    code, out, _ = run("check", NUMBER, file)
    assert code == 0
    assert out.splitlines()[-1].startswith("All right")

    file.write_text(solution.replace("+= dcols", "= dcols"))
    code, out, _ = run("check", NUMBER, file)
    assert code == 1
    assert "✗ col2im, windows that overlap, float64: dx is wrong" in out
    assert "✓ col2im, windows that do not overlap, float64" in out
    assert "'col2im-overwrites'" in out
    assert max(map(len, out.splitlines())) <= 100


def test_check_as_json(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(EXERCISES[NUMBER - 1].solution.replace("+= dcols", "= dcols"))
    code, out, _ = run("check", NUMBER, file, "--json")
    assert code == 1
    row = json.loads(out)
    assert row["ok"] is False
    assert row["exhibits"] == ["col2im-overwrites"]


def test_start_keeps_a_file_that_is_there(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("precious")
    code, _, err = run("start", 1, file)
    assert code == 1
    assert "--force" in err
    assert file.read_text() == "precious"
    assert run("start", 1, file, "--force")[0] == 0
    assert "precious" not in file.read_text()


def test_start_says_where_it_cannot_write(run, tmp_path):
    code, _, err = run("start", 1, tmp_path / "no" / "mine.py")
    assert code == 1
    assert "mine.py" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", 99], "99"),
        (["show", 0], "0"),
        (["check", 1, "no_such_file.py"], "no_such_file.py"),
        (["check", 99, "no_such_file.py"], "99"),
        (["solution", "x"], "x"),
        ([], "command"),
    ],
)
def test_wrong_arguments(run, argv, message):
    code, _, err = run(*argv)
    assert code == 2
    assert message in err
