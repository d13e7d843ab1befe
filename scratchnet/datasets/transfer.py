"""One file over HTTP: mirrors in turn, resumed where it broke off, checked before it gets its name.

The bytes are collected in ``NAME.part``. Only a part whose checksum is right is renamed, so a file under its own
name is whole, whatever interrupted the transfer; what came before an interruption is kept for the next attempt.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scratchnet.datasets.base import DownloadError

BLOCK = 1 << 16  # bytes


class _Failed(Exception):
    """This mirror is of no use; the message says why."""


class _BrokenOff(_Failed):
    """The connection failed; asked again, the mirror may send the rest."""


def file_checksum(path: Path, algorithm: str) -> str:
    """``algorithm:hexadecimal`` of a file's content."""
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, _digest(algorithm)).hexdigest()}"


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether the file is there and its checksum, written ``algorithm:hexadecimal``, is this one."""
    return path.is_file() and file_checksum(path, checksum.partition(":")[0]) == checksum


def transfer(urls: Sequence[str], target: Path, checksum: str, timeout: float = 30.0) -> None:
    """Fetch ``target`` from the first URL that delivers a file with this checksum.

    Args:
        urls: tried in this order. One that breaks off is asked for the rest as long as it sends more each time.
        checksum: ``md5:…`` or ``sha256:…``.
        timeout: seconds without a byte after which a connection counts as broken.

    Raises:
        DownloadError: none did; the message gives the reason for each.
        OSError: the file could not be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    failures = []
    for url in urls:
        try:
            _complete(url, part, checksum, timeout)
        except _Failed as error:
            failures.append(f"{url}: {error}")
        else:
            os.replace(part, target)
            return
    raise DownloadError(f"{target.name}: no mirror delivered it ({'; '.join(failures)}).")


def _complete(url: str, part: Path, checksum: str, timeout: float) -> None:
    """Make ``part`` the whole file with the help of one URL."""
    if has_checksum(part, checksum):  # interrupted between the last byte and the new name
        return
    while True:
        beginning = _size(part)
        _receive_rest(url, part, timeout)
        algorithm = checksum.partition(":")[0]
        got = file_checksum(part, algorithm)
        if got == checksum:
            return
        part.unlink()
        if beginning == 0:
            raise _Failed(f"expected {checksum}, got {got}")
        # The fault may lie in a beginning that was there before: once more, all from here.


def _receive_rest(url: str, part: Path, timeout: float) -> None:
    """Append what is missing, asking again as long as every answer brings more."""
    while True:
        before = _size(part)
        try:
            return _receive(url, part, timeout)
        except _BrokenOff:
            if _size(part) <= before:
                raise


def _receive(url: str, part: Path, timeout: float) -> None:
    from tqdm import tqdm

    start = _size(part)
    with _open(url, start, timeout) as response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Failed(f"asked for bytes {start}-, got {response.headers.get('Content-Range')!r}")
        if response.status != 206:  # a server that cannot resume sends everything
            start = 0
        announced = response.headers.get("Content-Length", "")
        end = start + int(announced) if announced.isdecimal() else None
        name = part.name.removesuffix(".part")
        # disable=None: nothing is shown where stderr is no terminal
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(desc=name, initial=start, total=end, unit="B", unit_scale=True, disable=None) as progress,
        ):
            for block in _blocks(response):
                file.write(block)
                progress.update(len(block))
            os.fsync(file.fileno())
    if end is not None and _size(part) < end:
        raise _BrokenOff(f"broke off after {_size(part)} of {end} bytes")


def _open(url: str, start: int, timeout: float) -> Any:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "scratchnet", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        return urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part is longer than the file: of no use
            return _open(url, 0, timeout)
        raise _Failed(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _BrokenOff(_reason(error)) from None


def _blocks(response: Any) -> Iterator[bytes]:
    from http.client import HTTPException

    while True:
        try:
            block = response.read1(BLOCK)  # what is there, so that little is lost where the connection breaks
        except (OSError, HTTPException) as error:
            raise _BrokenOff(_reason(error)) from None
        if not block:
            return
        yield block


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # of a URLError
    return "no answer in time" if isinstance(cause, TimeoutError) else str(cause) or type(cause).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(algorithm: str) -> Any:
    # MD5 is what the datasets' authors publish: it guards against damage, and FIPS systems allow it for that
    return lambda: hashlib.new(algorithm, usedforsecurity=False)
