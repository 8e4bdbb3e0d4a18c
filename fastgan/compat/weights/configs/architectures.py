# SPDX-License-Identifier: Apache-2.0
"""The architectures whose files are read, and what marks each."""

from fastgan.compat.weights.configs.r3gan import r3gan_config
from fastgan.compat.weights.configs.shapes import Weights
from fastgan.compat.weights.configs.stylegan2 import stylegan2_config
from fastgan.compat.weights.configs.stylegan3 import stylegan3_config

CONFIGS = {"stylegan2": stylegan2_config, "stylegan3": stylegan3_config, "r3gan": r3gan_config}


def architecture_of(g: Weights) -> str | None:
    """The kind of G (stylegan2, …, bigvgan), from the names of its weights; None if unknown."""
    marks = {
        "stylegan3": "synthesis.input.freqs",
        "stylegan2": "synthesis.b4.conv1.weight",
        "r3gan": "Model.MainLayers.0.Layers.0.Basis",
        "rosinality": "input.input",
    }
    for name, key in marks.items():
        if key in g:
            return name
    if any(key.startswith("conv_pre.") for key in g):
        return "bigvgan" if any(".act.alpha" in key for key in g) else "hifigan"
    return None
