# SPDX-License-Identifier: Apache-2.0
"""The page's slider in a browser, where there is one."""

import shutil
import subprocess
import time

import pytest

from fastgan.training.loop.run_files import RunFiles
from fastgan.training.report.page import render

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MOVE = """
const input = document.querySelector(".time input");
input.value = VALUE;
input.dispatchEvent(new Event("input"));
"""


def _shown(tmp_path, script):
    """The pictures after a script: tags and text without what waits in templates."""
    run = RunFiles(
        name="run",
        fakes=[(0.192, "fakes000000_192.png"), (4, "fakes000004.png"), (8, "fakes000008.png")],
        files=frozenset({"reals.png"}),
    )
    page = render(run, state="finished", facts={})
    dom = _in_browser(tmp_path, page.replace("</body>", f"<script>{script}</script></body>"))
    return dom.partition('<div class="moments"')[2].partition("Training images")[0]


def _in_browser(tmp_path, page):
    path = tmp_path / "report.html"
    path.write_text(page)
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize(("place", "file"), [(0, "000000_192"), (1, "000004"), (2, "000008")])
def test_the_slider_shows_the_snapshot_of_its_place(tmp_path, place, file):
    shown = _shown(tmp_path, MOVE.replace("VALUE", str(place)))

    assert shown.count("<img") == 1
    assert f'src="fakes{file}.png"' in shown


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("age", "sec_per_tick", "badge"),
    [(500, 10, "running"), (700, 10, "nothing written for 12 minutes"), (700, 200, "running")],
)
def test_a_page_that_is_no_longer_written_says_so(tmp_path, monkeypatch, age, sec_per_tick, badge):
    run = RunFiles(name="run", stats=[{"kimg": 1.0, "sec_per_tick": sec_per_tick}])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - age)
    page = render(run, state="running", facts={})

    shown = _in_browser(tmp_path, page).partition('class="state')[2].partition("</span>")[0]
    assert badge in shown
