# SPDX-License-Identifier: Apache-2.0
"""`push_to_hub`: a run's generator, as one commit of a repository of the Hugging Face Hub."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fastgan.hub.card import merged_card
from fastgan.hub.folder import check_license, write_folder
from fastgan.hub_files import HubError, check_config, errors, explained, hub, listed, parse_name

__all__ = ["Pushed", "push_to_hub"]

_OURS = ("README.md", "config.json", "model.safetensors", "training_options.json", ".gitattributes")
_OURS_BY_START = ("checkpoints/ckpt-", "samples")


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What `push_to_hub` did.

    Attributes:
        url: of the commit.
        is_new: whether the repository was made.
        card: what became of README.md: "written", "renewed" between its two marks, or "kept",
            since it has no marks.
        sizes: bytes by file name.
    """

    url: str
    is_new: bool
    card: str
    sizes: dict[str, int]


def push_to_hub(
    run: Path | str,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    with_checkpoint: bool = False,
    license: str | None = None,
) -> Pushed:
    """Upload the averaged generator of a run with its settings, card and samples, in one commit.

    No path of this machine and no pickle is uploaded. The token is huggingface_hub's
    (`hf auth login`, or HF_TOKEN). The repository is made where it does not exist; one that holds
    files which fastgan did not write is refused. A card that exists keeps what a person wrote in
    it.

    Args:
        run: a run's folder, of which the newest intact checkpoint is used, or a checkpoint.
        repository: "user/name".
        private: whether a new repository is private; default None: as the account is set, public
            usually.
        revision: branch to write to, which is made; default None: the main one.
        with_checkpoint: whether D, the optimisers and all else that a run needs to go on are
            uploaded, too; default False.
        license: the Hub's identifier, such as "cc0-1.0"; default None: the card states none.

    Returns:
        The commit's address, and what was uploaded.

    Raises:
        ValueError: no repository's name, no license's identifier, or broken weights.
        CheckpointError: there is no intact checkpoint.
        HubError: no token, no permission, no network, or a repository of something else. Nothing
            was uploaded then.
        MissingPackageError: huggingface_hub is not installed.
    """
    found = parse_name(repository)
    if found is None or found[1] is not None:
        raise ValueError(
            f"push_to_hub: repository must be 'user/name', got {repository!r}; name a branch by "
            "revision"
        )
    name = found[0]
    check_license("push_to_hub", license)
    if hub.get_token() is None:
        raise HubError(
            f"hf://{name}: there is no token on this machine; make one that may write (on the Hub: "
            "Settings, Access Tokens), then `hf auth login`, or set HF_TOKEN"
        )
    with tempfile.TemporaryDirectory(prefix="fastgan-push-") as scratch:
        folder = write_folder(
            run, Path(scratch) / "repository", name, with_checkpoint=with_checkpoint,
            license=license,
        )  # fmt: skip
        with explained(f"hf://{name}", revision):
            return _upload(folder, name, private, revision, license)


def _upload(
    folder: Path, name: str, private: bool | None, revision: str | None, license: str | None
) -> Pushed:
    api = hub.HfApi()
    is_new, card = False, "written"
    try:
        files = {file.rfilename for file in api.model_info(name).siblings or ()}
    except errors.GatedRepoError:
        raise
    except errors.RepositoryNotFoundError:
        is_new, files = True, set()
    _refuse_others(name, files)
    if is_new:
        api.create_repo(name, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(name, branch=revision, exist_ok=True)
        files = {f.rfilename for f in api.model_info(name, revision=revision).siblings or ()}
        _refuse_others(name, files)
    if "README.md" in files:
        new = (folder / "README.md").read_text(encoding="utf-8")
        old = Path(hub.hf_hub_download(name, "README.md", revision=revision))
        merged = merged_card(old.read_text(encoding="utf-8", errors="replace"), new, license)
        card = "kept" if merged is None else "renewed"
        if merged is None:
            (folder / "README.md").unlink()
        else:
            (folder / "README.md").write_text(merged, encoding="utf-8")
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    try:
        with explained(f"hf://{name}", revision):
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message="Upload a generator of fastgan",
                revision=revision,
                delete_patterns=["checkpoints/*", "samples*"],  # older files, not replaced
            )
    except HubError as error:
        if is_new:
            raise HubError(f"{error}. The repository was made and is empty") from error
        raise
    return Pushed(url=str(commit.commit_url), is_new=is_new, card=card, sizes=sizes)


def _refuse_others(name: str, files: set[str]) -> None:
    """HubError where a repository holds something else than what a push writes."""
    others = sorted(f for f in files - {*_OURS} if not f.startswith(_OURS_BY_START))
    if others:
        raise HubError(
            f"hf://{name} holds what fastgan did not write: {listed(others)}; push to another name"
        )
    if "config.json" in files:
        check_config(name, Path(hub.hf_hub_download(name, "config.json")))
