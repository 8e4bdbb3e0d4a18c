# SPDX-License-Identifier: Apache-2.0
"""Names that the options of `fastgan train` share, found without importing torch."""

import re
from pathlib import Path

__all__ = [
    "AS_CFG_HAS_IT",
    "AUGMENT_GROUPS",
    "AUTO",
    "AVATARS",
    "CONDITIONINGS",
    "HAS_PRESETS",
    "OF_CFG",
    "PRESETS",
    "cfg_names",
    "cfg_of",
    "loss_names",
    "option_name",
]

_PACKAGE = Path(__file__).resolve().parents[2]
_RECIPES = _PACKAGE / "training" / "config" / "recipes"
_OBJECTIVES = _PACKAGE / "losses" / "adversarial.py"

AVATARS = "avatars"
CONDITIONINGS = (
    "concatenation", "projection", "auxiliary_classifier", "projection_and_classifier",
)  # fmt: skip
AS_CFG_HAS_IT = "1"
AUTO = "auto"  # of --gamma
OF_CFG = "depends on --cfg"
HAS_PRESETS = "r3gan"
AUGMENT_GROUPS = (
    "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc",
    "r3gan", "diffaug",
)  # fmt: skip
PRESETS = ("CIFAR10", "FFHQ-64", "FFHQ-256", "ImageNet-32", "ImageNet-64")


def cfg_names() -> list[str]:
    """The values of --cfg: the public files of the recipes' folders, found without import."""
    stems = (path.stem for path in _RECIPES.glob("*/*.py") if not path.stem.startswith("_"))
    return sorted(stem.replace("_", "-") for stem in stems)


def loss_names() -> list[str]:
    """The values of --loss: the names of the objectives, read from their file without import."""
    names = re.findall(r'^    name = "([a-z0-9_]+)"$', _OBJECTIVES.read_text("utf-8"), re.MULTILINE)
    return sorted(names)


def cfg_of(name: str) -> str:
    """The value of --cfg that gives a configuration of this name: r3gan-FFHQ-64 → r3gan."""
    cfg, _, preset = name.partition("-")
    return cfg if cfg == HAS_PRESETS and preset in PRESETS else name


def option_name(parameter: str) -> str:
    """`batch_gpu` -> `--batch-gpu`."""
    return "--" + parameter.replace("_", "-")
