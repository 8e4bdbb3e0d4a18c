# SPDX-License-Identifier: Apache-2.0
"""The training step, loop and optimisers name no recipe, no architecture and no modality."""

import ast
from pathlib import Path

import pytest

import fastgan
from fastgan.modalities import modalities
from fastgan.models import architectures
from fastgan.training.config.recipes import recipes

ROOT = Path(fastgan.__file__).parent
ENGINE = [
    path for part in ("step", "loop", "optim") for path in (ROOT / "training" / part).glob("*.py")
]
PACKAGES = ("fastgan.models", "fastgan.modalities", "fastgan.training.config.recipes")
LOADERS = {"load_architecture", "load_modality", "Modality"}
# Values of StepConfig.penalty_at and of TrainStep(memory_format=), and the name of a tensor.
ALLOWED = {"images", "auto"}


def named(source):
    """What a file names: modules that it imports beyond the loaders, and strings."""
    names = {*architectures(), *modalities(), *recipes()} - ALLOWED
    names |= {name.replace("-", "_") for name in names}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith(PACKAGES))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name not in LOADERS)
        elif isinstance(node, ast.Constant) and node.value in names:
            yield node.value


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_engine_names_no_row(path):
    assert list(named(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from fastgan.models.dcgan import Config", ["fastgan.models.dcgan.Config"]),
        ("import fastgan.modalities.words.data", ["fastgan.modalities.words.data"]),
        ("is_slow = config.name == 'spoken-digits'", ["spoken-digits"]),
        ("if config.architecture in ('transformer_gan',): pass", ["transformer_gan"]),
        ("from fastgan.models import load_architecture", []),
    ],
)
def test_a_name_in_the_engine_is_seen(line, found):
    assert list(named(line)) == found
