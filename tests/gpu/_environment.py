# SPDX-License-Identifier: Apache-2.0
"""Step `environment`: what the numbers of this run belong to, and the speed of a copy."""

import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gpu._steps import FAILED, PASSED, ROOT, Outcome, Session

COPY_BYTES = 2**30


def run(session: Session) -> Outcome:
    """Facts of device, software and commit; FAILED where the CUDA kernels are not loaded."""
    facts = environment(session)
    for name, value in facts.items():
        print(f"{name}: {value}")
    if facts["library"] is None:
        return Outcome(status=FAILED, reason=facts["library_missing"], data=facts)
    return Outcome(status=PASSED, data=facts)


def environment(session: Session) -> dict[str, Any]:
    """Everything that results.md prints above its tables, as JSON values; None is unknown."""
    import torch

    import fastgan
    from fastgan import _build
    from fastgan.ops import library_facts

    library = library_facts()["cuda_library"]
    return {
        **device_facts(session.device),
        "driver": driver_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nvcc": parse_nvcc(_stdout([str(_build.nvcc() or "nvcc"), "--version"])),
        "python": sys.version.split()[0],
        "fastgan": fastgan.__version__,
        **commit_facts(ROOT, session.commit),
        "library": library,
        "library_missing": library_facts()["cuda_reason"],
        "library_architectures": architectures(library),
        "copy_bytes_per_second": copy_bandwidth(session.device),
    }


def device_facts(device: str) -> dict[str, Any]:
    import torch

    if device != "cuda":
        return {"device": device, "nominal_bytes_per_second": None}
    p = torch.cuda.get_device_properties(0)
    return {
        "device": p.name,
        "sm": f"{p.major}.{p.minor}",
        "multiprocessors": p.multi_processor_count,
        "memory_bytes": p.total_memory,
        "l2_bytes": p.L2_cache_size,
        "nominal_bytes_per_second": nominal_bandwidth(p),
    }


def nominal_bandwidth(properties: Any) -> float | None:
    """Bytes per second of the memory bus: two transfers per clock (kHz) over its width (bits)."""
    clock = getattr(properties, "memory_clock_rate", 0)
    width = getattr(properties, "memory_bus_width", 0)
    return 2 * clock * 1e3 * width / 8 if clock and width else None


def copy_bandwidth(device: str, size: int = COPY_BYTES, repeats: int = 21) -> float | None:
    """Bytes read plus bytes written per second of a device-to-device copy of `size` bytes; median.

    None on the CPU, where no event measures it.
    """
    import torch

    if device != "cuda":
        return None
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    seconds = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return 2 * size / statistics.median(seconds[1:])  # the first fetches the kernel


def driver_version() -> str | None:
    """From nvidia-smi, else from the kernel module's file."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if text := _stdout(query).strip():
        return text.splitlines()[0].strip()
    module = Path("/proc/driver/nvidia/version")
    return parse_driver(module.read_text()) if module.is_file() else None


def parse_driver(text: str) -> str | None:
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else None


def parse_nvcc(text: str) -> str | None:
    """ "13.0 (V13.0.88)" of `nvcc --version`."""
    found = re.search(r"release (\d+\.\d+), (V[\d.]+)", text)
    return f"{found[1]} ({found[2]})" if found else None


def parse_elf_list(text: str) -> list[str]:
    """sm_80, sm_90, ... in `cuobjdump --list-elf` or `--list-ptx`, each once, in order."""
    return sorted(set(re.findall(r"\bsm_\d+[a-z]?\b", text)))


def architectures(library: str | None) -> dict[str, list[str]] | None:
    """Machine code and PTX in the library; None where it or cuobjdump is absent."""
    if library is None or shutil.which("cuobjdump") is None:
        return None
    kinds = {"machine_code": "--list-elf", "ptx": "--list-ptx"}
    return {k: parse_elf_list(_stdout(["cuobjdump", flag, library])) for k, flag in kinds.items()}


def commit_facts(root: Path, given: str | None) -> dict[str, Any]:
    """Commit and whether the tree differs from it; `given` is believed, for a copy of a tree beside
    which .git did not come along, or came along older.

    safe.directory: on a lent machine the files often belong to another user.
    """
    if given:
        return {"commit": given, "is_dirty": None}
    git = ["git", "-C", str(root), "-c", f"safe.directory={root}"]
    head = _stdout([*git, "rev-parse", "HEAD"]).strip()
    if not head:
        return {"commit": "unknown: not a git checkout", "is_dirty": None}
    return {"commit": head, "is_dirty": bool(_stdout([*git, "status", "--porcelain"]).strip())}


def _stdout(command: list[str]) -> str:
    """What the command prints; empty where it is absent or fails."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return ""
