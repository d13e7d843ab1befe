"""Workers in processes of their own, whose turn it is, and what must not be measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import environment, hot_loop, report
from benchmarks.processes import Job, WorkerError, contest, in_turns, run_process, run_worker, without_losers
from benchmarks.systems import SYSTEMS, torch_variants
from benchmarks.worker import check_alone, check_threads

ROOT = Path(__file__).parents[2]
WORKER = ["--framework", "scratchnet", "--variant", "im2col", "--system", "D20", "--steps", "5", "--seconds", "0.01"]


def job(framework, variant):
    return Job(framework, variant, ("--system", "D20"), 1)


def worker(code, *arguments):
    """A worker in a new process, after some code that spoils it."""
    code += f"\nimport sys; from benchmarks import worker; sys.exit(worker.main({[*WORKER, *arguments]!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_a_worker_reports_what_it_measured():
    result = run_worker(job("scratchnet", "im2col"), seconds=0.01, steps=7)
    assert (result["framework"], result["variant"], result["subject"]) == ("scratchnet", "im2col", "D20")
    assert result["steps"] == 7
    assert 0 < result["q1_ms"] <= result["median_ms"] <= result["q3_ms"]
    assert 0 < result["first_step_s"] < result["to_first_step_s"] < 60
    assert 0 < result["resting_mb"] <= result["peak_mb"]
    assert set(result["threads_in_effect"].values()) == {1}
    assert result["fallbacks"] == []
    assert 0.5 < result["value"] < 3  # the loss of ten classes, soon after the start


def test_a_worker_times_torch_alone():
    pytest.importorskip("torch")
    result = run_worker(job("torch", "eager+fused"), seconds=0.01, steps=5)
    assert result["threads_in_effect"]["torch"] == 1
    assert 0.5 < result["value"] < 3


def test_two_frameworks_in_one_process_are_an_error():
    run = worker("import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
                 "sys.modules['torch'].get_num_threads = lambda: 1")  # fmt: skip
    assert run.returncode == 1
    assert "scratchnet: expected to be alone in its process, torch is loaded too" in run.stderr
    assert run.stdout == ""
    check_alone("torch", ["torch", "scratchnet", "numpy"])
    with pytest.raises(RuntimeError, match="numba is loaded too"):
        check_alone("torch", ["torch", "numba"])


def test_a_wrong_number_of_threads_is_an_error():
    ignored = "import os; from benchmarks import worker; worker.limit_threads = lambda n: None\n"
    ignored += "os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')"
    run = worker(ignored, "--threads", "2")
    assert run.returncode == 1
    assert "threads: expected 2 everywhere, got" in run.stderr
    late = worker("import numpy")
    assert late.returncode == 1
    assert "numpy is loaded already" in late.stderr


def test_threads_that_nobody_owns_up_to_show_in_the_processor_time():
    check_threads({"torch": 1}, 1.0, 1)
    check_threads({"torch": 2, "numba": 2}, 1.2, 2)
    with pytest.raises(RuntimeError, match=r"at most 1 at work, 1\.90 cores were"):
        check_threads({"torch": 1}, 1.9, 1)
    with pytest.raises(RuntimeError, match=r"expected 1 everywhere, got \{'numba': 2\}"):
        check_threads({"torch": 1, "numba": 2}, 1.0, 1)


def test_a_worker_that_fails_or_hangs_says_so():
    with pytest.raises(WorkerError, match=r"variant of D20: expected eager.*got 'channels_last'"):
        run_worker(job("torch", "channels_last"), seconds=0.01)
    with pytest.raises(WorkerError, match="not finished after 1 s"):
        run_process([sys.executable, "-c", "import time; time.sleep(60)"], timeout=1)


def test_frameworks_take_turns():
    jobs = [job("torch", v) for v in "abc"] + [job("scratchnet", v) for v in "xy"]
    assert [j.variant for j in in_turns(jobs)] == ["a", "x", "b", "y", "c"]


def test_a_contest():
    times = {"a": 3.0, "b": 9.0, "c": 3.1, "x": 5.0}
    order = []

    def run(j):
        order.append(j.variant)
        if j.variant == "broken":
            raise WorkerError("no compiler")
        return {"framework": j.framework, "variant": j.variant, "median_ms": times[j.variant]}

    jobs = [job("torch", v) for v in ("a", "b", "broken", "c")] + [job("scratchnet", "x")]
    results, notes = contest(jobs, 3, run)
    assert order == ["a", "x", "b", "broken", "c", "c", "x", "a", "a", "x", "c"]
    assert [r["round"] for r in results] == [0] * 4 + [1] * 3 + [2] * 3
    assert notes == ["torch broken, D20, threads 1: left out: no compiler"]


def test_only_torch_variants_that_cannot_win_are_dropped():
    results = [
        {"framework": framework, "variant": variant, "median_ms": ms}
        for framework, variant, ms in (("torch", "a", 4.0), ("torch", "b", 5.0), ("torch", "c", 5.1), ("ours", "x", 90))
    ]
    jobs = [job("torch", v) for v in "abc"] + [job("ours", "x")]
    assert [j.variant for j in without_losers(jobs, results)] == ["a", "b", "x"]


def test_torch_comes_in_all_its_variants():
    layouts = ("eager", "channels_last", "compile")
    assert torch_variants(SYSTEMS["A"]) == tuple(x + y for x in layouts for y in ("", "+fused"))
    assert torch_variants(SYSTEMS["C-eval"]) == layouts
    assert "channels_last" not in torch_variants(SYSTEMS["D20"])


def test_a_busy_machine_is_noticed():
    assert environment.verdict(load=0.5, busy=0.1) is None
    assert "load average 1.50" in environment.verdict(load=1.5, busy=0.0)
    assert "0.90 cores busy" in environment.verdict(load=0.0, busy=0.9)


def test_a_busy_machine_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(environment, "disturbance", lambda: "something else is running")
    monkeypatch.setattr(hot_loop, "contest", lambda *_: pytest.fail("it measured all the same"))
    with pytest.raises(SystemExit, match="error: something else is running"):
        hot_loop.main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
    (note,) = report.refuse_if_busy(force=True)
    assert "not to be trusted" in note
    assert "WARNING: something else is running" in capsys.readouterr().err
    monkeypatch.setattr(environment, "disturbance", lambda: None)
    assert report.refuse_if_busy(force=False) == []


def test_a_busy_process_is_seen():
    before = environment.busy_seconds()
    if before is None:
        pytest.skip("this system does not say how busy it is")
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert environment.busy_seconds() - before > 0.4


def test_workers_run_without_what_slows_a_library_down(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("SCRATCHNET_RUNG", "loops")
    names = environment.worker_environment(NUMBA_CACHE_DIR="x")
    assert names["NUMBA_CACHE_DIR"] == "x"
    assert not {"OPENBLAS_CORETYPE", "SCRATCHNET_RUNG"} & set(names)
    assert environment.describe()["unset"] == "OPENBLAS_CORETYPE, SCRATCHNET_RUNG"


def test_the_driver_writes_what_it_measured(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(environment, "disturbance", lambda: None)

    def run_worker(job, seconds, timeout):
        return {
            "framework": job.framework, "variant": job.variant, "subject": job.subject[1], "threads": job.threads,
            "median_ms": {"torch": 6.0, "scratchnet": 2.0}[job.framework], "fallbacks": [], "foreign_cores": 0.0,
        }  # fmt: skip

    monkeypatch.setattr(hot_loop, "run_worker", run_worker)
    assert hot_loop.main(["--threads", "2", "--out", str(tmp_path), "--rounds", "2"]) == 0
    page = capsys.readouterr().out
    assert "Geometric mean on 2 threads over A, B, C4, C64, D20, D128, E: 3.00 times as fast" in page
    assert (tmp_path / "hot_loop.md").read_text(encoding="utf-8") == page.removesuffix("\n")
    data = json.loads((tmp_path / "hot_loop.json").read_text())
    assert data["geometric_mean"] == {"2": pytest.approx(3.0)}
    assert {row["subject"] for row in data["rows"]} == set(SYSTEMS)
    assert {"date", "cpu", "versions"} <= set(data["environment"])
    assert (tmp_path / "hot_loop.png").exists()


def test_a_wrong_name_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="systems: expected some of A, B"):
        hot_loop.main(["--systems", "A,Z", "--out", str(tmp_path)])
