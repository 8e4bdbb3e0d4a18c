# SPDX-License-Identifier: Apache-2.0
"""Control of a trained network, by the measures of docs/control.md; twenty minutes of one core."""

import io

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastgan.cli import main
from fastgan.control import (
    AVATAR_QUESTIONS,
    PerceptualDistance,
    Question,
    SteerableGenerator,
    edit,
    learn_directions,
    nearest_of_samples,
    project,
    read_attributes,
)
from fastgan.control.learnt_directions import attribute_classifier, log_odds
from fastgan.data import avatar_painter, default_dataset, open_images
from fastgan.metrics import Evaluator

SIZE, KIMG = 32, 195
STRENGTHS = torch.linspace(-3, 3, 13)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = ["train", "--resolution", SIZE, "--kimg", KIMG, "--metrics", "none", "--outdir", folder]
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return SteerableGenerator.load(next(folder.iterdir()))


@pytest.fixture(scope="module")
def faces():
    return open_images(default_dataset(SIZE), use_labels=True)


def _ranks(values):
    ranks = values.argsort(0).argsort(0).double()
    return ranks - ranks.mean(0)


def _spearman(odds):
    """odds [strengths, images] → the rank correlation with the strength of each image."""
    ranks, wanted = _ranks(odds), _ranks(STRENGTHS)[:, None]
    return (ranks * wanted).sum(0) / (ranks.norm(dim=0) * wanted.norm())


def _held_out(index):
    png = avatar_painter.render(avatar_painter.draw_attributes(1, index), SIZE)
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.array(picture)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.slow
def test_other_classifiers_agree_with_learnt_directions(trained, faces):
    """Rank correlation of strength and log-odds of 64 seeds, by two judges that had no part in
    finding the direction. The mean is that of both: log-odds of an image that is sure of its answer
    move by tenths, each judge's in its own way, so that one judge's mean is known to 0.1 only.
    """
    images = torch.from_numpy(np.stack([faces[i][0] for i in range(len(faces))]))
    attributes = read_attributes(faces)
    answers = {name: Question.parse(name).answers(attributes) for name in AVATAR_QUESTIONS}
    found = learn_directions(trained, images, answers)
    ws = trained.ws(range(10_000, 10_064))
    for name in found.names:
        made = [
            trained.images_of_ws(edit(ws, found, {name: float(s)})).clamp(-1, 1) for s in STRENGTHS
        ]
        each = []
        for seed in (1, 2):
            judge, _ = attribute_classifier(images, answers[name], name=name, seed=seed)
            odds = torch.stack([log_odds(judge, x) for x in made])
            each.append(_spearman(odds))
            yes = [round((odds[i] > 0).double().mean().item(), 2) for i in (0, 6, 12)]
            low = (each[-1] < 0.5).double().mean().item()
            print(name, seed, each[-1].median().item(), each[-1].mean().item(), low, yes)
        assert torch.stack(each).median(1).values.min() >= 0.8, name
        assert torch.stack(each).mean() >= 0.75, name


@pytest.mark.slow
def test_truncation_gives_up_variety_and_keeps_quality(trained, faces):
    evaluator = Evaluator(faces, num_real=1000)
    found = {}
    for psi in (1.0, 0.5):
        generator = torch.Generator().manual_seed(0)

        def sample(n, psi=psi, generator=generator):
            z = torch.randn(n, trained.G.z_dim, generator=generator)
            return trained.images_of_ws(trained.map(z, None, truncation_psi=psi))

        results = evaluator.evaluate(["precision_lite0", "recall_lite0"], sample, 1000)
        found[psi] = {name: result.value for name, result in results.items()}
    print(found)
    assert found[0.5]["recall_lite0"] < found[1.0]["recall_lite0"]
    assert found[0.5]["precision_lite0"] >= found[1.0]["precision_lite0"]


@pytest.mark.slow
@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_projection_is_nearer_than_the_nearest_of_as_many_samples(trained, space):
    distance = PerceptualDistance()
    for index in range(3):
        target = _held_out(index)
        found = project(trained, target, space=space, steps=200, distance=distance)
        control = nearest_of_samples(trained, target, count=200, distance=distance)
        print(space, found.distance, control.distance)
        assert found.distance < control.distance
