# SPDX-License-Identifier: Apache-2.0
"""report.html: one static page about one run, rewritten at every tick from the run's own files.

The page needs no network: pictures by relative path, charts as inline SVG. It opens from file://
and keeps working when the run folder is copied elsewhere as a whole. An inline script moves through
the snapshots; without JavaScript the page shows the newest one and the timeline.
"""

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from pathlib import Path

import torch

from fastgan import ops
from fastgan._version import __version__
from fastgan.atomic import write_atomic
from fastgan.metrics.result import is_of_usual_samples
from fastgan.modalities import load_modality
from fastgan.training.loop.observer import Observer, RunInfo, Snapshot, Tick
from fastgan.training.loop.run_files import RunFiles, flatten, read_run
from fastgan.training.report.charts import format_number, line_chart
from fastgan.training.report.log import format_time
from fastgan.training.report.logits import logit_histograms
from fastgan.training.report.scores import score_charts, value_and_interval
from fastgan.training.report.script import SCRIPT
from fastgan.training.report.spectra import spectra_chart
from fastgan.training.report.style import CSS

_REFRESH_SECONDS = 20
_SILENT_SECONDS = 600
_SLIDER = (
    '<div class="time" hidden><button type="button">Play</button>'
    '<input type="range" min="0" value="0" step="1" aria-label="snapshot">'
    "<output></output></div>"
)


def _lines(stats: list[dict[str, float]], keys: Iterable[str]) -> dict[str, list]:
    return {
        key.partition("/")[2] or key: [
            (row["kimg"], row[key]) for row in stats if key in row and "kimg" in row
        ]
        for key in keys
    }


def _charts(run: RunFiles) -> str:
    keys = sorted({key for row in run.stats for key in row})
    groups = {
        "Losses": [k for k in keys if k.startswith("Loss/")],
        "Logits": [k for k in keys if k.startswith("Logits/")],
    }
    known = {k for group in groups.values() for k in group}
    for key in keys:
        if "/" in key and key not in known:
            groups.setdefault(key.partition("/")[0], []).append(key)
    figures = [logit_histograms(run.logits)] if run.logits else []
    figures += [spectra_chart(run)]
    figures += score_charts(run)
    figures += [line_chart(title, _lines(run.stats, group)) for title, group in groups.items()]
    if any(row.get("augment") for row in run.stats):
        figures.append(line_chart("Augmentation probability", _lines(run.stats, ["augment"])))
    title = f"{run.modality.samples.NOUN.capitalize()} per second"
    figures.append(line_chart(title, _lines(run.stats, ["img_per_sec"])))
    return f'<h2>Curves</h2><div class="charts">{"".join(figures)}</div>'


_SCORES_IN_TILES = 4


def _tiles(run: RunFiles, is_running: bool) -> str:
    last = run.stats[-1] if run.stats else {}
    noun = run.modality.samples.NOUN
    total = run.options.get("total_kimg")
    goal = f" / {format_number(float(total))}" if isinstance(total, int | float) else ""
    tiles = [
        (f"thousand {noun}", format_number(last.get("kimg", 0.0)), goal),
        (f"{noun} per second", format_number(last.get("img_per_sec", 0.0)), ""),
        ("trained for", _duration(last.get("total_sec")), ""),
        ("time left", _duration(last.get("eta_sec") if is_running else None), ""),
    ]
    usual = {name: [*filter(is_of_usual_samples, rows)] for name, rows in run.scores.items()}
    for name, rows in [pair for pair in usual.items() if pair[1]][:_SCORES_IN_TILES]:
        value, _, interval = value_and_interval(rows[-1], name).partition(" ")
        count = rows[-1].get("num_fake")
        tiles.append((name if count is None else f"{name}, N = {count}", value, f" {interval}"))
    cells = "".join(
        f'<div class="tile"><span>{escape(label)}</span><b>{value}</b><small>{rest}</small></div>'
        for label, value, rest in tiles
    )
    return f'<div class="tiles">{cells}</div>'


_SHOWN_ALARMS = 50


def _alarms(run: RunFiles) -> str:
    """The newest alarms first; nothing where there were none."""
    if not run.alarms:
        return ""
    rows = "".join(
        f'<tr class="{"over" if row.get("is_over") else "stands"}">'
        f"<th>{escape(str(row['alarm']))}{' is over' if row.get('is_over') else ''}</th>"
        f"<td>{format_number(float(row['kimg']))} kimg</td>"
        f"<td>{escape(str(row['message']))}</td></tr>"
        for row in reversed(run.alarms[-_SHOWN_ALARMS:])
    )
    more = len(run.alarms) - _SHOWN_ALARMS
    note = f"<p>{more} older ones are in log.txt.</p>" if more > 0 else ""
    return f'<h2>Alarms</h2><div class="card alarms"><table>{rows}</table>{note}</div>'


