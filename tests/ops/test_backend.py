# SPDX-License-Identifier: Apache-2.0
import ctypes
import gc
import json
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _tolerances import LIMITS

from fastgan import ops
from fastgan.ops import (
    NativeRequiredError,
    _backend,
    bias_act,
    gradient_penalty,
    setup_filter,
    upfirdn2d,
    use_backend,
)

ROOT = Path(__file__).parents[2]
NO_LIBRARY = "import sys; sys.modules['fastgan._C'] = None\n"  # as if it were not installed

# Several shapes and types of every op, into one .npz.
COMPUTE = """
import sys
import numpy as np, torch
from fastgan import ops
torch.manual_seed(0)
out = {}
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    for shape in ((2, 3, 9, 33), (1, 19, 8, 5)):
        for fmt in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape).to(dtype).contiguous(memory_format=fmt).requires_grad_()
            b = torch.randn(shape[1]).to(dtype).requires_grad_()
            name = f"{dtype} {shape} {fmt}"
            for act in ("lrelu", "swish", "softplus"):
                y = ops.bias_act(x, b, act=act, clamp=1.5)
                out[f"bias_act {act} {name}"] = y
                for k, g in zip("xb", torch.autograd.grad(y.sum(), [x, b])):
                    out[f"bias_act {act} d{k} {name}"] = g
            for taps in ([1, 3, 3, 1], [1, 2, 4], [[1, 2], [5, 3]], list(range(1, 13))):
                f = ops.setup_filter(taps)
                for up, down in ((1, 1), (2, 1), (1, 2), (3, 2)):
                    y = ops.upfirdn2d(x, f, up=up, down=down, padding=5)
                    out[f"upfirdn2d {taps} {up} {down} {name}"] = y
            out[f"gradient_penalty {name}"] = ops.gradient_penalty(x, 1.0)
np.savez(sys.argv[1], **{k: v.detach().double().numpy() for k, v in out.items()})
"""


