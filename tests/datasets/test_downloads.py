import dataclasses
import gzip
import hashlib
import io
import re
import tarfile

import numpy as np
import pytest
from dataset_files import cifar10_arrays, write_cifar10_python, write_idx_dataset

from scratchnet.datasets import DATASETS, DatasetError, DownloadError, download, load
from scratchnet.datasets.downloads import unpack
from scratchnet.datasets.mnist_family import FILES
from scratchnet.datasets.sources import SOURCES

IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data).hexdigest()}"


@pytest.fixture
def publish(mirrors, monkeypatch):
    """publish(name, ["way", …], files) makes these files the published ones of a dataset, at these mirrors."""

    def publish(name, ways, downloads, members=None):
        mirrors.files.update(downloads)
        source = dataclasses.replace(
            SOURCES[name],
            mirrors=tuple(mirrors.url_of(way, "") for way in ways),
            downloads={file: md5(data) for file, data in downloads.items()},
            members={file: md5(data) for file, data in (members or {}).items()},
        )
        monkeypatch.setitem(SOURCES, name, source)

    return publish


@pytest.fixture
def idx(tmp_path):
    """The four files of a small dataset, gzip-compressed, and its arrays."""
    arrays = write_idx_dataset(tmp_path / "original")
    files = {f"{path.name}.gz": gzip.compress(path.read_bytes()) for path in (tmp_path / "original").iterdir()}
    return files, arrays


@pytest.fixture
def cifar10(tmp_path):
    """The files of a small CIFAR-10, name → content."""
    return {
        path.name: path.read_bytes() for path in write_cifar10_python(tmp_path / "original", cifar10_arrays()).iterdir()
    }


def tar(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in extra:
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    return buffer.getvalue()


def in_folder(files):
    return {f"{FOLDER}/{name}": data for name, data in files.items()}


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", IDX)
def test_idx_files_go_where_load_and_torchvision_look(tmp_path, publish, idx, name):
    files, arrays = idx
    publish(name, ["missing", "whole"], files)
    root = tmp_path / "root"
    assert download(name, root) == root / IDX[name] / "raw"
    assert everything_below(root) == sorted(f"{IDX[name]}/raw/{file}" for file in files)
    for split, (images, labels) in arrays.items():
        dataset = load(name, split, root)
        np.testing.assert_array_equal(dataset.images[:, 0], images)
        np.testing.assert_array_equal(dataset.labels, labels)


def test_what_is_there_is_not_fetched_again(tmp_path, publish, mirrors, idx):
    files, _ = idx
    publish("kmnist", ["range"], files)
    download("kmnist", tmp_path)
    assert len(mirrors.requests) == 4
    download("kmnist", tmp_path, offline=True)
    damaged = tmp_path / "KMNIST" / "raw" / f"{FILES['test'][0]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    download("kmnist", tmp_path)
    assert len(mirrors.requests) == 5
    assert damaged.read_bytes() == files[damaged.name]


def test_cifar10_is_unpacked_and_its_archive_removed(tmp_path, publish, mirrors, cifar10):
    publish("cifar10", ["cutrange"], {ARCHIVE: tar(in_folder(cifar10))}, cifar10)
    assert download("cifar10", tmp_path / "root") == tmp_path / "root" / FOLDER
    assert everything_below(tmp_path / "root") == sorted(in_folder(cifar10))
    np.testing.assert_array_equal(load("cifar10", "test", tmp_path / "root").images, cifar10_arrays()["test_batch"][0])
    requests = len(mirrors.requests)
    download("cifar10", tmp_path / "root")
    assert len(mirrors.requests) == requests


def test_an_archive_placed_by_hand_is_unpacked_offline_and_kept(tmp_path, publish, mirrors, cifar10):
    archive = tar(in_folder(cifar10))
    publish("cifar10", ["range"], {ARCHIVE: archive}, cifar10)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ARCHIVE).write_bytes(archive)
    download("cifar10", tmp_path / "root", offline=True)
    assert everything_below(tmp_path / "root") == sorted([ARCHIVE, *in_folder(cifar10)])
    assert mirrors.requests == []


