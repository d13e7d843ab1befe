"""python -m scratchnet.train and python -m torch_ref.train, as a user types them."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import different, loader, outcome, trainer

import scratchnet.__main__
import scratchnet.recipes
import scratchnet.train
import torch_ref.train
from scratchnet import datasets, models
from scratchnet.training import load_checkpoint
from scratchnet.training.report import Reporter
from scratchnet.training.setup import seed_streams


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """A run writes runs/ where it is started."""
    monkeypatch.chdir(tmp_path)


SHORT = ["mnist", "--limit-batches", "12", "--eval-every", "6", "--eval-limit", "100"]


@pytest.fixture
def few(tmp_path):
    """The option that takes the first 600 training and 200 test images of MNIST alone."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, prefix, count in (("train", "train", 600), ("test", "t10k", 200)):
        part = datasets.load("mnist", split).subset(count)
        header = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + part.images.tobytes())
        labels = part.labels.astype("uint8").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)
    return ["--data-dir", str(tmp_path)]


def output(capsys, argv, main=scratchnet.train.main) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_reports_progress_classes_predictions_and_result(capsys):
    text = output(capsys, SHORT)
    assert "MnistCNN with 28,938 parameters on cpu; 60,000 training and 10,000 test images" in text
    assert re.search(r"epoch 1  step +6/12  train loss \d\.\d{4}  test accuracy 0\.\d{4} \(first 100 images\)", text)
    rows = re.findall(r"^  (\d) +(\d+\.\d\d)%  (\d+)/(\d+)$", text, re.M)
    assert [row[0] for row in rows] == list("0123456789")
    assert sum(int(row[3]) for row in rows) == 10_000
    correct = sum(int(row[2]) for row in rows)
    assert re.search(rf"test loss \d\.\d+  test accuracy {correct / 10_000:.2%} \({correct:,} of 10,000\)", text)
    assert "  label      7 2 1 0 4 1 4 9 5 9" in text
    assert len(re.search(r"  predicted  (.*)", text)[1].split()) == 10


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d s$|^run folder .*", "", text, flags=re.M)


def test_the_same_seed_gives_the_same_run_bit_for_bit(capsys, few):
    first, second = (without_times(output(capsys, SHORT + few)) for _ in range(2))
    assert first == second
    assert without_times(output(capsys, [*SHORT, *few, "--seed", "1"])) != first


@pytest.mark.parametrize("model", ["dropout", "mlp", "lenet5"])
def test_every_mnist_model_trains(capsys, few, model):
    text = output(capsys, ["mnist", "--model", model, "--epochs", "2", "--limit-batches", "3", *few])
    assert re.search(r"epoch +2/2  train loss", text)
    assert ("train accuracy" in text) == (model == "dropout")  # its recipe reports both splits


def test_options_replace_the_recipe(capsys, few):
    options = ["--optimizer", "sgd", "--lr", "0.5", "--momentum", "0.8", "--batch-size", "20", "--dtype", "float64"]
    text = output(capsys, ["mnist", "--limit-batches", "2", "--threads", "1", "--rung", "im2col", *options, *few])
    assert "sgd lr 0.5, momentum 0.8, batch 20 shuffled, 1 epoch of 2 steps" in text


