"""check_dist.py DIST: the wheel and the sdist in a folder hold what users need."""

import sys
import tarfile
import zipfile
from pathlib import Path

DATA = [
    f"scratchnet/datasets/mnist/{split}-{kind}-ubyte.gz"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]
NEEDED = [
    *DATA,
    "scratchnet/py.typed",
    "scratchnet/ops/conv.py",
    "scratchnet/kernels/loops/conv.py",
    "scratchnet/kernels/gpu/conv.cu",
    "scratchnet/kernels/gpu/common.cuh",
    "scratchnet/train.py",
    "torch_ref/train.py",
    "torch_ref/models/mnist.py",
]


def check(archive: Path, names: list[str]) -> None:
    missing = [name for name in [*NEEDED, "LICENSE", "NOTICE"] if not any(n.endswith(name) for n in names)]
    if missing:
        sys.exit(f"{archive.name} lacks {', '.join(missing)}")
    print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB, {len(names)} files, all that is needed")


folder = Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
(sdist,) = folder.glob("*.tar.gz")
check(wheel, zipfile.ZipFile(wheel).namelist())
with tarfile.open(sdist) as tar:
    check(sdist, tar.getnames())
