"""What one training step is made of: losses, penalties, optimisers and the average of G.

`StepConfig` says it for any two networks; `fastgan.training.config.run.TrainConfig` adds a run's
data, model and schedule of snapshots.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from fastgan.losses import load_objective
from fastgan.losses.gradient_penalty import METHODS

__all__ = [
    "AdamConfig",
    "EmaConfig",
    "ScheduleConfig",
    "StepConfig",
    "require",
    "require_whole",
]

CAPTURE = ("auto", "off")
PRECISIONS = ("fp32", "bf16")


def require(is_fine: bool, name: str, expected: str, got: Any, way_out: str) -> None:
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


def require_whole(name: str, value: Any) -> None:
    is_fine = isinstance(value, int) and value >= 1
    require(is_fine, name, "a whole number >= 1", value, "1 is the least")


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba, 2015). `betas` may be ints (R3GAN writes `[0, 0.99]`)."""

    lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        require(self.lr > 0, "lr", "a positive number", self.lr, "0.002 is StyleGAN2's")
        is_fine = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(is_fine, "betas", "two numbers in [0, 1)", self.betas, "(0.0, 0.99) suits GANs")
        require(self.eps > 0, "eps", "a positive number", self.eps, "1e-8 is usual")


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Moving average of G's weights (`fastgan.training.optim.ema.ema_beta`). 0 kimg: none."""

    half_life_kimg: float = 10.0
    rampup_ratio: float | None = 0.05

    def __post_init__(self):
        require(self.half_life_kimg >= 0, "ema.half_life_kimg", "a number >= 0",
                self.half_life_kimg, "0 switches averaging off")  # fmt: skip
        is_fine = self.rampup_ratio is None or self.rampup_ratio > 0
        require(is_fine, "ema.rampup_ratio", "None or a positive number", self.rampup_ratio,
                "None switches the ramp-up off")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Cosine factors from 1 at 0 kimg to their end value at `anneal_kimg`, constant afterwards.

    factor(kimg) = end + (1 - end)·(1 + cos(π·min(kimg / anneal_kimg, 1))) / 2

    `lr_end` multiplies both learning rates, `gamma_end` r1_gamma, r2_gamma and gp_weight.
    The default (1, 1) is constant.
    """

    anneal_kimg: float = 0.0
    lr_end: float = 1.0
    gamma_end: float = 1.0

    def __post_init__(self):
        require(self.lr_end >= 0, "schedule.lr_end", "a number >= 0", self.lr_end, "1 is constant")
        require(self.gamma_end >= 0, "schedule.gamma_end", "a number >= 0", self.gamma_end,
                "1 is constant")  # fmt: skip
        is_fine = self.anneal_kimg > 0 or (self.lr_end == 1 and self.gamma_end == 1)
        require(is_fine, "schedule.anneal_kimg", "a positive number where an end is not 1",
                self.anneal_kimg, "say over how many kimg to anneal")  # fmt: skip

    def lr_factor(self, kimg: float) -> float:
        return self._factor(self.lr_end, kimg)

    def gamma_factor(self, kimg: float) -> float:
        return self._factor(self.gamma_end, kimg)

    def _factor(self, end: float, kimg: float) -> float:
        if end == 1:
            return 1.0
        progress = min(kimg / self.anneal_kimg, 1.0)
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """One training step. Losses, with n samples per step over all processes (`batch`):

    D: objective + (r1_gamma/2)·mean R1 + (r2_gamma/2)·mean R2 + gp_weight·mean GP
    G: objective + pl_weight·mean PL

    Penalties are computed at D's own input, every `d_reg_interval` (`g_reg_interval`) steps with
    weight × interval as a step of their own; interval 1 adds them to the main loss.
    `batch_gpu` samples at a time go through a network (None: a process's whole share of `batch`),
    their gradients adding up: less memory, and batch statistics over so many.
    `capture`: "auto" makes each phase one CUDA graph where the device has them, "off" never does
    (`fastgan.training.step.capture`).
    `precision`: "bf16" has float32 networks compute in bfloat16
    (`fastgan.training.step.precision`).
    """

    objective: str = "non_saturating"
    g_optimizer: AdamConfig = field(default_factory=AdamConfig)
    d_optimizer: AdamConfig = field(default_factory=AdamConfig)
    batch: int = 32
    batch_gpu: int | None = None
    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_weight: float = 0.0
    penalty_method: str = "auto"
    d_reg_interval: int = 1
    pl_weight: float = 0.0
    g_reg_interval: int = 1
    style_mixing_prob: float = 0.0
    ema: EmaConfig = field(default_factory=EmaConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    capture: str = "auto"
    precision: str = "fp32"

    def __post_init__(self):
        for name in ("batch", "d_reg_interval", "g_reg_interval"):
            require_whole(name, getattr(self, name))
        is_fine = self.batch_gpu is None or (
            self.batch_gpu >= 1 and self.batch % self.batch_gpu == 0
        )
        require(is_fine, "batch_gpu", f"None or a divisor of batch={self.batch}", self.batch_gpu,
                "None takes a process's whole share at once")  # fmt: skip
        for name in ("r1_gamma", "r2_gamma", "gp_weight", "pl_weight"):
            value = getattr(self, name)
            require(value >= 0, name, "a number >= 0", value, "0 switches the penalty off")
        require(0 <= self.style_mixing_prob <= 1, "style_mixing_prob", "a probability",
                self.style_mixing_prob, "0.9 is StyleGAN's")  # fmt: skip
        require(self.penalty_method in METHODS, "penalty_method", f"one of {', '.join(METHODS)}",
                self.penalty_method, "auto is exact")  # fmt: skip
        require(self.capture in CAPTURE, "capture", f"one of {', '.join(CAPTURE)}", self.capture,
                "off runs every phase eagerly")  # fmt: skip
        require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}",
                self.precision, "fp32 is the default")  # fmt: skip
        is_fine = self.precision == "fp32" or self.penalty_method != "finite_difference"
        require(is_fine, "penalty_method", f"an exact method with precision={self.precision!r}",
                self.penalty_method, "bf16 rounds away the differences that it takes")  # fmt: skip
        load_objective(self.objective)

    @property
    def has_d_penalty(self) -> bool:
        return self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0
