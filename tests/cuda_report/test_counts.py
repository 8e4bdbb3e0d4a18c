# SPDX-License-Identifier: Apache-2.0
"""Instructions per output element: loops, ways through the code, ceilings that only fall."""

import json

import pytest

from tests.cuda_report import counts, flow
from tests.cuda_report.work import Part, Work, load_work, rounds

# A guard, a loop with a loop and a cold branch inside, two ways with and without a load, a ragged
# end that moves fewer bytes, an exit, and the endless loop with which nvcc pads the code.
CODE = """
.text.kernel:
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/              @P0  EXIT ;
.L_x_1:
        /*0020*/                   LDG.E.128 R4, desc[UR6][R2.64] ;
        /*0030*/                   BRA.DIV UR4, `(.L_x_9) ;
        /*0040*/                   BSSY B0, `(.L_x_3) ;
        /*0050*/               @P1 BRA `(.L_x_2) ;
        /*0060*/                   LDS R8, [R1] ;
        /*0070*/                   IADD3 R8, R8, R4, RZ ;
        /*0080*/                   BSYNC B0 ;
.L_x_2:
        /*0090*/                   IADD3 R8, R8, R4, RZ ;
        /*00a0*/                   IADD3 R8, R8, R4, RZ ;
        /*00b0*/                   IADD3 R8, R8, R4, RZ ;
.L_x_3:
        /*00c0*/                   FFMA R8, R8, R4, R5 ;
        /*00d0*/               @P2 BRA `(.L_x_3) ;
        /*00e0*/              @!P3 BRA `(.L_x_1) ;
        /*00f0*/                   BRA.U !UP0, `(.L_x_4) ;
        /*0100*/                   STG.E.128 desc[UR6][R2.64], R8 ;
        /*0110*/                   EXIT ;
.L_x_4:
        /*0120*/                   STG.E.U16 desc[UR6][R2.64], R8 ;
        /*0130*/                   EXIT ;
.L_x_9:
        /*0140*/                   WARPSYNC.COLLECTIVE R8, `(.L_x_3) ;
        /*0150*/                   BRA `(.L_x_3) ;
.L_x_5:
        /*0160*/                   BRA `(.L_x_5);
        /*0170*/                   NOP;
"""


@pytest.fixture
def kernel() -> flow.Flow:
    return flow.read_flows(CODE)["kernel"]


def test_the_way_with_most_bytes_is_counted_times_its_trips(kernel):
    outer, inner = kernel.loops
    assert (kernel.blocks[outer.header].address, kernel.blocks[inner.header].address) == (32, 192)
    assert inner.blocks < outer.blocks
    assert (outer.depth, inner.depth) == (0, 1)
    # 2 before; per trip 4, 3 with the load, 2 per trip of the inner loop, 1; 3 after.
    assert kernel.instructions((5, 3)) == 2 + 5 * (4 + 3 + 3 * 2 + 1) + 3
    assert kernel.instructions((0, 3)) == 2 + 3
    assert kernel.instructions((2.5, 0)) == 2 + 2.5 * (4 + 3 + 1) + 3
    assert "loop 0 at 0x0020" in kernel.describe()[0]
    assert "1 LDG, 1 LDS; 1 of 128 bits" in kernel.describe()[0]
    assert "loop 1 at 0x00c0: 2 instructions; 1 FFMA" in kernel.describe()[1]


def test_a_slow_path_that_is_called_is_not_taken():
    code = CODE.replace("IADD3 R8, R8, R4, RZ", "CALL.REL.NOINC `($slow)", 1)
    assert flow.read_flows(code)["kernel"].instructions((1, 1)) == 2 + 4 + 3 + 2 + 1 + 3


def test_other_loops_than_the_table_knows_are_refused_by_name(kernel):
    work = Work(label="op", parts=(Part(kernel="k", outputs=2, trips=(1,)),))
    (row,) = counts.rows({"k": kernel}, [work])
    assert row.instructions is None
    (line,), better = counts.compare([row], {"op": 1.0})
    assert "1 trip counts are given, the code has 2 loops:" in line
    assert "loop 1 at 0x00c0" in line
    assert better == []
    (row,) = counts.rows({}, [work])
    assert "there is no k for sm_90" in counts.compare([row], {})[0][0]


def test_a_ceiling_falls_and_never_rises(kernel, tmp_path):
    path = tmp_path / "ceilings.json"
    part = Part(kernel="k", outputs=2, trips=(2, 1), moved=4)
    rows = counts.rows({"k": kernel}, [Work(label="op", parts=(part, part), least=6)])
    (row,) = rows
    assert row.instructions == 25.0  # twice 2 + 2 · 10 + 3 over 2 outputs
    assert row.share == pytest.approx(6 / 4.09 / (2 * (12.5**4 / 25**4 + (4 / 4.09) ** 4) ** 0.25))
    assert counts.compare(rows, {})[0] == [
        "op: no ceiling; run --write-baseline and review the diff"
    ]
    counts.write(rows, path)
    assert counts.compare(rows, counts.read(path)) == ([], [])
    assert "| op | 25.0 | 25.0 | " in counts.table(rows, counts.read(path))

    path.write_text(json.dumps({"op": 24.9, "other": 1.0}))
    worse, _ = counts.compare(rows, counts.read(path))
    assert worse == ["op: 25.0 instructions per output element, ceiling 24.9; k, k became longer"]
    counts.write(rows, path, keep={"other"})
    assert counts.read(path) == {"op": 24.9, "other": 1.0}
    path.write_text(json.dumps({"op": 25.1, "other": 1.0}))
    assert counts.compare(rows, counts.read(path))[1] == [
        "op: 25.1 → 25.0 instructions per output element"
    ]
    counts.write(rows, path)
    assert counts.read(path) == {"op": 25.0}


def test_every_row_of_the_tables_has_a_ceiling():
    labels = [work.label for work in load_work()]
    assert len(labels) == len(set(labels))
    assert set(labels) == set(counts.read())


@pytest.mark.parametrize(
    ("items", "threads", "at_once", "expected"),
    [(512, 256, 1, 2), (513, 256, 1, 2 + 1 / 8), (256, 64, 2, 2), (33, 256, 1, 2 / 8)],
)
def test_rounds_is_the_mean_over_warps(items, threads, at_once, expected):
    assert rounds(items, threads, at_once) == expected
