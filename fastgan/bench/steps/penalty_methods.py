# SPDX-License-Identifier: Apache-2.0
"""A critic's step with R1, or R1 and R2, by each way to compute the penalties.

    linearised       on the objective's forward passes, without a second-order graph
    double_backward  on the objective's forward passes, with one
    separate         double backward, the penalties with forward passes of their own
    reference        separate, with fastgan's ops in plain PyTorch
    auto             what `penalty_method="auto"` chooses; of the small critics

A step is the objective on real and fake samples, the penalties, and one backward pass. The small
critics show from which size on recording pays: `_MACS_PER_OPERATOR` of
fastgan/losses/linearised/merged_pass.py was chosen by them.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.bench.variants import as_variant
from fastgan.losses.gradient_penalty import logits_and_penalty, r1
from fastgan.ops import bias_act

METHODS = ("linearised", "double_backward", "separate", "reference")
SMALL_METHODS = ("auto", "linearised", "double_backward")
ALONE, WHOLE = "objective alone", "objective and penalties"


def cases() -> list[StepCase]:
    image, small_image = (16, 3, 64, 64), (16, 3, 32, 32)
    return [
        _case("bias_act 64x64 R1", _plain, image, (10.0, 0.0)),
        _case("bias_act 64x64 R1 R2", _plain, image, (10.0, 10.0)),
        _case("torch.nn 64x64 R1", _torch_nn, image, (10.0, 0.0)),
        _case("residual 32x32 R1", _Residual, small_image, (1.0, 0.0)),
        _case("residual 32x32 R1 R2", _Residual, small_image, (1.0, 1.0)),
        *(
            _case(f"{depth} linear layers of {width}, batch {n}", partial(_mlp, width, depth),
                  (n, 2), methods=SMALL_METHODS)
            for width, depth, n in ((16, 1, 4), (64, 2, 64), (128, 3, 256), (128, 8, 256),
                                    (256, 3, 256))
        ),
        *(
            _case(f"bias_act of {width} channels, batch {n}", partial(_plain, width),
                  (n, 3, 64, 64), methods=SMALL_METHODS, is_quick=width == 16)
            for width, n in ((4, 4), (8, 4), (8, 8), (16, 8))
        ),
    ]  # fmt: skip


def _case(
    name: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    gammas: tuple[float, float] = (1.0, 1.0),
    methods: Sequence[str] = METHODS,
    is_quick: bool = False,
) -> StepCase:
    """`gammas`: of R1 and R2; no penalty is computed where it is 0."""

    def build(method: str, dtype: torch.dtype = torch.float32, is_exact: bool = False):
        torch.manual_seed(0)
        D, generator = make().to(dtype), data_generator()
        real, fake = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
        batches = real, fake / 2 + 0.25
        variant = "reference" if method == "reference" else "native"
        phases = {WHOLE: as_variant(variant, lambda: _gradients(D, batches, gammas, method))}
        if is_exact or method == methods[0]:
            phases[ALONE] = lambda: _gradients(D, batches, (0.0, 0.0), method)
            return StepVariant(phases)
        return StepVariant(phases, {ALONE: f"the same as in {methods[0]}"})

    return StepCase(
        name=f"penalty methods: {name}",
        variants={method: partial(build, method) for method in methods},
        schedule={ALONE: 1.0, WHOLE: 1.0},
        exact=partial(build, "separate", torch.float64, is_exact=True),
        ratios=[(other, base) for base in methods if base in ("auto", "linearised")
                for other in methods if other not in ("auto", base)],
        is_quick=is_quick,
        is_summed=False,
    )  # fmt: skip


def _gradients(
    D: nn.Module, batches: tuple[Tensor, Tensor], gammas: tuple[float, float], method: str
) -> dict[str, Tensor]:
    is_separate = method in ("separate", "reference")
    logits, penalties = [], []
    for x, gamma in zip(batches, gammas, strict=True):
        if is_separate or gamma == 0:
            logits.append(D(x))
        if gamma:
            if is_separate:
                penalty = r1(D, x, method="double_backward")
            else:
                y, penalty = logits_and_penalty(D, x, method=method)
                logits.append(y)
            penalties.append(gamma / 2 * penalty.mean())
    loss = F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean() + sum(penalties)
    D.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in D.named_parameters()}


def _torch_nn(width: int = 64) -> nn.Module:
    """(4 × 4 convolution of stride 2, leaky ReLU) four times, then one logit; 64 × 64 images."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise((3, width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4), nn.Flatten())


def _plain(width: int = 64) -> nn.Module:
    """The same with bias and leaky ReLU in one pass."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise((3, width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(i, o, 4, 2, 1, bias=False), _BiasAct(o)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4), nn.Flatten())


def _mlp(width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    for i in (2, *[width] * depth):
        layers += [nn.Linear(i, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, 1))


class _BiasAct(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return bias_act(x, self.bias, act="lrelu", gain=1.0)


class _Block(nn.Module):
    """1 × 1, grouped 3 × 3, 1 × 1 with leaky ReLUs, beside the identity."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        wide = 2 * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            _BiasAct(wide),
            nn.Conv2d(wide, wide, 3, padding=1, groups=groups, bias=False),
            _BiasAct(wide),
            nn.Conv2d(wide, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Residual(nn.Module):
    """R3GAN's kind (Huang et al. 2024): residual stages, grouped convolutions, no norm; 32 × 32."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 256), group_width: int = 16):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 1)]
        for i, width in enumerate(widths):
            layers += [_Block(width, 2 * width // group_width) for _ in range(2)]
            if i + 1 < len(widths):
                layers += [nn.AvgPool2d(2), nn.Conv2d(width, widths[i + 1], 1, bias=False)]
        layers += [nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
