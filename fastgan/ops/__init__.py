# SPDX-License-Identifier: Apache-2.0
"""Fused GAN kernels as functions on tensors: no parameters, no state. One module per op."""

import fastgan.ops.augment_matrices
import fastgan.ops.augment_positions
import fastgan.ops.observe
import fastgan.ops.sample_random  # noqa: F401  these for their ops, which backends() lists
from fastgan.ops._backend import NativeRequiredError, backends, library_facts, use_backend
from fastgan.ops._convolutions.conv2d import Conv2dChoice, conv2d, conv2d_choice, use_winograd
from fastgan.ops._convolutions.conv2d_resample import conv2d_resample
from fastgan.ops._convolutions.conv_transpose2d import conv_transpose2d, conv_transpose2d_choice
from fastgan.ops._convolutions.modulated_conv2d import modulated_conv2d
from fastgan.ops._small_calls import use_small_calls
from fastgan.ops.adam_ema import adam_ema_
from fastgan.ops.anti_aliased_snake import anti_aliased_snake, kaiser_sinc_filter
from fastgan.ops.attention import attention
from fastgan.ops.bias_act import bias_act
from fastgan.ops.bias_act_filter2d import bias_act_filter2d
from fastgan.ops.demodulation import demodulation
from fastgan.ops.filtered_lrelu import filtered_lrelu
from fastgan.ops.gradient_penalty import gradient_penalty, interpolate_samples
from fastgan.ops.grouped_conv2d import grouped_conv2d
from fastgan.ops.minibatch_stddev import minibatch_stddev
from fastgan.ops.modulate import channel_dot, modulate
from fastgan.ops.noise_bias_act import noise_bias_act
from fastgan.ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d
from fastgan.ops.winograd_conv2d import winograd_conv2d
from fastgan.ops.winograd_strided_conv2d import (
    winograd_strided_conv2d,
    winograd_strided_conv_transpose2d,
)

__all__ = [
    "Conv2dChoice",
    "NativeRequiredError",
    "adam_ema_",
    "anti_aliased_snake",
    "attention",
    "backends",
    "bias_act",
    "bias_act_filter2d",
    "channel_dot",
    "conv2d",
    "conv2d_choice",
    "conv2d_resample",
    "conv_transpose2d",
    "conv_transpose2d_choice",
    "demodulation",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "gradient_penalty",
    "grouped_conv2d",
    "interpolate_samples",
    "kaiser_sinc_filter",
    "library_facts",
    "minibatch_stddev",
    "modulate",
    "modulated_conv2d",
    "noise_bias_act",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use_backend",
    "use_small_calls",
    "use_winograd",
    "winograd_conv2d",
    "winograd_strided_conv2d",
    "winograd_strided_conv_transpose2d",
]
