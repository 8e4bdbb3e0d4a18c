# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.data`: images per second of a data set in each form in which it may lie.

The same pictures (drawn faces with 8 levels of grain, PNG) as a folder, a zip, a tar and its index,
packed, and decoded into memory, through `BatchLoader` up to the float batch on the CPU, in a loop
that does nothing else. The system has all files in memory, but for "cold.fgpack", where it is made
to forget the file before each batch; what the disk beneath then still keeps is not in our hands.
Wall time, since decoding has threads of its own; forms in turns, medians over rounds.
"""

import argparse
import json
import mmap
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fastgan import memory
from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol, measure
from fastgan.data import BatchLoader, ImageDataset, PackedDataset, open_images, pack
from fastgan.data.avatars import render_dataset
from fastgan.data.image_codec import encode_png
from fastgan.data.stylegan_zip_writer import write_stylegan_zip
from fastgan.data.tar_shards import index_tars

BATCH = 32
COUNTS = {64: 2048, 256: 256}
COLD = "cold.fgpack"
FACES = 64  # drawing is not what is timed


def make_forms(folder: Path, resolution: int, count: int) -> dict[str, Path]:
    """The same `count` pictures in every form."""
    path = render_dataset(folder / f"{resolution}-drawn.zip", resolution, count=FACES)
    drawn = ImageDataset(path)
    faces = [drawn[i][0] for i in range(FACES)]
    paths = {name: folder / f"{resolution}.{name}" for name in ("zip", "tar", "fgpack", COLD)}
    pictures = folder / str(resolution)
    rng = np.random.RandomState(0)
    with write_stylegan_zip(paths["zip"]) as writer, tarfile.open(paths["tar"], "w") as tar:
        for i in range(count):
            grain = rng.randint(-4, 5, faces[0].shape)
            png = encode_png(np.clip(faces[i % FACES] + grain, 0, 255).astype(np.uint8))
            file = pictures / writer.add(png)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png)
            tar.add(file, file.relative_to(pictures).as_posix())
        writer.finish(None)
    index_tars(paths["tar"])
    for name in ("fgpack", COLD):
        pack(paths["zip"], paths[name])
    return {"folder": pictures, **paths}


def batches(loader: BatchLoader) -> Callable[[], torch.Tensor]:
    """Each call the next batch."""
    position = 0

    def call() -> torch.Tensor:
        nonlocal position
        x, _ = loader.batch_at(position)
        position += loader.batch
        return x

    return call


def forgetting(call: Callable[[], object], dataset: PackedDataset) -> Callable[[], object]:
    """`call`, after the system has forgotten the file, pages that are mapped here included."""
    file = dataset.path.open("rb")

    def cold() -> object:
        dataset._map.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return call()

    return cold


def rows(resolution: int, protocol: Protocol, workers: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        forms = make_forms(Path(folder), resolution, COUNTS[resolution])
        options = {"seed": 0, "workers": workers}
        loaders = {
            name: BatchLoader(open_images(path), BATCH, ram_limit=0, **options)
            for name, path in forms.items()
        }
        loaders["memory"] = BatchLoader(open_images(forms["zip"]), BATCH, **options)
        first = {name: loader.batch_at(0)[0] for name, loader in loaders.items()}
        for name, x in first.items():  # no speed of a wrong batch
            if not torch.equal(x, first["folder"]):
                raise AssertionError(f"benchmarks.data: {name} at {resolution} gives another batch")
        calls = {name: batches(loader) for name, loader in loaders.items()}
        calls[COLD] = forgetting(calls[COLD], loaders[COLD].dataset)
        samples = measure(calls, protocol)
        png_bytes = sum(p.stat().st_size for p in forms["folder"].rglob("*.png"))
        return [
            {
                "resolution": resolution,
                "form": name,
                "images_per_second": BATCH / samples.median(name),
                "over_folder": samples.median("folder") / samples.median(name),
                "png_bytes_per_image": png_bytes / COUNTS[resolution],
            }
            for name in calls
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    options = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol(threads=2, rounds=9, sample_seconds=0.2)  # 2: wall time
    with memory.keep_freed_memory():
        facts = environment(protocol) | {"batch": BATCH, "workers": options.workers}
        found = [row for size in COUNTS for row in rows(size, protocol, options.workers)]
    for row in found:
        print(
            f"{row['resolution']:4} px  {row['form']:12}{row['images_per_second']:10.0f} images/s  "
            f"x{row['over_folder']:.2f} of the folder  ({row['png_bytes_per_image']:.0f} B a PNG)"
        )
    if options.json:
        options.json.write_text(json.dumps({"environment": facts, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
