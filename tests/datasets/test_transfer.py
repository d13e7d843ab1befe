import hashlib
import io
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scratchnet.datasets import DatasetError, DownloadError
from scratchnet.datasets import transfer as transfer_module
from scratchnet.datasets.transfer import file_checksum, has_checksum, transfer

BODY = np.random.default_rng(0).bytes(200_000)
CHECKSUM = f"md5:{hashlib.md5(BODY).hexdigest()}"


@pytest.fixture
def fetch(mirrors, tmp_path):
    """fetch("way", …) transfers through mirrors that answer in these ways, and returns the target."""
    mirrors.files["data.bin"] = BODY

    def fetch(*ways, checksum=CHECKSUM, timeout=5.0):
        target = tmp_path / "folder" / "data.bin"
        transfer([mirrors.url_of(way, "data.bin") for way in ways], target, checksum, timeout)
        return target

    return fetch


def leave_part(tmp_path, content: bytes):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.bin.part").write_bytes(content)


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "folder").iterdir())


@pytest.mark.parametrize("way", ["whole", "range", "moved", "unsized"])
def test_a_good_mirror(fetch, tmp_path, way):
    assert fetch(way).read_bytes() == BODY
    assert left(tmp_path) == ["data.bin"]


def test_either_algorithm(fetch):
    assert fetch("whole", checksum=f"sha256:{hashlib.sha256(BODY).hexdigest()}").read_bytes() == BODY


FAILURES = {
    "missing": "HTTP 404 Not Found",
    "busy": "HTTP 503 Service Unavailable",
    "wrong": f"expected {CHECKSUM}, got md5:{hashlib.md5(b'<html>Please log in</html>').hexdigest()}",
    "flipped": f"expected {CHECKSUM}, got md5:",
    "cut": "broke off after 100000 of 200000 bytes",
    "cutchunks": "IncompleteRead",
    "slow": "no answer in time",
    "silent": "no answer in time",
    "garbage": "this is no HTTP",
    "nowhere": "Connection refused",
    "file": "HTTP 302 .*not allowed",
    "circle": "HTTP 302 .*infinite loop",
}


@pytest.mark.parametrize("way", FAILURES)
def test_a_failing_mirror_says_why_and_leaves_nothing_under_the_name(fetch, mirrors, tmp_path, way):
    url = re.escape(mirrors.url_of(way, "data.bin"))
    with pytest.raises(DownloadError, match=f"data.bin: no mirror delivered it .{url}: .*{FAILURES[way]}") as caught:
        fetch(way, timeout=0.3)
    assert isinstance(caught.value, DatasetError)
    assert isinstance(caught.value, OSError)
    assert "data.bin" not in left(tmp_path)


@pytest.mark.parametrize("way", FAILURES)
def test_the_next_mirror_takes_over(fetch, tmp_path, way):
    assert fetch(way, "range", timeout=0.3).read_bytes() == BODY
    assert left(tmp_path) == ["data.bin"]


def test_every_mirrors_reason_is_given(fetch):
    with pytest.raises(DownloadError, match=r"/missing/data.bin: HTTP 404.*; .*/wrong/data.bin: expected md5:"):
        fetch("missing", "wrong")


def test_the_rest_comes_from_another_mirror(fetch, mirrors):
    assert fetch("cut", "range").read_bytes() == BODY
    assert mirrors.requests == [("cut", None), ("cut", "bytes=100000-"), ("range", "bytes=100000-")]


def test_a_mirror_that_breaks_off_is_asked_for_the_rest(fetch, mirrors):
    assert fetch("cutrange").read_bytes() == BODY
    assert mirrors.requests == [("cutrange", None), ("cutrange", "bytes=66667-"), ("cutrange", "bytes=133334-")]


def test_a_later_call_resumes(fetch, mirrors, tmp_path):
    with pytest.raises(DownloadError):
        fetch("cut")
    assert left(tmp_path) == ["data.bin.part"]
    mirrors.requests.clear()
    assert fetch("range").read_bytes() == BODY
    assert mirrors.requests == [("range", "bytes=100000-")]


def test_a_mirror_that_cannot_resume_sends_everything(fetch, mirrors, tmp_path):
    leave_part(tmp_path, BODY[:5000])
    assert fetch("whole").read_bytes() == BODY
    assert mirrors.requests == [("whole", "bytes=5000-")]


