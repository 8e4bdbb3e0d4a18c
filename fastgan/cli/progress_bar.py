# SPDX-License-Identifier: Apache-2.0
"""What is shown while something long runs: rich on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

from fastgan._extras import require

_PLAIN_EVERY_SECONDS = 5.0


def is_terminal() -> bool:
    """Whether stdout is a terminal, so that lines can be redrawn."""
    return sys.stdout.isatty()


@contextlib.contextmanager
def count_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Within the block, `progress(done, total)` shows how far `label` is.

    A rich bar on a terminal; elsewhere a line at the start, every 5 s and at the end. Nothing is
    shown where `progress` is never called.
    """
    if not is_terminal():
        yield _plain_counter(label)
        return
    require("rich", "train")
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = None

        def progress(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(label, total=total)
            bar.update(task, completed=done, total=total)

        yield progress


def _plain_counter(label: str) -> Callable[[int, int], None]:
    last = -_PLAIN_EVERY_SECONDS

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= _PLAIN_EVERY_SECONDS:
            last = now
            click.echo(f"{label}: {done} of {total}")

    return progress
