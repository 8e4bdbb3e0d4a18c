# SPDX-License-Identifier: Apache-2.0
"""Layers that own parameters: the parts of a GAN, each usable alone in an existing model.

Every layer casts its parameters to the dtype of its input, works under ``torch.autocast`` and in
float64, keeps channels-last maps channels-last, and is twice differentiable.
"""

from fastgan.nn.acceleration.model_swap import accelerate, undo_accelerate
from fastgan.nn.acceleration.report import Acceleration, LayerRow
from fastgan.nn.activation import FusedLeakyReLU
from fastgan.nn.attention import SelfAttention, SelfAttention2d
from fastgan.nn.conv import EqualConv2d
from fastgan.nn.linear import EqualLinear
from fastgan.nn.mapping import MappingNetwork
from fastgan.nn.mel import LogMel, mel_filters
from fastgan.nn.modulation import ModulatedConv2d
from fastgan.nn.noise import NoiseInjection
from fastgan.nn.norm import PixelNorm
from fastgan.nn.resample import Blur, Downsample, Upsample
from fastgan.nn.snake import AntiAliasedActivation, Snake, SnakeBeta
from fastgan.nn.stddev import MinibatchStddev
from fastgan.nn.style_mixing import mix_styles, sample_cutoff

__all__ = [
    "Acceleration",
    "AntiAliasedActivation",
    "Blur",
    "Downsample",
    "EqualConv2d",
    "EqualLinear",
    "FusedLeakyReLU",
    "LayerRow",
    "LogMel",
    "MappingNetwork",
    "MinibatchStddev",
    "ModulatedConv2d",
    "NoiseInjection",
    "PixelNorm",
    "SelfAttention",
    "SelfAttention2d",
    "Snake",
    "SnakeBeta",
    "Upsample",
    "accelerate",
    "mel_filters",
    "mix_styles",
    "sample_cutoff",
    "undo_accelerate",
]
