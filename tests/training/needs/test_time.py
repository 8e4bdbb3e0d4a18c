# SPDX-License-Identifier: Apache-2.0
"""The roofline of one operator, and of a step, by hand."""

import pytest

from fastgan.training import Gpu, load_recipe, predict, sec_per_kimg
from fastgan.training.needs.operator_trace import Work

GPU = Gpu(
    name="of round numbers", bandwidth=1e12, matrix_16_bit=100e12, matrix_tf32=50e12,
    plain_32_bit=10e12, share=0.5, sec_per_operator=1e-6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("work", "tf32", "seconds"),
    [
        (Work(10**9, 0, 0, False), True, 1e-3),  # by bytes
        (Work(10**6, 10**12, 0, True), True, 20e-3),  # by products in 16 bits, at half the peak
        (Work(10**6, 10**12, 0, False), True, 40e-3),
        (Work(10**6, 10**12, 0, False), False, 200e-3),
        (Work(10**6, 0, 10**9, True), True, 0.2e-3),  # filters: no tensor cores
    ],
)
def test_an_operator_takes_the_longer_time_and_a_launch(work, tf32, seconds):
    assert GPU.seconds(work, tf32=tf32) == pytest.approx(seconds + 1e-6)


def test_a_lazy_phase_counts_once_in_its_interval():
    prediction = predict(load_recipe("faces")(resolution=(16, 16), batch=8))
    rates: dict[str, float] = {}
    for phase in prediction.phases:
        rates[phase.name] = rates.get(phase.name, 0.0) + phase.per_step
    assert rates == {"d_step": 1, "d_penalty_step": 1 / 8, "g_step": 1}
    phases = {phase.name: phase for phase in prediction.phases}  # is_last changes no kernel
    seconds = {
        name: sum(count * GPU.seconds(work, tf32=True) for work, count in phase.work.items())
        for name, phase in phases.items()
    }
    step = seconds["d_step"] + seconds["d_penalty_step"] / 8 + seconds["g_step"]
    assert sec_per_kimg(prediction, GPU) == pytest.approx(step * 1000 / 8, rel=0.01)