def python(code, *args, **env):
    """Run `code` in a new interpreter without this run's FASTGAN_ variables; its stdout."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTGAN_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        env=clean | {"OMP_NUM_THREADS": "1"} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def file_of(op):
    """The stem of the file or folder of fastgan/ops that defines an op: of its folder in csrc."""
    folder = ROOT / "fastgan" / "ops"
    paths = [*folder.glob("[!_]*.py"), *folder.glob("*/*.py")]
    (path,) = [path for path in paths if f'"{op}(' in path.read_text(encoding="utf-8")]
    return path.stem if path.parent == folder else path.parent.name


# A CPU makes the words of a draw in a kernel, and of them the numbers by torch's functions.
OF_WORDS = {"sample_uniform_", "sample_normal_", "sample_normals_", "sample_integers_"}


@pytest.fixture
def native(backend):
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    return _backend.native_module()


def test_this_run_uses_the_backend_it_was_asked_for(backend, device):
    """Without it every test of a native kernel could pass on plain PyTorch."""
    table = ops.backends()
    sources = {"emulator": "cuda.cu", "cuda": "cuda.cu", "cpu": "cpu.cpp"}
    folder = ROOT / "csrc" / "ops"
    for op, devices in table.items():
        stem = file_of(op)
        end = sources.get(backend)
        is_native = end is not None and (folder / stem / f"{stem}_{end}").is_file()
        is_native &= not (backend == "cpu" and op in OF_WORDS)
        entry = devices[device.type]
        assert entry["active"] == (device.type if is_native else "reference"), op
        assert (entry["why"] is None) == is_native, op
    assert {"bias_act", "bias_act_backward", "gradient_penalty", "upfirdn2d"} <= set(table)
    assert set(table) >= OF_WORDS


def test_library_facts(backend):
    facts = ops.library_facts()
    if backend in ("reference", "emulator"):  # the emulator takes the CPU library's place
        assert facts["cpu_library"] is facts["cpu_isa"] is facts["compiler"] is None
        assert "FASTGAN_BACKEND=reference" in facts["cpu_reason"]
    else:
        assert Path(facts["cpu_library"]).is_file()
        assert facts["cpu_isa"] in facts["cpu_isa_supported"].split(", ")
        assert facts["cpu_reason"] is None
    if facts["cuda_library"] is None:
        assert facts["cuda_reason"]


def test_use_backend_calls_no_op(device):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Spy(TorchDispatchMode):
        seen = frozenset()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen |= {func.namespace}
            return func(*args, **(kwargs or {}))

    x = torch.randn(2, 3, 4, 4, device=device, requires_grad=True)

    def everything():
        y = ops.upsample2d(bias_act(x, act="lrelu"), torch.ones(2, 2, device=device))
        (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        ops.gradient_penalty(g).sum().backward()

    with Spy() as spy:
        everything()
        assert "fastgan" in spy.seen
    with use_backend("reference"), Spy() as spy:
        everything()
        with use_backend("auto"):
            bias_act(torch.zeros(1, 1, device=device), act="relu")
            assert "fastgan" in spy.seen
            spy.seen = frozenset()
        everything()
        assert "fastgan" not in spy.seen


def test_use_backend_ends_with_its_block():
    with pytest.raises(RuntimeError, match="inside"), use_backend("reference"):
        raise RuntimeError("inside")
    assert not _backend.reference_is_forced()


def test_use_backend_refuses_other_names():
    with pytest.raises(ValueError, match=r"use_backend: name must be .*got 'cuda'"):
        use_backend("cuda").__enter__()


def test_the_slow_path_is_said_once(monkeypatch, caplog):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "0")
    monkeypatch.setenv("FASTGAN_BACKEND", "auto")
    monkeypatch.setattr(_backend, "_said", set())
    monkeypatch.setattr(_backend, "_cpu_reason", "the kernels are not built; run `fastgan build`")
    with caplog.at_level(logging.WARNING, logger="fastgan"):
        for op in ("bias_act", "upfirdn2d"):
            _backend.note_slow_path(op, (torch.zeros(1), None))
        _backend.note_slow_path("gradient_penalty", ([torch.zeros(1)], 0.0, False))
    assert [record.getMessage() for record in caplog.records] == [
        "fastgan: bias_act runs on plain PyTorch on cpu: the kernels are not built; "
        "run `fastgan build`"
    ]


def test_a_chosen_reference_says_nothing(monkeypatch, caplog):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "0")
    monkeypatch.setenv("FASTGAN_BACKEND", "reference")
    monkeypatch.setattr(_backend, "_said", set())
    with caplog.at_level(logging.WARNING, logger="fastgan"):
        _backend.note_slow_path("bias_act", (torch.zeros(1), None))
    assert not caplog.records


def test_an_unknown_device_is_explained():
    assert "no native kernels for xpu" in _backend.reason("xpu")


def test_without_the_library_the_reference_is_used(tmp_path):
    code = NO_LIBRARY + (
        "import torch; from fastgan import ops\n"
        "for _ in range(2): y = ops.bias_act(torch.ones(1, 1), act='relu')\n"
        "assert abs(y.item() - 2 ** 0.5) < 1e-6\n"
        "assert ops.backends()['bias_act']['cpu']['active'] == 'reference'"
    )
    done = python(code, FASTGAN_CACHE_DIR=str(tmp_path))
    lines = [line for line in done.stderr.splitlines() if "fastgan" in line]
    assert len(lines) == 1, done.stderr
    assert "run `fastgan build`" in lines[0]


def test_require_native_forbids_the_slow_path(tmp_path):
    code = NO_LIBRARY + (
        "import torch; from fastgan import ops\n"
        "try: ops.upfirdn2d(torch.ones(1, 1, 2, 2), None, up=2)\n"
        "except ops.NativeRequiredError as error: print(error)"
    )
    done = python(code, FASTGAN_CACHE_DIR=str(tmp_path), FASTGAN_REQUIRE_NATIVE="1")
    assert "upfirdn2d runs on plain PyTorch" in done.stdout
    assert "run `fastgan build`" in done.stdout
    assert "FASTGAN_REQUIRE_NATIVE=1" in done.stdout


def test_require_native_in_this_process(monkeypatch):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "1")
    x = torch.zeros(1, device="meta")  # a device that no library of ours serves
    with pytest.raises(NativeRequiredError, match="requires a native kernel"):
        _backend.note_slow_path("bias_act", (x,))
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "maybe")
    with pytest.raises(ValueError, match=r"FASTGAN_REQUIRE_NATIVE: expected 1 or 0, got 'maybe'"):
        _backend.note_slow_path("bias_act", (x,))


def test_an_op_without_a_kernel_by_design_is_no_slow_path(monkeypatch, caplog):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "1")
    monkeypatch.setattr(_backend, "_cpu_reason", None)
    _backend.note_slow_path("bias_act", (torch.zeros(1),))
    monkeypatch.setattr(_backend, "_cpu_reason", "the kernels are not built")
    with pytest.raises(NativeRequiredError, match="the kernels are not built"):
        _backend.note_slow_path("bias_act", (torch.zeros(1),))


def test_fastgan_backend_reference_loads_no_library():
    code = (
        "import json, sys; from fastgan import ops\n"
        "print(json.dumps([ops.library_facts(), 'fastgan._C' in sys.modules]))"
    )
    facts, is_loaded = json.loads(python(code, FASTGAN_BACKEND="reference").stdout)
    assert facts["cpu_library"] is None
    assert not is_loaded


@pytest.mark.parametrize("variable", ["FASTGAN_BACKEND", "FASTGAN_ISA"])
def test_a_misspelt_choice_is_refused(variable, monkeypatch):
    from fastgan import environment

    monkeypatch.setenv(variable, "fast")
    read = {"FASTGAN_BACKEND": environment.backend, "FASTGAN_ISA": environment.isa}[variable]
    with pytest.raises(ValueError, match=f"{variable}: expected one of .*'fast'; unset"):
        read()


def test_every_instruction_set_gives_the_same_results(native, tmp_path):
    code = COMPUTE + "print(ops.library_facts()['cpu_isa'])"
    results = {"reference": None} | dict.fromkeys(native.supported_isas())
    for name in results:
        path = tmp_path / f"{name}.npz"
        env = {"FASTGAN_BACKEND" if name == "reference" else "FASTGAN_ISA": name}
        assert python(code, path, **env).stdout.split() == ["None" if name == "reference" else name]
        results[name] = np.load(path)
    plain, first = results["reference"], results["baseline"]
    for isa in native.supported_isas():
        assert set(results[isa]) == set(plain)
        for name in plain:
            dtype = getattr(torch, name.split("torch.")[1].split()[0])
            unit = torch.finfo(dtype).eps * np.abs(first[name]).max()
            # A sum of hundreds is taken in another order.
            many = 16 if " db " in name else 4
            found = results[isa][name]
            np.testing.assert_allclose(found, first[name], 0, many * unit, err_msg=name)
            # Plain PyTorch rounds to 16 bits between its steps, and so may land beyond a kink.
            if dtype in LIMITS or "bias_act" not in name:
                np.testing.assert_allclose(found, plain[name], 0, 4 * many * unit, err_msg=name)


def test_limit_isa_refuses_other_names(native):
    with pytest.raises(
        ValueError, match="limit_isa: expected baseline, avx2, avx512 or amx, got sse"
    ):
        native.limit_isa("sse")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("first", ["an op ran before", "only torch's pool ran before"])
def test_an_op_works_in_a_forked_child(native, first):
    """The thread pool does not survive a fork; waiting for it would hang (data loaders fork)."""
    code = """
