# SPDX-License-Identifier: Apache-2.0
"""How the weights of a user's networks lie in memory: `TrainStep(memory_format=...)`.

torch computes a convolution in channels_last where its weight lies so, whatever the images are, and
its output lies so, too. Flat buffers keep the strides of each parameter, so that gradients,
moments and the average lie as the weights do; names, shapes and values stay what they are.

Whether channels_last gains depends on the layers. "auto" takes it where it was measured to gain
(docs/drop-in.md has the figures): on a CPU, for float32 weights of networks of the layers in
`MEASURED` and no others, without a gradient penalty (with R1 it was slower). It reads types and
measures nothing, so that every process and every run decides alike. A class with a forward of its
own is left: it may call `x.view(n, -1)`, which fails for maps in channels_last. For the same reason
a hook makes the images that leave G contiguous, as they were: for D, for the augmentation and for a
caller of G_ema.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from fastgan._trees import map_tensors
from fastgan.nn.acceleration.swapped import Swapped
from fastgan.training.config.requirements import require
from fastgan.training.config.step import StepConfig

__all__ = ["MEASURED", "MEMORY_FORMATS", "lay_out"]

MEMORY_FORMATS = ("auto", "channels_last", "preserve")
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
MEASURED = frozenset(
    {
        *CONVOLUTIONS, nn.AvgPool2d, nn.BatchNorm2d, nn.Flatten, nn.Identity, nn.LeakyReLU,
        nn.Linear, nn.PixelShuffle, nn.PReLU, nn.ReLU, nn.Sequential, nn.Sigmoid, nn.Tanh,
        nn.Unflatten, nn.Upsample,
    }
)  # fmt: skip

_log = logging.getLogger("fastgan")


def lay_out(G: nn.Module, D: nn.Module, memory_format: str, config: StepConfig) -> dict[str, str]:
    """Lays the parameters [o, i, h, w] of both networks out in place, and logs how and why.

    Args:
        G: the generator, before its optimiser is made.
        D: the discriminator, likewise.
        memory_format: "auto", "channels_last" (both networks) or "preserve" (neither).
        config: of the step.

    Returns:
        "G" and "D" → "channels_last" or "as given", and why.

    Raises:
        ValueError: memory_format is none of these.
    """
    require(memory_format in MEMORY_FORMATS, "memory_format",
            f"one of {', '.join(MEMORY_FORMATS)}", memory_format,
            "preserve leaves the networks as they are")  # fmt: skip
    found = {}
    for name, network in (("G", G), ("D", D)):
        why = f"memory_format={memory_format!r}"
        is_changed = memory_format == "channels_last"
        if memory_format == "auto":
            obstacle = _obstacle(network, config)
            is_changed, why = obstacle is None, obstacle or "measured to gain for these layers"
        if is_changed:
            if network is G and _contiguous not in G._forward_hooks.values():
                G.register_forward_hook(_contiguous)
            for p in network.parameters():
                if p.dim() == 4:
                    p.data = p.data.contiguous(memory_format=torch.channels_last)
        found[name] = f"{'channels_last' if is_changed else 'as given'}: {why}"
        _log.info("TrainStep: the weights of %s are %s", name, found[name])
    return found


def _obstacle(network: nn.Module, config: StepConfig) -> str | None:
    """Why "auto" leaves a network as it is, or None."""
    modules = dict(network.named_modules())
    if not any(isinstance(m, CONVOLUTIONS) for m in modules.values()):
        return "it has no convolution of images"
    if any(p.dtype != torch.float32 for p in network.parameters()):
        return "its weights are not float32, for which alone channels_last was measured"
    if any(p.device.type != "cpu" for p in network.parameters()):
        return "it is not on the CPU, where alone channels_last was measured"
    if config.has_d_penalty:
        return "D has a gradient penalty, with which channels_last was measured slower"
    for name, module in modules.items():
        if isinstance(module, Swapped):
            return f"fastgan.nn.accelerate swapped {name}, and measured it as it lies"
        if type(module) not in MEASURED:
            of = f"{name} is a" if name else "it is a"
            return f"{of} {type(module).__name__}, with which channels_last was not measured"
        hooks = {*module._forward_hooks.values(), *module._forward_pre_hooks.values()}
        if hooks - {_contiguous}:
            return f"{name or 'it'} has a hook, which may depend on how maps lie"
    return None


def _contiguous(module: nn.Module, args: tuple[Any, ...], made: Any) -> Any:
    """A hook of a network: tensors leave it contiguous."""
    return map_tensors(Tensor.contiguous, made)
