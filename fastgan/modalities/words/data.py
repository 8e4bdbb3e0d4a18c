# SPDX-License-Identifier: Apache-2.0
"""Words of a text file, one a line, or of the dictionary of the Debian package wamerican."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.modalities.modality import DataFacts

__all__ = ["BUILT_IN", "DICTIONARY", "Words", "describe", "open_data", "to_text"]

BUILT_IN = "words"
DICTIONARY = Path("/usr/share/dict/american-english")  # Debian's wamerican
_HELD_OUT = 10  # every so many words, one is kept for the metrics


class Words:
    """Words as one-hot letters; a tenth of them is held out.

    Lines of another form than lowercase letters, and words that are shorter or longer than asked
    for, are left out; each word is taken once.

    Args:
        path: of a text file in UTF-8 with one word a line; None: `DICTIONARY`.
        alphabet: the letters; None: those of the file, sorted.
        shortest: least number of letters; default 3.
        longest: most number of letters; default 8.
        max_words: at most so many words are used; None: all.
        is_held_out: whether this is the held-out tenth, and not the rest.

    Attributes:
        words: the texts, in an order that depends on the file alone.
        codes: int64 [N, longest].
        held_out: the held-out tenth; of itself, itself.

    Raises:
        FileNotFoundError: no such file; of the dictionary, with the package that has it.
        ValueError: too few words, or a letter that the alphabet has not.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        alphabet: str | None = None,
        shortest: int = 3,
        longest: int = 8,
        max_words: int | None = None,
        is_held_out: bool = False,
    ) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(
                f"Words: expected 1 <= shortest <= longest, got {shortest} and {longest}"
            )
        self.path, self.name = _file_of(path), _file_of(path).stem
        lines = [line.strip() for line in self.path.read_text(encoding="utf-8").splitlines()]
        fitting = {
            word
            for word in lines
            if word.isalpha() and word == word.lower() and shortest <= len(word) <= longest
        }
        if len(fitting) < 2 * _HELD_OUT:
            raise ValueError(
                f"Words: {self.path} has {len(fitting)} words of {shortest} to {longest} lowercase "
                f"letters among {len(lines)} lines, and at least {2 * _HELD_OUT} are needed; write "
                "one word a line, in lowercase"
            )
        self.alphabet = alphabet or "".join(sorted(set("".join(fitting))))
        unknown = sorted(set("".join(fitting)) - set(self.alphabet))
        if unknown:
            raise ValueError(
                f"Words: {self.path} has the letters {' '.join(unknown)}, which the network's "
                f"alphabet {self.alphabet!r} has not; use the data that it was trained on"
            )
        order = np.random.RandomState(0).permutation(len(fitting))  # its sequence never changes
        shuffled = [word for _, word in sorted(zip(order, sorted(fitting), strict=True))]
        self.words = [
            word for i, word in enumerate(shuffled) if (i % _HELD_OUT == 0) == is_held_out
        ][:max_words]
        self.codes = _encoded(self.words, self.alphabet, longest)
        self.held_out = self
        if not is_held_out:
            self.held_out = Words(
                path, alphabet=self.alphabet, shortest=shortest, longest=longest, is_held_out=True
            )

    def __len__(self) -> int:
        return len(self.words)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, None]:
        """Some words.

        Args:
            indices: int64 [B].
            uniform: not used.

        Returns:
            (float32 [B, L, V], one-hot; None).
        """
        codes = torch.from_numpy(self.codes[indices])
        return torch.nn.functional.one_hot(codes, len(self.alphabet) + 1).float(), None


def _file_of(path: str | Path | None) -> Path:
    found = DICTIONARY if path is None else Path(path)
    if not found.is_file():
        advice = (
            "install the Debian package wamerican (apt-get install wamerican), or name a text file "
            "with one word a line (--data)"
            if path is None
            else f"expected a text file with one word a line, or {BUILT_IN!r} for {DICTIONARY}"
        )
        raise FileNotFoundError(f"Words: there is no file {found}; {advice}")
    return found


def _encoded(words: list[str], alphabet: str, length: int) -> np.ndarray:
    codes = np.full((len(words), length), len(alphabet), dtype=np.int64)
    place = {letter: i for i, letter in enumerate(alphabet)}
    for row, word in zip(codes, words, strict=True):
        row[: len(word)] = [place[letter] for letter in word]
    return codes


def to_text(x: Tensor, alphabet: str) -> list[str]:
    """The words of one-hot letters.

    Args:
        x: [N, L, V]; the largest of V counts.
        alphabet: of V - 1 letters.

    Returns:
        N texts; a place without a letter before the end of a word is left out.
    """
    letters = [*alphabet, ""]
    return ["".join(letters[code] for code in row) for row in x.argmax(-1).tolist()]


def describe(data: Any) -> DataFacts:
    """What the words tell a recipe: their alphabet and their length.

    Args:
        data: `DataConfig`; options are shortest and longest.

    Returns:
        Arguments are alphabet and length.

    Raises:
        FileNotFoundError: as `Words`.
        ValueError: as `Words`.
    """
    words = Words(data.path, max_words=data.max_images, **data.options)
    length = words.codes.shape[1]
    return DataFacts(
        arguments={"alphabet": words.alphabet, "length": length},
        name=words.name,
        count=len(words),
        num_bytes=4 * len(words) * length * (len(words.alphabet) + 1),
        lines=(
            f"data        {words.path}: {len(words)} words of at most {length} letters, "
            f"{len(words.alphabet)} different ones; {len(words.held_out)} more are held out",
        ),
    )


def open_data(data: Any, model: Any) -> Words:
    """The words, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with alphabet and length.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: as `Words`.
        ValueError: as `Words`, or longer words than the model's.
    """
    options = {"longest": model.length} | data.options
    if options["longest"] != model.length:
        raise ValueError(
            f"train: the model makes words of at most {model.length} letters, but "
            f"data.options['longest'] is {options['longest']}; change one of them"
        )
    return Words(data.path, alphabet=model.alphabet, max_words=data.max_images, **options)
