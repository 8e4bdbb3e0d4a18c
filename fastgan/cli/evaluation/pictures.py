# SPDX-License-Identifier: Apache-2.0
"""What `fastgan evaluate --spectrum` and `--nearest` write into the run folder."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

__all__ = ["write_pictures"]

_ROWS, _NEIGHBOURS = 10, 5  # of the sheet
_SIDE = 96  # pixels of a picture on the sheet, about, where it is smaller
_GAP = 4  # pixels between a generated picture and its neighbours


def write_pictures(
    kind: str,
    stem: Path,
    dataset: Any,
    options: dict[str, Any],
    make_sampler: Callable[[Any], Callable[[int, int], Any]],
) -> None:
    """Writes a spectrum, or a sheet of nearest images.

    Args:
        kind: "spectrum" or "nearest".
        stem: path of the files without suffix.
        dataset: the real images.
        options: num_real, batch, device and seed of an evaluator; as many are generated.
        make_sampler: evaluator → a function (first, n) → generated images first … first + n - 1,
            which have the labels of the evaluator's data set.
    """
    import torch

    from fastgan import environment
    from fastgan.metrics import Evaluator

    num, settings = options["num_real"], options | {"num_real": None}
    if kind == "spectrum":
        extractor = torch.nn.Identity()  # it is not called: the evaluator draws images and labels
        extractor.name = extractor.resize = "none"
        evaluator = Evaluator(dataset, extractor=extractor, **settings)
        _write_spectrum(evaluator, make_sampler(evaluator), stem, num=num)
    else:
        evaluator = Evaluator(dataset, cache=environment.cache_dir() / "features", **settings)
        path = stem.with_suffix(".png")
        _write_nearest(evaluator, make_sampler(evaluator), path, num=num)


def _write_spectrum(evaluator: Any, sample: Any, stem: Path, *, num: int) -> None:
    """Writes `<stem>.svg` and `<stem>.csv`, power by frequency, and prints some of its rows."""
    import torch

    from fastgan.atomic import write_atomic
    from fastgan.metrics.spectrum import decibels, frequencies, power_spectra
    from fastgan.training.report.charts import chart_file

    dataset, batch = evaluator.dataset, evaluator.batch
    order = evaluator.real_indices()[:num].tolist()
    parts = [order[i : i + batch] for i in range(0, len(order), batch)]
    real = torch.cat([
        power_spectra(torch.from_numpy(np.stack([dataset[i][0] for i in part]))) for part in parts
    ])  # fmt: skip
    parts = [(i, min(batch, num - i)) for i in range(0, num, batch)]
    fake = torch.cat([power_spectra(sample(i, n)).cpu() for i, n in parts])
    at = frequencies(*dataset[0][0].shape[1:]).tolist()
    rows = list(zip(at, decibels(real).tolist(), decibels(fake).tolist(), strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cycles_per_pixel", "real_db", "generated_db"])
    writer.writerows([f"{value:.6g}" for value in row] for row in rows)
    write_atomic(stem.with_suffix(".csv"), text.getvalue())
    without_mean = rows[1:]
    chart = chart_file(
        f"Power by spatial frequency: {len(fake)} generated, {len(real)} real images",
        {
            "real": [(f, r) for f, r, _ in without_mean],
            "generated": [(f, g) for f, _, g in without_mean],
        },
        axes="dB, by cycles per pixel",
    )
    write_atomic(stem.with_suffix(".svg"), chart)
    click.echo(
        f"power by spatial frequency, of {len(fake)} generated and {len(real)} real images, dB"
    )
    click.echo("cycles/pixel      real  generated  difference")
    shown = {round(i) for i in np.geomspace(1, len(rows) - 1, 8)}
    for i in sorted(shown):
        f, r, g = rows[i]
        click.echo(f"{f:12.4f}  {r:8.2f}  {g:9.2f}  {g - r:+10.2f}")
    click.echo(f"spectrum    {stem.with_suffix('.svg')} and .csv")


def _write_nearest(evaluator: Any, sample: Any, path: Path, *, num: int) -> None:
    """Writes a sheet of the generated images that are nearest to images of the data.

    In each row are a generated image and the five real images nearest to it in the extractor's
    features; above are those that are nearest of all.
    """
    import torch
    from PIL import Image

    from fastgan.metrics.features import to_uint8
    from fastgan.metrics.nearest import nearest
    from fastgan.modalities.pictures import write_picture

    dataset = evaluator.dataset
    click.echo(
        f"nearest     features of {len(dataset)} images of the data, which are then kept ..."
    )
    real = evaluator.real_features()
    batch, pictures, rows = evaluator.batch, [], []
    for i in range(0, num, batch):
        x = to_uint8(sample(i, min(batch, num - i)).cpu())
        pictures.append(x)
        rows.append(evaluator.features(x, 0).cpu())
    fakes, k = torch.cat(pictures), min(_NEIGHBOURS, len(real) - 1)
    found, among = nearest(real, torch.cat(rows), k=k), nearest(real)
    order = found.distances[:, 0].argsort()[:_ROWS].tolist()
    lines = []
    for i in order:
        places = evaluator.real_indices()[found.indices[i].numpy()].tolist()
        own, *others = [fakes[i].numpy(), *(dataset[j][0] for j in places)]
        gap = np.full((own.shape[0], own.shape[1], _GAP), 255, np.uint8)
        lines.append(np.concatenate([own, gap, *others], 2))
    pixels = np.concatenate(lines, 1).transpose(1, 2, 0)
    scale = max(1, round(_SIDE / fakes.shape[2]))
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    write_picture(path, Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    of_fakes, of_real = found.distances[:, 0], among.distances[:, 0]
    limit = of_real.quantile(0.01)
    click.echo(
        f"distance to the nearest training image: {of_fakes.median():.4g} (median of {num} "
        f"generated), {of_real.median():.4g} (of a training image to another)"
    )
    click.echo(
        f"nearer than 99 % of training images are to another: "
        f"{(of_fakes < limit).double().mean():.1%} of the generated; 1 % is expected of new images"
    )
    click.echo(f"nearest     {path}: on the left generated, then its nearest training images")
