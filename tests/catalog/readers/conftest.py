"""A real web server with the faults of real ones, and pictures to serve."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image


def png(seed: int = 0, size: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Shop:
    """A server on every loopback address; ``asked`` counts what was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.open, self.most_open = 0, 0
        self.pause = 0.0
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        place = urlsplit(handler.path)
        with self._lock:
            self.asked[place.path] += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            times = self.asked[place.path]
        time.sleep(self.pause)
        with self._lock:
            self.open -= 1  # once the client has its answer it may already ask for the next
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer(handler, place.path.strip("/"), {k: v[0] for k, v in parse_qs(place.query).items()}, times)

    def _answer(self, handler: BaseHTTPRequestHandler, name: str, query: dict[str, str], times: int) -> None:
        if name == "redirect":
            self._send(handler, 302, b"", {"Location": query["to"]})
        elif name == "loop":
            self._send(handler, 302, b"", {"Location": "/loop"})
        elif name == "slow":
            time.sleep(1.5)
            self._send(handler, 200, png())
        elif name == "endless":
            handler.send_response(200)
            handler.end_headers()
            for _ in range(100_000):
                handler.wfile.write(b"x" * 65536)
        elif name == "large":
            self._send(handler, 200, b"x" * 300_000)
        elif name == "flaky" and times <= 2:
            self._send(handler, 500, b"later")
        elif name == "down":
            self._send(handler, 503, b"")
        elif name.startswith("gone"):
            self._send(handler, 404, b"no")
        elif name == "page":
            self._send(handler, 200, b"<html>hello</html>")
        elif name == "cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "5000")
            handler.end_headers()
            handler.wfile.write(b"x" * 10)
        else:
            seed = int("".join(filter(str.isdigit, name)) or 0)
            self._send(handler, 200, png(seed))

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    yield server
    server.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png(number))
    return folder
