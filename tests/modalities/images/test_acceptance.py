# SPDX-License-Identifier: Apache-2.0
"""The acceptance runs of docs/image-networks.md, minutes each."""

import json

import pytest
from click.testing import CliRunner

from fastgan.cli import main
from fastgan.metrics import available

METRICS = ("kid_lite0", "coverage_lite0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cfg", "kimg", "kid", "coverage"),
    [
        ("dcgan", 100, 1.3, 0.004),
        ("sngan", 30, 1.3, 0.002),
        ("sagan", 24, 1.25, 0.003),
        ("biggan-small", 24, 1.15, 0.003),
    ],
)
def test_a_recipe_reaches_its_thresholds(cfg, kimg, kid, coverage, tmp_path):
    if available() is not None:
        pytest.skip(available())
    flags = ["--resolution", "32", "--kimg", kimg, "--metrics", ",".join(METRICS)]
    command = ["train", "--cfg", cfg, *flags, "--seed", 0, "--outdir", tmp_path]
    result = CliRunner().invoke(main, [str(word) for word in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    folder = next(tmp_path.iterdir())
    files = [folder / f"metric-{name}.jsonl" for name in METRICS]
    found = [
        json.loads(file.read_text().splitlines()[-1])["results"][name]
        for file, name in zip(files, METRICS, strict=True)
    ]
    assert found[0] < kid
    assert found[1] >= coverage
