# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.optimizer`: an update of Adam with the moving average, ours and torch's.

Ours is one call of `fastgan.ops.adam_ema_` over flat buffers. The other side is
`torch.optim.Adam(fused=True)` over as many parameters in tensors of their own, then
`torch._foreach_lerp_`. Both make three updates first, after which parameters and averages must
agree; the time is that of further updates.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol, measure
from fastgan.ops import adam_ema_

_Shapes = tuple[tuple[int, ...], ...]

_SHAPES: dict[str, _Shapes] = {  # convolutions of a discriminator or a generator of images
    "4.4 M": ((512, 256, 4, 4), (256, 256, 4, 4), (128, 256, 4, 4), (1024, 740)),
    "24 M": (
        (1024, 512, 4, 4),
        (512, 1024, 4, 4),
        (512, 512, 4, 4),
        (512, 512, 3, 3),
        (64, 256, 9),
    ),
}
_BETAS = ((0.5, 0.999), (0.0, 0.99))
_LR, _EPS, _EMA_WEIGHT = 2e-4, 1e-8, 1e-3
# Both round every operation, in another order: three updates of at most lr each.
_TOLERANCE = 1e-7


def _ours(values: Tensor, gradient: Tensor, betas: tuple[float, float]) -> tuple[Callable, Any]:
    param, exp_avg, exp_avg_sq = values.clone(), torch.zeros_like(values), torch.zeros_like(values)
    ema, counts = values.clone(), torch.zeros(2, dtype=torch.int64)
    lr, weight = torch.tensor(_LR), torch.tensor(_EMA_WEIGHT)

    def update() -> None:
        adam_ema_(param, gradient, exp_avg, exp_avg_sq, step=counts[0], nonfinite=counts[1], lr=lr,
                  betas=betas, eps=_EPS, ema=ema, ema_weight=weight)  # fmt: skip

    return update, lambda: (param, ema)


def _torch(
    values: Tensor, gradient: Tensor, betas: tuple[float, float], shapes: _Shapes
) -> tuple[Callable, Any]:
    sizes = [torch.Size(shape).numel() for shape in shapes]
    params, grads, averages = (
        [part.clone().view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        for flat in (values, gradient, values)
    )
    for p, g in zip(params, grads, strict=True):
        p.requires_grad_().grad = g
    optimizer = torch.optim.Adam(params, lr=_LR, betas=betas, eps=_EPS, fused=True)
    data = [p.detach() for p in params]

    def update() -> None:
        optimizer.step()
        torch._foreach_lerp_(averages, data, _EMA_WEIGHT)

    return update, lambda: tuple(torch.cat([t.flatten() for t in ts]) for ts in (data, averages))


def row(name: str, betas: tuple[float, float], protocol: Protocol) -> dict[str, Any]:
    """One size and one pair of betas: checked, then measured in turns."""
    shapes = _SHAPES[name]
    n = sum(torch.Size(shape).numel() for shape in shapes)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n, generator=generator) * 0.02
    gradient = torch.randn(n, generator=generator) * 1e-3
    sides = {
        "ours": _ours(values, gradient, betas),
        "torch": _torch(values, gradient, betas, shapes),
    }
    for update, _ in sides.values():
        for _ in range(3):
            update()
    results = [read() for _, read in sides.values()]
    error = max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))
    if not error <= _TOLERANCE:
        raise SystemExit(f"{name}, betas {betas}: the results differ by {error:.3g}")
    samples = measure({side: update for side, (update, _) in sides.items()}, protocol)
    ratios = sorted(samples.ratios("torch", "ours"))
    return {
        "parameters": n,
        "betas": betas,
        "largest_difference": error,
        "seconds": samples.seconds,
        "ratio": ratios[len(ratios) // 2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    protocol = Protocol(threads=options.threads, rounds=options.rounds)
    facts, rows = environment(protocol), []
    print("\n".join(f"{name:<14}{value}" for name, value in facts.items()) + "\n")
    with torch.no_grad():
        for name in _SHAPES:
            for betas in _BETAS:
                rows.append(found := row(name, betas, protocol))
                times = {side: sorted(s)[len(s) // 2] for side, s in found["seconds"].items()}
                print(
                    f"{name} parameters, betas {betas}: torch {times['torch'] * 1e3:.2f} ms, ours "
                    f"{times['ours'] * 1e3:.2f} ms, torch / ours {found['ratio']:.2f} "
                    f"(largest difference {found['largest_difference']:.1e})"
                )
    if options.json:
        options.json.write_text(json.dumps({"environment": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
