# SPDX-License-Identifier: Apache-2.0
"""`changes_since`: the differences between a resumed run and the one that was saved."""

from collections.abc import Iterator
from typing import Any

from fastgan.training.checkpoint.contents import environment
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import TrainState

__all__ = ["changes_since"]

_HARMLESS = {"total_kimg", "tick_kimg", "snapshot_every_ticks", "metrics", "metric_images",
             "capture", "recompute"}  # fmt: skip
_HARMLESS_OF_DATA = {"on_device"}


def changes_since(document: dict[str, Any], state: TrainState) -> tuple[str, ...]:
    """The settings, versions and devices that differ from the saved run and change its numbers.

    Args:
        document: of the checkpoint.
        state: of the resumed run.

    Returns:
        Lines such as "batch: 32 → 64".
    """
    saved = TrainConfig.from_dict(document["config"])  # with the defaults of newer fields
    old = saved.to_dict() | {"environment": document["environment"]}
    new = state.config.to_dict() | {"environment": environment(state)}
    return tuple(_differences(_relevant(old), _relevant(new), ""))


def _relevant(values: dict[str, Any]) -> dict[str, Any]:
    data = {k: v for k, v in values["data"].items() if k not in _HARMLESS_OF_DATA}
    return {k: v for k, v in values.items() if k not in _HARMLESS} | {"data": data}


def _differences(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{where}{key}.")
        elif before != after:
            yield f"{where}{key}: {before} → {after}"
