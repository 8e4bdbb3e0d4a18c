# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch

from fastgan.modalities.images.spectra import FILE, Spectra, read_spectra
from fastgan.training.loop.run_files import RunFiles
from fastgan.training.report.charts import format_number
from fastgan.training.report.spectra import spectra_chart


def images(seed, channels=3):
    return torch.rand(4, channels, 8, 12, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_snapshots_are_kept_as_long_as_their_pictures(tmp_path):
    first, second = tmp_path / "fakes000001.png", tmp_path / "fakes000002.png"
    Spectra(tmp_path, images(0)).write(first, images(1), [(1, first)])
    spectra = Spectra(tmp_path, images(0))  # of a resumed run
    spectra.write(second, images(0), [(1, first), (2, second)])
    found = read_spectra(tmp_path)
    assert [*found["generated"]] == [first.name, second.name]
    assert found["generated"][second.name] == found["real"]  # the same images
    assert found["generated"][first.name] != found["real"]
    assert found["cycles_per_pixel"] == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8])

    spectra.write(first, images(0), [(1, first)])  # the second one was taken back
    assert read_spectra(tmp_path)["generated"] == {first.name: found["real"]}


def test_images_that_are_not_finite_end_no_run_and_have_no_spectrum(tmp_path):
    path = tmp_path / "fakes000001.png"
    Spectra(tmp_path, images(0, 1)).write(path, torch.full((4, 1, 8, 12), torch.nan), [(1, path)])
    assert read_spectra(tmp_path)["generated"] == {}
    assert spectra_chart(RunFiles(name="run", folder=tmp_path, fakes=[(1, path.name)])) == ""


def test_the_report_shows_the_newest_one_and_keeps_the_others_for_the_slider(tmp_path):
    paths = [tmp_path / f"fakes{i:06d}.png" for i in (1, 2)]
    spectra = Spectra(tmp_path, images(0))
    for i, path in enumerate(paths):
        spectra.write(path, images(i), [(k + 1, p) for k, p in enumerate(paths[: i + 1])])
    run = RunFiles(name="run", folder=tmp_path, fakes=[(1, paths[0].name), (2, paths[1].name)])
    html = spectra_chart(run)
    assert html.startswith('<div class="moments" data-kimg="2">')
    assert html.count('<template data-kimg="1">') == 1
    assert html.count("Power by spatial frequency, dB") == 4  # two titles and their labels
    last = json.loads((tmp_path / FILE).read_text())["generated"][paths[1].name][-1]
    assert f"generated <b>{format_number(last)}</b>" in html


@pytest.mark.parametrize("content", ["", "{}", '{"cycles_per_pixel": [0, 1], "real": "x"}'])
def test_a_damaged_file_is_no_end_of_a_report(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert read_spectra(tmp_path) is None
    assert spectra_chart(RunFiles(name="run", folder=tmp_path)) == ""
