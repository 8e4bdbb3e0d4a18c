# SPDX-License-Identifier: Apache-2.0
import io
from types import SimpleNamespace

from rich.console import Console

from fastgan.cli import train_display
from fastgan.training.loop.observer import Alarm, Snapshot, Tick


def _tick():
    return Tick(
        tick=3, kimg=12.0, total_sec=96.0, sec_per_tick=32.1, sec_per_kimg=8.02, img_per_sec=124.7,
        maintenance_sec=0.4, cpumem_gb=1.5, gpumem_gb=0.0, augment=0.25,
        losses={"Loss/D": 0.5, "Logits/real": -1.25}, eta_sec=100.0,
    )  # fmt: skip


def _info(tmp_path):
    config = SimpleNamespace(total_kimg=100.0, total_nimg=100_000)
    return SimpleNamespace(
        config=config, state=SimpleNamespace(nimg=0), run_dir=tmp_path, resumed_from=None,
        data_remark="only 2 images, which G may only copy",
    )  # fmt: skip


def _snapshot(tmp_path):
    return Snapshot(
        kimg=12.0, samples=tmp_path / "fakes000012.png", checkpoint=tmp_path / "ckpt-000012",
        metrics={"kid_lite0": SimpleNamespace(value=0.123456)},
    )  # fmt: skip


def test_what_is_striking_of_the_data_is_shown(capsys, tmp_path, monkeypatch):
    train_display.TickLines().on_start(_info(tmp_path))
    assert capsys.readouterr().out == "data: only 2 images, which G may only copy\n"

    screen = io.StringIO()
    monkeypatch.setattr(
        train_display, "Console", lambda: Console(file=screen, width=100, force_terminal=True)
    )
    display = train_display.TerminalDisplay()
    display.on_start(_info(tmp_path))
    display.on_end("finished")
    assert "only 2 images, which G may only copy" in screen.getvalue()


def test_a_tick_is_one_line_with_greppable_words(capsys, tmp_path):
    lines = train_display.TickLines()
    lines.on_tick(_tick())
    lines.on_snapshot(_snapshot(tmp_path))
    lines.on_alarm(Alarm(kimg=12.5, kind="skipped", message="3 NaN elements"))
    first, second, third = capsys.readouterr().out.splitlines()

    for words in ("tick 3", "kimg 12.0", "sec/kimg 8.02", "gpumem 0.00", "augment 0.250",
                  "Loss/D 0.500", "Logits/real -1.250"):  # fmt: skip
        assert words in first
    assert "ckpt-000012" in second
    assert "kid_lite0 0.1235" in second
    assert third == "ALARM skipped at kimg 12.500: 3 NaN elements"


def test_the_terminal_shows_progress_losses_and_places(monkeypatch, tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, height=20)
    monkeypatch.setattr(train_display, "Console", lambda: console)
    clock = iter(range(100, 200, 2))
    monkeypatch.setattr(train_display.time, "monotonic", lambda: next(clock))
    screen = train_display.TerminalDisplay()
    screen.on_start(_info(tmp_path))
    screen.on_step(1000)
    screen.on_tick(_tick())
    screen.on_snapshot(_snapshot(tmp_path))
    screen.on_alarm(Alarm(kimg=12.5, kind="rollback", message="back to kimg 12"))
    screen.on_end("finished")

    for words in ("1.00 / 100", "500 img/s", "2.00 sec/kimg", "3m 18s left", "Loss/D 0.500",
                  "report.html", "fakes000012.png", "kid_lite0 0.1235", "p 0.250",
                  "rollback at kimg 12.500: back to kimg 12"):  # fmt: skip
        assert words in out.getvalue(), words
