# SPDX-License-Identifier: Apache-2.0
"""Networks in repositories of the Hugging Face Hub: how these are named, and how they are fetched.

A repository that `fastgan.hub.push_to_hub` wrote holds

    config.json, model.safetensors   the generator, as `save_pretrained` writes it
    training_options.json            the run's settings, without paths
    checkpoints/ckpt-*               only where the person chose it: D, optimisers, and all else
    README.md, samples.*             for people; they are not fetched

Only these names are ever fetched, whatever else a repository holds, into huggingface_hub's cache.
Its environment variables hold: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastgan._extras import Extra

__all__ = [
    "HubError",
    "check_config",
    "errors",
    "explained",
    "fetch",
    "hub",
    "listed",
    "local_folder",
    "parse_name",
]

hub = Extra("huggingface_hub", "hub")
errors = Extra("huggingface_hub.errors", "hub")

_PREFIX = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:hf://)?(?P<name>{_PART}/{_PART})(?:@(?P<revision>[\w./-]{{1,200}}))?")
_NETWORK = ("config.json", "model.safetensors")
_OPTIONS = "training_options.json"
_CHECKPOINT = re.compile(r"checkpoints/ckpt-[\w-]{1,40}\.(json|safetensors)")
_MOST_JSON, _MOST_TENSORS = 2**22, 2**35  # bytes
_LISTED = 6


class HubError(OSError):
    """A repository can't be read or written, or holds something else than a network of fastgan."""


def parse_name(text: str) -> tuple[str, str | None] | None:
    """The repository and revision that a text names.

    Args:
        text: "hf://user/name", "user/name", either with "@revision" after it.

    Returns:
        ("user/name", revision or None); None where the text is no such name.
    """
    match = _NAME.fullmatch(text)
    is_fine = match is not None and ".." not in text and "--" not in match["name"]
    return (match["name"], match["revision"]) if is_fine else None


def local_folder(
    where: str, path: Path | str, revision: str | None = None, *, with_checkpoint: bool = False
) -> Path:
    """A folder of a network: the local one that is named, or a repository's, which is fetched.

    Args:
        where: what the person called, the start of messages.
        path: a local folder; or a str "user/name" of a repository of the Hub, where there is no
            such folder. A pathlib.Path is never fetched.
        revision: branch, tag or commit of the repository; default None: its main branch.
        with_checkpoint: whether a repository's files of checkpoints/ are fetched, too.

    Returns:
        The folder, which is in huggingface_hub's cache where it was fetched.

    Raises:
        ValueError: there is no such folder, and the text names no repository; or a revision is
            given for a local folder.
        HubError: the repository can't be read, or holds no network of fastgan.
        MissingPackageError: huggingface_hub is not installed.
    """
    is_local = Path(path).is_dir() and not str(path).startswith(_PREFIX)
    if is_local and revision is not None:
        raise ValueError(
            f"{where}: revision={revision!r} is for a repository of the Hub, and {path} is a local "
            "folder; leave it out"
        )
    if is_local:
        return Path(path)
    found = parse_name(path) if isinstance(path, str) else None
    if found is None:
        raise ValueError(
            f"{where}: {path} is no local folder, and no name of a repository of the Hugging Face "
            "Hub either ('user/name')"
        )
    name, own = found
    if own and revision and own != revision:
        raise ValueError(
            f"{where}: {path!r} names the revision {own}, and revision={revision!r} another one; "
            "leave one of them out"
        )
    return fetch(name, revision=revision or own, with_checkpoint=with_checkpoint)


def fetch(name: str, *, revision: str | None = None, with_checkpoint: bool = False) -> Path:
    """The folder of a repository's network, fetched into huggingface_hub's cache where it is not.

    The list of files and config.json come first: of a repository that holds something else, nothing
    else is fetched. Without a network, what is in the cache is used.

    Args:
        name: "user/name".
        revision: branch, tag or commit; default None: the main branch.
        with_checkpoint: whether the files of checkpoints/ are fetched, too; default False.

    Returns:
        The folder.

    Raises:
        HubError: no such repository or revision, no permission, no network and nothing in the
            cache, files that are too large, or a repository without a network of fastgan.
        MissingPackageError: huggingface_hub is not installed.
    """
    with explained(f"hf://{name}", revision):
        try:
            info = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        except Exception as error:
            if not _is_offline(error):
                raise
            return _from_cache(name, revision, with_checkpoint, error)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        chosen = _chosen(name, sizes, with_checkpoint)
        check_config(name, Path(hub.hf_hub_download(name, "config.json", revision=revision)))
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=chosen))


