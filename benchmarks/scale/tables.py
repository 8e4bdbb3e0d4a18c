"""The tables of README.md in this folder, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmarks.scale.assumptions import ASSUMPTIONS
from benchmarks.scale.cpu import Point
from benchmarks.scale.machines import GPU, LINKS, Links, Machine
from benchmarks.scale.phases import Phase
from benchmarks.scale.predict import Prediction, batch_on, phase_seconds, predict, ring_bytes

Counts = Mapping[int, Mapping[str, Phase]]  # images on a GPU → phases

# One at a time; the base is what `machines` says.
VARIATIONS: tuple[tuple[str, Machine, Links], ...] = (
    ("as assumed", GPU, LINKS),
    ("share of the peak 0.15", replace(GPU, flops_share=0.15), LINKS),
    ("share of the peak 0.6", replace(GPU, flops_share=0.6), LINKS),
    ("half of the memory's bandwidth", replace(GPU, bandwidth_share=0.45), LINKS),
    ("1 µs a launch", replace(GPU, launch_seconds=1e-6), LINKS),
    ("10 µs a launch", replace(GPU, launch_seconds=1e-5), LINKS),
    ("0.4 of every link", GPU, replace(LINKS, share=0.4)),
    ("one rail of 50 GB/s between nodes", GPU, replace(LINKS, between=50e9)),
    ("hops of four times the latency", GPU,
     replace(LINKS, inside_seconds=8e-6, between_seconds=32e-6)),
    ("share 0.15, half of the bandwidth, 0.4 of links",
     replace(GPU, flops_share=0.15, bandwidth_share=0.45), replace(LINKS, share=0.4)),
)  # fmt: skip


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def assumptions() -> str:
    return markdown(("what", "assumed (unproven)", "ground", "doubt"), ASSUMPTIONS)


def phase_table(counts: Mapping[tuple[int, str], tuple[int, Mapping[str, Phase]]]) -> str:
    """counts: (resolution, dtype) → (images on the GPU, phases)."""
    rows = []
    for (resolution, dtype), (batch, phases) in counts.items():
        for name, phase in phases.items():
            size = phase.gradient_bytes
            rows.append(
                (
                    f"{resolution}²", dtype, batch, name, f"{phase.times:g}",
                    f"{phase.flops / batch / 1e9:.0f}", f"{phase.moved / batch / 1e9:.2f}",
                    len(phase.work), f"{size / 1e6:.0f}",
                    f"{ring_bytes(8, size) / 1e6:.0f}", f"{ring_bytes(64, size) / 1e6:.0f}",
                    f"{phase_seconds(phase, GPU) * 1e3:.1f}",
                )
            )  # fmt: skip
    head = ("maps", "dtype", "images", "phase", "per step", "GFLOP an image", "GB an image", "ops",
            "MB of gradients", "sent by each of 8", "of 64", "ms predicted")  # fmt: skip
    return markdown(head, rows)


def prediction_table(predictions: Mapping[tuple[int, str], Sequence[Prediction]]) -> str:
    rows = []
    for (resolution, dtype), series in predictions.items():
        one = series[0].seconds_per_kimg
        for p in series:
            rows.append(
                (
                    f"{resolution}²", dtype, p.gpus, p.batch, p.batch // p.gpus,
                    f"{p.seconds_per_kimg:.3g}", f"{100 * p.exchange_share:.0f} %",
                    f"{one / p.seconds_per_kimg / p.gpus:.2f}",
                )
            )  # fmt: skip
    head = ("maps", "dtype", "GPUs", "batch", "images on each", "s/kimg predicted",
            "of it exchange", "of linear")  # fmt: skip
    return markdown(head, rows)


def sensitivity_table(counts: Mapping[int, Counts], batches: Mapping[int, int]) -> str:
    """counts: resolution → Counts, bfloat16; batches: resolution → global batch on few GPUs."""
    cases = [(resolution, gpus) for resolution in counts for gpus in (1, 8, 64)]
    rows = []
    for name, machine, links in VARIATIONS:
        cells = [predict_at(counts[r], n, batches[r], machine, links) for r, n in cases]
        rows.append((name, *(f"{p.seconds_per_kimg:.3g}" for p in cells)))
    head = ("s/kimg, bfloat16", *(f"{r}², {n} GPU{'s' * (n > 1)}" for r, n in cases))
    return markdown(head, rows)


def predict_at(counts: Counts, gpus: int, batch: int, machine: Machine, links: Links) -> Prediction:
    """`batch` is that of few GPUs (`predict.batch_on`)."""
    batch = batch_on(gpus, batch)
    return predict(counts[batch // gpus], gpus, batch, machine, links)


def cpu_table(points: Sequence[Point]) -> str:
    rows = [
        (
            p.axis, f"{p.resolution}²", p.batch, p.channels, f"{p.flops / 1e9:.2f}",
            f"{p.moved / 1e9:.2f}", f"{p.measured['step'] * 1e3:.1f}",
            f"{p.modelled['step'] * 1e3:.1f}",
            *(f"{p.modelled[n] / p.measured[n]:.2f}" for n in ("D", "R1", "G", "PL", "step")),
        )
        for p in points
    ]  # fmt: skip
    head = ("sweep", "maps", "batch", "channels", "GFLOP", "GB", "ms measured", "ms modelled",
            "model/measured: D", "R1", "G", "PL", "step")  # fmt: skip
    return markdown(head, rows)
