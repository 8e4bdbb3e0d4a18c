# SPDX-License-Identifier: Apache-2.0
"""Everything that a number depends on: printed above every table, stored beside it."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import fastgan
from fastgan import memory
from fastgan.bench.measure.timer import Protocol
from fastgan.ops import library_facts


def environment(protocol: Protocol) -> dict[str, Any]:
    """Command, device, ISA, threads, commit, versions, memory, load, protocol: JSON values."""
    return {
        "command": _command(),
        "device": torch.cuda.get_device_name() if protocol.device == "cuda" else "cpu",
        "cuda": torch.version.cuda,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "isa": library_facts()["cpu_isa"],
        "isa_torch": torch.backends.cpu.get_cpu_capability(),
        "threads": protocol.threads,
        "commit": _commit(),
        "fastgan": fastgan.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "compiler": library_facts()["compiler"],
        "allocator": memory.policy().allocator,
        "memory": str(memory.policy()),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "protocol": asdict(protocol) | {"clock": protocol.clock},
    }


def _command() -> str:
    """`fastgan bench ...`, or `python -m ...`."""
    if Path(sys.argv[0]).name == "fastgan":
        return shlex.join(["fastgan", *sys.argv[1:]])
    return shlex.join(["python", *sys.orig_argv[1:]])


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """Of the checkout that this package lies in; an installed package has its version alone."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return "not a git checkout"
    head, changes = (
        subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout
        for args in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    return head.strip() + (" with uncommitted changes" if changes else "")
