# SPDX-License-Identifier: Apache-2.0
"""`--backend`, `--quick`: what runs on which kernels; the fixtures that every op test shares."""

import gc
import importlib.util
import os
import sys
import zlib
from pathlib import Path

import pytest

# Two test files may have one name in two folders, which are no packages: shared modules, such as
# _tolerances, are found here.
sys.path.insert(0, str(Path(__file__).parent))

BACKENDS = ("reference", "cpu", "emulator", "cuda")
EMULATOR = pytest.StashKey[Path]()


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        default="cpu",
        help="reference: plain PyTorch and our derivative formulas; cpu (default), cuda: the "
        "native library, required; emulator: the CUDA sources on the CPU",
    )
    parser.addoption(
        "--only-ops",
        default="",
        metavar="OP[,OP]",
        help="with --backend emulator: build the kernels of these ops only",
    )
    parser.addoption(
        "--quick",
        action="store_true",
        help="the first case of each test, and of each op where a test runs over all ops; without "
        "slow tests and files that start processes: what `make quick` runs",
    )
    parser.addoption(
        "--sanitize",
        choices=("address",),
        help="with --backend emulator or cpu: a library under ASAN and UBSAN; `make sanitize` "
        "sets the preloads that it needs",
    )


def pytest_configure(config):
    """The environment must be set before the first import of fastgan."""
    name = config.getoption("--backend")
    is_other = name in ("reference", "emulator") or config.getoption("--sanitize")
    if is_other and "fastgan.ops._backend" in sys.modules:
        raise pytest.UsageError(
            f"--backend {name}: the installed CPU library may be loaded, because a conftest.py of "
            "the tests that were named imports fastgan.ops at its top; import it in the fixture"
        )
    for variable in ("FASTGAN_BACKEND", "FASTGAN_REQUIRE_NATIVE", "FASTGAN_ISA"):
        os.environ.pop(variable, None)
    if name in ("reference", "emulator"):
        os.environ["FASTGAN_BACKEND"] = "reference"  # the CPU library stays unloaded
    if name != "reference":
        os.environ["FASTGAN_REQUIRE_NATIVE"] = "1"
    if name == "emulator":
        _load_emulator(config)
    if name == "cuda":
        _make_cuda_exact()
    if name == "cpu":
        if sanitize := config.getoption("--sanitize"):
            _load_sanitized_cpu_library(sanitize)
        from fastgan.ops import _backend

        if _backend.native_module() is None:
            raise pytest.UsageError(f"--backend cpu: {_backend.reason('cpu')}")


def _make_cuda_exact():
    """float32 tests expect float32's digits, and two runs of one thing the same ones."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def _load_sanitized_cpu_library(sanitize):
    """The module `fastgan._C` under a sanitizer, before fastgan looks for the installed one."""
    import _tolerances
    import native_build
    import torch  # noqa: F401  (the library links to it)

    path = native_build.cpu_library(sanitize)
    spec = importlib.util.spec_from_file_location("fastgan._C", path)
    sys.modules["fastgan._C"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["fastgan._C"])
    _tolerances.times = _tolerances.TIMES_UNDER_A_SANITIZER


def _load_emulator(config):
    """Registers the CUDA kernels for CPU tensors, where the CPU library's would otherwise be."""
    import native_build
    import torch

    import fastgan.ops  # noqa: F401  (the ops must exist before kernels are given to them)
    from fastgan import _build

    only = [op for op in config.getoption("--only-ops").split(",") if op]
    try:
        library = native_build.emulator(config.getoption("--sanitize"), only)
    except _build.BuildError as error:
        raise pytest.UsageError(f"--backend emulator: {error}") from error
    config.stash[EMULATOR] = library
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the first process builds for pytest-xdist's workers, and they run the tests
    torch.ops.load_library(str(library))


def pytest_collection_modifyitems(config, items):
    """Deselects what a backend or --quick leaves out; pytest's closing line counts it."""
    if config.getoption("--backend") in ("reference", "emulator"):
        alike = [item for item in items if item.get_closest_marker("any_backend")]
        config.hook.pytest_deselected(items=alike)
        items[:] = [item for item in items if not item.get_closest_marker("any_backend")]
    if not config.getoption("--quick"):
        return
    kept, left_out, seen = [], [], set()
    for item in items:
        op = item.callspec.params.get("op") if hasattr(item, "callspec") else None
        case = (item.nodeid.partition("[")[0], op)
        (left_out if case in seen or _is_long(item) else kept).append(item)
        seen.add(case)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish():
    """What the collection made stays to the end: no pass of the garbage collector looks at it."""
    gc.collect()
    gc.freeze()


def _is_long(item):
    starts_processes = hasattr(item.module, "subprocess") or {"native", "capture", "gpu"} & set(
        item.path.parts
    )
    return bool(starts_processes or item.get_closest_marker("slow"))


def pytest_report_header(config):
    from fastgan.ops import library_facts

    library = config.stash.get(EMULATOR, library_facts()["cpu_library"])
    return f"fastgan backend: {config.getoption('--backend')}, library: {library}"


def _absence(name: str) -> str | None:
    """Why backend `name` cannot run here."""
    import torch

    from fastgan.ops import _backend

    if name == "cuda" and not torch.cuda.is_available():
        return "--backend cuda: torch sees no CUDA device"
    if name == "cuda":
        return _backend.reason("cuda")
    return None


@pytest.fixture(scope="session")
def backend(request):
    """The name given to --backend; skips, with the reason, where it cannot run."""
    name = request.config.getoption("--backend")
    if reason := _absence(name):
        pytest.skip(reason)
    return name


@pytest.fixture(scope="session")
def device(backend):
    """Where the tensors of this run live."""
    import torch

    return torch.device("cuda" if backend == "cuda" else "cpu")


@pytest.fixture
def on_device(device):
    """New tensors are made on the run's device, for tests that name none."""
    import torch

    with torch.device(device):
        yield


@pytest.fixture(params=["float64", "float32", "bfloat16", "float16"])
def dtype(request):
    """Each storage type that the ops take."""
    import torch

    return getattr(torch, request.param)


@pytest.fixture
def seed(request):
    """Seeds torch from the test's name; the number, for other generators."""
    import torch

    value = zlib.crc32(request.node.nodeid.encode())
    torch.manual_seed(value)
    return value