def test_torch_ref_runs_the_same_recipe(capsys):
    text = output(capsys, SHORT, torch_ref.train.main)
    assert "MnistCNN with 28,938 parameters on cpu (torch" in text
    assert "adam lr 0.001, batch 50 shuffled, 1 epoch of 12 steps" in text
    assert "  label      7 2 1 0 4 1 4 9 5 9" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mnits"], "expected one of mnist, fashion_mnist, kmnist, cifar10 or folder:PATH, got 'mnits'"),
        (["mnist", "--epochs", "0"], "expected a whole number ≥ 1, got '0'"),
        (["mnist", "--lr", "nan"], "expected a number > 0, got 'nan'"),
        (["mnist", "--lr", "-1"], "expected a number > 0, got '-1'"),
        (["mnist", "--batch-size", "ten"], "expected a whole number ≥ 1, got 'ten'"),
        (["mnist", "--threads", "0"], "expected a whole number ≥ 1"),
        (["mnist", "--dtype", "float16"], "invalid choice: 'float16'"),
        (["mnist", "--rung", "fast"], "invalid choice: 'fast'"),
        (["mnist", "--seed", "-1"], "expected a whole number ≥ 0"),
        (["mnist", "--model", "vgg"], "model for mnist: expected one of cnn, dropout, mlp, lenet5, deep, got 'vgg'"),
        (["mnist", "--recipe", "magic"], "recipe for mnist cnn: expected one of tutorial"),
        (["mnist", "--device", "tpu"], "device: expected auto, cpu, gpu or gpu:N, got 'tpu'"),
        (["mnist", "--device", "gpu:x"], "device: expected auto, cpu, gpu or gpu:N, got 'gpu:x'"),
        ([], "dataset: expected one of mnist, fashion_mnist, kmnist, cifar10 or folder:PATH, got none"),
        (["mnist", "--augment", "rotate"], "expected cropN (N pixels, such as crop4) or flip, got 'rotate'"),
        (["mnist", "--augment", "crop"], "expected cropN (N pixels, such as crop4) or flip, got 'crop'"),
        (["mnist", "--augment", "crop-2"], "got 'crop-2'"),
        (["mnist", "--augment", "flip", "crop2.5"], "got 'crop2.5'"),
        (["mnist", "--optimizer", "rmsprop"], "invalid choice: 'rmsprop'"),
        (["mnist", "--schedule", "step"], "invalid choice: 'step'"),
        (["mnist", "--label-smoothing", "1.5"], "expected a number between 0 and 1, got '1.5'"),
        (["mnist", "--label-smoothing", "nan"], "expected a number between 0 and 1, got 'nan'"),
        (["mnist", "--ema", "-0.1"], "expected a number between 0 and 1, got '-0.1'"),
        (["mnist", "--ema", "1"], "--ema: expected a decay below 1, with which the average can change, got 1"),
        (["mnist", "--clip-norm", "0"], "expected a number > 0, got '0'"),
        (["mnist", "--clip-norm", "inf"], "expected a number > 0, got 'inf'"),
        (["mnist", "--accumulate", "0"], "expected a whole number ≥ 1, got '0'"),
        (["mnist", "--patience", "0"], "expected a whole number ≥ 1, got '0'"),
        (["mnist", "--save-every", "0"], "expected a whole number ≥ 1, got '0'"),
        (["mnist", "--nesterov"], "--nesterov needs --optimizer sgd and a --momentum above 0"),
        (["mnist", "--nesterov", "--optimizer", "sgd"], "--nesterov needs --optimizer sgd and a --momentum above 0"),
        (["mnist", "--layers", "conv1"], "give --plots too"),
    ],
)
def test_wrong_arguments_exit_with_2_and_name_the_cause(capsys, argv, message):
    try:
        code = scratchnet.train.main(argv)
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error_that_says_why(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)  # import cupy raises ImportError
    assert scratchnet.train.main(["mnist", "--device", "gpu"]) == 2
    assert "import of cupy halted" in capsys.readouterr().err


