# SPDX-License-Identifier: Apache-2.0
"""The chart of spectra.json: the power of real and generated images by spatial frequency."""

from fastgan.modalities import cards
from fastgan.modalities.images.spectra import read_spectra
from fastgan.training.loop.run_files import RunFiles
from fastgan.training.report.charts import line_chart

__all__ = ["spectra_chart"]

_LOOKS = 40  # snapshots that are shown, evenly spread over the run


def spectra_chart(run: RunFiles) -> str:
    """The newest snapshot's spectrum, in whose place the page's slider shows earlier ones.

    Args:
        run: the run's files.

    Returns:
        HTML; "" where there are no spectra.
    """
    document = read_spectra(run.folder)
    if document is None or not document["real"]:
        return ""
    known = [(kimg, document["generated"][name]) for kimg, name in run.fakes
             if document["generated"].get(name)]  # fmt: skip
    count = min(len(known), _LOOKS)
    shown = [known[i * (len(known) - 1) // max(count - 1, 1)] for i in range(count)]
    at, real = document["cycles_per_pixel"][1:], document["real"][1:]  # without the mean
    if not shown or not at:
        return ""
    return cards.over_time([(kimg, _chart(kimg, at, real, fake[1:])) for kimg, fake in shown])


def _chart(kimg: float, at: list[float], real: list[float], fake: list[float]) -> str:
    note = (
        f"of the images above at {kimg:.3f} kimg, by cycles per pixel; generated ones below the "
        "real line on the right are too smooth, a bump at 0.5 or 0.25 is a pattern of up-sampling"
    )
    lines = {
        name: list(zip(at, levels, strict=False))
        for name, levels in (("generated", fake), ("real", real))
    }
    return line_chart("Power by spatial frequency, dB", lines, x_label="cycles", notes=[note])
