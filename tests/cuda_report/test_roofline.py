# SPDX-License-Identifier: Apache-2.0
"""The roofline model takes bytes and launches from the bench files."""

import importlib

import pytest
import torch

from fastgan.bench.case_files import load_cases
from fastgan.bench.op_case import MODES, GpuWork, OpCase
from tests.cuda_report import roofline, tables
from tests.cuda_report.device import A100, H100


def _case(**options) -> OpCase:
    floor = dict.fromkeys(MODES, 1000) | {"double": 0}
    return OpCase(
        op="op", name="n", shapes=((500,),), run=abs, plain=abs, floor_elements=floor, **options
    )


def test_roofline_takes_what_the_kernels_move():
    work = {"forward": GpuWork(moved_elements=900_000_000, launches=2)}
    forward, both = roofline.rows([_case(gpu_work=work, dtype=torch.bfloat16)])

    assert (forward.least_bytes, forward.moved_bytes) == (2000, 1_800_000_000)
    assert forward.seconds(A100) == pytest.approx(1.8e9 / (0.9 * 2039e9) + 6e-6)
    assert (both.mode, both.moved_bytes) == ("forward+backward", 2000)
    assert both.seconds(H100) == pytest.approx(2000 / (0.9 * 3350e9) + 6e-6)
    assert "| op | n | bfloat16 | dense | forward | 0.0 | 1800.0 | 900000.00 | 2 | 987 | 603 |" in (
        tables.roofline_table([forward], [A100, H100])
    )


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ({"backward": GpuWork(moved_elements=1)}, "gpu_work may name forward, .* got backward"),
        ({"forward": GpuWork(moved_elements=999)}, "less than the minimum of 1000"),
    ],
)
def test_impossible_work_is_refused(work, words):
    with pytest.raises(ValueError, match=words):
        _case(gpu_work=work)


def test_every_op_is_in_the_roofline_and_gpu_shapes_come_first(monkeypatch):
    found = {case.op for case in roofline.load_cases()}
    assert found == {case.op for case in load_cases("ops")}
    module = importlib.import_module("fastgan.bench.ops.bias_act")
    monkeypatch.setattr(module, "gpu_cases", lambda: [_case()], raising=False)
    assert "bias_act" not in {case.op for case in roofline.load_cases()}
