# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of StyleGAN2's weights: ours, which are NVIDIA's, and rosinality's.

ours                              rosinality                    change
mapping.fc{i}                     style.{i + 1}
mapping.w_avg                     latent_avg of the file
synthesis.b4.const                input.input                   [1, ...]
synthesis.b4.conv1                conv1                         weight [1, ...], noise [1]
synthesis.b{r}.conv0, .conv1      convs.{2j}, convs.{2j + 1}    likewise; conv0's filter × 4
synthesis.b{r}.torgb              to_rgb1, to_rgbs.{j}          bias [1, 3, 1, 1]; filter × 4
noise_const                       noises.noise_{k}              [1, 1, ...]
b{R}.fromrgb, b{r}.conv0 / conv1 / skip      convs.0, convs.{j}.conv1 / conv2 / skip
b4.conv, b4.fc, b4.out            final_conv, final_linear.0, final_linear.1

Each line is reversible to the bit (× 4 and ÷ 4 are exact).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.compat.weights.configs.shapes import taps, width_fields
from fastgan.compat.weights.reading import WeightsError
from fastgan.compat.weights.strict import refuse_names
from fastgan.models.stylegan2 import Config
from fastgan.nn import MappingNetwork
from fastgan.ops import setup_filter

LR_MLP = 0.01  # defaults of the original's Generator
BLUR_KERNEL = (1.0, 3.0, 3.0, 1.0)
_MOST_TAPS = 7  # with more, our filters are separable ones, and theirs are not
_DRAWS = 10_000  # latents whose mean w is the average where a file has none

Change = Callable[[Tensor], Tensor]
Line = tuple[str, str, Change, Change]  # our name, theirs, our value to theirs, theirs to ours


def _same(name: str, other: str) -> Line:
    return name, other, lambda t: t, lambda t: t


def _leading(name: str, other: str, dims: int = 1) -> Line:
    """Theirs has `dims` leading dimensions of size 1."""
    return (name, other, lambda t: t.reshape(*(1,) * dims, *t.shape),
            lambda t: t.reshape(t.shape[dims:]))  # fmt: skip


def _filter(name: str, other: str, factor: float) -> Line:
    return name, other, lambda t: t * factor, lambda t: t / factor


def _modulated(ours: str, theirs: str, kernel: bool = False) -> Iterator[Line]:
    yield _leading(f"{ours}.weight", f"{theirs}.conv.weight")
    if kernel:
        yield _filter(f"{ours}.resample_filter", f"{theirs}.conv.blur.kernel", 4)
    yield _same(f"{ours}.affine.weight", f"{theirs}.conv.modulation.weight")
    yield _same(f"{ours}.affine.bias", f"{theirs}.conv.modulation.bias")


def _layer(ours: str, theirs: str, kernel: bool = False) -> Iterator[Line]:
    yield from _modulated(ours, theirs, kernel)
    yield (f"{ours}.noise_strength", f"{theirs}.noise.weight", lambda t: t.reshape(1),
           lambda t: t.reshape(()))  # fmt: skip
    yield _same(f"{ours}.bias", f"{theirs}.activate.bias")


def _to_rgb(block: str, theirs: str, kernel: bool = True) -> Iterator[Line]:
    yield (f"{block}.torgb.bias", f"{theirs}.bias", lambda t: t.reshape(1, -1, 1, 1),
           lambda t: t.reshape(-1))  # fmt: skip
    if kernel:
        yield _filter(f"{block}.resample_filter", f"{theirs}.upsample.kernel", 4)
    yield from _modulated(f"{block}.torgb", theirs)


