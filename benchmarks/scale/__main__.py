"""`python -m benchmarks.scale`: the cost model's tables and chart, written beside this file.

Counts StyleGAN2's phases, predicts the steps of 1 to 64 GPUs, and sets the model of this CPU beside
the steps that were measured on it. `--measure` measures them again first, on one thread, in about
two minutes of a quiet machine.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.scale import cpu, tables
from benchmarks.scale.chart import write_charts
from benchmarks.scale.machines import GPU, LINKS
from benchmarks.scale.phases import count_phases, model_at, networks
from benchmarks.scale.predict import batch_on
from fastgan import memory
from fastgan.bench.machine import environment
from fastgan.bench.timer import Protocol

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "scale.json"
BEGIN, END = "<!-- {}: written by `python -m benchmarks.scale` -->", "<!-- end of {} -->"
GPUS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = {256: 64, 1024: 32}
SHOWN = {64: 8, 256: 8, 1024: 4}  # resolution → images, in the table of phases
DTYPES = ("bfloat16", "float32")


def measure() -> None:
    torch.set_num_threads(1)
    protocol = Protocol()
    with memory.keep_freed_memory():
        facts = environment(protocol)
        machine = cpu.calibrate(protocol)
        others = [(size, cpu.convolution_flops(*size, protocol)) for size in cpu.CONVOLUTIONS[1:]]
        points = [
            cpu.measure_point(axis, value, machine, protocol)
            for axis, values in cpu.SWEEPS.items()
            for value in values
        ]
    rates = {
        "convolution_flops": machine.flops[torch.float32],
        "convolution_flops_of": {f"{c} channels at {size}²": flops for (c, size), flops in others},
        "copy_bytes": machine.bandwidth,
        "op_seconds": machine.launch_seconds,
    }
    document = {"environment": facts, "machine": rates, "rows": [asdict(p) for p in points]}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def count_all() -> tuple[dict, dict]:
    """(resolution, dtype) → (images, phases) for SHOWN, and → tables.Counts for BATCHES."""
    shown, counts = {}, {}
    for resolution in SHOWN:
        for dtype in DTYPES:
            model = model_at(resolution, half=dtype == "bfloat16")
            pair = networks(model)
            images = SHOWN[resolution]
            shown[resolution, dtype] = images, count_phases(model, images, pair=pair)
            if resolution in BATCHES:
                each = {batch_on(n, BATCHES[resolution]) // n for n in GPUS}
                counts[resolution, dtype] = {n: count_phases(model, n, pair=pair) for n in each}
    return shown, counts


def predict_all(counts: dict) -> dict:
    """(resolution, dtype) → the Prediction of each of GPUS."""
    return {
        (resolution, dtype): [
            tables.predict_at(found, n, BATCHES[resolution], GPU, LINKS) for n in GPUS
        ]
        for (resolution, dtype), found in counts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure this CPU again")
    if parser.parse_args().measure:
        measure()
    document = json.loads(RESULTS.read_text())
    points = [cpu.Point(**row) for row in document["rows"]]

    shown, counts = count_all()
    predictions = predict_all(counts)
    halves = {r: counts[r, "bfloat16"] for r in BATCHES}
    parts = {
        "assumptions": tables.assumptions(),
        "phases": tables.phase_table(shown),
        "predictions": tables.prediction_table(predictions),
        "sensitivity": tables.sensitivity_table(halves, BATCHES),
        "this CPU": f"{_facts(document)}\n\n{tables.cpu_table(points)}",
    }
    write_readme(HERE / "README.md", parts)
    write_charts(HERE / "scale.png", _charts(points, predictions), columns=2)


def _facts(document: dict) -> str:
    facts, rates = document["environment"], document["machine"]
    other = rates["convolution_flops_of"]
    flops, copied = rates["convolution_flops"] / 1e9, rates["copy_bytes"] / 1e9
    return (
        f"{facts['cpu']}, one thread, process CPU time, torch {facts['torch']}, commit "
        f"{facts['commit'][:12]}. Measured for the model: convolutions {flops:.0f} GFLOP/s "
        f"(counted directly, by whatever algorithm), a copy {copied:.0f} GB/s, "
        f"{rates['op_seconds'] * 1e6:.1f} µs an op. The same convolutions reach "
        + " and ".join(f"{v / flops / 1e9:.2f} of that rate with {k}" for k, v in other.items())
        + "."
    )


def _no_note(point: cpu.Point) -> str:
    return ""


def _ratio(point: cpu.Point) -> str:
    return f"{point.ratio:.2f}"


def _charts(points: list[cpu.Point], predictions: dict) -> list:
    charts = [
        (
            f"CPU, one thread: ms a step over {axis}",
            {"batch": "images", "resolution": "pixels on a side", "channels": "channels"}[axis],
            {
                what: [
                    (getattr(p, axis), 1e3 * getattr(p, what)["step"], note(p))
                    for p in points
                    if p.axis == axis
                ]
                for what, note in (("measured", _no_note), ("modelled", _ratio))
            },
        )
        for axis in cpu.SWEEPS
    ]
    series = {
        f"{r} px {dtype}": [(p.gpus, p.seconds_per_kimg, "") for p in found]
        for (r, dtype), found in predictions.items()
        if dtype == "bfloat16"
    }
    return [*charts, ("H100s, predicted and unproven: s/kimg", "GPUs", series)]


def write_readme(path: Path, parts: dict[str, str]) -> None:
    """Put each part between its two comments, which must be there."""
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        head, begin, rest = text.partition(BEGIN.format(name))
        _, end, tail = rest.partition(END.format(name))
        if not begin or not end:
            raise ValueError(f"{path} lacks {BEGIN.format(name)} … {END.format(name)}")
        text = f"{head}{begin}\n\n{part}\n\n{end}{tail}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
