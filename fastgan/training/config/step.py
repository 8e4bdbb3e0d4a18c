# SPDX-License-Identifier: Apache-2.0
"""`StepConfig`: the losses, penalties, optimisers and moving average of one training step.

It fits any two networks; `fastgan.training.config.run.TrainConfig` adds a run's data, model and
snapshots.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from fastgan.losses import Objective, load_objective
from fastgan.losses.gradient_penalty import METHODS
from fastgan.training.config.optimizer import EmaConfig, OptimizerConfig, ScheduleConfig
from fastgan.training.config.requirements import require, require_numbers, require_whole

__all__ = ["StepConfig"]

CAPTURE = ("auto", "off")
RECOMPUTE = ("auto", "on", "off")
PRECISIONS = ("fp32", "bf16")
EXCHANGE_DTYPES = ("fp32", "bf16")
PENALTY_AT = ("images", "augmented")
PL_TARGETS = ("mean_before", "mean_after")
NETWORKS = ("D", "G")
UPDATE_EMAS = ("all", "d_step")
GP_AT = ("between", "near_real")
LATENTS = ("normal", "uniform", "none")
_FIT_SHARED_SAMPLES = {"batch_gpu": None, "pl_weight": 0, "update_emas": "all"}


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """One training step of a generator G and a discriminator D.

        loss of D = objective + (r1_gamma/2)·mean R1 + (r2_gamma/2)·mean R2 + gp_weight·mean GP
        loss of G = objective + pl_weight·mean PL

    The defaults are ours; `fastgan.training.config.recipes` has the published settings.

    Args:
        objective: name of an objective of `fastgan.losses`, default "non_saturating"; or an
            `Objective` of your own.
        objective_options: further losses of a named objective, name → weight or dict of arguments
            of a file of `fastgan.losses.terms`, such as {"feature_matching": 2.0}; default: none.
        latents: what G is called with. "normal" (default): z of N(0, 1), as G(z) or G(z, c);
            "uniform": z in [-1, 1); "none": the condition alone, G(c), as for a vocoder or a
            translation of images.
        g_optimizer: the optimiser of G; default Adam.
        d_optimizer: the optimiser of D; default Adam.
        batch: real samples of a step, over all processes; default 32.
        batch_gpu: samples that are computed at once, a divisor of batch; their gradients are
            added up, which needs less memory, and batch statistics are over so many. Default None:
            the whole share of a process.
        r1_gamma: weight of R1 (arXiv 1801.04406), the gradient penalty at real samples, >= 0;
            default 0 (off).
        r2_gamma: weight of R2, the same at generated samples, >= 0; default 0.
        gp_weight: weight of the gradient penalty (‖∇D‖ - gp_target)², >= 0; default 0. With the
            defaults below it is WGAN-GP's (arXiv 1704.00028), whose weight is 10.
        gp_target: the wanted norm, >= 0; default 1. 0: zero-centred (arXiv 1902.03984).
        gp_one_sided: whether norms below gp_target cost nothing; default False.
        gp_at: "between" (default): points between real and generated samples; "near_real": real
            samples with noise, as in DRAGAN (arXiv 1705.07215).
        gp_noise: standard deviation of that noise, > 0, in the units of the samples; default 0.5.
        penalty_method: how penalties are computed, one of
            `fastgan.losses.gradient_penalty.METHODS`; default "auto" (exact).
        penalty_at: what a penalty's gradient is taken with respect to. "images" (default): the
            images before blur and augmentation, through both, as published (arXiv 2006.06676,
            2501.05441); "augmented": D's own input, which costs less.
        d_reg_interval: steps k between two updates of D by its penalties, each with weight × k;
            default 1, which adds them to the loss of every step. Above 1, the optimiser of D has
            lr' = lr·k/(k+1) and β' = β^(k/(k+1)), RMSprop's α likewise, where D has a penalty
            (arXiv 1912.04958, appendix B).
        pl_weight: weight of the path-length penalty (arXiv 1912.04958), >= 0; default 0.
        pl_decay: how far the mean path length moves toward a batch's, in (0, 1]; default 0.01.
        pl_batch_shrink: a lazy path-length step takes 1/pl_batch_shrink of the batch; default 2.
        pl_target: what path lengths are compared with. "mean_before" (default): the moving mean
            before this batch, so that the result does not depend on how a batch is split;
            "mean_after": as published, the mean that has already moved toward the lengths that
            are computed at once (a process's share, or batch_gpu of it), with its gradient.
        g_reg_interval: steps between two updates of G by it, as d_reg_interval; default 1.
        always_corrects_g: whether G's optimiser has that lr' and β' also with pl_weight 0, as in
            stylegan2-ada-pytorch's configuration cifar; default False.
        style_mixing_prob: share of generated samples with latents of two z, in [0, 1]; default 0.
        n_critic: steps in which D is trained for one in which G is (WGAN: 5); default 1. Each
            takes a batch of its own.
        d_weight_clip: D's parameters are clipped to [-d_weight_clip, d_weight_clip] after each
            update of D (WGAN, arXiv 1701.07875: 0.01); default None: they are not.
        first_network: the network that a step trains first, "D" (default) or, as in StyleGAN2
            and StyleGAN3, "G".
        shares_samples: whether the phases of a step all take the same samples of G, which it makes
            once, as in DCGAN's usual loop: G's gradient then goes through the samples that D was
            just trained on. Default False: each phase makes new ones. It excludes batch_gpu below
            a process's share of batch, pl_weight > 0 and update_emas="d_step".
        update_emas: which passes of G move its running means (w_avg, magnitude_ema): "all"
            (default), or "d_step", as in StyleGAN3: only the one whose samples train D.
        blur_init_sigma: pixels, >= 0; default 0 (off). All that D sees is blurred at first with
            weights 2^-(x/σ)² (`fastgan.augment.BlurFade`), as for StyleGAN3-R.
        blur_fade_kimg: thousands of real images over which σ falls from blur_init_sigma to 0,
            linearly; > 0 where blur_init_sigma is; default 0.
        ema: the moving average of G.
        schedule: how learning rates, penalties, β2, the average and the augmentation change.
        capture: "auto" (default): each phase is one CUDA graph where the device has them; "off":
            phases run eagerly (`fastgan.training.step.capture`).
        compile: whether torch.compile compiles the networks for the phases without a penalty
            (`fastgan.training.step.compiled`); default False.
        recompute: whether the backward pass makes again what layers made by a cheap pass, such as
            modulated maps: "on" takes less memory, "off" less time on a GPU; "auto" (default) is
            "off" where a run on CUDA has the memory, else "on"
            (`fastgan.training.needs.recompute`). The numbers are the same.
        precision: "fp32" (default): the networks' own dtype; "bf16": float32 networks compute in
            bfloat16 (`fastgan.training.step.precision`).
        exchange_buckets: parts in which several processes exchange a gradient, while the backward
            pass still runs; default 1: all of it at the end
            (`fastgan.training.distributed.exchange`).
        exchange_dtype: "fp32" (default): gradients are exchanged in their own dtype; "bf16": in
            bfloat16, which halves the bytes and rounds the gradients.

    Raises:
        ValueError: when a value is out of range, or two of them exclude each other.
    """

    objective: str | Objective = "non_saturating"
    objective_options: dict[str, Any] = field(default_factory=dict)
    latents: str = "normal"
    g_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    d_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch: int = 32
    batch_gpu: int | None = None
    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_weight: float = 0.0
    gp_target: float = 1.0
    gp_one_sided: bool = False
    gp_at: str = "between"
    gp_noise: float = 0.5
    penalty_method: str = "auto"
    penalty_at: str = "images"
    d_reg_interval: int = 1
    pl_weight: float = 0.0
    pl_decay: float = 0.01
    pl_batch_shrink: int = 2
    pl_target: str = "mean_before"
    g_reg_interval: int = 1
    always_corrects_g: bool = False
    style_mixing_prob: float = 0.0
    n_critic: int = 1
    d_weight_clip: float | None = None
    first_network: str = "D"
    shares_samples: bool = False
    update_emas: str = "all"
    blur_init_sigma: float = 0.0
    blur_fade_kimg: float = 0.0
    ema: EmaConfig = field(default_factory=EmaConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    capture: str = "auto"
    compile: bool = False
    recompute: str = "auto"
    precision: str = "fp32"
    exchange_buckets: int = 1
    exchange_dtype: str = "fp32"

    def __post_init__(self):
        require_numbers(self)
        for name in (
            "batch", "d_reg_interval", "g_reg_interval", "pl_batch_shrink", "exchange_buckets",
            "n_critic",
        ):  # fmt: skip
            require_whole(name, getattr(self, name))
        is_fine = self.batch_gpu is None or (
            self.batch_gpu >= 1 and self.batch % self.batch_gpu == 0
        )
        require(is_fine, "batch_gpu", f"None or a divisor of batch={self.batch}", self.batch_gpu,
                "None takes a process's whole share at once")  # fmt: skip
        for name in ("r1_gamma", "r2_gamma", "gp_weight", "pl_weight"):
            value = getattr(self, name)
            require(value >= 0, name, "a number >= 0", value, "0 switches the penalty off")
        require(self.gp_target >= 0, "gp_target", "a number >= 0", self.gp_target,
                "1 is WGAN-GP's")  # fmt: skip
        require(self.gp_noise > 0, "gp_noise", "a positive number", self.gp_noise,
                "0.5 suits samples in [-1, 1]")  # fmt: skip
        is_fine = self.d_weight_clip is None or self.d_weight_clip > 0
        require(is_fine, "d_weight_clip", "None or a positive number", self.d_weight_clip,
                "0.01 is WGAN's")  # fmt: skip
        require(0 <= self.style_mixing_prob <= 1, "style_mixing_prob", "a probability",
                self.style_mixing_prob, "0.9 is StyleGAN's")  # fmt: skip
        require(0 < self.pl_decay <= 1, "pl_decay", "a number in (0, 1]", self.pl_decay,
                "0.01 is StyleGAN2's")  # fmt: skip
        for name, known in (
            ("penalty_at", PENALTY_AT),
            ("pl_target", PL_TARGETS),
            ("first_network", NETWORKS),
            ("update_emas", UPDATE_EMAS),
            ("latents", LATENTS),
            ("gp_at", GP_AT),
            ("exchange_dtype", EXCHANGE_DTYPES),
        ):
            value = getattr(self, name)
            require(value in known, name, f"one of {', '.join(known)}", value,
                    f"{known[0]} is the default")  # fmt: skip
        require(self.blur_init_sigma >= 0, "blur_init_sigma", "a number of pixels >= 0",
                self.blur_init_sigma, "0 switches the blur off")  # fmt: skip
        is_fine = self.blur_fade_kimg > 0 or self.blur_init_sigma == 0
        require(is_fine, "blur_fade_kimg", "a positive number with blur_init_sigma > 0",
                self.blur_fade_kimg, "batch·200/32 is StyleGAN3's")  # fmt: skip
        require(self.penalty_method in METHODS, "penalty_method", f"one of {', '.join(METHODS)}",
                self.penalty_method, "auto is exact")  # fmt: skip
        require(self.capture in CAPTURE, "capture", f"one of {', '.join(CAPTURE)}", self.capture,
                "off runs every phase eagerly")  # fmt: skip
        has_plain_phase = not (
            (self.has_d_penalty and self.d_reg_interval == 1)
            and (self.pl_weight > 0 and self.g_reg_interval == 1)
        )
        require(has_plain_phase or not self.compile, "compile",
                "False where every phase has a penalty (d_reg_interval=1, g_reg_interval=1)",
                self.compile, "raise an interval, or leave compile out")  # fmt: skip
        require(self.recompute in RECOMPUTE, "recompute", f"one of {', '.join(RECOMPUTE)}",
                self.recompute, "on takes the least memory")  # fmt: skip
        require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}",
                self.precision, "fp32 is the default")  # fmt: skip
        is_fine = self.precision == "fp32" or self.penalty_method != "finite_difference"
        require(is_fine, "penalty_method", f"an exact method with precision={self.precision!r}",
                self.penalty_method, "bf16 rounds away the differences that it takes")  # fmt: skip
        for name in ("g_optimizer", "d_optimizer"):
            require(isinstance(getattr(self, name), OptimizerConfig), name, "an OptimizerConfig",
                    getattr(self, name), "such as OptimizerConfig(lr=0.001)")  # fmt: skip
            is_fine = self.schedule.beta2_end is None or getattr(self, name).name != "rmsprop"
            require(is_fine, "schedule.beta2_end", f"None with {name} of RMSprop, which has no β2",
                    self.schedule.beta2_end, "leave it out, or take adam")  # fmt: skip
        for name, fitting in _FIT_SHARED_SAMPLES.items():
            value = getattr(self, name)
            require(value == fitting or not self.shares_samples, name,
                    f"{fitting!r} with shares_samples=True", value,
                    "or set shares_samples=False")  # fmt: skip
        for name in ("pl_weight", "style_mixing_prob"):
            require(self.latents != "none" or getattr(self, name) == 0, name,
                    "0 with latents='none'", getattr(self, name), "G has no latents")  # fmt: skip
        self.make_objective()

    def make_objective(self) -> Objective:
        """What `objective` and `objective_options` stand for.

        Returns:
            The object that was given, or a new one of this name.

        Raises:
            ValueError: for a name that does not exist, or options beside an object.
        """
        if isinstance(self.objective, Objective):
            require(not self.objective_options, "objective_options", "none beside an object",
                    self.objective_options, "give them to the object itself")  # fmt: skip
            return self.objective
        is_fine = isinstance(self.objective, str)
        require(is_fine, "objective", "a name or a fastgan.losses.Objective", self.objective,
                "subclass fastgan.losses.Objective")  # fmt: skip
        return load_objective(self.objective, **self.objective_options)

    def blur_sigma(self, nimg: int) -> float:
        """The blur of a step.

        Args:
            nimg: real images shown before it.

        Returns:
            σ in pixels: blur_init_sigma at 0, 0 from blur_fade_kimg on.
        """
        if self.blur_init_sigma == 0:
            return 0.0
        return max(1 - nimg / (self.blur_fade_kimg * 1000), 0.0) * self.blur_init_sigma

    @property
    def can_share_samples(self) -> bool:
        """Whether shares_samples=True fits the other settings."""
        return all(getattr(self, name) == value for name, value in _FIT_SHARED_SAMPLES.items())

    @property
    def has_d_penalty(self) -> bool:
        """Whether D has a gradient penalty."""
        return self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0

    def ema_at(self, kimg: float) -> EmaConfig:
        """`ema` with the half-life that `schedule` gives.

        Args:
            kimg: thousands of real images shown.

        Returns:
            The moving average of a step.
        """
        first, last = self.ema.half_life_kimg, self.schedule.ema_half_life_end_kimg
        return dataclasses.replace(self.ema, half_life_kimg=self.schedule.at(kimg, first, last))

    def scheduled_values(self, kimg: float) -> dict[str, float]:
        """What `schedule` changes, but the augmentation's p, as a tick reports it.

        Args:
            kimg: thousands of real images shown.

        Returns:
            Some of "lr_factor", "gamma_factor", "beta2" (G's) and "ema_kimg", with their values.
        """
        schedule = self.schedule
        has_lr = (schedule.lr_end, schedule.lr_decay) != (1, 1)
        values = {
            "gamma_factor": (1.0, schedule.gamma_end),
            "beta2": (self.g_optimizer.betas[1], schedule.beta2_end),
            "ema_kimg": (self.ema.half_life_kimg, schedule.ema_half_life_end_kimg),
        }
        return ({"lr_factor": schedule.lr_factor(kimg)} if has_lr else {}) | {
            name: schedule.at(kimg, first, last)
            for name, (first, last) in values.items()
            if last not in (None, first)
        }
