# SPDX-License-Identifier: Apache-2.0
"""Recipes: settings that are known to work together, one file each, a folder for each modality.

Each file holds `recipe(..., gpus=1, **overrides) -> TrainConfig`, where gpus is the number of
processes that will train, overrides are `TrainConfig.with_changes`'s, and further arguments are
what the modality's data tell (`fastgan.modalities.DataFacts.arguments`): of images the resolution,
(height, width), and img_channels and c_dim; of others all have defaults. A recipe is a file that
exists; `load_recipe` finds it by its name, in which a hyphen stands for an underscore of the
file's. The folder's name is that of its modality.
"""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastgan.training.config.run import TrainConfig

__all__ = [
    "data_options",
    "is_published",
    "load_recipe",
    "recipe_modality",
    "recipes",
    "shown_resolution",
]


def _found() -> dict[str, str]:
    """Name → folder, of every recipe; nothing of them is imported."""
    found = {}
    for folder in pkgutil.iter_modules(__path__):
        path = [f"{parent}/{folder.name}" for parent in __path__]
        for module in pkgutil.iter_modules(path):
            if not module.name.startswith("_"):
                found[module.name.replace("_", "-")] = folder.name
    return dict(sorted(found.items()))


def _load(name: str) -> ModuleType:
    folder = recipe_modality(name)
    return importlib.import_module(f"{__name__}.{folder}.{name.replace('-', '_')}")


def recipes(modality: str | None = None) -> list[str]:
    """Names that `load_recipe` takes.

    Args:
        modality: only those for it, such as "images"; default: all.

    Returns:
        The names, sorted.
    """
    return [name for name, folder in _found().items() if modality in (None, folder)]


def recipe_modality(name: str) -> str:
    """The modality that a recipe is for.

    Args:
        name: one of `recipes()`.

    Returns:
        A name that `fastgan.modalities.load_modality` takes, such as "images".

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    found = _found()
    if name not in found:
        raise ValueError(
            f"load_recipe: name must be one of {', '.join(found)}, got {name!r}; a new recipe is a "
            f"new file in {__name__.replace('.', '/')}/MODALITY"
        )
    return found[name]


def data_options(name: str) -> dict[str, Any]:
    """`DataConfig.options` that a recipe reads its data with: DATA_OPTIONS of its file, or {}.

    Args:
        name: one of `recipes()`.

    Returns:
        The options by name.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return dict(getattr(_load(name), "DATA_OPTIONS", {}))


def is_published(name: str) -> bool:
    """Whether a recipe has published settings, for GPUs: IS_PUBLISHED of its file.

    Args:
        name: one of `recipes()`.

    Returns:
        False for those that are sized for a processor.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return getattr(_load(name), "IS_PUBLISHED", False)


def load_recipe(name: str) -> Callable[..., TrainConfig]:
    """The function `recipe` of `fastgan.training.config.recipes.<modality>.<name>`.

        config = load_recipe("stylegan3-t")(resolution=(512, 512), gpus=8)

    The names of published configurations are those of the code that they come from: auto,
    stylegan2, paper256, paper512, paper1024 and cifar of stylegan2-ada-pytorch; stylegan3-t and
    stylegan3-r; r3gan, which also takes `preset`, one of CIFAR10, FFHQ-64, FFHQ-256, ImageNet-32
    and ImageNet-64; hifigan-v1, -v2, -v3 and bigvgan. All others are sized for a processor.

    Args:
        name: one of `recipes()`.

    Returns:
        `recipe(*, resolution, img_channels=3, c_dim=0, gpus=1, **overrides) -> TrainConfig` for
        images; for another modality the first three are what its data tell, with defaults.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return _load(name).recipe


def shown_resolution(name: str) -> tuple[int, int]:
    """The resolution for which the defaults of a recipe for images are shown where none is given.

    Args:
        name: one of `recipes("images")`.

    Returns:
        (height, width): that of the published runs, or (64, 64).

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return getattr(_load(name), "RESOLUTION", (64, 64))
