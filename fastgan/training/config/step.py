"""`StepConfig`: the losses, penalties, optimisers and moving average of one training step.

It fits any two networks; `fastgan.training.config.run.TrainConfig` adds a run's data, model and
snapshots.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from fastgan.losses import Objective, load_objective
from fastgan.losses.gradient_penalty import METHODS

__all__ = [
    "EmaConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "StepConfig",
    "require",
    "require_whole",
]

CAPTURE = ("auto", "off")
PRECISIONS = ("fp32", "bf16")
EXCHANGE_DTYPES = ("fp32", "bf16")
PENALTY_AT = ("images", "augmented")
PL_TARGETS = ("mean_before", "mean_after")
NETWORKS = ("D", "G")
OPTIMIZERS = ("adam", "adamw", "rmsprop")
UPDATE_EMAS = ("all", "d_step")
GP_AT = ("between", "near_real")
LATENTS = ("normal", "uniform", "none")


def require(is_fine: bool, name: str, expected: str, got: Any, way_out: str) -> None:
    """Raises ValueError, which says what was expected of `name`, unless `is_fine`."""
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


def require_whole(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    is_fine = isinstance(value, int) and value >= 1
    require(is_fine, name, "a whole number >= 1", value, "1 is the smallest")


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
        style_mixing_prob: share of generated samples with latents of two z, in [0, 1]; default 0.
        n_critic: steps in which D is trained for one in which G is (WGAN: 5); default 1. Each
            takes a batch of its own.
        d_weight_clip: D's parameters are clipped to [-d_weight_clip, d_weight_clip] after each
            update of D (WGAN, arXiv 1701.07875: 0.01); default None: they are not.
        first_network: the network that a step trains first, "D" (default) or, as in StyleGAN2
            and StyleGAN3, "G".
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
    style_mixing_prob: float = 0.0
    n_critic: int = 1
    d_weight_clip: float | None = None
    first_network: str = "D"
    update_emas: str = "all"
    blur_init_sigma: float = 0.0
    blur_fade_kimg: float = 0.0
    ema: EmaConfig = field(default_factory=EmaConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    capture: str = "auto"
    compile: bool = False
    precision: str = "fp32"
    exchange_buckets: int = 1
    exchange_dtype: str = "fp32"

    def __post_init__(self):
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
