# SPDX-License-Identifier: Apache-2.0
"""`OptimizerConfig`, and the two that say how its results are averaged and its settings change."""

import math
from dataclasses import dataclass

from fastgan.training.config.requirements import require, require_numbers

__all__ = ["EmaConfig", "OptimizerConfig", "ScheduleConfig"]

OPTIMIZERS = ("adam", "adamw", "rmsprop")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser of one network: Adam, AdamW or RMSprop, as torch.optim has them.

    Args:
        name: "adam" (default; Kingma and Ba 2015, arXiv 1412.6980), "adamw" (Adam with decoupled
            weight decay, Loshchilov and Hutter 2019, arXiv 1711.05101), or "rmsprop" (Hinton 2012,
            without momentum).
        lr: learning rate, > 0; default 0.002.
        betas: two numbers in [0, 1), ints or floats; default (0.0, 0.99). RMSprop reads none.
        eps: > 0; default 1e-8.
        weight_decay: of AdamW, which multiplies the parameters by 1 - lr·weight_decay before each
            update; >= 0, and 0 for the others; default 0.
        alpha: of RMSprop, the share of the moving mean of squares that is kept, in [0, 1); default
            0.99. Adam and AdamW read none.

    Raises:
        ValueError: when a value is out of range, or weight_decay is above 0 without AdamW.

    Example:
        StepConfig(d_optimizer=OptimizerConfig(name="rmsprop", lr=5e-5))
    """

    name: str = "adam"
    lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0
    alpha: float = 0.99

    def __post_init__(self):
        require_numbers(self)
        require(self.name in OPTIMIZERS, "name", f"one of {', '.join(OPTIMIZERS)}", self.name,
                "adam is the default")  # fmt: skip
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        require(self.lr > 0, "lr", "a positive number", self.lr, "0.002 is StyleGAN2's")
        is_fine = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        require(is_fine, "betas", "two numbers in [0, 1)", self.betas, "(0.0, 0.99) suits GANs")
        require(self.eps > 0, "eps", "a positive number", self.eps, "1e-8 is usual")
        require(self.weight_decay >= 0, "weight_decay", "a number >= 0", self.weight_decay,
                "0.01 is torch.optim.AdamW's")  # fmt: skip
        require(self.weight_decay == 0 or self.name == "adamw", "weight_decay",
                f"0 with name={self.name!r}", self.weight_decay,
                "AdamW alone has it: name='adamw'")  # fmt: skip
        require(0 <= self.alpha < 1, "alpha", "a number in [0, 1)", self.alpha,
                "0.99 is torch.optim.RMSprop's")  # fmt: skip


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
        require_numbers(self, "ema.")
        require(self.half_life_kimg >= 0, "ema.half_life_kimg", "a number >= 0",
                self.half_life_kimg, "0 switches averaging off")  # fmt: skip
        is_fine = self.rampup_ratio is None or self.rampup_ratio > 0
        require(is_fine, "ema.rampup_ratio", "None or a positive number", self.rampup_ratio,
                "None switches the ramp-up off")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """What changes in a run: half a cosine from 0 kimg to `anneal_kimg`, constant afterwards.

        value(kimg) = last + (first - last)·(1 + cos(π·min(kimg / anneal_kimg, 1))) / 2

    The first value is that of the configuration itself. Source: Huang et al. 2024,
    arXiv 2501.05441, appendix. The learning rates have a stepwise exponential decay besides:

        lr factor(kimg) = value from 1 to lr_end · lr_decay^floor(kimg / lr_decay_kimg)

    as Kong et al. 2020, "HiFi-GAN", arXiv 2010.05646, section 3 (0.999 per epoch).

    Args:
        anneal_kimg: thousands of real images, > 0 where something changes by the cosine; default 0.
        lr_end: last value of the cosine's factor of both learning rates, >= 0, whose first is 1;
            default 1 (constant).
        gamma_end: the same of r1_gamma, r2_gamma and gp_weight; default 1.
        beta2_end: last value of Adam's β2 of G and of D, in [0, 1); default None (constant). Update
            t takes its own β2 for the average of squares, v ← β2·v + (1 - β2)·g², and for its
            correction, v / (1 - β2^t), as torch.optim.Adam whose `betas` are set before each step.
        ema_half_life_end_kimg: last value of ema.half_life_kimg, >= 0; default None (constant).
        augment_p_end: last value of the augmentation's probability, in [0, 1]; default None
            (constant, or controlled by ADA).
        lr_decay: factor on both learning rates at every multiple of lr_decay_kimg, in (0, 1];
            default 1 (no decay). Where lr_end changes them too, the two factors are multiplied.
        lr_decay_kimg: thousands of real images from one decay to the next, such as one pass over
            the data, > 0 where lr_decay is not 1; default 0.

    Raises:
        ValueError: when a value is out of range.

    Example:
        schedule = ScheduleConfig(anneal_kimg=20_000, lr_end=0.25, gamma_end=0.1, beta2_end=0.99)
        schedule = ScheduleConfig(lr_decay=0.999, lr_decay_kimg=13.1)
    """

    anneal_kimg: float = 0.0
    lr_end: float = 1.0
    gamma_end: float = 1.0
    beta2_end: float | None = None
    ema_half_life_end_kimg: float | None = None
    augment_p_end: float | None = None
    lr_decay: float = 1.0
    lr_decay_kimg: float = 0.0

    def __post_init__(self):
        require_numbers(self, "schedule.")
        require(0 < self.lr_decay <= 1, "schedule.lr_decay", "a number in (0, 1]", self.lr_decay,
                "1 is constant")  # fmt: skip
        require(self.lr_decay == 1 or self.lr_decay_kimg > 0, "schedule.lr_decay_kimg",
                "a positive number with lr_decay below 1", self.lr_decay_kimg,
                "one pass over the data is usual")  # fmt: skip
        for name in ("lr_end", "gamma_end"):
            value = getattr(self, name)
            require(value >= 0, f"schedule.{name}", "a number >= 0", value, "1 is constant")
        for name, low, expected in (
            ("beta2_end", 0 <= (self.beta2_end or 0) < 1, "None or a number in [0, 1)"),
            ("ema_half_life_end_kimg", (self.ema_half_life_end_kimg or 0) >= 0,
             "None or a number >= 0"),
            ("augment_p_end", 0 <= (self.augment_p_end or 0) <= 1, "None or a probability"),
        ):  # fmt: skip
            require(low, f"schedule.{name}", expected, getattr(self, name), "None is constant")
        is_fine = self.anneal_kimg > 0 or not self._changes
        require(is_fine, "schedule.anneal_kimg", "a positive number where something changes",
                self.anneal_kimg, "say over how many kimg to anneal")  # fmt: skip

    @property
    def _changes(self) -> bool:
        optional = (self.beta2_end, self.ema_half_life_end_kimg, self.augment_p_end)
        return (self.lr_end, self.gamma_end) != (1, 1) or optional != (None,) * 3

    def at(self, kimg: float, first: float, last: float | None) -> float:
        """A value on its way from the first to the last.

        Args:
            kimg: thousands of real images shown.
            first: the value at 0 kimg.
            last: the value from anneal_kimg on; None: `first`.

        Returns:
            The value at `kimg`.
        """
        if last is None or last == first:
            return first
        progress = min(kimg / self.anneal_kimg, 1.0)
        return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2

    def lr_factor(self, kimg: float) -> float:
        """The factor of both learning rates.

        Args:
            kimg: thousands of real images shown.

        Returns:
            1 at 0 kimg. Without lr_decay, lr_end from anneal_kimg on.
        """
        factor = self.at(kimg, 1.0, self.lr_end)
        if self.lr_decay == 1:
            return factor
        # Rounded, because 0.3 / 0.1 is below 3: a decay must not wait for the next step.
        return factor * self.lr_decay ** math.floor(round(kimg / self.lr_decay_kimg, 9))

    def gamma_factor(self, kimg: float) -> float:
        """The factor of every penalty of D.

        Args:
            kimg: thousands of real images shown.

        Returns:
            1 at 0 kimg, gamma_end from anneal_kimg on.
        """
        return self.at(kimg, 1.0, self.gamma_end)
