# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from fastgan.modalities.words.data import Words
from fastgan.modalities.words.metric import NAMES, bigram_js, make_evaluator, unigram_codes


def codes(*words, length=3):
    rows = np.full((len(words), length), 2)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = ["ab".index(letter) for letter in word]
    return rows


def test_the_divergence_is_that_of_the_definition():
    assert bigram_js(codes("ab", "ba"), codes("ba", "ab"), 2) == 0
    assert bigram_js(codes("a"), codes("b"), 2) == pytest.approx(1)  # ·a a· against ·b b·
    # ·a ab b· against ·a a·: p = (1/3, 1/3, 1/3, 0), q = (1/2, 0, 0, 1/2)
    p, q = (1 / 3, 1 / 3, 1 / 3, 0), (1 / 2, 0, 0, 1 / 2)
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    expected = sum(
        a * math.log2(a / b) / 2 for part in (p, q) for a, b in zip(part, m, strict=True) if a > 0
    )
    assert bigram_js(codes("ab"), codes("a"), 2) == pytest.approx(expected)


def test_a_unigram_model_has_letters_and_lengths_but_no_pairs():
    train = codes(*["aab"] * 30, "b", length=4)
    drawn = unigram_codes(train, 2, 4000, seed=0)
    assert sorted(set((drawn < 2).sum(1))) == [1, 3]
    assert (drawn == 0).sum() / (drawn < 2).sum() == pytest.approx(60 / 91, abs=0.02)
    assert bigram_js(drawn, train, 2) > 0.05


def test_scores_of_real_words_and_of_their_copies(word_file):
    words = Words(word_file)
    evaluator = make_evaluator(words, batch=7)
    held_out = words.held_out

    def sample(first, n):
        return held_out.batch(np.arange(first, first + n), np.zeros((n, 4)))[0]

    results = evaluator.evaluate_parts(NAMES, sample, len(held_out))
    values = {name: result.value for name, result in results.items()}
    assert values == {
        "bigram_js": 0, "bigram_ratio": 0, "unique": 1, "dictionary": 1, "copies": 0,
    }  # fmt: skip
    assert results["unique"].num_real == len(held_out)

    one = words.batch(np.zeros(20, dtype=np.int64), np.zeros((20, 4)))[0]
    values = {n: r.value for n, r in evaluator.evaluate(NAMES, lambda n: one[:n], 20).items()}
    assert (values["unique"], values["dictionary"], values["copies"]) == (1 / 20, 1, 1)
    assert values["bigram_ratio"] > 1  # a single word is worse than a unigram model
    noise = torch.rand(500, 8, len(words.alphabet) + 1)
    values = evaluator.evaluate(["bigram_js", "copies"], lambda n: noise[:n], 7)
    assert values["bigram_js"].value > 0.2
    assert values["copies"].value == 0
