# SPDX-License-Identifier: Apache-2.0
"""MkDocs hook: `::: fastgan.PACKAGE` on a page of the API reference, module by module.

A function such as `fastgan.ops.bias_act` is hidden, for tools that read sources, by the module of
the same name. So each package is written out as the modules that its `__init__.py` imports from,
with the names that it exports. Nobody keeps a list: a new op is on the page by itself.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIRECTIVE = re.compile(r"^::: (fastgan(?:\.\w+)+)\n(?! )", re.M)  # without options of its own


def exported(package: str) -> dict[str, list[str]]:
    """Module → names of `__all__` that the package has from there, as its `__init__.py` says.

    Modules without an underscore come first.
    """
    path = ROOT / package.replace(".", "/") / "__init__.py"
    modules: dict[str, list[str]] = {}
    if not path.is_file():
        return modules
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    public = {
        element.value
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for element in node.value.elts
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            names = [alias.name for alias in node.names if alias.name in public]
            modules.setdefault(node.module, []).extend(names)
    own = public - {name for names in modules.values() for name in names}
    in_order = sorted(modules, key=lambda module: module.rpartition(".")[2].startswith("_"))
    return {package: sorted(own)} | {name: modules[name] for name in in_order if modules[name]}


def directive(module: str, level: int, members: list[str] | None) -> str:
    """`members` None: all that is public in the module."""
    lines = [f"::: {module}", "    options:", f"      heading_level: {level}"]
    if members is not None:
        lines.append(f"      members: {'[' + ', '.join(members) + ']' if members else 'false'}")
    return "\n".join([*lines, ""])


def expand(markdown: str) -> str:
    """The text with each package's directive replaced by those of its modules."""

    def modules_of(match: re.Match) -> str:
        package = match[1]
        heads = re.findall(r"^#+(?= )", markdown[: match.start()], re.M)
        level = len(heads[-1]) + 1
        parts = []
        for module, members in exported(package).items():
            title = module.rpartition(".")[2].strip("_")
            head = "" if module == package else f"{'#' * level} {title}\n\n"
            parts.append(head + directive(module, level + (module != package), members))
        return "\n".join(parts) or directive(package, level, None)

    return DIRECTIVE.sub(modules_of, markdown)


def on_page_markdown(markdown: str, page, **_) -> str:
    return expand(markdown) if page.file.src_uri.startswith("reference/") else markdown
