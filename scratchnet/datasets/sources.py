"""What is published: where each dataset comes from, its checksums, and where its files belong.

A checksum is written ``algorithm:hexadecimal``. Sources: http://yann.lecun.com/exdb/mnist/,
https://github.com/zalandoresearch/fashion-mnist, http://codh.rois.ac.jp/kmnist/,
https://www.cs.toronto.edu/~kriz/cifar.html, and torchvision's lists of mirrors.
"""

import os
import shlex
from dataclasses import dataclass, field

from scratchnet.datasets.paths import data_root


@dataclass(frozen=True)
class Source:
    """A published dataset.

    Args:
        images: how many there are in the training and in the test split.
        shape: (C, H, W) of an image.
        classes: how many.
        folder: where its files belong, within the data root.
        mirrors: URLs, each of which is followed by the name of a download.
        downloads: name → checksum. They go into ``folder``, or, if there are ``members``, are archives that
            are unpacked there.
        members: name → checksum of the files within the archive.
        unpacked: name → checksum of a download's content without its compression, where it is known.
    """

    images: tuple[int, int]
    shape: tuple[int, int, int]
    classes: int
    folder: str
    mirrors: tuple[str, ...]
    downloads: dict[str, str]
    members: dict[str, str] = field(default_factory=dict)
    unpacked: dict[str, str] = field(default_factory=dict)


def _idx_downloads(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    return {
        "train-images-idx3-ubyte.gz": f"md5:{train_images}",
        "train-labels-idx1-ubyte.gz": f"md5:{train_labels}",
        "t10k-images-idx3-ubyte.gz": f"md5:{test_images}",
        "t10k-labels-idx1-ubyte.gz": f"md5:{test_labels}",
    }


SOURCES = {
    "mnist": Source(
        images=(60_000, 10_000),
        shape=(1, 28, 28),
        classes=10,
        folder="MNIST/raw",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        downloads=_idx_downloads(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        unpacked={
            "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": Source(
        images=(60_000, 10_000),
        shape=(1, 28, 28),
        classes=10,
        folder="FashionMNIST/raw",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        downloads=_idx_downloads(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "kmnist": Source(
        images=(60_000, 10_000),
        shape=(1, 28, 28),
        classes=10,
        folder="KMNIST/raw",
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        downloads=_idx_downloads(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
    "cifar10": Source(
        images=(50_000, 10_000),
        shape=(3, 32, 32),
        classes=10,
        folder="cifar-10-batches-py",
        mirrors=("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/"),
        downloads={"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
        members={
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
            "batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
}


def download_command(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """The command line that fetches a dataset into the same data root."""
    where = "" if data_dir is None else f" --data-dir {shlex.quote(os.fspath(data_dir))}"
    return f"python -m scratchnet.data download {name}{where}"


def by_hand(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """Instructions for placing the files without this program's help."""
    source, root = SOURCES[name], data_root(data_dir)
    files = ", ".join(source.downloads)
    mirrors = " or ".join(source.mirrors)
    if source.members:
        example = root / source.folder / next(iter(source.members))
        return (
            f"By hand: fetch {files} from {mirrors}, put it into {root} and unpack it, so that {example} is there, "
            f"or leave that to `{download_command(name, data_dir)} --offline`."
        )
    return f"By hand: fetch {files} from {mirrors} and put them into {root / source.folder}."
