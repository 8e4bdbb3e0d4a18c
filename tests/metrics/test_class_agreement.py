# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics.class_agreement import train_classifier
from fastgan.modalities.images.metric import NAMES, ImageEvaluator


class ColouredPictures:
    """Pictures of noise in one of three colours, sorted by the colour, which is their class."""

    label_dim = 3

    def __init__(self, count=60, one_hot=True):
        rng = np.random.RandomState(0)
        self.classes = np.sort(rng.randint(0, 3, count))
        self.x = (rng.rand(count, 3, 4, 4) * 90).astype(np.uint8)
        self.x[np.arange(count), self.classes] += 120
        self._one_hot = one_hot

    def __len__(self):
        return len(self.x)

    def label(self, index):
        c = np.eye(3, dtype=np.float32)[self.classes[index]]
        return c if self._one_hot else 0.7 * c

    def __getitem__(self, index):
        return self.x[index], self.label(index)


def small_training(x, classes, **options):
    return train_classifier(x, classes, steps=40, **options)


@pytest.fixture
def evaluator(tiny, monkeypatch):
    monkeypatch.setattr("fastgan.modalities.images.metric.train_classifier", small_training)
    return ImageEvaluator(ColouredPictures(), batch=7, extractor=tiny)


def sampler(evaluator, shift):
    def part(first, n):
        classes = (evaluator.dataset.classes[evaluator.condition_indices(first, n)] + shift) % 3
        x = torch.rand(n, 3, 4, 4) - 1
        x[torch.arange(n), torch.from_numpy(classes)] += 1
        return x

    return part


def test_right_and_wrong_classes(evaluator, tiny):
    names = ["class_agreement", "class_agreement_real"]
    for shift, want in ((0, 1.0), (1, 0.0)):
        results = evaluator.evaluate_parts(names, sampler(evaluator, shift), 80)
        assert [results[name].value for name in names] == [want, 1.0]
    assert tiny.num_images == 0  # the extractor is for the other metrics


def test_beside_the_other_metrics(evaluator, tiny):
    torch.manual_seed(0)
    several = evaluator.evaluate_parts(NAMES, sampler(evaluator, 0), 70)
    without = evaluator.evaluate_parts(["fd_lite0"], sampler(evaluator, 0), 70)
    torch.manual_seed(0)
    alone = evaluator.evaluate_parts(["fd_lite0"], sampler(evaluator, 0), 70)
    assert tuple(several) == NAMES
    assert several["fd_lite0"] == alone["fd_lite0"]
    assert without["fd_lite0"].value > 0
    assert several["class_agreement"].value == 1


def test_conditions_are_not_those_of_the_first_class_alone(evaluator):
    wanted = evaluator.dataset.classes[evaluator.condition_indices(0, 12)]
    assert set(wanted) == {0, 1, 2}
    every = np.concatenate([evaluator.condition_indices(i, 20) for i in (0, 20, 40)])
    assert sorted(every) == list(range(60))
    assert np.array_equal(evaluator.condition_indices(60, 5), evaluator.condition_indices(0, 5))


def test_the_generators_are_as_before():
    data = ColouredPictures(20)
    x, classes = torch.from_numpy(data.x), torch.from_numpy(data.classes)
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    with torch.no_grad():  # as evaluators call it
        first, _ = train_classifier(x, classes, num_classes=3, steps=2)
    assert torch.equal(torch.rand(2), want)
    again, _ = train_classifier(x, classes, num_classes=3, steps=2)
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), train_classifier(x, classes, num_classes=3, steps=1)[0](x))


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (ColouredPictures(one_hot=False), "label vectors of 3 numbers"),
        (type("Unlabelled", (ColouredPictures,), {"label_dim": 0})(), "no labels"),
    ],
)
def test_labels_that_are_no_classes_are_refused(dataset, words, tiny):
    evaluator = ImageEvaluator(dataset, extractor=tiny)
    with pytest.raises(ValueError, match=f"class_agreement needs images with classes.*{words}"):
        evaluator.evaluate(["class_agreement"], lambda n: torch.zeros(n, 3, 4, 4), 10)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="at least 10 images with labels, got 4"):
        train_classifier(torch.zeros(4, 1, 4, 4), torch.zeros(4).long(), num_classes=2)
