"""Other projects' weights as a run of ours."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.compat.weights import rosinality
from fastgan.compat.weights.configs import CONFIGS, architecture_of
from fastgan.compat.weights.reading import ReadWeights, WeightsError, read_weights
from fastgan.training import contents
from fastgan.training.checkpoint_file import write
from fastgan.training.config import AdamConfig, DataConfig, TrainConfig
from fastgan.training.state import build_state

TERMS = {
    "nvidia": "NVIDIA's published StyleGAN weights are for non-commercial use (NVIDIA Source Code "
    "License); weights that somebody else trained have their trainer's terms",
    "r3gan": "R3GAN is published without a licence: ask its authors before any use",
    "rosinality": "rosinality's code is MIT, but weights have the terms of whoever trained or "
    "converted them",
}
_LISTED = 12


@dataclass(frozen=True)
class Imported:
    """What was imported: networks found in the file, terms of use of the weights, their source."""

    folder: Path
    architecture: str
    networks: tuple[str, ...]
    terms: str
    sha256: str


def import_weights(path: Path | str, folder: Path | str) -> Imported:
    """Make the run `folder`, which must not exist, of the weights in the file `path`.

    Reads StyleGAN2-ADA's, StyleGAN3's and R3GAN's `.pkl` and rosinality's `.pt` (unconditional).
    The run holds G, its average and D, where the file has them (else they are copies of each other,
    and D is new), fresh optimisers, and no training data: `fastgan generate --network FOLDER` draws
    from it.

    Raises:
        WeightsError: the file is refused, of no known kind, or its weights do not fit: each missing
            and each unknown name is listed. Nothing is written then.
        OSError: the file can't be read or the folder can't be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise WeightsError(f"import_weights: {folder} exists; name a new folder")
    read = read_weights(path)
    g, raw, d, arguments = _networks(read)
    kind = architecture_of(g)
    terms = TERMS[
        "rosinality" if kind == "rosinality" else "r3gan" if kind == "r3gan" else "nvidia"
    ]
    architecture = "stylegan2" if kind == "rosinality" else kind
    if architecture not in CONFIGS:
        found = f"{kind} generator" if kind else f"G with names like {', '.join(sorted(g)[:3])}"
        raise WeightsError(
            f"import_weights: {read.path} holds a {found}; runs are made of {', '.join(CONFIGS)} "
            "and rosinality's; HiFi-GAN's and BigVGAN's: fastgan.models.vocoders loads the state "
            "dict that read_weights gives"
        )
    if kind == "rosinality":
        g, raw, d = _from_rosinality(read, g, raw, d)
    try:
        model = CONFIGS[architecture](g, d, arguments)
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"import_weights: {read.path} looks like {kind}, but no configuration fits: {error}"
        ) from error
    adam = AdamConfig(lr=0.002, betas=(0.0, 0.99))
    config = TrainConfig(
        name=f"imported {architecture}",
        architecture=architecture,
        model=model,
        data=DataConfig(use_labels=model.c_dim > 0),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=32,
    )
    state = build_state(config)
    _load(read.path, "G_ema", state.G_ema, g)
    _load(read.path, "G", state.G, g if raw is None else raw)
    if d is not None:
        _load(read.path, "D", state.D, d)
    _write(folder, contents.stage(state))
    names = ("G_ema", *(() if raw is None else ("G",)), *(() if d is None else ("D",)))
    return Imported(folder, architecture, names, terms, read.sha256)


