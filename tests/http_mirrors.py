"""A web server on 127.0.0.1 that fails in every way that a mirror can. The first part of a URL chooses the way."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mirrors:
    """Serves ``files`` (name → content) under ``URL/WAY/NAME`` and notes each request as (way, Range header)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""
        self.closing = threading.Event()

    def url_of(self, way: str, name: str) -> str:
        return f"{self.url}/{way}/{name}"


class Handler(BaseHTTPRequestHandler):
    mirrors: Mirrors

    def do_GET(self) -> None:
        _, way, name = self.path.split("/", 2)
        self.mirrors.requests.append((way, self.headers["Range"]))
        body = self.mirrors.files.get(name, b"")
        getattr(self, f"answer_{way}")(body)

    def start(self) -> int:
        """The first byte that is asked for."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        return int(found[1]) if found else 0

    def send(self, status: int, body: bytes, **headers: Any) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def answer_whole(self, body: bytes) -> None:
        """No Range support."""
        self.send(200, body)

    def answer_range(self, body: bytes) -> None:
        start = self.start()
        if start == 0:
            self.send(200, body)
        elif start >= len(body):
            self.send(416, b"", Content_Range=f"bytes */{len(body)}")
        else:
            self.send(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")

    def answer_missing(self, body: bytes) -> None:
        self.send(404, b"not here")

    def answer_busy(self, body: bytes) -> None:
        self.send(503, b"later")

    def answer_wrong(self, body: bytes) -> None:
        self.send(200, b"<html>Please log in</html>")

    def answer_flipped(self, body: bytes) -> None:
        self.send(200, body[:-1] + bytes([body[-1] ^ 1]))

    def answer_cut(self, body: bytes) -> None:
        """Half of it, and no Range support."""
        self.send(200, body[: len(body) // 2], Content_Length=len(body))

    def answer_cutrange(self, body: bytes) -> None:
        """A third of it at a time."""
        start = self.start()
        part = body[start : start + len(body) // 3 + 1]
        status = 206 if start else 200
        self.send(
            status, part, Content_Length=len(body) - start, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}"
        )

    def answer_cutchunks(self, body: bytes) -> None:
        """Chunked transfer that ends within a chunk."""
        self.protocol_version = "HTTP/1.1"
        half = body[: len(body) // 2]
        self.send(
            200, b"%x\r\n" % len(body) + half, Content_Length=None, Transfer_Encoding="chunked", Connection="close"
        )

    def answer_unsized(self, body: bytes) -> None:
        self.send(200, body, Content_Length=None)

    def answer_shifted(self, body: bytes) -> None:
        """Another range than the one that was asked for."""
        start = self.start()
        if start == 0:
            self.send(200, body)
        else:
            self.send(206, body[start - 1 :], Content_Range=f"bytes {start - 1}-{len(body) - 1}/{len(body)}")

    def answer_slow(self, body: bytes) -> None:
        """Half of it, then nothing."""
        self.send(200, body[: len(body) // 2], Content_Length=len(body))
        self.mirrors.closing.wait(20)

    def answer_silent(self, body: bytes) -> None:
        self.mirrors.closing.wait(20)

    def answer_garbage(self, body: bytes) -> None:
        self.wfile.write(b"this is no HTTP\r\n\r\n")

    def answer_moved(self, body: bytes) -> None:
        self.send(302, b"", Location=self.path.replace("/moved/", "/range/"))

    def answer_nowhere(self, body: bytes) -> None:
        self.send(302, b"", Location="http://127.0.0.1:9/")  # the discard port: nobody listens

    def answer_file(self, body: bytes) -> None:
        self.send(302, b"", Location="file:///etc/hostname")

    def answer_circle(self, body: bytes) -> None:
        self.send(302, b"", Location=self.path)

    def log_message(self, *arguments: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """A client that went away is what these tests are about."""


@contextmanager
def serving() -> Iterator[Mirrors]:
    mirrors = Mirrors()
    handler = type("BoundHandler", (Handler,), {"mirrors": mirrors})
    with Server(("127.0.0.1", 0), handler) as server:
        mirrors.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield mirrors
        finally:
            mirrors.closing.set()
            server.shutdown()
            thread.join()
