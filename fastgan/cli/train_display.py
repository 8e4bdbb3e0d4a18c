# SPDX-License-Identifier: Apache-2.0
"""Progress of a training run: a live display on a terminal, one line per tick elsewhere."""

import time

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fastgan.training.loop.observer import Alarm, Observer, RunInfo, Snapshot, Tick
from fastgan.training.report.log import format_alarm, format_tick, format_time


class TickLines(Observer):
    """Observer that prints one greppable line per tick: for logs, pipes and batch systems."""

    def on_start(self, info: RunInfo) -> None:
        if info.resumed_from is not None:
            click.echo(f"resumed from {info.resumed_from} at {info.resumed_kimg:.1f} kimg")
        if info.data_remark:
            click.echo(f"data: {info.data_remark}")

    def on_tick(self, tick: Tick) -> None:
        losses = "".join(f"  {name} {value:.3f}" for name, value in tick.losses.items())
        click.echo(format_tick(tick) + losses)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        scores = "".join(
            f"  {name} {result.value:.4g}" for name, result in snapshot.metrics.items()
        )
        click.echo(f"snapshot {snapshot.checkpoint.name}  {snapshot.samples.name}{scores}")

    def on_alarm(self, alarm: Alarm) -> None:
        click.echo(format_alarm(alarm))


class TerminalDisplay(Observer):
    """Observer that redraws a bar, the speed, the losses and where to look, on a terminal."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.fields[kimg]}[/] kimg"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.1f} %"),
            TextColumn("{task.fields[speed]}", style="cyan"),
            TextColumn("{task.fields[eta]}"),
            expand=True,
        )
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=4)
        self._rows: dict[str, str] = {}
        self._task = None
        self._total_kimg = 0.0
        self._begin = (0.0, 0)
        self._speed = 0.0

    def on_start(self, info: RunInfo) -> None:
        nimg = info.state.nimg
        self._total_kimg = info.config.total_kimg
        self._begin = (time.monotonic(), nimg)
        self._task = self._bar.add_task(
            "", total=info.config.total_nimg, completed=nimg, kimg="", speed="", eta=""
        )
        self._rows["report"] = str(info.run_dir / "report.html")
        self._rows["picture"] = "the first one follows after a few steps"
        self._rows["losses"] = "the first ones follow after a few steps"
        if info.data_remark:
            self._rows["data"] = info.data_remark
        self._live.start()
        self._draw()

    def on_step(self, nimg: int) -> None:
        begin, begin_nimg = self._begin
        now = time.monotonic()
        if now - begin >= 1.0:
            speed = (nimg - begin_nimg) / (now - begin)
            self._speed = speed if self._speed == 0 else 0.8 * self._speed + 0.2 * speed
            self._begin = (now, nimg)
        left = self._total_kimg * 1000 - nimg
        self._bar.update(
            self._task,
            completed=nimg,
            kimg=f"{nimg / 1000:.2f} / {self._total_kimg:g}",
            speed=f"{self._speed:.0f} img/s  {1000 / self._speed:.2f} sec/kimg"
            if self._speed
            else "",
            eta=f"{format_time(left / self._speed)} left" if self._speed else "",
        )

    def on_tick(self, tick: Tick) -> None:
        self._rows["losses"] = "  ".join(f"{n} {v:.3f}" for n, v in tick.losses.items())
        if tick.augment:
            self._rows["augment"] = f"p {tick.augment:.3f}"
        if tick.scheduled:
            self._rows["schedule"] = "  ".join(f"{n} {v:.5g}" for n, v in tick.scheduled.items())
        self._draw()

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self._rows["samples"] = str(snapshot.samples)
        if snapshot.metrics:
            self._rows["scores"] = "  ".join(
                f"{n} {r.value:.4g}" for n, r in snapshot.metrics.items()
            )
        self._draw()

    def on_alarm(self, alarm: Alarm) -> None:
        self._rows["alarm"] = format_alarm(alarm).removeprefix("ALARM ")
        self._draw()

    def on_end(self, reason: str) -> None:
        self._live.stop()

    def _draw(self) -> None:
        table = Table.grid(padding=(0, 2))
        for name, value in self._rows.items():
            table.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
        self._live.update(Group(self._bar, table))


class FirstStep(Observer):
    """Knows whether a step was made."""

    was_made = False

    def on_step(self, nimg: int) -> None:
        self.was_made = True