def test_bad_data_exits_with_1(capsys, tmp_path):
    assert scratchnet.train.main(["mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in error
    assert "Traceback" not in error


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_exits_with_1(capsys):
    argv = ["mnist", "--model", "mlp", "--lr", "1e30", "--limit-batches", "20"]
    assert scratchnet.train.main(argv) == 1
    assert re.search(r"the loss is (nan|inf) at step \d+", capsys.readouterr().err)


def test_ctrl_c_exits_with_130(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scratchnet.train, "train", interrupt)
    assert scratchnet.train.main(["mnist"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_the_front_door_lists_and_runs_commands(capsys, few):
    assert scratchnet.__main__.main([]) == 0
    assert "train" in capsys.readouterr().out
    assert scratchnet.__main__.main(["fly"]) == 2
    assert "got 'fly'" in capsys.readouterr().err
    assert scratchnet.__main__.main(["train", *SHORT, *few]) == 0


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("main", [scratchnet.train.main, torch_ref.train.main])
def test_a_folder_of_images(capsys, tmp_path, rgb, main):
    """Three classes of flat images, told apart by their brightness."""
    from PIL import Image

    for split, count in (("train", 20), ("test", 5)):
        for name, level in (("black", 0), ("grey", 128), ("white", 255)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (level, level, max(level - i, 0))).save(folder / f"{i}.png")
    argv = [f"folder:{tmp_path}", "--model", "simple" if rgb else "cnn", "--epochs", "6", "--batch-size", "10"]
    text = output(capsys, [*argv, *(["--rgb"] if rgb else [])], main)
    assert "60 training and 15 test images" in text
    assert re.search(r"^  white +100\.00%  5/5$", text, re.M)
    assert "test accuracy 100.00% (15 of 15)" in text


def test_fashion_mnist_is_normalised_by_its_own_figures():
    assert scratchnet.recipes.find("mnist", "dropout").normalize == (0.1307, 0.3081)
    assert scratchnet.recipes.find("fashion_mnist", "dropout").normalize == (0.2860, 0.3530)
    assert scratchnet.recipes.find("kmnist", "lenet5").normalize == (0.1918, 0.3483)
    assert scratchnet.recipes.find("kmnist", "mlp").normalize is None


def test_torch_ref_without_torch_says_what_to_install():
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('torch_ref.train', run_name='__main__')"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 1
    assert result.stderr.startswith("error: torch_ref needs PyTorch")
    assert "pip install 'scratchnet[torch]'" in result.stderr
    assert "Traceback" not in result.stderr


# A recipe with everything

EVERYTHING = [
    "mnist",
    "--model",
    "mlp",
    "--epochs",
    "2",
    "--batch-size",
    "30",
    "--limit-batches",
    "7",
    "--threads",
    "1",
]
EVERYTHING += ["--label-smoothing", "0.1", "--clip-norm", "0.5", "--accumulate", "2", "--ema", "0.7", "--patience", "5"]
EVERYTHING += ["--mirror"]
EVERYTHING += ["--augment", "crop2", "flip", "--weight-decay", "0.01", "--eval-every", "3", "--eval-limit", "100"]
SGD = ["--optimizer", "sgd", "--lr", "0.2", "--momentum", "0.9", "--nesterov", "--schedule", "onecycle"]
ADAM = ["--optimizer", "adam", "--lr", "0.01", "--schedule", "cosine"]


@pytest.mark.parametrize("options", [SGD, ADAM], ids=["sgd", "adam"])
def test_torch_ref_computes_the_same_with_every_option(capsys, monkeypatch, few, options):
    """From equal weights, in float64, both print the same lines."""
    network = torch_ref.train.MODELS["mnist"]["mlp"]

    def twin(num_classes):
        ours = models.build("mnist", "mlp", num_classes, seed_streams(0)[0])
        model = network(num_classes=num_classes)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
        return model

    argv = [*EVERYTHING, *options, *few, "--dtype", "float64"]
    ours = output(capsys, argv)
    monkeypatch.setitem(torch_ref.train.MODELS["mnist"], "mlp", twin)
    theirs = output(capsys, argv, torch_ref.train.main)

    def figures(text):  # all but the first line, which names the library, the folder, and times
        lines = without_times(text).splitlines()[1:]
        return [line for line in lines if line]

    assert figures(ours) == figures(theirs)
    assert len(figures(ours)) > 18
    assert re.search(r"^epoch  2/2  train loss \d\.\d{4}  test loss \d\.\d{4}  test accuracy", ours, re.M)


def test_early_stopping_as_in_torch_ref(capsys, few):
    argv = ["mnist", "--model", "mlp", "--epochs", "9", "--limit-batches", "2", "--patience", "1", "--lr", "5", *few]
    for main in (scratchnet.train.main, torch_ref.train.main):
        text = output(capsys, argv, main)
        assert len(re.findall("^epoch", text, re.M)) < 9
    assert "stopped early: the test loss has not improved for 1 epochs" in output(capsys, argv)


def test_options_reach_the_trainer(capsys, monkeypatch, few):
    seen = {}

    class Spy(scratchnet.train.Trainer):
        def __init__(self, *arguments, **options):
            seen.update(options, criterion=arguments[1], optimizer=arguments[2])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(scratchnet.train, "Trainer", Spy)
    output(capsys, [*EVERYTHING, *SGD, *few, "--save-every", "3", "--no-fuse", "--out", "here"])
    assert seen["criterion"].label_smoothing == 0.1
    assert seen["clip_norm"] == 0.5
    assert seen["accumulate"] == 2
    assert seen["ema"] == 0.7
    assert seen["early_stopping"].patience == 5
    assert seen["mirror"] is True
    assert (seen["scheduler"].total_steps, seen["schedule_per"]) == (8, "step")
    assert (seen["save_every"], seen["fuse"]) == (3, False)
    group = seen["optimizer"].param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.01)
    recipe = seen["about"]["recipe"]
    assert (recipe["augment"], recipe["label_smoothing"], recipe["schedule"]) == (("crop2", "flip"), 0.1, "onecycle")


def test_augmentation_changes_training_images_only_and_can_be_taken_away(capsys, few):
    short = ["mnist", "--model", "mlp", "--epochs", "1", "--limit-batches", "3", *few]
    texts = [without_times(output(capsys, [*short, *more])) for more in ([], ["--augment", "crop4"], ["--augment"])]
    assert "augmented by crop4" in texts[1]
    assert texts[0] == texts[2]
    losses = [re.search(r"train loss (\S+)", text)[1] for text in texts]
    assert losses[0] != losses[1]
    best = output(capsys, ["mnist", "--recipe", "best", "--augment", "--epochs", "1", "--limit-batches", "1", *few])
    assert "augmented" not in best


# Where a run goes


def test_runs_are_numbered_and_out_names_another(capsys, tmp_path, few):
    short = ["mnist", "--model", "mlp", "--epochs", "1", "--limit-batches", "2", *few]
    assert "run folder runs/mnist-mlp-1\n" in output(capsys, short)
    assert "run folder runs/mnist-mlp-2\n" in output(capsys, short)
    assert "run folder deep/run\n" in output(capsys, [*short, "--out", "deep/run"])
    config = json.loads((tmp_path / "deep/run/config.json").read_text())
    assert config["recipe"]["model"] == "mlp"
    assert config["options"]["data_dir"] == few[1]
    before = outcome(tmp_path / "deep/run")
    assert scratchnet.train.main([*short, "--out", "deep/run"]) == 2
    assert "--out deep/run: holds a run already; --resume deep/run continues it" in capsys.readouterr().err
    assert different(outcome(tmp_path / "deep/run"), before) == []
    (tmp_path / "file").write_text("")
    assert scratchnet.train.main([*short, "--out", "file"]) == 1
    assert "expected a folder for the run, got a file of that name" in capsys.readouterr().err


def test_a_mistake_leaves_no_folder(capsys, tmp_path):
    assert scratchnet.train.main(["mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert [path for path in tmp_path.rglob("*") if path.name != "runs"] == []


def test_a_full_disk_exits_with_1(capsys, monkeypatch, few):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert scratchnet.train.main([*SHORT, *few]) == 1
    error = capsys.readouterr().err
    assert "could not be written (No space left on device)" in error
    assert "Traceback" not in error


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(capsys, tmp_path):
    argv = ["mnist", "--model", "mlp", "--lr", "1e30", "--limit-batches", "20", "--save-every", "1", "--out", "run"]
    assert scratchnet.train.main(argv) == 1
    assert re.search(r"the first non-finite value is in|is not finite after step \d+", capsys.readouterr().err)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert all(np.isfinite(value).all() for value in checkpoint.arrays().values())


# Resuming

RUN = ["mnist", "--model", "dropout", "--epochs", "2", "--batch-size", "20", "--limit-batches", "5", "--threads", "1"]
RUN += ["--augment", "crop1", "--out", "run"]


def interrupt_after(monkeypatch, steps):
    """Ctrl-C in the given step of the next run."""
    real = Reporter.on_step_end

    def on_step_end(self, trainer, loss):
        real(self, trainer, loss)
        if trainer.global_step == steps:
            __import__("signal").raise_signal(2)

    monkeypatch.setattr(Reporter, "on_step_end", on_step_end)


@pytest.fixture
def interrupted(monkeypatch, capsys, few):
    """The folder of a run that Ctrl-C has ended in its seventh step of ten."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 7)
        assert scratchnet.train.main([*RUN, *few]) == 130
    assert "resume with: python -m scratchnet.train --resume run\n" in capsys.readouterr().err
    return "run"


def test_resume_ends_as_if_nothing_had_happened(capsys, tmp_path, few, interrupted):
    text = output(capsys, ["--resume", interrupted])
    assert "run folder run, from step 7 of run/last.safetensors" in text
    assert re.search(r"^epoch +2/2", text, re.M)
    whole = output(capsys, [*RUN, "--out", "whole", *few])
    assert different(outcome(tmp_path / "run"), outcome(tmp_path / "whole")) == []
    assert text.partition("accuracy of each class")[2] == whole.partition("accuracy of each class")[2]


def test_resume_extends_the_epochs(capsys, tmp_path, few):
    output(capsys, [*RUN, *few])
    output(capsys, [*RUN[:3], "--epochs", "4", *RUN[5:], "--out", "whole", *few])
    text = output(capsys, ["--resume", "run", "--epochs", "4"])
    assert re.search(r"^epoch +4/4", text, re.M)
    run, whole = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert different(run, whole) == []
    assert run["last", "run"]["recipe"]["epochs"] == 4
    assert "run folder run, from step 20" in output(capsys, ["--resume", "run"])  # four epochs from now on


def test_what_was_typed_may_be_repeated_and_what_no_step_depends_on_may_change(capsys, few, interrupted):
    argv = ["--resume", interrupted, *RUN, *few, "--eval-every", "2", "--eval-limit", "50", "--eval-train"]
    text = output(capsys, [*argv, "--save-every", "3"])
    assert "(first 50 images)" in text
    assert "train accuracy" in text


@pytest.mark.parametrize(
    ("option", "there"),
    [
        (["fashion_mnist"], "dataset fashion_mnist: the run to resume has mnist; a new run can have another"),
        (["--model", "cnn"], "--model cnn: the run to resume has dropout"),
        (["--recipe", "best"], "--recipe best: the run to resume has tutorial"),
        (["--batch-size", "10"], "--batch-size 10: the run to resume has 20"),
        (["--lr", "0.5"], "--lr 0.5: the run to resume has 0.001"),
        (["--optimizer", "adam"], "--optimizer adam: the run to resume has sgd"),
        (["--momentum", "0"], "--momentum 0.0: the run to resume has 0.9"),
        (["--nesterov"], "--nesterov True: the run to resume has False"),
        (["--weight-decay", "0.1"], "--weight-decay 0.1: the run to resume has 0"),
        (["--schedule", "cosine"], "--schedule cosine: the run to resume has None"),
        (["--label-smoothing", "0.1"], "--label-smoothing 0.1: the run to resume has 0"),
        (["--augment", "flip"], "--augment ('flip',): the run to resume has ('crop1',)"),
        (["--augment"], "--augment (): the run to resume has ('crop1',)"),
        (["--clip-norm", "1"], "--clip-norm 1.0: the run to resume has None"),
        (["--accumulate", "2"], "--accumulate 2: the run to resume has 1"),
        (["--ema", "0.9"], "--ema 0.9: the run to resume has None"),
        (["--patience", "1"], "--patience 1: the run to resume has None"),
        (["--limit-batches", "6"], "--limit-batches 6: the run to resume has 5"),
        (["--seed", "1"], "--seed 1: the run to resume has 0"),
        (["--dtype", "float64"], "--dtype float64: the run to resume has float32"),
        (["--rgb"], "--rgb: the run to resume has grey images"),
    ],
)
def test_contradictions_with_the_run_are_errors(capsys, tmp_path, interrupted, option, there):
    before = outcome(tmp_path / "run")
    assert scratchnet.train.main(["--resume", interrupted, *option]) == 2
    assert there in capsys.readouterr().err
    assert different(outcome(tmp_path / "run"), before) == []


def test_a_schedule_is_made_for_its_epochs(capsys, few):
    output(capsys, [*RUN, "--schedule", "onecycle", *few])
    assert scratchnet.train.main(["--resume", "run", "--epochs", "3"]) == 2
    assert "--epochs 3: the run's onecycle schedule is made for 2 epochs" in capsys.readouterr().err


def test_resume_into_another_folder(capsys, tmp_path, few, interrupted):
    before = outcome(tmp_path / "run")
    output(capsys, ["--resume", interrupted, "--out", "copy"])
    assert different(outcome(tmp_path / "run"), before) == []
    output(capsys, [*RUN, "--out", "whole", *few])
    assert [key for key in different(outcome(tmp_path / "copy"), outcome(tmp_path / "whole")) if key[0] == "last"] == []
    assert scratchnet.train.main(["--resume", interrupted, "--out", "copy"]) == 2
    assert "--out copy: holds a run already" in capsys.readouterr().err


def test_resume_computes_in_the_same_way(capsys, tmp_path, monkeypatch, few):
    """On as many threads, on the same rung, fused or not: another way would end with other bits."""
    how = ["--rung", "im2col", "--no-fuse", "--dtype", "float64", "--seed", "3", "--limit-batches", "4"]
    output(capsys, ["mnist", "--model", "mlp", "--epochs", "1", "--threads", "1", *how, "--out", "run", *few])
    seen = []
    monkeypatch.setattr(scratchnet.train, "set_num_threads", seen.append)
    output(capsys, ["--resume", "run", "--epochs", "2"])
    assert seen == [1]
    options = load_checkpoint(tmp_path / "run", prefer="last").metadata["run"]["options"]
    assert (options["rung"], options["fuse"], options["dtype"]) == ("im2col", False, "float64")
    assert (options["seed"], options["limit_batches"], options["data_dir"]) == (3, 4, few[1])


def test_resume_from_elsewhere(capsys, tmp_path, monkeypatch, few, interrupted):
    """Data and folder are found again from another working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = output(capsys, ["--resume", str(tmp_path / "run" / "last.safetensors")])
    assert f"run folder {tmp_path / 'run'}, from step 7" in text
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_to_resume(capsys, tmp_path, few, interrupted):
    trainer(tmp_path / "own").fit(loader())
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty").mkdir()
    last = tmp_path / "run" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-9])
    for path, code, message in (
        ("nowhere", 1, "nowhere: expected a checkpoint, got: No such file or directory"),
        ("empty", 1, "empty: expected a run folder with last.safetensors or best.safetensors in it"),
        ("text.safetensors", 1, "expected a whole safetensors file"),
        ("run", 1, "the generation before it is run/last.previous.safetensors"),
        ("own", 2, "a Trainer of your own wrote it; this command cannot build that"),
    ):
        assert scratchnet.train.main(["--resume", path]) == code
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert "from step 5" in output(capsys, ["--resume", "run/last.previous.safetensors"])
    assert not (tmp_path / "runs").exists()


def test_a_folder_whose_classes_have_changed_is_not_continued(capsys, tmp_path):
    from trained_runs import folder_of_shades

    argv = [folder_of_shades(tmp_path / "shades"), "--epochs", "1", "--batch-size", "10", "--out", "run"]
    output(capsys, argv)
    for split in ("train", "test"):
        (tmp_path / "shades" / split / "grey").rename(tmp_path / "shades" / split / "a new class")
    assert scratchnet.train.main(["--resume", "run", "--epochs", "2"]) == 1
    error = capsys.readouterr().err
    assert "its classes are black, grey, white, but folder:" in error
    assert "now has a new class, black, white" in error


def test_a_folder_of_images_is_found_from_anywhere(capsys, tmp_path, monkeypatch):
    from trained_runs import folder_of_shades

    folder_of_shades(tmp_path / "shades")
    output(capsys, ["folder:shades", "--epochs", "1", "--batch-size", "10", "--out", "run"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "epoch  2/2" in output(capsys, ["--resume", "../run", "--epochs", "2", "folder:../shades"])
    assert scratchnet.train.main(["--resume", "../run", "folder:shades"]) == 2
