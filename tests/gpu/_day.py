# SPDX-License-Identifier: Apache-2.0
"""The GPU day: what is most unproven, in 15 minutes of one GPU, the most unproven first.

Each step drives items in child processes (`_ops.py`, `_whole_steps.py`) or pytest, keeps to its own
time limit, and its results are on the disk when it ends. Two parts, because a lent machine may give
ten minutes a command. No step compiles the library: it must be there.
"""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fastgan.bench.op_case import OpCase
from tests.gpu import _suite, _whole_steps
from tests.gpu._cases import grid, has_cuda_kernel, key
from tests.gpu._child_processes import drive
from tests.gpu._steps import FAILED, PASSED, ROOT, CheckStep, Outcome, Session

OPS = (
    "bias_act", "noise_bias_act", "upfirdn2d", "filtered_lrelu", "anti_aliased_snake", "modulate",
)  # fmt: skip
RESULTS = ROOT / "benchmarks" / "results" / "gpu"


def op_items(is_quick: bool) -> list[str]:
    """The cases of OPS in bfloat16, ops in turn, then in float32."""
    cases = [case for case in grid(is_quick=is_quick).values() if case.op in OPS]

    def rank(case: OpCase) -> int:
        return (torch.bfloat16, torch.float32).index(case.dtype)

    return [key(case) for case in sorted(cases, key=rank) if case.dtype != torch.float16]


def run_ops(session: Session) -> Outcome:
    options = _options(session)
    records = drive(
        "tests.gpu._ops", op_items(session.is_quick), [*options, "--no-compile"], session.limit_s
    )
    return _outcome({"ops": records}, records)


def run_whole_steps(items: Sequence[str]) -> Callable[[Session], Outcome]:
    def run(session: Session) -> Outcome:
        records = drive("tests.gpu._whole_steps", items, _options(session), session.limit_s)
        return _outcome({"whole_steps": records}, records)

    return run


def run_changed_ops(session: Session) -> Outcome:
    """The op suite of the kernels that changed since the last committed results."""
    last = last_commit(RESULTS)
    names = changed_ops(last)
    if not names:
        return Outcome(status=PASSED, data={"since": last, "ops": []})
    backend = "cuda" if session.device == "cuda" else "cpu"
    extra = ["--backend", backend, "-k", " or ".join(names), "-m", "not slow"]
    outcome = _suite.run(session, ["tests/ops", *extra])
    data = {"since": last, "ops": names} | dict(outcome.data)
    return Outcome(status=outcome.status, reason=outcome.reason, data=data)


def last_commit(folder: Path) -> str | None:
    """The commit of the newest committed results; None where no file names one."""
    found = []
    for path in folder.glob("*.json"):
        results = json.loads(path.read_text())
        steps = results.get("steps", []) if isinstance(results, dict) else []
        facts = next((s["data"] for s in steps if s.get("name") == "environment"), {})
        if re.fullmatch("[0-9a-f]{40}", str(facts.get("commit"))):
            found.append((results["date"], facts["commit"]))
    return max(found)[1] if found else None


def changed_ops(since: str | None) -> list[str]:
    """Ops whose kernels, or the headers that all share, changed; all where git can't say."""
    every = sorted(
        path.name for path in (ROOT / "csrc" / "ops").iterdir() if has_cuda_kernel(path.name)
    )
    if since is None:
        return every
    line = ["git", "diff", "--name-only", since, "HEAD", "--", "csrc"]
    try:
        said = subprocess.run(
            line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return every
    if "csrc/common/" in said:
        return every
    return [name for name in every if f"csrc/ops/{name}/" in said]


def _options(session: Session) -> list[str]:
    return ["--device", session.device, *(["--quick"] if session.is_quick else [])]


def _outcome(data: dict, records: Sequence[dict]) -> Outcome:
    failed = [f"{r['item']}: {r['failure']}" for r in records if r["failure"]]
    if not failed:
        return Outcome(status=PASSED, data=data)
    more = f"; and {len(failed) - 1} more" if len(failed) > 1 else ""
    return Outcome(status=FAILED, reason=failed[0] + more, data=data)


DAY_1 = (
    CheckStep(
        name="day-ops",
        does="ops in CUDA graphs: bfloat16, channels_last, upfirdn2d, filtered_lrelu, snake",
        limits=(120.0, 60.0),
        run=run_ops,
    ),
    CheckStep(
        name="day-steps",
        does="whole steps of StyleGAN2 at 256x256, seconds per kimg: float32, TF32, bf16, ADA",
        limits=(240.0, 120.0),
        run=run_whole_steps(_whole_steps.STEPS),
    ),
    CheckStep(
        name="day-profile",
        does="kernels of a period of steps at 64x64 and 256x256, by time",
        limits=(120.0, 60.0),
        run=run_whole_steps(_whole_steps.PROFILES),
    ),
)
DAY_2 = (
    CheckStep(
        name="day-others",
        does="the same steps by plain PyTorch and with torch.compile, in CUDA graphs too",
        limits=(120.0, 60.0),
        run=run_whole_steps(_whole_steps.OTHERS),
    ),
    CheckStep(
        name="day-memory",
        does="memory before and after the capture, and capturing again",
        limits=(60.0, 30.0),
        run=run_whole_steps(_whole_steps.MEMORY),
    ),
    CheckStep(
        name="day-suite",
        does="pytest --backend cuda of the kernels that changed since the last committed results",
        limits=(90.0, 60.0),
        run=run_changed_ops,
    ),
)
