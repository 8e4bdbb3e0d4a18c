# SPDX-License-Identifier: Apache-2.0
"""Write weights of a run in the formats of other projects."""

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import make_parents, write_atomic
from fastgan.compat.weights import rosinality
from fastgan.compat.weights.reading import WeightsError
from fastgan.compat.weights.source import Source
from fastgan.compat.weights.vocoder import VOCODERS, published_generator
from fastgan.models.stylegan2 import Config
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.checkpoint import latest
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import build_state

safetensors_torch = Extra("safetensors.torch", "train")
FORMS = ("rosinality", "nvidia", *VOCODERS)
_NETWORKS = {"G_ema": "g_ema", "G": "g", "D": "d"}
_OPTIMIZERS = {"G": ("g_optimizer", "g_optim"), "D": ("d_optimizer", "d_optim")}
# Fields of our Config that say how large rosinality's networks are, or how they train.
_SIZES = ("img_height", "img_width", "img_channels", "z_dim", "w_dim", "channel_base",
          "channel_max", "mapping_layers", "mapping_lr_multiplier", "resample_filter",
          "skip_filter", "d_resample_filter", "w_avg_beta", "fused_modconv", "half_sizes",
          "d_mapping_layers")  # fmt: skip


def export_weights(source: Path | str, path: Path | str, to: str) -> tuple[str, ...]:
    """Write the networks of a checkpoint in the format of another project.

    Importing the file again gives the same bits. What was imported in that format and not trained
    since is written as it came, with its dtypes and with no other names than its file had. The file
    appears whole or not at all.

    Args:
        source: a checkpoint, or a run folder, of which the newest checkpoint is used; for a vocoder
            a folder of `save_pretrained`.
        path: the file to write; its folder is made.
        to: "rosinality" writes the `.pt` file that rosinality's code loads (g_ema, g, d, g_optim,
            d_optim, latent_avg), for a square, unconditional StyleGAN2 with image skips and a
            residual D.
            "nvidia" writes a `.safetensors` file with NVIDIA's state_dict names
            ("G_ema.synthesis..."), for StyleGAN2, StyleGAN3 and R3GAN; unlike NVIDIA's own files
            it is no pickle that holds code. `import_weights` reads it.
            "hifigan" and "bigvgan" write the `g_*` file of these vocoders.

    Returns:
        What the reader of the file must know, one sentence each.

    Raises:
        WeightsError: unknown format, no checkpoint, or a network that the format can't represent.
        CheckpointError: the checkpoint can't be read.
        OSError: the file can't be written.
    """
    if to not in FORMS:
        raise WeightsError(f"export_weights: to must be one of {', '.join(FORMS)}, got {to!r}")
    source, path = Path(source), Path(path)
    if to in VOCODERS:
        content = published_generator(source, to)
        _write(path, _torch_file({"generator": content}))
        return (f"{to}'s code also wants the config.json of the training beside the file",)
    if source.is_dir():
        newest = latest(source)
        if newest is None:
            raise WeightsError(f"export_weights: no checkpoint in {source}")
        source = newest
    document = checkpoint_file.read_document(source)
    saved = checkpoint_file.read_tensors(source, document)
    networks = {role: _below(role, saved) for role in _NETWORKS}
    imported = Source.read(source.parent.parent) if not document["counters"]["nimg"] else None
    architecture, model = document["config"]["architecture"], document["config"]["model"]
    if to == "nvidia":
        if architecture not in ("stylegan2", "stylegan3", "r3gan"):
            raise WeightsError(
                f"export_weights: NVIDIA has no network of architecture {architecture!r}; expected "
                "stylegan2, stylegan3 or r3gan"
            )
        if path.suffix == ".pkl":
            raise WeightsError(
                f"export_weights: {path} must not end in .pkl: NVIDIA's .pkl files hold the source "
                "code of their networks, which fastgan neither has nor writes; name it "
                ".safetensors, and their code makes a .pkl of it (docs/weights.md)"
            )
        if imported is not None and imported.kind == architecture:
            networks = {role: imported.restored(role, w) for role, w in networks.items()}
        flat = {f"{role}.{k}": t for role, weights in networks.items() for k, t in weights.items()}
        about = json.dumps({"architecture": architecture, "model": model})
        _write(path, safetensors_torch.save(flat, {"format": "pt", "fastgan": about}))
        return ()
    if architecture != "stylegan2":
        raise WeightsError(
            "export_weights: rosinality's model can't represent this network: the architecture is "
            f"{architecture}, expected stylegan2"
        )
    content = _rosinality(TrainConfig.from_dict(document["config"]), networks, saved)
    if imported is not None and imported.kind == "rosinality":
        content |= {
            other: imported.restored(role, content[other]) for role, other in _NETWORKS.items()
        }
    _write(path, _torch_file(content))
    arguments = content["generator_arguments"]
    defaults = {"lr_mlp": rosinality.LR_MLP, "blur_kernel": list(rosinality.BLUR_KERNEL)}
    return tuple(
        f"rosinality's Generator must be made with {name}={value}: it is not in its state_dict"
        for name, value in arguments.items()
        if value != defaults[name]
    )


