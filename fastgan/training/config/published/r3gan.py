# SPDX-License-Identifier: Apache-2.0
"""The published configurations of R3GAN (Huang et al. 2024, arXiv 2501.05441)."""

from typing import Any

from fastgan.models.r3gan import Config
from fastgan.training.config.published.split import split
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

# widths, groups: from 4 × 4 up. bf16_from: the first of the stages that compute in bfloat16.
# r1_gamma: also r2_gamma, at first; it ends at a tenth. *_end: the values at anneal_kimg.
# batch_gpu: not published. An eighth of the batch, halved until `largest_batch_gpu` predicts that
# it fits in 80 GB; `fastgan train` on CUDA takes the largest that fits the GPU.
# Which batch and total_kimg were checked against a published number: see `published`.
PUBLISHED: dict[str, dict[str, Any]] = {
    "CIFAR10": {
        "widths": (768,) * 4, "groups": (96,) * 4, "bf16_from": 1, "c_dim": 0, "batch": 512,
        "batch_gpu": 64, "r1_gamma": 0.05, "ema_end_kimg": 5_000.0, "anneal_kimg": 20_000.0,
        "augment_p_end": 0.55, "total_kimg": 250_000.0,
    },
    "FFHQ-64": {
        "widths": (768,) * 4 + (384,), "groups": (96,) * 4 + (48,), "bf16_from": 1, "c_dim": 0,
        "batch": 256, "batch_gpu": 32, "r1_gamma": 2.0, "ema_end_kimg": 500.0,
        "anneal_kimg": 20_000.0, "augment_p_end": 0.3, "total_kimg": 150_000.0,
    },
    "FFHQ-256": {
        "widths": (768,) * 4 + (384, 192, 96), "groups": (96,) * 4 + (48, 24, 12), "bf16_from": 3,
        "c_dim": 0, "batch": 256, "batch_gpu": 32, "r1_gamma": 150.0, "ema_end_kimg": 500.0,
        "anneal_kimg": 20_000.0, "augment_p_end": 0.3, "total_kimg": 150_000.0,
    },
    "ImageNet-32": {
        "widths": (1536,) * 4, "groups": (96,) * 4, "bf16_from": 1, "c_dim": 1000, "batch": 4096,
        "batch_gpu": 256, "r1_gamma": 0.5, "ema_end_kimg": 50_000.0, "anneal_kimg": 200_000.0,
        "augment_p_end": 0.5, "total_kimg": 1_000_000.0,
    },
    "ImageNet-64": {
        "widths": (1536,) * 5, "groups": (96,) * 5, "bf16_from": 1, "c_dim": 1000, "batch": 4096,
        "batch_gpu": 64, "r1_gamma": 1.0, "ema_end_kimg": 50_000.0, "anneal_kimg": 200_000.0,
        "augment_p_end": 0.4, "total_kimg": 1_000_000.0,
    },
}  # fmt: skip


def sides() -> dict[str, int]:
    """The height and width of the images of each configuration.

    Returns:
        {key of `PUBLISHED`: pixels}.
    """
    return {name: 4 * 2 ** (len(s["widths"]) - 1) for name, s in PUBLISHED.items()}


def choose_preset(resolution: tuple[int, int], c_dim: int) -> str:
    """The configuration for images of one size, with or without classes.

    Args:
        resolution: (height, width).
        c_dim: number of classes; 0: none.

    Returns:
        A key of `PUBLISHED`.

    Raises:
        ValueError: where none or more than one fits, with those that there are.
    """
    height, width = resolution
    fitting = [name for name, side in sides().items() if (height, width) == (side, side)]
    if not fitting:
        shown = ", ".join(f"{name} ({side}×{side})" for name, side in sides().items())
        raise ValueError(
            f"r3gan: images are {width}×{height} (width × height), and its published "
            f"configurations are {shown}; resize the images with --resolution, or take "
            "r3gan-small, which makes squares of any power of two"
        )
    # with classes CIFAR10 trains too, and so is no less right than ImageNet-32
    wanted = [n for n in fitting if bool(PUBLISHED[n]["c_dim"]) == bool(c_dim)]
    wanted += ["CIFAR10"] if c_dim and "CIFAR10" in fitting else []
    if len(wanted) == 1:
        return wanted[0]
    classes = f"{c_dim} classes" if c_dim else "no classes"
    what = " and ".join(sorted(wanted)) + " fit" if wanted else "no published configuration fits"
    raise ValueError(
        f"r3gan: {what} {width}×{height} images with {classes}; choose one with "
        + " or ".join(f"--preset {name}" for name in sorted(fitting))
    )


def published(
    name: str,
    *,
    gpus: int = 1,
    batch: int | None = None,
    img_channels: int = 3,
    c_dim: int | None = None,
    **overrides: Any,
) -> TrainConfig:
    """A published configuration, every setting of it.

        config = published("FFHQ-64", device="cuda")

    Over `anneal_kimg` of its schedule, along a cosine: learning rates 2e-4 → 5e-5, β2 0.9 → 0.99, γ
    to a tenth, the average's half-life from 0 kimg and the augmentation's p from 0.

    Published are the networks, what the schedule says, γ and the augmentation; for CIFAR-10 also
    the batch of 512, mirrored images and 250 million images, and for ImageNet 1,000 million (issue
    18 of brownvc/R3GAN: the runs were ended where quality no longer rose). Not checked against a
    published number are: the other batches, total_kimg for FFHQ, tick_kimg, mirrored images
    elsewhere, Adam's ε of 1e-8, that a step trains D before G, and that the average of G has no
    ramp-up.

    How many images a process computed at once is not published. Here they are at most 64 for
    CIFAR10, 32 for FFHQ, 256 for ImageNet-32 and 64 for ImageNet-64: an eighth of the batch, or
    what is predicted to fit in 80 GB. `fastgan train` on CUDA takes the largest number that is
    predicted to fit the GPU (`largest_batch_gpu`).

    Args:
        name: a key of `PUBLISHED`, which also gives the resolution.
        gpus: processes that will train; it sets batch_gpu.
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
    stages, side = len(settings["widths"]), sides()[name]
    batch = settings["batch"] if batch is None else batch
    adam = OptimizerConfig(lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    config = TrainConfig(
        name=f"r3gan-{name}",
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
        batch=batch,
        batch_gpu=split(batch, gpus, most=settings["batch_gpu"])[0],
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
