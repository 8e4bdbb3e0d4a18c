# SPDX-License-Identifier: Apache-2.0
"""The options of `fastgan train`.

A new option is declared in `OPTIONS`. Where it sets a field of the configuration, the field is
named in a table of fields.py or losses.py; otherwise its name is added to `NOT_CONFIG`, and
train.py uses it.
"""

from pathlib import Path
from typing import Any

import click

from fastgan.cli.shared_options import FiniteRange, Resolution
from fastgan.cli.train_loggers import LOGGERS, check_loggers
from fastgan.cli.train_options.names import (
    AS_CFG_HAS_IT,
    AUGMENT_GROUPS,
    AUTO,
    AVATARS,
    CONDITIONINGS,
    OF_CFG,
    PRESETS,
    cfg_names,
    loss_names,
)

__all__ = ["MAY_CHANGE_ON_RESUME", "NOT_CONFIG", "OPTIONS", "train_options"]


def _option(*names: str, **attributes: Any):
    return click.option(*names, **{"show_default": attributes.pop("shown", True), **attributes})


class _Augmentation(click.Choice):
    """--aug; R3GAN's command has 0 and 1 there."""

    def convert(self, value, param, ctx):
        if value == AS_CFG_HAS_IT:
            return value
        return super().convert({"0": "noaug"}.get(value, value), param, ctx)


class _Gamma(FiniteRange):
    """--gamma: a number, or the rule by image size and batch."""

    def convert(self, value, param, ctx):
        return value if value == AUTO else super().convert(value, param, ctx)


_WEIGHT = FiniteRange(min=0)
_POSITIVE = FiniteRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)
_BATCH = click.IntRange(1, 2**20)  # the order of each batch is drawn before the first step

