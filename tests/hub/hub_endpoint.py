# SPDX-License-Identifier: Apache-2.0
"""A tiny Hugging Face Hub in memory: `Store`, and an HTTP endpoint with the parts that we use."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_a_test"


class Store:
    """Repositories: name → branch → list of commits, each {file name: bytes}."""

    def __init__(self):
        self.repositories = {}
        self.private = {}

    def create(self, name, private=False):
        self.repositories.setdefault(name, {"main": [{}]})
        self.private.setdefault(name, private)

    def files(self, name, revision="main"):
        """{file name: bytes}, or the missing part: "repository" or "revision"."""
        if name not in self.repositories:
            return "repository"
        for branch, commits in self.repositories[name].items():
            for number, files in enumerate(commits):
                if revision in (branch, sha(name, branch, number)) and (
                    revision != branch or files is commits[-1]
                ):
                    return files
        return "revision"

    def sha(self, name, revision):
        for branch, commits in self.repositories[name].items():
            if branch == revision:
                return sha(name, branch, len(commits) - 1)
        return revision

    def commit(self, name, revision, added, deleted):
        old = self.repositories[name][revision][-1]
        new = {file: data for file, data in old.items() if file not in deleted} | added
        self.repositories[name][revision].append(new)


def sha(*parts):
    return hashlib.sha1(repr(parts).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _send(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, what):
        self._send(404, {"error": what}, X_Error_Code=what)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        store, path = self.server.store, self.path.partition("?")[0]
        self.server.requests.append((self.command, path))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?", path):
            name, kind, revision = match[1], match[2], match[3] or "main"
            files = store.files(name, revision)
            if isinstance(files, str):
                return self._missing({"repository": "RepoNotFound"}.get(files, "RevisionNotFound"))
            if kind == "tree":
                return self._send(200, [
                    {"type": "file", "path": f, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for f, d in files.items()
                ])  # fmt: skip
            siblings = [{"rfilename": f, "size": len(d)} for f, d in files.items()]
            return self._send(200, {"id": name, "sha": store.sha(name, revision), "private":
                                    store.private[name], "siblings": siblings, "tags": [],
                                    "downloads": 0, "likes": 0, "gated": False})  # fmt: skip
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = match.groups()
            files = store.files(name, revision)
            if isinstance(files, str):
                return self._missing({"repository": "RepoNotFound"}.get(files, "RevisionNotFound"))
            if file not in files:
                return self._missing("EntryNotFound")
            data = files[file]
            return self._send(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"',
                              X_Repo_Commit=store.sha(name, revision),
                              Content_Length=str(len(data)))  # fmt: skip
        return self._missing("EntryNotFound")

    def do_POST(self):
        store, path = self.server.store, self.path.partition("?")[0]
        self.server.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid credentials"})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            if name in store.repositories:
                return self._send(409, {"error": "exists", "url": f"http://{name}"})
            store.create(name, asked.get("private") or asked.get("visibility") == "private")
            return self._send(200, {"url": f"https://huggingface.co/{name}", "name": name})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/([^/]+)", path)
        name, what, revision = match.groups()
        if what == "branch":
            branches = store.repositories[name]
            if revision in branches:
                return self._send(409, {"error": "exists"})
            branches[revision] = [dict(branches["main"][-1])]
            return self._send(200, {})
        if what == "preupload":
            return self._send(200, {"files": [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]})  # fmt: skip
        lines = [json.loads(line) for line in body.splitlines() if line]
        if self.server.refuses_commits:
            return self._send(403, {"error": "no permission"})
        store.commit(
            name,
            revision,
            {line["value"]["path"]: base64.b64decode(line["value"]["content"])
             for line in lines if line["key"] == "file"},
            {line["value"]["path"] for line in lines if line["key"] == "deletedFile"},
        )  # fmt: skip
        oid = store.sha(name, revision)
        return self._send(200, {"commitUrl": f"https://huggingface.co/{name}/commit/{oid}",
                                "commitOid": oid, "pullRequestUrl": None})  # fmt: skip


@contextmanager
def endpoint():
    """A server on loopback with `.url`, `.store`, `.requests` and `.refuses_commits`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.store, server.requests, server.refuses_commits = Store(), [], False
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
