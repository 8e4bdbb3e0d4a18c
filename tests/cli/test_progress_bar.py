# SPDX-License-Identifier: Apache-2.0
import io

from rich.console import Console

from fastgan.cli import progress_bar


def test_without_a_terminal_first_and_last_are_lines(capsys):
    with progress_bar.count_bar("drawing") as report:
        for done in range(1, 1001):
            report(done, 1000)

    assert capsys.readouterr().out.splitlines() == ["drawing: 1 of 1000", "drawing: 1000 of 1000"]


def test_nothing_to_do_shows_nothing(capsys):
    with progress_bar.count_bar("drawing"):
        pass

    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(progress_bar, "is_terminal", lambda: True)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    with progress_bar.count_bar("drawing") as report:
        report(30, 120)

    assert "drawing" in out.getvalue()
    assert "30/120" in out.getvalue()
