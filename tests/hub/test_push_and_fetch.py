# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads, with a Hub in memory in the place of huggingface_hub."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import fastgan
from fastgan._extras import MissingPackageError
from fastgan.cli import main
from fastgan.hub import push_to_hub
from fastgan.hub_files import HubError, fetch, parse_name
from fastgan.models import mlp

NAME = "someone/faces"


def cli(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_pushed_generator_is_fetched_by_its_name(run, hub):
    done = push_to_hub(run, NAME, private=True)
    assert (done.is_new, done.card, hub.store.private[NAME]) == (True, "written", True)
    assert set(done.sizes) == set(hub.store.files(NAME))
    own = fastgan.load(run).G_ema
    z = torch.randn(3, 5)
    for found in (mlp.Generator.from_pretrained(NAME), fastgan.load(f"hf://{NAME}").G):
        assert torch.equal(found(z), own(z))
    assert set(hub.fetched) == {"config.json", "model.safetensors", "training_options.json"}


def test_without_a_network_the_cache_is_used(run, hub):
    push_to_hub(run, NAME)
    with pytest.raises(HubError, match="no such repository"):
        mlp.Generator.from_pretrained("someone/other")
    hub.is_offline = True
    with pytest.raises(HubError, match=r"can't be reached \(\[Errno 111\].* does not hold it"):
        mlp.Generator.from_pretrained(NAME)
    hub.is_offline = False
    G = mlp.Generator.from_pretrained(NAME)
    hub.is_offline = True
    again = mlp.Generator.from_pretrained(NAME)
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in G.state_dict().items())
    with pytest.raises(HubError, match="the Hub can't be reached"):
        push_to_hub(run, NAME)


def test_a_revision_is_a_branch_of_its_own(run, hub):
    push_to_hub(run, NAME)
    push_to_hub(run, NAME, revision="v1", with_checkpoint=True)
    assert not any(file.startswith("checkpoints/") for file in hub.store.files(NAME))
    assert fastgan.load(f"hf://{NAME}").D is None
    assert fastgan.load(f"hf://{NAME}", revision="v1").D is not None
    assert fastgan.load(f"hf://{NAME}@v1").D is not None
    with pytest.raises(HubError, match="has no revision 'v2'"):
        mlp.Generator.from_pretrained(NAME, revision="v2")
    push_to_hub(run, NAME, revision="v1")  # what is older is not left beside the new generator
    assert not any(file.startswith("checkpoints/") for file in hub.store.files(NAME, "v1"))


def test_a_card_keeps_what_was_written_by_hand(run, hub):
    push_to_hub(run, NAME)
    files = hub.store.files(NAME)
    hub.store.commit(NAME, "main", {"README.md": files["README.md"] + b"\nBy hand."}, ())
    assert push_to_hub(run, NAME).card == "renewed"
    assert hub.store.files(NAME)["README.md"].endswith(b"\nBy hand.")
    hub.store.commit(NAME, "main", {"README.md": b"My own."}, ())
    assert push_to_hub(run, NAME).card == "kept"
    assert hub.store.files(NAME)["README.md"] == b"My own."


def put(hub, name, **files):
    hub.store.create(name)
    hub.store.commit(name, "main", {k.replace("__", "."): v for k, v in files.items()}, ())


def test_a_repository_of_something_else_is_named_and_left_alone(run, hub):
    put(hub, "a/llama", config__json=b'{"model_type": "llama"}', model__safetensors=b"x")
    put(hub, "a/table", data__csv=b"1,2")
    with pytest.raises(HubError, match=r"its config\.json is a JSON object with 1 key: model_type"):
        mlp.Generator.from_pretrained("a/llama")
    with pytest.raises(HubError, match=r"holds no network of fastgan.* it has 1 file: data\.csv"):
        mlp.Generator.from_pretrained("a/table")
    assert hub.fetched == ["config.json"]
    before = dict(hub.store.files("a/llama"))
    with pytest.raises(HubError, match="of another project"):
        push_to_hub(run, "a/llama")
    with pytest.raises(HubError, match=r"what fastgan did not write: 1 file: data\.csv"):
        push_to_hub(run, "a/table")
    assert hub.store.files("a/llama") == before


