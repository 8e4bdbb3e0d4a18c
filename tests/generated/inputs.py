# SPDX-License-Identifier: Apache-2.0
"""Calls of the ops with generated shapes, types, layouts and parameters, and how they are judged.

Sizes come from the kernels' own sources: around each block size, tile and limit that a source of
the op names (`kChannelsAtOnce = 64` gives 63, 64, 65 and 129), besides 1 and small ones.
"""

import functools
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from fastgan import ops
from fastgan.ops import use_backend, use_small_calls

CSRC = Path(__file__).parents[2] / "csrc"
MOST_ELEMENTS = 1 << 14  # of one tensor, so that thousands of calls take a minute
WINOGRAD = 10.0  # its transforms add numbers that are larger than the sum (Lavin & Gray 2016)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
CONSTANT = re.compile(r"\bk[A-Z]\w*\s*=\s*(\d+)\b")
SMALL = (1, 2, 3, 5, 7, 16, 17)
THREADS = (1024, 1025, 2049)  # around the most threads of a CUDA block, which a source may compute


class Call(NamedTuple):
    """One call: of `tensors`, by name, those that take a gradient; `said` describes it."""

    call: Callable[..., torch.Tensor]
    tensors: dict[str, torch.Tensor]
    said: str
    has_kinks: bool = False  # derivatives jump where a sum of many terms changes its sign
    rounding: float = 1.0  # of the op's own algorithm, as a multiple of plain PyTorch's
    curvature: float = 0.0  # the largest second derivative: what a rounded x costs a gradient


@functools.cache
def sizes(op: str) -> tuple[int, ...]:
    """Sizes around the constants of the op's sources."""
    found = {*SMALL, *THREADS}
    for path in (CSRC / "ops" / op).glob("*"):
        for text in CONSTANT.findall(path.read_text(encoding="utf-8")):
            if 1 < (n := int(text)) <= 4096:
                found |= {n - 1, n, n + 1, 2 * n + 1}
    return tuple(sorted(found))


def shape(r: random.Random, op: str, dims: int, least: int = 1) -> list[int]:
    """One or two sizes from the sources, the rest small, within MOST_ELEMENTS."""
    found = [r.choice(SMALL) for _ in range(dims)]
    for at in r.sample(range(dims), min(dims, r.choice((1, 1, 2)))):
        found[at] = r.choice(sizes(op))
    found = [max(n, least) if at >= dims - 2 else n for at, n in enumerate(found)]
    while math.prod(found) > MOST_ELEMENTS:
        largest = sorted(range(dims), key=lambda at: found[at])[-2]  # the largest stays
        at = largest if found[largest] > least else max(range(dims), key=lambda i: found[i])
        found[at] = max(found[at] // 2, 1 if at < dims - 2 else least)
    return found


def laid_out(r: random.Random, x: torch.Tensor) -> tuple[torch.Tensor, str]:
    """x's values in one of six places in memory."""
    name = r.choice(("contiguous", "channels_last", "strided", "offset", "transposed", "expanded"))
    if name == "channels_last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last), name
    if name == "strided":
        parent = x.new_full([2 * n for n in x.shape], float("nan"))
        return parent[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x), name
    if name == "offset":
        return x.new_full([x.numel() + 3], float("nan"))[3:].view(x.shape).copy_(x), name
    if name == "transposed" and x.dim() > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1), name
    if name == "expanded" and x.dim() > 0 and x.shape[0] > 1:
        return x[:1].expand_as(x), name
    return x, "contiguous"


