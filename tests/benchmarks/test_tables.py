"""Ratios, means and tables of the benchmarks, from figures that are given."""

import pytest

from benchmarks import tables


def result(framework, variant, ms, subject="A", number=0, **more):
    return {
        "framework": framework, "variant": variant, "median_ms": ms, "subject": subject, "threads": 1,
        "round": number, "fallbacks": [], "foreign_cores": 0.0, **more,
    }  # fmt: skip


RESULTS = [
    result("torch", "eager", 12.0),
    result("torch", "compile", 30.0),
    result("scratchnet", "numba", 4.0),
    result("scratchnet", "im2col", 40.0),
    result("torch", "eager", 8.0, number=1),
    result("scratchnet", "numba", 5.0, number=1),
    result("torch", "eager", 9.0, number=2),
    result("scratchnet", "numba", 3.0, number=2),
]


def test_the_ratio_is_of_medians_to_the_best_of_torch():
    (row,) = tables.rows_of(RESULTS)
    assert (row.torch_variant, row.torch_ms, row.ours_ms, row.im2col_ms) == ("eager", 9.0, 4.0, 40.0)
    assert row.ratio == 2.25
    assert (row.lowest_ratio, row.highest_ratio) == (8 / 5, 3.0)


def test_threads_and_subjects_have_rows_of_their_own():
    more = [result("scratchnet", "numba", 1.0, subject="B"), result("scratchnet", "numba", 2.0, threads=2)]
    rows = tables.rows_of([*RESULTS, *more])
    assert [(row.subject, row.threads, row.ours_ms) for row in rows] == [("A", 1, 4.0), ("B", 1, 1.0), ("A", 2, 2.0)]
    assert [row.ratio for row in rows[1:]] == [None, None]


def test_what_ours_did_not_finish_has_no_row():
    assert tables.rows_of([result("torch", "eager", 1.0), result("scratchnet", "im2col", 1.0)]) == []


def test_geometric_mean():
    assert tables.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert tables.geometric_mean([2.0, 0.5, 8.0]) == pytest.approx(2.0)
    for bad in ([], [1.0, 0.0]):
        with pytest.raises(ValueError, match="expected positive numbers"):
            tables.geometric_mean(bad)


def test_the_mean_is_over_exactly_the_seven_rows():
    def rows(subjects):
        return tables.rows_of([
            r for s in subjects for r in (result("torch", "eager", 6.0, s), result("scratchnet", "numba", 2.0, s))
        ])  # fmt: skip

    seven = ["A", "B", "C4", "C64", "D20", "D128", "E"]
    outsider = tables.rows_of(
        [result("torch", "eager", 900.0, "ResNet20"), result("scratchnet", "numba", 1.0, "ResNet20")]
    )
    assert tables.mean_ratio([*rows(seven), *outsider], 1) == pytest.approx(3.0)
    assert tables.mean_ratio(rows(seven), 2) is None
    assert tables.mean_ratio(rows(seven[:-1]), 1) is None


def test_the_table_reads_by_itself():
    fallback = [{**r, "fallbacks": ["relu"]} for r in RESULTS]
    lines = tables.time_table(tables.rows_of(fallback), {"A": "mnist cnn"}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "A: mnist cnn", "1", "9", "eager", "4*", "2.25", "1.60–3.00", "40",
    ]  # fmt: skip
    assert tables.fallback_notes(tables.rows_of(fallback)) == ["\\* A: relu ran im2col's code"]


def test_work_beside_a_worker_is_told():
    assert tables.disturbed(RESULTS) is None
    assert tables.disturbed([{**RESULTS[0], "foreign_cores": None}]) is None
    text = tables.disturbed([*RESULTS, result("torch", "eager", 1.0, foreign_cores=0.7)])
    assert text.startswith("DISTURBED: other processes ran beside 1 of 9 workers (up to 0.70 cores)")


def test_the_chart_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.charts import ratio_chart

    more = [result("scratchnet", "numba", 2.0, threads=2), result("torch", "eager", 3.0, threads=2)]
    ratio_chart(tables.rows_of([*RESULTS, *more]), tmp_path / "chart.png", "caption")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
