# SPDX-License-Identifier: Apache-2.0
"""Every op's kernels once, at shapes that break them: `python -m tests.gpu._awkward_shapes`.

A short program for compute-sanitizer. The samples come from the bench cases: each size above 4 is
replaced by a small awkward one, equal sizes by equal ones, so that a bias still fits its channels.
Forward, backward and double backward run; nothing is compared (the test suite does that).
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from fastgan.bench.case_files import load_cases
from fastgan.bench.measure.op_rows import modes_of, on_device
from fastgan.bench.op_case import OpCase, Tensors, evaluate
from tests.gpu._cases import has_cuda_kernel

# By which the sizes above 4 are replaced, largest first.
PALETTES = {
    "ragged": (33, 3, 9, 7),
    "odd": (7, 5, 9, 11),
    "vector": (16, 8, 24, 32),
    "long": (65, 2, 3, 5),  # several blocks and slices
    "one": (1, 1, 1, 1),
}
LONG_ROWS = (8195, 5, 3, 2)  # the same where no tensor has more than two dimensions
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LAYOUTS = ("contiguous", "channels_last", "offset", "strided")
KEPT = 4  # sizes up to this stand for something: colours, taps, kernel sides


@dataclass(frozen=True)
class Sample:
    case: OpCase
    palette: str
    layout: str

    def __str__(self) -> str:
        case = self.case
        shapes = " ".join("x".join(map(str, shape)) or "()" for shape in case.shapes)
        dtype = str(case.dtype).removeprefix("torch.")
        return f"{case.op}: {case.name} as {shapes} {dtype} {self.layout} ({self.palette})"


def samples(cases: Sequence[OpCase], *, is_quick: bool) -> Iterator[Sample]:
    """Every (case, palette) in every dtype (quick: the first case of each op, one dtype each).

    Layouts take turns. Ops alternate, so that a run that is cut short has seen all of them.
    """
    by_op: dict[str, list[OpCase]] = {}
    for case in cases:
        kinds = by_op.setdefault(case.op, [])
        if not is_quick or not kinds:
            kinds.append(case)
    plans = [list(_of_op(kinds, is_quick)) for kinds in by_op.values()]
    for turn in range(max(map(len, plans), default=0)):
        yield from (plan[turn] for plan in plans if turn < len(plan))


def _of_op(cases: Sequence[OpCase], is_quick: bool) -> Iterator[Sample]:
    turn, seen = 0, set()
    for case in cases:
        is_flat = max(map(len, case.shapes)) <= 2
        for palette, sizes in PALETTES.items():
            sizes = LONG_ROWS if is_flat and palette == "long" else sizes
            shapes = shrink(case.shapes, sizes)
            kind = (case.name.split()[:-1], shapes)
            if str(kind) in seen:  # the same op at another size shrinks to the same sample
                continue
            seen.add(str(kind))
            for dtype in [DTYPES[turn % 4]] if is_quick else DTYPES:
                # The layout moves on once per round of dtypes, so that all pairs occur.
                layout = LAYOUTS[(turn + turn // 4) % 4]
                changed = dataclasses.replace(case, shapes=shapes, dtype=dtype, gpu_work={})
                yield Sample(changed, palette, layout)
                turn += 1


def shrink(
    shapes: tuple[tuple[int, ...], ...], sizes: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """`shapes` with every size above KEPT replaced, equal ones alike, the largest by sizes[0]."""
    large = sorted({n for shape in shapes for n in shape if n > KEPT}, reverse=True)
    to = {n: sizes[i % len(sizes)] for i, n in enumerate(large)}
    return tuple(tuple(to.get(n, n) for n in shape) for shape in shapes)


def lay_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """x's values at another place: off a 16-byte boundary, or every second element."""
    if layout == "channels_last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "offset":
        return x.new_zeros(x.numel() + 1)[1:].view(x.shape).copy_(x)
    if layout == "strided" and x.dim() > 0:
        parent = x.new_zeros([*x.shape[:-1], 2 * x.shape[-1]])
        return parent[..., 1::2].copy_(x)
    return x


def run_sample(sample: Sample, device: str) -> str | None:
    """None, or the words in which the op refuses this shape or dtype."""
    case = on_device(sample.case, device)
    generator = torch.Generator().manual_seed(0)

    def leaf(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        # Drawn on the CPU: few kernels of torch's own run under the sanitizer.
        x = torch.randn(list(shape), generator=generator).to(dtype).to(device)
        return lay_out(x, sample.layout).detach().requires_grad_()

    inputs = tuple(leaf(shape, case.dtype) for shape in case.shapes)
    try:
        with torch.no_grad():
            y = case.run(*inputs)
    except (TypeError, ValueError) as error:
        return str(error)
    tensors = Tensors(inputs, leaf(y.shape, y.dtype), leaf(case.shapes[0], case.dtype).detach())
    for mode in modes_of(case)[1:]:
        evaluate(mode, case.run, tensors)
    if device == "cuda":
        torch.cuda.synchronize()  # so that an error is found at its sample
    return None


def main() -> int:
    """0; or 1 with the names of the ops of which no sample ran."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu._awkward_shapes", description=__doc__
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    cases = [case for case in load_cases("ops") if has_cuda_kernel(case.op)]
    ran: dict[str, int] = {case.op: 0 for case in cases}
    refused = 0
    for sample in samples(cases, is_quick=options.quick):
        print(sample, flush=True)
        if why := run_sample(sample, options.device):
            refused += 1
            print(f"  refused: {why}", flush=True)
        else:
            ran[sample.case.op] += 1
    unseen = [op for op, count in ran.items() if count == 0]
    if unseen:
        print(f"no sample ran of {', '.join(unseen)}")
        return 1
    print(f"samples: {sum(ran.values())} ran, {refused} refused by their ops, of {len(ran)} ops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
