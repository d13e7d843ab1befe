"""The folder of a run: config.json, metrics.csv, last.safetensors, best.safetensors, plots/."""

import contextlib
import csv
import io
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import scratchnet
from scratchnet.threads import get_num_threads
from scratchnet.training.checkpoint import CheckpointError, previous, write_atomically

COLUMNS = ("event", "epoch", "step", "train_loss", "test_loss", "test_accuracy", "lr", "seconds")


class RunFolder:
    """Where a run leaves what it learned.

    metrics.csv has a row for every report within an epoch (event "step": the loss of that batch, and the test accuracy
    if it was measured) and one for every epoch (event "epoch": the mean loss of its images). step counts from the
    beginning of the run, 1 for the first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.plots = self.path / "plots"
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.csv"

    def exists(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return self.last.exists() or previous(self.last).exists()

    def create(self, new: bool = True) -> None:
        """Make the folder, or tidy it up. For a new run, one that holds a run already is an error; one that was killed
        before its first checkpoint, of which there is config.json alone, is none."""
        for file in (self.last, previous(self.last), self.best, self.metrics):
            if new and file.exists():
                raise FileExistsError(
                    f"{self.path}: holds a run already ({file.name}): continue it with resume, or name another folder"
                )
        _make(self.path, exist_ok=True)
        for file in (self.last, self.best, self.metrics, self.config):
            for left in self.path.glob(f".{file.name}.*.tmp"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)

    @classmethod
    def numbered(cls, name: str, parent: str | os.PathLike[str] = "runs") -> "RunFolder":
        """A new folder parent/name-N, with the first number that is free."""
        parent = Path(parent)
        _make(parent, exist_ok=True)
        taken = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{name}-*")]
        number = max((int(rest) for rest in taken if rest.isdecimal()), default=0) + 1
        while True:
            try:
                _make(parent / f"{name}-{number}", exist_ok=False)
                return cls(parent / f"{name}-{number}")
            except FileExistsError:  # another process was faster
                number += 1

    def remove_if_empty(self) -> None:
        """Leave nothing behind of a run that never began."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.json, which keeps what it said about earlier parts of the same run under "before"."""
        config = dict(config)
        if self.config.exists():
            try:
                before = json.loads(self.config.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            if isinstance(before, dict):
                config["before"] = [*before.pop("before", []), before]
        self._write(self.config, json.dumps(config, indent=2, default=str) + "\n")

    def add_row(self, **row: Any) -> None:
        """Append a row to metrics.csv; what is not given stays empty."""
        new = not self.metrics.exists()
        try:
            with self.metrics.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise CheckpointError(f"{self.metrics}: could not be written ({os.strerror(error.errno or 0)})") from error

    def rows(self) -> list[dict[str, str]]:
        """The rows of metrics.csv; a last line that was cut short is left out."""
        return read_metrics(self.metrics)

    def forget_after(self, step: int) -> None:
        """Remove the rows of steps that a resumed run is going to make again."""
        if not self.metrics.exists():
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in self.rows() if int(row["step"]) <= step)
        self._write(self.metrics, text.getvalue())

    def _write(self, path: Path, text: str) -> None:
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise CheckpointError(f"{path}: could not be written ({os.strerror(error.errno or 0)})") from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a metrics.csv as dicts of strings; a last line that was cut short is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    rows = list(csv.DictReader(io.StringIO(whole)))
    return [row for row in rows if None not in row.values() and row["step"].isdecimal()]


def environment() -> dict[str, Any]:
    """The machine and the versions that a run used, for config.json."""
    from importlib import metadata

    versions = {"python": platform.python_version(), "scratchnet": scratchnet.__version__}
    for package in ("numpy", "numba", "safetensors", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine = {
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": get_num_threads(),
    }
    return {"command": [Path(sys.argv[0]).stem, *sys.argv[1:]], "versions": versions, "machine": machine}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _make(path: Path, exist_ok: bool) -> None:
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if exist_ok or not path.is_dir():
            raise CheckpointError(f"{path}: expected a folder for the run, got a file of that name") from None
        raise
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot make a folder for the run ({os.strerror(error.errno or 0)}); --out names another"
        ) from None
