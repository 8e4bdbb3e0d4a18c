# SPDX-License-Identifier: Apache-2.0
"""What a call does to memory: peak live tensor bytes, and page faults after warm-up.

The resident size of a process says neither: it keeps what the allocator keeps, and peaks of what
ran before. Bytes are counted instead, one torch allocation and release at a time.
"""

import os
from collections.abc import Callable, Mapping, Sequence

import torch

try:
    import resource
except ImportError:  # Windows counts no faults
    resource = None

_MARK = "fastgan::measured "


def peak_live_bytes(
    build: Callable[[], Mapping[str, Callable[[], object]]],
) -> dict[str, int]:
    """Most bytes of live CPU tensors during each call.

    All run once before any is counted, so that each is counted as in a loop over them: beside what
    the others leave behind (moments, gradients). Everything that `build` made counts (parameters,
    batch); what existed before does not, nor does scratch that a library takes from malloc itself
    (oneDNN's, say), nor what a call returns once it has returned.

    Args:
        build: makes everything that counts, and returns name → call.

    Returns:
        Name → bytes.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it writes two lines to stderr
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(
        activities=activities, profile_memory=True, acc_events=True
    ) as profile:
        _run_twice(build())
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return {
        e.name().removeprefix(_MARK): _peak(changes, e.start_ns(), e.end_ns())
        for e in events
        if e.name().startswith(_MARK)
    }


def _run_twice(calls: Mapping[str, Callable[[], object]]) -> None:
    """All of them, then each of them marked; nothing of them is referred to afterwards."""
    for call in calls.values():
        call()
    for name, call in calls.items():
        with torch.profiler.record_function(_MARK + name):
            call()


def _peak(changes: Sequence[tuple[int, int]], start: int, end: int) -> int:
    live = peak = 0
    for at, size in changes:
        if at >= start:
            peak = max(peak, live)
        if at > end:
            break
        live += size
        if at >= start:
            peak = max(peak, live)
    return max(peak, live)


def page_faults(call: Callable[[], object], calls: int = 2) -> float | None:
    """Minor page faults per call, after one call that is not counted; None on Windows.

    Args:
        call: called without arguments.
        calls: how often it is called while counting.
    """
    if resource is None:
        return None
    call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls
