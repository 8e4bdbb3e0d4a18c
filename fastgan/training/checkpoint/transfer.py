# SPDX-License-Identifier: Apache-2.0
"""Starts a new run from the weights of another one, or of an imported folder: transfer learning.

config = start_from(config, "faces")   # the model is that of the weights, the rest is config's
train(config, run_dir)                 # a new run; copy_weights fills its networks

Weights alone are taken: G, its average and D. Optimisers, augmentation and counters begin anew.
Names and shapes decide what is copied, so that another number of classes or of channels, and with
StyleGAN2, whose blocks are named by size, another image size, keep all layers that both have.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.models import load_architecture
from fastgan.training.checkpoint import file
from fastgan.training.checkpoint.checkpoint import checkpoint_of, config_of
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.checkpoint.other_kinds import has_no_discriminator
from fastgan.training.config.run import InitConfig, TrainConfig
from fastgan.training.step.state import TrainState

__all__ = ["CopiedWeights", "copy_weights", "plan_copy", "start_from"]

ADA_KIMG = 100.0  # thousands of images over which ADA moves p by 1 (arXiv 2006.06676, section 3.1)
_OF_THE_IMAGES = ("c_dim", "img_channels", "img_height", "img_width")
_NAMED_BY_SIZE = ("stylegan2",)  # layers of one name do the same at another image size
# G's first layers, which take [z, embed(c)], and whether they are equalised.
_OF_Z_AND_CLASS = {
    "mapping.fc0.weight": True,
    "Model.MainLayers.0.Layers.0.LinearLayer.weight": False,  # R3GAN
}
_LEAST_SHARE = 0.1  # of the parameters of G, and of D, that must fit
_LISTED = 4


@dataclass(frozen=True)
class CopiedWeights:
    """What a run takes over from other weights.

    Args:
        source: the checkpoint.
        copied: network ("G", "D") → the number of parameters that are copied.
        total: network → the number of its parameters.
        new: names of the layers of G and D that are initialised.
        left_out: names of the layers of the weights that the new networks do not have.
        refitted: names of the weights of which a part is copied.
    """

    source: Path
    copied: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    refitted: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, str, str]:
        """Three lines that say what was copied, what is new, and what was left out."""
        counts = [f"{n:,} of {self.total[k]:,} parameters of {k}" for k, n in self.copied.items()]
        part = f"; in part: {_listed(self.refitted)}" if self.refitted else ""
        return (
            f"copied from {self.source}: {', '.join(counts)}, and the average of G{part}",
            f"newly initialised: {_listed(self.new)}",
            f"left out: {_listed(self.left_out)}",
        )


def start_from(config: TrainConfig, path: Path | str) -> TrainConfig:
    """The configuration of a new run that starts with the weights of another one.

    The model is that of the weights, with config's channels, image size and number of classes, so
    that they fit. All other settings are config's, but two, as StyleGAN2-ADA's code has them for
    transfer learning: ADA moves p within 100 kimg, or faster where config has that, and the average
    of G has no ramp-up, since it starts at the average of the weights. `with_changes` on the result
    sets others.

    Args:
        config: of the new run, such as a recipe's; its architecture must be that of the weights.
        path: a checkpoint, or the folder of a run or of imported weights, of which the newest
            intact checkpoint is used.

    Returns:
        The configuration, whose `init_from` names the checkpoint and its SHA-256.

    Raises:
        CheckpointError: when there is no intact checkpoint.
        ValueError: when the architectures differ, or the weights can't have config's image size.

    Example:
        config = load_recipe("stylegan2-small")(resolution=(64, 64), data={"path": "photos"})
        config = start_from(config, "faces")
    """
    path = checkpoint_of(path).resolve()
    document = file.read_document(path)
    saved = document["config"]
    if saved["architecture"] != config.architecture:
        raise ValueError(
            f"start_from: {path} holds weights of {saved['architecture']}, and the configuration "
            f"{config.name} is of {config.architecture}; take one of the same architecture"
        )
    model = _model_for(path, config, config_of(path, saved).model)
    return dataclasses.replace(
        config,
        model=model,
        augment=dataclasses.replace(
            config.augment, ada_kimg=min(config.augment.ada_kimg, ADA_KIMG)
        ),
        ema=dataclasses.replace(config.ema, rampup_ratio=None),
        blur_init_sigma=0.0,
        blur_fade_kimg=0.0,
        init_from=InitConfig(path=str(path), sha256=document["tensors"]["sha256"]),
    )


def plan_copy(config: TrainConfig) -> CopiedWeights:
    """What `copy_weights` will copy into the networks of a configuration of `start_from`.

    Args:
        config: its `init_from` names the weights.

    Returns:
        What is copied, new and left out.

    Raises:
        CheckpointError: when the weights are damaged, or others than `init_from` says.
        ValueError: when too little fits.
    """
    architecture = load_architecture(config.architecture)
    networks = {
        "G": architecture.Generator(config.model), "D": architecture.Discriminator(config.model)
    }  # fmt: skip
    return _match(config, networks)[0]


def copy_weights(state: TrainState) -> CopiedWeights:
    """Fills G, its average and D with the weights that `state.config.init_from` names.

    Args:
        state: at step 0; its networks are written to in place.

    Returns:
        What was copied, what keeps its initial values, and what was left out.

    Raises:
        CheckpointError: when the weights are damaged, or others than `init_from` says.
        ValueError: when too little fits.
    """
    networks = {"G": state.G, "D": state.D}
    copied, found = _match(state.config, networks)
    with torch.no_grad():
        for name, network in (networks | {"G_ema": state.G_ema}).items():
            live = network.state_dict()
            if name == "G_ema":  # layers that are new in G are the same in its average
                for key, tensor in state.G.state_dict().items():
                    live[key].copy_(tensor)
            for key, tensor in found[name].items():
                live[key].copy_(tensor)
    return copied


def _model_for(path: Path, config: TrainConfig, model: Any) -> Any:
    """The Config of the weights, with config's channels, image size and number of classes.

    Of other samples than images it is that of the weights, which the data must fit.
    """
    if not hasattr(model, "img_height"):
        return model
    wanted = {name: getattr(config.model, name) for name in _OF_THE_IMAGES}
    old_size, size = ((m.img_height, m.img_width) for m in (model, config.model))
    if old_size != size:
        if config.architecture not in _NAMED_BY_SIZE:
            shown = [f"{width}x{height}" for height, width in (old_size, size)]
            raise ValueError(
                f"start_from: {path} makes images of {shown[0]} pixels, and this run's have "
                f"{shown[1]}; the layers of {config.architecture} are made for one image size; "
                f"take images of {shown[0]} (--resolution {shown[0]})"
            )
        for name in ("widths", "d_widths"):  # one per size; a size that is new has the last one's
            if getattr(model, name, None) is not None:
                known = dict(zip(model.sizes, getattr(model, name), strict=True))
                wanted[name] = tuple(known.get(s, known[old_size]) for s in config.model.sizes)
    try:
        return dataclasses.replace(model, **wanted)
    except ValueError as error:
        raise ValueError(f"start_from: the model of {path} does not fit these images: {error}") \
            from error  # fmt: skip


def _match(
    config: TrainConfig, networks: dict[str, nn.Module]
) -> tuple[CopiedWeights, dict[str, dict[str, Tensor]]]:
    """(what fits, network → the tensors to copy into it)."""
    path = Path(config.init_from.path)
    z_dim = getattr(config.model, "z_dim", None)
    saved = _read(config.init_from)
    is_d_new = has_no_discriminator(path)
    copied, total, found = {}, {}, {"G_ema": {}}
    new, left_out, both = [], [], set()
    refitted = []
    for name, network in networks.items():
        live = network.state_dict()
        theirs = {} if name == "D" and is_d_new else _of_network(saved, name)
        found[name], in_part = _fitting(theirs, live, z_dim if name == "G" else None)
        refitted += [f"{name}.{key}" for key in in_part]
        new += [f"{name}.{key}" for key in live if key not in found[name]]
        left_out += [f"{name}.{key}" for key in theirs if key not in found[name]]
        both |= {f"{name}.{key}" for key in found[name]}
        sizes = {key: p.numel() for key, p in network.named_parameters()}
        copied[name] = sum(n for key, n in sizes.items() if key in found[name])
        total[name] = sum(sizes.values())
        if name == "G":
            averages = _of_network(saved, "G_ema")
            found["G_ema"], _ = _fitting(averages, live, z_dim)
    copy = CopiedWeights(
        path, copied, total, _modules(new, both), _modules(left_out, both), tuple(refitted)
    )
    for name, n in copied.items():
        if n < _LEAST_SHARE * total[name] and not (name == "D" and is_d_new):
            raise ValueError(
                f"start_from: {n:,} of {total[name]:,} parameters of {name} have a name and shape "
                f"that {path} has too, which is too little to start from; newly initialised would "
                f"be {_listed(copy.new)}; take the image size of the weights, or other weights"
            )
    if is_d_new and config.d_frozen_layers:
        raise ValueError(
            f"d_frozen_layers={config.d_frozen_layers} (--freezed) would keep layers of D as they "
            f"are in the weights, and {path} has no D (it was imported from a file without one, or "
            "with --only), so that no layer can be frozen; set 0"
        )
    _check_frozen(config, new)
    return copy, found


def _check_frozen(config: TrainConfig, new: list[str]) -> None:
    for layer in getattr(config.model, "d_layers_from_image", ())[: config.d_frozen_layers]:
        if any(name.startswith(f"D.{layer}.") for name in new):
            raise ValueError(
                f"d_frozen_layers={config.d_frozen_layers} (--freezed) would keep D.{layer} as it "
                "is initialised, since the weights that the run starts with do not have it; set 0, "
                "or take the image size and channels of the weights"
            )


def _read(init: InitConfig) -> dict[str, Tensor]:
    document = file.read_document(Path(init.path))
    if document["tensors"]["sha256"] != init.sha256:
        raise CheckpointError(
            f"checkpoint: {init.path} is another file than when this run was configured: SHA-256 "
            f"{document['tensors']['sha256'][:12]}…, expected {init.sha256[:12]}…; configure the "
            "run again"
        )
    return file.read_tensors(Path(init.path), document)


def _of_network(saved: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): t for key, t in saved.items() if key.startswith(prefix)}


def _fitting(
    theirs: dict[str, Tensor], live: dict[str, Tensor], z_dim: int | None
) -> tuple[dict[str, Tensor], list[str]]:
    """(the tensors of `theirs` that fit into `live`, the names of those that fit in part).

    z_dim: of G; None for D, of whose layers none takes z.
    """
    found, in_part = {}, []
    for key, tensor in theirs.items():
        if key in live and tensor.shape == live[key].shape:
            found[key] = tensor
        elif z_dim and key in _OF_Z_AND_CLASS and len(tensor) == len(live.get(key, ())):
            found[key] = _first_layer(tensor, live[key], z_dim, is_equalised=_OF_Z_AND_CLASS[key])
            in_part.append(key)
    return found, in_part


def _first_layer(theirs: Tensor, ours: Tensor, z_dim: int, *, is_equalised: bool) -> Tensor:
    """G's first weight for [z, embed(c)] of another width: that of z is kept.

    An equalised layer divides by √width, which the factor undoes. The columns of the condition
    begin at 0, so that G makes for every class what it made without classes.
    """
    weight = torch.zeros_like(ours, device="cpu")
    factor = math.sqrt(ours.shape[1] / theirs.shape[1]) if is_equalised else 1.0
    weight[:, :z_dim] = theirs[:, :z_dim] * factor
    return weight


def _modules(names: list[str], others: set[str]) -> tuple[str, ...]:
    """The largest modules that hold these names and none of `others`, each once."""
    begun = {".".join(name.split(".")[:n]) for name in others for n in range(1, 9)}
    found = []
    for name in names:
        parts = name.split(".")
        found.append(
            next(p for n in range(1, len(parts) + 1)
                 if (p := ".".join(parts[:n])) not in begun or n == len(parts))
        )  # fmt: skip
    return tuple(dict.fromkeys(found))


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more or "nothing"
