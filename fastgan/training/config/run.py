# SPDX-License-Identifier: Apache-2.0
"""`TrainConfig`: a training run as frozen dataclasses, which raise for impossible combinations.

`TrainConfig` names one run completely: with the same data, machine and thread count it gives the
same networks. It round-trips through JSON: `TrainConfig.from_dict(config.to_dict()) == config`.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from fastgan.augment import GROUPS
from fastgan.data.resident_images import MODES
from fastgan.losses import Objective, load_objective
from fastgan.modalities import load_modality, modalities
from fastgan.models import load_architecture
from fastgan.training.config.json_dataclass import config_values, from_json, to_json
from fastgan.training.config.optimizer import EmaConfig, OptimizerConfig, ScheduleConfig
from fastgan.training.config.requirements import require, require_numbers, require_whole
from fastgan.training.config.step import StepConfig

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "EmaConfig",
    "InitConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "StepConfig",
    "TrainConfig",
    "load_model_config",
]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The samples that a run is trained on.

    Args:
        modality: what they are, a folder of `fastgan.modalities`; default "images".
        path: of images as `fastgan.data.open_images` takes it; of other samples as their modality
            takes it. Default None: fastgan's own avatars, which are rendered once, or the data
            that the modality finds on this machine.
        options: what else the modality's data take, by name; JSON values; default none.
        resolution: (height, width) in pixels, to which images are resized; default None: as stored.
        use_labels: whether to read the labels of dataset.json; default False.
        mirror: whether to add each image's horizontal mirror; default False.
        max_images: how many samples to use; default None: all.
        on_device: whether all pixels of images are kept as uint8 on the device, where a step
            gathers its batch: "on", "off", or "auto" (default): on a GPU where they fit
            (`fastgan.data.resident_images`). The batches are the same.
        class_balance: how far images of rare classes are shown more often, from 0 (default: each
            image once in an epoch) to 1 (each class equally often); class k has a share in
            proportion to n_k^(1 - class_balance), of n_k images. Labels must be classes then.

    Raises:
        ValueError: when a value is out of range.
    """

    modality: str = "images"
    path: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    resolution: tuple[int, int] | None = None
    use_labels: bool = False
    mirror: bool = False
    max_images: int | None = None
    on_device: str = "auto"
    class_balance: float = 0.0

    def __post_init__(self):
        require_numbers(self, "data.")
        require(self.modality in modalities(), "data.modality", f"one of {', '.join(modalities())}",
                self.modality, "a modality is a folder of fastgan/modalities")  # fmt: skip
        require(isinstance(self.options, dict), "data.options", "a dict", self.options, "try {}")
        require(self.on_device in MODES, "data.on_device", f"one of {', '.join(MODES)}",
                self.on_device, "auto is the default")  # fmt: skip
        require(0 <= self.class_balance <= 1, "data.class_balance", "a number from 0 to 1",
                self.class_balance, "0 shows each image once in an epoch")  # fmt: skip
        require(self.use_labels or not self.class_balance, "data.class_balance",
                "0 without data.use_labels", self.class_balance, "set use_labels=True")  # fmt: skip
        if self.resolution is not None:
            object.__setattr__(self, "resolution", tuple(int(n) for n in self.resolution))
            is_fine = len(self.resolution) == 2 and min(self.resolution) > 0
            require(is_fine, "data.resolution", "(height, width), both positive",
                    self.resolution, "leave it out to take the images as stored")  # fmt: skip
        if self.max_images is not None:
            require(self.max_images > 0, "data.max_images", "a positive number",
                    self.max_images, "leave it out to take all")  # fmt: skip


