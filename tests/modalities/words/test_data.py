# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.modalities.words import data
from fastgan.modalities.words.data import Words, describe, open_data, to_text
from fastgan.models.character_gan import Config
from fastgan.training.config.run import DataConfig


def test_words_are_one_hot_and_read_back(word_file):
    words = Words(word_file)
    x, c = words.batch(np.array([3, 0, 7]), np.zeros((3, 4)))
    assert c is None
    assert x.shape == (3, 8, len(words.alphabet) + 1)
    assert x.dtype == torch.float32
    assert (x.sum(-1) == 1).all()
    assert to_text(x, words.alphabet) == [words.words[i] for i in (3, 0, 7)]
    assert all(3 <= len(w) <= 8 and w.isalpha() and w == w.lower() for w in words.words)


def test_a_tenth_is_held_out_and_shared_with_nobody(word_file):
    words = Words(word_file)
    held_out = words.held_out
    assert not set(words.words) & set(held_out.words)
    assert len(words) / len(held_out) == pytest.approx(9, rel=0.05)
    assert held_out.alphabet == words.alphabet
    assert held_out.held_out is held_out
    fewer = Words(word_file, max_words=50)
    assert fewer.words == words.words[:50]
    assert fewer.held_out.words == held_out.words


def test_what_a_recipe_is_told(word_file):
    facts = describe(DataConfig(modality="words", path=str(word_file), options={"longest": 6}))
    assert facts.arguments["length"] == 6
    assert set(facts.arguments["alphabet"]) <= set("abcdefghijklmnopqrstuvwxyz")
    assert facts.name == "guide"
    assert f"{facts.count} words of at most 6 letters" in facts.lines[0]


def test_a_missing_dictionary_is_an_error_that_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "DICTIONARY", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"the Debian package wamerican .*--data"):
        describe(DataConfig(modality="words"))
    with pytest.raises(FileNotFoundError, match=r"no file .*expected a text file with one"):
        Words(tmp_path / "other.txt")


def test_other_files_and_networks_are_refused(word_file, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("Anna\nBert\n" * 30)
    with pytest.raises(ValueError, match="0 words of 3 to 8 lowercase letters among 60 lines"):
        Words(path)
    config = DataConfig(modality="words", path=str(word_file))
    with pytest.raises(ValueError, match=r"has the letters .* z, which the network's alphabet"):
        open_data(config, Config(alphabet="abc"))
    changed = DataConfig(modality="words", path=str(word_file), options={"longest": 6})
    with pytest.raises(ValueError, match=r"at most 5 letters, but data\.options"):
        open_data(changed, Config(length=5))
    with pytest.raises(ValueError, match="1 <= shortest <= longest, got 4 and 3"):
        Words(word_file, shortest=4, longest=3)
