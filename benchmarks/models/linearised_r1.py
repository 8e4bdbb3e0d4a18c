"""A critic's step with R1 or R1 + R2: `fastgan.losses.linearised` against double backward.

Usage: python -m benchmarks.models.linearised_r1 [--rounds 7] [--only NAME] [--small]

One thread, process CPU time, variants interleaved in one process, median of the ratios round by
round; all variants run the same kernels but the last. A step is the objective on real and fake
samples and the penalties, with one backward. No time is printed before the gradients are right:
in float64 within 1e-10 of double backward per parameter, in float32 within 1e-5 of it or no farther
from the float64 gradient than twice double backward's own distance.

    separate    double backward, the penalties with forward passes of their own
    shared      penalty_method="double_backward", which uses the objective's forward passes
    linearised  penalty_method="linearised"
    no penalty  the objective alone
    reference   separate, with fastgan's ops in plain PyTorch, as a composed critic has them

--small shows from where on recording pays, which is how `_MACS_PER_OPERATOR` there was chosen.
"""

import argparse
import copy
import itertools
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.losses.gradient_penalty import logits_and_penalty, r1
from fastgan.losses.linearised.tape import Tape
from fastgan.ops import bias_act, use_backend


def plain_torch(width=64):
    """(4 × 4 convolution of stride 2, leaky ReLU) four times, then one logit; 64 × 64 images."""
    layers = []
    for i, o in itertools.pairwise((3, width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4), nn.Flatten())


class PlainCritic(nn.Module):
    """The same with bias and leaky ReLU in one pass."""

    def __init__(self, width=64):
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 8 * width)
        pairs = itertools.pairwise(widths)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1, bias=False) for i, o in pairs)
        self.biases = nn.ParameterList(torch.zeros(o) for o in widths[1:])
        self.out = nn.Conv2d(8 * width, 1, 4)

    def forward(self, x):
        for conv, b in zip(self.convs, self.biases, strict=True):
            x = bias_act(conv(x), b, act="lrelu", gain=1.0)
        return self.out(x).flatten(1)


class Residual(nn.Module):
    """1 × 1, grouped 3 × 3, 1 × 1 with leaky ReLUs, beside the identity."""

    def __init__(self, width, groups):
        super().__init__()
        self.first = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=groups, bias=False)
        self.last = nn.Conv2d(2 * width, width, 1, bias=False)
        self.b0 = nn.Parameter(torch.zeros(2 * width))
        self.b1 = nn.Parameter(torch.zeros(2 * width))

    def forward(self, x):
        y = bias_act(self.first(x), self.b0, act="lrelu")
        y = bias_act(self.middle(y), self.b1, act="lrelu")
        return x + self.last(y)


