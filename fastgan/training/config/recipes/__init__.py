"""Recipes: settings that are known to work together, one file each.

Each file holds `recipe(*, resolution, img_channels=3, c_dim=0, **overrides) -> TrainConfig`, where
resolution is (height, width) and overrides are `TrainConfig.with_changes`'s. A recipe is a file of
this package that exists; `load_recipe` finds it by name.
"""

import importlib
import pkgutil
from collections.abc import Callable

from fastgan.training.config.run import TrainConfig

__all__ = ["load_recipe", "recipes"]


def recipes() -> list[str]:
    """Names that `load_recipe` takes, sorted: the public files of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load_recipe(name: str) -> Callable[..., TrainConfig]:
    """The function `recipe` of `fastgan.training.config.recipes.<name>`.

    ValueError names the recipes that exist.
    """
    if name not in recipes():
        raise ValueError(
            f"load_recipe: name must be one of {', '.join(recipes())}, got {name!r}; a new recipe "
            "is a new file in fastgan/training/config/recipes"
        )
    return importlib.import_module(f"fastgan.training.config.recipes.{name}").recipe
