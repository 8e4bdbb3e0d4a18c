# SPDX-License-Identifier: Apache-2.0
import json
import re
from html.parser import HTMLParser

import pytest

from fastgan.metrics import MetricResult
from fastgan.training.loop.observer import RunInfo, Tick
from fastgan.training.loop.run_files import RunFiles
from fastgan.training.report.page import Report, describe_backends, render
from fastgan.training.report.scores import score_charts

EVIL = "<script>alert('x')</script>&\"'"


class _Tags(HTMLParser):
    VOID = frozenset({"meta", "img", "input", "line", "rect", "circle", "polyline", "path"})

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _score(kimg, value, num_fake=1000):
    result = MetricResult(
        name="kid_lite0", value=value, num_real=900, num_fake=num_fake, extractor="lite0",
        resize="8x8", seed=3, data="faces", interval=(value - 0.5, value + 0.25),
        interval_method="halves",
    )  # fmt: skip
    return result.record(kimg=kimg, checkpoint="ckpt", computed_by="train")


def _run(**changes):
    stats = [
        {"kimg": float(k), "Loss/D": 1 / (k + 1), "Logits/real": k / 9, "img_per_sec": 100.0,
         "total_sec": 3.0 * k, "eta_sec": 60.0, "augment": 0.0}
        for k in range(9)
    ]  # fmt: skip
    settings = {
        "name": "00000-faces",
        "options": {"batch": 4, "total_kimg": 9.0, "model": {"z_dim": 5}},
        "stats": stats,
        "scores": {"kid_lite0": [_score(0.0, 3.0), _score(8.0, 1.0)]},
        "fakes": [(0, "fakes000000.png"), (8, "fakes000008.png")],
        "files": frozenset({"reals.png", "progress.gif"}),
    }
    return RunFiles(**(settings | changes))


def test_the_page_is_closed_and_needs_nothing_from_elsewhere():
    page = render(_run(), state="running", facts={"Machine": {"device": "cpu"}})
    tags = _Tags(page)

    assert tags.open == []
    assert tags.seen.count("script") == 1
    assert not any(value.startswith(("/", "data:", "javascript:")) for value in tags.links)
    assert set(tags.links) == {"fakes000000.png", "fakes000008.png", "reals.png", "progress.gif"}
    assert "http://" not in page
    assert "https://" not in page


def test_everything_from_outside_is_escaped():
    evil_score = {
        "kimg": 0.0, "results": {EVIL: 1.0}, "num_fake": 3, "num_real": 4, "extractor": EVIL,
        "resize": EVIL, "interval_method": EVIL,
    }  # fmt: skip
    run = _run(
        name=EVIL,
        options={EVIL: EVIL, "nested": {EVIL: [EVIL]}},
        stats=[{"kimg": 1.0, f"Loss/{EVIL}": 1.0, f"{EVIL}/x": 2.0}],
        scores={EVIL: [evil_score]},
        fakes=[(0, f"{EVIL}.png"), (1, f"{EVIL}2.png")],
    )
    page = render(run, state=EVIL, facts={EVIL: {EVIL: EVIL}})

    assert page.count("<script") == 1  # the page's own
    assert "alert('x')</" not in page
    assert _Tags(page).open == []
    assert EVIL in _Tags(page).text


def test_numbers_settings_and_scores_are_shown():
    text = _Tags(render(_run(), state="running", facts={"Machine": {"device": "abacus"}})).text

    for expected in ("8", " / 9", "100", "24s", "1m 00s", "model.z_dim", "abacus", "kid_lite0"):
        assert expected in text


def test_a_score_has_beside_it_what_it_depends_on():
    text = _Tags(render(_run(), state="finished", facts={})).text
    assert (
        "1 [0.5, 1.25] at 8 kimg; 1000 generated and 900 real samples; features: lite0, resizing: "
        "8x8, seed 3; interval: halves"
    ) in text
    assert " [0.5, 1.25]" in text  # of the tile
    assert "kid_lite0, N = 1000" in text


def test_scores_of_truncated_samples_say_so_and_are_in_no_tile():
    truncated = _score(8.0, 2.0) | {"truncation_psi": 0.5, "truncation_cutoff": 3, "label": 1}
    earlier = _score(0.0, 3.0)
    del earlier["truncation_psi"]  # as lines of earlier versions are
    rows = [earlier, _score(8.0, 1.0), truncated]
    text = _Tags(render(_run(scores={"kid_lite0": rows}), state="finished", facts={})).text
    assert {"kid_lite0 (1)", "kid_lite0 (2)"} <= {words.strip() for words in text}
    assert "kid_lite0 (3)" not in {words.strip() for words in text}
    assert any("seed 3, truncation psi 0.5 in 3 layers, label 1;" in words for words in text)
    assert " [0.5, 1.25]" in text  # of the tile