def _reload(run: RunFiles) -> str:
    """What the script of a running page needs: when it was written, and after how many seconds
    without another page the run is taken to have ended without a word, as by `kill -9`."""
    tick = run.stats[-1].get("sec_per_tick") if run.stats else None
    silent = max(_SILENT_SECONDS, 5 * tick if tick and math.isfinite(tick) else 0)
    return (
        f' data-reload="{_REFRESH_SECONDS}" data-written="{time.time():.0f}"'
        f' data-silent="{silent:.0f}"'
    )


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None or not math.isfinite(seconds) else format_time(seconds)


def _table(title: str, rows: Mapping[str, object]) -> str:
    def show(value: object) -> str:
        if value is None:
            return "-"
        if isinstance(value, str):
            return escape(value)
        return escape(json.dumps(value, ensure_ascii=False))

    body = "".join(f"<tr><th>{escape(str(k))}</th><td>{show(v)}</td></tr>" for k, v in rows.items())
    return f'<div class="card"><table><caption>{escape(title)}</caption>{body}</table></div>'


def render(run: RunFiles, *, state: str, facts: Mapping[str, Mapping[str, object]]) -> str:
    """The whole page as text. All text that comes from outside is escaped.

    `state` is "running" (the page then reloads itself every 20 s, unless an older snapshot is
    looked at or a sound plays) or words for how the run ended; `facts` maps a table's title to its
    rows: machine, active backends, anything else.
    """
    is_running = state == "running"
    refresh = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
    without_script = f"<noscript>{refresh}</noscript>" if is_running else ""
    reload = _reload(run) if is_running else ""
    badge = f'<span class="state{" running" if is_running else ""}">{escape(state)}</span>'
    tables = [_table("Settings", flatten(run.options))] if run.options else []
    tables += [_table(title, rows) for title, rows in facts.items()]
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    newest, progress = run.modality.samples.section(run.folder, run.files, run.fakes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{without_script}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.name)} - fastgan</title><style>{CSS}</style></head>"
        f"<body{reload}><main>"
        f'<h1>{escape(run.name)}</h1><p>{badge}<span class="soft">written {written}</span></p>'
        f"{_tiles(run, is_running)}{_alarms(run)}{_SLIDER}{newest}{_charts(run)}{progress}"
        f'<h2>Details</h2><div class="tables">{"".join(tables)}</div>'
        "<footer>Written by fastgan from stats.jsonl, logits.jsonl, spectra.json and "
        "metric-*.jsonl in this folder.</footer>"
        f"</main><script>{SCRIPT}</script></body></html>"
    )


def describe_backends(device_type: str) -> dict[str, str]:
    """Op → the backend used for `device_type` ("cpu", "cuda"), and why if it is the reference."""
    shown = {}
    for op, devices in ops.backends().items():
        backend = devices.get(device_type, {"active": "reference", "why": None})
        shown[op] = backend["active"] + (f": {backend['why']}" if backend["why"] else "")
    return shown


def describe_machine(device: torch.device) -> dict[str, object]:
    """Device, threads and versions; nothing that names the machine or its user."""
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "fastgan": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


class Report(Observer):
    """Writes report.html at the start, at every tick and snapshot, and at the end.

    Long runs are read and drawn again at most every `every_sec` seconds between snapshots.
    """

    def __init__(self, every_sec: float = 2.0) -> None:
        self.every_sec = every_sec
        self._run_dir = Path()
        self._facts: dict[str, Mapping[str, object]] = {}
        self._written = -math.inf

    def on_start(self, info: RunInfo) -> None:
        self._run_dir = info.run_dir
        self._facts = {
            "Data and networks": {
                "data set": info.dataset_name,
                load_modality(info.config.data.modality).samples.NOUN: info.dataset_size,
                "parameters of G": f"{info.g_parameters:,}",
                "parameters of D": f"{info.d_parameters:,}",
            },
            "Machine": describe_machine(info.state.device),
            "Active backends": describe_backends(info.state.device.type),
        }
        self._write("running")

    def on_tick(self, tick: Tick) -> None:
        if time.monotonic() - self._written >= self.every_sec:
            self._write("running")

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self._write("running")

    def on_end(self, reason: str) -> None:
        if self._facts:
            self._write(reason)

    def _write(self, state: str) -> None:
        page = render(read_run(self._run_dir), state=state, facts=self._facts)
        write_atomic(self._run_dir / "report.html", page)
        self._written = time.monotonic()
