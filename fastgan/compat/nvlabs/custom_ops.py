# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.custom_ops`: nothing is compiled at run time."""

from typing import Any, NoReturn

verbosity = "brief"  # may be set, and has no effect


def get_plugin(module_name: str, sources: Any = (), **options: Any) -> NoReturn:
    """Refuse to compile: an op that still calls this function is not replaced by fastgan.

    Args:
        module_name: name of the extension that should be compiled.
        sources: ignored.
        **options: ignored.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"custom_ops.get_plugin: {module_name!r} should be compiled, but fastgan.compat compiles "
        "nothing; it replaces the ops of torch_utils.ops, and this one is from another place"
    )