def test_files_with_other_names_and_too_large_ones_are_not_fetched(run, hub, monkeypatch):
    push_to_hub(run, NAME, with_checkpoint=True)
    evil = {"../../evil.py": b"", "checkpoints/../../x.json": b"", "checkpoints/ckpt-1.pkl": b""}
    hub.store.commit(NAME, "main", evil, ())
    fetch(NAME, with_checkpoint=True)
    assert all(file.startswith(("checkpoints/ckpt-", "config", "model", "training"))
               for file in hub.fetched)  # fmt: skip
    assert not set(evil) & set(hub.fetched)
    hub.fetched.clear()
    put(hub, "a/large", config__json=b" " * (2**22 + 1), model__safetensors=b"x")
    with pytest.raises(HubError, match=r"config\.json has 4,194,305 bytes, and at most 4,194,304"):
        fetch("a/large")
    assert hub.fetched == []


def test_damaged_and_hostile_files_are_named(run, hub):
    push_to_hub(run, NAME)
    good = dict(hub.store.files(NAME))
    document = json.loads(good["config.json"])

    def refused(words, **changes):
        hub.store.commit(NAME, "main", good | changes, ())
        with pytest.raises((ValueError, OSError), match=words):
            fastgan.load(f"hf://{NAME}")

    def config(**changes):
        return {"config.json": json.dumps(document | {"config": document["config"] | changes})
                .encode()}  # fmt: skip

    refused(r"model\.safetensors", **{"model.safetensors": good["model.safetensors"][:-9]})
    refused(r"config\.json", **{"config.json": b"[" * 100000})
    refused("another project", **{"config.json": b'"fastgan"'})
    refused(
        "not one that save_pretrained wrote",
        **{"config.json": json.dumps(document | {"architecture": "../mlp"}).encode()},
    )
    refused("img_height is 1000000000000, at most", **config(img_height=10**12))
    refused("z_dim is nan", **config(z_dim=float("nan")))
    refused(r"needs \[", **config(g_hidden=[2**20, 2**20]))


def test_no_token_and_no_permission_are_said(run, hub):
    hub.token = None
    with pytest.raises(HubError, match=r"there is no token on this machine.*hf auth login"):
        push_to_hub(run, NAME)
    hub.token, hub.may_write = "hf_x", False
    with pytest.raises(HubError, match=r"refuses your token \(status 401\)"):
        push_to_hub(run, NAME)
    assert NAME not in hub.store.repositories
    hub.may_write = "not files"
    with pytest.raises(HubError, match=r"status 403.*repository was made and is empty"):
        push_to_hub(run, NAME)


def test_without_the_package_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    for call in (lambda: push_to_hub(run, NAME), lambda: mlp.Generator.from_pretrained(NAME)):
        with pytest.raises(MissingPackageError, match=r"pip install 'fastgan\[hub\]'"):
            call()


@pytest.mark.parametrize("text", ["a", "a/b/c", "../a", "a/..", "/a/b", "a/b@", "hf:/a/b", "a/-b"])
def test_what_is_no_name_of_a_repository(text, run, hub):
    assert parse_name(text) is None
    with pytest.raises(ValueError, match="repository must be 'user/name'"):
        push_to_hub(run, text)
    with pytest.raises(ValueError, match="no name of a repository"):
        mlp.Generator.from_pretrained(text)


def test_names_with_a_revision():
    assert parse_name("hf://a/b@v1") == ("a/b", "v1")
    assert parse_name("a-1/b.c_d") == ("a-1/b.c_d", None)


def test_a_revision_of_something_local_is_refused(run, tmp_path):
    fastgan.load(run).G_ema.save_pretrained(tmp_path / "net")
    with pytest.raises(ValueError, match="is a local folder; leave it out"):
        mlp.Generator.from_pretrained(tmp_path / "net", revision="v1")
    with pytest.raises(ValueError, match="is local; leave it out"):
        fastgan.load(run, revision="v1")


def test_the_commands(run, hub, tmp_path):
    output = cli("push", run, NAME)
    assert "uploaded    model.safetensors (" in output
    assert "states no license" in output
    assert f"The new repository {NAME}: https://hub/" in output
    folder = tmp_path / "folder"
    cli("push", run, NAME, "--to-folder", folder)
    for network in (f"hf://{NAME}", folder):
        out = tmp_path / "samples"
        cli("generate", "--network", network, "--seeds", "0-13", "--grid", "--outdir", out)
        with Image.open(out / "grid.png") as made, Image.open(folder / "samples.png") as shown:
            assert made.tobytes() == shown.tobytes()
    output = cli("generate", "--network", "hf://a", "--outdir", out, code=2)
    assert "expected hf://user/name" in output
    output = cli("evaluate", "--network", f"hf://{NAME}", code=2)
    assert "needs a run on this machine" in output
    assert "no such repository" in cli("generate", "--network", "hf://a/b", code=1)
    assert "expected a name such as someone/faces" in cli("push", run, f"{NAME}@v1", code=2)
