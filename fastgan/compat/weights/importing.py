"""Convert weights of other projects into run folders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fastgan.atomic import new_folder
from fastgan.compat.weights import rosinality
from fastgan.compat.weights.configs.architectures import CONFIGS, architecture_of
from fastgan.compat.weights.reading import (
    PickledNetwork,
    ReadWeights,
    WeightsError,
    read_weights,
)
from fastgan.compat.weights.strict import load_strictly, refuse_names
from fastgan.compat.weights.vocoder import vocoder_of
from fastgan.nn import MappingNetwork
from fastgan.training.checkpoint import contents
from fastgan.training.checkpoint.file import write
from fastgan.training.config.run import AdamConfig, DataConfig, TrainConfig
from fastgan.training.step.state import build_state

TERMS = {
    "nvidia": "NVIDIA's published StyleGAN weights are for non-commercial use (NVIDIA Source Code "
    "License); weights that others trained have the terms of those who trained them",
    "r3gan": "R3GAN is published without a license: ask its authors before you use it",
    "rosinality": "rosinality's code has the MIT license; weights have the terms of those who "
    "trained or converted them",
    "vocoder": "HiFi-GAN's and BigVGAN's authors publish their weights under the MIT license; "
    "weights that others trained have the terms of those who trained them",
}
KINDS = ("stylegan2", "stylegan3", "r3gan", "rosinality", "hifigan", "bigvgan")
_VOCODERS = ("hifigan", "bigvgan")


@dataclass(frozen=True)
class Imported:
    """What `import_weights` found and wrote.

    Args:
        folder: the new folder.
        architecture: name of the architecture in `fastgan.models`.
        networks: names of the networks in the file.
        terms: terms of use of such weights.
        sha256: SHA-256 (hex) of the file.
    """

    folder: Path
    architecture: str
    networks: tuple[str, ...]
    terms: str
    sha256: str


def import_weights(
    path: Path | str,
    folder: Path | str,
    *,
    kind: str | None = None,
    config: Path | str | None = None,
) -> Imported:
    """Convert the weights in a file into a new folder.

    StyleGAN2-ADA's, StyleGAN3's and R3GAN's `.pkl` and rosinality's `.pt` (unconditional) become a
    run folder, which `fastgan generate --network FOLDER` uses. It has G, its average and D, if the
    file has them (else G and its average are copies of each other, and D is new), new optimizers,
    and no training data. A rosinality file without latent_avg gets the mean w of 10 000 latents.
    HiFi-GAN's and BigVGAN's `g_*` become a folder for
    `fastgan.models.vocoders.<kind>.Generator.from_pretrained`.

    Args:
        path: the file.
        folder: the folder to write; it must not exist.
        kind: architecture that the file must hold, one of KINDS; None accepts all of them.
        config: the `config.json` of a vocoder, which is needed for hifigan and bigvgan only.

    Returns:
        What was found, with the terms of use of the weights.

    Raises:
        WeightsError: the file is refused, of no known kind, or its weights do not fit: each missing
            and each unknown name is listed. Nothing is written then.
        OSError: the file can't be read or the folder can't be written.
    """
    folder = Path(folder)
    if kind not in (None, *KINDS):
        raise WeightsError(
            f"import_weights: kind must be None or one of {', '.join(KINDS)}, got {kind!r}"
        )
    if folder.exists():
        raise WeightsError(f"import_weights: {folder} exists already; choose another folder")
    read = read_weights(path)
    g, raw, d = _networks(read)
    found = architecture_of(g.weights)
    if found is None or kind not in (None, found):
        what = (
            f"a {found} generator"
            if found
            else f"G with names like {', '.join(sorted(g.weights)[:3])}"
        )
        raise WeightsError(
            f"import_weights: {read.path} holds {what}; expected {kind or ', '.join(KINDS)}"
        )
    if (found in _VOCODERS) != (config is not None):
        raise WeightsError(
            f"import_weights: {read.path} holds a {found} generator, whose sizes are "
            + ("in the config.json beside it; give it as config (--config)"
               if config is None else "known from its weights; leave config (--config) out")
        )  # fmt: skip
    if config is not None:
        vocoder = vocoder_of(read.path, found, g.weights, Path(config))
        with new_folder(folder) as scratch:
            vocoder.save_pretrained(scratch)
        return Imported(folder, found, ("generator",), TERMS["vocoder"], read.sha256)
    names, write_run, architecture = _run_of(read, found, g, raw, d)
    with new_folder(folder) as scratch:
        write_run(scratch)
    terms = TERMS.get(found, TERMS["nvidia"])
    return Imported(folder, architecture, names, terms, read.sha256)


def _run_of(
    read: ReadWeights,
    kind: str,
    g: PickledNetwork,
    raw: PickledNetwork | None,
    d: PickledNetwork | None,
) -> tuple[tuple[str, ...], Callable[[Path], None], str]:
    """(networks found, function that writes the run into a folder, architecture)."""
    architecture = "stylegan2" if kind == "rosinality" else kind
    if kind == "rosinality":
        g, raw, d = _from_rosinality(read, g, raw, d)
    try:
        model = CONFIGS[architecture](g, d)
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
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
    load_strictly(read.path, "G_ema", state.G_ema, g.weights)
    load_strictly(read.path, "G", state.G, (raw or g).weights)
    if d is not None:
        load_strictly(read.path, "D", state.D, d.weights)
    staged = contents.stage(state)

    def write_run(folder: Path) -> None:
        (folder / "checkpoints").mkdir()
        write(folder / "checkpoints" / "ckpt-000000.json", staged.tensors, staged.values)

    names = ("G_ema", *(() if raw is None else ("G",)), *(() if d is None else ("D",)))
    return names, write_run, architecture


def _networks(
    read: ReadWeights,
) -> tuple[PickledNetwork, PickledNetwork | None, PickledNetwork | None]:
    """(averaged G, G as trained, D)."""
    found = {
        name: replace(network, weights=_names_alone(network.weights))
        for name, network in read.networks.items()
        if network.weights
    }
    averaged = next(
        (n for n in ("G_ema", "g_ema", "params_ema", "generator", "state_dict", "params")
         if n in found), None,
    )  # fmt: skip
    raw = next((n for n in ("G", "g") if n in found), None)
    if averaged is None and raw is None:
        raise WeightsError(
            f"import_weights: {read.path} has no generator; its networks are "
            f"{', '.join(found) or 'none'}"
        )
    d = next((n for n in ("D", "d") if n in found), None)
    name = averaged or raw
    return found[name], found[raw] if raw and averaged else None, found[d] if d else None


def _names_alone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix `module.` of a data-parallel wrapper."""
    if weights and all(name.startswith("module.") for name in weights):
        return {name.removeprefix("module."): t for name, t in weights.items()}
    return dict(weights)


