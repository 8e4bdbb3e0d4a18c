# SPDX-License-Identifier: Apache-2.0
"""Times two ways of computing the same in turns, on the machine that it runs on."""

import statistics
import time
from collections.abc import Callable

import torch

from fastgan.nn.acceleration.functions import Arguments
from fastgan.nn.acceleration.record import ConvCall

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
        call: that was recorded; its operands are drawn anew, but for a filter of all channels.
        has_backward: whether the gradients of all operands are computed, too.
    """
    is_filter = call.shared_filter is not None
    names = (call.x, call.w, *(() if call.b is None else (call.b,)))
    operands = [facts.drawn() for facts in names]
    if is_filter:
        operands[1][:] = torch.tensor(call.shared_filter)  # one that is separable is faster
    wanted = [t.requires_grad_(has_backward) for t in operands[: 1 if is_filter else None]]
    geometry = {"stride": call.stride, "padding": call.padding, "groups": call.groups}
    function = torch.conv2d
    if call.is_transposed:
        function, geometry["output_padding"] = torch.conv_transpose2d, call.output_padding

    def theirs() -> torch.Tensor:
        return function(*operands, **geometry)

    def ours() -> torch.Tensor:
        return Arguments(function, operands, geometry).run()

    with torch.set_grad_enabled(has_backward):
        if not has_backward:
            return times_as_fast(theirs, ours)
        dy = torch.randn_like(theirs())
        return times_as_fast(
            lambda: torch.autograd.grad(theirs(), wanted, dy),
            lambda: torch.autograd.grad(ours(), wanted, dy),
        )
