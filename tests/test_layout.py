# SPDX-License-Identifier: Apache-2.0
"""The rules of the layout that a reader relies on, checked on the files themselves."""

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "supply_chain"))

import spdx

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastgan"
CSRC = ROOT / "csrc"
OPS = sorted(
    p.stem
    for p in (PACKAGE / "ops").iterdir()
    if not p.name.startswith("_") and (p.suffix == ".py" or (p / "__init__.py").is_file())
)
# A package imports from lower floors and its own; modules beside the packages are below all floors,
# but for sample_rng, which calls an op and which no op calls.
FLOORS = {
    "sample_rng": 0,
    "ops": 0,
    "nn": 1,
    "models": 2,
    "losses": 2,
    "augment": 2,
    "data": 2,
    "metrics": 2,
    "modalities": 3,
    "training": 4,
    "compat": 4,
    "export": 4,
    "control": 5,
    "explore": 5,
    "hub": 5,
    "bench": 5,
    "cli": 6,
}
TRAINING_FLOORS = {
    "config": 0,
    "optim": 1,
    "step": 2,
    "checkpoint": 3,
    "distributed": 3,
    "needs": 3,
    "loop": 4,
    "report": 5,
}
FORBIDDEN_STEMS = {"utils", "util", "misc", "helpers", "helper", "common"}


PRIVATE_WORDS = r"\b(front doors?|rooms?|the house|riders?|errands?|lean graph|skipconv)\b"
MOST_FILES = 25


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py") if "csrc" not in p.parts)


def module_name(path):
    """fastgan/nn/conv.py → fastgan.nn.conv; fastgan/nn/__init__.py → fastgan.nn."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Absolute names of everything that a file imports, at any depth."""
    found = set()
    module = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: -node.level]) if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {name} | {f"{name}.{alias.name}" for alias in node.names}
    return found


def public_names(path):
    """The strings of `__all__` in a file, or none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
    return set()


def import_graph(paths):
    """Module → modules that it imports itself, at any depth of its text, type checking included.

    `from package import module` within that package is an arrow to the module alone, unless the
    package exports something of that name: then it is the package that is asked.
    """
    paths = {module_name(path): path for path in paths}
    graph = {}
    for module, path in paths.items():
        found = imports(path) & set(paths)
        own = module.rpartition(".")[0]
        if own in found:
            names = {n.rpartition(".")[2] for n in imports(path) if n.rpartition(".")[0] == own}
            modules = {n for n in names if f"{own}.{n}" in paths}
            if names == modules - public_names(paths[own]):
                found -= {own}
        graph[module] = found - {module}
    return graph


def circles(graph):
    """Groups of modules that import each other, directly or through others (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def package_of(dotted):
    """fastgan.nn.conv → nn; fastgan.environment → environment; others → None."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "fastgan" and len(parts) > 1 else None


def test_there_are_ops():
    assert {"bias_act", "gradient_penalty", "upfirdn2d"} <= set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_its_files(op):
    folder = CSRC / "ops" / op
    paths = [
        folder / f"{op}.h",
        folder / f"{op}.cpp",
        ROOT / "tests" / "ops" / f"test_{op}.py",
        PACKAGE / "bench" / "ops" / f"{op}.py",
    ]
    kernels = [folder / f"{op}_cpu.cpp", folder / f"{op}_cuda.cu"]
    if kernels[1].is_file():  # the driver runs what nvcc compiles
        paths.append(ROOT / "tests" / "native" / f"{op}.cpp")
    for path in paths:
        assert path.is_file(), f"{op} has no {path.relative_to(ROOT)}"
    assert any(path.is_file() for path in kernels), f"{op} has a binding and no kernel"
    sources = {p.name for p in folder.iterdir() if p.suffix in (".cpp", ".cu")}
    assert sources <= {f"{op}.cpp", f"{op}_cpu.cpp", f"{op}_cuda.cu"}


def test_no_folder_of_kernels_without_an_op():
    assert {p.name for p in (CSRC / "ops").iterdir()} == set(OPS)


def packages(folder):
    return {p.parent.name for p in folder.glob("*/__init__.py")}


def test_every_package_has_a_floor():
    assert packages(PACKAGE) == set(FLOORS) - {"sample_rng"}
    assert packages(PACKAGE / "training") == set(TRAINING_FLOORS)
    assert {p.name for p in (PACKAGE / "training").glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for name in imports(path):
        other = package_of(name)
        if other is None or other == own or other not in FLOORS:
            continue
        if own not in FLOORS:
            raise AssertionError(f"{own} is below every package and imports {name}")
        assert FLOORS[other] <= FLOORS[own], f"{own} is below {other}, which it imports: {name}"
        if FLOORS[own] == FLOORS[other] == 2:
            raise AssertionError(f"{own} and {other} share floor 2 and {own} imports {name}")


@pytest.mark.parametrize("package", TRAINING_FLOORS)
def test_imports_within_training_go_down(package):
    for path in sorted((PACKAGE / "training" / package).rglob("*.py")):
        for name in imports(path):
            parts = name.split(".")
            assert parts != ["fastgan", "training"], f"{path.name} imports the package around it"
            if parts[:2] != ["fastgan", "training"] or parts[2] not in TRAINING_FLOORS:
                continue
            if parts[2] != package:
                is_down = TRAINING_FLOORS[parts[2]] < TRAINING_FLOORS[package]
                assert is_down, f"{package}/{path.name} imports {name}, which is not below it"


def test_no_circle_of_imports():
    found = {name for group in circles(import_graph(sources())) for name in group}
    assert not found


def test_the_search_for_circles_finds_them(tmp_path, monkeypatch):
    """Two modules and three, through a lazy import and a relative one; a package's list is none."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    files = {
        "__init__": "from fastgan import a, b\n",
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastgan.b import B\n",
        "b": "def f():\n    import fastgan.a\n",
        "c": "from . import d\n",
        "d": "from fastgan import e\n",
        "e": "from .c import C\n",
        "f": "from fastgan import a\n",
    }
    for name, text in files.items():
        path = tmp_path / "fastgan" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = circles(import_graph(sorted((tmp_path / "fastgan").glob("*.py"))))
    assert found == [["fastgan.a", "fastgan.b"], ["fastgan.c", "fastgan.d", "fastgan.e"]]