MOST_HELD_OUT = 256  # images
# `AugmentConfig.ada_kimg` of the recipes that are sized for a CPU. They run for 1,000 to 3,000 kimg
# and not for the paper's 25,000, of which 500 are 2 %; D of `faces` begins to overfit to 300 images
# within 10 kimg (docs/few-shot.md).
ADA_KIMG_ON_CPU = 20.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Augmentation of everything that D sees (Karras et al. 2020, arXiv 2006.06676).

    Args:
        mode: "noaug" (default): none; "fixed": each transform of `groups` with probability `p`, or
            with one that goes from `p` to `schedule.augment_p_end`; "ada": the same, where p starts
            at `p` and is controlled so that a measure of D's overfitting comes near `target`
            (`fastgan.augment.AdaController`). Objectives that read differences of logits alone,
            such as the relativistic one, need `held_out_share` of the images for it.
        p: probability in [0, 1]; default 0.
        target: of ADA, in (-1, 1); default None: 0.6, or 0.5 where images are held out.
        groups: kinds of transforms, one of `fastgan.augment.GROUPS`; default "bgc".
        ada_kimg: thousands of real images over which ADA moves p by at most 1, > 0; default 500.
        held_out_share: of the images, in (0, 0.5]: so many, but at most 256, are not trained on,
            where ADA needs them; default 0.1.

    Raises:
        ValueError: when a value is out of range, or does not fit `mode`.
    """

    mode: Literal["noaug", "fixed", "ada"] = "noaug"
    p: float = 0.0
    target: float | None = None
    groups: str = "bgc"
    ada_kimg: float = 500.0
    held_out_share: float = 0.1

    def __post_init__(self):
        require_numbers(self, "augment.")
        modes = typing.get_args(typing.get_type_hints(AugmentConfig)["mode"])
        require(self.mode in modes, "augment.mode", f"one of {', '.join(modes)}", self.mode,
                "noaug is the default")  # fmt: skip
        require(0 <= self.p <= 1, "augment.p", "a probability", self.p, "0.2 is a mild one")
        if self.mode == "noaug":
            require(self.p == 0, "augment.p", "0 with augment.mode='noaug'", self.p,
                    "choose mode='fixed' for a constant p")  # fmt: skip
        require(self.groups in GROUPS, "augment.groups", f"one of {', '.join(GROUPS)}",
                self.groups, "bgc is the paper's")  # fmt: skip
        require(self.target is None or -1 < self.target < 1, "augment.target",
                "a number in (-1, 1)", self.target, "leave it out for the default")  # fmt: skip
        require(self.ada_kimg > 0, "augment.ada_kimg", "a positive number", self.ada_kimg,
                "500 is the paper's")  # fmt: skip
        require(0 < self.held_out_share <= 0.5, "augment.held_out_share", "a number in (0, 0.5]",
                self.held_out_share, "0.1 is a tenth of the images")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The weights that a new run starts with (`fastgan.training.start_from`).

    Args:
        path: of the checkpoint, its .safetensors file.
        sha256: of that file, in hexadecimal digits.
    """

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainConfig(StepConfig):
    """One training run: its step, data, model, augmentation and length.

    Further arguments are those of `fastgan.training.config.step.StepConfig`.

    Args:
        name: of the run, such as its recipe's.
        architecture: a module of `fastgan.models`, which has Config, Generator, Discriminator.
        model: the architecture's Config. The run also has the losses that it needs (its
            `loss_terms`, where it has them, name → weight or arguments), unless `objective_options`
            name them.
        data: the images.
        augment: the augmentation of what D sees.
        init_from: the weights that a new run starts with; default None: initialised by the seed.
        d_frozen_layers: how many of D's layers keep the weights that the run starts with, counted
            from the image on (Freeze-D, Mo et al. 2020, arXiv 2002.10964); default 0. The layers
            are `model.d_layers_from_image`, which StyleGAN2's and StyleGAN3's Config have.
        total_kimg: thousands of real images after which the run is finished; default 1000.
        tick_kimg: thousands of real images between two ticks (log lines); default 4.
        snapshot_every_ticks: ticks between two snapshots (checkpoint, picture, metrics); default
            10.
        metrics: names of the modality's metrics (`fastgan.metrics.NAMES` of images), computed at
            every snapshot; default none.
        metric_images: images that metrics are computed over; default 1000.
        seed: of everything random in the run; default 0.
        device: "cpu" (default), "cuda" or "cuda:N".
        tf32: whether float32 layers use TF32 on CUDA (`fastgan.training.step.backends`); default
            True.
        cudnn_benchmark: whether cuDNN times its algorithms on CUDA; default True.
        deterministic: whether a run repeats, and a resumed run continues, bit for bit on CUDA, as
            it always does on a CPU; default False.

    Raises:
        ValueError: when a value is out of range, or does not fit the others.

    Example:
        config = load_recipe("stylegan2-small")(resolution=(64, 64))
        longer = config.with_changes(total_kimg=5000.0, g_optimizer={"lr": 0.001})
    """

    name: str
    architecture: str
    model: Any
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    init_from: InitConfig | None = None
    d_frozen_layers: int = 0
    total_kimg: float = 1000.0
    tick_kimg: float = 4.0
    snapshot_every_ticks: int = 10
    metrics: tuple[str, ...] = ()
    metric_images: int = 1000
    seed: int = 0
    device: str = "cpu"
    tf32: bool = True
    cudnn_benchmark: bool = True
    deterministic: bool = False

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for name in ("snapshot_every_ticks", "metric_images"):
            require_whole(name, getattr(self, name))
        for name in ("total_kimg", "tick_kimg"):
            value = getattr(self, name)
            require(value > 0, name, "a positive number (thousands of images)", value, "try 4")
        metrics = load_modality(self.data.modality).metric.NAMES if self.metrics else ()
        for name in self.metrics:
            require(name in metrics, "metrics", f"some of {', '.join(metrics)}", name, "try ()")
        self._check_augment()
        self._check_model()
        self._check_frozen_layers()
        self._check_objective()
        self._check_deterministic()

    def make_objective(self) -> Objective:
        """What `objective` and `objective_options` stand for, with the losses that `model` needs.

        Returns:
            A new objective.

        Raises:
            ValueError: for a name that does not exist.
        """
        terms = getattr(self.model, "loss_terms", {})
        if not terms or not isinstance(self.objective, str):
            return super().make_objective()
        return load_objective(self.objective, **(terms | self.objective_options))

    def _check_augment(self) -> None:
        mode, last = self.augment.mode, self.schedule.augment_p_end
        if mode == "fixed":
            require(self.augment.p > 0 or last, "augment.p",
                    "a positive p, or schedule.augment_p_end, with augment.mode='fixed'",
                    self.augment.p, "choose mode='noaug' for none")  # fmt: skip
        elif last is not None:
            raise ValueError(
                f"schedule.augment_p_end={last} needs augment.mode='fixed', got {mode!r}; "
                + ("ADA controls p itself: leave one of them out" if mode == "ada" else "choose it")
            )

    def _check_model(self) -> None:
        require(dataclasses.is_dataclass(self.model), "model", "an architecture's Config",
                self.model, "see fastgan.models.load_architecture")  # fmt: skip
        c_dim = getattr(self.model, "c_dim", 0)
        if bool(c_dim) != self.data.use_labels:
            raise ValueError(
                f"data.use_labels={self.data.use_labels} does not fit model.c_dim={c_dim}; a "
                "conditional model needs labels, an unconditional one none"
            )
        if self.is_image_model and getattr(self.model, "data_shape", None) is None:
            size = (self.model.img_height, self.model.img_width)
            require(self.data.resolution in (None, size), "data.resolution",
                    f"the model's {size}", self.data.resolution, "change one of them")  # fmt: skip
        for name in ("half_dtype", "bf16_stages", "d_bf16_stages"):
            value = getattr(self.model, name, None)
            if self.precision != "fp32" and value:
                raise ValueError(
                    f"precision={self.precision!r} casts all that the networks compute, and "
                    f"model.{name}={value!r} chooses maps of its own; set precision='fp32' or "
                    f"model.{name}={() if isinstance(value, tuple) else None!r}"
                )
        if not self.is_image_model and self.blur_init_sigma > 0:
            raise ValueError(
                f"blur_init_sigma={self.blur_init_sigma} needs images, but {self._samples}; set "
                "blur_init_sigma=0"
            )
        if not self.is_image_model and self.data.class_balance > 0:
            raise ValueError(
                f"data.class_balance={self.data.class_balance} needs images, but {self._samples}; "
                "set data.class_balance=0"
            )
        if not self.is_image_model and self.augment.mode != "noaug":
            raise ValueError(
                f"augment.mode={self.augment.mode!r} needs images, but {self._samples}; set "
                "augment.mode='noaug'"
            )

    def _check_frozen_layers(self) -> None:
        layers = getattr(self.model, "d_layers_from_image", None)
        n = self.d_frozen_layers
        if n and layers is None:
            raise ValueError(
                f"d_frozen_layers={n} (--freezed) needs an architecture that names the layers of "
                f"its D from the image on, which {self.architecture} does not; take stylegan2 or "
                "stylegan3, or set 0"
            )
        most = len(layers or ())
        is_fine = isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= most
        require(is_fine, "d_frozen_layers", f"a whole number from 0 to {most}, the layers of D "
                "before its last block", n, "0 trains all of D")  # fmt: skip

    def _check_objective(self) -> None:
        require(isinstance(self.objective, str), "objective", "a name in a run's configuration, "
                "which is JSON", self.objective, "write your losses as a file of "
                "fastgan/losses/terms, or use TrainStep")  # fmt: skip
        self.make_objective()  # refuses names that do not exist

    def _check_deterministic(self) -> None:
        is_cuda = self.device.startswith("cuda")
        if self.deterministic and is_cuda and self.augment.mode != "noaug":
            raise ValueError(
                "deterministic=True (--deterministic) can't be had on CUDA with augment.mode="
                f"{self.augment.mode!r}: the backward pass of PyTorch's grid_sample adds in an "
                "order that changes; set augment.mode='noaug' (--aug noaug), or leave "
                "deterministic out"
            )

    @property
    def is_image_model(self) -> bool:
        """Whether samples are images [C, H, W], by the modality and the model's `data_shape`."""
        shape = getattr(self.model, "data_shape", None)
        return self.data.modality == "images" and (shape is None or len(shape) == 3)

    @property
    def _samples(self) -> str:
        """Why samples are no images, for errors."""
        if self.data.modality != "images":
            return f"data.modality is {self.data.modality!r}"
        return f"model.data_shape is {self.model.data_shape}"

    @property
    def total_nimg(self) -> int:
        """`total_kimg` in images."""
        return math.ceil(self.total_kimg * 1000)

    def with_changes(self, **changes: Any) -> "TrainConfig":
        """A copy with fields replaced, such as `with_changes(batch=8, model={"z_dim": 32})`.

        Args:
            **changes: field = new value; a dict replaces only its keys within a nested config.

        Returns:
            The new configuration, checked like any other.

        Raises:
            TypeError: when a field does not exist.
            ValueError: when a value does not fit.
        """
        for name, change in changes.items():
            current = getattr(self, name, None)
            if isinstance(change, dict) and dataclasses.is_dataclass(current):
                changes[name] = dataclasses.replace(current, **change)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values.

        Returns:
            Nested dicts; tuples have become lists.
        """
        return to_json(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The configuration that `to_dict` returned.

        Metrics that the modality no longer has are left out, so that older runs can be read.

        Args:
            values: nested dicts of JSON values.

        Returns:
            The configuration.

        Raises:
            ValueError: naming a key that is unknown, missing or of another type, and its place.
        """
        values = config_values(values)
        if "model" in values and "architecture" in values:
            values["model"] = load_model_config(values["architecture"], values["model"])
        config = from_json(cls, values | {"metrics": ()}, "TrainConfig")
        metrics = values.get("metrics", ())
        known = load_modality(config.data.modality).metric.NAMES if metrics else ()
        return dataclasses.replace(config, metrics=tuple(m for m in metrics if m in known))


def load_model_config(architecture: str, values: dict[str, Any]) -> Any:
    """The Config of `architecture` from its JSON values; ValueError names a key that is wrong."""
    return from_json(load_architecture(architecture).Config, values, f"{architecture}.Config")
