# SPDX-License-Identifier: Apache-2.0
"""Prints, as JSON, what the capture lint says of `toy.clean` and of every planted violation."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import fake_cuda

sys.path.append(str(Path(__file__).parents[1] / "training"))  # tree_networks

__all__ = ["lint_planted"]


def lint_planted() -> list[dict[str, Any]]:
    """name, ops and findings (in words) of each; fake_cuda.load() comes before.

    The last row is a shipped recipe whose statistics are made to wait for the device.
    """
    import torch
    from lint import fake_device
    from planted import PLANTED
    from recipe_phases import lint_variant
    from toy import ahead, branches, clean

    from fastgan.training.config.optimizer import OPTIMIZERS
    from fastgan.training.step.statistics import Statistics

    def waiting_add(self: Statistics, name: str, values: torch.Tensor, share: float) -> None:
        self.sums[0, 0] += values.mean().item()

    # GradScaler switches itself off where torch.cuda finds no device.
    has_amp = mock.patch.object(
        torch.cuda.amp.common, "amp_definitely_not_available", return_value=False
    )
    with fake_device():
        parallel = _lint("branches", branches, ahead)  # first, as it has to count nodes
        trees = _lint_trees()
        with has_amp:
            rows = [_lint("clean", clean)]
            rows += [_lint(f"clean with {name}", clean, _with(name)) for name in OPTIMIZERS]
            rows += [_lint(name, v.body, v.prepare) for name, v in PLANTED.items()]
        with mock.patch.object(Statistics, "add", waiting_add):
            recipe = [row.findings for row in lint_variant("mlp", "shipped")]
    return [parallel, *rows, trees, {"name": "recipe", "ops": 0, "findings": sum(recipe, ())}]


def _lint_trees() -> dict[str, Any]:
    """All phases of tree_networks.py: trees, several outputs of D, losses that have a state."""
    import torch
    import tree_networks as trees
    from lint import construction, lint_phase
    from recipe_phases import host_work, phases_of_a_run

    from fastgan._trees import map_tensors
    from fastgan.training.distributed.replica import replicate
    from fastgan.training.step.batch import Batch

    with construction():
        config = trees.config(device="cuda", n_critic=2)
        state = trees.state(config)
        replicate(state, None)
        example = trees.batch(config, 0)
        x, c = map_tensors(lambda t: torch.empty_like(t, device="cuda"), (example.x, example.c))
        batch = Batch(x=x, c=c)
    ops, findings = 0, []
    for _, call in phases_of_a_run(state, batch):
        between = partial(host_work, state, batch)
        report = lint_phase(call, {"state": state, "batch": batch}, between)
        ops += report.ops
        findings += [str(f) for f in report.findings]
    return {"name": "trees", "ops": ops, "findings": findings}


def _with(optimizer: str) -> Callable[[Any], None]:
    """What gives a `Toy` this optimiser."""
    from fastgan.training.config.optimizer import OptimizerConfig
    from fastgan.training.optim.optimizers import make_optimizer

    config = OptimizerConfig(name=optimizer, weight_decay=0.1 * (optimizer == "adamw"))

    def prepare(toy: Any) -> None:
        toy.optimizer = make_optimizer(toy.D, config)

    return prepare


def _lint(
    name: str, body: Callable[[Any], None], prepare: Callable[[Any], None] | None = None
) -> dict[str, Any]:
    from lint import construction, lint_phase
    from toy import Toy, host_work

    with construction():
        toy = Toy()
        if prepare is not None:
            prepare(toy)
    report = lint_phase(partial(body, toy), {"toy": toy}, partial(host_work, toy))
    return {"name": name, "ops": report.ops, "findings": [str(f) for f in report.findings]}


def main() -> int:
    fake_cuda.load()
    print(json.dumps(lint_planted()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
