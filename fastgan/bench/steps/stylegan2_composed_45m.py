# SPDX-License-Identifier: Apache-2.0
"""`stylegan2_composed` with 45 million parameters."""

from collections.abc import Sequence

from fastgan.bench.step_case import StepCase
from fastgan.bench.steps.stylegan2_composed import case


def cases() -> Sequence[StepCase]:
    return [case("stylegan2 64x64 45M composed", (64, 16384, 512, 4))]
