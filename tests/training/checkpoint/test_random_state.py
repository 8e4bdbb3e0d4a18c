# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
import torch

from fastgan.training.checkpoint import random_state

CPU = torch.device("cpu")


def draw():
    """Odd numbers of normals, so that each generator may keep a spare one."""
    return [
        torch.randn(3).tolist(),
        random.random(),
        random.gauss(0, 1),
        np.random.randn(3).tolist(),
    ]


@pytest.mark.parametrize("has_spare", [True, False])
def test_every_generator_continues_where_it_was(has_spare):
    random_state.seed_others(1)
    torch.manual_seed(1)
    if has_spare:
        draw()
    states = random_state.read(CPU)
    expected = draw()
    random_state.advance(5, 1, 2)
    random_state.restore(states, CPU)
    assert draw() == expected
    assert all(t.dtype in (torch.int64, torch.uint8) for t in states.values())


def test_what_is_drawn_inside_leaves_no_trace():
    random_state.advance(0, 0, 0)
    expected = draw()
    random_state.advance(0, 0, 0)
    with pytest.raises(ZeroDivisionError), random_state.preserved(CPU):
        1 / len(draw()[4:])
    assert draw() == expected


def test_streams_repeat_and_differ():
    drawn = []
    for arguments in ((0, 1, 8), (0, 1, 8), (0, 2, 8), (1, 1, 8), (0, 1, 12)):
        random_state.advance(*arguments)
        drawn.append(str(draw()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4
