# SPDX-License-Identifier: Apache-2.0
"""`use_backend`, `use_small_calls` and `use_winograd` hold for the thread that enters them."""

import threading

import pytest

from fastgan import ops
from fastgan.ops import _backend, _small_calls
from fastgan.ops._convolutions import conv2d

SETTINGS = {
    "use_backend": (lambda: ops.use_backend("reference"), _backend._forced_reference.get),
    "use_small_calls": (lambda: ops.use_small_calls("0"), _small_calls._is_on.get),
    "use_winograd": (lambda: ops.use_winograd("1"), conv2d._setting.get),
}


def _in_a_thread(ask):
    found = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join(timeout=20)
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_a_new_thread_has_the_default(name):
    block, ask = SETTINGS[name]
    default = _in_a_thread(ask)
    with block():
        assert _in_a_thread(ask) == default
        if name != "use_small_calls":  # whose default is "0" where there is no CPU library
            assert [ask()] != default
