# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/what-a-run-needs.md: predictions beside the published figures.

    python -m benchmarks.needs

Takes a minute of one CPU core and no GPU. Published are the figures of NVIDIA's stylegan3
repository (docs/configs.md) and of stylegan2-ada-pytorch (README), for its code on A100.
"""

from dataclasses import dataclass
from typing import Any

from fastgan.training import TrainConfig, predict, sec_per_kimg
from fastgan.training.config.published import r3gan, stylegan2, stylegan3
from fastgan.training.needs.time import A100

GIB = 2**30


@dataclass(frozen=True)
class Row:
    """A configuration with published figures.

    Args:
        text: its name in the table.
        cfg: of `fastgan train`.
        side: of the images.
        sec_per_kimg: published.
        gib: published peak of one GPU; None: not published.
        gpus: of the run.
        changes: settings beside the published ones.
    """

    text: str
    cfg: str
    side: int
    sec_per_kimg: float
    gib: float | None = None
    gpus: int = 8
    changes: dict[str, Any] | None = None

    def config(self) -> TrainConfig:
        """The whole configuration."""
        family = stylegan3 if self.cfg.startswith("stylegan3") else stylegan2
        return family.published(
            self.cfg, resolution=(self.side,) * 2, gpus=self.gpus, **self.changes or {}
        )


SMALL_SIDE = {"batch": 64, "batch_gpu": 8, "model": {"channel_base": 16384}}
ROWS = (
    Row("`stylegan2` 1024²", "stylegan2", 1024, 14.57, 6.2),
    Row("`stylegan3-t` 1024²", "stylegan3-t", 1024, 20.01, 6.6),
    Row("`stylegan3-r` 1024²", "stylegan3-r", 1024, 23.42, 9.9),
    Row("`stylegan2` 512²", "stylegan2", 512, 6.60),
    Row("`stylegan3-t` 512²", "stylegan3-t", 512, 12.29),
    Row("`stylegan3-r` 512²", "stylegan3-r", 512, 14.04),
    Row(
        "`stylegan2` 256², batch 64, channel base 16384", "stylegan2", 256, 2.19,
        changes=SMALL_SIDE,
    ),
    Row("`stylegan3-t` 256², batch 64", "stylegan3-t", 256, 3.74),
    Row("`stylegan3-r` 256², batch 64", "stylegan3-r", 256, 4.81),
    Row("`auto` 256²", "auto", 256, 2.38),
    Row("`auto` 1024²", "auto", 1024, 11.66),
    Row("one GPU: `auto` 256², batch 16", "auto", 256, 12.53, gpus=1),
    Row("one GPU: `auto` 1024², batch 4", "auto", 1024, 90.39, gpus=1),
    Row("one GPU: `stylegan3-t` 1024², `--batch-gpu 4`", "stylegan3-t", 1024, 156.91, 7.0, 1),
    Row("one GPU: `stylegan3-r` 1024², `--batch-gpu 4`", "stylegan3-r", 1024, 184.81, 10.2, 1),
)  # fmt: skip


def stylegan_line(row: Row) -> str:
    """One line of the first table."""
    prediction = predict(row.config(), gpus=row.gpus)
    seconds = sec_per_kimg(prediction, A100, tf32=False)
    published = "–" if row.gib is None else f"{row.gib}"
    return (
        f"| {row.text} | {prediction.memory.peak / GIB:.1f} | {published} | {seconds:.3g} | "
        f"{row.sec_per_kimg:.2f} | {seconds / row.sec_per_kimg:.2f} | "
        f"{sec_per_kimg(prediction):.3g} |"
    )


def r3gan_line(preset: str) -> str:
    """One line of the second table."""
    prediction = predict(r3gan.published(preset, gpus=8), gpus=8)
    return (
        f"| {preset} | {prediction.G.parameters:,}, {prediction.D.parameters:,} | "
        f"{prediction.step_flops.matrix / 1e9:,.0f} | {prediction.batch_gpu} | "
        f"{prediction.memory.peak / 1e9:.1f} | {sec_per_kimg(prediction):.2f} |"
    )


def main() -> None:
    print(
        "| configuration, 8 GPUs | memory, GiB: predicted | published | sec/kimg on A100: predicted"
        " | published | predicted / published | H200, predicted |"
    )
    print("|" + " --- |" * 7)
    for row in ROWS:
        print(stylegan_line(row), flush=True)
    print()
    print(
        "| `r3gan`, 8 GPUs | G, D parameters | GFLOP per image and step | `--batch-gpu` | "
        "memory, GB | H200, predicted sec/kimg |"
    )
    print("|" + " --- |" * 6)
    for preset in r3gan.PUBLISHED:
        print(r3gan_line(preset), flush=True)


if __name__ == "__main__":
    main()
