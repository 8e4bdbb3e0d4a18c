# SPDX-License-Identifier: Apache-2.0
"""The server of the page: a fixed list of files, on 127.0.0.1 alone."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import numpy as np

from fastgan.control import SteerableGenerator

__all__ = ["PageServer"]

_PAGE = Path(__file__).parent / "page"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)  # any forwarded port
_MAX_SEED = 2**32 - 1
_PART = 2**20  # bytes of a file that are in memory at once
_HEADERS = {
    # Nothing is loaded from elsewhere, and nothing sent; only WebAssembly is compiled at run time.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
        "connect-src 'self'; style-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    # Threads of WebAssembly, for large networks, share memory: browsers let isolated pages alone.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """Serves the page of a network, its files, and the latents of seeds (/z?seed=N).

    `serve_forever()` answers until `shutdown()`; `server_close()` frees the port. A request must
    come for 127.0.0.1 or localhost, so that a page from elsewhere, whose name was made to point to
    this machine, gets no answer.

    Args:
        network: of which the latents are.
        files: {name: content or path} beside those of the page, as of `network_files` and
            `runtime_files`. Files of paths are opened here, and read in parts when they are asked
            for, even if they have been deleted since.
        port: of 127.0.0.1; 0: a free one.

    Raises:
        OSError: the port is in use, or a file can't be opened.
    """

    daemon_threads = True

    def __init__(
        self, network: SteerableGenerator, files: Mapping[str, bytes | Path], port: int = 0
    ) -> None:
        self.network = network
        own = {path.name: path.read_bytes() for path in sorted(_PAGE.iterdir())}
        self.files: dict[str, bytes | BinaryIO] = {}  # server_close() looks through them
        super().__init__(("127.0.0.1", port), _Handler)
        try:
            for name, content in {**own, **files}.items():
                is_path = isinstance(content, Path)
                self.files[f"/{name}"] = content.open("rb") if is_path else content
        except OSError:
            self.server_close()
            raise
        self.files["/"] = self.files.pop("/page.html")

    def server_close(self) -> None:
        super().server_close()
        for content in self.files.values():
            if not isinstance(content, bytes):
                content.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that hangs up while it is answered is no error of ours.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fastgan", ""
    timeout = 60  # seconds that a connection may be silent

    def do_GET(self) -> None:
        try:
            target = urlsplit(self.path)
        except ValueError:  # such as x://[/
            self._answer(400, "this is no address")
            return
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self._answer(403, "this server answers to 127.0.0.1 and localhost only")
        elif target.path == "/z":
            self._answer_latent(parse_qs(target.query).get("seed", [""])[0])
        elif target.path in self.server.files:
            kind = _KINDS[Path(target.path).suffix or ".html"]
            self._answer(200, self.server.files[target.path], kind)
        else:
            self._answer(404, "there is no such file")

    do_HEAD = do_GET

    def _answer_latent(self, text: str) -> None:
        if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _MAX_SEED:
            self._answer(400, f"seed must be a whole number from 0 to {_MAX_SEED}, got {text!r}")
            return
        z = self.server.network.z([int(text)]).cpu().numpy().astype(np.dtype("<f4"))
        self._answer(200, z.tobytes(), "application/octet-stream")

    def _answer(
        self, status: int, content: bytes | str | BinaryIO, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        body = content.encode() if isinstance(content, str) else content
        size = len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in [body] if isinstance(body, bytes) else _parts(body, size):
            self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not printed."""


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The content of a file that several threads read at once: none moves its position."""
    done = 0
    while done < size and (part := os.pread(file.fileno(), _PART, done)):
        yield part
        done += len(part)