import os, signal, torch
from fastgan import ops
torch.set_num_threads(2)
x = torch.randn(8, 16, 64, 64)
b, f = torch.zeros(16), ops.setup_filter([1, 3, 3, 1])
compute = lambda: ops.upfirdn2d(ops.bias_act(x, b, act="lrelu"), f)
(x * 2).sum()
want = compute() if first else None
child = os.fork()
if child == 0:
    signal.alarm(60)
    got = compute()
    same = want is None or memoryview(got.numpy()).tobytes() == memoryview(want.numpy()).tobytes()
    os._exit(0 if same else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    code = f"first = {first.startswith('an op')}\n" + code
    assert python(code).stdout.strip() == "0"


def test_uninitialised_memory_is_poisoned(device):
    """The fixture of this folder works: a kernel that leaves a hole leaves a NaN."""
    assert torch.empty(3, device=device).isnan().all()
    assert torch.empty_like(torch.zeros(2, 2, device=device)).isnan().all()


def _heap_in_use() -> int:
    class MallocInfo(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in (
                "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                "uordblks", "fordblks", "keepcost",
            )
        ]  # fmt: skip

    libc = ctypes.CDLL("libc.so.6")
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("this libc has no mallinfo2")
    libc.mallinfo2.restype = MallocInfo
    gc.collect()
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc for the heap in use")
@pytest.mark.parametrize(
    "call",
    [
        lambda x, b: bias_act(x, b, act="lrelu", clamp=1.0),
        lambda x, b: upfirdn2d(x, setup_filter([1, 3, 3, 1], x.device), up=2, padding=2),
        lambda x, b: gradient_penalty([x, x]),
    ],
    ids=["bias_act", "upfirdn2d", "gradient_penalty"],
)
def test_calls_leave_nothing_on_the_heap(call, device):
    x = torch.randn(2, 8, 4, 4, device=device, requires_grad=True)
    b = torch.randn(8, device=device)

    def step() -> None:
        torch.autograd.grad(call(x, b).sum(), x)

    for _ in range(100):
        step()
    calls, growth = 200, []
    for _ in range(3):  # a leak grows each time, a cache that is made late does not
        before = _heap_in_use()
        for _ in range(calls):
            step()
        growth.append((_heap_in_use() - before) / calls)
    # A leaked string is 48 bytes a call; lazily made caches stay far below eight in one of three.
    assert min(growth) < 8
