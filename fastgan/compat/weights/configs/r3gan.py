"""R3GAN's Config from a file.

Sizes are those of the weights. The attributes of the modules say what weights do not: the dtype of
each stage, and that no layer pads, strides or activates otherwise than here. Errors have the names
of the arguments of the published networks.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fastgan.compat.weights.configs.shapes import Weights
from fastgan.compat.weights.reading import PickledModule, PickledNetwork
from fastgan.models import r3gan
from fastgan.models.r3gan.layers import resampling_kernel

_ARGUMENTS = {  # fields that G and D share → the published argument
    "widths": "WidthPerStage", "blocks": "BlocksPerStage", "groups": "CardinalityPerStage",
    "expansion": "ExpansionFactor", "kernel_size": "KernelSize",
    "resample_filter": "ResamplingFilter", "bf16_stages": "FP16Stages", "c_dim": "c_dim",
    "img_channels": "img_channels",
}  # fmt: skip
_DTYPES = {"float32": False, "bfloat16": True}  # of a stage → whether it is one of bf16_stages
# What a layer may be, by the beginning of its class's name: reference and CUDA forms are alike.
_CLASSES = {"Resampler": "Interpolative", "NonLinearity": "BiasedActivation"}
_FREE = (
    "training",
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "kernel_size",
    "groups",
    "DataType",
)


def r3gan_config(network: PickledNetwork, discriminator: PickledNetwork | None) -> r3gan.Config:
    g, fields = network.weights, _fields(network, is_d=False)
    features = g["Model.MainLayers.0.Layers.0.LinearLayer.weight"].shape[1]
    embed = g.get("Model.EmbeddingLayer.weight")  # [embed_dim, c_dim]
    side = 4 * 2 ** (len(fields["widths"]) - 1)
    fields["z_dim"] = features - (0 if embed is None else embed.shape[0])
    fields["embed_dim"] = None if embed is None else embed.shape[0]
    if discriminator is not None:
        of_d = _fields(discriminator, is_d=True)
        for name, argument in _ARGUMENTS.items():
            if of_d[name] == fields[name]:
                continue
            if name in ("c_dim", "img_channels"):
                raise ValueError(f"{argument} of D is {of_d[name]}; expected G's, {fields[name]}")
            fields[f"d_{name}"] = of_d[name]
        of_class = discriminator.weights.get("Model.EmbeddingLayer.weight")
        fields["d_embed_dim"] = None if of_class is None else of_class.shape[0]
    config = r3gan.Config(img_height=side, img_width=side, **fields)
    _check_attributes("G", network, config)
    _check_attributes("D", discriminator, config.discriminator)
    return config


def _fields(network: PickledNetwork, *, is_d: bool) -> dict[str, Any]:
    """The fields of `_ARGUMENTS`, of stages from 4 × 4 up."""
    w, stages = network.weights, _stages(network.weights)
    if empty := [name for name, t in w.items() if t.numel() == 0]:
        raise ValueError(f"{empty[0]} is empty; expected a weight of at least one number")
    end = w[f"Model.{'Extraction' if is_d else 'Aggregation'}Layer.Layer.weight"]
    embed = w.get("Model.EmbeddingLayer.weight")
    width = end.shape[0] if is_d else w["Model.MainLayers.0.Layers.0.Basis"].shape[0]
    widths, blocks, groups, expansions, kernels, halves = [], [], [], [], [], []
    for i, stage in enumerate(stages):
        changes = [t for name, t in stage.items() if name.endswith(".LinearLayer.Layer.weight")]
        entering = changes[0].shape[0] if changes else width
        width = width if is_d else entering  # D changes width at the end of a stage
        found = [stage[name] for name in stage if name.endswith("LinearLayer2.Layer.weight")]
        widths.append(width)
        blocks.append(len(found))
        groups.append(found[0].shape[0] // found[0].shape[1] if found else 1)
        expansions += [t.shape[0] / width for t in found]
        kernels += [tuple(t.shape[2:]) for t in found]
        halves.append(_is_half(network, i))
        width = entering
    filters = [t for name, t in w.items() if name.endswith("Resampler.Kernel")]
    order = slice(None, None, -1 if is_d else 1)
    halves = halves[order]
    return {
        "widths": tuple(widths[order]),
        "blocks": tuple(blocks[order]),
        "groups": tuple(groups[order]),
        "expansion": _only("ExpansionFactor", expansions, 2),
        "kernel_size": _only("KernelSize", [n for kernel in kernels for n in kernel], 3),
        "resample_filter": _filter_weights(filters),
        "bf16_stages": tuple(i for i, is_half in enumerate(halves) if is_half),
        "c_dim": 0 if embed is None else embed.shape[1],
        "img_channels": end.shape[1] if is_d else end.shape[0],
    }


def _stages(weights: Weights) -> list[dict[str, Tensor]]:
    """The weights of each stage, in the order of the network."""
    start = "Model.MainLayers."
    numbers = {name.split(".")[2] for name in weights if name.startswith(start)}
    return [
        {name: t for name, t in weights.items() if name.startswith(f"{start}{i}.")}
        for i in range(len(numbers))
    ]


def _only(argument: str, values: list[float], default: int) -> int:
    """The one whole number in `values`."""
    if len(set(values)) > 1 or any(value != int(value) for value in values):
        raise ValueError(f"{argument} is {sorted(set(values))}; expected one whole number for all")
    return int(values[0]) if values else default


def _filter_weights(kernels: list[Tensor]) -> tuple[float, ...]:
    """The weights whose `resampling_kernel` all `kernels` are."""
    if not kernels:
        return r3gan.Config.resample_filter
    left, weights = 0.0, []
    for tap in kernels[0].double().sum(1).tolist():  # division by [1, 1]
        left = tap - left
        weights.append(left)
    found = torch.tensor(weights[:-1], dtype=torch.float64)
    whole = found / found[found.abs() > 1e-6].abs().min()
    found = torch.where(whole.round().isclose(whole, rtol=1e-4), whole.round(), found)
    kernel = resampling_kernel(found.tolist())
    if any(t.shape != kernel.shape or not t.float().isclose(kernel).all() for t in kernels):
        raise ValueError(
            f"ResamplingFilter: the first Resampler.Kernel is {kernels[0].tolist()}; expected in "
            "all stages one outer product of weights convolved with [1, 1], of sum 1"
        )
    return tuple(found.tolist())


def _is_half(network: PickledNetwork, stage: int) -> bool:
    name = f"Model.MainLayers.{stage}"
    module = network.modules.get(name)
    dtype = "float32" if module is None else module.attributes.get("DataType", "float32")
    dtype = str(dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise ValueError(f"{name}.DataType is {dtype}; expected one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _check_attributes(which: str, network: PickledNetwork | None, config: r3gan.Config) -> None:
    """ValueError for a layer of another class, or with an attribute that is not as here."""
    for name, module in ({} if network is None else network.modules).items():
        last = name.rpartition(".")[2]
        wanted = next((c for prefix, c in _CLASSES.items() if last.startswith(prefix)), "")
        if not module.class_name.startswith(wanted):
            raise ValueError(
                f"{which}.{name} is a {module.class_name}; expected a class {wanted}…, the only "
                "kind that is known here"
            )
        expected = dict(_expected(name, module, config))
        for attribute, value in module.attributes.items():
            if attribute not in (*_FREE, *expected):
                raise ValueError(
                    f"{which}.{name}.{attribute} is {value!r}; expected no such attribute, whose "
                    "effect is not known here"
                )
            if attribute in expected and value != expected[attribute]:
                raise ValueError(
                    f"{which}.{name}.{attribute} is {value!r}; expected {expected[attribute]!r}"
                )


def _expected(name: str, module: PickledModule, config: r3gan.Config) -> Iterator[tuple[str, Any]]:
    """(attribute, its value here) of one module."""
    if not name:
        yield from (("z_dim", config.z_dim), ("c_dim", config.c_dim))
        yield "img_resolution", config.img_width
    elif "stride" in module.attributes:
        k = list(module.attributes.get("kernel_size") or [])
        is_basis = name.endswith(".Basis")
        yield "padding", [0, 0] if is_basis else [n // 2 for n in k]
        yield from (("stride", [1, 1]), ("dilation", [1, 1]), ("output_padding", [0, 0]))
        yield from (("transposed", False), ("padding_mode", "zeros"))
    elif name.endswith("Resampler"):
        yield "FilterRadius", len(config.resample_filter) // 2
