"""R3GAN (Huang et al. 2024, arXiv 2501.05441) at a width that a processor can train, and its
published configurations."""

from typing import Any

from fastgan.models.r3gan import Config
from fastgan.training.config.run import (
    AdamConfig,
    AugmentConfig,
    DataConfig,
    EmaConfig,
    ScheduleConfig,
    TrainConfig,
)

# widths, groups: from 4 × 4 up. bf16_from: the first of the stages that compute in bfloat16.
# r1_gamma: also r2_gamma, at first; it ends at a tenth. *_end: the values at anneal_kimg.
PUBLISHED: dict[str, dict[str, Any]] = {
    "r3gan-cifar10": {
        "widths": (768,) * 4, "groups": (96,) * 4, "bf16_from": 1, "c_dim": 0, "batch": 512,
        "r1_gamma": 0.05, "ema_end_kimg": 5_000.0, "anneal_kimg": 20_000.0, "augment_p_end": 0.55,
        "total_kimg": 250_000.0,
    },
    "r3gan-ffhq64": {
        "widths": (768,) * 4 + (384,), "groups": (96,) * 4 + (48,), "bf16_from": 1, "c_dim": 0,
        "batch": 256, "r1_gamma": 2.0, "ema_end_kimg": 500.0, "anneal_kimg": 20_000.0,
        "augment_p_end": 0.3, "total_kimg": 150_000.0,
    },
    "r3gan-ffhq256": {
        "widths": (768,) * 4 + (384, 192, 96), "groups": (96,) * 4 + (48, 24, 12), "bf16_from": 3,
        "c_dim": 0, "batch": 256, "r1_gamma": 150.0, "ema_end_kimg": 500.0,
        "anneal_kimg": 20_000.0, "augment_p_end": 0.3, "total_kimg": 150_000.0,
    },
    "r3gan-imagenet32": {
        "widths": (1536,) * 4, "groups": (96,) * 4, "bf16_from": 1, "c_dim": 1000, "batch": 4096,
        "r1_gamma": 0.5, "ema_end_kimg": 50_000.0, "anneal_kimg": 200_000.0, "augment_p_end": 0.5,
        "total_kimg": 1_000_000.0,
    },
    "r3gan-imagenet64": {
        "widths": (1536,) * 5, "groups": (96,) * 5, "bf16_from": 1, "c_dim": 1000, "batch": 4096,
        "r1_gamma": 1.0, "ema_end_kimg": 50_000.0, "anneal_kimg": 200_000.0, "augment_p_end": 0.4,
        "total_kimg": 1_000_000.0,
    },
}  # fmt: skip


def recipe(
    *, resolution: tuple[int, int], img_channels: int = 3, c_dim: int = 0, **overrides: Any
) -> TrainConfig:
    """The relativistic loss with R1 and R2 at every step, the residual networks, and Adam with
    β1 = 0 in both: the paper's. Widths, the learning rate, β2 and the constant γ are ours, for
    minutes on a processor; r1_gamma and r2_gamma are one number there, and `--gamma` sets both.

    Left out are the paper's schedules and its augmentation (`--aug fixed --p P`: the relativistic
    loss leaves ADA nothing to read), which `published` has.

    Raises:
        ValueError where the resolution is not a square of a power of two from 4 on.
    """
    height, width = resolution
    side = max(width, 4)
    if height != width or side != width or side & (side - 1):
        raise ValueError(
            "r3gan.recipe: resolution must be a square whose side is a power of two and at least "
            f"4, got {height}×{width} (height × width); resize the images with --resolution, or "
            "take stylegan2 or faces"
        )
    stages = side.bit_length() - 2
    widths = tuple(max(16, min(64, 1024 // (4 * 2**k))) for k in range(stages))
    adam = AdamConfig(lr=2e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="r3gan",
        architecture="r3gan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            widths=widths,
            blocks=(1,) * stages,
            groups=tuple(w // 8 for w in widths),
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0, mirror=True),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=16,
        r1_gamma=5.0,
        r2_gamma=5.0,
        ema=EmaConfig(half_life_kimg=10.0, rampup_ratio=0.05),
        total_kimg=1500.0,
        tick_kimg=2.0,
        snapshot_every_ticks=2,
    )
    return config.with_changes(**overrides)


def published(
    name: str,
    *,
    batch: int | None = None,
    img_channels: int = 3,
    c_dim: int | None = None,
    **overrides: Any,
) -> TrainConfig:
    """A published configuration, every setting of it.

        config = published("r3gan-ffhq64", device="cuda")

    Over `anneal_kimg` of its schedule, along a cosine: learning rates 2e-4 → 5e-5, β2 0.9 → 0.99, γ
    to a tenth, the average's half-life from 0 kimg and the augmentation's p from 0. The published
    runs were ended by hand where quality no longer rose: total_kimg is what the paper says for
    CIFAR-10 and ImageNet, and for FFHQ ours.

    Args:
        name: a key of `PUBLISHED`, which also gives the resolution.
        batch: images of a step, over all processes; default None: 512 for CIFAR-10, 256 for FFHQ,
            4096 for ImageNet.
        img_channels: 1 or 3; default 3.
        c_dim: number of classes; default None: 1000 for ImageNet, else 0.
        **overrides: as `TrainConfig.with_changes` takes them; they win.

    Returns:
        The configuration.

    Raises:
        ValueError: for another name.
    """
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise ValueError(f"r3gan.published: name must be one of {known}, got {name!r}")
    settings = PUBLISHED[name]
    c_dim = settings["c_dim"] if c_dim is None else c_dim
    stages = len(settings["widths"])
    side = 4 * 2 ** (stages - 1)
    adam = AdamConfig(lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    config = TrainConfig(
        name=name,
        architecture="r3gan",
        model=Config(
            z_dim=64,
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=side,
            img_width=side,
            widths=settings["widths"],
            blocks=(2,) * stages,
            groups=settings["groups"],
            expansion=2,
            kernel_size=3,
            resample_filter=(1, 2, 1),
            bf16_stages=range(settings["bf16_from"], stages),
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0, mirror=True),
        augment=AugmentConfig(mode="fixed", p=0.0, groups="r3gan"),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=settings["batch"] if batch is None else batch,
        r1_gamma=settings["r1_gamma"],
        r2_gamma=settings["r1_gamma"],
        penalty_at="images",
        d_reg_interval=1,
        ema=EmaConfig(half_life_kimg=0.0, rampup_ratio=None),
        schedule=ScheduleConfig(
            anneal_kimg=settings["anneal_kimg"],
            lr_end=0.25,
            gamma_end=0.1,
            beta2_end=0.99,
            ema_half_life_end_kimg=settings["ema_end_kimg"],
            augment_p_end=settings["augment_p_end"],
        ),
        total_kimg=settings["total_kimg"],
        tick_kimg=4.0,
        snapshot_every_ticks=50,
    )
    return config.with_changes(**overrides)
