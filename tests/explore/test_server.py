# SPDX-License-Identifier: Apache-2.0
"""The server of the page: what it gives, to whom, and what it refuses."""

import http.client
import re

import numpy as np
import pytest

from fastgan.explore import PageServer

GIVEN = {"network.json": b"{}", "synthesis.onnx": b"\x00onnx", "a.mjs": b"//", "a.wasm": b"\x00"}


@pytest.fixture
def ask(make_network, serve):
    """(status, headers, content) of a request; one server for a test."""
    with serve(make_network("light_skip_gan"), GIVEN) as server:

        def request(path, host=None, method="GET"):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
            try:
                headers = {} if host is None else {"Host": host}
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            finally:
                connection.close()

        request.server = server
        yield request


def test_the_page_and_all_that_it_asks_for(ask):
    status, headers, page = ask("/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    asked = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.decode()))
    assert asked == {"/page.css", "/page.js"}
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
    seen, waiting = {"/ort.wasm.bundle.min.mjs"}, asked
    while waiting:
        path = waiting.pop()
        seen.add(path)
        status, headers, content = ask(path)
        assert status == 200, path
        assert headers["Content-Type"] == kinds[path.rpartition(".")[2]]
        found = re.findall(r'(?:from|import|Worker\() ?"(/[^"]+)"', content.decode())
        waiting |= set(found) - seen
    assert seen >= {"/worker.js", "/runner.js", "/drawing.js", "/latents.js", "/controls.js"}
    for name, content in GIVEN.items():
        assert ask(f"/{name}")[::2] == (200, content)
    assert ask("/a.wasm")[1]["Content-Type"] == "application/wasm"
    status, headers, content = ask("/a.wasm", method="HEAD")
    assert (status, headers["Content-Length"], content) == (200, "1", b"")


@pytest.mark.parametrize(
    "path",
    ["/page.html", "/server.py", "/../server.py", "/%2e%2e/server.py", "/page/page.js",
     "/etc/passwd", "/zz"],
)  # fmt: skip
def test_nothing_but_the_list_of_files(ask, path):
    assert ask(path)[0] == 404


def test_what_is_no_address_is_refused(ask):
    assert ask("x://[/")[0] == 400


def test_only_requests_for_this_machine_are_answered(ask):
    port = ask.server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "LOCALHOST:8000"):
        assert ask("/network.json", host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost:", "",
                 "evil-localhost:80", "127.0.0.1:80@evil.example"):  # fmt: skip
        status, _, content = ask("/network.json", host)
        assert (status, content[:18]) == (403, b"this server answer"), host
        assert ask("/z?seed=0", host)[0] == 403, host
    assert ask.server.server_address[0] == "127.0.0.1"
    assert ask("/", method="POST")[0] == 501


def test_every_answer_forbids_requests_to_elsewhere(ask):
    for path in ("/", "/worker.js", "/z?seed=0", "/nothing"):
        headers = ask(path)[1]
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        allowed = {word for words in policy.values() for word in words.split()}
        assert allowed == {"'none'", "'self'", "'wasm-unsafe-eval'", "data:", "blob:"}
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_latents_of_seeds_are_those_of_python(ask):
    for seed in (0, 7, 2**32 - 1):
        status, _, content = ask(f"/z?seed={seed}")
        assert status == 200
        want = ask.server.network.z([seed])[0].numpy()
        np.testing.assert_array_equal(np.frombuffer(content, "<f4"), want)
    for text in ("", "-1", "x", "1.5", str(2**32), "9" * 99, "١"):
        status, _, content = ask(f"/z?seed={text}" if text.isascii() else "/z?seed=%D9%A1")
        assert status == 400, text
        assert b"seed must be a whole number from 0 to 4294967295" in content


def test_a_port_that_is_in_use(ask, make_network):
    with pytest.raises(OSError, match="in use"):
        PageServer(ask.server.network, {}, ask.server.server_port)


def test_files_are_streamed_even_when_they_have_been_deleted(make_network, serve, tmp_path):
    content = np.random.default_rng(0).bytes(2_560_000)  # more than two parts
    path = tmp_path / "rest.onnx"
    path.write_bytes(content)
    with serve(make_network("light_skip_gan"), {"rest.onnx": path}) as server:
        path.unlink()
        for method, want in (("GET", content), ("HEAD", b""), ("GET", content)):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
            connection.request(method, "/rest.onnx")
            answer = connection.getresponse()
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.read() == want
            connection.close()
        file = server.files["/rest.onnx"]
    assert file.closed


def test_a_file_that_is_missing_is_said_at_once(make_network, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        PageServer(make_network("light_skip_gan"), {"none.onnx": tmp_path / "none.onnx"})