def test_intervals_are_a_band_behind_the_line():
    (chart,) = score_charts(_run())
    (band,) = re.findall(r'<path class="band k0" d="M(.*?)Z"/>', chart)
    corners = [[float(number) for number in corner.split()] for corner in band.split("L")]
    (line,) = re.findall(r'<polyline class="k0" points="(.*?)"/>', chart)
    (x0, y0), (x1, y1) = [[float(n) for n in point.split(",")] for point in line.split()]
    # from left to right below the line, back above it; the scores are 2 apart
    down, up = (y1 - y0) / 4, -(y1 - y0) / 8  # of 0.5 and 0.25
    expected = [[x0, y0 + down], [x1, y1 + down], [x1, y1 + up], [x0, y0 + up]]
    assert corners == [pytest.approx(corner, abs=0.2) for corner in expected]
    without = _score(0.0, 3.0) | {"interval": None}
    assert "<path" not in score_charts(_run(scores={"kid_lite0": [without]}))[0]


def test_scores_that_cannot_be_compared_are_no_line_together():
    rows = [_score(0.0, 3.0), _score(8.0, 1.0), _score(8.0, 2.0, num_fake=50)]
    run = _run(scores={"kid_lite0": rows})
    text = _Tags(render(run, state="finished", facts={})).text
    assert any(w.startswith("kid_lite0 (2): 2 [1.5, 2.25] at 8 kimg; 50 gen") for w in text)
    assert {"kid_lite0 (1)", "kid_lite0 (2)"} <= {words.strip() for words in text}
    assert [label.count("points=") for label in score_charts(run)] == [2]


@pytest.mark.parametrize(("state", "reloads"), [("running", True), ("finished", False)])
def test_only_a_running_page_reloads_itself(state, reloads):
    page = render(_run(), state=state, facts={})

    assert ('http-equiv="refresh"' in page) == reloads
    assert ('data-silent="600"' in page) == reloads
    assert ("1m 00s" in page) == reloads  # the time left


def test_an_empty_run_is_a_page_too():
    tags = _Tags(render(RunFiles(name="new"), state="running", facts={}))

    assert tags.open == []
    assert "nothing recorded yet" in tags.text


def test_a_long_run_makes_a_bounded_page():
    stats = [{"kimg": float(k), "Loss/D": float(k % 7), "Loss/G": 1.0} for k in range(20_000)]
    looks = [{"kimg": k, "real": [k % 7, 1.5] * 32, "fake": [-k % 5, 2] * 32} for k in range(2000)]
    grids = [(k, f"fakes{k:06d}.png") for k in range(2000)]
    page = render(_run(stats=stats, fakes=grids, logits=looks), state="running", facts={})

    assert len(page) < 200_000
    assert "1999 kimg" in page


def test_earlier_snapshots_wait_in_the_place_of_the_newest():
    fakes = [(0.192, "fakes000000_192.png"), (4, "fakes000004.png"), (8, "fakes000008.png")]
    page = render(_run(fakes=fakes), state="finished", facts={})

    place = page[page.index('<div class="moments" data-kimg="8">') :]
    newest, first, second = re.split(r'<template data-kimg="[0-9.]+">', place)
    assert "fakes000008.png" in newest
    assert "fakes000000_192.png" in first
    assert "fakes000004.png" in second.partition("</template>")[0]
    assert '<div class="time" hidden>' in page  # the script shows it


def test_backends_say_why():
    shown = describe_backends("no-such-device")

    assert set(shown.values()) == {"reference"}
    assert "upfirdn2d" in describe_backends("cpu")


def test_the_observer_writes_at_every_event(tiny, tmp_path):
    config = tiny.config()
    info = RunInfo(
        config=config, run_dir=tmp_path, state=tiny.state(config), reals=None,
        dataset_name="tiny", dataset_size=None, g_parameters=1234567, d_parameters=1,
    )  # fmt: skip
    (tmp_path / "training_options.json").write_text(json.dumps(config.to_dict()))
    path, report = tmp_path / "report.html", Report(every_sec=0.0)

    report.on_start(info)
    assert "1,234,567" in path.read_text(encoding="utf-8")

    (tmp_path / "stats.jsonl").write_text('{"kimg": 3.5, "Loss/D": 0.25}\n')
    report.on_tick(_tick())
    assert "0.25" in path.read_text(encoding="utf-8")

    report.on_end("interrupted")
    assert "interrupted" in path.read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.glob("*.html")) == ["report.html"]


def _tick():
    return Tick(
        tick=0, kimg=3.5, total_sec=1.0, sec_per_tick=1.0, sec_per_kimg=1.0, img_per_sec=1.0,
        maintenance_sec=0.0, cpumem_gb=0.1, gpumem_gb=0.0, augment=0.0, losses={}, eta_sec=1.0,
    )  # fmt: skip