@contextlib.contextmanager
def explained(where: str, revision: str | None = None) -> Iterator[None]:
    """Errors of huggingface_hub inside the block become `HubError`, in plain words.

    Args:
        where: the repository, the start of messages.
        revision: what was asked for.
    """
    try:
        yield
    except HubError:
        raise
    except errors.GatedRepoError as error:
        raise HubError(
            f"{where}: its owner wants you to accept terms first; open its page in a browser, then "
            "log in here with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{where}: the Hub has no such repository, or it is private and your token can't read "
            "it; look at the name, or log in with `hf auth login` (or set HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{where}: it has no revision {revision!r}; name a branch, a tag or a commit of it"
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{where}: {error}") from error
    except (errors.HTTPError, OSError) as error:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if status in (401, 403):
            raise HubError(
                f"{where}: the Hub refuses your token (status {status}); a push needs one that may "
                "write there; log in again with `hf auth login` (or set HF_TOKEN)"
            ) from error
        if status is None and _is_offline(error):
            raise HubError(
                f"{where}: the Hub can't be reached ({_first_line(error)}); look at the network, "
                "and at HF_ENDPOINT and HF_HUB_OFFLINE"
            ) from error
        raise HubError(f"{where}: {_first_line(error)}") from error


def _is_offline(error: Exception) -> bool:
    """Whether no answer came at all, or the person forbade to ask."""
    if isinstance(error, errors.HfHubHTTPError):
        return False
    return isinstance(error, (errors.HTTPError, OSError))


def _from_cache(name: str, revision: str | None, with_checkpoint: bool, reason: Exception) -> Path:
    patterns = [*_NETWORK, _OPTIONS] + (["checkpoints/ckpt-*"] if with_checkpoint else [])
    try:
        found = hub.snapshot_download(
            name, revision=revision, allow_patterns=patterns, local_files_only=True
        )
    except (OSError, ValueError) as error:
        at = "" if revision is None else f" at revision {revision}"
        raise HubError(
            f"hf://{name}: the Hub can't be reached ({_first_line(reason)}), and the cache of "
            f"huggingface_hub does not hold it{at}; fetch it once with a network"
        ) from error
    folder = Path(found)
    missing = [file for file in _NETWORK if not (folder / file).is_file()]
    if missing:
        raise HubError(
            f"hf://{name}: the Hub can't be reached ({_first_line(reason)}), and the cache of "
            f"huggingface_hub has it without {' and '.join(missing)}; fetch it once with a network"
        )
    check_config(name, folder / "config.json")
    return folder


def _chosen(name: str, sizes: dict[str, int], with_checkpoint: bool) -> list[str]:
    """The names to fetch of those that a repository holds, with their sizes in bytes."""
    if any(file not in sizes for file in _NETWORK):
        raise HubError(
            f"hf://{name} holds no network of fastgan (config.json and model.safetensors); it has "
            f"{listed(sorted(set(sizes) - {'.gitattributes'}))}"
        )
    chosen = [file for file in (*_NETWORK, _OPTIONS) if file in sizes]
    if with_checkpoint:
        chosen += [file for file in sizes if _CHECKPOINT.fullmatch(file)]
    for file in chosen:
        is_small = file in ("config.json", _OPTIONS)
        most = _MOST_JSON if is_small else _MOST_TENSORS
        if sizes[file] > most:
            raise HubError(
                f"hf://{name}: {file} has {sizes[file]:,} bytes, and at most {most:,} are fetched: "
                "no network of fastgan is so large"
            )
    return chosen


def check_config(name: str, path: Path) -> None:
    """HubError where a repository's config.json is of another project.

    Args:
        name: "user/name".
        path: of the fetched file.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"hf://{name}: config.json can't be read: {_first_line(error)}") from error
    if isinstance(document, dict) and "fastgan" in document:
        return
    keys = sorted(map(str, document)) if isinstance(document, dict) else []
    what = f"a JSON object with {listed(keys, 'keys')}" if keys else type(document).__name__
    raise HubError(
        f"hf://{name} holds no network of fastgan: its config.json is {what}, of another project"
    )


def listed(names: list[str], what: str = "files") -> str:
    """How many names there are, and the first of them.

    Args:
        names: of files, say.
        what: what they are, in the plural.

    Returns:
        Such as "7 files: a, b, c, d, e, f and 1 more".
    """
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    shown = ", ".join(name[:60] for name in names[:_LISTED])
    what = what if len(names) != 1 else what.removesuffix("s")
    return f"{len(names)} {what}: {shown}{more}" if names else f"no {what}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
