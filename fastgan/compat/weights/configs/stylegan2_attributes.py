# SPDX-License-Identifier: Apache-2.0
"""What attributes StyleGAN2's pickled modules have in the network that a Config makes."""

from fastgan.compat.weights.configs.attributes import Attributes
from fastgan.models import stylegan2
from fastgan.models.stylegan2.config import default_gain

HARMLESS = {
    "training": "an imported network is put in the mode in which it is used",
    "channels_last": "a memory format: the same values",
    "fused_modconv_default": "an order of operations: the same values up to rounding",
    "num_fp16_res": "it decides use_fp16 of each block, which is compared",
    "first_layer_idx": "it numbers the layers of D, to freeze some of them in training",
}
FULLY_CONNECTED = {
    "in_features": lambda m: m.in_features,
    "out_features": lambda m: m.weight.shape[0],
    "activation": lambda m: m.activation,
    "weight_gain": lambda m: m.weight_gain,
    "bias_gain": lambda m: m.bias_gain,
}
MAPPING = {
    "z_dim": lambda m: m.z_dim,
    "c_dim": lambda m: m.c_dim,
    "w_dim": lambda m: m.w_dim,
    "num_ws": lambda m: m.num_ws,
    "num_layers": lambda m: m.num_layers,
    "w_avg_beta": lambda m: m.w_avg_beta,
    "embed": lambda m: None,  # a module, and no attribute, where there is one
}
_CONVOLUTION = {
    "in_channels": lambda m: m.in_channels,
    "out_channels": lambda m: m.weight.shape[0],
    "kernel_size": lambda m: m.weight.shape[-1],
    "activation": lambda m: m.activation,
    "up": lambda m: m.up,
    "down": lambda m: m.down,
    "padding": lambda m: m.weight.shape[-1] // 2,
    "weight_gain": lambda m: m.weight_gain,
    "act_gain": lambda m: default_gain(m.activation),
    "bias": lambda m: None,  # a parameter, and no attribute, where there is one
}


def generator_attributes(c: stylegan2.Config) -> Attributes:
    side, latents = c.img_height, {"z_dim": c.z_dim, "c_dim": c.c_dim, "w_dim": c.w_dim}
    image = {
        "img_resolution": lambda m: side,
        "img_channels": lambda m: c.img_channels,
        "num_ws": lambda m: m.num_ws,
    }
    channels = {
        "in_channels": lambda m: m.in_channels,
        "out_channels": lambda m: m.weight.shape[0],
        "kernel_size": lambda m: m.weight.shape[-1],
        "w_dim": lambda m: m.w_dim,
        "conv_clamp": lambda m: c.conv_clamp,
    }
    return {
        "Generator": image | {k: lambda m, n=n: n for k, n in latents.items()},
        "MappingNetwork": MAPPING,
        "FullyConnectedLayer": FULLY_CONNECTED,
        "SynthesisNetwork": image
        | {
            "w_dim": lambda m: c.w_dim,
            "img_resolution_log2": lambda m: side.bit_length() - 1,
            "block_resolutions": lambda m: [height for height, _ in c.sizes],
        },
        "SynthesisBlock": {
            "in_channels": lambda m: m.conv0.in_channels if m.num_convs > 1 else 0,
            "w_dim": lambda m: c.w_dim,
            "resolution": lambda m: m.size[0],
            "img_channels": lambda m: c.img_channels,
            "is_last": lambda m: m.size == c.sizes[-1],
            "architecture": lambda m: m.architecture,
            "use_fp16": lambda m: m.dtype is not None,
            "num_conv": lambda m: m.num_convs,
            "num_torgb": lambda m: int(m.has_rgb),
        },
        "SynthesisLayer": channels
        | {
            "resolution": lambda m: m.size[0],
            "up": lambda m: m.up,
            "use_noise": lambda m: m.use_noise,
            "activation": lambda m: m.activation,
            "padding": lambda m: m.weight.shape[-1] // 2,
            "act_gain": lambda m: default_gain(m.activation),
        },
        "ToRGBLayer": channels | {"weight_gain": lambda m: m.style_gain},
        "Conv2dLayer": _CONVOLUTION | {"conv_clamp": lambda m: None},  # beside a residual block
    }


def discriminator_attributes(c: stylegan2.Config) -> Attributes:
    """`c` is what D is made of: `Config.discriminator`."""
    side = c.img_height
    return {
        "Discriminator": {
            "c_dim": lambda m: c.c_dim,
            "img_resolution": lambda m: side,
            "img_resolution_log2": lambda m: side.bit_length() - 1,
            "img_channels": lambda m: c.img_channels,
            "block_resolutions": lambda m: [height for height, _ in c.sizes[:0:-1]],
        },
        "MappingNetwork": MAPPING,
        "FullyConnectedLayer": FULLY_CONNECTED,
        "DiscriminatorBlock": {
            "in_channels": lambda m: 0 if m.is_first else m.conv0.in_channels,
            "resolution": lambda m: m.size[0],
            "img_channels": lambda m: c.img_channels,
            "architecture": lambda m: m.architecture,
            "use_fp16": lambda m: m.dtype is not None,
            "num_layers": lambda m: len(list(m.children())),
        },
        "DiscriminatorEpilogue": {
            "in_channels": lambda m: m.conv.weight.shape[0],
            "cmap_dim": lambda m: m.out.weight.shape[0] if c.c_dim else 0,
            "resolution": lambda m: c.sizes[0][0],
            "img_channels": lambda m: c.img_channels,
            "architecture": lambda m: c.d_architecture,
            "mbstd": lambda m: None,  # a module, and no attribute, where there is one
        },
        "MinibatchStdLayer": {
            "group_size": lambda m: m.group_size,
            "num_channels": lambda m: m.num_channels,
        },
        "Conv2dLayer": _CONVOLUTION
        | {"conv_clamp": lambda m: None if m.clamp is None else c.conv_clamp},
    }
