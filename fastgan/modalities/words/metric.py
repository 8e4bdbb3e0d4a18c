# SPDX-License-Identifier: Apache-2.0
"""Metrics of words, which need no package.

bigram_js      Jensen-Shannon divergence, in bits, of the pairs of neighbouring letters, beginning
               and end of a word included, from those of held-out words; 0 is the best, 1 the worst
bigram_ratio   the same, divided by that of a unigram model: letters drawn one by one with their
               frequencies in the training words, as many as a training word has
unique         share of different words among the generated ones
dictionary     share of generated words that are words of the file, held out or not
copies         share of generated words that are training words
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.metrics import PartEvaluator
from fastgan.modalities.words.data import Words

__all__ = [
    "DEFAULT",
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "NAMES",
    "available",
    "bigram_js",
    "make_evaluator",
    "unigram_codes",
]

NAMES = ("bigram_js", "bigram_ratio", "unique", "dictionary", "copies")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("bigram_js", "bigram_ratio"), ("unique", "dictionary")


def available() -> str | None:
    """Why the metrics can't be computed here: None, they always can."""
    return None


def bigram_js(codes: np.ndarray, others: np.ndarray, letters: int) -> float:
    """The Jensen-Shannon divergence of two sets of words' pairs of neighbouring letters.

    Args:
        codes: int64 [N, L]; the code `letters` is "no letter".
        others: int64 [M, L].
        letters: the size of the alphabet.

    Returns:
        Σ over pairs of (p log2(p / m) + q log2(q / m)) / 2 with m = (p + q) / 2 (Lin 1991), in
        [0, 1].
    """
    p, q = _bigrams(codes, letters), _bigrams(others, letters)
    m = (p + q) / 2
    return (_relative_entropy(p, m) + _relative_entropy(q, m)) / 2


def _bigrams(codes: np.ndarray, letters: int) -> np.ndarray:
    """float64 [(letters + 1)²]: relative frequency of each pair; a border counts as no letter."""
    border = np.full((len(codes), 1), letters)
    padded = np.concatenate([border, codes, border], axis=1)
    first, second = padded[:, :-1], padded[:, 1:]
    pairs = (first * (letters + 1) + second)[(first < letters) | (second < letters)]
    counts = np.bincount(pairs, minlength=(letters + 1) ** 2)
    return counts / max(counts.sum(), 1)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    is_there = p > 0
    return float((p[is_there] * np.log2(p[is_there] / q[is_there])).sum())


def unigram_codes(codes: np.ndarray, letters: int, n: int, seed: int) -> np.ndarray:
    """Words of a unigram model of `codes`: the lengths and the letters are drawn one by one.

    Args:
        codes: int64 [N, L].
        letters: the size of the alphabet.
        n: number of words.
        seed: of the draws.

    Returns:
        int64 [n, L].
    """
    draws = np.random.RandomState(seed)
    lengths = (codes < letters).sum(1)[draws.randint(len(codes), size=n)]
    drawn = draws.choice(codes[codes < letters], size=(n, codes.shape[1]))
    return np.where(np.arange(codes.shape[1]) < lengths[:, None], drawn, letters)


class WordEvaluator(PartEvaluator):
    """Compares generated words with the held-out words of a data set, and with the training words.

    Args:
        dataset: the words.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the held-out words.
    """

    names = NAMES
    extractor_name = "pairs of letters"

    def __init__(self, dataset: Words, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._letters = len(dataset.alphabet)
        self._held_out = dataset.held_out.codes[: self.num_real]
        self.num_real = len(self._held_out)

    @cached_property
    def _words(self) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
        """The training words, and all of the file: `scores` is called for each half, too."""
        known = {tuple(row) for row in self.dataset.codes.tolist()}
        return known, known | {tuple(row) for row in self.dataset.held_out.codes.tolist()}

    def features(self, x: Tensor, first: int) -> Tensor:
        """The codes of the letters.

        Args:
            x: one-hot [n, L, V].
            first: not used.

        Returns:
            float32 [n, L].
        """
        return x.argmax(-1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: [num_fake, L], the codes of all generated words.

        Returns:
            The value of each metric by name.
        """
        codes, train = fake.to(torch.int64).numpy(), self.dataset.codes
        words = [tuple(row) for row in codes.tolist()]
        known, everything = self._words
        js = bigram_js(codes, self._held_out, self._letters)
        unigram = unigram_codes(train, self._letters, len(codes), self.seed)
        return {
            "bigram_js": js,
            "bigram_ratio": js / bigram_js(unigram, self._held_out, self._letters),
            "unique": len(set(words)) / len(words),
            "dictionary": sum(word in everything for word in words) / len(words),
            "copies": sum(word in known for word in words) / len(words),
        }


def make_evaluator(dataset: Words, **options: Any) -> WordEvaluator:
    """The evaluator of words.

    Args:
        dataset: the words.
        options: num_real, batch, device, seed and ranks.
    """
    return WordEvaluator(dataset, **options)
