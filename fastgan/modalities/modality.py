# SPDX-License-Identifier: Apache-2.0
"""`Modality`: the three files of a kind of samples, found by the name of their folder."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from fastgan.data.sample_loader import SampleLoader, sample_uniform
from fastgan.registry import ModuleRegistry

__all__ = ["DataFacts", "Modality", "load_modality", "modalities"]

_REGISTRY = ModuleRegistry(
    "fastgan.modalities", "modality", "load_modality", has_hyphens=True, only_folders=True
)


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of a data set before a run's configuration is.

    Args:
        arguments: what its recipes take of it: {"resolution", "img_channels", "c_dim"} of images.
        name: for the name of the run folder.
        count: the number of samples.
        num_bytes: of all samples in memory; default 0: not known.
        lines: to print, such as "data        photos: 900 images of 64x64 pixels".
    """

    arguments: dict[str, Any]
    name: str
    count: int
    num_bytes: int = 0
    lines: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Modality:
    """The files of one modality, and what follows where they leave something out.

    Args:
        name: of its folder.
        data: the module `data`.
        samples: the module `samples`.
        metric: the module `metric`.
    """

    name: str
    data: ModuleType
    samples: ModuleType
    metric: ModuleType

    def conditions(self, dataset: Any, indices: np.ndarray) -> Any:
        """The conditions of some samples, without reading the samples where that is possible.

        Args:
            dataset: that `data.open_data` returned.
            indices: int64 [n].

        Returns:
            `data.conditions(dataset, indices)` where there is such a function, else the second
            value of `dataset.batch`: a tree of tensors [n, ...] on the CPU, or None.
        """
        if hasattr(self.data, "conditions"):
            return self.data.conditions(dataset, indices)
        return dataset.batch(indices, sample_uniform(0, indices))[1]

    def grid(self, dataset: Any, n: int) -> tuple[Any, Any] | None:
        """The samples whose conditions every snapshot has.

        Args:
            dataset: that `data.open_data` returned.
            n: the most samples that a snapshot shows.

        Returns:
            (x, c) of `data.grid(dataset, n)`; None where there is no such function, or it gives
            None: conditions are the classes in turn then, or there are none.
        """
        return self.data.grid(dataset, n) if hasattr(self.data, "grid") else None

    def held_out(self, data: Any, model: Any, n: int) -> tuple[Any, Any] | None:
        """Real samples that a run never trains on, to see whether its discriminator overfits.

        Args:
            data: `DataConfig` of the run.
            model: the architecture's Config.
            n: the most samples.

        Returns:
            (x, c) of `data.held_out(data, model, n)` as batches have them, on the CPU; None where
            there is no such function, or no such samples.
        """
        find = getattr(self.data, "held_out", None)
        return None if find is None else find(data, model, n)

    def make_loader(self, dataset: Any, config: Any, **options: Any) -> Any:
        """The loader of a run.

        Args:
            dataset: that `data.open_data` returned.
            config: `TrainConfig` of the run.
            options: `part`, (rank, world_size); `workers` and `machine`, which
                `fastgan.data.SampleLoader` does without.

        Returns:
            `data.make_loader(dataset, config, **options)` where there is such a function, else a
            `fastgan.data.SampleLoader`.
        """
        if hasattr(self.data, "make_loader"):
            return self.data.make_loader(dataset, config, **options)
        return SampleLoader(dataset, config.batch, seed=config.seed, part=options["part"])

    def is_lower_better(self, metric: str) -> bool | None:
        """Whether a lower value of a metric is better, as far as that is so.

        Args:
            metric: one of `metric.NAMES`.

        Returns:
            True where it is in `metric.LOWER_IS_BETTER`, False where it is in
            `metric.HIGHER_IS_BETTER`; None where neither is, as of a control.
        """
        if metric in getattr(self.metric, "LOWER_IS_BETTER", ()):
            return True
        return False if metric in getattr(self.metric, "HIGHER_IS_BETTER", ()) else None

    def preparation(self, data: Any, model: Any) -> Callable[..., None] | None:
        """What makes the data set before its first use.

        Args:
            data: `DataConfig`.
            model: the architecture's Config.

        Returns:
            `data.preparation(data, model)`: a function (say, progress_bar) or None; None where
            there is no such function. `say` prints a line, `progress_bar(title)` is a context that
            gives a function (done, total).
        """
        make = getattr(self.data, "preparation", None)
        return None if make is None else make(data, model)


def modalities() -> list[str]:
    """Names that `load_modality` takes.

    Returns:
        The names, sorted.
    """
    return _REGISTRY.names()


def load_modality(name: str) -> Modality:
    """The modality of a name.

    Args:
        name: one of `modalities()`, such as "images".

    Returns:
        Its three files.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    module = _REGISTRY.load(name)
    files = [
        importlib.import_module(f"{module.__name__}.{f}") for f in ("data", "samples", "metric")
    ]
    return Modality(name, *files)
