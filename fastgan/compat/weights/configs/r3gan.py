# SPDX-License-Identifier: Apache-2.0
"""R3GAN's Config from a file.

Sizes are those of the weights. The modules say what weights do not: the dtype of each stage, and
that no layer is of another kind, pads, strides or activates otherwise than here. Errors have the
names of the arguments of the published networks.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.compat.weights.configs.shapes import Weights
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import r3gan
from fastgan.models.r3gan.layers import Resampler, resampling_kernel

_ARGUMENTS = {  # fields that G and D share → the published argument
    "widths": "WidthPerStage", "blocks": "BlocksPerStage", "groups": "CardinalityPerStage",
    "expansion": "ExpansionFactor", "kernel_size": "KernelSize",
    "resample_filter": "ResamplingFilter", "bf16_stages": "FP16Stages", "c_dim": "c_dim",
    "img_channels": "img_channels",
}  # fmt: skip
_DTYPES = {"float32": False, "bfloat16": True}  # of a stage → whether it is one of bf16_stages
_FORMS = ("", "CUDA", "Reference")  # endings of a class's name: its forms compute alike
_FREE = (
    "training",
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "kernel_size",
    "DataType",
)
_OF_CONV = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")


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
    with torch.device("meta"):
        _check_modules("G", network, r3gan.Generator(config))
        if discriminator is not None:
            _check_modules("D", discriminator, r3gan.Discriminator(config))
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
    if not bool((found.abs() > 1e-6).any()):
        raise ValueError("ResamplingFilter: the first Resampler.Kernel is zero; expected of sum 1")
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


def published_classes(network: nn.Module) -> dict[str, str]:
    """{name of a module: its class in published files, without an ending of `_FORMS`}."""
    kind = "Discriminator" if isinstance(network, r3gan.Discriminator) else "Generator"
    sampling = "Downsample" if kind == "Discriminator" else "Upsample"
    changed = {
        "GeneratorModel": kind,
        "DiscriminatorModel": kind,
        "Stage": f"{kind}Stage",
        "Transition": f"{sampling}Layer",
        "Resampler": f"Interpolative{sampling}r",
    }
    classes = {name: type(module).__name__ for name, module in network.named_modules()}
    return {name: changed.get(found, found) for name, found in classes.items()}


def _check_modules(which: str, pickled: PickledNetwork, network: nn.Module) -> None:
    """ValueError for a module that `network` has not, of another class, or set otherwise."""
    ours, classes = dict(network.named_modules()), published_classes(network)
    for name, module in pickled.modules.items():
        where = f"{which}.{name}" if name else which
        if name not in ours:
            raise ValueError(
                f"{where} is a {module.class_name}; expected no such module, which R3GAN has not"
            )
        if module.class_name not in [classes[name] + form for form in _FORMS]:
            raise ValueError(
                f"{where} is a {module.class_name}; expected a class {classes[name]}, the only "
                "one that is known there"
            )
        expected = _expected(ours[name])
        for attribute, value in module.attributes.items():
            if attribute not in (*_FREE, *expected):
                raise ValueError(
                    f"{where}.{attribute} is {value!r}; expected no such attribute, whose "
                    "effect is not known here"
                )
            if attribute in expected and value != expected[attribute]:
                raise ValueError(
                    f"{where}.{attribute} is {value!r}; expected {expected[attribute]!r}"
                )


def _expected(module: nn.Module) -> dict[str, Any]:
    """{attribute of the published module: the value that is the same as `module` here}."""
    if isinstance(module, r3gan.Generator):
        c = module.config
        return {"z_dim": c.z_dim, "c_dim": c.c_dim, "img_resolution": c.img_width}
    if isinstance(module, nn.Conv2d):
        found = {name: getattr(module, name) for name in (*_OF_CONV, "padding_mode")}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}
    if isinstance(module, Resampler):
        return {"FilterRadius": (module.Kernel.shape[0] - 1) // 2}
    return {}
