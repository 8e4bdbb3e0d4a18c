"""What a training run is made of: frozen dataclasses that refuse impossible combinations.

`TrainConfig` names one run completely: with the same data, machine and thread count it gives the
same networks. It round-trips through JSON: `TrainConfig.from_dict(config.to_dict()) == config`.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from fastgan.augment import GROUPS
from fastgan.losses import load_objective
from fastgan.losses.gradient_penalty import METHODS
from fastgan.metrics import NAMES as METRICS
from fastgan.models import load_architecture
from fastgan.training._json_dataclass import from_json, to_json

__all__ = [
    "AdamConfig",
    "AugmentConfig",
    "DataConfig",
    "EmaConfig",
    "ScheduleConfig",
    "TrainConfig",
    "load_model_config",
]


def _require(is_fine: bool, name: str, expected: str, got: Any, way_out: str) -> None:
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images: `path`, as `fastgan.data.open_images` takes it (None: fastgan's own avatars,
    rendered once).

    `resolution` (height, width) resizes (None: as stored); `use_labels` reads dataset.json's
    labels; `mirror` adds each image's horizontal mirror; `max_images` takes a seeded subset.
    """

    path: str | None = None
    resolution: tuple[int, int] | None = None
    use_labels: bool = False
    mirror: bool = False
    max_images: int | None = None

    def __post_init__(self):
        if self.resolution is not None:
            object.__setattr__(self, "resolution", tuple(int(n) for n in self.resolution))
            is_fine = len(self.resolution) == 2 and min(self.resolution) > 0
            _require(is_fine, "data.resolution", "(height, width), both positive",
                     self.resolution, "leave it out to take the images as stored")  # fmt: skip
        if self.max_images is not None:
            _require(self.max_images > 0, "data.max_images", "a positive number",
                     self.max_images, "leave it out to take all")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba, 2015). `betas` may be ints (R3GAN writes `[0, 0.99]`)."""

    lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        _require(self.lr > 0, "lr", "a positive number", self.lr, "0.002 is StyleGAN2's")
        is_fine = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _require(is_fine, "betas", "two numbers in [0, 1)", self.betas, "(0.0, 0.99) suits GANs")
        _require(self.eps > 0, "eps", "a positive number", self.eps, "1e-8 is usual")


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Moving average of G's weights: see `fastgan.training.ema.ema_beta`. 0 kimg: no averaging."""

    half_life_kimg: float = 10.0
    rampup_ratio: float | None = 0.05

    def __post_init__(self):
        _require(self.half_life_kimg >= 0, "ema.half_life_kimg", "a number >= 0",
                 self.half_life_kimg, "0 switches averaging off")  # fmt: skip
        is_fine = self.rampup_ratio is None or self.rampup_ratio > 0
        _require(is_fine, "ema.rampup_ratio", "None or a positive number", self.rampup_ratio,
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
        _require(self.lr_end >= 0, "schedule.lr_end", "a number >= 0", self.lr_end, "1 is constant")
        _require(self.gamma_end >= 0, "schedule.gamma_end", "a number >= 0", self.gamma_end,
                 "1 is constant")  # fmt: skip
        is_fine = self.anneal_kimg > 0 or (self.lr_end == 1 and self.gamma_end == 1)
        _require(is_fine, "schedule.anneal_kimg", "a positive number where an end is not 1",
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
class AugmentConfig:
    """Augmentation of everything that D sees (Karras et al. 2020, arXiv 2006.06676).

    `mode`: "noaug"; "fixed" applies each transform of `groups` with probability `p`; "ada" starts
    at `p` and steers E[sign D(real)] to `target`, p moving by at most 1 per `ada_kimg`.
    """

    mode: Literal["noaug", "fixed", "ada"] = "noaug"
    p: float = 0.0
    target: float = 0.6
    groups: str = "bgc"
    ada_kimg: float = 500.0

    def __post_init__(self):
        modes = typing.get_args(typing.get_type_hints(AugmentConfig)["mode"])
        _require(self.mode in modes, "augment.mode", f"one of {', '.join(modes)}", self.mode,
                 "noaug is the default")  # fmt: skip
        _require(0 <= self.p <= 1, "augment.p", "a probability", self.p, "0.2 is a mild one")
        if self.mode == "noaug":
            _require(self.p == 0, "augment.p", "0 with augment.mode='noaug'", self.p,
                     "choose mode='fixed' for a constant p")  # fmt: skip
        if self.mode == "fixed":
            _require(self.p > 0, "augment.p", "a positive p with augment.mode='fixed'", self.p,
                     "choose mode='noaug' for none")  # fmt: skip
        _require(self.groups in GROUPS, "augment.groups", f"one of {', '.join(GROUPS)}",
                 self.groups, "bgc is the paper's")  # fmt: skip
        _require(-1 < self.target < 1, "augment.target", "a number in (-1, 1)", self.target,
                 "0.6 is the paper's")  # fmt: skip
        _require(self.ada_kimg > 0, "augment.ada_kimg", "a positive number", self.ada_kimg,
                 "500 is the paper's")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run. Losses per step, with n images per step (`batch`):

    D: objective + (r1_gamma/2)·mean R1 + (r2_gamma/2)·mean R2 + gp_weight·mean GP
    G: objective + pl_weight·mean PL

    Penalties are computed at D's own input, every `d_reg_interval` (`g_reg_interval`) steps with
    weight × interval as a step of their own; interval 1 adds them to the main loss.
    `batch_gpu` samples at a time go through a network (None: a process's whole share of `batch`),
    their gradients adding up: less memory, and batch statistics over so many.
    `metrics` are computed over `metric_images` images at each snapshot.
    """

    name: str
    architecture: str
    model: Any
    objective: str = "non_saturating"
    data: DataConfig = field(default_factory=DataConfig)
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
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    total_kimg: float = 1000.0
    tick_kimg: float = 4.0
    snapshot_every_ticks: int = 10
    metrics: tuple[str, ...] = ()
    metric_images: int = 1000
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self):
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for name in ("batch", "d_reg_interval", "g_reg_interval", "snapshot_every_ticks",
                     "metric_images"):  # fmt: skip
            value = getattr(self, name)
            is_fine = isinstance(value, int) and value >= 1
            _require(is_fine, name, "a whole number >= 1", value, "1 is the least")
        is_fine = self.batch_gpu is None or (
            self.batch_gpu >= 1 and self.batch % self.batch_gpu == 0
        )
        _require(is_fine, "batch_gpu", f"None or a divisor of batch={self.batch}", self.batch_gpu,
                 "None takes a process's whole share at once")  # fmt: skip
        for name in ("r1_gamma", "r2_gamma", "gp_weight", "pl_weight"):
            value = getattr(self, name)
            _require(value >= 0, name, "a number >= 0", value, "0 switches the penalty off")
        for name in ("total_kimg", "tick_kimg"):
            value = getattr(self, name)
            _require(value > 0, name, "a positive number (thousands of images)", value, "try 4")
        _require(0 <= self.style_mixing_prob <= 1, "style_mixing_prob", "a probability",
                 self.style_mixing_prob, "0.9 is StyleGAN's")  # fmt: skip
        _require(self.penalty_method in METHODS, "penalty_method", f"one of {', '.join(METHODS)}",
                 self.penalty_method, "auto is exact")  # fmt: skip
        for name in self.metrics:
            known = ", ".join(METRICS)
            _require(name in METRICS, "metrics", f"some of {known}", name, "() computes none")
        self._check_model()
        self._check_objective()

    def _check_model(self) -> None:
        _require(dataclasses.is_dataclass(self.model), "model", "an architecture's Config",
                 self.model, "see fastgan.models.load_architecture")  # fmt: skip
        if bool(self.model.c_dim) != self.data.use_labels:
            raise ValueError(
                f"data.use_labels={self.data.use_labels} does not fit model.c_dim="
                f"{self.model.c_dim}; a conditional model needs labels, an unconditional one none"
            )
        if self.is_image_model and getattr(self.model, "data_shape", None) is None:
            size = (self.model.img_height, self.model.img_width)
            _require(self.data.resolution in (None, size), "data.resolution",
                     f"the model's {size}", self.data.resolution, "change one of them")  # fmt: skip
        if not self.is_image_model and self.augment.mode != "noaug":
            raise ValueError(
                f"augment.mode={self.augment.mode!r} needs images, but model.data_shape is "
                f"{self.model.data_shape}; set augment.mode='noaug'"
            )

    def _check_objective(self) -> None:
        objective = load_objective(self.objective)
        if self.augment.mode == "ada" and objective.NEEDS_REAL_FOR_G:
            raise ValueError(
                f"augment.mode='ada' reads the sign of D(real), which objective={self.objective!r} "
                "leaves without meaning (only differences of logits count); set "
                "augment.mode='fixed' with a p, or another objective"
            )

    @property
    def is_image_model(self) -> bool:
        """False for a model of vectors, whose Config has a `data_shape` that is not [C, H, W]."""
        shape = getattr(self.model, "data_shape", None)
        return shape is None or len(shape) == 3

    @property
    def has_d_penalty(self) -> bool:
        return self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0

    @property
    def total_nimg(self) -> int:
        return math.ceil(self.total_kimg * 1000)

    def with_changes(self, **changes: Any) -> "TrainConfig":
        """A copy with fields replaced; a dict replaces only its keys within a nested config.

        `with_changes(batch=8, model={"z_dim": 32})`. TypeError names a field that does not exist.
        """
        for name, change in changes.items():
            current = getattr(self, name, None)
            if isinstance(change, dict) and dataclasses.is_dataclass(current):
                changes[name] = dataclasses.replace(current, **change)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values only; tuples become lists."""
        return to_json(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Inverse of `to_dict`. ValueError names an unknown or missing key and its place."""
        values = dict(values)
        if isinstance(values.get("model"), dict) and "architecture" in values:
            values["model"] = load_model_config(values["architecture"], values["model"])
        return from_json(cls, values, "TrainConfig")


def load_model_config(architecture: str, values: dict[str, Any]) -> Any:
    """The Config of `architecture` from its JSON values; ValueError names a key that is wrong."""
    return from_json(load_architecture(architecture).Config, values, f"{architecture}.Config")
