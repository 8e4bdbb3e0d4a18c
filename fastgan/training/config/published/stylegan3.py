# SPDX-License-Identifier: Apache-2.0
"""The published configurations of StyleGAN3, T and R (Karras et al. 2021, arXiv 2106.12423)."""

from typing import Any

from fastgan.models.stylegan3 import Config
from fastgan.training.config.published.split import split
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)

GPUS = 8  # of the published runs
# γ by the side of the image, as published for 8 GPUs. At 256² the batch is 64, the channel base
# 16384 and D's learning rate 0.0025; else they are 32, 32768 and 0.002.
PUBLISHED: dict[str, dict[str, Any]] = {
    "stylegan3-t": {"is_rotation": False, "r1_gamma": {256: 1.0, 512: 8.2, 1024: 32.8}},
    "stylegan3-r": {"is_rotation": True, "r1_gamma": {256: 1.0, 512: 16.4, 1024: 32.8}},
}


def magnitude_ema_beta(batch: int) -> float:
    """How much of a layer's mean magnitude stays at each step: a half of it per 20,000 images.

    Args:
        batch: images of a step, over all processes.

    Returns:
        0.5^(batch / 20000).
    """
    return 0.5 ** (batch / 20_000)


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

        config = published("stylegan3-t", resolution=(512, 512), device="cuda")

    On a CPU all layers compute in float32, as in the published code (`half_on_cpu=False`). γ is
    published for 256², 512² and 1024². At other sizes it is 0.001·height·width / batch, which gives
    T's published numbers at those three within 3 %; T and R may want half or twice that.

    Args:
        name: a key of `PUBLISHED`.
        resolution: (height, width).
        gpus: processes that will train. Each computes as many images at once as in the published
            runs of 8 GPUs (8 at 256², else 4), or fewer where its share of the batch is smaller or
            not divisible so; mbstd_group is 4 where that divides the share, else less.
        batch: images of a step, over all processes; default None: 64 at 256², else 32.
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
        raise ValueError(f"stylegan3.published: name must be one of {known}, got {name!r}")
    is_rotation, gammas = PUBLISHED[name]["is_rotation"], PUBLISHED[name]["r1_gamma"]
    height, width = resolution
    side = max(resolution)
    is_small = side == 256
    published_batch = 64 if is_small else 32
    batch = published_batch if batch is None else batch
    at_once, group = split(batch, gpus, most=published_batch // GPUS, group=4)
    fields = {
        "z_dim": 512,
        "w_dim": 512,
        "c_dim": c_dim,
        "img_channels": img_channels,
        "img_height": height,
        "img_width": width,
        "channel_base": 16384 if is_small else 32768,
        "channel_max": 512,
        "num_layers": 14,
        "num_critical": 2,
        "conv_clamp": 256.0,
        "magnitude_ema_beta": magnitude_ema_beta(batch),
        "mapping_layers": 2,
        "mapping_lr_multiplier": 0.01,
        "w_avg_beta": 0.998,
        "half_dtype": "bfloat16",
        "half_layers": 4,
        "half_on_cpu": False,
        "d_channel_base": 16384 if is_small else 32768,
        "d_channel_max": 512,
        "d_mapping_layers": 8,
        "mbstd_group": group,
    }
    config = TrainConfig(
        name=name,
        architecture="stylegan3",
        model=Config.rotation(**fields) if is_rotation else Config(**fields),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(mode="ada", p=0.0, target=0.6, groups="bgc", ada_kimg=500.0),
        g_optimizer=OptimizerConfig(lr=0.0025, betas=(0.0, 0.99), eps=1e-8),
        d_optimizer=OptimizerConfig(lr=0.0025 if is_small else 0.002, betas=(0.0, 0.99), eps=1e-8),
        batch=batch,
        batch_gpu=at_once,
        r1_gamma=gammas.get(side, 0.001 * height * width / batch),
        penalty_at="images",
        d_reg_interval=16,
        pl_weight=0.0,
        style_mixing_prob=0.0,
        first_network="G",
        update_emas="d_step",
        blur_init_sigma=10.0 if is_rotation else 0.0,
        blur_fade_kimg=batch * 200 / 32 if is_rotation else 0.0,
        ema=EmaConfig(half_life_kimg=batch * 10 / 32, rampup_ratio=0.05),
        total_kimg=25_000.0,
        tick_kimg=4.0,
        snapshot_every_ticks=50,
    )
    return config.with_changes(**overrides)
