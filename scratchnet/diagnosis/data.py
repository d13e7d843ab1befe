"""Which datasets are there, and whether they can be read."""

import os
from collections.abc import Iterator

from scratchnet.datasets import DATASETS, DatasetError, DatasetNotFoundError, data_root, load
from scratchnet.datasets.registry import dataset_files
from scratchnet.datasets.sources import download_command
from scratchnet.diagnosis.finding import Finding


def root() -> Iterator[Finding]:
    folder = data_root()
    origin = "SCRATCHNET_DATA" if os.environ.get("SCRATCHNET_DATA") else "SCRATCHNET_DATA names another"
    there = "" if folder.is_dir() else ", not there yet"
    yield Finding("data root", "ok", f"{folder}{there} ({origin})")


def datasets() -> Iterator[Finding]:
    for name in DATASETS:
        try:
            dataset = load(name, "test")
            where = os.path.dirname(str(dataset_files(name, "train")[0]))
        except DatasetNotFoundError as error:
            if name == "mnist":  # it comes with the package
                yield Finding(name, "not ok", str(error), "pip install --force-reinstall scratchnet", essential=True)
            else:
                yield Finding(name, "not needed", "not there", download_command(name, None))
        except DatasetError as error:
            advice = f"{download_command(name, None)} fetches it anew, once the damaged file is removed"
            yield Finding(name, "not ok", str(error), advice, essential=name == "mnist")
        else:
            yield Finding(name, "ok", f"{len(dataset):,} test images read, in {where}")
