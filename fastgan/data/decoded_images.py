# SPDX-License-Identifier: Apache-2.0
"""The images of a source, decoded to one shape in the order of their names, with their labels."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from fastgan.data.image_codec import channels_of, convert_command, decode
from fastgan.data.image_dataset import faulty_images, parse_resolution, spread
from fastgan.data.image_sources import Source, label_document, open_source
from fastgan.data.labels import Label, folder_labels, parse_labels, renumbered

T = TypeVar("T")

_CHUNK = 256  # images held in memory at once


class DecodedImages:
    """The images that `convert` and `pack` write: `names`, `labels`, `label_names`, `pixels(...)`.

    The arguments are those of `convert`; `caller` is the name for errors. `skipped` says what is
    wrong with each image that was left out.
    """

    def __init__(
        self,
        src: str | Path,
        caller: str,
        *,
        resolution: tuple[int, int] | int | None,
        transform: str | None,
        max_images: int | None,
        labels: str | None,
        skip_broken: bool = False,
    ) -> None:
        if transform not in (None, "center-crop"):
            raise ValueError(
                f'{caller}: transform must be None or "center-crop", got {transform!r}'
            )
        if labels not in (None, "folders", "renumber"):
            raise ValueError(
                f'{caller}: labels must be None, "folders" or "renumber", got {labels!r}'
            )
        self.caller = caller
        self.is_square_crop = transform == "center-crop"
        self.resolution = parse_resolution(resolution, caller)
        self.source = open_source(src)
        self.names = spread(self.source.names, max_images, caller)
        self.skipped: list[str] = []
        if skip_broken:
            self.names = self._whole(self.names)
        self.labels, self.label_names = _labels(self.source, self.names, labels)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def channels(self) -> int:
        """1 where all images are grey, else 3; reads every header, and leaves out broken ones."""
        found = [1]
        for name in self.names:
            with contextlib.suppress(ValueError):  # decoding it says what is wrong
                found.append(channels_of(self.source.read(name), self._in_source(name)))
        return max(found)

    def decode(self, name: str) -> np.ndarray:
        """uint8 [C, H, W]; sizes may still differ."""
        return decode(
            self.source.read(name),
            self._in_source(name),
            channels=self.channels,
            resolution=self.resolution,
            is_square_crop=self.is_square_crop,
        )

    def pixels(
        self, workers: int, then: Callable[[np.ndarray], T], progress: Callable | None = None
    ) -> Generator[T, None, None]:
        """then(uint8 [C, H, W]) of each image, in the order of `names`; `workers` threads.

        Close it where it may not be read to its end: else its threads live until it is collected,
        which may happen in one of them.

        Raises one ValueError, after the last image, which names those that are bad, or whose size
        is not that of the first; what comes after a bad one is not yielded.
        """

        def load(name: str) -> tuple[T | None, tuple[int, ...], str | None]:
            try:
                x = self.decode(name)
            except ValueError as error:
                return None, (), str(error)
            return then(x), x.shape, None

        self.channels  # noqa: B018  # once, and not in every thread
        first, faults, advice = None, [], ""
        with ThreadPoolExecutor(workers, thread_name_prefix=f"fastgan-{self.caller}") as pool:
            loaded = _in_chunks(pool, load, self.names)
            for i, (name, (value, shape, fault)) in enumerate(zip(self.names, loaded, strict=True)):
                if fault is None and first is None:
                    first = name, shape
                if fault is not None:
                    faults.append(fault)
                elif shape != first[1]:
                    faults.append(
                        f"{self.caller}: {self._in_source(name)} is {shape[2]}x{shape[1]} pixels, "
                        f"but {first[0]} is {first[1][2]}x{first[1][1]} (width x height)"
                    )
                    command = convert_command(self.source.path, first[1][1:])
                    advice = f"; give them one size with {command}"
                elif not faults:
                    yield value
                if progress is not None:
                    progress(i + 1, len(self))
        if faults:
            raise ValueError(f"{faulty_images(faults, len(self))}{advice}")

    def _whole(self, names: list[str]) -> list[str]:
        """Those that can be decoded; `skipped` gets the faults of the others."""

        def fault_of(name: str) -> str | None:
            try:
                decode(self.source.read(name), self._in_source(name))
            except ValueError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(thread_name_prefix=f"fastgan-{self.caller}") as pool:
            faults = list(_in_chunks(pool, fault_of, names))
        self.skipped = [fault for fault in faults if fault is not None]
        whole = [name for name, fault in zip(names, faults, strict=True) if fault is None]
        if not whole:
            raise ValueError(
                f"{self.caller}: none of the {len(names)} images of {self.source.path} can be "
                f"read; the first: {self.skipped[0]}"
            )
        return whole

    def _in_source(self, name: str) -> str:
        return f"{name} in {self.source.path}"


def _labels(
    source: Source, names: list[str], labels: str | None
) -> tuple[list[Label] | None, object | None]:
    if labels == "folders":
        return folder_labels(names, source.path)
    document, folder = label_document(source)
    if labels == "renumber":
        # of all images of the source, so that max_images changes no class
        found = parse_labels(document, source.names, source.path, folder=folder, is_renumbered=True)
        classes, ids = renumbered(found, source.path)
        class_of = dict(zip(source.names, classes, strict=True))
        return [class_of[name] for name in names], _names_of_ids(document, ids)
    if not isinstance(document, dict) or document.get("labels") is None:
        return None, None
    found = parse_labels(document, names, source.path, folder=folder)
    return found, document.get("label_names")


def _names_of_ids(document: object, ids: list[int]) -> list[str]:
    """Names of the classes that had these ids; the ids themselves where they have no names."""
    old = document.get("label_names") if isinstance(document, dict) else None
    if isinstance(old, list) and ids[-1] < len(old):
        return [old[i] for i in ids]
    return [str(i) for i in ids]


def _in_chunks(pool: ThreadPoolExecutor, load: Callable, names: list[str]) -> Iterator:
    # Executor.map alone would read everything ahead of the writer.
    remaining = iter(names)
    while chunk := list(islice(remaining, _CHUNK)):
        yield from pool.map(load, chunk)
