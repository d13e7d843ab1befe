"""Fetching a published dataset into the data root. Nothing is ever fetched but by ``download``."""

import gzip
import os
import tarfile
import zlib
from pathlib import Path

from scratchnet.datasets.base import DatasetError, DownloadError
from scratchnet.datasets.paths import data_root
from scratchnet.datasets.sources import SOURCES, Source, by_hand
from scratchnet.datasets.transfer import has_checksum, transfer

MEMBER_LIMIT = 64 << 20  # bytes; a batch of CIFAR-10 has 31 million


def download(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    timeout: float = 30.0,
) -> Path:
    """Put the published files of a dataset into the data root, unless they are there already.

    Mirrors are tried in turn, broken transfers are resumed, also by a later call, and a file gets its name only
    after its checksum was found right. An archive that already lies in the data root is unpacked and kept.

    Args:
        name: ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"`` or ``"cifar10"``.
        data_dir: the data root, see ``load``.
        offline: reach for no server. None asks the environment variable ``SCRATCHNET_OFFLINE``.
        timeout: seconds without a byte after which the next mirror is tried.

    Returns:
        The folder with the files.

    Raises:
        ValueError: an unknown name.
        DownloadError: a file is missing, and no mirror may be asked or none delivered it. The message says how to
            place the files by hand.
        DatasetError: the archive holds something else.
        OSError: a file could not be written.
    """
    if name not in SOURCES:
        raise ValueError(f"download: expected one of {', '.join(map(repr, SOURCES))}, got {name!r}")
    source, root = SOURCES[name], data_root(data_dir)
    folder = root / source.folder
    offline = _offline_by_environment() if offline is None else offline
    if _missing(folder, source.members or source.downloads):
        place = root if source.members else folder
        try:
            fetched = _fetch(source, place, offline, timeout)
        except DownloadError as error:
            raise DownloadError(f"{name}: {error} {by_hand(name, data_dir)}") from None
        if source.members:
            for file in source.downloads:
                unpack(place / file, folder, source.members)
            for archive in fetched:
                archive.unlink()
    return folder


def _fetch(source: Source, place: Path, offline: bool, timeout: float) -> list[Path]:
    """The missing ones of the downloads; returns those that were fetched."""
    missing = _missing(place, source.downloads)
    if missing and offline:
        raise DownloadError(f"offline: {', '.join(missing)} would have to be downloaded.")
    for file in missing:
        transfer([mirror + file for mirror in source.mirrors], place / file, source.downloads[file], timeout)
    return [place / file for file in missing]


def _missing(folder: Path, files: dict[str, str]) -> list[str]:
    return [file for file, checksum in files.items() if not has_checksum(folder / file, checksum)]


def unpack(archive: Path, folder: Path, members: dict[str, str]) -> None:
    """Extract the named regular files of a tar archive's folder of the same name, and nothing else.

    A name in the archive never becomes a path: it only selects one of ``members``. Each file is written aside,
    checked and renamed.

    Raises:
        DatasetError: the archive is damaged, or a member is missing, a link or a device, too large, or has another
            checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = set(members)
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                top, _, name = entry.name.partition("/")
                if top == folder.name and name in members:
                    _extract(tar, entry, folder / name, members[name])
                    missing.discard(name)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DatasetError(f"{archive}: expected a readable tar archive, got: {error}") from error
    if missing:
        raise DatasetError(f"{archive}: expected {', '.join(sorted(missing))} in {folder.name}, got no such file")


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, checksum: str) -> None:
    content = tar.extractfile(entry) if entry.isreg() and entry.size <= MEMBER_LIMIT else None
    if content is None:
        raise DatasetError(f"{tar.name!s}: expected {entry.name} to be a regular file of at most {MEMBER_LIMIT} bytes")
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content.read())
    if not has_checksum(part, checksum):
        part.unlink()
        raise DatasetError(f"{tar.name!s}: expected {entry.name} with {checksum}, got other bytes")
    os.replace(part, target)


def _offline_by_environment() -> bool:
    return os.environ.get("SCRATCHNET_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")