def generator_lines(resolution: int, mapping_layers: int) -> Iterator[Line]:
    """The lines of G with image skips from 4 × 4 to `resolution`, in the order of its state_dict,
    which is that of its optimiser."""
    blocks = [f"synthesis.b{4 * 2**i}" for i in range(resolution.bit_length() - 2)]
    for i in range(mapping_layers):
        for kind in ("weight", "bias"):
            yield _same(f"mapping.fc{i}.{kind}", f"style.{i + 1}.{kind}")
    yield _leading(f"{blocks[0]}.const", "input.input")
    yield from _layer(f"{blocks[0]}.conv1", "conv1")
    yield from _to_rgb(blocks[0], "to_rgb1", kernel=False)
    for j, block in enumerate(blocks[1:]):
        yield from _layer(f"{block}.conv0", f"convs.{2 * j}", kernel=True)
        yield from _layer(f"{block}.conv1", f"convs.{2 * j + 1}")
    for j, block in enumerate(blocks[1:]):
        yield from _to_rgb(block, f"to_rgbs.{j}")
    layers = [f"{blocks[0]}.conv1"]
    layers += [f"{block}.{conv}" for block in blocks[1:] for conv in ("conv0", "conv1")]
    for k, layer in enumerate(layers):
        yield _leading(f"{layer}.noise_const", f"noises.noise_{k}", 2)


def is_parameter(theirs: str) -> bool:
    """Whether a name of theirs is a parameter's, not a buffer's."""
    return not theirs.endswith(".kernel") and not theirs.startswith("noises.")


def discriminator_lines(resolution: int) -> Iterator[Line]:
    """The lines of the residual, unconditional D."""
    yield _same(f"b{resolution}.fromrgb.weight", "convs.0.0.weight")
    yield _same(f"b{resolution}.fromrgb.bias", "convs.0.1.bias")
    size, j = resolution, 1
    while size > 4:
        block, other = f"b{size}", f"convs.{j}"
        yield _same(f"{block}.conv0.weight", f"{other}.conv1.0.weight")
        yield _same(f"{block}.conv0.bias", f"{other}.conv1.1.bias")
        yield _same(f"{block}.conv1.resample_filter", f"{other}.conv2.0.kernel")
        yield _same(f"{block}.conv1.weight", f"{other}.conv2.1.weight")
        yield _same(f"{block}.conv1.bias", f"{other}.conv2.2.bias")
        yield _same(f"{block}.skip.resample_filter", f"{other}.skip.0.kernel")
        yield _same(f"{block}.skip.weight", f"{other}.skip.1.weight")
        size, j = size // 2, j + 1
    for ours, theirs in (
        ("conv.weight", "final_conv.0.weight"),
        ("conv.bias", "final_conv.1.bias"),
        ("fc.weight", "final_linear.0.weight"),
        ("fc.bias", "final_linear.0.bias"),
        ("out.weight", "final_linear.1.weight"),
        ("out.bias", "final_linear.1.bias"),
    ):
        yield _same(f"b4.{ours}", theirs)


@dataclass(frozen=True)
class Converted:
    """Rosinality's networks as our StyleGAN2's.

    Args:
        config: of our networks.
        networks: {"G_ema", "G" or "D": {our name: value}}, without the filters that NVIDIA's names
            have where nothing is resampled.
        notes: what was not in the file and was made or assumed, in words.
    """

    config: Config
    networks: dict[str, dict[str, Tensor]]
    notes: tuple[str, ...]


