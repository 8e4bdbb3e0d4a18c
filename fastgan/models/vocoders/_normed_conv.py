# SPDX-License-Identifier: Apache-2.0
"""Convolutions under weight or spectral norm that load every form in which their weight is saved.

Forms of a weight-normed convolution's weight in a state dict, each read by any of our networks,
with its norm or after ``remove_weight_norm``:

    parametrizations.weight.original0, .original1    torch.nn.utils.parametrizations.weight_norm
    weight_g, weight_v                               torch.nn.utils.weight_norm, most checkpoints
    weight                                           after the norm was removed

Of spectral norm: ``parametrizations.weight.original``, ``.0._u``, ``.0._v``, or ``weight_orig``,
``weight_u``, ``weight_v``.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from fastgan.nn._torch_conv import Conv1d

_GAIN, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_OLD_GAIN, _OLD_DIRECTION = "weight_g", "weight_v"


def _norm(v: torch.Tensor) -> torch.Tensor:
    """The norm of each slice of dimension 0, which is what weight norm fixes."""
    return torch.linalg.vector_norm(v, dim=tuple(range(1, v.dim())), keepdim=True)


def _read_weight(
    conv: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_unused: Any
) -> None:
    """Rewrites the entries of ``conv``'s weight in ``state`` in the form that ``conv`` has now."""
    pairs = ((_GAIN, _DIRECTION), (_OLD_GAIN, _OLD_DIRECTION))
    found = [p for p in pairs if prefix + p[0] in state and prefix + p[1] in state]
    if parametrize.is_parametrized(conv, "weight"):
        if prefix + "weight" in state and not found:
            weight = state.pop(prefix + "weight")
            gain, direction = _norm(weight), weight
        elif found and found[0] != pairs[0]:
            gain, direction = (state.pop(prefix + name) for name in found[0])
        else:
            return
        state[prefix + _GAIN], state[prefix + _DIRECTION] = gain, direction
    elif found and prefix + "weight" not in state:
        gain, direction = (state.pop(prefix + name) for name in found[0])
        state[prefix + "weight"] = direction * (gain / _norm(direction))


def weight_normed(conv: nn.Module) -> nn.Module:
    """``conv`` with weight norm over all but its weight's first dimension."""
    parametrizations.weight_norm(conv)
    conv.register_load_state_dict_pre_hook(_read_weight)
    return conv


def same_conv(channels: int, kernel: int, dilation: int = 1) -> nn.Module:
    """A weight-normed 1-D convolution that keeps channels and length; ``kernel`` is odd."""
    padding = (kernel - 1) * dilation // 2
    return weight_normed(Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))


def remove_weight_norm(network: nn.Module) -> None:
    """Turns each weight-normed weight of ``network`` into a plain parameter of the same value."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


_SPECTRAL = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}


def _read_spectral(
    conv: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_unused: Any
) -> None:
    for old, new in _SPECTRAL.items():
        if prefix + old in state:
            state[prefix + new] = state.pop(prefix + old)


def spectral_normed(conv: nn.Module) -> nn.Module:
    """``conv`` with its weight divided by its largest singular value."""
    parametrizations.spectral_norm(conv)
    conv.register_load_state_dict_pre_hook(_read_spectral)
    return conv
