"""Recipes: settings that are known to work together, one file each.

Each file holds `recipe(*, resolution, img_channels=3, c_dim=0, gpus=1, **overrides) -> TrainConfig`
where resolution is (height, width), gpus is the number of processes that will train, and overrides
are `TrainConfig.with_changes`'s. A recipe is a file of this package that exists; `load_recipe`
finds it by its name, in which a hyphen stands for an underscore of the file's. A file may name the
`RESOLUTION` for which `fastgan train --help --cfg NAME` shows the defaults; (64, 64) otherwise.
"""

from collections.abc import Callable

from fastgan.registry import ModuleRegistry
from fastgan.training.config.run import TrainConfig

__all__ = ["load_recipe", "recipes", "shown_resolution"]

_REGISTRY = ModuleRegistry(__name__, "recipe", "load_recipe", has_hyphens=True)


def recipes() -> list[str]:
    """Names that `load_recipe` takes.

    Returns:
        The names, sorted.
    """
    return _REGISTRY.names()


def load_recipe(name: str) -> Callable[..., TrainConfig]:
    """The function `recipe` of `fastgan.training.config.recipes.<name>`.

        config = load_recipe("stylegan3-t")(resolution=(512, 512), gpus=8)

    The names of published configurations are those of the code that they come from: auto,
    stylegan2, paper256, paper512, paper1024 and cifar of stylegan2-ada-pytorch; stylegan3-t and
    stylegan3-r; r3gan, which also takes `preset`, one of CIFAR10, FFHQ-64, FFHQ-256, ImageNet-32
    and ImageNet-64. Those with -small, dcgan, mlp and faces are sized for a processor.

    Args:
        name: one of `recipes()`.

    Returns:
        `recipe(*, resolution, img_channels=3, c_dim=0, gpus=1, **overrides) -> TrainConfig`.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return _REGISTRY.load(name).recipe


def shown_resolution(name: str) -> tuple[int, int]:
    """The resolution for which the defaults of a recipe are shown where none is given.

    Args:
        name: one of `recipes()`.

    Returns:
        (height, width): that of the published runs, or (64, 64).

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return getattr(_REGISTRY.load(name), "RESOLUTION", (64, 64))
