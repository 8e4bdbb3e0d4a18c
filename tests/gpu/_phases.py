# SPDX-License-Identifier: Apache-2.0
"""Step `capture`: every phase of every recipe, captured against eager."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

import torch

from fastgan.losses import load_objective
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import TrainConfig
from fastgan.training.optim.ema import update_ema
from fastgan.training.step import phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.state import TrainState, build_state
from tests._small_networks import SMALL_RECIPES, size_of
from tests.gpu._capture import Comparison, compare
from tests.gpu._child_processes import drive, serve
from tests.gpu._steps import FAILED, PASSED, Outcome, Session

RESOLUTION = (16, 12)
BATCH = 8
ROUNDS = 3
REPORTED = 8  # differing tensors named per phase, the worst first


def average_weights(state: TrainState, batch: Batch) -> None:
    """G_ema's part of a step."""
    update_ema(state.G_ema, state.G, state.ema_weight)


def adapt_p(state: TrainState, batch: Batch) -> None:
    """ADA's part of a step: p follows the signs that D's phases counted."""
    state.ada.accumulate(batch.x.mean((1, 2, 3)))
    state.ada.update(state.augment, state.config.batch * phases.ADA_INTERVAL)


PHASES = {
    phase.__name__: phase
    for phase in (
        phases.d_step,
        phases.d_penalty_step,
        phases.d_full_step,
        phases.g_step,
        phases.g_penalty_step,
        phases.g_full_step,
        average_weights,
        adapt_p,
    )
}


def small_config(recipe: str, device: str) -> TrainConfig:
    """The recipe at a small size, with every term on that it can have, so that all phases run."""
    make = load_recipe(recipe)
    config = make(resolution=size_of(make, RESOLUTION), batch=BATCH, device=device)
    is_ada = not load_objective(config.objective).needs_real_for_g
    changes: dict[str, Any] = {"augment": {"mode": "ada" if is_ada else "fixed", "p": 0.2}}
    changes["r1_gamma"] = config.r1_gamma or 1.0
    if hasattr(config.model, "w_dim"):  # path length and style mixing need latents w
        changes |= {"pl_weight": config.pl_weight or 2.0, "style_mixing_prob": 0.5}
    return config.with_changes(**changes)


def phases_of(config: TrainConfig) -> list[str]:
    """Names of the phases that this configuration can run."""
    names = ["d_step", "d_penalty_step", "d_full_step", "g_step"]
    names += ["g_penalty_step", "g_full_step"] if config.pl_weight > 0 else []
    names += ["average_weights"]
    return [*names, "adapt_p"] if config.augment.mode == "ada" else names


def items(device: str) -> list[str]:
    """ "recipe/phase" of all small ones, in turn, so that a run cut short has seen each."""
    lists = [
        [f"{name}/{p}" for p in phases_of(small_config(name, device))] for name in SMALL_RECIPES
    ]
    longest = max(map(len, lists))
    return [names[i] for i in range(longest) for names in lists if i < len(names)]


def run(session: Session) -> Outcome:
    records = drive(
        "tests.gpu._phases", items(session.device), ["--device", session.device],
        session.limit_s,
    )  # fmt: skip
    failed = [f"{r['item']}: {r['failure']}" for r in records if r["failure"]]
    data = {"phases": records}
    if failed:
        more = f"; and {len(failed) - 1} more" if len(failed) > 1 else ""
        return Outcome(status=FAILED, reason=failed[0] + more, data=data)
    return Outcome(status=PASSED, data=data)


def work(item: str, options: argparse.Namespace) -> dict[str, Any]:
    """One record: counts, whether it is equal bit for bit, and what differs."""
    make_repeatable()
    recipe, phase = item.split("/")
    state = make_state(small_config(recipe, options.device))
    return describe(compare(state, PHASES[phase], make_batches(state)))


def describe(found: Comparison) -> dict[str, Any]:
    wrong = sorted(found.wrong, key=lambda d: -d.relative)
    failure = None
    if wrong:
        worst = wrong[0]
        failure = (
            f"{len(wrong)} tensors differ, {worst.tensor} in round {worst.round} by "
            f"{worst.max_abs:.3g} ({worst.relative:.3g} of its change)"
        )
    return {
        "failure": failure,
        "tensors": found.tensors,
        "rounds": found.rounds,
        "is_bitwise_equal": not found.differences,
        "eager_is_repeatable": found.is_repeatable,
        "differing": [asdict(d) for d in sorted(found.differences, key=_size)[:REPORTED]],
    }


def _size(difference: Any) -> tuple[bool, float]:
    return not difference.is_wrong, -difference.relative


@torch.no_grad()
def make_state(config: TrainConfig) -> TrainState:
    """A state in which everything counts: at the start of a run biases and noise strengths are 0,
    and the average is G itself, so that a recording that left them out would not differ."""
    state = build_state(config)
    generator = torch.Generator().manual_seed(2)
    for network in (state.G, state.D, state.G_ema):
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator).to(p.device))
    state.ema_weight.fill_(0.25)
    return state


def make_batches(state: TrainState) -> list[Batch]:
    """ROUNDS different ones of the state's shapes."""
    config, generator = state.config, torch.Generator().manual_seed(1)
    model = config.model
    shape = [config.batch, model.img_channels, model.img_height, model.img_width]
    return [
        Batch(x=(torch.rand(shape, generator=generator) * 2 - 1).to(state.device))
        for _ in range(ROUNDS)
    ]


def make_repeatable() -> None:
    """The same algorithms each time, where torch has repeatable ones."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


if __name__ == "__main__":
    sys.exit(serve(work, argparse.ArgumentParser(prog="python -m tests.gpu._phases")))
