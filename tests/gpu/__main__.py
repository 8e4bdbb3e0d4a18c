# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.gpu [--quick] [--only STEP[,STEP]] [--out DIR] [--dry-run]`."""

import argparse
import datetime
import json
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.gpu import _markdown, _plan
from tests.gpu._steps import FAILED, PASSED, ROOT, CheckStep, Session, run_step


def main(argv: Sequence[str] | None = None) -> int:
    """0: nothing failed; 1: a step failed; 2: there is no GPU to check on, nothing is written."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 8 minutes: fewer cases")
    parser.add_argument("--only", default="", metavar="STEP[,STEP]", help="see --dry-run")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check", metavar="DIR")
    parser.add_argument("--commit", metavar="TEXT", help="of a copy without its .git")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and stop")
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="write its tables again, beside"
    )
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--session", help=argparse.SUPPRESS)
    parser.add_argument("--outcome", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        return _be_step(options.step, json.loads(options.session), options.outcome)
    if options.render:
        write_page(options.render)
        return 0
    try:
        steps = _plan.chosen([name for name in options.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    if options.dry_run:
        print(_plan.describe(steps, is_quick=options.quick))
        return 0
    if lack := missing_gpu():
        print(f"gpu-check: nothing checked and nothing written. {lack}", file=sys.stderr)
        return 2
    command = shlex.join(["python", "-m", "tests.gpu", *arguments])
    results = run_steps(steps, options.out, command, options.quick, options.commit)
    write_page(options.out / "results.json")
    for kind in ("json", "md"):
        name = result_name(results, kind)
        print(f"to commit: cp {options.out / f'results.{kind}'} benchmarks/results/gpu/{name}")
    return int(any(step["status"] == FAILED for step in results["steps"]))


def run_steps(
    steps: Sequence[CheckStep], out: Path, command: str, is_quick: bool, commit: str | None
) -> dict[str, Any]:
    """Every step, one after another; out/results.json is whole after each of them. A step of the
    day also writes its own file, and leaves its log only where it did not pass."""
    out.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    results: dict[str, Any] = {"format": 1, "date": date, "command": command, "steps": []}
    with tempfile.TemporaryDirectory(prefix="fastgan-gpu-") as folder:
        for step in steps:
            print(f"{step.name}: {step.does} ...", flush=True)
            limit = step.limit_s(is_quick)
            session = Session(is_quick=is_quick, limit_s=limit, commit=commit)
            outcome = Path(folder) / f"{step.name}.json"
            done = run_step(step.name, session, out / f"{step.name}.log", outcome)
            reason = f" ({done['reason']})" if done["reason"] else ""
            print(f"{step.name}: {done['status']}{reason}, {done['seconds']} s", flush=True)
            results["steps"].append(done)
            if step in _plan.DAY:
                (out / f"{step.name}.json").write_text(json.dumps(done, indent=1) + "\n")
                if done["status"] == PASSED:  # a lent machine gives few files back
                    (out / f"{step.name}.log").unlink(missing_ok=True)
            (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def write_page(path: Path) -> None:
    """The tables of results.json at `path`, as .md beside it."""
    path.with_suffix(".md").write_text(_markdown.render(json.loads(path.read_text())))


def missing_gpu() -> str | None:
    """What a GPU check lacks here, and what to do; None where it can run."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} has no CUDA; install a CUDA build of torch"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device; run it on a machine with an NVIDIA GPU and its driver"
    return None


def result_name(results: dict[str, Any], kind: str) -> str:
    """nvidia-h200-2026-12-01.json"""
    facts = next((s["data"] for s in results["steps"] if s["name"] == "environment"), {})
    slug = re.sub(r"[^a-z0-9]+", "-", facts.get("device", "unknown").lower()).strip("-")
    return f"{slug}-{results['date'].split()[0]}.{kind}"


def _be_step(name: str, session: dict[str, Any], outcome: Path) -> int:
    """The child that `run_step` starts. Asked to end, it leaves by an exception, so that it ends
    its own children on the way."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    step = next(step for step in (*_plan.STEPS, *_plan.DAY) if step.name == name)
    found = step.run(Session(**session))
    outcome.write_text(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
