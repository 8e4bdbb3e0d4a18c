"""Write weights of a run in the formats of other projects."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.compat.weights import rosinality
from fastgan.compat.weights.reading import WeightsError
from fastgan.models.stylegan2 import Config
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.checkpoint import latest

safetensors_torch = Extra("safetensors.torch", "train")
FORMS = ("rosinality", "nvidia")
_NETWORKS = {"G_ema": "g_ema", "G": "g", "D": "d"}


def export_weights(source: Path | str, path: Path | str, to: str) -> None:
    """Write the networks of a checkpoint in the format of another project.

    Importing the file again gives the same bits. The file appears whole or not at all.

    Args:
        source: a checkpoint, or a run folder, of which the newest checkpoint is used.
        path: the file to write.
        to: "rosinality" writes the `.pt` file that rosinality's code loads (g_ema, g, d,
            latent_avg), for a square, unconditional StyleGAN2 with image skips and a residual D.
            "nvidia" writes a `.safetensors` file with NVIDIA's state_dict names
            ("G_ema.synthesis..."), for StyleGAN2, StyleGAN3 and R3GAN; unlike NVIDIA's own files
            it is no pickle that holds code.

    Raises:
        WeightsError: unknown format, no checkpoint, or a network that the format can't represent.
        CheckpointError: the checkpoint can't be read.
        OSError: the file can't be written.
    """
    if to not in FORMS:
        raise WeightsError(f"export_weights: to must be one of {', '.join(FORMS)}, got {to!r}")
    source, path = Path(source), Path(path)
    if source.is_dir():
        newest = latest(source)
        if newest is None:
            raise WeightsError(f"export_weights: no checkpoint in {source}")
        source = newest
    document = checkpoint_file.read_document(source)
    config, saved = document["config"], checkpoint_file.read_tensors(source, document)
    networks = {
        name: {k.removeprefix(f"{name}."): t for k, t in saved.items() if k.startswith(f"{name}.")}
        for name in _NETWORKS
    }
    architecture = config["architecture"]
    if to == "nvidia":
        if architecture not in ("stylegan2", "stylegan3", "r3gan"):
            raise WeightsError(
                f"export_weights: NVIDIA has no network of architecture {architecture!r}; expected "
                "stylegan2, stylegan3 or r3gan"
            )
        flat = {f"{name}.{k}": t for name, weights in networks.items() for k, t in weights.items()}
        write_atomic(path, safetensors_torch.save(flat))
        return
    write_atomic(path, _rosinality(architecture, Config(**config["model"]), networks))


def _rosinality(architecture: str, c: Config, networks: dict[str, dict[str, Tensor]]) -> bytes:
    lacks = [
        (architecture != "stylegan2", f"the architecture is {architecture}"),
        (c.c_dim > 0, "it is conditional"),
        (
            c.img_height != c.img_width or c.img_height & (c.img_height - 1) != 0,
            f"images are {c.img_height}×{c.img_width}, expected a square whose side is a power of "
            "two",
        ),
        (c.g_architecture != "skip", f"g_architecture is {c.g_architecture}"),
        (c.d_architecture != "resnet", f"d_architecture is {c.d_architecture}"),
        (c.conv_clamp is not None, "conv_clamp bounds its activations"),
        (c.mbstd_group != 4, f"mbstd_group is {c.mbstd_group}, expected 4"),
        (c.mbstd_channels != 1, f"mbstd_channels is {c.mbstd_channels}"),
    ]
    if why := [words for is_so, words in lacks if is_so]:
        raise WeightsError(
            f"export_weights: rosinality's model can't represent this network: {'; '.join(why)}"
        )
    lines = list(rosinality.generator_lines(c.img_height, c.mapping_layers))
    content: dict[str, Any] = {}
    for name, other in _NETWORKS.items():
        used = lines if name != "D" else rosinality.discriminator_lines(c.img_height)
        weights = networks[name]
        content[other] = {
            theirs: forward(weights[ours]).contiguous() for ours, theirs, forward, _ in used
        }
    content["latent_avg"] = networks["G_ema"]["mapping.w_avg"]
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()