def test_a_mirror_that_sends_another_range_is_left(fetch, tmp_path):
    leave_part(tmp_path, BODY[:5000])
    with pytest.raises(DownloadError, match="asked for bytes 5000-, got 'bytes 4999-199999/200000'"):
        fetch("shifted")
    assert fetch("shifted", "range").read_bytes() == BODY


def test_a_whole_part_needs_no_mirror(fetch, mirrors, tmp_path):
    leave_part(tmp_path, BODY)
    assert fetch("missing").read_bytes() == BODY
    assert mirrors.requests == []


WRONG_PARTS = {
    "other bytes": bytes(5000),
    "one flipped bit": bytes([BODY[0] ^ 1]) + BODY[1:5000],
    "as long": bytes(len(BODY)),
    "longer": BODY + b"x",
}


@pytest.mark.parametrize("way", ["whole", "range", "cutrange"])
@pytest.mark.parametrize("part", WRONG_PARTS.values(), ids=WRONG_PARTS.keys())
def test_a_wrong_part_is_replaced(fetch, tmp_path, part, way):
    leave_part(tmp_path, part)
    assert fetch(way).read_bytes() == BODY
    assert left(tmp_path) == ["data.bin"]


def test_a_wrong_beginning_by_one_mirror_is_replaced_by_the_next(fetch, mirrors, tmp_path):
    mirrors.files["data.bin"] = bytes(len(BODY))
    with pytest.raises(DownloadError):
        fetch("cut")
    mirrors.files["data.bin"] = BODY
    assert fetch("range").read_bytes() == BODY
    assert mirrors.requests[-2:] == [("range", "bytes=100000-"), ("range", None)]


def test_an_older_file_of_that_name_is_replaced_at_the_end(fetch, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.bin").write_bytes(b"older")
    with pytest.raises(DownloadError):
        fetch("cut")
    assert (tmp_path / "folder" / "data.bin").read_bytes() == b"older"
    assert fetch("range").read_bytes() == BODY


def test_an_interruption_keeps_the_part_only(fetch, mirrors, tmp_path, monkeypatch):
    blocks = transfer_module._blocks

    def interrupted(response):
        yield next(blocks(response))
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer_module, "_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("whole")
    assert left(tmp_path) == ["data.bin.part"]
    n = (tmp_path / "folder" / "data.bin.part").stat().st_size
    assert 0 < n < len(BODY)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch("range").read_bytes() == BODY
    assert mirrors.requests[-1] == ("range", f"bytes={n}-")


def test_a_killed_process_leaves_the_part_only(fetch, mirrors, tmp_path):
    url, target = mirrors.url_of("slow", "data.bin"), tmp_path / "folder" / "data.bin"
    code = (
        "import pathlib; from scratchnet.datasets.transfer import transfer\n"
        f"transfer([{url!r}], pathlib.Path({str(target)!r}), {CHECKSUM!r}, 30)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    part = target.with_name("data.bin.part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left(tmp_path) == ["data.bin.part"]
    assert BODY.startswith(part.read_bytes())
    assert fetch("range").read_bytes() == BODY
    assert mirrors.requests[-1][0] == "range"
    assert mirrors.requests[-1][1] is not None


def test_no_bar_where_there_is_no_terminal(fetch, capfd):
    fetch("whole")
    assert capfd.readouterr() == ("", "")


def test_a_bar_on_a_terminal(fetch, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    fetch("whole")
    assert re.search(r"data\.bin: 100%.*200k/200k", screen.getvalue())


def test_a_file_that_cannot_be_written_is_no_fault_of_the_mirrors(fetch, mirrors, tmp_path):
    (tmp_path / "folder").write_bytes(b"a file in the folder's place")
    with pytest.raises(FileExistsError):
        fetch("whole", "range")
    (tmp_path / "folder").unlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.bin.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        fetch("whole", "range")
    assert [way for way, _ in mirrors.requests] == ["whole"]


def test_checksums(tmp_path):
    path = tmp_path / "file"
    assert not has_checksum(path, "md5:d41d8cd98f00b204e9800998ecf8427e")
    path.write_bytes(b"")
    assert has_checksum(path, "md5:d41d8cd98f00b204e9800998ecf8427e")
    assert not has_checksum(path, "md5:d41d8cd98f00b204e9800998ecf8427f")
    assert file_checksum(path, "sha256") == f"sha256:{hashlib.sha256().hexdigest()}"
