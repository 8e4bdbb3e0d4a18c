# SPDX-License-Identifier: Apache-2.0
"""The networks that a file holds: which one is which, under the plain names of their weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fastgan.compat.weights.reading import PickledNetwork, ReadWeights, WeightsError

NETWORKS = ("G_ema", "G", "D")
_AVERAGED = ("G_ema", "g_ema", "params_ema", "generator", "state_dict", "params")
_RAW = ("G", "g", "params")
_D = ("D", "d")
_KNOWN = (  # other entries that are used, noted elsewhere, or of training alone
    "augment_pipe", "training_set_kwargs", "args", "opts", "generator_arguments", "latent_avg",
    "G_opt_state", "D_opt_state", "g_optim", "d_optim",
)  # fmt: skip
_WRAPPERS = ("module", "_orig_mod")  # of DataParallel and DistributedDataParallel; torch.compile
# A network that holds a generator: its name in the whole.
_WHOLES = {
    "decoder.": "an encoder with it (pSp, e4e)",
    "stylegan_decoder.": "a restoration network with it (GFPGAN)",
}
# Generators that fastgan has not: the beginning of a weight's name.
_OTHERS = {
    "mapping.embed_proj.": "StyleGAN-XL's class-conditional one",
    "synthesis.init.": "projected-gan's lightweight one (its cfg fastgan)",
}
# Weights that discriminators alone have: NVIDIA's, R3GAN's, rosinality's and BasicSR's.
_OF_D = re.compile(r"b\d+\.(fromrgb|fc|out)\.|Model\.ExtractionLayer\.|final_(conv|linear)\.")
_BASICSR = "style_conv1.modulated_conv.weight"
_BASICSR_NAMES = (  # theirs, as a pattern: rosinality's
    (r"^style_mlp\.", "style."),
    (r"^constant_input\.weight$", "input.input"),
    (r"^style_conv1\.", "conv1."),
    (r"^style_convs\.", "convs."),
    (r"^((?:conv1|convs\.\d+))\.weight$", r"\1.noise.weight"),
    (r"\.modulated_conv\.smooth\.kernel$", ".conv.blur.kernel"),
    (r"\.modulated_conv\.", ".conv."),
    (r"^noises\.noise(\d+)$", r"noises.noise_\1"),
    (r"^conv_body\.", "convs."),
)


@dataclass(frozen=True)
class FoundNetworks:
    """The networks of a file that are wanted.

    Args:
        networks: {"G_ema", "G" or "D": the network}; a file with one generator has it as G_ema.
        names: {the same: its name in the file}.
        notes: what was left out, in words.
        is_basicsr: whether the names were BasicSR's; they are rosinality's now.
    """

    networks: dict[str, PickledNetwork]
    names: dict[str, str]
    notes: tuple[str, ...]
    is_basicsr: bool


def find_networks(read: ReadWeights, only: Sequence[str] | None) -> FoundNetworks:
    """The networks of a file by their roles, without the names of wrappers around them.

    Args:
        read: the file.
        only: the roles that are wanted, of NETWORKS; None: all.

    Raises:
        WeightsError: there is no generator, or a wanted network was refused.
    """
    there = [name for name, network in read.networks.items() if network.weights]
    there += list(read.refused)
    averaged = next((name for name in _AVERAGED if name in there), None)
    raw = next((name for name in _RAW if name in there and name != averaged), None)
    d = next((name for name in _D if name in there), None)
    names = {role: name for role, name in zip(NETWORKS, (averaged, raw, d), strict=True) if name}
    if averaged is None and raw is None:
        raise WeightsError(
            f"import_weights: {read.path} has no generator; its networks are "
            f"{', '.join(there) or 'none'}"
        )
    dicts = [name for name, value in read.values.items() if value is None or type(value) is dict]
    unread = [name for name in (*there, *dicts) if name not in (*names.values(), *_KNOWN)]
    notes = [f"left out: {', '.join(unread)}, which the import does not use"] if unread else []
    if only is not None:
        if lacking := [role for role in only if role not in names]:
            raise WeightsError(
                f"import_weights: {read.path} has no {', '.join(lacking)}; it has "
                f"{', '.join(names)}, so leave {', '.join(lacking)} out of only (--only)"
            )
        notes += [f"{role} of the file is left out" for role in names if role not in only]
        names = {role: name for role, name in names.items() if role in only}
    if "G_ema" not in names:  # G stands for its average
        names = {"G_ema": names.pop("G"), **names}
    for role, name in names.items():
        if name in read.refused:
            way_out = "; --only G_ema (only=['G_ema']) leaves it out" if role == "D" else ""
            raise WeightsError(
                f"import_weights: {role} of {read.path} contains {read.refused[name]}{way_out}"
            )
    networks = {role: _unwrapped(read, name, read.networks[name]) for role, name in names.items()}
    for prefix, what in _WHOLES.items():
        for role, network in networks.items():
            if role != "D" and any(name.startswith(prefix) for name in network.weights):
                inner = {n.removeprefix(prefix): t for n, t in network.weights.items()
                         if n.startswith(prefix)}  # fmt: skip
                notes.append(
                    f"{names[role]} of the file is {what}: {len(network.weights) - len(inner)} "
                    f"tensors whose names do not begin with {prefix} are left out"
                )
                networks[role] = PickledNetwork(inner)
    for prefix, what in _OTHERS.items():
        if any(name.startswith(prefix) for name in networks["G_ema"].weights):
            raise WeightsError(
                f"import_weights: the generator of {read.path} is {what} (it has {prefix}...), "
                "which fastgan has not"
            )
    is_basicsr = _BASICSR in networks["G_ema"].weights
    if is_basicsr:
        if "style_conv1.activate.bias" not in networks["G_ema"].weights:
            raise WeightsError(
                f"import_weights: the generator of {read.path} is BasicSR's or GFPGAN's without "
                "equalised learning rates (their 'clean' architecture), which fastgan has not; "
                "expected StyleGAN2Generator, with style_conv1.activate.bias"
            )
        networks = {role: PickledNetwork(_rosinality_names(network.weights))
                    for role, network in networks.items()}  # fmt: skip
    return FoundNetworks(networks, names, tuple(notes), is_basicsr)


def is_discriminator(weights: Mapping[str, Tensor]) -> bool:
    """Whether names of weights, without those of wrappers, are a discriminator's."""
    return any(_OF_D.match(name) for name in weights)


def _unwrapped(read: ReadWeights, name: str, network: PickledNetwork) -> PickledNetwork:
    """The network under the names that it has without wrappers, in whatever order they are."""
    weights = {_plain_name(key): tensor for key, tensor in network.weights.items()}
    if len(weights) != len(network.weights):
        raise WeightsError(
            f"import_weights: {name} of {read.path} has weights whose names differ by "
            f"{' and '.join(_WRAPPERS)} alone; remove one of each two"
        )
    modules: Mapping[str, Any] = {_plain_name(key): of for key, of in network.modules.items()}
    return replace(network, weights=weights, modules=modules)


def _plain_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _rosinality_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in weights.items():
        for theirs, other in _BASICSR_NAMES:
            name = re.sub(theirs, other, name)
        found[name] = tensor
    return found
