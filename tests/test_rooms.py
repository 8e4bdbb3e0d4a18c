"""The house rules that a reader relies on, checked on the files themselves."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastgan"
CSRC = ROOT / "csrc"
OPS = sorted(p.stem for p in (PACKAGE / "ops").glob("*.py") if not p.name.startswith("_"))
# The package of a module decides its floor; modules beside the packages are the ground.
FLOORS = {
    "ops": 0,
    "nn": 1,
    "models": 2,
    "losses": 2,
    "augment": 2,
    "data": 2,
    "metrics": 2,
    "training": 3,
    "compat": 3,
    "export": 3,
    "bench": 4,
    "cli": 4,
}
GROUND = ("atomic", "sample_rng", "environment", "memory", "names", "_build", "_version")
FORBIDDEN_STEMS = {"utils", "util", "misc", "helpers", "helper", "common"}


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py") if "csrc" not in p.parts)


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


def room(dotted):
    """fastgan.nn.conv → nn; fastgan.environment → environment; others → None."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "fastgan" and len(parts) > 1 else None


def test_there_are_ops():
    assert {"bias_act", "gradient_penalty", "upfirdn2d"} <= set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_its_rooms(op):
    folder = CSRC / "ops" / op
    paths = [
        folder / f"{op}.h",
        folder / f"{op}.cpp",
        ROOT / "tests" / "ops" / f"test_{op}.py",
        PACKAGE / "bench" / "ops" / f"{op}.py",
        ROOT / "benchmarks" / "ops" / f"bench_{op}.py",
    ]
    kernels = [folder / f"{op}_cpu.cpp", folder / f"{op}_cuda.cu"]
    if kernels[1].is_file():  # the driver runs what nvcc compiles
        paths.append(ROOT / "tests" / "native" / f"{op}.cpp")
    for path in paths:
        assert path.is_file(), f"{op} has no {path.relative_to(ROOT)}"
    assert any(path.is_file() for path in kernels), f"{op} has a binding and no kernel"
    sources = {p.name for p in folder.iterdir() if p.suffix in (".cpp", ".cu")}
    assert sources <= {f"{op}.cpp", f"{op}_cpu.cpp", f"{op}_cuda.cu"}


def test_no_room_without_an_op():
    assert {p.name for p in (CSRC / "ops").iterdir()} == set(OPS)


def test_every_package_has_a_floor():
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(FLOORS)
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert modules <= set(GROUND)


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for name in imports(path):
        other = room(name)
        if other is None or other == own or other not in FLOORS:
            continue
        if own in GROUND:
            raise AssertionError(f"{own} is below every floor and imports {name}")
        assert FLOORS[other] <= FLOORS[own], f"{own} is below {other}, which it imports: {name}"
        if FLOORS[own] == FLOORS[other] == 2:
            raise AssertionError(f"{own} and {other} share floor 2 and {own} imports {name}")


def test_the_import_check_sees_what_it_forbids(tmp_path, monkeypatch):
    """The reader of imports is not blind to any of their forms."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "fastgan" / "nn" / "conv.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import fastgan.cli\n"
        "from fastgan import models\n"
        "from ..training import loop\n"
        "def f():\n    from fastgan.data.loader import BatchLoader\n"
    )
    assert {room(name) for name in imports(path)} >= {"cli", "models", "training", "data"}


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


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_pickle(path):
    pickles = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    is_reader = path.relative_to(PACKAGE).as_posix() == "compat/weights/allow_list.py"
    if not is_reader:  # which runs in a process of its own and has a table of what may be named
        assert not {name.split(".")[0] for name in imports(path)} & pickles
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        is_export = path.relative_to(PACKAGE).as_posix() == "compat/weights/exported.py"
        saves = ("np.save", "numpy.save") + (() if is_export else ("torch.save",))
        assert called not in saves, f"{called}, line {node.lineno}"
        allow = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle", "False")
        assert allow == "False", f"allow_pickle, line {node.lineno}"
        if called == "torch.load":
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert path.parent.name in ("metrics", "weights"), f"torch.load, line {node.lineno}"
            assert options.get("weights_only") == "True", f"torch.load, line {node.lineno}"


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


def test_every_case_file_of_a_kind_has_its_suite_and_no_suite_is_without():
    for kind in ("ops", "models"):
        names = {p.stem for p in (PACKAGE / "bench" / kind).glob("[!_]*.py")}
        suites = {p.stem for p in (ROOT / "benchmarks" / kind).glob("bench_*.py")}
        assert suites == {f"bench_{name}" for name in names}
