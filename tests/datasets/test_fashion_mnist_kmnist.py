import gzip
import re

import numpy as np
import pytest
import torchvision
from dataset_files import idx_bytes, write_idx_dataset

from scratchnet.datasets import DatasetError, DatasetNotFoundError, load

FOLDERS = {"fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("compressed", [False, True])
def test_reads_what_torchvision_reads(tmp_path, name, split, compressed):
    folder = tmp_path / FOLDERS[name] / "raw"
    arrays = write_idx_dataset(folder)
    theirs = getattr(torchvision.datasets, FOLDERS[name])(tmp_path, train=split == "train")
    if compressed:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    ours = load(name, split, tmp_path)
    np.testing.assert_array_equal(ours.images[:, 0], theirs.data.numpy())
    np.testing.assert_array_equal(ours.images[:, 0], arrays[split][0])
    np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())
    assert list(ours.classes) == theirs.classes
    assert (ours.name, ours.split) == (name, split)


@pytest.mark.parametrize("name", FOLDERS)
def test_roots_of_environment_and_cache(tmp_path, monkeypatch, name):
    of_environment = write_idx_dataset(tmp_path / "environment" / FOLDERS[name] / "raw", seed=1)
    of_cache = write_idx_dataset(tmp_path / "cache" / "scratchnet" / FOLDERS[name] / "raw", seed=2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert load(name, "test").labels.tolist() == of_cache["test"][1].tolist()
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path / "environment"))
    assert load(name, "test").labels.tolist() == of_environment["test"][1].tolist()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_packaged_mnist_never_stands_in(tmp_path, monkeypatch, name):
    write_idx_dataset(tmp_path / "MNIST" / "raw")
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    with pytest.raises(DatasetNotFoundError) as caught:
        load(name, "train")
    message = str(caught.value)
    folder = tmp_path / FOLDERS[name] / "raw"
    for part in (
        f"{name} train: expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz in {folder}, got neither",
        f"`python -m scratchnet.data download {name}` downloads them",
        "By hand: fetch train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-",
        f"put them into {folder}",
    ):
        assert part in message
    assert "comes with the package" not in message


def test_damaged_files(tmp_path):
    folder = tmp_path / "KMNIST" / "raw"
    write_idx_dataset(folder)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.full(30, 10, np.uint8)))
    with pytest.raises(
        DatasetError, match=f"^{re.escape(str(labels))}: expected labels in 0 … 9, got 10 at position 0"
    ):
        load("kmnist", "train", tmp_path)
    with pytest.raises(ValueError, match="kmnist: unknown split 'val'"):
        load("kmnist", "val", tmp_path)
