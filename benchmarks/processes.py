"""Start workers, in turns, and collect what they report."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environment import busy_seconds, worker_environment

ROOT = Path(__file__).parent.parent
SLOW = 1.25  # a torch variant this much slower than the best in the first round does not come back
Result = dict[str, Any]


class WorkerError(RuntimeError):
    """A worker failed, or took longer than it may."""


class Job(NamedTuple):
    """One contestant: what the worker is told."""

    framework: str
    variant: str
    subject: tuple[str, ...]  # ("--system", "A"), say
    threads: int

    def __str__(self) -> str:
        return f"{self.framework} {self.variant}, {' '.join(self.subject[1::2])}, threads {self.threads}"


def run_worker(
    job: Job, seconds: float, steps: int | None = None, timeout: float = 300.0, variables: dict[str, str] | None = None
) -> Result:
    """What the worker reports, and to_first_step_s, foreign_cores: how much other processes ran meanwhile."""
    command = [sys.executable, "-m", "benchmarks.worker", "--framework", job.framework, "--variant", job.variant]
    command += [*job.subject, "--threads", str(job.threads), "--seconds", str(seconds)]
    if steps:
        command += ["--steps", str(steps)]
    run = run_process(command, timeout, variables)
    if run.code:
        lines = run.err.strip().splitlines() or [f"exit code {run.code}"]
        raise WorkerError(lines[-1].removeprefix("error: "))
    result: Result = json.loads(run.out.strip().splitlines()[-1])
    return {
        **result,
        "to_first_step_s": result["first_step_at"] - run.started_at,
        "foreign_cores": run.foreign_cores,
    }


class Run(NamedTuple):
    code: int
    out: str
    err: str
    started_at: float
    seconds: float
    foreign_cores: float | None


def run_process(command: Sequence[str], timeout: float, variables: dict[str, str] | None = None) -> Run:
    """A process and its children to the end; all of them are ended after `timeout` seconds."""
    busy, own = busy_seconds(), _children_seconds()
    started_at, begin = time.time(), time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=worker_environment(**(variables or {})),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise WorkerError(f"not finished after {timeout:.0f} s") from None
        raise
    seconds = time.perf_counter() - begin
    after = busy_seconds()
    foreign = None
    if busy is not None and after is not None:
        foreign = max(after - busy - (_children_seconds() - own), 0.0) / seconds
    return Run(process.returncode, out, err, started_at, seconds, foreign)


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def contest(
    jobs: Sequence[Job],
    rounds: int,
    run: Callable[[Job], Result],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[list[Result], list[str]]:
    """Every job in every round, the frameworks in turns → the results, and notes of what was left out.

    Every second round runs in reverse, so that a machine that warms up favours nobody. A job that fails or takes too
    long is left out with a note. Torch variants that cannot win are dropped after the first round.
    """
    results: list[Result] = []
    notes: list[str] = []
    left = list(in_turns(jobs))
    for number in range(rounds):
        for job in left if number % 2 == 0 else left[::-1]:
            try:
                result = run(job)
            except WorkerError as error:
                notes.append(f"{job}: left out: {error}")
                say(notes[-1])
                left = [other for other in left if other != job]
                continue
            results.append({**result, "round": number})
            say(f"{job}: {result['median_ms']:.3f} ms")
        if number == 0:
            left = without_losers(left, results)
    return results, notes


def in_turns(jobs: Iterable[Job]) -> Iterable[Job]:
    """One of torch's, one of ours, one of torch's, …"""
    jobs = list(jobs)
    torch = [job for job in jobs if job.framework == "torch"]
    ours = [job for job in jobs if job.framework != "torch"]
    while torch or ours:
        for queue in (torch, ours):
            if queue:
                yield queue.pop(0)


def without_losers(jobs: Sequence[Job], results: Sequence[Result]) -> list[Job]:
    times = {r["variant"]: r["median_ms"] for r in results if r["framework"] == "torch"}
    if not times:
        return list(jobs)
    limit = SLOW * min(times.values())
    return [job for job in jobs if job.framework != "torch" or times[job.variant] <= limit]
