"""`torch_utils.custom_ops`: nothing is compiled at run time."""

from typing import Any, NoReturn

verbosity = "brief"  # may be set; there is nothing to say


def get_plugin(module_name: str, sources: Any = (), **options: Any) -> NoReturn:
    """RuntimeError: an op that still compiles itself is one that is not replaced."""
    raise RuntimeError(
        f"custom_ops.get_plugin: nothing is compiled under fastgan.compat, but {module_name!r} is "
        "to be; the ops of torch_utils.ops are replaced, one of another place is not"
    )
