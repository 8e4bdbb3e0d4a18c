"""The work of each phase of StyleGAN2's step, counted on our own modules."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.scale.work import Counter, Work, fakes
from fastgan.losses import load_objective
from fastgan.losses.gradient_penalty import r1
from fastgan.losses.path_length import path_length_penalty
from fastgan.models.stylegan2 import Config, Discriminator, Generator
from fastgan.nn import mix_styles, sample_cutoff

D_INTERVAL, G_INTERVAL, MIXING = 16, 8, 0.9  # StyleGAN2's own (arXiv 1912.04958)
# Elements that fused Adam moves for a parameter, as `fastgan/bench/ops/adam_ema.py` counts its CUDA
# kernel; the moving average is another two. Gradients are zeroed: one.
ADAM, AVERAGE, ZEROING = 7, 2, 1


@dataclass(frozen=True)
class Phase:
    """`times` is how often a step runs it; `parameters` of the network that it trains."""

    times: float
    work: tuple[Work, ...]
    parameters: int

    @property
    def gradient_bytes(self) -> int:
        return 4 * self.parameters  # one flat float32 buffer

    @property
    def flops(self) -> int:
        return sum(w.flops for w in self.work)

    @property
    def moved(self) -> int:
        return sum(w.moved for w in self.work)


def networks(model: Config) -> tuple[Generator, Discriminator]:
    with torch.random.fork_rng(devices=[]):
        return Generator(model), Discriminator(model)


def count_phases(
    model: Config,
    batch: int,
    *,
    pair: tuple[Generator, Discriminator] | None = None,
    penalty_method: str = "auto",
    is_optimised: bool = True,
) -> dict[str, Phase]:
    """Phase → Phase of one step over `batch` images on one device, as the shipped phases run
    them with lazy penalties: "D", "R1", "G", "PL" (path length takes half of the batch).

    pair: the real networks of `model`, where they are there already. is_optimised: with Adam, and
    the average in "G".
    """
    G, D = copy.deepcopy(pair) if pair else networks(model)
    with fakes(G, D):
        x = torch.empty(batch, model.img_channels, model.img_height, model.img_width)
        plans: dict[str, tuple[float, Callable[[], Tensor], nn.Module, int]] = {
            "D": (1, lambda: _d(G, D, x), D, 0),
            "R1": (1 / D_INTERVAL, lambda: r1(D, x, None, method=penalty_method).mean(), D, 0),
            "G": (1, lambda: _g(G, D, batch), G, AVERAGE),
            "PL": (1 / G_INTERVAL, lambda: _path_length(G, max(batch // 2, 1)), G, 0),
        }
        phases = {}
        for name, (times, loss, trained, more) in plans.items():
            G.requires_grad_(trained is G)
            D.requires_grad_(trained is D)
            for p in trained.parameters():
                p.grad = None
            with Counter() as counter:
                loss().backward()
            parameters = sum(p.numel() for p in trained.parameters())
            moved = 4 * parameters * (ADAM + ZEROING + more)
            adam = [Work("fastgan::adam_ema", torch.float32, 0, moved)] * is_optimised
            phases[name] = Phase(times, (*counter.work, *adam), parameters)
    return phases


def step_total(phases: dict[str, Phase], what: Callable[[Phase], float]) -> float:
    return sum(phase.times * what(phase) for phase in phases.values())


def model_at(resolution: int, *, half: bool = False, **changes: object) -> Config:
    """StyleGAN2's configuration F; up to 256² with the narrower half of ADA's (channel_base)."""
    config = Config(
        img_height=resolution,
        img_width=resolution,
        channel_base=16384 if resolution <= 256 else 32768,
        half_dtype="bfloat16" if half else None,
        conv_clamp=256.0 if half else None,
    )
    return replace(config, **changes)


def _generate(G: Generator, n: int) -> tuple[Tensor, Tensor]:
    ws, other = (G.mapping(torch.randn(n, G.z_dim), None) for _ in range(2))
    ws = mix_styles(ws, other, sample_cutoff(n, G.num_ws, MIXING, ws.device))
    return G.synthesis(ws), ws


def _d(G: Generator, D: Discriminator, x: Tensor) -> Tensor:
    with torch.no_grad():
        fake, _ = _generate(G, x.shape[0])
    return load_objective("non_saturating").discriminator_loss(D(x), D(fake))


def _g(G: Generator, D: Discriminator, n: int) -> Tensor:
    fake, _ = _generate(G, n)
    return load_objective("non_saturating").generator_loss(D(fake), None)


def _path_length(G: Generator, n: int) -> Tensor:
    fake, ws = _generate(G, n)
    return path_length_penalty(fake, ws, torch.zeros([])).mean()