def tensor(r: random.Random, size, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(r.getrandbits(62))
    return torch.randn(tuple(size), generator=generator).to(dtype)


def clamp(r: random.Random) -> float | None:
    return r.choice((None, None, 0.5, 1.0))


def of_bias_act(r, dtype):
    size = shape(r, "bias_act", r.choice((2, 3, 4)))
    dim = r.randrange(len(size))
    act = r.choice(
        ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
    )
    gain, bound = r.choice((None, 0.5, 2.0)), clamp(r)
    tensors = {"x": tensor(r, size, dtype), "b": tensor(r, size[dim : dim + 1], dtype)}
    call = lambda x, b: ops.bias_act(x, b, dim, act, gain=gain, clamp=bound)  # noqa: E731
    return Call(call, tensors, f"dim={dim} {act} gain={gain} clamp={bound}", bound is not None)


def of_noise_bias_act(r, dtype):
    n, c, h, w = size = shape(r, "noise_bias_act", 4)
    act, bound = r.choice(("linear", "lrelu", "relu")), clamp(r)
    tensors = {
        "x": tensor(r, size, dtype), "scale": tensor(r, (n, c), dtype),
        "noise": tensor(r, (r.choice((1, n)), 1, h, w), dtype), "strength": tensor(r, (), dtype),
        "b": tensor(r, (c,), dtype),
    }  # fmt: skip
    call = lambda *t: ops.noise_bias_act(*t, act=act, clamp=bound)  # noqa: E731
    return Call(call, tensors, f"{act} clamp={bound}", True)


def of_modulate(r, dtype):
    size = shape(r, "modulate", r.choice((3, 4)))
    tensors = {"x": tensor(r, size, dtype), "s": tensor(r, size[:2], dtype)}
    return Call(ops.modulate, tensors, "")


def of_demodulation(r, dtype):
    o, i, k, _ = shape(r, "demodulation", 4)
    k = min(k, 3)
    tensors = {"w": tensor(r, (o, i, k, k), dtype), "s": tensor(r, (r.choice(SMALL), i), dtype)}
    return Call(ops.demodulation, tensors, "", curvature=1e3)  # its derivatives hold d³ and d⁵


def taps(r, dtype):
    return ops.setup_filter(r.choice(([1, 1], [1, 2, 1], [1, 3, 3, 1], [1, 4, 6, 4, 1, 2, 3])))


def of_upfirdn2d(r, dtype):
    f, up, down = taps(r, dtype), r.choice((1, 2, 3)), r.choice((1, 2, 3))
    padding, flip = [r.choice((-1, 0, 1, 2, 3, 4)) for _ in range(4)], r.random() < 0.5
    size = shape(r, "upfirdn2d", 4, least=9)
    call = lambda x: ops.upfirdn2d(x, f, up, down, padding, flip, 1.5)  # noqa: E731
    said = f"f={tuple(f.shape)} up={up} down={down} padding={padding} flip={flip}"
    return Call(call, {"x": tensor(r, size, dtype)}, said)


def of_bias_act_filter2d(r, dtype):
    f, bound = taps(r, dtype), clamp(r)
    size = shape(r, "bias_act_filter2d", 4, least=7)
    padding = r.choice((0, 1, 2))
    call = lambda x, b: ops.bias_act_filter2d(x, b, f, padding, "lrelu", clamp=bound)  # noqa: E731
    tensors = {"x": tensor(r, size, dtype), "b": tensor(r, size[1:2], dtype)}
    return Call(call, tensors, f"f={len(f)} padding={padding} clamp={bound}", True)


def of_filtered_lrelu(r, dtype):
    up, down = r.choice((1, 2, 4)), r.choice((1, 2))
    fu, fd = (ops.setup_filter([1.0] * (2 * n)) if n > 1 else None for n in (up, down))
    bound, padding = clamp(r), r.choice((0, 1, 3))
    size = shape(r, "filtered_lrelu", 4, least=8)
    tensors = {"x": tensor(r, size, dtype), "b": tensor(r, size[1:2], dtype)}
    call = lambda x, b: ops.filtered_lrelu(x, fu, fd, b, up, down, padding, clamp=bound)  # noqa: E731
    return Call(call, tensors, f"up={up} down={down} padding={padding} clamp={bound}", True)


def of_minibatch_stddev(r, dtype):
    n, c, h, w = shape(r, "minibatch_stddev", 4)
    group, features = r.choice(((1, 1), (2, 1), (4, 1), (3, 2), (None, 1)))
    n, c = n * (group or 1) if n * (group or 1) * c * h * w < 4 * MOST_ELEMENTS else (group or 2), c
    c = c * features
    call = lambda x: ops.minibatch_stddev(x, group, features)  # noqa: E731
    said = f"group={group} features={features}"
    # 1/√eps of the op's eps = 1e-8: where all samples are equal.
    return Call(call, {"x": tensor(r, (n, c, h, w), dtype)}, said, curvature=1e4)


def of_gradient_penalty(r, dtype):
    size, target = shape(r, "gradient_penalty", r.choice((2, 4))), r.choice((0.0, 1.0))
    call = lambda g: ops.gradient_penalty(g, target)  # noqa: E731
    return Call(call, {"grads": tensor(r, size, dtype)}, f"target={target}", True)


def convolution(r, dtype, op, groups):
    n, c, h, w = shape(r, op, 4)
    n, h, w, c, k = min(n, 3), min(h, 33), min(w, 33), min(c, 65), r.choice((1, 3, 8, 17, 33))
    dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    size = (n, c * groups, h, w)
    return size, {"x": tensor(r, size, dtype), "w": tensor(r, (k * groups, c, 3, 3), dtype)}


def of_grouped_conv2d(r, dtype):
    groups, padding = r.choice((1, 2, 3)), r.choice((1, 2))
    _, tensors = convolution(r, dtype, "grouped_conv2d", groups)
    call = lambda x, w: ops.grouped_conv2d(x, w, groups, padding)  # noqa: E731
    return Call(call, tensors, f"groups={groups} padding={padding}", rounding=WINOGRAD)


def of_conv2d(r, dtype):
    stride = r.choice((1, 2))
    _, tensors = convolution(r, dtype, f"winograd{'_strided' * (stride > 1)}_conv2d", 1)
    call = lambda x, w: ops.conv2d(x, w, None, stride, 1)  # noqa: E731
    return Call(call, tensors, f"stride={stride}", rounding=WINOGRAD)


OPS = {
    name.removeprefix("of_"): make
    for name, make in list(globals().items())
    if name.startswith("of_")
}


def generated(op: str, seed: int) -> Call:
    """Call number `seed` of an op: always the same."""
    r = random.Random(f"{op} {seed}")
    dtype = r.choice(DTYPES)
    made = OPS[op](r, dtype)
    tensors, said = {}, [op, made.said]
    for name, t in made.tensors.items():
        tensors[name], layout = laid_out(r, t)
        said.append(f"{name}: {t.dtype} {list(t.shape)} {layout}")
    return made._replace(tensors=tensors, said="; ".join(said))


def results(call, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """y and the gradient of each tensor for dy = 1 + y/4, by name."""
    leaves = {name: t.detach().requires_grad_() for name, t in tensors.items()}
    y = call(*leaves.values())
    dy = (1 + y.detach().double() / 4).to(y.dtype)
    grads = torch.autograd.grad(y, list(leaves.values()), dy, materialize_grads=True)
    return {"y": y.detach()} | {f"d{n}": g for n, g in zip(leaves, grads, strict=True)}


def faults(made: Call, call=None) -> list[str]:
    """What is wrong with the op (or with `call` in its place): each tensor is compared with plain
    PyTorch's in float64 from the same numbers.

    The limit is twice the worst error that plain PyTorch makes in the same dtype, plus a few eps of
    the largest number, or of the magnitudes that were added up to make a sum. Where derivatives
    jump they are compared in float64 alone: no sum of these numbers rounds across the jump there.
    """
    with use_small_calls("0"):  # the kernels themselves
        got = results(call or made.call, made.tensors)
    with use_backend("reference"):
        plain = results(made.call, made.tensors)
        want = results(made.call, {name: t.double() for name, t in made.tensors.items()})
    found = []
    for name, value in got.items():
        exact, theirs = want[name], plain[name]
        if value.shape != exact.shape or value.dtype != theirs.dtype:
            found.append(f"{name}: {value.dtype} {list(value.shape)}, plain {theirs.dtype} "
                         f"{list(exact.shape)}")  # fmt: skip
            continue
        is_exact = all(t.dtype == torch.float64 for t in made.tensors.values())
        if name != "y" and made.has_kinks and not is_exact:
            continue
        eps = torch.finfo(value.dtype).eps
        largest = exact.abs().amax().item() if exact.numel() else 0.0
        terms = max(t.numel() for t in made.tensors.values())
        limit = 2 * (theirs.double() - exact).abs().amax().item() if exact.numel() else 0.0
        limit += (
            made.rounding
            * (4 + math.log2(1 + terms))
            * eps
            * (largest + torch.finfo(value.dtype).tiny)
        )
        if name != "y" and exact.numel():
            longest = max(made.tensors.values(), key=torch.Tensor.numel)
            term = (longest.double().abs().amax() * (1 + want["y"].abs().amax() / 4)).item()
            summed = longest.numel() / exact.numel()  # the magnitudes of a sum that cancels
            limit += eps * term * (made.curvature + (summed if summed > 1 else 0))
        error = (value.double() - exact).abs()
        if exact.numel() and not error.amax().item() <= limit:
            found.append(f"{name}: error {error.amax().item():.3g}, limit {limit:.3g}")
    return found
