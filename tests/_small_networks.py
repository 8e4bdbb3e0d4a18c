# SPDX-License-Identifier: Apache-2.0
"""A small Config of every image architecture, at 16 × 16, conditional or not; sizes of recipes.

Its fields are `FIELDS_AT_16` of the architecture's own test file, tests/models/test_<name>.py: a
new architecture is tested by every test that goes through this file, and no list is edited.
"""

import ast
from pathlib import Path

from fastgan.models import architectures, load_architecture
from fastgan.training.config.recipes import is_published, load_recipe, recipes


def fields_at_16(name):
    """The literal in the test file of `name`, read without importing it."""
    path = Path(__file__).parent / "models" / f"test_{name}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIELDS_AT_16":
            return ast.literal_eval(node.value)
    raise LookupError(f"{path} has no FIELDS_AT_16, the fields of a small Config for 16 × 16")


def small(name, c_dim=0, **fields):
    """(module, config)."""
    module = load_architecture(name)
    size = {"img_channels": 3, "img_height": 16, "img_width": 16}
    return module, module.Config(c_dim=c_dim, **size | fields_at_16(name) | fields)


def takes(name, **fields):
    """Whether the architecture accepts these fields."""
    try:
        small(name, **fields)
    except ValueError:
        return False
    return True


def size_of(recipe, wanted):
    """`wanted` (height, width), or 16 × 16 where the recipe refuses that, or 32 × 32."""
    for size in (wanted, (16, 16)):
        try:
            recipe(resolution=size)
        except ValueError:
            continue
        return size
    return 32, 32


# One of each network, at a resolution where some of its layers are 16 bits and some are not.
PUBLISHED_RECIPES = dict.fromkeys(("paper256", "stylegan3-t", "stylegan3-r", "r3gan"), (64, 64))
AS_PUBLISHED = "as published"  # the one variant of these in tests/capture
OTHER_RECIPES = [name for name in recipes() if name not in recipes("images")]
SMALL_RECIPES = [name for name in recipes("images") if not is_published(name)]


def config_as_published(name, batch):
    """The TrainConfig of one of PUBLISHED_RECIPES on CUDA; a phase is one micro-batch."""
    recipe = load_recipe(name)
    config = recipe(resolution=PUBLISHED_RECIPES[name], batch=batch, device="cuda")
    return config.with_changes(batch_gpu=None)


def is_of_images(name):
    """Whether an architecture is for images: whether its Config has the sizes of an image."""
    return "img_height" in load_architecture(name).Config.__dataclass_fields__


FIELDS = {name: fields_at_16(name) for name in architectures() if is_of_images(name)}
UNCONDITIONAL = {name for name in FIELDS if not takes(name, c_dim=3)}
KINDS = [
    (name, c_dim) for name in FIELDS for c_dim in (0, 3) if c_dim == 0 or name not in UNCONDITIONAL
]