def _from_rosinality(read, of_g, of_raw, of_d):
    g, raw, d = (None if of is None else of.weights for of in (of_g, of_raw, of_d))
    resolution = 4
    while f"to_rgbs.{resolution.bit_length() - 3}.conv.weight" in g:
        resolution *= 2
    layers = 0
    while f"style.{layers + 1}.weight" in g:
        layers += 1
    lines = list(rosinality.generator_lines(resolution, layers))
    _renamed(read.path, "g", g, lines)  # strict, before a name is relied upon
    average = read.values.get("latent_avg")
    if average is None:
        average = _average_latent(g, layers)
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
    return tuple(None if of is None else PickledNetwork(of) for of in (ours(g), ours(raw), d))


def _average_latent(g: Mapping[str, Tensor], layers: int) -> Tensor:
    """The mean w of 10 000 latents, for files without latent_avg, which truncation needs."""
    z = torch.randn(
        10_000, g["style.1.weight"].shape[1], generator=torch.Generator().manual_seed(0)
    )
    width = z.shape[1]
    mapping = MappingNetwork(width, 0, width, None, layers, w_avg_beta=None).eval()
    mapping.load_state_dict(
        {f"fc{i}.{kind}": g[f"style.{i + 1}.{kind}"] for i in range(layers)
         for kind in ("weight", "bias")}
    )  # fmt: skip
    with torch.no_grad():
        return mapping(z, None).mean(0)


def _renamed(path, network, weights, lines):
    theirs = {other: (name, back) for name, other, _, back in lines}
    missing, unknown = theirs.keys() - weights.keys(), weights.keys() - theirs.keys()
    refuse_names(path, network, missing, unknown)
    return {theirs[n][0]: theirs[n][1](t).contiguous() for n, t in weights.items()}
