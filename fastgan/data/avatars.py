# SPDX-License-Identifier: Apache-2.0
"""The default data set: cartoon faces drawn on this machine, so that nothing is downloaded."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from fastgan._extras import require
from fastgan.data import avatar_painter
from fastgan.data.cached_sets import cached_set, path_of
from fastgan.data.stylegan_zip_writer import write_stylegan_zip

Progress = Callable[[int, int], None]

DEFAULT_COUNT = 6000
_FEWEST_PER_PROCESS = 100  # below this a child's start costs more than it saves


def default_dataset(
    resolution: int = 64,
    *,
    progress: Progress | None = None,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    processes: int | None = None,
) -> Path:
    """Path of a zip of `count` cartoon faces, drawn by the first call and then reused.

    It is `<cache_dir>/datasets/avatars-v1-<resolution>px-<count>-<seed>.zip`, where cache_dir is
    `environment.cache_dir()`. A file there that is damaged or incomplete (bad CRC, wrong count) is
    drawn again, with a warning. Arguments are those of `fastgan.data.avatars.render_dataset`.
    """
    _check(resolution, count, seed, processes)

    def draw(path: Path) -> None:
        render_dataset(
            path,
            resolution,
            count=count,
            seed=seed,
            progress=progress,
            processes=processes,
            overwrite=True,
        )

    return cached_set(_name(resolution, count, seed), count, draw)


def default_path(resolution: int) -> Path:
    """Where `default_dataset(resolution)` is, or would be."""
    return path_of(_name(resolution, DEFAULT_COUNT, 0))


def _name(resolution: int, count: int, seed: int) -> str:
    return f"avatars-v1-{resolution}px-{count}-{seed}"


def render_dataset(
    path: str | Path,
    resolution: int = 64,
    *,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    label: str = "hair_color",
    progress: Progress | None = None,
    processes: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw `count` faces into a StyleGAN-style zip; the file appears whole or not at all.

    The images are RGB. Their pixels are a function of (seed, index, resolution) alone. Labels in
    dataset.json are ints, of the attribute `label`. attributes.json in the zip holds every
    attribute, in order: {"label": "hair_color", "classes": […],
    "attributes": [{"top": "hair/BOB", "skin_color": "PALE", …}, …]}.
    An image of 64 pixels takes 6 ms of processor time.

    Args:
        path: the zip to write; its folder is made.
        resolution: width and height in pixels, 1 to 2048.
        count: number of faces.
        seed: another seed gives other faces; it has no effect on torch's or NumPy's generators.
        label: the attribute that is the label, one of `avatar_painter.CLASSES`, which has its
            classes; those of "hair_color" are ten colors and HIDDEN (a hat, or a bald head).
        progress: called with (done, total) after every image.
        processes: number of processes that draw; None is one per CPU that this process may use.
            Where no process can be started, it warns and draws in this one.
        overwrite: whether an existing file may be replaced.

    Returns:
        `path`.

    Raises:
        ValueError: a resolution, count, seed or number of processes that is out of range, or an
            unknown label.
        FileExistsError: `path` exists, and `overwrite` is False.
        RuntimeError: a process that draws ended early.
        ImportError: python-avatars or resvg-py is not installed.
    """
    _check(resolution, count, seed, processes)
    if label not in avatar_painter.CLASSES:
        raise ValueError(
            f"render_dataset: label must be one of {', '.join(avatar_painter.CLASSES)}; "
            f"got {label!r}"
        )
    for name in ("resvg_py", "PIL"):  # before any process that draws is started
        require(name, "train")
    attributes = [avatar_painter.draw_attributes(seed, index) for index in range(count)]
    with write_stylegan_zip(path, overwrite=overwrite) as writer:
        images = _draw(seed, resolution, attributes, _process_count(count, processes))
        with contextlib.closing(images):
            for done, png in enumerate(images, start=1):
                writer.add(png)
                if progress is not None:
                    progress(done, count)
        classes = list(avatar_painter.CLASSES[label])
        kinds = {"label": label, "classes": classes, "attributes": attributes}
        writer.add_json("attributes.json", kinds)
        writer.finish([avatar_painter.class_of(a, label) for a in attributes])
    return Path(path)


def _check(resolution: int, count: int, seed: int, processes: int | None) -> None:
    if not 1 <= resolution <= 2048:
        raise ValueError(f"avatars: resolution must be from 1 to 2048 pixels, got {resolution}")
    if count < 1:
        raise ValueError(f"avatars: count must be at least 1, got {count}")
    if seed < 0:
        raise ValueError(f"avatars: seed must not be negative, got {seed}")
    if processes is not None and processes < 1:
        raise ValueError(f"avatars: processes must be at least 1 or None, got {processes}")


def _process_count(count: int, processes: int | None) -> int:
    if processes is not None:
        return min(processes, count)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(usable or 1, count // _FEWEST_PER_PROCESS))


def _draw(
    seed: int, resolution: int, attributes: list[dict[str, str]], processes: int
) -> Iterator[bytes]:
    """PNGs in order; child k draws k, k + processes, …, so that reading in turn keeps all busy."""
    with contextlib.ExitStack() as stack:
        children = []
        if processes > 1:
            try:
                for k in range(processes):
                    job = {"start": k, "stop": len(attributes), "step": processes}
                    job |= {"seed": seed, "resolution": resolution}
                    children.append(stack.enter_context(_child(job)))
            except OSError as error:
                stack.close()
                children = []
                warnings.warn(
                    f"avatars: no child process can be started ({error}); drawing on one core",
                    RuntimeWarning,
                    stacklevel=3,
                )
        for index, drawn in enumerate(attributes):
            if children:
                yield _receive(*children[index % processes], index)
            else:
                yield avatar_painter.render(drawn, resolution)


@contextlib.contextmanager
def _child(job: dict) -> Iterator[tuple[subprocess.Popen, BinaryIO]]:
    # A plain script, not multiprocessing: "spawn" would run the user's main module again in every
    # child, and fork is unsafe after torch has started threads. -P keeps the module names of this
    # folder out of the child's sys.path.
    if not sys.executable:
        raise OSError("this Python doesn't know its own executable")
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", avatar_painter.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with child:
            try:
                child.stdin.write(json.dumps(job).encode() + b"\n")
                child.stdin.flush()
                yield child, errors
            finally:
                child.kill()


def _receive(child: subprocess.Popen, errors: BinaryIO, index: int) -> bytes:
    head = child.stdout.read(4)
    size = struct.unpack("<I", head)[0] if len(head) == 4 else 0
    png = child.stdout.read(size)
    if not size or len(png) != size:
        code = child.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()[-2000:]
        raise RuntimeError(
            f"avatars: the process that draws image {index} ended early (exit status {code}); "
            f"its error output: {said or 'none'}. Pass processes=1 to draw in this process"
        )
    return png
