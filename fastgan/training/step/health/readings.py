# SPDX-License-Identifier: Apache-2.0
"""`Reading`: what one look at a training state says, and `Probe`, which takes it.

A look costs one pass of G and two of D over at most SAMPLES samples, without gradients, and one
more of D where samples are held out. It changes
nothing: networks are in eval mode for it, so that no running mean moves, and torch's generators are
as before afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor, nn

from fastgan import sample_rng
from fastgan._trees import map_floating, num_rows, tensors_of
from fastgan.losses.judgement import judgement_of
from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.step.batch import Batch
from fastgan.training.step.generate import draw_latents
from fastgan.training.step.losses import seen_by_d
from fastgan.training.step.precision import autocast
from fastgan.training.step.state import StepState

__all__ = ["Logits", "Probe", "Reading", "auc", "pairwise_distance"]

SAMPLES = 64
# objectives in which a logit is that of a probability
_WITH_SCALE = ("minimax", "non_saturating", "relativistic", "relativistic_average")
_STREAM = 66  # of random numbers; no phase or picture of a run has it
_SIDE = 32  # pixels: larger images are averaged down before distances are taken
_ELEMENTS = 4096  # of other samples, taken at equal steps
_WEIGHTS = 65536  # of a network, at equal steps: their moves stand for those of all


@dataclass(frozen=True, kw_only=True)
class Logits:
    """What D said at one look.

    Args:
        kimg: thousands of real samples shown by then.
        real: the mean logit of each real sample, at most SAMPLES.
        fake: that of each sample of G.
    """

    kimg: float
    real: list[float]
    fake: list[float]


_UNKNOWN = {
    "finite": True, "diversity": nan, "auc": nan, "gap": nan, "r_t": nan, "r_v": nan,
    "num_held_out": 0, "held_out_auc": nan,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one look says. NaN where something cannot be known.

    Args:
        step: number of steps made.
        kimg: thousands of real samples shown.
        finite: whether all samples of G, and D's logits of them, are finite.
        skipped: updates with a gradient that was not finite since the last look: elements.
        diversity: mean distance of two samples of G, over that of two real samples.
        num_real: real samples looked at.
        num_distinct: of them, those that no other one equals.
        num_constant: of them, those whose elements are all equal.
        auc: the part of pairs (real, fake) of which D gives the real one the larger logit.
        gap: mean logit of real samples minus that of fakes; NaN where the objective gives logits
            no scale, as Wasserstein's.
        passes: how often each sample of the data set was shown; NaN where its size is not known.
        r_t: mean sign of the logits of real samples less `Objective.boundary` (Karras et al. 2020,
            arXiv 2006.06676); NaN where the objective has none, as relativistic ones, and for a G
            without latents.
        r_v: (mean logit of real samples - that of held-out ones) / (the same - that of fakes), of
            the same paper: 0 where D treats held-out samples as those that it is trained on, 1
            where it treats them as fakes. NaN where none are held out.
        num_held_out: held-out samples looked at.
        held_out_auc: the part of pairs (real, held out) of which D gives the real one the larger
            logit.
        g_moved, d_moved: ‖change of the weights since the last look‖ / ‖weights‖.
        g_size, d_size: ‖weights‖.
        g_gradient, d_gradient: root mean square of the last phase's gradient; NaN before the
            first step of a process.
    """

    step: int
    kimg: float
    finite: bool
    skipped: int
    diversity: float
    num_real: int
    num_distinct: int
    num_constant: int
    auc: float
    gap: float
    passes: float
    r_t: float
    r_v: float
    num_held_out: int
    held_out_auc: float
    g_moved: float
    d_moved: float
    g_size: float
    d_size: float
    g_gradient: float
    d_gradient: float


