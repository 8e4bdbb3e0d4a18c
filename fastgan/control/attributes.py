# SPDX-License-Identifier: Apache-2.0
"""Questions about labelled images, and their answers: whether a face has glasses, say."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fastgan.data.avatar_painter import CLASSES, class_of

__all__ = ["AVATAR_QUESTIONS", "Question", "read_attributes"]


@dataclass(frozen=True)
class Question:
    """Whether an attribute of an image has one of some values.

    Args:
        name: of the direction that it gives.
        attribute: such as "hair_color"; "class" is the label of dataset.json.
        values: those that mean yes.
        is_negated: whether they mean no instead.

    Example:
        Question.parse("accessory=!NONE").answers([{"accessory": "ROUND"}])  # tensor([1])
    """

    name: str
    attribute: str
    values: tuple[str, ...]
    is_negated: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """A question that a person typed.

        Args:
            text: a name of `AVATAR_QUESTIONS`, or ATTRIBUTE=VALUE,VALUE…, or ATTRIBUTE=!VALUE,…

        Returns:
            The question; its name is the text.

        Raises:
            ValueError: it has another form.
        """
        if text in AVATAR_QUESTIONS:
            attribute, values = AVATAR_QUESTIONS[text].split("=")
        else:
            attribute, _, values = text.partition("=")
        is_negated = values.startswith("!")
        chosen = tuple(value.strip() for value in values.removeprefix("!").split(","))
        if not attribute.strip() or not all(chosen):
            raise ValueError(
                f"a question must be one of {', '.join(AVATAR_QUESTIONS)}, or have the form "
                f"ATTRIBUTE=VALUE,VALUE or ATTRIBUTE=!VALUE (not that value), got {text!r}"
            )
        return cls(text, attribute.strip(), chosen, is_negated)

    def answers(self, attributes: Sequence[dict[str, str]]) -> Tensor:
        """The answer of each image.

        Args:
            attributes: of each image, as of `read_attributes`.

        Returns:
            int64 [n]: 1 yes, 0 no, -1 where the attribute can't be seen (hair under a hat).

        Raises:
            ValueError: there is no such attribute, or no image has one of the values.
        """
        known = sorted({key for one in attributes for key in one})
        if self.attribute not in known:
            raise ValueError(
                f"{self.name}: the images have no attribute {self.attribute!r}; they have "
                f"{', '.join(known) or 'none'}"
            )
        found = [one[self.attribute] for one in attributes]
        if unknown := set(self.values) - set(found):
            raise ValueError(
                f"{self.name}: no image has {self.attribute} {', '.join(sorted(unknown))}; there "
                f"are {', '.join(sorted(set(found)))}"
            )
        answers = [
            -1 if value == "HIDDEN" else int((value in self.values) != self.is_negated)
            for value in found
        ]
        return torch.tensor(answers)


AVATAR_QUESTIONS = {
    "dark_hair": "hair_color=BLACK,BROWN,BROWN_DARK,AUBURN",
    "glasses": "accessory=!NONE",
    "dark_skin": "skin_color=BROWN,DARK_BROWN,BLACK",
}


def read_attributes(images: Any) -> list[dict[str, str]]:
    """What is known about each image of a data set.

    Args:
        images: of `fastgan.data.open_images`.

    Returns:
        Attribute → value of each image: those of attributes.json, which `fastgan data avatars`
        writes, or "class" where the data set was opened with labels that are classes.

    Raises:
        ValueError: nothing is known.
    """
    path = Path(images.path)
    document = _attributes_document(path)
    if document is not None:
        numbers = [int(Path(name).stem.removeprefix("img")) for name in images.file_names]
        all_of_them = document["attributes"]
        return [_seen(all_of_them[number]) for number in numbers]
    if images.label_dim > 1:
        return [{"class": str(int(images.label(i).argmax()))} for i in range(len(images))]
    raise ValueError(
        f"{path} has neither attributes.json nor classes in dataset.json, so no question about its "
        "images can be answered; `fastgan data convert SRC DEST.zip --labels folders` makes one "
        "class of each folder"
    )


def _attributes_document(path: Path) -> dict[str, Any] | None:
    if path.suffix.lower() != ".zip":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("attributes.json"))
    except KeyError:
        return None


def _seen(attributes: dict[str, str]) -> dict[str, str]:
    """With "HIDDEN" for the colour of hair that is under a hat or not there."""
    shown = CLASSES["hair_color"][class_of(attributes, "hair_color")]
    return {**attributes, "hair_color": shown}
