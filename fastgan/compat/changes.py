# SPDX-License-Identifier: Apache-2.0
"""Changes of modules and classes that can be undone."""

import contextlib
from typing import Any


class Changes(contextlib.ExitStack):
    """Attributes that were set; `close` restores what was there, in the opposite order."""

    def set(self, holder: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or a class.

        Args:
            holder: the module or the class.
            name: the attribute.
            value: its new value.
        """
        had, old = name in vars(holder), vars(holder).get(name)
        setattr(holder, name, value)

        def restore() -> None:
            if had:
                setattr(holder, name, old)
            elif name in vars(holder):
                delattr(holder, name)

        self.callback(restore)

    def set_missing(self, holder: Any, name: str, value: Any) -> None:
        """`set`, if `holder` has no such attribute; a warning by its `__getattr__` is not shown.

        Args:
            holder: the module or the class.
            name: the attribute.
            value: its new value.
        """
        if name not in vars(holder):
            self.set(holder, name, value)
