# SPDX-License-Identifier: Apache-2.0
import json
import zipfile

import numpy as np
import pytest

from fastgan.control import AVATAR_QUESTIONS, Question, read_attributes
from fastgan.data.avatar_painter import PARTS, draw_attributes

FACES = [
    {"accessory": "ROUND", "hair_color": "BLACK", "top": "hair/BOB"},
    {"accessory": "NONE", "hair_color": "HIDDEN", "top": "hat/HIJAB"},
    {"accessory": "SUNGLASSES", "hair_color": "BLONDE", "top": "hair/BOB"},
]


def test_answers():
    assert Question.parse("glasses").answers(FACES).tolist() == [1, 0, 1]
    assert Question.parse("hair_color=BLACK").answers(FACES).tolist() == [1, -1, 0]
    assert Question.parse("accessory=!ROUND, NONE").answers(FACES).tolist() == [0, 0, 1]


@pytest.mark.parametrize("text", ["hair", "hair_color=", "=BLACK", "hair_color=BLACK,,RED", "a=!"])
def test_what_is_no_question_is_refused(text):
    with pytest.raises(ValueError, match="a question must be one of dark_hair, glasses, dark_skin"):
        Question.parse(text)


def test_unknown_attributes_and_values_are_refused():
    with pytest.raises(ValueError, match="no attribute 'beard'; they have accessory, hair_color"):
        Question.parse("beard=YES").answers(FACES)
    with pytest.raises(ValueError, match="no image has hair_color GREEN; there are BLACK, BLONDE"):
        Question.parse("hair_color=GREEN").answers(FACES)


@pytest.mark.parametrize("name", AVATAR_QUESTIONS)
def test_the_built_in_questions_are_about_what_is_drawn(name):
    question = Question.parse(name)
    assert set(question.values) <= {"NONE", *PARTS[question.attribute]}
    assert question.name == name


class _Images:
    """What `open_images` gives, as far as it is read."""

    def __init__(self, path, names, labels=()):
        self.path, self.file_names, self._labels = path, names, labels
        self.label_dim = len(labels[0]) if labels else 0

    def __len__(self):
        return len(self.file_names)

    def label(self, i):
        return np.array(self._labels[i])


def test_attributes_of_avatars_by_number(tmp_path):
    drawn = [draw_attributes(0, i) for i in range(40)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("attributes.json", json.dumps({"attributes": drawn}))
    names = ["00000/img00000003.png", "00000/img00000001.png"]
    found = read_attributes(_Images(tmp_path / "a.zip", names))

    assert [one["skin_color"] for one in found] == [drawn[i]["skin_color"] for i in (3, 1)]
    hidden = read_attributes(_Images(tmp_path / "a.zip", [f"img{i:08d}.png" for i in range(40)]))
    for one, face in zip(hidden, drawn, strict=True):
        is_hidden = face["top"].startswith("hat/") or face["top"] == "hair/NONE"
        assert one["hair_color"] == ("HIDDEN" if is_hidden else face["hair_color"])
    assert {one["hair_color"] for one in hidden} > {"HIDDEN"}


def test_classes_of_other_data(tmp_path):
    images = _Images(tmp_path, ["a.png", "b.png"], [[0, 1, 0], [1, 0, 0]])
    assert read_attributes(images) == [{"class": "1"}, {"class": "0"}]
    with pytest.raises(ValueError, match=r"neither attributes.json nor classes"):
        read_attributes(_Images(tmp_path, ["a.png"]))
