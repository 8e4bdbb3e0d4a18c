# SPDX-License-Identifier: Apache-2.0
"""huggingface_hub itself against an endpoint on loopback: `pip install huggingface_hub`."""

import inspect
import os
import subprocess
import sys

import pytest
from hub_endpoint import TOKEN, endpoint
from hub_stand_in import StandIn

pytestmark = pytest.mark.slow
NAME = "someone/faces"


def test_the_stand_in_has_the_parameters_of_the_package():
    hub = pytest.importorskip("huggingface_hub")
    for name in ("model_info", "create_repo", "create_branch", "upload_folder"):
        theirs = inspect.signature(getattr(hub.HfApi, name)).parameters
        assert set(inspect.signature(getattr(StandIn, name)).parameters) <= set(theirs), name
    for name in ("snapshot_download", "hf_hub_download"):
        theirs = inspect.signature(getattr(hub, name)).parameters
        ours = set(inspect.signature(getattr(StandIn, name)).parameters) - {"self"}
        assert ours <= set(theirs), name


def test_push_generate_and_the_cache(run, tmp_path):
    pytest.importorskip("huggingface_hub")
    with endpoint() as server:
        own = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN,
               "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip

        def cli(*arguments, code=0, **changes):
            result = subprocess.run(
                [sys.executable, "-m", "fastgan", *map(str, arguments)],
                env=os.environ | own | changes, capture_output=True, text=True, check=False,
                timeout=300,
            )  # fmt: skip
            assert result.returncode == code, result.stdout + result.stderr
            return result.stdout + result.stderr

        def generate(name, **options):
            return cli("generate", "--network", f"hf://{name}", "--seeds", "0-13", "--grid",
                       "--outdir", tmp_path / "out", **options)  # fmt: skip

        assert "no token" in cli("push", run, NAME, code=1, HF_TOKEN="")
        cli("push", run, NAME, "--private")
        assert server.store.private[NAME]
        generate(NAME)
        shown = server.store.files(NAME)["samples.png"]
        assert (tmp_path / "out" / "grid.png").read_bytes() == shown
        assert not list((tmp_path / "home").rglob("README.md"))
        generate(NAME, HF_HUB_OFFLINE="1")
        generate(NAME, HF_ENDPOINT="http://127.0.0.1:9")
        assert "does not hold it" in generate("a/b", code=1, HF_HUB_OFFLINE="1")
        assert "no such repository" in generate("a/b", code=1)
        assert "has no revision 'v9'" in generate(f"{NAME}@v9", code=1)
        cli("push", run, NAME, "--with-checkpoint", "--revision", "v1", "--license", "mit")
        files = server.store.files(NAME, "v1")
        assert b"\nlicense: mit\n" in files["README.md"]
        assert any(file.startswith("checkpoints/ckpt-") for file in files)
        cli("push", run, NAME, "--revision", "v1")
        files = server.store.files(NAME, "v1")
        assert b"\nlicense: mit\n" in files["README.md"]
        assert not any(file.startswith("checkpoints/") for file in files)
        assert "(status 401)" in cli("push", run, NAME, code=1, HF_TOKEN="hf_wrong")
        server.refuses_commits = True
        assert "made and is empty" in cli("push", run, "someone/new", code=1)
