# SPDX-License-Identifier: Apache-2.0
"""The dtypes in which the networks of a run compute, chosen for a whole configuration and shown.

A network's design says which of its maps may be 16 bits: StyleGAN's largest sizes, where conv_clamp
bounds the activations (arXiv 2006.06676, appendix A), and R3GAN's stages (arXiv 2501.05441). Their
weights, gradients and optimizers are float32. A new run takes bfloat16 there: it has float32's
range, so that neither the maps nor their gradients overflow or vanish. Imported weights keep the
dtype of their file.
"""

from typing import Any

import torch

from fastgan.training.config.run import TrainConfig

__all__ = ["has_own_half", "in_one_dtype", "precision_note", "with_half_dtype"]

_NO_HALF = {"half_dtype": None, "bf16_stages": (), "d_bf16_stages": None}


def has_own_half(config: TrainConfig) -> bool:
    """Whether the design of the networks has maps of 16 bits that this configuration uses."""
    model = config.model
    return any(bool(getattr(model, name, None)) for name in _NO_HALF)


def in_one_dtype(config: TrainConfig, precision: str) -> TrainConfig:
    """`config` where all layers of G and D compute in one dtype.

    Args:
        config: of a run.
        precision: "fp32", or "bf16": all layers under autocast.

    Returns:
        The configuration; the model's own 16-bit maps are switched off.
    """
    off = {k: v for k, v in _NO_HALF.items() if hasattr(config.model, k)}
    return config.with_changes(precision=precision, model=off)


def with_half_dtype(config: TrainConfig, dtype: str) -> TrainConfig:
    """`config` with another dtype of the maps that its networks compute in 16 bits.

    Args:
        config: of a run whose model has a `half_dtype`.
        dtype: "bfloat16" or "float16".

    Returns:
        The configuration.

    Raises:
        ValueError: when the model has no `half_dtype`.
    """
    if getattr(config.model, "half_dtype", None) is None:
        raise ValueError(
            f"with_half_dtype: config must have 16-bit maps whose dtype can be chosen, but "
            f"{config.name} (architecture {config.architecture}) has none; leave it as it is"
        )
    return config.with_changes(model={"half_dtype": dtype})


def precision_note(config: TrainConfig, device: torch.device | str) -> str:
    """One line that says in which dtypes the layers compute on `device`.

    Args:
        config: of a run.
        device: on which it runs.

    Returns:
        Such as "bfloat16 in the 4 largest sizes of G and D, float32 elsewhere".
    """
    model, is_cuda = config.model, torch.device(device).type == "cuda"
    if config.precision == "bf16":
        return "bfloat16 in all layers of G and D; weights, optimizers and losses are float32"
    half = getattr(model, "half_dtype", None)
    if half is not None:
        where = f"{half} in the {_largest(model)} of G and D"
        if is_cuda or model.half_on_cpu:
            return f"{where}, float32 elsewhere; weights, optimizers and losses are float32"
        return f"float32 ({where} on CUDA alone)"
    if getattr(model, "bf16_stages", None):
        return (
            f"bfloat16 in {_sides(model)} of G and D, float32 elsewhere; weights, optimizers and "
            "losses are float32"
        )
    return "float32"


def _largest(model: Any) -> str:
    if hasattr(model, "half_layers"):
        return f"{model.half_layers} largest sampling rates"
    return f"{model.half_sizes} largest sizes"


def _sides(model: Any) -> str:
    sides = [4 * 2**stage for stage in sorted(model.bf16_stages)]
    words = [f"{side}x{side}" for side in sides]
    return f"the stages of {', '.join(words)}"
