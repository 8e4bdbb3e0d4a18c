"""`python -m benchmarks.scaling`: cost at twice the batch, the channels and the resolution.

Native forward and backward, one thread, process CPU time, interleaved. Each step up is compared
with the size before it. A step that leaves a cache level costs more than the arithmetic of a larger
tensor, for anyone: the floor is a copy of x and of dy, which reads and writes tensors of the same
sizes, timed in the same rounds, and its own growth stands beside each step (`floor_ratio`).
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

from fastgan import memory
from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol, measure
from fastgan.bench.op_case import evaluate, make_tensors
from fastgan.bench.ops import bias_act, upfirdn2d

_START = (2, 32, 16, 16)
_GROWTH = {"batch": (2, 1, 1, 1), "channels": (1, 2, 1, 1), "resolution": (1, 1, 2, 2)}


def _case(op: str, shape: tuple[int, ...], is_channels_last: bool):
    if op == "bias_act":
        return bias_act._case(shape, is_channels_last=is_channels_last)
    return upfirdn2d._case("down2", shape, is_channels_last=is_channels_last)


def _rows(op: str, is_channels_last: bool, steps: int, protocol: Protocol) -> list[dict]:
    rows = []
    for axis, growth in _GROWTH.items():
        shapes = [_START]
        for _ in range(steps if axis != "resolution" else steps // 2 + 1):
            shapes.append(tuple(n * g for n, g in zip(shapes[-1], growth, strict=True)))
        cases = [_case(op, shape, is_channels_last) for shape in shapes]
        tensors = [make_tensors(case) for case in cases]
        calls = {
            str(case.shapes[0]): lambda c=case, t=t: evaluate("forward+backward", c.run, t)
            for case, t in zip(cases, tensors, strict=True)
        }
        floors = {
            f"floor {name}": lambda t=t: (t.inputs[0].detach().clone(), t.dy.detach().clone())
            for name, t in zip(calls, tensors, strict=True)
        }
        samples = measure(calls | floors, protocol)
        names = list(calls)
        for small, large, case in zip(names, names[1:], cases[1:], strict=False):
            ratio = statistics.median(samples.ratios(large, small))
            floor = statistics.median(samples.ratios(f"floor {large}", f"floor {small}"))
            rows.append(
                {
                    "op": op,
                    "layout": case.layout,
                    "axis": axis,
                    "shape": list(case.shapes[0]),
                    "bytes": tensors[names.index(large)].inputs[0].nbytes,
                    "seconds": samples.median(large),
                    "ratio": ratio,
                    "floor_ratio": floor,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--steps", type=int, default=6, help="doublings of batch and channels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol(rounds=7)
    with memory.keep_freed_memory():
        facts = environment(protocol)
        rows = [
            row
            for op in ("bias_act", "upfirdn2d")
            for is_channels_last in (False, True)
            for row in _rows(op, is_channels_last, options.steps, protocol)
        ]
    for row in rows:
        print(
            f"{row['op']:10} {row['layout']} {row['axis']:11} {'x'.join(map(str, row['shape'])):16}"
            f"{row['bytes'] / 2**20:8.2f} MiB {row['seconds'] * 1e3:9.3f} ms  x{row['ratio']:.2f}"
            f"  a copy x{row['floor_ratio']:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
