# SPDX-License-Identifier: Apache-2.0
"""Finds and runs cuobjdump, nvdisasm and c++filt, which take machine code apart."""

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

LIMIT_SECONDS = 600  # for one tool on one library, which takes some seconds
_PACKAGES = {"cuobjdump": "nvidia-cuda-cuobjdump", "nvdisasm": "nvidia-cuda-nvdisasm"}


class ToolError(RuntimeError):
    """A tool is missing or refused its input; the message says what to do, or what it said."""


def find(name: str) -> Path:
    """Tool `name` of $CUDA_HOME, else on the path, else of NVIDIA's package in this environment."""
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        path = Path(home) / "bin" / name
        if path.is_file():
            return path
    if found := shutil.which(name):
        return Path(found)
    if (path := _packaged(name)) is not None:
        return path
    what_to_do = "pip install 'fastgan[cuda-check]', or set CUDA_HOME to a full CUDA toolkit"
    if name not in _PACKAGES:
        what_to_do = "install binutils, or put the toolkit's cu++filt on the path"
    raise ToolError(
        f"cuda-report: {name} is neither in $CUDA_HOME/bin nor on the path nor installed "
        f"by pip; {what_to_do}"
    )


def run(name: str, *arguments: str | Path, folder: Path | None = None, text: str = "") -> str:
    """What tool `name` prints, run in `folder` with `text` as its input."""
    command = [str(find(name)), *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=folder, input=text, capture_output=True, text=True, check=False,
            timeout=LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"cuda-report: {' '.join(command)} has not ended after {LIMIT_SECONDS} s"
        ) from error
    if done.returncode != 0:
        raise ToolError(
            f"cuda-report: {' '.join(command)} failed with exit code {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def demangle(names: list[str]) -> list[str]:
    """The C++ names behind `names`, by c++filt (binutils) or cu++filt (CUDA toolkit)."""
    tool = "cu++filt" if shutil.which("c++filt") is None and shutil.which("cu++filt") else "c++filt"
    return run(tool, text="\n".join(names) + "\n").splitlines() if names else []


def _packaged(name: str) -> Path | None:
    """The binary that the wheel of `name` put into site-packages, e.g. nvidia/cu13/bin/nvdisasm."""
    if name not in _PACKAGES:
        return None
    try:
        files = importlib.metadata.files(_PACKAGES[name]) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(file.locate()) for file in files if file.name == name)
    return next((path for path in paths if path.is_file()), None)
