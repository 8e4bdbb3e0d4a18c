"""StyleGAN3 (Karras et al. 2021, arXiv 2106.12423): T at a width that a processor can train, and
the published configurations of T and R."""

from typing import Any

from fastgan.models.stylegan3 import Config
from fastgan.training.config.run import (
    AdamConfig,
    AugmentConfig,
    DataConfig,
    EmaConfig,
    TrainConfig,
)

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


def recipe(
    *, resolution: tuple[int, int], img_channels: int = 3, c_dim: int = 0, **overrides: Any
) -> TrainConfig:
    """T with ADA's heuristics in batch and resolution (arXiv 2006.06676, appendix C):

    r1_gamma = 0.0002·H·W / batch, every 16 steps; EMA half-life batch·10/32 kimg, ramp-up 0.05. Six
    layers and narrow maps are ours; learning rates, the magnitude's moving average and what moves
    it are as published. No path length and no style mixing, as published.
    """
    height, width = resolution
    batch = overrides.get("batch", 16)
    config = TrainConfig(
        name="stylegan3",
        architecture="stylegan3",
        model=Config(
            z_dim=128,
            w_dim=128,
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            channel_base=1024,
            channel_max=64,
            num_layers=6,
            magnitude_ema_beta=magnitude_ema_beta(batch),
            d_channel_base=2048,
            d_channel_max=128,
            d_mapping_layers=2,
        ),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        g_optimizer=AdamConfig(lr=0.0025, betas=(0.0, 0.99)),
        d_optimizer=AdamConfig(lr=0.002, betas=(0.0, 0.99)),
        batch=batch,
        r1_gamma=0.0002 * height * width / batch,
        d_reg_interval=16,
        update_emas="d_step",
        ema=EmaConfig(half_life_kimg=batch * 10 / 32, rampup_ratio=0.05),
        total_kimg=3000.0,
    )
    return config.with_changes(**overrides)


def published(
    name: str,
    *,
    resolution: tuple[int, int],
    gpus: int = 8,
    batch: int | None = None,
    img_channels: int = 3,
    c_dim: int = 0,
    **overrides: Any,
) -> TrainConfig:
    """A published configuration, every setting of it.

        config = published("stylegan3-t", resolution=(512, 512), device="cuda")

    On a CPU all layers compute in float32, as in the published code (`half_on_cpu=False`).

    Args:
        name: a key of `PUBLISHED`.
        resolution: (height, width).
        gpus: processes that will train; batch_gpu is batch / gpus.
        batch: images of a step, over all processes; default None: 64 at 256², else 32.
        img_channels: 1 or 3; default 3.
        c_dim: number of classes; default 0.
        **overrides: as `TrainConfig.with_changes` takes them; they win.

    Returns:
        The configuration. Adaptive augmentation is on (target 0.6, groups bgc).

    Raises:
        ValueError: for another name, or a resolution for which no γ is published and without
            r1_gamma among the overrides.
    """
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise ValueError(f"stylegan3.published: name must be one of {known}, got {name!r}")
    is_rotation, gammas = PUBLISHED[name]["is_rotation"], PUBLISHED[name]["r1_gamma"]
    height, width = resolution
    side = max(resolution)
    r1_gamma = overrides.get("r1_gamma", gammas.get(side))
    if r1_gamma is None:
        raise ValueError(
            f"stylegan3.published: r1_gamma must be given for {height}×{width}, as γ is published "
            f"for sides of {', '.join(map(str, gammas))} only; 0.0002·{height}·{width}/batch is "
            "ADA's heuristic for StyleGAN2, and T and R want 1 to 8 times that"
        )
    is_small = side == 256
    batch = (64 if is_small else 32) if batch is None else batch
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
        "mbstd_group": 4,
    }
    config = TrainConfig(
        name=name,
        architecture="stylegan3",
        model=Config.rotation(**fields) if is_rotation else Config(**fields),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(mode="ada", p=0.0, target=0.6, groups="bgc", ada_kimg=500.0),
        g_optimizer=AdamConfig(lr=0.0025, betas=(0.0, 0.99), eps=1e-8),
        d_optimizer=AdamConfig(lr=0.0025 if is_small else 0.002, betas=(0.0, 0.99), eps=1e-8),
        batch=batch,
        batch_gpu=batch // gpus if batch % gpus == 0 else None,
        r1_gamma=r1_gamma,
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
