# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --gpus N`: start N processes with torchrun, and find the run that they share.

A run folder's `launch.json` names the launch (torchrun's run id) that works in it, so that the
processes of a restart continue in the folder of the first attempt, and the launcher knows how it
ended: {"id": …, "ended": null or the reason}.
"""

import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastgan.atomic import write_atomic
from fastgan.cli.run_folders import create_run, list_runs, newest_checkpoint, run_of
from fastgan.json_forms import FormError, parse, table

if TYPE_CHECKING:
    from fastgan.training.distributed.ranks import Ranks

__all__ = [
    "DIVERGED",
    "UNHEALTHY",
    "is_launched",
    "is_launched_here",
    "is_restarted",
    "launch",
    "launched_run",
    "note_end",
    "num_processes",
]

UNHEALTHY = 4  # that of a run that ended while an alarm stood, such as "collapse"
DIVERGED = 3  # the exit status of a run whose numbers became NaN again and again
_OURS = "fastgan-"  # begins the ids of launches of this file


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def num_processes(gpus: int) -> int:
    """How many processes train: those that torchrun started, else `gpus`, the value of --gpus."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else gpus


def is_launched_here() -> bool:
    """Whether `launch` started this process, and not a torchrun command of the user."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(_OURS)


def is_restarted() -> bool:
    """Whether torchrun started this process in the place of one that died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch(
    processes: int,
    arguments: Sequence[str],
    outdir: Path | None = None,
    *,
    max_restarts: int = 0,
) -> int:
    """Run `fastgan ARGUMENTS` in several processes on this machine; return the exit status.

    When a process dies, all are restarted from the last checkpoint, at most `max_restarts` times.
    SIGINT and SIGTERM are passed on to all of them; the status is 0 if they saved the run then.
    Processes of a run that diverged or ended unhealthy exit with 0, so that torchrun does not
    restart them; the status returned here is DIVERGED or UNHEALTHY. Without `outdir` they are of
    another command, which has no run folder of its own.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    threads = max((os.cpu_count() or 1) // processes, 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else torchrun makes it 1
    run_id = _OURS + uuid.uuid4().hex
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=run_id, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=max_restarts, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "fastgan.cli", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        used = f" All {max_restarts} restarts (--max-restarts) are used up." if outdir else ""
        click.echo(
            f"Error: rank {rank} ended with {_status(failure.exitcode)}; its message is above."
            f"{used}",
            err=True,
        )
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException:
        ended = _ended(outdir, run_id)
        return {"interrupted": 0, "finished": 0, "unhealthy": UNHEALTHY}.get(ended, 1)
    return {"diverged": DIVERGED, "unhealthy": UNHEALTHY}.get(_ended(outdir, run_id), 0)


def _ended(outdir: Path | None, run_id: str) -> str | None:
    run_dir = None if outdir is None else find_launched(outdir, run_id)
    return None if run_dir is None else _read(run_dir).get("ended")


def launched_run(
    ranks: "Ranks | None", outdir: Path, checkpoint: Path | None, description: str
) -> tuple[Path, Path | None]:
    """(run folder, checkpoint to continue from), chosen by rank 0 for all ranks.

    checkpoint: the one that the user resumes; None makes a new folder. After a restart by torchrun
    it is the newest one in the folder of the first attempt.
    """
    if ranks is not None and not ranks.is_first:
        chosen = ranks.broadcast_object("run", None)
    else:
        run_id = os.environ.get("TORCHELASTIC_RUN_ID", "")
        run_dir = find_launched(outdir, run_id) if ranks is not None and is_restarted() else None
        if run_dir is not None and _read(run_dir).get("ended") == "diverged":
            raise ValueError(
                f"{run_dir} diverged and is not started again by torchrun; --resume {run_dir} goes "
                "on with it"
            )
        if run_dir is not None:
            checkpoint = newest_checkpoint(run_dir) or checkpoint
        else:
            run_dir = run_of(checkpoint) if checkpoint else create_run(outdir, description)
        if ranks is None:
            return run_dir, checkpoint
        _write(run_dir, {"id": run_id, "ended": None})
        value = [str(run_dir), str(checkpoint) if checkpoint else None]
        chosen = ranks.broadcast_object("run", value)
    run_dir, checkpoint = chosen
    return Path(run_dir), None if checkpoint is None else Path(checkpoint)


def note_end(run_dir: Path, reason: str) -> None:
    """Record how the launch ended; rank 0 calls it when training returned or diverged."""
    _write(run_dir, _read(run_dir) | {"ended": reason})


def find_launched(outdir: Path, run_id: str) -> Path | None:
    """The newest run folder in `outdir` that launch `run_id` worked in."""
    for run_dir in reversed(list_runs(outdir)):
        if _read(run_dir).get("id") == run_id:
            return run_dir
    return None


def _status(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def _read(run_dir: Path) -> dict:
    try:
        return parse((run_dir / "launch.json").read_bytes(), table())
    except (FileNotFoundError, FormError):
        return {}


def _write(run_dir: Path, record: dict) -> None:
    write_atomic(run_dir / "launch.json", json.dumps(record) + "\n")
