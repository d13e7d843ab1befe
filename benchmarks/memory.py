"""python -m benchmarks.memory: the most memory that a process holds while it trains each system.

"at rest" is the most before the first step: the interpreter, the libraries, the network and eight batches. "growth" is
what training adds: activations, caches, gradients, optimizer state, and code that is compiled.
"""

import statistics
import sys

from benchmarks import report, tables
from benchmarks.processes import Job, Result, contest, run_worker
from benchmarks.systems import OURS, SYSTEMS, System

STEPS = 20


def jobs_of(system: System, threads: int) -> list[Job]:
    fused = "+fused" if system.training else ""
    torch = ("eager", f"channels_last{fused}") if system.convolutions else ("eager",)
    subject = "--system", system.name
    return [
        *(Job("torch", variant, subject, threads) for variant in torch),
        *(Job("scratchnet", variant, subject, threads) for variant in OURS),
    ]


def table(results: list[Result]) -> str:
    """A line for each worker's kind: medians over the rounds."""
    groups: dict[tuple[str, int, str], list[Result]] = {}
    for r in results:
        groups.setdefault((r["subject"], r["threads"], f"{r['framework']} {r['variant']}"), []).append(r)
    rows = []
    for (subject, threads, name), group in groups.items():
        resting, peak = (statistics.median(r[key] for r in group) for key in ("resting_mb", "peak_mb"))
        rows.append([subject, str(threads), name, f"{resting:.0f}", f"{peak:.0f}", f"{peak - resting:.0f}"])
    return tables.markdown(["", "threads", "", "at rest MB", "peak MB", "growth MB"], rows)


def main(argv: list[str] | None = None) -> int:
    parser = report.parser_for("memory", __doc__, rounds=1, seconds=0.1)
    parser.set_defaults(threads=[1])
    parser.add_argument("--systems", help=f"comma-separated, out of {', '.join(SYSTEMS)} (default: all)")
    options = parser.parse_args(argv)
    names = report.chosen(options.systems, list(SYSTEMS), "systems")

    results: list[Result] = []
    notes: list[str] = []
    for name in names:
        for threads in options.threads:
            more, left_out = contest(
                jobs_of(SYSTEMS[name], threads),
                options.rounds,
                lambda job: run_worker(job, options.seconds, steps=3 if options.quick else STEPS),
                report.say,
            )
            results, notes = results + more, notes + left_out

    text = "\n".join(["# Peak memory of training", "", table(results), "", *(f"- {note}" for note in notes)])
    report.write("memory", options.out, text, {"notes": notes, "results": results})
    return int(any(note.startswith("scratchnet") for note in notes))


if __name__ == "__main__":
    sys.exit(main())
