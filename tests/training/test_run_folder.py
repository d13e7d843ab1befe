"""The run folder: config.json and metrics.csv, through kills, resumes and full disks."""

import errno
import json
import math
import os
from pathlib import Path

import pytest
from small_runs import CrashError, Interrupt, held_out, loader, mlp, trainer

from scratchnet.training import CheckpointError, RunFolder, load_checkpoint
from scratchnet.training import trainer as trainer_module
from scratchnet.training.run import COLUMNS, read_metrics

# Names


def test_numbered_folders_go_on_after_the_highest(tmp_path):
    def make():
        return RunFolder.numbered("mnist-cnn", tmp_path / "runs").path.name

    assert [make() for _ in range(3)] == ["mnist-cnn-1", "mnist-cnn-2", "mnist-cnn-3"]
    (tmp_path / "runs" / "mnist-cnn-9").mkdir()
    (tmp_path / "runs" / "mnist-cnn-best").mkdir()
    (tmp_path / "runs" / "mnist-cnn-11.old").write_text("")
    (tmp_path / "runs" / "mnist-cnn-deep-20").mkdir()
    (tmp_path / "runs" / "mnist-cnn-2").rmdir()
    assert make() == "mnist-cnn-10"


def test_two_processes_get_two_folders(tmp_path, monkeypatch):
    """Between looking and making, another process has taken the number."""
    real = Path.glob
    (tmp_path / "a-1").mkdir()
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [] if self == tmp_path else real(self, pattern))
    assert RunFolder.numbered("a", tmp_path).path.name == "a-2"


def test_an_empty_folder_is_removed_and_no_other(tmp_path):
    folder = RunFolder.numbered("a", tmp_path)
    folder.remove_if_empty()
    assert not folder.path.exists()
    folder.remove_if_empty()
    folder.create()
    folder.metrics.write_text("")
    folder.remove_if_empty()
    assert folder.metrics.exists()


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_where_a_folder_is_wanted(tmp_path, inside):
    (tmp_path / "run").write_text("mine")
    path = tmp_path / "run" / "deeper" if inside else tmp_path / "run"
    with pytest.raises(
        CheckpointError, match=r"expected a folder for the run, got a file|cannot make a folder for the run"
    ):
        RunFolder(path).create()
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("name", ["last.safetensors", "last.previous.safetensors", "best.safetensors", "metrics.csv"])
def test_a_folder_with_any_part_of_a_run_is_not_taken_for_a_new_one(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(FileExistsError, match=f"holds a run already \\({name}\\)"):
        RunFolder(tmp_path).create()
    RunFolder(tmp_path).create(new=False)
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_killed_before_its_first_checkpoint_can_begin_again(tmp_path, monkeypatch, resume):
    """It has left a config.json, which holds nothing that could be lost; a loop that restarts it must not get stuck."""

    def dies(*_, **__):
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "save_checkpoint", dies)
        with pytest.raises(CrashError):
            trainer(tmp_path / "run").fit(loader())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    assert len(trainer(tmp_path / "run").fit(loader(), epochs=1, resume=resume)) == 1


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden.tmp").write_text("mine")
    trainer(tmp_path).fit(loader())
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / ".hidden.tmp").read_text() == "mine"


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, callbacks=[Interrupt(2)]).fit(loader())
    left = [
        tmp_path / f".{name}.4711.tmp"
        for name in ("last.safetensors", "best.safetensors", "metrics.csv", "config.json")
    ]
    for path in left:
        path.write_bytes(bytes(99))
    trainer(tmp_path).fit(loader(), resume=True)
    assert [path for path in left if path.exists()] == []


# config.json


def test_config_names_versions_machine_and_settings(tmp_path):
    trainer(tmp_path, about={"recipe": {"lr": 0.1}, "path": tmp_path}).run.write_config({"path": tmp_path, "n": 1})
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config == {"path": str(tmp_path), "n": 1}


def test_config_remembers_the_parts_of_a_run(tmp_path):
    for part in range(3):
        t = trainer(tmp_path, about={"part": part})
        t.fit(loader(), epochs=part + 1, resume=True)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["part"] == 2
    assert [before["part"] for before in config["before"]] == [0, 1]
    assert {"python", "scratchnet", "numpy", "safetensors"} <= set(config["versions"])
    assert config["machine"]["threads"] >= 1
    assert isinstance(config["command"], list)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null"])
