"""`StepConfig`: the losses, penalties, optimisers and moving average of one training step.

It fits any two networks; `fastgan.training.config.run.TrainConfig` adds a run's data, model and
snapshots.
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
    """Raises ValueError, which says what was expected of `name`, unless `is_fine`."""
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


def require_whole(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    is_fine = isinstance(value, int) and value >= 1
    require(is_fine, name, "a whole number >= 1", value, "1 is the smallest")


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980).

    Args:
        lr: learning rate, > 0; default 0.002.
        betas: two numbers in [0, 1), ints or floats; default (0.0, 0.99).
        eps: > 0; default 1e-8.

    Raises:
        ValueError: when a value is out of range.
    """

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
    """Moving average of G's weights (`fastgan.training.optim.ema`).

    Args:
        half_life_kimg: thousands of real images after which an old weight counts half, >= 0;
            default 10. 0: G_ema is a copy of G.
        rampup_ratio: the half-life is at most this share of the images shown so far; default 0.05.
            None: no limit.

    Raises:
        ValueError: when a value is out of range.
    """

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

    Args:
        anneal_kimg: thousands of real images, > 0 where an end is not 1; default 0.
        lr_end: end value of the factor of both learning rates, >= 0; default 1 (constant).
        gamma_end: end value of the factor of r1_gamma, r2_gamma and gp_weight, >= 0; default 1.

    Raises:
        ValueError: when a value is out of range.
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
        """The factor of both learning rates.

        Args:
            kimg: thousands of real images shown.

        Returns:
            1 at 0 kimg, lr_end from anneal_kimg on.
        """
        return self._factor(self.lr_end, kimg)

    def gamma_factor(self, kimg: float) -> float:
        """The factor of every penalty of D.

        Args:
            kimg: thousands of real images shown.

        Returns:
            1 at 0 kimg, gamma_end from anneal_kimg on.
        """
        return self._factor(self.gamma_end, kimg)

    def _factor(self, end: float, kimg: float) -> float:
        if end == 1:
            return 1.0
        progress = min(kimg / self.anneal_kimg, 1.0)
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """One training step of a generator G and a discriminator D.

        loss of D = objective + (r1_gamma/2)·mean R1 + (r2_gamma/2)·mean R2 + gp_weight·mean GP
        loss of G = objective + pl_weight·mean PL

    Penalties are computed at D's own input, which is augmented.

    Args:
        objective: name of an objective of `fastgan.losses`; default "non_saturating".
        g_optimizer: Adam of G.
        d_optimizer: Adam of D.
        batch: real samples of a step, over all processes; default 32.
        batch_gpu: samples that are computed at once, a divisor of batch; their gradients are
            added up, which needs less memory, and batch statistics are over so many. Default None:
            the whole share of a process.
        r1_gamma: weight of R1 (arXiv 1801.04406), the gradient penalty at real samples, >= 0;
            default 0 (off).
        r2_gamma: weight of R2, the same at generated samples, >= 0; default 0.
        gp_weight: weight of WGAN-GP (arXiv 1704.00028), >= 0; default 0.
        penalty_method: how penalties are computed, one of
            `fastgan.losses.gradient_penalty.METHODS`; default "auto" (exact).
        d_reg_interval: steps between two updates of D by its penalties, each with weight ×
            interval; default 1, which adds them to the loss of every step.
        pl_weight: weight of the path-length penalty (arXiv 1912.04958), >= 0; default 0.
        g_reg_interval: steps between two updates of G by it, with weight × interval; default 1.
        style_mixing_prob: share of generated samples with latents of two z, in [0, 1]; default 0.
        ema: the moving average of G.
        schedule: how learning rates and penalties change during a run.
        capture: "auto" (default): each phase is one CUDA graph where the device has them; "off":
            phases run eagerly (`fastgan.training.step.capture`).
        precision: "fp32" (default): the networks' own dtype; "bf16": float32 networks compute in
            bfloat16 (`fastgan.training.step.precision`).

    Raises:
        ValueError: when a value is out of range, or two of them exclude each other.
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
        """Whether D has a gradient penalty."""
        return self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0
