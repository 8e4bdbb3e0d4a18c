"""`--backend`: which kernels answer in this run, and the fixtures that every op test shares."""

import os
import sys
import zlib
from pathlib import Path

import pytest

# tests/ is no package (two files may have one name in two folders): its own modules, such as
# _tolerances, are found here.
sys.path.insert(0, str(Path(__file__).parent))

BACKENDS = ("reference", "cpu", "emulator", "cuda")


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        default="cpu",
        help="reference: plain PyTorch and our derivative formulas; cpu (default), cuda: the "
        "native library, required; emulator: the CUDA sources on the CPU",
    )


def pytest_configure(config):
    """The environment must be set before the first import of fastgan."""
    name = config.getoption("--backend")
    for variable in ("FASTGAN_BACKEND", "FASTGAN_REQUIRE_NATIVE", "FASTGAN_ISA"):
        os.environ.pop(variable, None)
    if name == "reference":
        os.environ["FASTGAN_BACKEND"] = "reference"
    else:
        os.environ["FASTGAN_REQUIRE_NATIVE"] = "1"
    if name == "cpu":
        from fastgan.ops import _backend

        if _backend.native_module() is None:
            raise pytest.UsageError(f"--backend cpu: {_backend.reason('cpu')}")


def pytest_report_header(config):
    from fastgan.ops import library_facts

    facts = library_facts()
    return f"fastgan backend: {config.getoption('--backend')}, library: {facts['cpu_library']}"


def _absence(name: str) -> str | None:
    """Why backend `name` cannot run here."""
    import torch

    from fastgan.ops import _backend

    if name == "emulator":
        return "--backend emulator: csrc/emulator does not exist yet"
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
