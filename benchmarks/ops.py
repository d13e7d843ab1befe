"""python -m benchmarks.ops: single layers of the systems beside PyTorch, forward alone, and forward and backward."""

import sys
from dataclasses import asdict

from benchmarks import report, tables
from benchmarks.layers import LAYERS, PASSES
from benchmarks.processes import Job, Result, contest, run_worker
from benchmarks.systems import OURS


def jobs_of(layer: str, passes: str, threads: int) -> list[Job]:
    subject = "--layer", layer, "--passes", passes
    images = LAYERS[layer][0] not in ("linear", "dropout", "cross_entropy")
    return [
        *(Job("torch", variant, subject, threads) for variant in ("eager", "channels_last")[: 1 + images]),
        *(Job("scratchnet", variant, subject, threads) for variant in OURS),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = report.parser_for("ops", __doc__, rounds=3, seconds=0.5)
    parser.add_argument("--layers", help=f"comma-separated, out of {', '.join(LAYERS)} (default: all)")
    options = parser.parse_args(argv)
    names = report.chosen(options.layers, list(LAYERS), "layers")
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    notes = report.refuse_if_busy(options.force)

    results: list[Result] = []
    for name in names:
        for passes in PASSES:
            for threads in options.threads:
                more, left_out = contest(
                    jobs_of(name, passes, threads),
                    options.rounds,
                    lambda job: run_worker(job, options.seconds),
                    report.say,
                )
                results, notes = results + more, notes + left_out

    rows = tables.rows_of(results)
    disturbed = tables.disturbed(results)
    what = {row.subject: row.subject.replace(":both", ", forward and backward").replace(":", ", ") for row in rows}
    text = "\n".join(
        [
            f"# Single layers beside PyTorch: medians of {options.rounds} processes each, in turns",
            "",
            tables.time_table([_renamed(row, what) for row in rows], {}),
            "",
            *(f"- {note}" for note in [*([disturbed] if disturbed else []), *notes, *tables.fallback_notes(rows)]),
        ]
    )
    data = {"rows": [{**asdict(row), "ratio": row.ratio} for row in rows], "notes": notes, "disturbed": disturbed}
    report.write("ops", options.out, text, {**data, "results": results})
    return int(len(rows) < len(names) * len(PASSES) * len(options.threads))


def _renamed(row: tables.Row, names: dict[str, str]) -> tables.Row:
    return tables.Row(**{**row.__dict__, "subject": names[row.subject]})


if __name__ == "__main__":
    sys.exit(main())
