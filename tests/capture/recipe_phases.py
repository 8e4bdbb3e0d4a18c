# SPDX-License-Identifier: Apache-2.0
"""The lint over every phase of every shipped recipe: the shipped phases, not a copy.

The published configurations are run as they are, with small images: the same networks, wider.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lint import construction, fake_device, lint_phase

from fastgan._trees import map_floating
from fastgan.losses import load_objective
from fastgan.ops import use_backend
from fastgan.training.config.recipes import is_published, load_recipe
from fastgan.training.config.run import TrainConfig
from fastgan.training.distributed.replica import replicate
from fastgan.training.needs.step_on_meta import empty_batch
from fastgan.training.step import phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.scalars import set_scalars
from fastgan.training.step.state import TrainState, build_state

sys.path.insert(0, str(Path(__file__).parents[1]))
from _small_networks import (
    AS_PUBLISHED,
    OTHER_RECIPES,
    PUBLISHED_RECIPES,
    SMALL_RECIPES,
    config_as_published,
    size_of,
)

__all__ = [
    "Row", "autocast_works", "host_work", "lint_recipes", "lint_variant", "linted_by_default",
    "make_batch", "phases_of_a_run",
]  # fmt: skip

RESOLUTION = (12, 9)  # two halvings, cropped ones among them; values cost nothing here
BATCH = 4
CLASSES = 3
# The host's view before the warm-up and the three runs. Every interval of 2 or more sees a
# multiple of itself and another number among the last three, up to 8; 16 as well.
STEPS = (0, 15, 16, 42)
# Python numbers of the schedule that change from step to step
SCHEDULE = {
    "anneal_kimg": 1.0, "lr_end": 0.1, "gamma_end": 0.5, "ema_half_life_end_kimg": 1.0,
}  # fmt: skip

VARIANTS = (
    "shipped",
    "conditional",
    "augmented",
    "blurred, as published",
    "all penalties, lazy",
    "all penalties, every step",
    "finite difference",
    "bf16",
    "plain PyTorch ops",
)
VARIANTS_OF_OTHERS = ("shipped", "bf16")  # of other samples than images
AUGMENTED_BY_DEFAULT = "dcgan"  # its ops are a thousand more, the same ones in every recipe


@dataclass(frozen=True)
class Row:
    """One line of the table; findings in words."""

    recipe: str
    variant: str
    phase: str
    ops: int
    fastgan_ops: int
    findings: tuple[str, ...]


def lint_recipes(is_whole: bool) -> list[dict[str, Any]]:
    """A `Row` as a dict per recipe, variant and phase; fake_cuda.load() comes before.

    is_whole: every variant of every recipe; else what `linted_by_default` says.
    The published recipes, their augmentation and 16-bit layers included, are run as they are.
    """
    wanted = (
        {name: _variants(name) for name in (*SMALL_RECIPES, *OTHER_RECIPES, *PUBLISHED_RECIPES)}
        if is_whole
        else linted_by_default()
    )
    with fake_device():
        return [
            asdict(row)
            for name, variants in wanted.items()
            for variant in variants
            for row in lint_variant(name, variant)
        ]


def linted_by_default() -> dict[str, tuple[str, ...]]:
    """The variants by recipe: the one with most operators, of the first recipe of each architecture
    that is sized for a processor. The slow test has all."""
    found, architectures = {}, set()
    for name in (*SMALL_RECIPES, *OTHER_RECIPES):
        recipe = load_recipe(name)
        if is_published(name):
            continue
        is_of_images = name in SMALL_RECIPES
        config = recipe(resolution=size_of(recipe, RESOLUTION)) if is_of_images else recipe()
        if config.architecture not in architectures:
            architectures.add(config.architecture)
            found[name] = ("conditional",) if is_of_images else ("shipped",)
    found[AUGMENTED_BY_DEFAULT] += ("augmented",)
    return found


def _variants(name: str) -> tuple[str, ...]:
    if name in PUBLISHED_RECIPES:
        return (AS_PUBLISHED,)
    return VARIANTS if name in SMALL_RECIPES else VARIANTS_OF_OTHERS


def variant_config(name: str, variant: str) -> TrainConfig:
    c_dim = CLASSES if variant == "conditional" else 0
    recipe = load_recipe(name)
    if variant == AS_PUBLISHED:
        return config_as_published(name, BATCH)
    if name in OTHER_RECIPES:
        precision = "bf16" if variant == "bf16" else "fp32"
        return recipe(batch=BATCH, device="cuda", schedule=SCHEDULE, precision=precision)
    size = size_of(recipe, RESOLUTION)
    config = recipe(resolution=size, c_dim=c_dim, batch=BATCH, device="cuda", schedule=SCHEDULE)
    has_mapping = hasattr(config.model, "w_dim")  # latents, for path length and style mixing
    penalties = {"r1_gamma": 1.0, "r2_gamma": 1.0, "gp_weight": 10.0}
    if has_mapping:
        penalties |= {"pl_weight": 2.0, "style_mixing_prob": 0.5}
    match variant:
        case "augmented":
            is_relative = load_objective(config.objective).needs_real_for_g
            augment = {"groups": "bgcfnc", "p": 0.1, "mode": "fixed" if is_relative else "ada"}
            schedule = {"beta2_end": 0.5, "augment_p_end": 0.5 if is_relative else None}
            return config.with_changes(augment=augment, schedule=schedule)
        case "blurred, as published":
            changes = {"blur_init_sigma": 3.0, "blur_fade_kimg": 1.0, "first_network": "G"}
            if has_mapping:
                changes |= {"pl_weight": 2.0, "pl_target": "mean_after", "update_emas": "d_step"}
            augment = {"groups": "bgc", "p": 0.1, "mode": "fixed"}
            return config.with_changes(**changes, r1_gamma=1.0, augment=augment)
        case "all penalties, lazy":
            return config.with_changes(**penalties, d_reg_interval=4, g_reg_interval=4)
        case "all penalties, every step":
            changes = {"penalty_method": "double_backward", "d_reg_interval": 1}
            return config.with_changes(**penalties, **changes, g_reg_interval=1)
        case "finite difference":
            changes = {"penalty_method": "finite_difference", "d_reg_interval": 4}
            if config.augment.mode != "noaug":  # each run of D would draw its own
                changes["penalty_at"] = "augmented"
            return config.with_changes(**penalties, **changes, g_reg_interval=4)
        case "bf16":
            return config.with_changes(**penalties, precision="bf16")
    return config


def lint_variant(name: str, variant: str) -> Iterator[Row]:
    """The rows of one recipe and variant, under `fake_device`."""
    config = variant_config(name, variant)
    backend = "reference" if variant == "plain PyTorch ops" else "auto"
    with construction():
        state = build_state(config)
        replicate(state, None)  # the draws of a run
        batch = make_batch(config)
    between = partial(host_work, state, batch)
    holders = {"state": state, "batch": batch}
    for phase, run in phases_of_a_run(state, batch):
        with use_backend(backend), autocast_works():
            report = lint_phase(run, holders, between)
        findings = tuple(str(finding) for finding in report.findings)
        yield Row(name, variant, phase, report.ops, report.fastgan_ops, findings)


@contextlib.contextmanager
def autocast_works() -> Iterator[None]:
    """Autocast switches itself off where torch.cuda finds no device."""
    common = torch.cuda.amp.common
    with (
        mock.patch.object(common, "amp_definitely_not_available", return_value=False),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=True),
    ):
        yield


def phases_of_a_run(state: TrainState, batch: Batch) -> Iterator[tuple[str, Callable[[], None]]]:
    """What `train_step` runs in the course of a run, one entry for each that may be a graph."""
    config = state.config
    period = config.d_reg_interval * config.g_reg_interval * config.n_critic
    calls = [call for i in range(period) for call in phases.planned(i, config)]
    for phase, options in {
        (phase, tuple(options)): (phase, options) for phase, options in calls
    }.values():
        name = f"{phase.__name__} + average" if "averages" in options else phase.__name__
        yield name, partial(phase, state, batch, **options)
    if state.ada is not None:
        nimg = config.batch * phases.ADA_INTERVAL
        yield "ada.update", lambda: state.ada.update(state.augment, nimg)


def host_work(state: TrainState, batch: Batch, run: int) -> None:
    """What `train_step` and the loop do on the host before a step, with values that change."""
    state.step = STEPS[run]
    state.nimg = STEPS[run] * state.config.batch
    state.tick = run
    set_scalars(state)
    map_floating(lambda t: t.copy_(torch.rand_like(t) * 2 - 1), batch.x)
    if hasattr(state.augment, "p"):
        state.augment.p.fill_(0.1 * (run + 1))


def make_batch(config: TrainConfig) -> Batch:
    return empty_batch(config.model, config.batch, config.device)
