# SPDX-License-Identifier: Apache-2.0
"""Directions that labelled images teach: those along which a classifier's answers change.

After Shen et al. 2020, "Interpreting the Latent Space of GANs", arXiv 1907.10786.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fastgan.control.directions import Directions, deviations, draw_w
from fastgan.control.steerable import SteerableGenerator
from fastgan.metrics.class_agreement import ImageClassifier, train_classifier

__all__ = ["attribute_classifier", "learn_directions", "log_odds"]

_RIDGE = 1.0  # of the mean variance of w
_STEPS, _IMAGES, _RATE = 180, 48, 0.03  # of Adam
_REACH = 3.0  # deviations, over which answers are to rise
_OTHERS = 0.25  # weight of the answers that are to stay
_SURE = 4.0  # a change of another answer's log-odds that counts almost fully
_CLEAR, _SLIGHT = 8.0, 0.5  # the same of the answer that is to rise: half for each
_PART = 256  # images of which a classifier is asked at once


def learn_directions(
    network: SteerableGenerator,
    images: Tensor,
    answers: Mapping[str, Tensor],
    *,
    samples: int = 4000,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Directions:
    """Directions of questions that labelled images answer, such as whether a face has glasses.

    For each question a small classifier is trained on the images, and asked about generated ones.
    The direction begins as the ridge regression of the ranks of its log-odds on w. Adam then turns
    it so that along it the log-odds rise in as many images as possible: it maximises the mean of
    (tanh(d / 8) + tanh(2 d)) / 2 with d = o(t2) - o(t1), over images and pairs of strengths t1 < t2
    in [-3, 3], a smooth form of Kendall's rank correlation of strength and answer, less a quarter
    of the mean of tanh(d / 4)² for each other question, whose answer is to stay. The first half
    wants answers that turn; the second also wants those of images to rise that are sure of theirs,
    such as red hair that becomes black where both are dark. Positive strengths are towards "yes".

    Args:
        network: with styles.
        images: uint8 [M, C, H, W], such as those that the network was trained on.
        answers: name of a direction → int64 [M], 1 for yes, 0 for no, -1 for an image that does not
            tell.
        samples: how many images are generated.
        layers: which move; None: all.
        seed: of the classifiers, and of the samples, whose z torch draws.
        progress: called with (done, total) after each question.

    Returns:
        The directions.

    Raises:
        ValueError: there are no styles, no such layer, or fewer than 50 images with either answer.
    """
    network.require_styles("learn_directions")
    chosen = tuple(range(network.num_ws)) if layers is None else tuple(layers)
    ws = draw_w(network, samples, seed)
    made = _quantized(network, ws)
    classifiers, scores, vectors = [], [], []
    for done, (name, answer) in enumerate(answers.items(), start=1):
        classifier, share = attribute_classifier(images, answer, name=name, seed=seed)
        classifiers.append(classifier.to(network.device))
        scores.append(share)
        if progress is not None:
            progress(done, len(answers))
    for classifier in classifiers:
        others = [other for other in classifiers if other is not classifier]
        first = _regression(ws[:, 0], _ranks(log_odds(classifier, made)))
        vectors.append(_refined(network, ws[:, 0], classifier, others, first, seed))
    stacked = torch.stack(vectors)
    return Directions(
        tuple(answers), stacked, deviations(network, stacked), torch.tensor(scores), chosen,
        "labels", network.fingerprint,
    )  # fmt: skip


def attribute_classifier(
    images: Tensor, answer: Tensor, *, name: str, seed: int
) -> tuple[ImageClassifier, float]:
    """A classifier of one question.

    Args:
        images: uint8 [M, C, H, W].
        answer: int64 [M]: 1, 0, or -1 for images that are left out.
        name: of the question, for messages.
        seed: of the classifier.

    Returns:
        As `fastgan.metrics.class_agreement.train_classifier`; class 1 is yes.

    Raises:
        ValueError: fewer than 50 images with either answer.
    """
    yes, no = int((answer == 1).sum()), int((answer == 0).sum())
    if min(yes, no) < 50:
        raise ValueError(
            f"learn_directions: {name!r} needs at least 50 images with each answer, got {yes} with "
            f"yes and {no} with no; choose another question or more images"
        )
    known = answer >= 0
    return train_classifier(images[known], answer[known], num_classes=2, seed=seed)


def log_odds(classifier: nn.Module, images: Tensor) -> Tensor:
    """How sure a classifier of two classes is of the second.

    Args:
        classifier: images → logits [n, 2].
        images: [n, C, H, W].

    Returns:
        [n], the logarithm of the odds of class 1.
    """
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in images.split(_PART)])
    return logits[:, 1] - logits[:, 0]


def _quantized(network: SteerableGenerator, ws: Tensor) -> Tensor:
    """The images as they would be saved, uint8: what the classifier was trained on."""
    parts = [network.images_of_ws(part) for part in ws.split(_PART)]
    return torch.cat([(x * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8) for x in parts])


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().to(values.dtype)


def _refined(
    network: SteerableGenerator,
    w: Tensor,
    classifier: nn.Module,
    others: Sequence[nn.Module],
    first: Tensor,
    seed: int,
) -> Tensor:
    """The direction [w_dim] of length 1 along which a classifier's answers rise and others' stay.

    w [n, w_dim] are points of the style space.
    """
    v = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([v], lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_STEPS):
        rows = torch.randint(len(w), (_IMAGES,), generator=generator).to(w.device)
        strengths = (torch.rand(2, _IMAGES, generator=generator) * 2 - 1) * _REACH
        low, high = strengths.sort(0).values.to(w.device)
        with torch.enable_grad():
            unit = v / v.norm()
            step = (w @ unit.detach()).std() * unit
            moved = torch.cat([w[rows] + t[:, None] * step for t in (low, high)])
            ws = moved[:, None].expand(-1, network.num_ws, -1)
            x = network.G.synthesis(ws, noise_mode="const").clamp(-1, 1)
            rise = _rise(classifier, x)
            loss = -((rise / _CLEAR).tanh() + (rise / _SLIGHT).tanh()).mean() / 2
            for other in others:
                loss = loss + _OTHERS * (_rise(other, x) / _SURE).tanh().square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        optimizer.step()
    return (v / v.norm()).detach()


def _rise(classifier: nn.Module, x: Tensor) -> Tensor:
    """How much the log-odds of "yes" are higher in the second half of x than in the first."""
    logits = classifier(x)
    before, after = (logits[:, 1] - logits[:, 0]).chunk(2)
    return after - before


def _regression(w: Tensor, wanted: Tensor) -> Tensor:
    """w [n, w_dim], wanted [n] → the direction [w_dim] of length 1 of the ridge regression."""
    x, y = (w - w.mean(0)).double(), (wanted - wanted.mean()).double()
    covariance = x.T @ x / len(x)
    ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), device=w.device)
    v = torch.linalg.solve(covariance + ridge, x.T @ y / len(x))
    return (v / v.norm().clamp(min=1e-30)).float()