# fmt: off
OPTIONS = (
    _option("--outdir", default="runs", type=click.Path(path_type=Path),
            help="Folder in which run folders are created."),
    _option("--cfg", default="faces", type=click.Choice(cfg_names()),
            shown="faces; few-shot with --aug ada and fewer than 1,000 images",
            help="Recipe: the networks, the losses and all settings that no option changes. auto, "
                 "bigvgan, cifar, hifigan-v1 to -v3, paper256 to paper1024, r3gan, stylegan2, "
                 "stylegan3-r and stylegan3-t are published configurations, for GPUs; the others "
                 "are sized for a CPU."),
    _option("--preset", type=click.Choice(PRESETS), shown="by --resolution and --cond",
            help="With --cfg r3gan: the data set whose published settings are taken."),
    _option("--data", default=AVATARS,
            help="Training images: a folder, .zip, .tar or .fgpack file; 'avatars' for cartoon "
                 "faces that are drawn on this machine; 'digits' for the handwritten ones of the "
                 "package scikit-learn; 'emoji' for those of Debian's fonts-noto-color-emoji. With "
                 "the --cfg of other samples, such as words, the data of that kind; by default "
                 "what is found on this machine."),
    _option("--resolution", type=Resolution(), shown="that of the data; 64 for avatars",
            help="Resize the images to this size in pixels: 64, or 64x48 (width x height)."),
    _option("--cond", type=bool, default=False,
            help="Train a conditional model with the labels of the data."),
    _option("--conditioning", type=click.Choice(CONDITIONINGS), shown=OF_CFG,
            help="With --cond true: how the discriminator takes the label: beside the image, by a "
                 "projection, or not at all, and it learns to name it; or by the last two "
                 "together."),
    _option("--class-balance", type=FiniteRange(0, 1), shown="0",
            help="With --cond true, how far images of rare classes are shown more often: 0 shows "
                 "each image once in an epoch, 1 each class equally often, 0.5 each class in "
                 "proportion to the square root of its number of images."),
    _option("--subset", type=_COUNT, shown="all",
            help="Train on this number of the images, chosen by --seed."),
    _option("--mirror", type=bool, shown=OF_CFG,
            help="Also train on each image mirrored left to right."),
    _option("--kimg", type=_POSITIVE, shown=OF_CFG,
            help="Length of the training in thousands of images."),
    _option("--minutes", type=_POSITIVE, shown="no limit",
            help="Save and stop after this many minutes of training."),
    _option("--on-collapse", type=click.Choice(["warn", "stop", "rollback"]), default="warn",
            shown="warn",
            help="After an alarm from which a training seldom recovers, such as a collapse. warn: "
                 "go on. stop: save and stop. rollback: go back to the last tick with half the "
                 "learning rates, at most three times. The exit code is 4 where such an alarm "
                 "stands at the end."),
    _option("--batch", type=_BATCH, shown=OF_CFG,
            help="Images per training step, of all processes together."),
    _option("--loss", type=click.Choice(loss_names()), shown=OF_CFG,
            help="Loss of G and D. relativistic is R3GAN's, non_saturating that of StyleGAN2."),
    _option("--gamma", type=_Gamma(min=0), metavar="FLOAT|auto", shown=OF_CFG,
            help="Weight of each gradient penalty that --cfg has: R1, R1 and R2, or WGAN-GP. It "
                 "excludes the next three, which also add or remove a penalty. auto, with the "
                 "--cfg of StyleGAN2 and StyleGAN3: 0.0002 x height x width / --batch, as "
                 "StyleGAN2-ADA chooses it."),
    _option("--r1", type=_WEIGHT, shown=OF_CFG,
            help="Weight of R1, the penalty on D's gradient at real samples; 0 removes it. A "
                 "penalty is applied as often as --cfg does so."),
    _option("--r2", type=_WEIGHT, shown=OF_CFG,
            help="Weight of R2, the same at generated samples; 0 removes it."),
    _option("--gp", type=_WEIGHT, shown=OF_CFG,
            help="Weight of WGAN-GP's penalty, which draws the norm of D's gradient between real "
                 "and generated samples to 1, such as 10; 0 removes it."),
    _option("--weight-clip", type=_WEIGHT, shown=OF_CFG,
            help="Clip D's parameters to this size after each update, as WGAN does (0.01); 0 "
                 "leaves them."),
    _option("--n-critic", type=_COUNT, shown=OF_CFG,
            help="Steps in which D is trained for one in which G is; WGAN has 5."),
    _option("--pl", type=_WEIGHT, shown=OF_CFG,
            help="Weight of StyleGAN2's path length penalty of G, such as 2; 0 removes it."),
    _option("--style-mixing", type=FiniteRange(0, 1), shown=OF_CFG,
            help="Share of the generated samples whose layers take the latents of two z."),
    _option("--ema", type=_WEIGHT, shown=OF_CFG,
            help="Half-life of the moving average of G's weights, in thousands of images, all "
                 "through the run; 0 makes it a copy of G."),
    _option("--optimizer", type=click.Choice(["adam", "adamw", "rmsprop"]), shown=OF_CFG,
            help="Optimizer of G and of D, with their learning rates. adamw has a weight decay of "
                 "0.01 where --cfg has none."),
    _option("--glr", type=_POSITIVE, shown=OF_CFG, help="Learning rate of the generator."),
    _option("--dlr", type=_POSITIVE, shown=OF_CFG, help="Learning rate of the discriminator."),
    _option("--aug", type=_Augmentation(["noaug", "ada", "fixed"]), shown=OF_CFG,
            help="Augmentation of the images that the discriminator sees: none, adaptive (ADA), "
                 "or with a fixed probability. 0 means noaug, 1 what --cfg has."),
    _option("--augpipe", type=click.Choice(AUGMENT_GROUPS), shown=OF_CFG,
            help="Kinds of transforms of --aug: b blit, g geometry, c colour, f filter, n noise, "
                 "c cutout; or diffaug, DiffAugment's, for --p 1."),
    _option("--p", type=FiniteRange(0, 1), shown=OF_CFG,
            help="Probability of an augmentation with --aug fixed; initial one with --aug ada."),
    _option("--target", type=FiniteRange(0, 1, max_open=True), shown=OF_CFG,
            help="With --aug ada: p rises above this measure of D's overfitting. It is the mean "
                 "sign of D's logits of real images, or for a --loss that compares real and "
                 "generated images how far D takes images that are held out for generated ones."),
    _option("--cbase", type=_COUNT, shown=OF_CFG,
            help="A layer has this number divided by its resolution as channels, up to --cmax. In "
                 "G of stylegan3-r both numbers are doubled."),
    _option("--cmax", type=_COUNT, shown=OF_CFG,
            help="Maximum number of channels of a layer of G and D."),
    _option("--map-depth", type=_COUNT, shown=OF_CFG,
            help="Number of layers of the mapping network."),
    _option("--mbstd-group", type=_COUNT, shown=OF_CFG,
            help="Images per group of the minibatch standard deviation."),
    _option("--freezed", type=click.IntRange(min=0), default=0,
            help="Freeze-D: this number of D's layers, counted from the image on, keep the weights "
                 "that the run starts with (--init-from)."),
    _option("--metrics", shown=OF_CFG,
            help="Metrics to compute at each snapshot, separated by commas, or 'none'."),
    _option("--tick", type=_POSITIVE, shown=OF_CFG,
            help="Thousands of images from one progress report (tick) to the next."),
    _option("--snap", type=_COUNT, shown=OF_CFG,
            help="Ticks from one snapshot (sample images, checkpoint, metrics) to the next."),
    _option("--logger", multiple=True, type=click.Choice(sorted(LOGGERS)), callback=check_loggers,
            shown="none",
            help="Also log numbers, samples, scores and alarms to TensorBoard, as event files in "
                 "the run folder, or to Weights & Biases, offline unless WANDB_MODE is set. May "
                 "stand several times. Needs pip install 'fastgan[tensorboard]' or "
                 "'fastgan[wandb]'."),
    _option("--seed", type=click.IntRange(min=0), shown=OF_CFG, help="Random seed."),
    _option("--device", shown="cuda if a GPU is available, else cpu",
            help="Device to train on: cpu, cuda or cuda:N."),
    _option("--resume", metavar="latest|RUN|CKPT", shown="start a new run",
            help="Continue a run in its folder, with the options that it was started with."),
    _option("--init-from", metavar="latest|RUN|CKPT|DIR", shown="new weights",
            help="Start a new run with the weights of another run, or of a folder that `fastgan "
                 "import` wrote. The networks' sizes are those of the weights; all other settings "
                 "are those of --cfg and of the options."),
    _option("--gpus", type=_COUNT, default=1,
            help="Number of processes on this machine that share each batch: one per GPU; with "
                 "--device cpu, all on the CPU. Under torchrun, which decides, it has no "
                 "effect."),
    _option("--max-restarts", type=click.IntRange(min=0), default=3,
            help="With --gpus 2 or more: number of times that all processes are restarted from the "
                 "last checkpoint after one of them has died."),
    _option("--batch-gpu", type=_COUNT, shown=OF_CFG,
            help="Images that a process computes at once; the gradients of one batch are summed. "
                 "A smaller number needs less memory."),
    _option("--capture", type=click.Choice(["auto", "off"]), shown="auto",
            help="auto: on CUDA, run each phase of a training step as one CUDA graph. off: never "
                 "do so. On a CPU phases always run eagerly."),
    _option("--compile/--no-compile", default=None, shown="no-compile",
            help="Let torch.compile compile the networks for the phases without a penalty, which "
                 "takes minutes at the start."),
    _option("--recompute", type=click.Choice(["auto", "on", "off"]), shown="auto",
            help="on: the backward pass makes again what cheap passes made, which takes less "
                 "memory. off: keep it, which takes less time on a GPU. auto: off on a GPU that "
                 "is predicted to have the memory twice; log.txt says what was chosen."),
    _option("--fp32", type=bool, shown=OF_CFG,
            help="true: compute all layers in float32. false: in 16 bits the layers for which the "
                 "networks' design has it (StyleGAN2, StyleGAN3, R3GAN as published), or else as "
                 "--bf16."),
    _option("--bf16", is_flag=True, shown=OF_CFG,
            help="Compute all layers of the networks in bfloat16; weights, optimizers and losses "
                 "stay float32."),
    _option("--fp16", is_flag=True, shown=OF_CFG,
            help="Compute in float16, and not in bfloat16, the layers that the configuration "
                 "computes in 16 bits on CUDA (StyleGAN2 and StyleGAN3 as published)."),
    _option("--tf32", type=bool, shown="true",
            help="On CUDA, let matrix products and convolutions of float32 layers use TF32. It has "
                 "no effect on a CPU."),
    _option("--nobench", type=bool, shown="false",
            help="On CUDA, do not let cuDNN time its algorithms and take the fastest. It has no "
                 "effect on a CPU."),
    _option("--deterministic", is_flag=True, shown="false",
            help="On CUDA, compute the same bits in every run, with slower algorithms. A CPU does "
                 "so always."),
    _option("--exchange-buckets", type=_COUNT, shown="1",
            help="With several processes: exchange a gradient in this number of parts while the "
                 "backward pass still runs, such as 4; 1 exchanges it at the end."),
    _option("--exchange-dtype", type=click.Choice(["fp32", "bf16"]), shown="fp32",
            help="With several processes: bf16 exchanges gradients in bfloat16, which is half the "
                 "traffic and rounds them."),
    _option("--data-on-gpu", type=click.Choice(["auto", "on", "off"]), shown="auto",
            help="Keep all images as uint8 in the GPU's memory and gather batches there; auto: "
                 "where they take at most an eighth of it. log.txt says what was chosen."),
    _option("--workers", type=_COUNT, shown="half of the CPU cores, 2 to 8",
            help="Threads per process that decode images."),
    _option("--keep-memory", type=bool, default=True,
            help="On a CPU, keep freed memory in the process. Training is faster, and the memory "
                 "in use stays at its maximum."),
    _option("--desc", default="", shown="none", help="Text added to the name of the run folder."),
    click.option("-n", "--dry-run", is_flag=True,
                 help="Print the configuration, parameters, operations, memory and time; do not "
                 "train."),
)
# fmt: on
NOT_CONFIG = frozenset(
    [
        "outdir",
        "resume",
        "init_from",
        "minutes",
        "on_collapse",
        "desc",
        "dry_run",
        "gpus",
        "max_restarts",
        "workers",
        "keep_memory",
        "logger",
    ]
)
MAY_CHANGE_ON_RESUME = frozenset(
    {
        "data",
        "kimg",
        "tick",
        "snap",
        "metrics",
        "device",
        "batch_gpu",
        "capture",
        "compile",
        "recompute",
        "bf16",
        "fp32",
        "fp16",
        "tf32",
        "nobench",
        "deterministic",
        "exchange_buckets",
        "exchange_dtype",
        "data_on_gpu",
    }
)


def train_options(function):
    """The decorator that gives a command all of `OPTIONS`."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
