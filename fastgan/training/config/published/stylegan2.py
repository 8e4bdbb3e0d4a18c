# SPDX-License-Identifier: Apache-2.0
"""The published configurations of StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676)."""

from typing import Any

from fastgan.models.stylegan2 import Config
from fastgan.training.config.published.split import split
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)

# gpus: of the published runs, which say how many images a process computes at once. "auto" has no
# fixed numbers: `published` computes them from the resolution and the number of GPUs.
PUBLISHED: dict[str, dict[str, Any]] = {
    "auto": {"rampup_ratio": 0.05, "mapping_layers": 2},
    "stylegan2": {
        "gpus": 8, "batch": 32, "mbstd_group": 4, "channel_base": 32768, "lr": 0.002,
        "r1_gamma": 10.0, "ema_kimg": 10.0, "rampup_ratio": None, "mapping_layers": 8,
    },
    "paper256": {
        "gpus": 8, "batch": 64, "mbstd_group": 8, "channel_base": 16384, "lr": 0.0025,
        "r1_gamma": 1.0, "ema_kimg": 20.0, "rampup_ratio": None, "mapping_layers": 8,
    },
    "paper512": {
        "gpus": 8, "batch": 64, "mbstd_group": 8, "channel_base": 32768, "lr": 0.0025,
        "r1_gamma": 0.5, "ema_kimg": 20.0, "rampup_ratio": None, "mapping_layers": 8,
    },
    "paper1024": {
        "gpus": 8, "batch": 32, "mbstd_group": 4, "channel_base": 32768, "lr": 0.002,
        "r1_gamma": 2.0, "ema_kimg": 10.0, "rampup_ratio": None, "mapping_layers": 8,
    },
    "cifar": {
        "gpus": 2, "batch": 64, "mbstd_group": 32, "channel_base": 32768, "lr": 0.0025,
        "r1_gamma": 0.01, "ema_kimg": 500.0, "rampup_ratio": 0.05, "mapping_layers": 2,
    },
}  # fmt: skip


def published(
    name: str,
    *,
    resolution: tuple[int, int],
    gpus: int = 1,
    batch: int | None = None,
    img_channels: int = 3,
    c_dim: int = 0,
    **overrides: Any,
) -> TrainConfig:
    """A published configuration, every setting of it.

        config = published("paper256", resolution=(256, 256), gpus=8, device="cuda")

    On a CPU all layers compute in float32 (`half_on_cpu=False`); on CUDA those of the 4 largest
    sizes in bfloat16, where the published runs have float16 (`with_half_dtype`, --fp16).

    The configuration "stylegan2" is
    that of stylegan2-ada-pytorch (γ 10 at every size, no ramp-up of the average); stylegan3's of
    the same name asks for γ and the batch (10 at 1024², 5 at 512²) and has a ramp-up of 0.05.

    Args:
        name: a key of `PUBLISHED`. "auto" follows the resolution and gpus.
        resolution: (height, width).
        gpus: processes that will train. It sets batch_gpu, mbstd_group (the published one where it
            divides a process's share of the batch, else less), and the settings of "auto".
        batch: images of a step, over all processes; default None: the published number.
        img_channels: 1 or 3; default 3.
        c_dim: number of classes; default 0.
        **overrides: as `TrainConfig.with_changes` takes them; they win.

    Returns:
        The configuration. Adaptive augmentation is on (target 0.6, groups bgc).

    Raises:
        ValueError: for another name.
    """
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise ValueError(f"stylegan2.published: name must be one of {known}, got {name!r}")
    height, width = resolution
    settings = PUBLISHED[name]
    if name == "auto":
        settings = _auto(max(resolution), height * width, gpus, batch) | settings
    batch = settings["batch"] if batch is None else batch
    most = settings["batch"] // settings["gpus"]
    at_once, group = split(batch, gpus, most=most, group=settings["mbstd_group"])
    is_cifar = name == "cifar"
    adam = OptimizerConfig(lr=settings["lr"], betas=(0.0, 0.99), eps=1e-8)
    config = TrainConfig(
        name=name,
        architecture="stylegan2",
        model=Config(
            z_dim=512,
            w_dim=512,
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            channel_base=settings["channel_base"],
            channel_max=512,
            mapping_layers=settings["mapping_layers"],
            mapping_lr_multiplier=0.01,
            d_mapping_layers=8,
            w_avg_beta=0.995,
            g_architecture="skip",
            d_architecture="orig" if is_cifar else "resnet",
            mbstd_group=group,
            mbstd_channels=1,
            conv_clamp=256.0,
            half_dtype="bfloat16",
            half_sizes=4,
            half_on_cpu=False,
        ),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(mode="ada", p=0.0, target=0.6, groups="bgc", ada_kimg=500.0),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=batch,
        batch_gpu=at_once,
        r1_gamma=settings["r1_gamma"],
        penalty_at="images",
        d_reg_interval=16,
        pl_weight=0.0 if is_cifar else 2.0,
        pl_decay=0.01,
        pl_batch_shrink=2,
        pl_target="mean_after",
        g_reg_interval=4,
        always_corrects_g=is_cifar,  # for a regularisation of G that it does not have
        style_mixing_prob=0.0 if is_cifar else 0.9,
        first_network="G",
        update_emas="all",
        ema=EmaConfig(half_life_kimg=settings["ema_kimg"], rampup_ratio=settings["rampup_ratio"]),
        total_kimg=100_000.0 if is_cifar else 25_000.0,
        tick_kimg=4.0,
        snapshot_every_ticks=50,
    )
    return config.with_changes(**overrides)


def _auto(side: int, pixels: int, gpus: int, batch: int | None) -> dict[str, Any]:
    """The numbers of "auto"; pixels is side² where images are square."""
    if batch is None:
        batch = max(min(gpus * min(4096 // side, 32), 64), gpus)
    return {
        "gpus": gpus,
        "batch": batch,
        "mbstd_group": min(max(batch // gpus, 1), 4),
        "channel_base": 32768 if side >= 512 else 16384,
        "lr": 0.002 if side >= 1024 else 0.0025,
        "r1_gamma": 0.0002 * pixels / batch,
        "ema_kimg": batch * 10 / 32,
    }
