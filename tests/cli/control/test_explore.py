# SPDX-License-Identifier: Apache-2.0
"""`fastgan explore`: its options, and what it says where something is missing."""

import http.client
import threading
from importlib.util import find_spec

import pytest

from fastgan.control import factorize
from fastgan.explore import PageServer, RuntimeMissingError


@pytest.fixture
def stopped(monkeypatch):
    """The command without ONNX and without onnxruntime-web, stopped by Ctrl-C after one request.

    Returns what it was given: the page's list of files, and the answer to a request.
    """
    seen = {}

    def network_files(network, *, directions, options):
        seen.update(directions=directions, options=options)
        return {"network.json": b"{}"}

    def serve_forever(self):
        thread = threading.Thread(target=self.handle_request)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=20)
        connection.request("GET", "/network.json")
        seen["answer"] = connection.getresponse().read()
        connection.close()
        thread.join(20)
        raise KeyboardInterrupt

    monkeypatch.setattr("fastgan._extras.check_installed", lambda package, extra: None)
    monkeypatch.setattr("fastgan.explore.network_files", network_files)
    monkeypatch.setattr("fastgan.explore.runtime.runtime_files", lambda: {"a.wasm": b""})
    monkeypatch.setattr(PageServer, "serve_forever", serve_forever)
    return seen


def test_it_serves_the_page_until_ctrl_c(cli, styled, network, stopped, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    factorize(network, count=2).save(cli.folder / "d.npz")
    output = cli("explore", styled, "--directions", "d.npz", "--num-directions", 3).output
    address = next(line.split()[1] for line in output.splitlines() if line.startswith("page "))
    assert address.startswith("http://127.0.0.1:")
    assert output.endswith("stopped\n")
    assert not opened
    assert stopped["answer"] == b"{}"
    assert [len(found.names) for found in stopped["directions"]] == [2, 3]
    assert stopped["options"] == ["--network", str(styled)]

    cli("explore", "latest", "--runs", styled.parent, "--num-directions", 0, "--open")
    assert stopped["options"] == ["--network", "latest", "--runs", str(styled.parent)]
    assert stopped["directions"] == []
    assert len(opened) == 1


def test_a_network_without_styles(cli, plain, stopped):
    cli("explore", plain)
    assert stopped["directions"] == []
    for words in (["--num-directions", 3], ["--directions", "d.npz"]):
        assert f"{words[0]}: " in cli("explore", plain, *words, code=1).output
        assert "has no styles" in cli("explore", plain, *words, code=1).output


def test_the_runtime_is_fetched_or_unpacked_where_that_is_asked_for(
    cli, plain, stopped, monkeypatch
):
    found = []

    def runtime_files():
        if not found:
            raise RuntimeMissingError("add --fetch-runtime once")
        return {"a.wasm": b""}

    monkeypatch.setattr("fastgan.explore.runtime.runtime_files", runtime_files)
    monkeypatch.setattr("fastgan.explore.runtime.install_runtime", found.append)
    monkeypatch.setattr(
        "fastgan.explore.runtime.fetch_runtime", lambda progress: found.append("fetched")
    )
    assert "add --fetch-runtime once" in cli("explore", plain, code=1).output
    assert found == []
    cli("explore", plain, "--fetch-runtime")
    cli("explore", plain, "--fetch-runtime")
    assert found == ["fetched"]
    cli("explore", plain, "--runtime", "a.tgz")
    assert str(found[1]) == "a.tgz"
    output = cli("explore", plain, "--runtime", "a.tgz", "--fetch-runtime", code=2).output
    assert "has no effect beside --runtime" in output


def test_a_port_that_is_in_use(cli, plain, stopped, network):
    server = PageServer(network, {})
    try:
        output = cli("explore", plain, "--port", server.server_port, code=2).output
    finally:
        server.server_close()
    assert "can't be used" in output
    assert "leave it out for a free one" in " ".join(output.split())


@pytest.mark.skipif(find_spec("onnxscript") is not None, reason="onnxscript is here")
def test_without_onnxscript_it_says_what_to_install(cli, plain):
    assert "pip install 'fastgan[onnx]'" in cli("explore", plain, code=1).output