class ResidualCritic(nn.Module):
    """R3GAN's kind (Huang et al. 2024): residual stages, grouped convolutions, no norm; 32 × 32."""

    def __init__(self, widths=(64, 128, 256, 256), blocks=2, group_width=16):
        super().__init__()
        self.enter = nn.Conv2d(3, widths[0], 1)
        stages = []
        for i, width in enumerate(widths):
            stages += [Residual(width, 2 * width // group_width) for _ in range(blocks)]
            if i + 1 < len(widths):
                stages += [nn.AvgPool2d(2), nn.Conv2d(width, widths[i + 1], 1, bias=False)]
        self.stages = nn.Sequential(*stages)
        self.base = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, x):
        return self.out(self.base(self.stages(self.enter(x))).flatten(1))


def mlp(width, depth):
    layers = [nn.Linear(2, width), nn.LeakyReLU(0.2)]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def image(n, size):
    return (n, 3, size, size)


# name: (critic, shape of a batch, γ of R1, γ of R2)
STEPS = {
    "torch.nn 64x64 b16, R1": (plain_torch, image(16, 64), 10.0, 0.0),
    "plain 64x64 b16, R1": (PlainCritic, image(16, 64), 10.0, 0.0),
    "plain 64x64 b16, R1+R2": (PlainCritic, image(16, 64), 10.0, 10.0),
    "residual 32x32 b16, R1": (ResidualCritic, image(16, 32), 1.0, 0.0),
    "residual 32x32 b16, R1+R2": (ResidualCritic, image(16, 32), 1.0, 1.0),
}
SMALL = {
    f"mlp {w} wide, {d} deep, b{n}": (lambda w=w, d=d: mlp(w, d), (n, 2), 1.0, 1.0)
    for w, d, n in ((16, 1, 4), (64, 2, 64), (128, 3, 256), (128, 8, 256), (256, 3, 256))
} | {
    f"plain, {w} wide, b{n}": (lambda w=w: PlainCritic(w), image(n, 64), 1.0, 1.0)
    for w, n in ((4, 4), (8, 4), (8, 8), (16, 8))
}  # fmt: skip


def step(D, batches, gammas, method):
    """The loss. method: one of penalty_method's, "separate", or "no penalty"."""
    logits, penalties = [], []
    for x, gamma in zip(batches, gammas, strict=True):
        if method in ("separate", "no penalty") or gamma == 0:
            logits.append(D(x))
            if method == "separate" and gamma:
                penalties.append(gamma / 2 * r1(D, x, method="double_backward").mean())
        else:
            y, penalty = logits_and_penalty(D, x, method=method)
            logits.append(y)
            penalties.append(gamma / 2 * penalty.mean())
    return F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean() + sum(penalties)


def reference(D, batches, gammas):
    with use_backend("reference"):
        D.zero_grad(set_to_none=True)
        step(D, batches, gammas, "separate").backward()


def backward(D, batches, gammas, method):
    D.zero_grad(set_to_none=True)
    step(D, batches, gammas, method).backward()


def gradients(D, batches, gammas, method):
    backward(D, batches, gammas, method)
    return {name: p.grad.double() for name, p in D.named_parameters()}


def errors(got, want):
    return {k: ((got[k] - want[k]).norm() / want[k].norm()).item() for k in want}


def check(D, batches, gammas):
    """The largest errors of a parameter: float64, float32, linearised's and autograd's own."""
    wide, double = copy.deepcopy(D).double(), [x.double() for x in batches]
    truth = gradients(wide, double, gammas, "separate")
    in_double = errors(gradients(wide, double, gammas, "linearised"), truth)
    theirs = gradients(D, batches, gammas, "separate")
    mine = gradients(D, batches, gammas, "linearised")
    apart, my, their = errors(mine, theirs), errors(mine, truth), errors(theirs, truth)
    for name in truth:
        is_fine = apart[name] <= 1e-5 or my[name] <= 2 * their[name]
        if in_double[name] > 1e-10 or not is_fine:
            raise SystemExit(
                f"{name}: float64 {in_double[name]:.1e}, float32 {apart[name]:.1e} from double "
                f"backward; from float64 {my[name]:.1e}, double backward {their[name]:.1e}"
            )
    return [max(found.values()) for found in (in_double, apart, my, their)]


def measure(variants, rounds):
    """Seconds per call of each, one entry per round; the order rotates."""
    calls = {}
    for name, run in variants.items():
        run()
        start = time.process_time()
        run()
        calls[name] = max(1, round(0.03 / max(time.process_time() - start, 1e-6)))
    names, seconds = list(variants), {name: [] for name in variants}
    for i in range(rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.process_time()
            for _ in range(calls[name]):
                variants[name]()
            seconds[name].append((time.process_time() - start) / calls[name])
    return seconds


def ratio(seconds, name, base="linearised"):
    pairs = zip(seconds[name], seconds[base], strict=True)
    return statistics.median(a / b for a, b in pairs)


def set_up(case):
    build, shape, *gammas = case
    torch.manual_seed(0)
    return build(), [torch.randn(shape), 0.5 * torch.randn(shape) + 0.25], gammas


def show(name, case, rounds):
    D, batches, gammas = set_up(case)
    double, apart, mine, theirs = check(D, batches, gammas)
    print(
        f"{name}: largest error of a parameter's gradient against double backward {apart:.1e} "
        f"(float64 {double:.1e}); against float64 {mine:.1e}, double backward {theirs:.1e}"
    )
    methods = {"shared": "double_backward"} | {
        k: k for k in ("separate", "linearised", "no penalty")
    }
    variants = {
        label: lambda method=method: backward(D, batches, gammas, method)
        for label, method in methods.items()
    } | {"reference": lambda: reference(D, batches, gammas)}
    seconds = measure(variants, rounds)
    for label, spent in seconds.items():
        print(
            f"    {label:12} {1e3 * statistics.median(spent):8.1f} ms"
            f"{ratio(seconds, label):8.2f} of linearised"
        )


def show_small(name, case, rounds):
    D, batches, gammas = set_up(case)
    check(D, batches, gammas)
    with Tape([x := batches[0].clone().requires_grad_()]) as tape:
        logits = D(x)
    steps = len(tape.finish(logits).steps)
    methods = ("double_backward", "linearised", "auto")
    merged = {m: lambda m=m: backward(D, batches, gammas, m) for m in methods}
    alone = {m: lambda m=m: r1(D, batches[0], method=m).mean().backward() for m in methods}
    cells = []
    for variants in (merged, alone):
        seconds = measure(variants, rounds)
        cells += [ratio(seconds, "double_backward", m) for m in methods[1:]]
    print(
        f"{name:28} {tape.macs / steps / 1e6:6.2f} M multiply-adds per operator; double backward "
        "over linearised, auto: merged {:.2f}, {:.2f}; R1 alone {:.2f}, {:.2f}".format(*cells)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, case in (SMALL if arguments.small else STEPS).items():
        if arguments.only in name:
            (show_small if arguments.small else show)(name, case, arguments.rounds)


if __name__ == "__main__":
    main()
