"""python -m benchmarks.hot_loop: a whole training step of each system, and evaluation, beside the best of PyTorch.

A training step is zero_grad, forward, loss, backward, optimizer step, and the loss read as a number; its batch is an
array already. PyTorch runs eager, in channels_last and compiled, each with its fused optimizer and without; the
fastest counts.
"""

import sys
from dataclasses import asdict

from benchmarks import charts, report, tables
from benchmarks.processes import Job, Result, contest, run_worker
from benchmarks.systems import OURS, SYSTEMS, System, torch_variants


def jobs_of(system: System, threads: int, compiled: bool) -> list[Job]:
    subject = "--system", system.name
    torch = [v for v in torch_variants(system) if compiled or not v.startswith("compile")]
    return [
        *(Job("torch", variant, subject, threads) for variant in torch),
        *(Job("scratchnet", variant, subject, threads) for variant in OURS),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = report.parser_for("hot_loop", __doc__, rounds=3, seconds=2.0)
    parser.add_argument("--systems", help=f"comma-separated, out of {', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--compile-timeout", type=float, default=240.0, help="seconds for one compiled worker")
    options = parser.parse_args(argv)
    names = report.chosen(options.systems, list(SYSTEMS), "systems")
    if options.quick:
        options.rounds, options.seconds, options.no_compile = 1, 0.3, True
    notes = report.refuse_if_busy(options.force)

    def run(job: Job) -> Result:
        timeout = options.compile_timeout if job.variant.startswith("compile") else 300.0
        return run_worker(job, options.seconds, timeout=timeout + options.seconds)

    results: list[Result] = []
    for name in names:
        for threads in options.threads:
            jobs = jobs_of(SYSTEMS[name], threads, compiled=not options.no_compile)
            more, left_out = contest(jobs, options.rounds, run, report.say)
            results, notes = results + more, notes + left_out
    if options.no_compile:
        notes.append("torch.compile was not tried")

    rows = tables.rows_of(results)
    if not rows:
        sys.exit("error: none of ours ran: " + "; ".join(notes))
    means = {threads: tables.mean_ratio(rows, threads) for threads in options.threads}
    disturbed = tables.disturbed(results)
    text = "\n".join(
        [
            f"# A training step beside PyTorch: medians of {options.rounds} processes each, in turns",
            "",
            tables.time_table(rows, {name: system.what for name, system in SYSTEMS.items()}),
            "",
            *(_mean_line(threads, mean) for threads, mean in means.items()),
            *(f"- {note}" for note in [*([disturbed] if disturbed else []), *notes, *tables.fallback_notes(rows)]),
        ]
    )
    data = {"rows": [{**asdict(row), "ratio": row.ratio} for row in rows], "geometric_mean": means, "notes": notes}
    report.write("hot_loop", options.out, text, {**data, "disturbed": disturbed, "results": results})
    charts.ratio_chart(rows, options.out / "hot_loop.png", "a training step (evaluation: forward)")
    return int(len(rows) < len(names) * len(options.threads))


def _mean_line(threads: int, mean: float | None) -> str:
    where = f"on {threads} thread{'s' if threads > 1 else ''}"
    if mean is None:
        return f"- Geometric mean {where}: needs all of {', '.join(tables.GEOMETRIC_MEAN)}"
    return f"- Geometric mean {where} over {', '.join(tables.GEOMETRIC_MEAN)}: {mean:.2f} times as fast"


if __name__ == "__main__":
    sys.exit(main())
