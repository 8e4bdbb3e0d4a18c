"""Directions of the style space along which images change, and the edits that they make.

Two ways to find them: of the weights alone (Shen and Zhou 2021, "Closed-Form Factorization of
Latent Semantics in GANs", arXiv 2007.06600), and of the answers of a classifier about generated
images (after Shen et al. 2020, "Interpreting the Latent Space of GANs", arXiv 1907.10786).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from fastgan.control.latent_files import check_network, read_arrays, write_arrays
from fastgan.control.steerable import SteerableGenerator
from fastgan.control.styles import replace_layers
from fastgan.metrics.class_agreement import ImageClassifier, train_classifier

__all__ = ["Directions", "edit", "factorize", "learn_directions", "log_odds"]

_FORMAT = 1
_RIDGE = 1.0  # of the mean variance of w
_STEPS, _IMAGES, _RATE = 180, 48, 0.03  # of Adam
_REACH = 3.0  # deviations, over which answers are to rise
_OTHERS = 0.25  # weight of the answers that are to stay
_SURE = 4.0  # a change of another answer's log-odds that counts almost fully
_CLEAR, _SLIGHT = 8.0, 0.5  # the same of the answer that is to rise: half for each
_SCALE_SEEDS = 1000
_PART = 256  # images of which a classifier is asked at once


@dataclass(frozen=True)
class Directions:
    """Directions of a network's style space.

    Args:
        names: one for each, all different.
        vectors: float32 [k, w_dim] of length 1.
        scales: float32 [k], the standard deviation of w along each; an edit of strength 1 moves by
            it.
        scores: float32 [k]: of `factorize` the eigenvalues; of `learn_directions` the share of
            right answers of its classifier on images that it has not seen.
        layers: the layers that an edit moves.
        method: "sefa" or "labels".
        network: fingerprint of the network.
    """

    names: tuple[str, ...]
    vectors: Tensor
    scales: Tensor
    scores: Tensor
    layers: tuple[int, ...]
    method: str
    network: str

    def index(self, name: str) -> int:
        """The place of a direction.

        Args:
            name: of the direction, or its number as text.

        Returns:
            The place in ``names``.

        Raises:
            ValueError: there is none; the message lists the names.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise ValueError(f"there is no direction {name!r}; choose from {', '.join(self.names)}")

    def save(self, path: Path | str) -> None:
        """Write a .npz file of plain arrays.

        Args:
            path: of the file, which is whole or as it was.
        """
        arrays = {name: getattr(self, name).cpu() for name in ("vectors", "scales", "scores")}
        layers = np.array(self.layers, dtype=np.int64)
        write_arrays(
            path,
            {**arrays, "names": list(self.names), "layers": layers, "method": self.method,
             "network": self.network, "directions": _FORMAT},
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path | str, network: SteerableGenerator) -> Self:
        """Read directions of a network.

        Args:
            path: of a file of `save`.
            network: whose directions they must be.

        Returns:
            The directions, on the device of the network.

        Raises:
            ValueError: there is no such file, it is damaged or of another kind, or it is of
                another network.
        """
        network.require_styles("Directions.load")
        wanted = {"vectors", "scales", "scores", "names", "layers", "method", "network"}
        arrays = read_arrays(path, wanted | {"directions"})
        vectors, count = arrays["vectors"], arrays["names"].size
        way_out = "make directions of this network with `fastgan directions`"
        if vectors.ndim != 2 or vectors.shape[1] != network.w_dim:
            raise ValueError(
                f"{path} holds directions of shape {list(vectors.shape)}, and styles of "
                f"{network.name} have {network.w_dim} numbers; {way_out}"
            )
        check_network(path, arrays, network, way_out)
        numbers = [arrays[name] for name in ("vectors", "scales", "scores")]
        layers = arrays["layers"]
        is_fine = (
            int(arrays["directions"].reshape(-1)[0]) == _FORMAT
            and count > 0
            and all(x.dtype == np.float32 and len(x) == count for x in numbers)
            and all(np.isfinite(x).all() for x in numbers)
            and layers.size > 0
            and 0 <= layers.min() <= layers.max() < network.num_ws
        )
        if not is_fine:
            raise ValueError(f"{path} does not hold directions as `fastgan directions` writes them")
        found = [torch.from_numpy(x).to(network.device) for x in numbers]
        names = tuple(str(name) for name in arrays["names"])
        return cls(
            names, *found, tuple(layers.tolist()), str(arrays["method"]), network.fingerprint
        )


