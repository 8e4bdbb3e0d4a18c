# SPDX-License-Identifier: Apache-2.0
"""torchvision."""

import functools
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes, makes


@changes("torchvision.utils")
def _image_range(utils: ModuleType, done: Changes) -> None:
    """`make_grid(range=)` and `save_image(range=)`, which are `value_range` since 0.13."""
    if "range" in inspect.signature(utils.make_grid).parameters:
        return
    for name in ("make_grid", "save_image"):
        done.set(utils, name, _with_range(getattr(utils, name)))


def _with_range(original: Any) -> Any:
    @functools.wraps(original)
    def renamed(*args: Any, **options: Any) -> Any:
        if "range" in options:
            options["value_range"] = options.pop("range")
        return original(*args, **options)

    return renamed


@makes("torchvision.transforms.functional_tensor")
def _functional_tensor() -> Mapping[str, Any]:
    """`torchvision.transforms.functional_tensor`, whose functions moved to `functional`."""
    functional = importlib.import_module("torchvision.transforms.functional")
    return {k: v for k, v in vars(functional).items() if not k.startswith("__")}


@makes("torchvision.models.utils")
def _load_state_dict_from_url() -> Mapping[str, Any]:
    """`torchvision.models.utils`, whose function is `torch.hub`'s."""
    return {
        "load_state_dict_from_url": importlib.import_module("torch.hub").load_state_dict_from_url
    }