def test_the_import_check_sees_what_it_forbids(tmp_path, monkeypatch):
    """The reader of imports is not blind to any of their forms."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "fastgan" / "nn" / "conv.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import fastgan.cli\n"
        "from fastgan import models\n"
        "from ..training import loop\n"
        "def f():\n    from fastgan.data.batch_loader import BatchLoader\n"
    )
    assert {package_of(name) for name in imports(path)} >= {"cli", "models", "training", "data"}


def test_tests_mirror_the_package():
    """A folder of tests that has a package's name has folders of that package's; in training, where
    a folder holds one idea, each file tests the module of its name."""
    for package in FLOORS:
        for folder in sorted((ROOT / "tests" / package).rglob("*")):
            if folder.is_dir() and any(folder.glob("test_*.py")):
                twin = PACKAGE / folder.relative_to(ROOT / "tests")
                assert twin.is_dir(), f"{folder.relative_to(ROOT)}: fastgan has no such folder"
    for path in sorted((ROOT / "tests" / "training").glob("*/test_*.py")):
        twin = PACKAGE / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
        assert twin.is_file() or twin.with_suffix("").is_dir(), f"{path.name} tests no module"
    assert packages(PACKAGE / "training") == {
        p.name for p in (ROOT / "tests" / "training").iterdir() if any(p.glob("test_*.py"))
    }


@pytest.mark.parametrize("folder", ["fastgan", "csrc", "tests", "benchmarks"])
def test_no_folder_is_crowded(folder):
    for path in [ROOT / folder, *(ROOT / folder).rglob("*")]:
        if path.is_dir() and path.name != "__pycache__":
            count = sum(p.is_file() and p.suffix != ".so" for p in path.iterdir())
            assert count <= MOST_FILES, f"{path.relative_to(ROOT)} holds {count} files"


def documents():
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*")]
    found += [*(ROOT / "benchmarks").rglob("*.md"), *sources()]
    return sorted(p for p in found if p.is_file() and p.suffix != ".pyc")


def test_no_words_that_only_we_understand():
    for path in documents():
        if path.name != "CHANGELOG.md":  # which names what was renamed
            found = re.search(PRIVATE_WORDS, path.read_text(encoding="utf-8"), re.IGNORECASE)
            name = path.relative_to(ROOT).as_posix()
            assert not found, f"{name}: {found and found[0]!r}"


@pytest.mark.parametrize("folder", ["fastgan", "csrc", "tests", "benchmarks"])
def test_files_are_named_for_what_they_hold(folder):
    bad = [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.stem in FORBIDDEN_STEMS]
    assert not bad


def test_no_two_sources_share_a_stem_in_a_folder():
    """`a.cpp` beside `a.cu` makes one a.o of both."""
    seen = {}
    for path in sorted(CSRC.rglob("*")):
        if path.suffix in (".cpp", ".cu", ".c", ".cc"):
            key = (path.parent, path.stem)
            assert key not in seen, f"{path} and {seen[key]} have one stem"
            seen[key] = path


def kernel_files():
    names = [f"ops/{op}/{op}{end}" for op in OPS for end in (".h", "_cpu.cpp", "_cuda.cu")]
    files = {CSRC / name for name in names} | set(CSRC.rglob("*.cuh")) | set(CSRC.rglob("*.cu"))
    return sorted(p for p in files if p.is_file())


@pytest.mark.parametrize("path", kernel_files(), ids=lambda p: p.relative_to(CSRC).as_posix())
def test_kernels_do_not_see_torch(path):
    """Neither directly nor through a header of ours."""
    waiting, seen = [path], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        text = file.read_text(encoding="utf-8")
        for kind, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', text, re.MULTILINE):
            assert not name.startswith(("torch/", "ATen/", "c10/", "pybind11")), f"{file}: {name}"
            if kind == '"' and "emulator/" not in name:
                found = [p for p in (file.parent / name, CSRC / name) if p.is_file()]
                assert found, f"{file} includes {name}, which is not there"
                waiting.append(found[0].resolve())


def test_environment_variables_are_read_in_one_file():
    """_build.py runs before fastgan is importable; compilers have variables of their own."""
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if path.name in ("environment.py", "_build.py"):
            continue
        assert not re.search(r"environ[.\w]*[\[(]\s*[\"']FASTGAN_", text), path


def test_every_source_file_names_its_licence():
    missing = [p.relative_to(ROOT).as_posix() for p in spdx.sources() if not spdx.has_line(p)]
    assert not missing, "run: python tests/supply_chain/spdx.py --write"
