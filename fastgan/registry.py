# SPDX-License-Identifier: Apache-2.0
"""Modules that are found by name: a new one is a new file in its package, and no list is edited."""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class ModuleRegistry:
    """The public modules of one package; nothing is imported before it is asked for.

    Args:
        package: dotted name of the package, such as "fastgan.models".
        kind: what one module is, for the error: "architecture".
        function: the public function that loads one, for the error: "load_architecture".
        exclude: public names in the package that are something else.
        has_hyphens: whether names have a hyphen where the file's has an underscore.
        only_folders: whether files of the package are something else.
    """

    package: str
    kind: str
    function: str
    exclude: tuple[str, ...] = ()
    has_hyphens: bool = False
    only_folders: bool = False

    def names(self) -> list[str]:
        """Names of the files and folders of the package that begin with no underscore.

        Returns:
            The names, sorted.
        """
        path = importlib.import_module(self.package).__path__
        found = [m for m in pkgutil.iter_modules(path) if m.ispkg or not self.only_folders]
        names = {module.name for module in found} - {*self.exclude}
        names = {name for name in names if not name.startswith("_")}
        return sorted(name.replace("_", "-") if self.has_hyphens else name for name in names)

    def load(self, name: str) -> ModuleType:
        """Import one module.

        Args:
            name: one of `names()`.

        Returns:
            The module.

        Raises:
            ValueError: for another name; it lists those that exist.
        """
        if name not in self.names():
            what, where = "folder" if self.only_folders else "file", self.package.replace(".", "/")
            raise ValueError(
                f"{self.function}: name must be one of {', '.join(self.names())}, got {name!r}; a "
                f"new {self.kind} is a new {what} in {where}"
            )
        return importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