def convert(
    path: Path,
    networks: Mapping[str, Mapping[str, Tensor]],
    values: Mapping[str, Any],
    *,
    has_kernels: bool,
    lr_mlp: float | None = None,
    blur_kernel: Sequence[float] | None = None,
) -> Converted:
    """Rosinality's networks as our StyleGAN2's, with what their file leaves out.

    Args:
        path: their file, for errors.
        networks: {"G_ema", "G" or "D": weights}, with G_ema.
        values: what else is in the file: latent_avg, and arguments of the generator in args.
        has_kernels: whether such files hold the blur kernels, as rosinality's do; BasicSR's do not.
        lr_mlp: of their Generator, where the file does not say.
        blur_kernel: of their Generator, where the file does not say.

    Raises:
        WeightsError: missing or unknown names, or a setting that our Config can't express, or that
            the file has and is given, too.
    """
    g, notes = networks["G_ema"], list[str]()
    if any(".iwt." in name or ".dwt." in name for name in g):
        raise WeightsError(
            f"import_weights: the generator of {path} is a SWAGAN (its names have iwt and dwt), "
            "which fastgan has not; of rosinality's networks, StyleGAN2 is read"
        )
    lr_mlp = _setting("lr_mlp", lr_mlp, values, LR_MLP, notes)
    lacks_kernels = not any(name.endswith(".kernel") for name in g)
    if blur_kernel is not None and not (has_kernels and lacks_kernels):
        raise WeightsError(
            "import_weights: blur_kernel (--blur-kernel) is for files of rosinality without their "
            f"kernels, and {path} is none; leave it out"
        )
    if lacks_kernels:
        blur_kernel = _setting("blur_kernel", blur_kernel, values, BLUR_KERNEL, notes)
    top, layers = 4, 0
    while f"to_rgbs.{top.bit_length() - 3}.conv.weight" in g:
        top *= 2
    while f"style.{layers + 1}.weight" in g:
        layers += 1
    made: dict[str, dict[str, Tensor]] = {}
    for role, weights in networks.items():
        lines = discriminator_lines(_size_of(weights)) if role == "D" else None
        lines = list(lines or generator_lines(top, layers))
        full = dict(weights)
        notes += [f"{role} of the file has no {what}" for what in _fill(full, lines, blur_kernel)]
        made[role] = _renamed(path, role, full, lines)
    fields = _fields(path, made["G_ema"], made.get("D"), top, layers)
    arguments, said = values.get("args"), {"size": top, "latent": fields["w_dim"], "n_mlp": layers}
    for name, value in said.items():
        of_file = arguments.get(name, value) if isinstance(arguments, dict) else value
        if of_file != value:
            notes.append(
                f"{name} is {of_file!r} in the file's args; its weights, with {value}, are used"
            )
    average = values.get("latent_avg")
    if isinstance(average, Tensor) and average.dim() == 2 and bool((average == average[:1]).all()):
        average = average[0]  # pSp's has a row for each layer
    if not isinstance(average, Tensor) or average.shape != (fields["w_dim"],):
        average = _average_latent(made["G_ema"], layers, lr_mlp)
        notes.append(f"latent_avg is not in the file; the mean w of {_DRAWS} latents stands for it")
    for role in made.keys() - {"D"}:
        made[role]["mapping.w_avg"] = average.float()
    try:
        config = Config(mapping_lr_multiplier=lr_mlp, **fields)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"import_weights: {path}: {error}") from error
    return Converted(config, made, tuple(notes))


def _setting(
    name: str, given: Any, values: Mapping[str, Any], default: Any, notes: list[str]
) -> Any:
    """An argument of their Generator: of the file, else as given, else the original's default."""
    option = f"--{name.replace('_', '-')}"
    for key in ("args", "opts", "generator_arguments"):
        of_file = values.get(key)
        found = of_file.get(name) if isinstance(of_file, dict) else None
        if found is None:
            continue
        if given is not None and given != found:
            raise WeightsError(
                f"import_weights: {name} is {found} in the file and was given as {given}; leave "
                f"{name} ({option}) out"
            )
        return found
    if given is None:
        notes.append(
            f"{name} is not in the file and was not given: taken as {default}, the original's "
            f"default ({option} sets it)"
        )
        return default
    return given


def _size_of(d: Mapping[str, Tensor]) -> int:
    """The side of D's images."""
    j = 1
    while f"convs.{j}.conv1.0.weight" in d:
        j += 1
    return 4 * 2 ** (j - 1)


