# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fastgan.data import open_images
from fastgan.data.from_packages import emoji
from fastgan.modalities.images import data as images_data
from fastgan.training.config.recipes import load_recipe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path))


def test_a_missing_font_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, "FONT", tmp_path / "none.ttf")
    with pytest.raises(
        FileNotFoundError, match=r"none.ttf.*apt-get install fonts-noto-color-emoji"
    ):
        emoji.emoji_dataset()


@pytest.mark.skipif(not emoji.FONT.is_file(), reason=f"{emoji.FONT} is not there")
def test_training_and_held_out_emoji(monkeypatch):
    monkeypatch.setattr(emoji, "KINDS", (((0x1F600, 0x1F605),), ((0x1F400, 0x1F403),)))
    monkeypatch.setattr(emoji, "TRAINING", 6)
    config = load_recipe("few-shot")(resolution=(16, 16))
    facts = images_data.describe(config.data)
    assert (facts.name, facts.count) == ("emoji", 6)
    dataset = images_data.open_data(config.data, config.model)
    assert (len(dataset), len(dataset.held_out)) == (6, 4)
    both = [
        x for part in (dataset, dataset.held_out) for x in (part[i][0] for i in range(len(part)))
    ]
    assert len({x.tobytes() for x in both}) == 10
    assert all(x.shape == (3, 16, 16) and x.std() > 20 for x in both)
    assert np.mean([x[:, 0, 0].min() for x in both]) > 250  # on white
    labelled = open_images(emoji.emoji_dataset(held_out=True), use_labels=True)
    assert [labelled.label(i).argmax() for i in range(4)] == [1, 0, 0, 0]  # by code point
    evaluator_data = images_data.open_data(config.data, config.model).held_out
    assert evaluator_data.file_names == labelled.file_names
