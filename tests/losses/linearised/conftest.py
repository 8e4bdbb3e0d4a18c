# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for linearised_critics


@pytest.fixture(autouse=True)
def kernels_on_small_tensors():
    """The rules of fastgan's ops are tested; small calls are operators of torch, with its rules."""
    from fastgan.ops import use_small_calls

    with use_small_calls("0"):
        yield