def test_an_interrupted_extraction_is_finished_later(tmp_path, publish, cifar10):
    publish("cifar10", ["range"], {ARCHIVE: tar(in_folder(cifar10))}, cifar10)
    download("cifar10", tmp_path / "root")
    (tmp_path / "root" / FOLDER / "data_batch_3").unlink()
    (tmp_path / "root" / FOLDER / "data_batch_3.part").write_bytes(b"half")
    download("cifar10", tmp_path / "root")
    assert everything_below(tmp_path / "root") == sorted(in_folder(cifar10))


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_reaches_for_no_server(tmp_path, publish, mirrors, monkeypatch, idx, how):
    publish("fashion_mnist", ["range"], idx[0])
    if how == "environment":
        monkeypatch.setenv("SCRATCHNET_OFFLINE", "1")
    folder = re.escape(str(tmp_path / "FashionMNIST" / "raw"))
    with pytest.raises(DownloadError, match=f"fashion_mnist: offline: .*would have to be.*put them into {folder}"):
        download("fashion_mnist", tmp_path, offline=True if how == "argument" else None)
    assert mirrors.requests == []


@pytest.mark.parametrize("value", ["", "0", "false", "No"])
def test_environment_without_offline(tmp_path, publish, monkeypatch, idx, value):
    publish("kmnist", ["range"], idx[0])
    monkeypatch.setenv("SCRATCHNET_OFFLINE", value)
    download("kmnist", tmp_path)


def test_when_every_mirror_fails_the_message_says_how_to_do_it_by_hand(tmp_path, publish, cifar10):
    publish("cifar10", ["missing", "nowhere"], {ARCHIVE: tar(in_folder(cifar10))}, cifar10)
    with pytest.raises(DownloadError) as caught:
        download("cifar10", tmp_path)
    message = str(caught.value)
    for part in (
        "HTTP 404 Not Found",
        "Connection refused",
        f"By hand: fetch {ARCHIVE} from http://127.0.0.1",
        f"put it into {tmp_path}",
        f"is there, or leave that to `python -m scratchnet.data download cifar10 --data-dir {tmp_path} --offline`",
    ):
        assert part in message
    assert everything_below(tmp_path / FOLDER) == []


def test_one_missing_file_of_four(tmp_path, publish, mirrors, idx):
    files, _ = idx
    publish("kmnist", ["range"], files)
    del mirrors.files[f"{FILES['train'][1]}.gz"]
    with pytest.raises(DownloadError, match=r"train-labels-idx1-ubyte.gz: no mirror delivered it"):
        download("kmnist", tmp_path)


def test_load_never_downloads(tmp_path, publish, mirrors, idx, cifar10):
    publish("kmnist", ["range"], idx[0])
    publish("cifar10", ["range"], {ARCHIVE: tar(in_folder(cifar10))}, cifar10)
    for name in ("kmnist", "cifar10"):
        with pytest.raises(DatasetError, match=f"`python -m scratchnet.data download {name} --data-dir"):
            load(name, "train", tmp_path)
    assert mirrors.requests == []


def test_unknown_names():
    with pytest.raises(ValueError, match=r"download: expected one of 'mnist', .*'cifar10', got 'cifar100'"):
        download("cifar100")


