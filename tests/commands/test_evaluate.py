"""python -m scratchnet.evaluate, as a user types it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_runs import folder_of_shades, mnist_cnn, train

import scratchnet.__main__
import scratchnet.evaluate
from scratchnet import datasets, nn
from scratchnet._trained import softmax
from scratchnet.training.restore import restore
from scratchnet.training.run import read_metrics


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return mnist_cnn(tmp_path_factory.mktemp("runs") / "mnist")


@pytest.fixture(scope="module")
def expected(run):
    """(loss, probabilities) of the whole test set, from the plain model, layer by layer."""
    restored = restore(run)
    test = datasets.load("mnist", "test")
    x = restored.transform(test.images).astype(np.float64)
    model = restored.model.double()
    logits = np.concatenate([model(x[i : i + 500]) for i in range(0, len(x), 500)])
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    return float(-np.log(probabilities[np.arange(len(x)), test.labels]).mean()), probabilities


def output(capsys, *argv) -> str:
    capsys.readouterr()
    assert scratchnet.evaluate.main([*map(str, argv)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_run_that_measures_with_mirror_images_is_evaluated_so(capsys, tmp_path):
    run = train(tmp_path / "both", "mnist", "--model", "mlp", "--epochs", "1", "--limit-batches", "50", "--mirror")
    noted = [row for row in read_metrics(run / "metrics.csv") if row["event"] == "epoch"][-1]
    found = json.loads(output(capsys, run, "--json"))
    assert found["accuracy"] == pytest.approx(float(noted["test_accuracy"]))
    assert found["loss"] == pytest.approx(float(noted["test_loss"]), rel=1e-5)
    restored = restore(run)
    test = datasets.load("mnist", "test")
    alone = restored.model(restored.transform(test.images)).argmax(1)
    assert found["accuracy"] != np.mean(alone == test.labels)


def test_json_has_what_the_model_gives(capsys, run, expected):
    found = json.loads(output(capsys, run, "--json"))
    loss, probabilities = expected
    labels, predictions = datasets.load("mnist", "test").labels, probabilities.argmax(1)
    assert found["checkpoint"] == str(run / "best.safetensors")
    assert (found["dataset"], found["model"], found["split"], found["images"]) == ("mnist", "cnn", "test", 10_000)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == np.mean(predictions == labels)
    confusion = np.array(found["confusion"])
    assert confusion[4, 9] == np.sum((labels == 4) & (predictions == 9))
    assert [entry["name"] for entry in found["classes"]] == list("0123456789")
    assert [entry["total"] for entry in found["classes"]] == np.bincount(labels).tolist()
    assert found["classes"][3]["recall"] == np.mean(predictions[labels == 3] == 3)
    assert found["classes"][3]["precision"] == np.mean(labels[predictions == 3] == 3)


def test_mistakes_are_those_that_were_made_with_the_highest_probability(capsys, run, expected):
    found = json.loads(output(capsys, run, "--json", "--mistakes", "20"))["mistakes"]
    labels, (_, probabilities) = datasets.load("mnist", "test").labels, expected
    true = probabilities[np.arange(10_000), labels]
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1))][:20]
    assert [mistake["index"] for mistake in found] == worst.tolist()
    for mistake, i in zip(found, worst, strict=True):
        assert (mistake["true"], mistake["predicted"]) == (str(labels[i]), str(probabilities[i].argmax()))
        assert mistake["probability"] == pytest.approx(probabilities[i].max(), rel=1e-4)
        assert mistake["true_probability"] == pytest.approx(true[i], rel=1e-3)


def test_loss_and_accuracy_are_those_that_the_run_noted(capsys, run):
    row = [row for row in read_metrics(run / "metrics.csv") if row["event"] == "epoch"][-1]
    found = json.loads(output(capsys, run / "last.safetensors", "--json", "--threads", "1"))
    assert found["accuracy"] == float(row["test_accuracy"])
    assert found["loss"] == pytest.approx(float(row["test_loss"]), rel=1e-5)


def test_the_text_fits_100_columns_and_says_the_same(capsys, run):
    text, found = output(capsys, run), json.loads(output(capsys, run, "--json"))
    correct = sum(entry["correct"] for entry in found["classes"])
    assert f"mnist cnn on 10,000 test images\n\nloss {found['loss']:.4f}  accuracy {correct / 1e4:.2%}" in text
    assert f"({correct:,} of 10,000)" in text
    rows = re.findall(r"^(\d) +\d+\.\d\d% +(\d+\.\d\d)% +\d+\.\d\d% +(\d+)/(\d+)$", text, re.M)
    assert [int(row[2]) for row in rows] == [entry["correct"] for entry in found["classes"]]
    matrix = re.search(r"taken for\n.*\n((?:\d .*\n){10})", text)[1].replace("·", "0")
    assert [[int(cell) for cell in line.split()[1:]] for line in matrix.splitlines()] == found["confusion"]
    worst = re.findall(r"^ +(\d+)  (\d) +[\d.]+%  (\d) +[\d.]+%$", text, re.M)
    assert [(int(i), a, b) for i, a, b in worst] == [(m["index"], m["true"], m["predicted"]) for m in found["mistakes"]]
    assert len(worst) == 10
    assert max(len(line) for line in text.splitlines() if "safetensors" not in line) <= 100


def test_split_limit_and_batch_size(capsys, run):
    train_set = json.loads(output(capsys, run, "--split", "train", "--limit", "700", "--json"))
    assert (train_set["split"], train_set["images"]) == ("train", 700)
    labels = datasets.load("mnist", "train").labels[:700]
    assert [entry["total"] for entry in train_set["classes"]] == np.bincount(labels).tolist()
    other = json.loads(output(capsys, run, "--split", "train", "--limit", "700", "--json", "--batch-size", "33"))
    assert other["confusion"] == train_set["confusion"]
    assert other["loss"] == pytest.approx(train_set["loss"], rel=1e-6)
    few = json.loads(output(capsys, run, "--limit", "10", "--json"))
    assert few["classes"][3]["precision"] is None  # JSON has no NaN


def test_a_perfect_network_has_no_mistakes(capsys, tmp_path):
    data = folder_of_shades(tmp_path / "data")
    run = train(tmp_path / "run", data, "--epochs", "6", "--batch-size", "10")
    text = output(capsys, run)
    assert "accuracy 100.00% (15 of 15)" in text
    assert "no mistakes" in text
    assert "worst" not in text
    assert re.search(r"^ +black +grey +white\nblack +5 +· +·\ngrey +· +5 +·\nwhite +· +· +5\n", text, re.M)


def test_the_loss_includes_the_runs_label_smoothing(capsys, tmp_path):
    data = folder_of_shades(tmp_path / "data")
    run = train(tmp_path / "run", data, "--epochs", "3", "--batch-size", "10", "--label-smoothing", "0.2")
    found = json.loads(output(capsys, run, "--json"))
    restored = restore(run)
    test = datasets.load(data, "test", size=(28, 28))
    logits = restored.model(restored.transform(test.images))
    smooth, plain = (nn.CrossEntropyLoss(label_smoothing=s)(logits, test.labels) for s in (0.2, 0.0))
    assert found["loss"] == pytest.approx(float(smooth), rel=1e-5)
    assert abs(smooth - plain) > 0.01
    assert "(label smoothing 0.2)" in output(capsys, run)


def test_probabilities_of_logits_of_any_size():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [0.0, -2000.0]])), [[0.5, 0.5], [1, 0]])


def test_pictures(capsys, run, tmp_path):
    text = output(capsys, run, "--limit", "500", "--plots", tmp_path / "new" / "plots")
    files = [tmp_path / "new" / "plots" / name for name in ("confusion.png", "mistakes.png")]
    assert text.splitlines()[-1] == f"pictures: {files[0]}, {files[1]}"
    for file in files:
        with Image.open(file) as picture:
            assert min(picture.size) > 200
            assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_without_matplotlib_a_message_says_what_to_install(capsys, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert scratchnet.evaluate.main([str(run), "--limit", "50", "--plots", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "accuracy" in captured.out
    assert captured.err.startswith("error: pictures need matplotlib")
    assert "pip install 'scratchnet[plots]'" in captured.err


def failure(capsys, *argv) -> tuple[int, str]:
    try:
        code = scratchnet.__main__.main(["evaluate", *map(str, argv)])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return code, error


def test_wrong_arguments_exit_with_2(capsys, run):
    for argv, message in [
        ((), "required: checkpoint"),
        ((run, "--split", "validation"), "invalid choice: 'validation'"),
        ((run, "--limit", "0"), "--limit: expected a whole number ≥ 1"),
        ((run, "--batch-size", "x"), "--batch-size: expected a whole number ≥ 1, got 'x'"),
        ((run, "--threads", "0"), "--threads"),
        ((run, "--device", "tpu"), "device: expected auto, cpu, gpu or gpu:N, got 'tpu'"),
    ]:
        code, error = failure(capsys, *argv)
        assert code == 2
        assert message in error


def test_a_checkpoint_or_data_that_cannot_be_used_exit_with_1(capsys, run, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray((run / "best.safetensors").read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    for argv, message in [
        ((tmp_path / "nowhere",), "No such file"),
        ((tmp_path,), "expected a run folder"),
        ((damaged,), "changed after it was written"),
        ((run / "config.json",), "expected a whole safetensors file"),
        ((run, "--data-dir", tmp_path), "expected t10k-images-idx3-ubyte"),
    ]:
        code, error = failure(capsys, *argv)
        assert code == 1
        assert message in error


def test_the_head_of_the_output_is_enough(run):
    """A reader that closes the pipe is no error worth a traceback."""
    command = f"{sys.executable} -m scratchnet.evaluate {run} --limit 50 | head -1"
    root = Path(__file__).parents[2]
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout.endswith("mnist cnn on 50 test images\n")
    assert "Traceback" not in done.stderr