def test_a_config_that_someone_has_spoilt_is_no_reason_to_stop(tmp_path, text):
    trainer(tmp_path).fit(loader())
    (tmp_path / "config.json").write_text(text)
    trainer(tmp_path, about={"part": 2}).fit(loader(), epochs=2, resume=True)
    assert json.loads((tmp_path / "config.json").read_text())["part"] == 2


# metrics.csv


def test_rows_have_every_digit(tmp_path):
    folder = RunFolder(tmp_path)
    folder.add_row(event="step", epoch=1, step=2, train_loss=repr(0.1 + 0.2), lr=repr(1e-300), seconds="nan")
    folder.add_row(event="epoch", epoch=1, step=3)
    assert folder.metrics.read_text().splitlines()[0] == ",".join(COLUMNS)
    first, second = folder.rows()
    assert float(first["train_loss"]) == 0.1 + 0.2
    assert float(first["lr"]) == 1e-300
    assert math.isnan(float(first["seconds"]))
    assert (first["test_loss"], second["lr"]) == ("", "")


def test_a_row_that_was_cut_short_at_any_byte_is_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2, 30):
        folder.add_row(event="step", epoch=1, step=step, train_loss="0.25")
    text = folder.metrics.read_text()
    ends = [i + 1 for i, letter in enumerate(text) if letter == "\n"]
    for length in range(len(text) + 1):
        folder.metrics.write_text(text[:length])
        whole = max(sum(end <= length for end in ends) - 1, 0)
        assert [row["step"] for row in folder.rows()] == ["1", "2", "30"][:whole]
        folder.forget_after(2)
        folder.add_row(event="step", epoch=1, step=3)
        assert [row["step"] for row in folder.rows()] == [*["1", "2"][:whole], "3"]


def test_no_file_is_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.csv") == []
    RunFolder(tmp_path).forget_after(3)
    assert not (tmp_path / "metrics.csv").exists()


def test_steps_that_are_made_again_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "LOG_EVERY", 1)
    with pytest.raises(CrashError):
        trainer(tmp_path, callbacks=[Interrupt(7, "crash")]).fit(loader(), held_out(), 2)
    t = trainer(tmp_path, mlp(9))
    assert [int(row["step"]) for row in t.run.rows()] == [1, 2, 3, 4, 4, 5, 6, 7]
    t.fit(loader(9), held_out(), 2, resume=True)
    rows = [(row["event"], int(row["epoch"]), int(row["step"])) for row in t.run.rows()]
    steps = [("step", 1 + (i > 4), i) for i in range(1, 9)]
    assert rows == [*steps[:4], ("epoch", 1, 4), *steps[4:], ("epoch", 2, 8)]


def test_accuracy_stands_beside_the_steps_where_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "LOG_EVERY", 2)
    t = trainer(tmp_path)
    t.fit(loader(), held_out(), 1, eval_every=3)
    rows = {(row["event"], row["step"]): row for row in t.run.rows()}
    assert list(rows) == [("step", "2"), ("step", "3"), ("step", "4"), ("epoch", "4")]
    assert rows["step", "2"]["test_accuracy"] == ""
    assert 0 <= float(rows["step", "3"]["test_accuracy"]) <= 1
    assert rows["epoch", "4"]["seconds"] != ""


# A full disk in the middle of a run


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", ["checkpoint", "metrics", "config"])
def test_a_full_disk_ends_the_run_with_the_last_checkpoint_good(tmp_path, monkeypatch, at):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, callbacks=[Interrupt(3)]).fit(loader(), held_out(), 2)
    before = (tmp_path / "last.safetensors").read_bytes()
    real, opened = os.fsync, Path.open
    with monkeypatch.context() as patch:
        calls = []
        if at == "metrics":
            patch.setattr(Path, "open", lambda self, mode="r", **o: full() if "a" in mode else opened(self, mode, **o))
        else:  # config.json is the first file of a resumed run; the checkpoint at the epoch's end one of the last
            first = 0 if at == "config" else 6

            def fsync(number):
                calls.append(number)
                return full() if len(calls) > first else real(number)

            patch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointError, match=r"could not be written \(No space left on device\)"):
            trainer(tmp_path, mlp(9)).fit(loader(9), held_out(), 2, resume=True)
    assert load_checkpoint(tmp_path / "last.safetensors").metadata["position"]["global_step"] == 3
    if at == "config":
        assert (tmp_path / "last.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert len(trainer(tmp_path, mlp(9)).fit(loader(9), held_out(), 2, resume=True)) == 2