def link(name, target, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_an_archive_writes_nothing_but_the_expected_files(tmp_path, cifar10):
    evil = {
        f"../{FOLDER}/evil": b"1",
        f"{FOLDER}/../evil": b"2",
        f"{FOLDER}/sub/evil": b"3",
        f"{FOLDER}/../../evil": b"4",
        str(tmp_path / "absolute"): b"5",
        f"{FOLDER}/readme.html": b"6",
        "data_batch_1": b"7",
        f"other/{FOLDER}/data_batch_1": b"8",
        f"./{FOLDER}/data_batch_2": b"9",
    }
    (tmp_path / "out").mkdir()
    archive = tmp_path / "out" / "archive.tar.gz"
    archive.write_bytes(
        tar(
            {**evil, **in_folder(cifar10)},
            link(f"{FOLDER}/link", "/etc", tarfile.SYMTYPE),
            link("cifar", FOLDER, tarfile.SYMTYPE),
        )
    )
    with tarfile.open(archive) as opened:
        assert set(evil) <= {name if name in evil else f"/{name}" for name in opened.getnames()}
    unpack(archive, tmp_path / "out" / FOLDER, {name: md5(data) for name, data in cifar10.items()})
    archive.unlink()
    assert everything_below(tmp_path) == sorted(
        [f"out/{name}" for name in in_folder(cifar10)] + [f"original/{name}" for name in in_folder(cifar10)]
    )
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


WRONG_ENTRIES = {
    "a symbolic link": link(f"{FOLDER}/data_batch_1", "/etc/passwd", tarfile.SYMTYPE),
    "a hard link": link(f"{FOLDER}/data_batch_1", f"{FOLDER}/test_batch", tarfile.LNKTYPE),
    "a device": link(f"{FOLDER}/data_batch_1", "", tarfile.CHRTYPE),
    "a fifo": link(f"{FOLDER}/data_batch_1", "", tarfile.FIFOTYPE),
    "a directory": link(f"{FOLDER}/data_batch_1", "", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("entry", WRONG_ENTRIES.values(), ids=WRONG_ENTRIES.keys())
def test_a_member_has_to_be_a_regular_file(tmp_path, cifar10, entry):
    archive = tmp_path / "archive.tar.gz"
    expected = {name: md5(data) for name, data in cifar10.items()}
    archive.write_bytes(tar({f"{FOLDER}/test_batch": cifar10["test_batch"]}, entry))
    with pytest.raises(
        DatasetError, match=f"{re.escape(str(archive))}: expected {FOLDER}/data_batch_1 to be a regular"
    ):
        unpack(archive, tmp_path / FOLDER, expected)
    assert not (tmp_path / FOLDER / "data_batch_1").exists()


def test_a_member_of_giant_size_is_not_read(tmp_path, cifar10, monkeypatch):
    monkeypatch.setattr("scratchnet.datasets.downloads.MEMBER_LIMIT", 1000)
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(tar({f"{FOLDER}/data_batch_1": bytes(1001)}))
    with pytest.raises(DatasetError, match="regular file of at most 1000 bytes"):
        unpack(archive, tmp_path / FOLDER, {"data_batch_1": md5(bytes(1001))})


def test_wrong_archives(tmp_path, cifar10):
    archive, folder = tmp_path / "archive.tar.gz", tmp_path / FOLDER
    expected = {name: md5(data) for name, data in cifar10.items()}
    whole = tar(in_folder(cifar10))
    for data in (b"", b"no archive", whole[:1000], whole[: len(whole) // 2]):
        archive.write_bytes(data)
        with pytest.raises(DatasetError, match=f"{re.escape(str(archive))}: expected "):
            unpack(archive, folder, expected)
    for path in folder.iterdir():  # what was extracted before the archive broke off is whole
        assert path.read_bytes() == cifar10[path.name]

    some = {name: data for name, data in in_folder(cifar10).items() if "batch_2" not in name}
    archive.write_bytes(tar(some))
    with pytest.raises(DatasetError, match=f"expected data_batch_2 in {FOLDER}, got no such file"):
        unpack(archive, folder, expected)

    archive.write_bytes(tar({**in_folder(cifar10), f"{FOLDER}/test_batch": b"other"}))
    (folder / "test_batch").unlink(missing_ok=True)
    with pytest.raises(DatasetError, match=f"expected {FOLDER}/test_batch with md5:.*, got other bytes"):
        unpack(archive, folder, expected)
    assert not (folder / "test_batch").exists()


def test_every_dataset_has_a_source_with_well_formed_checksums():
    assert set(SOURCES) == set(DATASETS)
    for source in SOURCES.values():
        for checksum in [*source.downloads.values(), *source.members.values(), *source.unpacked.values()]:
            assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum)
        assert all(re.fullmatch(r"https?://\S+/", mirror) for mirror in source.mirrors)


@pytest.mark.parametrize(
    ("name", "theirs"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_idx_checksums_and_mirrors_are_torchvisions(name, theirs):
    torchvision = pytest.importorskip("torchvision")
    dataset = getattr(torchvision.datasets, theirs)
    assert SOURCES[name].downloads == {file: f"md5:{checksum}" for file, checksum in dataset.resources}
    assert set(SOURCES[name].mirrors) & set(dataset.mirrors)


def test_cifar10s_checksums_are_torchvisions():
    theirs = pytest.importorskip("torchvision").datasets.CIFAR10
    assert SOURCES["cifar10"].downloads == {theirs.filename: f"md5:{theirs.tgz_md5}"}
    assert SOURCES["cifar10"].mirrors[0] + theirs.filename == theirs.url
    files = [*theirs.train_list, *theirs.test_list, [theirs.meta["filename"], theirs.meta["md5"]]]
    assert SOURCES["cifar10"].members == {file: f"md5:{checksum}" for file, checksum in files}
