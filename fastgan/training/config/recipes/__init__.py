"""Recipes: settings that are known to work together, one file each.

Each file holds `recipe(*, resolution, img_channels=3, c_dim=0, **overrides) -> TrainConfig`, where
resolution is (height, width) and overrides are `TrainConfig.with_changes`'s. A recipe is a file of
this package that exists; `load_recipe` finds it by name.
"""

from collections.abc import Callable

from fastgan.registry import ModuleRegistry
from fastgan.training.config.run import TrainConfig

__all__ = ["load_recipe", "recipes"]

_REGISTRY = ModuleRegistry(__name__, "recipe", "load_recipe")


def recipes() -> list[str]:
    """Names that `load_recipe` takes.

    Returns:
        The names, sorted.
    """
    return _REGISTRY.names()


def load_recipe(name: str) -> Callable[..., TrainConfig]:
    """The function `recipe` of `fastgan.training.config.recipes.<name>`.

        config = load_recipe("stylegan2")(resolution=(256, 256))

    Args:
        name: one of `recipes()`.

    Returns:
        `recipe(*, resolution, img_channels=3, c_dim=0, **overrides) -> TrainConfig`.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return _REGISTRY.load(name).recipe