def _write(path: Path, data: bytes) -> None:
    make_parents(path)
    write_atomic(path, data)


def _torch_file(content: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _below(name: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one part of a state: name → tensor."""
    return {k.removeprefix(f"{name}."): t for k, t in saved.items() if k.startswith(f"{name}.")}


def _rosinality(
    config: TrainConfig,
    networks: Mapping[str, Mapping[str, Tensor]],
    saved: Mapping[str, Tensor],
) -> dict[str, Any]:
    """The content of rosinality's file; WeightsError where its model lacks something of ours."""
    c: Config = config.model
    if why := _lacks(c):
        raise WeightsError(
            f"export_weights: rosinality's model can't represent this network: {'; '.join(why)}"
        )
    for name in _OPTIMIZERS.values():
        ours = getattr(config, name[0]).name
        if ours != "adam":
            raise WeightsError(
                f"export_weights: {name[0]} is {ours}, and rosinality's file holds the state of "
                "Adam alone; export the networks to another format"
            )
    state = build_state(config)  # for the settings of its optimisers
    content: dict[str, Any] = {}
    of_g = list(rosinality.generator_lines(c.img_height, c.mapping_layers))
    of_d = list(rosinality.discriminator_lines(c.img_height))
    for role, other in _NETWORKS.items():
        lines = {theirs: (ours, forward) for ours, theirs, forward, _ in
                 (of_d if role == "D" else of_g)}  # fmt: skip
        content[other] = {
            theirs: forward(networks[role][ours]).contiguous()
            for theirs, (ours, forward) in lines.items()
        }
        if role in _OPTIMIZERS:
            ours, theirs = _OPTIMIZERS[role]
            group = getattr(state, ours).param_groups[0]
            content[theirs] = _adam_state(_below(ours, saved), group, lines)
    content["latent_avg"] = networks["G_ema"]["mapping.w_avg"]
    kernel = [float(t) for t in c.resample_filter]
    content["generator_arguments"] = {"lr_mlp": c.mapping_lr_multiplier, "blur_kernel": kernel}
    return content


def _lacks(c: Config) -> list[str]:
    """What rosinality's model has not of a Config, in words."""
    lacks = []
    if c.c_dim > 0:
        lacks.append("it is conditional")
    if c.img_height != c.img_width or c.img_height & (c.img_height - 1) != 0:
        lacks.append(
            f"images are {c.img_height}×{c.img_width}, expected a square whose side is a power of "
            "two"
        )
    theirs = Config(**{name: getattr(c, name) for name in _SIZES if hasattr(c, name)})
    for field in dataclasses.fields(c):
        value, expected = getattr(c, field.name), getattr(theirs, field.name)
        if field.name != "c_dim" and value != expected:
            lacks.append(f"{field.name} is {value}, expected {expected}")
    return lacks


def _adam_state(
    moments: Mapping[str, Tensor], group: Mapping[str, Any], lines: Mapping[str, Any]
) -> dict[str, Any]:
    """The state_dict of torch.optim.Adam over rosinality's parameters, in their order."""
    parameters = [line for theirs, line in lines.items() if rosinality.is_parameter(theirs)]
    state = {}
    for i, (ours, forward) in enumerate(parameters):
        if moments.get(f"{ours}.step", 0) > 0:  # neither frozen nor new
            state[i] = {"step": moments[f"{ours}.step"]}
            for key in ("exp_avg", "exp_avg_sq"):
                state[i][key] = forward(moments[f"{ours}.{key}"]).contiguous()
    of_torch = torch.optim.Adam(
        [torch.zeros(1) for _ in parameters],
        lr=float(group["lr"]),
        betas=group["betas"],
        eps=group["eps"],
    )
    return {"state": state, "param_groups": of_torch.state_dict()["param_groups"]}
