# SPDX-License-Identifier: Apache-2.0
"""Convert weights of other projects into run folders."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.atomic import new_folder
from fastgan.compat.weights import rosinality
from fastgan.compat.weights.configs.architectures import CONFIGS, architecture_of
from fastgan.compat.weights.found_networks import (
    NETWORKS,
    FoundNetworks,
    find_networks,
    is_discriminator,
)
from fastgan.compat.weights.reading import (
    PickledNetwork,
    ReadWeights,
    WeightsError,
    read_weights,
)
from fastgan.compat.weights.source import Source
from fastgan.compat.weights.strict import load_strictly
from fastgan.compat.weights.vocoder import VOCODERS, vocoder_of
from fastgan.models import load_architecture
from fastgan.models._network import at_most
from fastgan.names import refuse_names
from fastgan.training.checkpoint import contents
from fastgan.training.checkpoint.file import write
from fastgan.training.config.run import DataConfig, OptimizerConfig, TrainConfig
from fastgan.training.step.state import build_state

TERMS = {
    "nvidia": "NVIDIA's published StyleGAN weights are for non-commercial use (NVIDIA Source Code "
    "License); weights that others trained have the terms of those who trained them",
    "r3gan": "R3GAN is published without a license: ask its authors before you use it",
    "rosinality": "rosinality's code has the MIT license; weights have the terms of those who "
    "trained or converted them",
    "basicsr": "BasicSR's code has the Apache license; weights have the terms of those who trained "
    "or converted them",
    "vocoder": "HiFi-GAN's and BigVGAN's authors publish their weights under the MIT license; "
    "weights that others trained have the terms of those who trained them",
}
KINDS = ("stylegan2", "stylegan3", "r3gan", "rosinality", "basicsr", *VOCODERS)
_ROSINALITY = ("rosinality", "basicsr")  # kinds that are converted to our stylegan2
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of weights
# D is made anew where a file holds G alone; published Ds have at most 1.4 times G's numbers
_MOST_TIMES = 16
_ADAM = OptimizerConfig(lr=0.002, betas=(0.0, 0.99))


@dataclass(frozen=True)
class Imported:
    """What `import_weights` found and wrote.

    Args:
        folder: the new folder.
        architecture: name of the architecture in `fastgan.models`.
        networks: names of the networks that were imported.
        terms: terms of use of such weights.
        sha256: SHA-256 (hex) of the file.
        notes: what was left out, made or assumed, one sentence each.
    """

    folder: Path
    architecture: str
    networks: tuple[str, ...]
    terms: str
    sha256: str
    notes: tuple[str, ...] = ()


def import_weights(
    path: Path | str,
    folder: Path | str,
    *,
    kind: str | None = None,
    config: Path | str | None = None,
    only: Sequence[str] | None = None,
    lr_mlp: float | None = None,
    blur_kernel: Sequence[float] | None = None,
) -> Imported:
    """Convert the weights in a file into a new folder.

    StyleGAN2-ADA's, StyleGAN3's and R3GAN's `.pkl`, rosinality's `.pt` and BasicSR's `.pth` become
    a run folder, which `fastgan generate --network FOLDER` uses, and so does a `.safetensors` file
    of `export_weights`. It has G, its average and D, if the file has them (else G and its average
    are copies of each other, and D is new), new optimizers, and no training data. Of rosinality's
    networks in a larger one (pSp's and e4e's `decoder.`, GFPGAN's `stylegan_decoder.`), the rest is
    left out. HiFi-GAN's and BigVGAN's `g_*` become a folder for
    `fastgan.models.vocoders.<kind>.Generator.from_pretrained`.

    Args:
        path: the file.
        folder: the folder to write; it must not exist.
        kind: what the file must hold, one of KINDS; None accepts all of them.
        config: the `config.json` of a vocoder, which is needed for hifigan and bigvgan only.
        only: the networks to import, of "G_ema", "G" and "D", with a generator among them; None:
            all in the file.
        lr_mlp: of rosinality's and BasicSR's Generator, in whose files it is not saved; None: as in
            the file's args, else 0.01, their default.
        blur_kernel: taps of rosinality's Generator, for files without its kernels; None: (1, 3, 3,
            1), its default.

    Returns:
        What was found, with the terms of use of the weights.

    Raises:
        WeightsError: the file is refused, of no known kind, or its weights do not fit: each missing
            and each unknown name is listed. Nothing is written then.
        OSError: the file can't be read or the folder can't be written.
    """
    folder = Path(folder)
    _check_choices(folder, kind, only)
    read = read_weights(path)
    found = find_networks(read, only)
    g = found.networks["G_ema"].weights
    holds = "basicsr" if found.is_basicsr else architecture_of(g)
    if holds is None and is_discriminator(g):
        raise WeightsError(
            f"import_weights: {read.path} holds a discriminator (with names like "
            f"{', '.join(sorted(g)[:3])}) and no generator, which is needed; import a file that "
            "holds a generator too"
        )
    if holds is None or kind not in (None, holds):
        what = f"a {holds} generator" if holds else f"G with names like {', '.join(sorted(g)[:3])}"
        raise WeightsError(
            f"import_weights: {read.path} holds {what}; expected {kind or ', '.join(KINDS)}"
        )
    if (holds in VOCODERS) != (config is not None):
        raise WeightsError(
            f"import_weights: {read.path} holds a {holds} generator, whose sizes are "
            + ("in the config.json beside it; give it as config (--config)"
               if config is None else "known from its weights; leave config (--config) out")
        )  # fmt: skip
    if holds not in _ROSINALITY and not lr_mlp is blur_kernel is None:
        raise WeightsError(
            f"import_weights: {read.path} holds a {holds} generator; lr_mlp (--lr-mlp) and "
            "blur_kernel (--blur-kernel) are of rosinality's and BasicSR's, leave them out"
        )
    if config is not None:
        _refuse_damage(read, found)
        vocoder, notes = vocoder_of(read.path, holds, g, Path(config))
        with new_folder(folder) as scratch:
            vocoder.save_pretrained(scratch)
        return Imported(folder, holds, ("generator",), TERMS["vocoder"], read.sha256, notes)
    settings = {"lr_mlp": lr_mlp, "blur_kernel": blur_kernel}
    try:
        run = _run_of(read, holds, found, settings)
    except WeightsError as error:
        if set(found.networks) == {"G_ema"}:
            raise
        try:
            _run_of(read, holds, dataclasses.replace(
                found, networks={"G_ema": found.networks["G_ema"]}), settings)  # fmt: skip
        except WeightsError:
            raise error from None
        raise WeightsError(
            f"{error}. G_ema fits: --only G_ema (only=['G_ema']) imports it alone"
        ) from error
    with new_folder(folder) as scratch:
        run.write(scratch)
        Source.of(holds, found, read.sha256).write(scratch)
    terms = TERMS.get(holds, TERMS["nvidia"])
    return Imported(
        folder, run.architecture, tuple(n for n in NETWORKS if n in found.networks), terms,
        read.sha256, (*found.notes, *run.notes, *_optimizers_left_out(read)),
    )  # fmt: skip


def _optimizers_left_out(read: ReadWeights) -> tuple[str, ...]:
    """A note on what R3GAN's and rosinality's files hold besides networks, or none."""
    names = ("G_opt_state", "D_opt_state", "g_optim", "d_optim")
    states = [name for name in names if name in read.values]
    if not states:
        return ()
    shown = read.values.get("cur_nimg")
    after = f", after {shown} images" if isinstance(shown, int) else ""
    return (
        f"the optimisers of the file ({', '.join(states)}{after}) are left out; training from it "
        "begins with new ones, at 0 images",
    )


def _check_choices(folder: Path, kind: str | None, only: Sequence[str] | None) -> None:
    if kind not in (None, *KINDS):
        raise WeightsError(
            f"import_weights: kind must be None or one of {', '.join(KINDS)}, got {kind!r}"
        )
    if only is not None and (set(only) - set(NETWORKS) or not {"G_ema", "G"} & set(only)):
        raise WeightsError(
            f"import_weights: only must hold G_ema, G or both, and may hold D, got {list(only)!r}"
        )
    if folder.exists():
        raise WeightsError(f"import_weights: {folder} exists already; choose another folder")


@dataclass(frozen=True)
class _Run:
    """A run that is ready to be written.

    Args:
        architecture: name of the architecture.
        notes: what was made or assumed, in words.
        write: writes it into a folder.
    """

    architecture: str
    notes: tuple[str, ...]
    write: Callable[[Path], None]


def _run_of(read: ReadWeights, kind: str, found: FoundNetworks, settings: dict[str, Any]) -> _Run:
    networks, notes = found.networks, ()
    _refuse_damage(read, found)
    if kind in _ROSINALITY:
        architecture = "stylegan2"
        converted = rosinality.convert(
            read.path, {r: n.weights for r, n in networks.items()}, read.values,
            has_kernels=kind == "rosinality", **settings,
        )  # fmt: skip
        networks = {role: PickledNetwork(w) for role, w in converted.networks.items()}
        model, notes = converted.config, converted.notes
    else:
        architecture = kind
        model = _config_of(read, kind, networks)
        if not read.metadata and not networks["G_ema"].modules:
            notes = (
                "the file holds weights without their networks' settings; those that weights do "
                "not show (learning rate of the mapping, activation, clamp) are taken as published",
            )
    config = TrainConfig(
        name=f"imported {architecture}",
        architecture=architecture,
        model=model,
        data=DataConfig(use_labels=model.c_dim > 0),
        g_optimizer=_ADAM,
        d_optimizer=_ADAM,
        batch=32,
    )
    given = {role: network.weights for role, network in networks.items()}
    given.setdefault("G", given["G_ema"])
    _refuse_larger(read.path, architecture, model, given)
    state = build_state(config)
    for role, weights in given.items():
        network = getattr(state, role)
        if kind in _ROSINALITY:
            weights = _unused_filters(network) | weights
        load_strictly(read.path, role, network, weights)
    if getattr(model, "half_dtype", None) is not None and not model.half_on_cpu:
        notes = (
            *notes,
            "num_fp16_res: float16 is used on CUDA; a CPU computes in float32, as stylegan3's code "
            "does (stylegan2-ada-pytorch's has float16 there, too)",
        )
    if any(t.dtype == torch.float64 for weights in given.values() for t in weights.values()):
        notes = (*notes, "the file's weights are float64; they are rounded to float32")
    staged = contents.stage(state)

    def write_run(folder: Path) -> None:
        (folder / "checkpoints").mkdir()
        write(folder / "checkpoints" / "ckpt-000000.json", staged.tensors, staged.values)

    return _Run(architecture, notes, write_run)


def _refuse_damage(read: ReadWeights, found: FoundNetworks) -> None:
    """WeightsError for a weight that is not of finite floating-point numbers."""
    weights = {
        f"{name} of {role}": t
        for role, network in found.networks.items()
        for name, t in network.weights.items()
    }
    average = read.values.get("latent_avg")
    weights |= {"latent_avg": average} if isinstance(average, Tensor) else {}
    for name, t in weights.items():
        if t.dtype not in _DTYPES:
            came = str(t.dtype).removeprefix("torch.")
        else:
            wrong = t.numel() - int(t.isfinite().sum())
            came = f"{wrong} of {t.numel()} numbers that are NaN or infinite" if wrong else ""
            came = came or ("" if t.numel() else f"none in a tensor of shape {list(t.shape)}")
        if came:
            raise WeightsError(
                f"import_weights: {name} in {read.path} must be finite floating-point numbers, "
                f"got {came}; the file is damaged, or training had diverged: take an earlier "
                "snapshot"
            )


def _refuse_larger(
    path: Path, architecture: str, model: Any, given: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """WeightsError where the networks of a configuration are much larger than the file's weights.

    A few numbers of a small file can ask for terabytes; nothing of that size is made to find out.
    """
    module = load_architecture(architecture)
    held = sum(t.numel() for weights in given.values() for t in weights.values())
    names = sum(len(weights) for weights in given.values())
    for role, kind in (("G", module.Generator), ("D", module.Discriminator)):
        try:
            with torch.device("meta"), at_most(4 * names + 1000):
                needed = sum(t.numel() for t in kind(model).state_dict().values())
        except Exception as error:  # what a network computes of numbers that nobody expects
            raise WeightsError(
                f"import_weights: no {role} can be made of the sizes in {path}: {error}"
            ) from error
        if needed > _MOST_TIMES * held + 2**24:
            raise WeightsError(
                f"import_weights: {role} of the sizes in {path} has {needed:,} numbers, and the "
                f"file holds {held:,}; its shapes are not those of one network"
            )


def _unused_filters(network: nn.Module) -> dict[str, Tensor]:
    """Filters that NVIDIA's names have where nothing is resampled, and rosinality's have not."""
    return {n: t for n, t in network.state_dict().items() if n.endswith("resample_filter")}


def _config_of(read: ReadWeights, kind: str, networks: Mapping[str, PickledNetwork]) -> Any:
    """The Config of networks with NVIDIA's or R3GAN's names; our own files hold it."""
    try:
        if read.metadata:
            return _config_in_metadata(read, kind)
        config = CONFIGS[kind](networks["G_ema"], networks.get("D"))
        if "G" in networks and (raw := CONFIGS[kind](networks["G"], networks.get("D"))) != config:
            names = [f.name for f in dataclasses.fields(config)]
            differs = [n for n in names if getattr(raw, n) != getattr(config, n)]
            raise ValueError(f"G and G_ema differ in {', '.join(differs)}; import one of them")
        return config
    except WeightsError:
        raise
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"import_weights: {read.path} looks like {kind}, but no configuration fits: {error}"
        ) from error


def _config_in_metadata(read: ReadWeights, kind: str) -> Any:
    """The Config that `export_weights` wrote, whose numbers the file's shapes bound."""
    if read.metadata.get("architecture") != kind:
        raise ValueError(f"its metadata names {read.metadata.get('architecture')!r}")
    values, Config = read.metadata.get("model"), load_architecture(kind).Config
    if not isinstance(values, dict):
        raise ValueError("its metadata has no model")
    wanted = {f.name for f in dataclasses.fields(Config)}
    where = f"import_weights: configuration in {read.path}"
    refuse_names(where, wanted - values.keys(), values.keys() - wanted, WeightsError)
    shapes = [t.shape for network in read.networks.values() for t in network.weights.values()]
    most = max(len(shapes), 1024, *(n for shape in shapes for n in shape))
    for name, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and number > most and "base" not in name:
                raise ValueError(f"{name} is {value}, which no network of these weights has")
    return Config(**values)