def edit(
    ws: Tensor,
    directions: Directions,
    strengths: Mapping[str, float],
    *,
    layers: Sequence[int] | None = None,
) -> Tensor:
    """Styles that are moved along directions.

    Args:
        ws: [n, num_ws, w_dim].
        directions: of the same network.
        strengths: name of a direction → strength, in standard deviations of w along it.
        layers: those that move; None: those of the directions.

    Returns:
        [n, num_ws, w_dim].

    Raises:
        ValueError: there is no direction of that name, or no such layer.

    Example:
        directions = factorize(network, count=5)
        images = network.images_of_ws(edit(network.ws([0]), directions, {"sefa0": 2.0}))
    """
    moved = ws
    for name, strength in strengths.items():
        i = directions.index(name)
        moved = moved + strength * directions.scales[i] * directions.vectors[i]
    return replace_layers(ws, moved, directions.layers if layers is None else layers)


def factorize(
    network: SteerableGenerator, *, count: int = 10, layers: Sequence[int] | None = None
) -> Directions:
    """Directions of the weights alone (SeFa): those that change the layers' inputs most.

    The layers turn their style w into A·w + b; a step along v changes that by A·v. The directions
    are the eigenvectors of AᵀA with the largest eigenvalues, where A has the rows of all chosen
    layers (equation 5 of the paper). They are named sefa0, sefa1, … by falling eigenvalue. An
    eigenvector's sign is free: here its largest number is positive.

    Args:
        network: with styles.
        count: how many, from 1 to w_dim.
        layers: whose weights count, and which move; None: all.

    Returns:
        The directions.

    Raises:
        ValueError: there are no styles, no such layer, or count is out of its range.
    """
    network.require_styles("factorize")
    chosen = tuple(range(network.num_ws)) if layers is None else tuple(layers)
    if not 1 <= count <= network.w_dim:
        raise ValueError(f"factorize: count must be from 1 to {network.w_dim}, got {count}")
    if not chosen or not all(0 <= layer < network.num_ws for layer in chosen):
        raise ValueError(f"factorize: layers must lie in 0 to {network.num_ws - 1}, got {layers}")
    found = [weight for layer, weight in _style_weights(network) if layer in chosen]
    rows = torch.cat(found).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows)  # rising
    vectors = vectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    vectors = (vectors * largest.sign()).float()
    names = tuple(f"sefa{i}" for i in range(count))
    scores = values.flip(0)[:count].float()
    scales = _scales(network, vectors)
    return Directions(names, vectors, scales, scores, chosen, "sefa", network.fingerprint)


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
        tuple(answers), stacked, _scales(network, stacked), torch.tensor(scores), chosen, "labels",
        network.fingerprint,
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


def draw_w(network: SteerableGenerator, count: int, seed: int) -> Tensor:
    """Styles of random latents, of all classes in turn.

    Args:
        network: with styles.
        count: how many.
        seed: torch's generator is as before afterwards.

    Returns:
        [count, num_ws, w_dim].
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, network.G.z_dim, generator=generator).to(network.device)
    return network.map(z, network.conditions(range(count)))


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


def _scales(network: SteerableGenerator, vectors: Tensor) -> Tensor:
    """[k], the standard deviation of w along each of vectors [k, w_dim]."""
    w = draw_w(network, _SCALE_SEEDS, 0)[:, 0]
    return (w @ vectors.T).std(0)


def _style_weights(network: SteerableGenerator) -> list[tuple[int, Tensor]]:
    """(layer, the weight [I, w_dim] that it multiplies its style by) of every module `affine`.

    Which style a module takes is seen by giving every layer a style of its own number.
    """
    modules = {
        name: module
        for name, module in network.G.named_modules()
        if name.rpartition(".")[2] == "affine"
    }
    num_ws, seen = network.num_ws, {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, float(inputs[0].flatten()[0]))
        )
        for name, module in modules.items()
    ]
    try:
        numbers = torch.arange(1, num_ws + 1, device=network.device) / num_ws
        network.images_of_ws(numbers[None, :, None].expand(1, -1, network.w_dim).contiguous())
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (round(seen[name] * num_ws) - 1, module.weight.detach().float() * module.weight_gain)
        for name, module in modules.items()
        if name in seen
    ]
