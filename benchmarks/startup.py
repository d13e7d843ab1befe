"""python -m benchmarks.startup: how long a user waits before the first training step, and for a whole training.

"cold" is with an empty cache of compiled code, as after an installation; "warm" with the cache that the cold run left.
The clock starts with the process, and stops when the first training step is done.
"""

import statistics
import sys
import tempfile
from typing import Any

from benchmarks import report, tables
from benchmarks.processes import Job, Result, WorkerError, run_process, run_worker
from benchmarks.systems import SYSTEMS

CACHE = {"numba": "NUMBA_CACHE_DIR", "compile+fused": "TORCHINDUCTOR_CACHE_DIR"}  # variants that compile
SUBJECTS = ("A", "C4")
COMMANDS = {"scratchnet": "scratchnet.train", "torch": "torch_ref.train"}


def first_steps(job: Job, timeout: float) -> list[Result]:
    """One worker; where it compiles, one with an empty cache and one after it."""
    if job.variant not in CACHE:
        return [{**run_worker(job, 0.1, timeout=timeout), "cache": "none"}]
    with tempfile.TemporaryDirectory() as folder:
        variables = {CACHE[job.variant]: folder}
        return [
            {**run_worker(job, 0.1, timeout=timeout, variables=variables), "cache": state} for state in ("cold", "warm")
        ]


def first_step_table(results: list[Result]) -> str:
    groups: dict[tuple[str, str, int, str], list[float]] = {}
    for r in results:
        key = r["subject"], f"{r['framework']} {r['variant']}", r["threads"], r["cache"]
        groups.setdefault(key, []).append(r["to_first_step_s"])
    rows = [
        [s, name, str(threads), cache, f"{statistics.median(v):.2f}"] for (s, name, threads, cache), v in groups.items()
    ]
    return tables.markdown(["", "", "threads", "cache", "seconds to the first step"], rows)


def whole_training(framework: str, threads: int, limit_batches: int | None, timeout: float) -> dict[str, Any]:
    """`train mnist` as a user types it."""
    command = [sys.executable, "-m", COMMANDS[framework], "mnist", "--threads", str(threads)]
    if limit_batches:
        command += ["--limit-batches", str(limit_batches)]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    with tempfile.TemporaryDirectory() as folder:
        if framework == "scratchnet":
            command += ["--out", folder]
        # A process of its own starts it, so that the peak is that of this one child.
        run = run_process([sys.executable, "-m", "benchmarks.child", *command], timeout, counts)
    if run.code:
        raise WorkerError(f"{' '.join(command[1:])}: {(run.err.strip().splitlines() or ['no message'])[-1]}")
    seconds, peak_mb = map(float, run.out.split())
    return {"framework": framework, "threads": threads, "seconds": seconds, "peak_mb": peak_mb,
            "foreign_cores": run.foreign_cores}  # fmt: skip


def training_table(trainings: list[dict[str, Any]]) -> str:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for training in trainings:
        groups.setdefault((training["framework"], training["threads"]), []).append(training)
    rows = [
        [f"python -m {COMMANDS[framework]} mnist", str(threads)]
        + [f"{statistics.median(t[key] for t in group):.{digits}f}" for key, digits in (("seconds", 1), ("peak_mb", 0))]
        for (framework, threads), group in groups.items()
    ]
    return tables.markdown(["", "threads", "seconds", "peak MB"], rows)


def main(argv: list[str] | None = None) -> int:
    parser = report.parser_for("startup", __doc__, rounds=3, seconds=0.1)
    parser.add_argument("--limit-batches", type=int, help="of the whole training (default: all of the epoch)")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.limit_batches = 1, options.limit_batches or 20
    notes = report.refuse_if_busy(options.force)

    variants = [("torch", "eager"), ("scratchnet", "numba"), ("scratchnet", "im2col")]
    if not options.quick:
        variants.insert(0, ("torch", "compile+fused"))
    results: list[Result] = []
    trainings: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for threads in options.threads:
            for name in SUBJECTS:
                for framework, variant in variants if number % 2 == 0 else variants[::-1]:
                    job = Job(framework, variant, ("--system", SYSTEMS[name].name), threads)
                    report.say(str(job))
                    try:
                        results += first_steps(job, timeout=300.0)
                    except WorkerError as error:
                        notes.append(f"{job}: left out: {error}")
            for framework in COMMANDS:
                report.say(f"{COMMANDS[framework]} mnist, threads {threads}")
                try:
                    trainings.append(whole_training(framework, threads, options.limit_batches, timeout=900.0))
                except WorkerError as error:
                    notes.append(f"left out: {error}")

    disturbed = tables.disturbed([*results, *trainings])
    cut = f", {options.limit_batches} batches" if options.limit_batches else ""
    text = "\n".join(
        [
            f"# From the start of the process to the first training step: medians of {options.rounds}",
            "",
            first_step_table(results),
            "",
            f"# The whole command: one epoch{cut} and its evaluations",
            "",
            training_table(trainings),
            "",
            *(f"- {note}" for note in [*([disturbed] if disturbed else []), *dict.fromkeys(notes)]),
        ]
    )
    data = {"first_steps": results, "trainings": trainings, "notes": notes, "disturbed": disturbed}
    report.write("startup", options.out, text, data)
    return int(any("scratchnet" in note for note in notes))


if __name__ == "__main__":
    sys.exit(main())