def _fill(
    weights: dict[str, Tensor], lines: list[Line], blur_kernel: Sequence[float] | None
) -> list[str]:
    """Adds noises and kernels that are missing; what was added, in words."""
    lacking = sorted({theirs for _, theirs, _, _ in lines} - weights.keys())
    noises = [name for name in lacking if name.startswith("noises.")]
    draw = torch.Generator().manual_seed(0)
    for name in noises:
        side = 2 ** ((int(name.removeprefix("noises.noise_")) + 5) // 2)
        weights[name] = torch.randn(1, 1, side, side, generator=draw)
    kernels = [name for name in lacking if name.endswith(".kernel")]
    is_d = "final_conv.0.weight" in weights
    for name in kernels:
        # Their Generator gives its kernel to the convolutions alone, and D has its own.
        is_of_g_convs = name.endswith(".conv.blur.kernel")
        f = setup_filter((is_of_g_convs and blur_kernel) or BLUR_KERNEL, separable=False)
        weights[name] = f * 4 if is_of_g_convs or name.endswith(".upsample.kernel") else f
    return [
        *(["noises: drawn with seed 0"] if noises else []),
        *(["blur kernels: taken as those of (1, 3, 3, 1)"] if kernels and is_d else []),
    ]


def _fields(
    path: Path, g: Mapping[str, Tensor], d: Mapping[str, Tensor] | None, top: int, layers: int
) -> dict[str, Any]:
    """Fields of our Config, from the shapes and filters under our names."""
    sizes = [4 * 2**i for i in range(top.bit_length() - 2)]
    fields: dict[str, Any] = width_fields(
        {size: g[f"synthesis.b{size}.conv1.weight"].shape[0] for size in sizes}
    )
    fields |= {"img_height": top, "img_width": top, "mapping_layers": layers}
    fields["w_dim"], fields["z_dim"] = g["mapping.fc0.weight"].shape
    fields["img_channels"] = g["synthesis.b4.torgb.weight"].shape[0]
    lines = (*generator_lines(top, layers), *discriminator_lines(top))
    theirs = {ours: other for ours, other, _, _ in lines if ours in g.keys() | (d or {}).keys()}
    filters = {name: t for name, t in g.items() if name.endswith(".resample_filter")}
    of_convs = {name: t for name, t in filters.items() if name.endswith(".conv0.resample_filter")}
    of_image = {name: t for name, t in filters.items() if ".conv" not in name}
    of_d = {name: t for name, t in (d or {}).items() if name.endswith(".resample_filter")}
    line = _line(path, of_convs, theirs)
    fields |= {"resample_filter": line, "skip_filter": _line(path, of_image, theirs)}
    fields["d_resample_filter"] = _line(path, of_d, theirs) if of_d else None
    return {
        name: value
        for name, value in fields.items()
        if name not in ("skip_filter", "d_resample_filter") or value not in (None, line)
    }


def _line(
    path: Path, filters: Mapping[str, Tensor], theirs: Mapping[str, str]
) -> tuple[float, ...]:
    """The taps of filters, which must be alike; theirs: {our name: theirs}, for errors."""
    name, first = next(iter(filters.items()), ("", torch.empty(0)))
    side = first.shape[0] if first.dim() else 0
    if any(f.shape != (side, side) or not torch.equal(f, first) for f in filters.values()):
        raise WeightsError(f"import_weights: {path} has several blur kernels in one network")
    if not 0 < side <= _MOST_TAPS:
        raise WeightsError(
            f"import_weights: {path} has blur kernels of {side} taps; 1 to {_MOST_TAPS} are read"
        )
    try:
        return taps(first.float(), theirs.get(name, name))
    except ValueError as error:
        raise WeightsError(f"import_weights: {path}: {error}") from error


def _average_latent(g: Mapping[str, Tensor], layers: int, lr_mlp: float) -> Tensor:
    """The mean w of many latents, for files without latent_avg, which truncation needs."""
    width, z_dim = g["mapping.fc0.weight"].shape
    z = torch.randn(_DRAWS, z_dim, generator=torch.Generator().manual_seed(0))
    mapping = MappingNetwork(
        z_dim, 0, width, None, layers, lr_multiplier=lr_mlp, w_avg_beta=None
    ).eval()
    mapping.load_state_dict(
        {n.removeprefix("mapping."): t for n, t in g.items() if n.startswith("mapping.fc")}
    )
    with torch.no_grad():
        return mapping(z, None).mean(0)


def _renamed(
    path: Path, role: str, weights: Mapping[str, Tensor], lines: list[Line]
) -> dict[str, Tensor]:
    theirs = {other: (name, back) for name, other, _, back in lines}
    missing, unknown = theirs.keys() - weights.keys(), weights.keys() - theirs.keys()
    refuse_names(path, role, missing, unknown)
    return {theirs[n][0]: theirs[n][1](t).contiguous() for n, t in weights.items()}
