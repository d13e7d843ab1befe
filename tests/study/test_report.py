"""The table that both checks print."""

import subprocess
import sys

import pytest

from scratchnet.study import GradcheckReport, ParityReport, TensorCheck, TensorParity

INF = float("inf")


def gradcheck_report(*results):
    return GradcheckReport("Net", "gradcheck in float64", results, "elements")


def test_the_table_fits_100_columns_and_keeps_the_end_of_long_names():
    long = "stage3.blocks.11.main.conv_with_a_long_name.weight"
    note = "weight: " + "a very long explanation " * 12
    report = gradcheck_report(
        TensorCheck(
            long, (512, 512, 3, 3), 1.23e9, (511, 511, 2, 2), note, -1.23456789e-101, 9.87654321e-102, 9999, 99, 9
        ),
        TensorCheck("x", (1,), 0.5, (0,), "", 1.0, 1.0, 1),
    )
    lines = str(report).split("\n")
    assert max(map(len, lines)) <= 100
    assert any("…" in line and ".weight" in line for line in lines)
    assert sum("explanation" in line for line in lines) > 2
    wide = ParityReport(
        "Net", "parity", [TensorParity(long, (512, 512, 3, 3), 7, (511, 511, 2, 2), "", 1 / 3, 1 / 3 + 1e-16)]
    )
    assert max(map(len, str(wide).split("\n"))) <= 100


def test_check_shows_only_what_failed():
    good = TensorCheck("bias", (3,), 0.4, (0,), "", 1.0, 1.0, 3)
    bad = TensorCheck("weight", (4, 3), 12.0, (1, 2), "weight: every element has the wrong sign", 2.5, -2.5, 12, 12)
    report = gradcheck_report(good, bad)
    with pytest.raises(AssertionError) as caught:
        report.check()
    message = str(caught.value)
    assert "1 of 2 tensors agree" in message
    assert "✗ weight" in message
    assert "(1,2)" in message
    assert "-2.5" in message
    assert "→ weight: every element has the wrong sign" in message
    assert "bias" not in message
    assert "bias" in str(report)


def test_ok_worst_and_access():
    good, bad = TensorCheck("a", (1,), 0.4), TensorCheck("b", (1,), INF, note="b: backward gave no gradient")
    report = gradcheck_report(good, bad)
    assert list(report) == [good, bad]
    assert len(report) == 2
    assert report.worst is bad
    assert report["a"] is good
    assert not report.ok
    assert gradcheck_report(good).ok
    gradcheck_report(good).check()
    with pytest.raises(KeyError, match="no result is called 'c'; there are a, b"):
        report["c"]


def test_nothing_checked_is_no_success():
    report = gradcheck_report()
    assert report.worst is None
    assert not report.ok
    with pytest.raises(AssertionError, match="nothing to check"):
        report.check()


def test_nan_fails():
    assert not TensorCheck("a", (1,), float("nan")).ok


def test_values_that_differ_are_shown_to_differ():
    report = ParityReport("Net", "parity", [TensorParity("y", (1,), 5.0, (0,), "", 1.0, 1 + 1e-9)])
    assert "1.000000001" in str(report)


def test_study_does_not_import_torch():
    code = "import sys, scratchnet.study; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
