# SPDX-License-Identifier: Apache-2.0
"""The steps of `make gpu-check` in their order, and how long each may take."""

from collections.abc import Sequence

from tests.gpu import (
    _benchmarks,
    _build_libraries,
    _day,
    _environment,
    _phases,
    _sanitizer,
    _suite,
)
from tests.gpu._steps import CheckStep

QUICK_SECONDS = 480.0  # of all steps together: a lent machine may give ten minutes a command

STEPS = (
    CheckStep(
        name="build",
        does="build the CPU and the CUDA library, if they are missing",
        limits=(3600.0, 60.0),
        run=_build_libraries.run,
    ),
    CheckStep(
        name="environment",
        does="device, driver, versions, commit; speed of a copy on the device",
        limits=(300.0, 20.0),
        run=_environment.run,
    ),
    CheckStep(
        name="suite",
        does="pytest --backend cuda",
        limits=(7200.0, 120.0),
        run=_suite.run,
    ),
    CheckStep(
        name="sanitizer",
        does="compute-sanitizer memcheck, racecheck, initcheck, synccheck over awkward shapes",
        limits=(3600.0, 70.0),
        run=_sanitizer.run,
    ),
    CheckStep(
        name="capture",
        does="every phase of every recipe: CUDA graph against eager",
        limits=(3600.0, 70.0),
        run=_phases.run,
    ),
    CheckStep(
        name="benchmarks",
        does="every op against eager, torch.compile and a copy; training steps",
        limits=(7200.0, 140.0),
        run=_benchmarks.run,
    ),
)


DAY_SECONDS = 840.0  # of its steps together: 15 minutes of a machine, less its start
DAY = (*_day.DAY_1, *_day.DAY_2)
GROUPS = {"day": DAY, "day-1": _day.DAY_1, "day-2": _day.DAY_2}


def chosen(only: Sequence[str]) -> list[CheckStep]:
    """STEPS, or those named and `environment`, without which no number says where it is from.

    Names are those of STEPS, of DAY's steps, and of GROUPS. ValueError for a name that is none.
    """
    every = (*STEPS, *DAY)
    names = [*(step.name for step in every), *GROUPS]
    for name in only:
        if name not in names:
            raise ValueError(f"gpu-check: no step {name!r}; there are {', '.join(names)}")
    if not only:
        return list(STEPS)
    wanted = {"environment", *only}
    wanted |= {step.name for name in only for step in GROUPS.get(name, ())}
    return [step for step in every if step.name in wanted]


def describe(steps: Sequence[CheckStep], *, is_quick: bool) -> str:
    lines = [f"{s.name:<13}at most {s.limit_s(is_quick):>5.0f} s   {s.does}" for s in steps]
    total = sum(step.limit_s(is_quick) for step in steps)
    return "\n".join([*lines, f"{'together':<13}at most {total:>5.0f} s"])
