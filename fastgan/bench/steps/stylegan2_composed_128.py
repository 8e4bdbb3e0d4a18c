# SPDX-License-Identifier: Apache-2.0
"""`stylegan2_composed` at 128 × 128."""

from collections.abc import Sequence

from fastgan.bench.step_case import StepCase
from fastgan.bench.steps.stylegan2_composed import case


def cases() -> Sequence[StepCase]:
    return [case("stylegan2 128x128 composed", (128, 8192, 256, 4))]
