# SPDX-License-Identifier: Apache-2.0
"""The acceptance run of docs/few-shot.md, about 2 CPU-minutes."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.copies import share_of_run
from fastgan.cli import main
from fastgan.cli.run_folders import newest_checkpoint
from fastgan.data.from_packages import emoji
from fastgan.metrics import available


def trained(folder, *flags):
    """KID and the share of samples that are nearest to a training image."""
    command = ["train", "--cfg", "few-shot", "--resolution", "16", "--subset", "100",
               "--kimg", "20", "--snap", "4", "--metrics", "kid_lite0",
               "--outdir", str(folder), *flags]  # fmt: skip
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code in (0, 4), result.output  # 4: an alarm may say that D overfits
    run = next(folder.iterdir())
    line = (run / "metric-kid_lite0.jsonl").read_text().splitlines()[-1]
    return json.loads(line)["results"]["kid_lite0"], share_of_run(newest_checkpoint(run))


@pytest.mark.slow
@pytest.mark.skipif(not emoji.FONT.is_file(), reason=f"{emoji.FONT} is not there")
def test_with_augmentation_100_emoji_are_not_repeated(tmp_path):
    if reason := available():
        pytest.skip(reason)
    kid, share = trained(tmp_path / "with")
    kid_without, share_without = trained(tmp_path / "without", "--aug", "noaug")
    assert kid < kid_without
    assert share < 0.65 < share_without
