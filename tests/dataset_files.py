"""Small datasets in the published file formats."""

import struct
from pathlib import Path

import numpy as np

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR10_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_dataset(folder: Path, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Plain IDX files with 30 training and 20 test samples; returns the arrays of each split."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    arrays = {}
    for split, prefix, n in (("train", "train", 30), ("test", "t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        arrays[split] = images, labels
    return arrays


def cifar10_arrays(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """batch → images (4, 3, 32, 32) and labels (4,)."""
    rng = np.random.default_rng(seed)
    batches = [batch for split in CIFAR10_BATCHES.values() for batch in split]
    return {batch: (rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 4)) for batch in batches}


def write_cifar10_binary(root: Path, arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for batch, (images, labels) in arrays.items():
        records = np.hstack([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)])
        (folder / f"{batch}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_CLASSES) + "\n\n")
    return folder


def write_cifar10_python(root: Path, arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for batch, (images, labels) in arrays.items():
        (folder / batch).write_bytes(python2_batch(images.reshape(len(images), -1), labels.tolist()))
    meta = {"num_cases_per_batch": 10_000, "label_names": CIFAR10_CLASSES, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    return folder


def python2_batch(data: np.ndarray, labels: list[int], batch_label: str = "testing batch 1 of 1") -> bytes:
    filenames = [f"domestic_cat_s_{i:06d}.png" for i in range(len(labels))]
    return python2_pickle({"batch_label": batch_label, "labels": labels, "data": data, "filenames": filenames})


def python2_pickle(value: object) -> bytes:
    """What ``cPickle.dumps(value, 2)`` wrote under Python 2: text is a byte string, arrays are numpy.core's."""
    memo = iter(range(1, 1 << 20))

    def put() -> bytes:
        index = next(memo)
        return b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def dump(value: object) -> bytes:
        if isinstance(value, str):
            data = value.encode("latin1")
            size = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
            return size + data + put()
        if isinstance(value, int):
            if 0 <= value < 1 << 16:
                return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"]" + put() + b"(" + b"".join(map(dump, value)) + b"e"
        if isinstance(value, dict):
            return b"}" + put() + b"(" + b"".join(dump(key) + dump(item) for key, item in value.items()) + b"u"
        if isinstance(value, np.ndarray):
            return dump_array(value)
        raise TypeError(type(value))

    def dump_array(array: np.ndarray) -> bytes:
        raw = array.tobytes("A")
        fortran = b"\x89" if array.flags.c_contiguous else b"\x88"
        kind = array.dtype.str[1:]
        order = array.dtype.str[0]
        return b"".join(
            [
                b"cnumpy.core.multiarray\n_reconstruct\n" + put(),
                b"cnumpy\nndarray\n" + put(),
                b"K\x00\x85" + put() + dump("b") + b"\x87" + put() + b"R" + put(),
                b"(K\x01(" + b"".join(map(dump, array.shape)) + b"t" + put(),
                b"cnumpy\ndtype\n" + put() + dump(kind) + b"K\x00K\x01\x87" + put() + b"R" + put(),
                b"(K\x03" + dump(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t" + put() + b"b",
                fortran + b"T" + struct.pack("<i", len(raw)) + raw + put(),
                b"t" + put() + b"b",
            ]
        )

    return b"\x80\x02" + dump(value) + b"."
