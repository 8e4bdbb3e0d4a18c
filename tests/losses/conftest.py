import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for linearised_critics


@pytest.fixture(autouse=True)
def _everything_on_the_device(on_device):
    """No test of this room names a device."""
