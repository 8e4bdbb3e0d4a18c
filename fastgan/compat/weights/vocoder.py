# SPDX-License-Identifier: Apache-2.0
"""A vocoder's generator: from published weights and the `config.json` beside them, and back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan._extras import Extra
from fastgan.compat.weights.reading import WeightsError
from fastgan.compat.weights.strict import refuse_names
from fastgan.json_forms import FormError, parse, table
from fastgan.models.vocoders import load_vocoder

safetensors_torch = Extra("safetensors.torch", "train")

VOCODERS = ("hifigan", "bigvgan")
_NEEDED = {  # fields without which the original can't make its generator
    "hifigan": (
        "resblock", "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel",
        "resblock_kernel_sizes", "resblock_dilation_sizes",
    ),
}  # fmt: skip
_NEEDED["bigvgan"] = (*_NEEDED["hifigan"], "num_mels", "activation", "snake_logscale")
# Settings of data, training and discriminators, which leave the generator alone.
_OF_TRAINING = frozenset((
    "num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed",
    "segment_size", "num_freq", "n_fft", "hop_size", "win_size", "sampling_rate", "fmin", "fmax",
    "fmax_for_loss", "num_workers", "dist_config", "mpd_reshapes", "use_spectral_norm",
    "discriminator_channel_mult", "resolutions", "normalize_volume", "lambda_melloss",
    "clip_grad_norm", "use_multiscale_melloss", "use_cqtd_instead_of_mrd", "cqtd_filters",
    "cqtd_max_filters", "cqtd_filters_scale", "cqtd_dilations", "cqtd_hop_lengths",
    "cqtd_n_octaves", "cqtd_bins_per_octaves",
))  # fmt: skip
_LISTED = 3
_DILATIONS = {"1": 3, "2": 2}  # how many of a row the originals use, by their residual block
_PUBLISHED = {  # torch's current name of a normed weight: the published one
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def vocoder_of(
    path: Path, kind: str, weights: Mapping[str, Tensor], config: Path
) -> tuple[nn.Module, tuple[str, ...]]:
    """The generator of a vocoder with published weights, in eval mode and in the file's dtypes.

    A weight whose norm was removed stays without it.

    Args:
        path: the file of the weights, for errors.
        kind: "hifigan" or "bigvgan".
        weights: by name; all forms of weight norm are accepted.
        config: the JSON of its training. The fields of the vocoder's Config are used; the others
            are settings of data and optimizers.

    Returns:
        The generator, and notes about fields of `config` that are not known.

    Raises:
        WeightsError: no such JSON, a field is missing, impossible sizes, or other names or shapes
            of weights.
    """
    module = load_vocoder(kind)
    document = _read_json(config)
    if lacking := [name for name in _NEEDED[kind] if name not in document]:
        raise WeightsError(
            f"import_weights: {config} has no {', '.join(lacking)}, as a {kind}'s config.json has"
        )
    fields = {f.name for f in dataclasses.fields(module.Config)}
    unknown = sorted(document.keys() - fields - _OF_TRAINING)
    notes = [
        f"{config.name} also has {name}, which {kind}'s generator has not; it is not used"
        for name in unknown
    ]
    try:
        made = module.Config(**_settings(document, weights, fields))
        with torch.device("meta"):  # no memory for what a file claims
            network = module.Generator(made)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise WeightsError(f"import_weights: {config}: {error}") from error
    if any(name.endswith(".weight") for name in weights):
        network.remove_weight_norm()
    try:
        _refuse_shapes(path, network, weights)
        missing, unknown = network.load_state_dict(dict(weights), strict=False, assign=True)
        refuse_names(path, "generator", missing, unknown)
    except (WeightsError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{error}; is {config} the config.json beside the file?") from error
    return network.eval(), tuple(notes)


def _refuse_shapes(path: Path, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """WeightsError where a weight, under our name or the published one, has another shape."""
    wrong = []
    for ours, t in network.state_dict().items():
        name = ours if ours in weights else _published_name(ours)
        if name in weights and weights[name].shape != t.shape:
            wrong.append(f"{name} {tuple(weights[name].shape)}, expected {tuple(t.shape)}")
    if wrong:
        more = f" and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise WeightsError(
            f"import_weights: generator of {path} has other shapes than its config.json says: "
            f"{'; '.join(wrong[:_LISTED])}{more}"
        )


def _read_json(config: Path) -> dict[str, Any]:
    try:
        document = parse(config.read_bytes())
    except FormError as error:
        raise WeightsError(f"import_weights: {config} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise WeightsError(f"import_weights: {config} must hold a JSON object, as a config.json")
    return document


def _settings(
    document: Mapping[str, Any], weights: Mapping[str, Tensor], fields: set[str]
) -> dict[str, Any]:
    """The fields of our Config. The originals compare resblock with a string, so a number in its
    place says nothing: the names of the weights tell the block."""
    used = {name: value for name, value in document.items() if name in fields}
    if not isinstance(used["resblock"], str):
        used["resblock"] = "1" if "resblocks.0.convs1.0.bias" in weights else "2"
    most = _DILATIONS.get(used["resblock"])
    convs = "convs1" if used["resblock"] == "1" else "convs"
    if f"resblocks.0.{convs}.{most}.bias" not in weights:
        rows = used["resblock_dilation_sizes"]
        used["resblock_dilation_sizes"] = [
            row[:most] if isinstance(row, list) else row for row in rows
        ]
    if "mpd_reshapes" in document:
        used["periods"] = document["mpd_reshapes"]
    if "mrd_channels" in fields:  # BigVGAN's, of which 32 is the width
        factor = document.get("discriminator_channel_mult", 1)
        used |= {"mpd_channels": int(32 * factor), "mrd_channels": int(32 * factor)}
    return used


def published_generator(folder: Path, kind: str) -> dict[str, Tensor]:
    """The weights of a generator under the original's names, of a folder of save_pretrained.

    Raises:
        WeightsError: the folder holds no generator of this kind.
    """
    where = f"export_weights: {folder}"
    try:
        document = parse((folder / "config.json").read_bytes(), table())
        found = f"{document['architecture']}'s {document['network']}"
        state = safetensors_torch.load((folder / "model.safetensors").read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{where} is no folder of a vocoder, as import and save_pretrained write it: {error}"
        ) from error
    if found != f"vocoders.{kind}'s Generator":
        others = [k for k in VOCODERS if found == f"vocoders.{k}'s Generator"]
        advice = f"; to write it, pass --to {others[0]} (to={others[0]!r})" if others else ""
        raise WeightsError(f"{where} holds {found}; expected a Generator of {kind}{advice}")
    return {_published_name(name): tensor for name, tensor in state.items()}


def _published_name(name: str) -> str:
    for ours, theirs in _PUBLISHED.items():
        name = name.replace(ours, theirs)
    return name
