# SPDX-License-Identifier: Apache-2.0
"""Modules in the place of huggingface_hub and its errors, for the default suite.

Functions have the parameters that fastgan gives, as test_endpoint.py compares with the package's.
"""

import fnmatch
import types
from pathlib import Path

from hub_endpoint import Store, sha

PRIVATE = ("/srv/secret-disk", "C:\\", "hidden-folder", str(Path.home()))


class HTTPError(Exception):
    pass


class HfHubHTTPError(HTTPError, OSError):
    def __init__(self, text, status=500):
        super().__init__(text)
        self.response = types.SimpleNamespace(status_code=status)


class RepositoryNotFoundError(HfHubHTTPError):
    pass


class GatedRepoError(RepositoryNotFoundError):
    pass


class RevisionNotFoundError(HfHubHTTPError):
    pass


class LocalEntryNotFoundError(FileNotFoundError):
    pass


class HFValidationError(ValueError):
    pass


ERRORS = (
    HTTPError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    GatedRepoError,
    RevisionNotFoundError,
    LocalEntryNotFoundError,
    HFValidationError,
)


class StandIn:
    """A Hub in memory with a cache folder; `install` puts it in the place of the package."""

    def __init__(self, cache: Path):
        self.store, self.cache, self.fetched = Store(), cache, []
        self.token, self.may_write, self.is_offline = "hf_x", True, False

    def install(self, monkeypatch):
        module = types.ModuleType("huggingface_hub")
        module.errors = types.ModuleType("huggingface_hub.errors")
        for kind in ERRORS:
            setattr(module.errors, kind.__name__, kind)
        module.HfApi = lambda: self
        module.get_token = lambda: self.token
        module.snapshot_download = self.snapshot_download
        module.hf_hub_download = self.hf_hub_download
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", module)
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub.errors", module.errors)

    def _files(self, name, revision):
        if self.is_offline:
            raise HTTPError("[Errno 111] Connection refused")
        files = self.store.files(name, revision or "main")
        if files == "repository":
            raise RepositoryNotFoundError("404", 404)
        if files == "revision":
            raise RevisionNotFoundError("404", 404)
        return files

    def model_info(self, repo_id, *, revision=None, files_metadata=False):
        files = self._files(repo_id, revision)
        siblings = [
            types.SimpleNamespace(rfilename=f, size=len(d) if files_metadata else None)
            for f, d in files.items()
        ]
        commit = self.store.sha(repo_id, revision or "main")
        return types.SimpleNamespace(sha=commit, siblings=siblings)

    def snapshot_download(
        self, repo_id, *, revision=None, allow_patterns=None, local_files_only=False
    ):
        folder = self.cache / sha(repo_id, revision)
        if local_files_only:
            if not folder.is_dir():
                raise LocalEntryNotFoundError("not in the cache")
            return str(folder)
        for file, data in self._files(repo_id, revision).items():
            if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(data)
                self.fetched.append(file)
        return str(folder)

    def hf_hub_download(self, repo_id, filename, *, revision=None):
        folder = self.snapshot_download(repo_id, revision=revision, allow_patterns=[filename])
        return str(Path(folder) / filename)

    def create_repo(self, repo_id, *, private=None, exist_ok=False):
        self._may_write()
        self.store.create(repo_id, bool(private))

    def create_branch(self, repo_id, *, branch, exist_ok=False):
        self._may_write()
        branches = self.store.repositories[repo_id]
        branches.setdefault(branch, [dict(branches["main"][-1])])

    def upload_folder(
        self, *, repo_id, folder_path, commit_message, revision=None, delete_patterns=None
    ):
        if self.may_write == "not files":
            raise HfHubHTTPError("403", 403)
        files = self._files(repo_id, revision)
        added = {
            path.relative_to(folder_path).as_posix(): path.read_bytes()
            for path in Path(folder_path).rglob("*")
            if path.is_file()
        }
        deleted = {f for f in files for pattern in delete_patterns if fnmatch.fnmatch(f, pattern)}
        self.store.commit(repo_id, revision or "main", added, deleted)
        return types.SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    def _may_write(self):
        if not self.may_write:
            raise HfHubHTTPError("401", 401)
