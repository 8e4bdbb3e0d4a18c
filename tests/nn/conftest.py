# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture(autouse=True)
def _everything_on_the_device(on_device):
    """No test of this folder names a device."""
