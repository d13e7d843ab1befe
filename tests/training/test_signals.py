"""Ctrl-C, SIGTERM and kill -9: a run saves what it can, says how to go on, and goes on to the same bits."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import different, held_out, loader, outcome, trainer

import scratchnet.train
from scratchnet.training import Callback, CheckpointError, load_checkpoint
from scratchnet.training.report import Reporter
from scratchnet.training.signals import deferred

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until a process counts as stuck


# Within one process


def test_the_first_signal_is_noted_and_the_handlers_come_back(capfd):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deferred() as pending:
        assert not pending
        signal.raise_signal(signal.SIGINT)
        assert pending
        assert pending.signal == signal.SIGINT
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "finishing the step and saving; once more stops at once" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("first", "second", "error", "code"),
    [
        (signal.SIGINT, signal.SIGINT, KeyboardInterrupt, None),
        (signal.SIGTERM, signal.SIGTERM, SystemExit, 143),
        (signal.SIGINT, signal.SIGTERM, SystemExit, 143),
        (signal.SIGTERM, signal.SIGINT, KeyboardInterrupt, None),
    ],
)
def test_a_second_signal_stops_at_once(first, second, error, code):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error) as caught, deferred():  # noqa: PT012
        signal.raise_signal(first)
        signal.raise_signal(second)
        pytest.fail("still running")
    assert getattr(caught.value, "code", None) == code
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), deferred():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_nobody_reading_stderr_does_not_end_the_step(monkeypatch):
    """Ctrl-C reaches the whole pipeline of `train 2>&1 | tee log`: tee may be gone before the message is written."""

    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    with deferred() as pending:
        signal.raise_signal(signal.SIGINT)
    assert pending


class Send(Callback):
    """Sends signals to this process in an event of the run."""

    def __init__(self, event, *signals):
        self.signals, self.after = signals, 0
        setattr(self, event, self.send)

    def send(self, trainer, *_):
        for number in self.signals:
            signal.raise_signal(number)
        self.after += 1


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("event", ["on_gradients", "on_step_end", "on_evaluation", "on_epoch_end"])
def test_a_signal_at_any_moment_of_a_step_saves_that_step(tmp_path, event, number, error):
    whole, send = tmp_path / "whole", Send(event, number)
    trainer(whole).fit(loader(), held_out(), 2, eval_every=4)
    with pytest.raises(error):
        trainer(tmp_path / "run", callbacks=[send]).fit(loader(), held_out(), 2, eval_every=4)
    assert send.after == 1  # not interrupted there
    position = load_checkpoint(tmp_path / "run" / "last.safetensors").metadata["position"]
    assert position["global_step"] == (1 if event in ("on_gradients", "on_step_end") else 4)
    trainer(tmp_path / "run").fit(loader(9), held_out(), 2, eval_every=4, resume=True)
    assert different(outcome(tmp_path / "run"), outcome(whole)) == []


@pytest.mark.parametrize("event", ["on_gradients", "on_step_end", "on_epoch_end"])
def test_two_signals_stop_there_and_the_last_checkpoint_is_whole(tmp_path, event):
    send = Send(event, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", callbacks=[send]).fit(loader(), held_out(), 2)
    assert send.after == 0
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").metadata["position"]["global_step"] == 0


def test_a_signal_after_the_last_epoch_is_not_forgotten(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", callbacks=[Send("on_train_end", signal.SIGINT)]).fit(loader())
    with pytest.raises(SystemExit):
        trainer(tmp_path / "run", callbacks=[Send("on_train_begin", signal.SIGTERM)]).fit(loader(), resume=True)


SHORT = ["mnist", "--model", "mlp", "--limit-batches", "6", "--threads", "1"]


@pytest.mark.parametrize(
    ("signals", "code", "steps"),
    [
        ([signal.SIGINT], 130, 1),
        ([signal.SIGTERM], 143, 1),
        ([signal.SIGINT, signal.SIGINT], 130, 0),
        ([signal.SIGTERM, signal.SIGTERM], 143, 0),
    ],
)
def test_the_commands_exit_codes(tmp_path, monkeypatch, capfd, signals, code, steps):
    real = Reporter.on_step_end

    def interrupted(self, trainer, loss):
        real(self, trainer, loss)
        for number in signals:
            signal.raise_signal(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Reporter, "on_step_end", interrupted)
    try:
        got = scratchnet.train.main([*SHORT, "--epochs", "1", "--out", "a run"])
    except SystemExit as stop:
        got = stop.code
    assert got == code
    error = capfd.readouterr().err
    assert "resume with: python -m scratchnet.train --resume 'a run'\n" in error
    assert "Traceback" not in error
    assert load_checkpoint(tmp_path / "a run").metadata["position"]["global_step"] == steps


def test_nothing_to_resume_is_not_offered(tmp_path, monkeypatch, capfd):
    """Ctrl-C before the first checkpoint: the same command works again."""
    monkeypatch.chdir(tmp_path)

    def early(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scratchnet.training.trainer.pack", early)
        assert scratchnet.train.main([*SHORT, "--epochs", "1", "--out", "run"]) == 130
    assert "resume" not in capfd.readouterr().err
    assert scratchnet.train.main([*SHORT, "--epochs", "1", "--out", "run"]) == 0


# The command, in processes of its own

LONG = ["mnist", "--model", "mlp", "--batch-size", "16", "--limit-batches", "300", "--epochs", "3", "--threads", "1"]
LONG += ["--optimizer", "adam", "--lr", "0.001", "--ema", "0.9", "--augment", "crop2", "--clip-norm", "1"]


def start(folder, *arguments, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "scratchnet.train", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def finish(process) -> tuple[int, str, str]:
    try:
        out, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, error


def steps_done(run: Path) -> int:
    """Of the last checkpoint; −1 if there is none yet."""
    try:
        return load_checkpoint(run, prefer="last").metadata["position"]["global_step"]
    except CheckpointError:
        return -1


def wait_until(true, process) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true() and process.poll() is None:
        assert time.monotonic() < deadline, "the process makes no progress"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody interrupts: what it left, and the seconds that it computed."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, *LONG, "--out", "run")
    wait_until(lambda: (folder / "run" / "last.safetensors").exists(), process)
    began = time.monotonic()
    code, out, error = finish(process)
    assert code == 0, error
    assert "epoch  3/3" in out
    return outcome(folder / "run"), time.monotonic() - began


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_and_the_command_it_prints(tmp_path, whole, number, code):
    for attempt in range(1, 6):  # should this process sleep for seconds, the other is done before it is interrupted
        process = start(tmp_path, *LONG, "--save-every", "20")
        run = tmp_path / "runs" / f"mnist-mlp-{attempt}"
        wait_until(lambda run=run: steps_done(run) >= 20, process)
        process.send_signal(number)
        got, _, error = finish(process)
        if got != 0:
            break
    assert got == code
    assert "finishing the step and saving; once more stops at once" in error
    assert "Traceback" not in error
    at = steps_done(run)
    assert at >= 20
    command = re.search(r"resume with: python (-m scratchnet\.train .*)", error)[1]
    code, out, error = finish(start(tmp_path, *shlex.split(command)[2:]))
    assert code == 0, error
    assert f"from step {at:,} of {run.relative_to(tmp_path)}" in out
    assert "Traceback" not in error
    assert different(outcome(run), whole[0]) == []


def test_a_reader_of_the_output_that_dies_of_ctrl_c_does_not_cost_the_steps(tmp_path):
    """As in `train 2>&1 | tee log`, in an epoch that lasts."""
    process = start(
        tmp_path, *LONG[:3], "--batch-size", "4", "--threads", "1", "--out", "run", stderr=subprocess.STDOUT
    )
    run = tmp_path / "run"
    wait_until((run / "metrics.csv").exists, process)  # the first row comes after 50 steps
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    assert steps_done(run) >= 50


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path, whole):
    """Six kills by three signals, wherever they hit: while it loads, steps, measures, saves or has just finished."""
    rng = random.Random(5)
    expected, seconds = whole
    kills = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT]
    run, arguments = tmp_path / "run", [*LONG, "--out", "run", "--save-every", "37"]
    for number in kills:
        saved = steps_done(run)
        process = start(tmp_path, *arguments)
        if rng.random() < 0.8:  # else somewhere in the beginning
            wait_until(lambda before=saved: steps_done(run) > before, process)
        time.sleep(rng.random() * seconds / 4)
        process.send_signal(number)
        finish(process)
        if steps_done(run) >= 0:
            arguments = ["--resume", "run", "--save-every", "37"]
        assert steps_done(run) >= saved  # no progress that was saved is lost
    code, _, error = finish(start(tmp_path, *arguments))
    assert code == 0, error
    assert different(outcome(run), expected) == []
    assert not list(run.glob(".*")), "files that a killed process left are cleared away"
