# SPDX-License-Identifier: Apache-2.0
"""Times two ways of computing the same in turns, on the machine that it runs on."""

import statistics
import time
from collections.abc import Callable

import torch

from fastgan.nn.acceleration.record import ConvCall
from fastgan.ops import conv2d, conv_transpose2d

ROUNDS, FEWEST_ROUNDS = 7, 3
SAMPLE_SECONDS = 0.02  # that the calls of one sample fill together
LONGEST_SECONDS = 2.0  # of all rounds; then FEWEST_ROUNDS are enough

Work = Callable[[], object]


def _clock() -> Callable[[], float]:
    """The CPU time of the process where one thread computes: other processes disturb it little."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def times_as_fast(before: Work, after: Work) -> float:
    """How many times as long ``before`` takes as ``after``: the median over rounds.

    Args:
        before: one way to compute something on a CPU.
        after: another way.
    """
    now = _clock()

    def seconds(work: Work, count: int) -> float:
        start = now()
        for _ in range(count):
            work()
        return (now() - start) / count

    before(), after()
    longest = max(seconds(before, 1), seconds(after, 1), 1e-6)
    count = max(1, round(SAMPLE_SECONDS / longest))
    rounds = max(FEWEST_ROUNDS, min(ROUNDS, round(LONGEST_SECONDS / (2 * longest * count))))
    pairs = [(seconds(before, count), seconds(after, count)) for _ in range(rounds)]
    return statistics.median(b / a for b, a in pairs)


def conv_gain(call: ConvCall, *, has_backward: bool) -> float:
    """How many times as fast `fastgan.ops` computes a convolution as torch does.

    Args:
        call: that was recorded; its operands are drawn anew.
        has_backward: whether the gradients of all operands are computed, too.
    """
    names = (call.x, call.w, *(() if call.b is None else (call.b,)))
    tensors = [facts.drawn().requires_grad_(has_backward) for facts in names]
    x, w, b = (*tensors, None)[:3]
    geometry = (call.stride, call.padding)
    if call.is_transposed:
        torch_run, our_run = torch.conv_transpose2d, conv_transpose2d
        geometry += (call.output_padding,)
    else:
        torch_run, our_run = torch.conv2d, conv2d
    groups = {"groups": call.groups}

    def work(run: Callable[..., torch.Tensor]) -> Work:
        def forward() -> torch.Tensor:
            return run(x, w, b, *geometry, **groups)

        return (lambda: torch.autograd.grad(forward(), tensors, dy)) if has_backward else forward

    with torch.set_grad_enabled(has_backward):
        dy = torch.randn_like(torch_run(x, w, b, *geometry, **groups))
        return times_as_fast(work(torch_run), work(our_run))