class Probe:
    """Takes readings of one state.

    Args:
        state: of the training.
        held_out: real samples that the training never sees, at most SAMPLES of which are used;
            default: none.
        num_samples: of the data set; default None: not known.
    """

    def __init__(
        self, state: StepState, *, held_out: Batch | None = None, num_samples: int | None = None
    ):
        self._state, self._num_samples = state, num_samples
        self._held_out = None if held_out is None else held_out.rows(slice(0, SAMPLES))
        # without latents D may well know each real sample: G's are further constrained
        self._boundary = None if state.config.latents == "none" else state.objective.boundary
        self._has_scale = state.config.objective in _WITH_SCALE
        self._weights: dict[str, Tensor] = {}
        self._nonfinite = self._count_nonfinite()
        self._first_step = state.step
        self.logits: Logits | None = None  # of the newest look at the networks

    @torch.no_grad()
    def read(self, batch: Batch) -> Reading:
        """Looks at the state; before the first step at the data alone. Waits for the device.

        Args:
            batch: real samples, the newest ones.

        Returns:
            The reading.
        """
        state = self._state
        batch = batch.rows(slice(min(batch.n, SAMPLES)))
        features = _features(batch.x)
        moved, sizes = self._moves()
        nonfinite = self._count_nonfinite()
        skipped, self._nonfinite = nonfinite - self._nonfinite, nonfinite
        of_networks = self._of_networks(batch, features) if state.step > 0 else _UNKNOWN
        return Reading(
            step=state.step,
            kimg=state.kimg,
            skipped=skipped,
            num_real=batch.n,
            num_distinct=_num_distinct(features),
            num_constant=_num_constant(features),
            passes=state.nimg / self._num_samples if self._num_samples else nan,
            g_moved=moved["G"],
            d_moved=moved["D"],
            g_size=sizes["G"],
            d_size=sizes["D"],
            g_gradient=self._gradient(state.g_optimizer),
            d_gradient=self._gradient(state.d_optimizer),
            **of_networks,
        )

    def _of_networks(self, batch: Batch, features: Tensor) -> dict[str, Any]:
        state = self._state
        key = sample_rng.step_key(getattr(state.config, "seed", 0), state.nimg)
        at_once = state.config.batch_gpu or batch.n  # as many as the phases take: memory is short
        is_finite, of_fakes, real, fake, held_out = True, [], [], [], []
        rest = self._held_out
        with in_eval_mode(state.G, state.D), _generators_kept(state.device):
            for first in range(0, batch.n, at_once):
                part = batch.rows(slice(first, first + at_once))
                with sample_rng.sample_stream(key, _STREAM, first=first):
                    x = self._fakes(part)
                    real.append(self._scores(part.x, part.c))
                    fake.append(self._scores(x, part.c))
                is_finite &= all(bool(t.isfinite().all()) for t in [*_floating(x), fake[-1]])
                of_fakes.append(_features(x))
            for first in range(0, 0 if rest is None else rest.n, at_once):
                part = rest.rows(slice(first, first + at_once))
                with sample_rng.sample_stream(key, _STREAM, first=first):
                    held_out.append(self._scores(part.x, part.c))
        at_real, at_fake = torch.cat(real), torch.cat(fake)
        self.logits = Logits(kimg=state.kimg, real=at_real.tolist(), fake=at_fake.tolist())
        distance = pairwise_distance(features)
        between = pairwise_distance(torch.cat(of_fakes))
        return {
            "finite": is_finite,
            "diversity": between / distance if distance > 0 else nan,
            "auc": auc(at_real, at_fake),
            "gap": float(at_real.mean() - at_fake.mean()) if self._has_scale else nan,
            "r_t": nan if self._boundary is None else _mean_sign(at_real - self._boundary),
            **_of_held_out(at_real, at_fake, torch.cat(held_out) if held_out else None),
        }

    def _fakes(self, batch: Batch) -> Any:
        state = self._state
        z = draw_latents(state, batch.n)
        takes_c = z is None or (state.context.g_takes_c and batch.c is not None)
        arguments = (*(() if z is None else (z,)), *((batch.c,) if takes_c else ()))
        with autocast(state.config.precision, state.device):
            x = state.G(*arguments)
        return x if state.config.precision == "fp32" else map_floating(Tensor.float, x)

    def _scores(self, x: Any, c: Any) -> Tensor:
        """[N] float64 on the CPU: the mean logit of each sample over all discriminators."""
        state = self._state
        x = seen_by_d(state, x)
        takes_c = state.context.d_takes_c and c is not None
        with autocast(state.config.precision, state.device):
            output = state.D(x, c) if takes_c else state.D(x)
        n = num_rows(x)
        logits = [t.double().reshape(n, -1).mean(1) for t in judgement_of(output).logits]
        return torch.stack(logits).mean(0).cpu()

    def _moves(self) -> tuple[dict[str, float], dict[str, float]]:
        moved, sizes = {}, {}
        for name, optimizer in (("G", self._state.g_optimizer), ("D", self._state.d_optimizer)):
            values = optimizer.flat.values
            values = values[:: max(1, values.numel() // _WEIGHTS)].clone()
            sizes[name] = float(values.norm())
            before = self._weights.get(name)
            moved[name] = nan
            if before is not None and sizes[name] > 0:
                moved[name] = float((values - before).norm()) / sizes[name]
            self._weights[name] = values
        return moved, sizes

    def _gradient(self, optimizer: FlatOptimizer) -> float:
        """Root mean square of the last phase's gradient; NaN where this object saw no step yet."""
        if self._state.step == self._first_step:
            return nan
        return _root_mean_square(optimizer.flat.gradients)

    def _count_nonfinite(self) -> int:
        optimizers = (self._state.g_optimizer, self._state.d_optimizer)
        counters = [getattr(optimizer, "nonfinite", None) for optimizer in optimizers]
        return sum(int(c) for c in counters if c is not None)


def _mean_sign(values: Tensor) -> float:
    return float(values.sign().mean())


def _of_held_out(real: Tensor, fake: Tensor, held_out: Tensor | None) -> dict[str, float]:
    if held_out is None:
        return {"r_v": nan, "num_held_out": 0, "held_out_auc": nan}
    gap = float(real.mean() - fake.mean())
    r_v = float(real.mean() - held_out.mean()) / gap if gap > 0 else nan
    n = held_out.numel()
    return {"r_v": r_v, "num_held_out": n, "held_out_auc": auc(real, held_out)}


def auc(real: Tensor, fake: Tensor) -> float:
    """The part of pairs of which the real one has the larger score; a tie counts a half.

    Args:
        real: [N], scores of real samples.
        fake: [M], of generated ones.

    Returns:
        In [0, 1]: 0.5 where nothing tells them apart. NaN where a score is not finite.
    """
    if not bool(real.isfinite().all() and fake.isfinite().all()):
        return nan
    difference = real[:, None] - fake[None]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def pairwise_distance(features: Tensor) -> float:
    """The mean Euclidean distance of two rows.

    Args:
        features: [N, K].

    Returns:
        The mean over all pairs of different rows; NaN for fewer than two.
    """
    n = features.shape[0]
    if n < 2:
        return nan
    return float(torch.pdist(features).mean())


@contextmanager
def in_eval_mode(*networks: nn.Module) -> Iterator[None]:
    """The networks are in eval mode inside; each module is as before afterwards."""
    modules = [m for network in networks for m in network.modules()]
    were = [m.training for m in modules]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, was in zip(modules, were, strict=True):
            module.training = was


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def _floating(tree: Any) -> list[Tensor]:
    return [t for t in tensors_of(tree) if t.is_floating_point()]


def _features(tree: Any) -> Tensor:
    """[N, K] float32 on the CPU: all floating-point elements of each sample, made fewer."""
    n = num_rows(tree)
    parts = []
    for t in _floating(tree):
        if t.shape[0] != n:
            continue
        if t.dim() == 4 and max(t.shape[2:]) > _SIDE:
            t = nn.functional.adaptive_avg_pool2d(
                t.float(), [min(side, _SIDE) for side in t.shape[2:]]
            )
        flat = t.reshape(n, -1).float()
        parts.append(flat[:, :: max(1, flat.shape[1] // _ELEMENTS)].cpu())
    return torch.cat(parts, 1) if parts else torch.zeros(n, 0)


def _num_distinct(features: Tensor) -> int:
    return torch.unique(features, dim=0).shape[0] if features.shape[1] else features.shape[0]


def _num_constant(features: Tensor) -> int:
    if features.shape[1] < 2:
        return 0  # one number is no picture
    return int((features.amax(1) == features.amin(1)).sum())


def _root_mean_square(values: Tensor) -> float:
    return float(values.norm()) / values.numel() ** 0.5