def _networks(
    read: ReadWeights,
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, Tensor] | None, dict[str, Any]]:
    """(averaged G, G as trained, D, what NVIDIA's file says that they were made with)."""
    found = {name: _names_alone(weights) for name, weights in read.networks.items()}
    averaged = next(
        (n for n in ("G_ema", "g_ema", "params_ema", "generator", "state_dict", "params")
         if found.get(n)), None,
    )  # fmt: skip
    raw = next((n for n in ("G", "g") if found.get(n)), None)
    if averaged is None and raw is None:
        raise WeightsError(
            f"import_weights: {read.path} holds no generator, but {', '.join(found) or 'nothing'}"
        )
    d = next((n for n in ("D", "d") if found.get(n)), None)
    name = averaged or raw
    arguments = dict(read.arguments.get(name, {}))
    arguments["d"] = read.arguments.get(d, {}) if d else {}
    return (
        found[name],
        found[raw] if raw and averaged else None,
        found[d] if d else None,
        arguments,
    )


def _names_alone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the `module.` that a data-parallel wrapper leaves."""
    if weights and all(name.startswith("module.") for name in weights):
        return {name.removeprefix("module."): t for name, t in weights.items()}
    return dict(weights)


def _from_rosinality(read, g, raw, d):
    resolution = 4
    while f"to_rgbs.{resolution.bit_length() - 3}.conv.weight" in g:
        resolution *= 2
    layers = 0
    while f"style.{layers + 1}.weight" in g:
        layers += 1
    lines = list(rosinality.generator_lines(resolution, layers))
    average = read.values.get("latent_avg")
    if average is None:
        average = torch.zeros(g["style.1.weight"].shape[0])
    rgb = g["to_rgbs.0.upsample.kernel"] if resolution > 4 else torch.ones(1, 1)

    def ours(weights: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
        if weights is None:
            return None
        found = _renamed(read.path, "g", weights, lines)
        found["mapping.w_avg"] = average.reshape(-1).float()
        for name in [n.removesuffix("noise_const") for n in found if n.endswith("noise_const")]:
            found.setdefault(f"{name}resample_filter", rgb / 4)  # a buffer that nothing reads
        found.setdefault("synthesis.b4.resample_filter", rgb / 4)
        return found

    if d is not None:
        new = _renamed(read.path, "d", d, list(rosinality.discriminator_lines(resolution)))
        f = next(t for n, t in new.items() if n.endswith("conv1.resample_filter"))
        size = resolution
        while size > 4:
            for name in (f"b{size}", f"b{size}.conv0"):
                new[f"{name}.resample_filter"] = f
            size //= 2
        new[f"b{resolution}.fromrgb.resample_filter"] = f
        new["b4.conv.resample_filter"] = f
        d = new
    return ours(g), ours(raw), d


def _renamed(path, network, weights, lines):
    theirs = {other: (name, back) for name, other, _, back in lines}
    missing, unknown = theirs.keys() - weights.keys(), weights.keys() - theirs.keys()
    _refuse(path, network, missing, unknown)
    return {theirs[n][0]: theirs[n][1](t).contiguous() for n, t in weights.items()}


def _load(path: Path, name: str, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    want = network.state_dict()
    _refuse(path, name, want.keys() - weights.keys(), weights.keys() - want.keys())
    wrong = [
        f"{key} {tuple(weights[key].shape)}, expected {tuple(t.shape)}"
        for key, t in want.items()
        if weights[key].shape != t.shape
    ]
    if wrong:
        raise WeightsError(
            f"import_weights: {name} of {path} has other shapes: {'; '.join(wrong[:_LISTED])}"
        )
    network.load_state_dict({k: t.to(want[k].dtype) for k, t in weights.items()}, strict=True)


def _refuse(path: Path, network: str, missing: Any, unknown: Any) -> None:
    def listed(names: Any) -> str:
        names = sorted(names)
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return ", ".join(names[:_LISTED]) + more or "none"

    if missing or unknown:
        raise WeightsError(
            f"import_weights: {network} of {path} does not fit: missing {listed(missing)}; unknown "
            f"{listed(unknown)}"
        )


def _write(folder: Path, staged: contents.Contents) -> None:
    """The whole run, or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        place = scratch / "checkpoints"
        place.mkdir()
        write(place / "ckpt-000000.json", staged.tensors, staged.values)
        scratch.chmod(0o755)
        scratch.replace(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
