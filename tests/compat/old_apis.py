# SPDX-License-Identifier: Apache-2.0
"""The fixes of `fastgan.compat.legacy_apis` without a code base."""

import contextlib

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis import FIXES, install


@contextlib.contextmanager
def fixed(*names):
    """A block in which these fixes, or all, are installed."""
    with Changes() as done:
        install(done, {name: FIXES[name] for name in names or FIXES})
        yield
