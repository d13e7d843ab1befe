"""Precision, recall, F1 and the confusion matrix, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from scratchnet.training.classification_report import ClassificationReport

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def random_report(classes=DIGITS, count=500, seed=0):
    rng = np.random.default_rng(seed)
    labels, guesses = rng.integers(0, len(classes), (2, count))
    predictions = np.where(rng.random(count) < 0.7, labels, guesses)
    return labels, predictions, ClassificationReport.of(labels, predictions, classes)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_scikit_learns(seed):
    labels, predictions, report = random_report(seed=seed)
    assert (report.confusion == metrics.confusion_matrix(labels, predictions)).all()
    precision, recall, f1, total = metrics.precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(report.precision, precision, rtol=1e-14)
    np.testing.assert_allclose(report.recall, recall, rtol=1e-14)
    np.testing.assert_allclose(report.f1, f1, rtol=1e-14)
    assert (report.total == total).all()
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions), rel=1e-14)


def test_shares_of_nothing_are_nan_and_shown_as_a_dash():
    report = ClassificationReport.of(np.array([0, 0, 2]), np.array([0, 1, 1]), ("a", "b", "c", "d"))
    np.testing.assert_array_equal(report.precision, [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(report.recall, [0.5, np.nan, 0, np.nan])
    np.testing.assert_array_equal(report.f1, [2 / 3, 0, 0, np.nan])
    assert report.table().splitlines() == [
        "class  precision    recall        f1  correct",
        "a        100.00%    50.00%    66.67%      1/2",
        "b          0.00%         –     0.00%      0/0",
        "c              –     0.00%     0.00%      0/1",
        "d              –         –         –      0/0",
    ]
    nothing = ClassificationReport.of(np.zeros(0, int), np.zeros(0, int), ("a", "b"))
    assert np.isnan(nothing.accuracy)


def test_the_matrix_has_names_and_dots():
    report = ClassificationReport.of(np.array([0, 0, 1]), np.array([0, 1, 1]), ("cat", "dog"))
    assert report.matrix() == "     cat  dog\ncat    1    1\ndog    ·    1"


@pytest.mark.parametrize("classes", [DIGITS, CIFAR10, tuple(f"a class with a long name {i}" for i in range(10))])
def test_ten_classes_fit_100_columns(classes):
    *_, report = random_report(classes, 20_000)
    lines = report.matrix().splitlines()
    assert len(lines) == 11
    assert len({*map(len, lines)}) == 1
    assert len(lines[0]) <= 100
    assert max(map(len, report.table().splitlines())) <= 100
    row = lines[4].split()
    assert [int(cell) for cell in row[-10:]] == report.confusion[3].tolist()


def test_numbers_stand_for_names_where_names_do_not_fit():
    _, _, report = random_report(CIFAR10)
    head, first, *_ = report.matrix().splitlines()
    assert head.split() == [*map(str, range(10))]
    assert first.startswith("0 airplane ")


def test_a_matrix_that_does_not_fit_is_none():
    _, _, report = random_report(tuple(f"class {i}" for i in range(60)))
    assert report.matrix() is None


def test_the_most_frequent_confusions_come_first():
    labels = np.repeat([0, 1, 2], [5, 5, 5])
    predictions = np.array([0, 1, 1, 1, 2] + [1] * 5 + [0, 0, 2, 2, 2])
    report = ClassificationReport.of(labels, predictions, ("a", "b", "c"))
    assert list(report.confused()) == [("a", "b", 3), ("c", "a", 2), ("a", "c", 1)]
