# SPDX-License-Identifier: Apache-2.0
"""The static report flags each planted weakness, from recorded output of NVIDIA's tools.

`planted/` holds the source and what `cuobjdump -res-usage`, `cuobjdump -elf` and `nvdisasm -c`
(13.5) say of it built by nvcc 13.0 -O3: whole lines, without those that the reader skips.
"""

import dataclasses
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cuda_report import __main__ as command
from tests.cuda_report import baseline, counts, listing, rules, sass, toolkit
from tests.cuda_report.device import A100, DEVICES, H100
from tests.cuda_report.kernel import Kernel
from tests.cuda_report.names import arguments, short_name
from tests.cuda_report.work import Part, Work

PLANTED = Path(__file__).with_name("planted")
WEAK = {
    "planted/gather_kernel<float, 4, unsigned int>": "without 128-bit loads (0 of 4)",
    "planted/gather_kernel<half, 8, unsigned int>": "without 128-bit loads (0 of 8)",
    "planted/scatter_kernel<float, true>": "stores 16 adjacent bytes in pieces ×1 (0 of 4",
    "planted/divide_kernel<float, unsigned int>": "64-bit division ×1 in a kernel with a narrow",
    "planted/spill_kernel<float>": "local-memory loads ×1, stores ×1, 128 bytes of stack",
}
SOUND = Kernel(
    name="op/some_kernel<float, true>",
    arch="sm_80",
    registers=32,
    loads=4,
    loads128=2,
    stores=2,
    stores128=1,
    calls={"rcp_rn_f32_slowpath": 1},
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("c++filt") or shutil.which("cu++filt")), reason="there is no c++filt"
)


def _text(kind: str, arch: str) -> str:
    return (PLANTED / f"{kind}.{arch}.txt").read_text()


@pytest.fixture
def recorded(monkeypatch):
    """The recordings stand in for the tools, as for a library with code for both devices."""

    def run(name, *arguments, folder=None, text=""):
        if arguments[:1] == ("-xelf",):
            for number, arch in enumerate(DEVICES):
                (folder / f"planted.{number}.{arch}.cubin").touch()
            return ""
        if not arguments:
            return original(name, text=text)
        kind = {"-res-usage": "resources", "-elf": "elf", "-c": "sass"}[arguments[0]]
        return _text(kind, arguments[-1].suffixes[-2].removeprefix("."))

    original = toolkit.run
    monkeypatch.setattr(toolkit, "run", run)
    return listing.read_libraries([Path("planted.o")], DEVICES)


@pytest.mark.parametrize("arch", DEVICES)
def test_figures_are_read_off_the_listings(recorded, arch):
    found = {k.name.removeprefix("planted/"): k for k in recorded.kernels if k.arch == arch}
    assert recorded.compilers == {"13.0.88"}
    assert len(found) == 11

    vector = found["copy_kernel<half, 8, unsigned int>"]
    assert vector.registers == {"sm_80": 10, "sm_90": 14}[arch]
    assert (vector.loads128, vector.loads, vector.stores128, vector.stores) == (1, 1, 1, 1)
    assert (vector.stack, vector.shared, vector.calls, vector.threads) == (0, 0, {}, 256)
    assert vector.instructions == 24
    assert found["gather_kernel<half, 8, unsigned int>"].threads == 128  # __launch_bounds__
    assert found["scatter_kernel<float, true>"].threads == 256  # none
    assert found["divide_kernel<float, long>"].calls == {"div_s64": 1}
    spill = found["spill_kernel<float>"]
    assert (spill.local_loads, spill.local_stores, spill.stack) == (1, 1, 128)
    assert found["static_shared_kernel<float>"].shared == 1024  # sm_90 lists 1024 more
    assert not found["static_shared_kernel<float>"].has_dynamic_shared
    assert found["dynamic_shared_kernel<float>"].has_dynamic_shared


def test_each_planted_weakness_is_flagged_and_nothing_else(recorded):
    lines = rules.violations(recorded.kernels)
    assert len(lines) == len(WEAK) * len(DEVICES)
    for name, words in WEAK.items():
        for arch in DEVICES:
            (line,) = [line for line in lines if line.startswith(f"{name} {arch}: ")]
            assert words in line


def test_the_recordings_are_what_the_compiler_makes(tmp_path):
    try:
        nvcc = toolkit.find("nvcc")
        toolkit.find("cuobjdump"), toolkit.find("nvdisasm")
    except toolkit.ToolError as error:
        pytest.skip(str(error))
    code = [f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in DEVICES]
    built = tmp_path / "planted.o"
    subprocess.run(
        [nvcc, "-std=c++20", "-O3", *code, "-c", PLANTED / "planted_cuda.cu", "-o", built],
        check=True,
        capture_output=True,
        timeout=600,
    )
    now = listing.read_libraries([built], DEVICES)
    kept = [
        listing.parse(
            arch,
            resources=_text("resources", arch),
            elf=_text("elf", arch),
            sass=_text("sass", arch),
        )
        for arch in DEVICES
    ]
    if now.compilers != kept[0].compilers:
        pytest.skip(f"recorded with nvcc {set(kept[0].compilers)}, here is {set(now.compilers)}")
    before = {(kernel.name, kernel.arch): kernel for one in kept for kernel in one.kernels}
    assert {(kernel.name, kernel.arch): kernel for kernel in now.kernels} == before


def test_a_width_is_told_from_other_numbers():
    def made(name):
        return Kernel(name=name, arch="sm_80", registers=8, loads=4)

    taps = [made(f"up/kernel<{t}, 2, 4>") for t in ("half", "float", "double")]
    assert not any(rules.is_vector(kernel, taps) for kernel in taps)
    width = [made(f"b/kernel<{t}, {n}>") for t, n in (("half", 8), ("float", 4), ("float", 1))]
    assert [rules.is_vector(kernel, width) for kernel in width] == [True, True, False]
    assert rules.is_vector(made("sum/vector_kernel<float>"), [])
    assert rules.is_vector(made("sum/kernel<float, Vectorised>"), [])
    assert "without 128-bit loads (0 of 4)" in rules.violations([made("s/vector_kernel<half>")])[0]


STORES = """
.text.k:
        /*0010*/                   STG.E [R4.64], R8 ;
        /*0020*/                   STG.E.64 [R4.64+0x8], R10 ;
        /*0040*/                   STG.E desc[UR4][R4.64+0x4], R9 ;
"""


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ("", 1),
        ("        /*0035*/                   IADD3 R6, R4, R2, RZ ;\n", 1),
        ("        /*0035*/                   IADD3 R4, R6, R2, RZ ;\n", 0),  # another address
        ("        /*0035*/                   LDG.E R9, [R2.64+0x4] ;\n", 0),  # element by element
        (".L_x_7:\n", 0),
    ],
)
def test_a_vector_store_taken_apart_is_told_from_single_stores(between, expected):
    *head, last = STORES.splitlines(keepends=True)
    assert sass.read_codes("".join(head) + between + last)["k"].split_stores == expected
    guarded = last.replace("           STG", "@P1        STG")  # the end of a ragged row
    assert guarded != last
    assert sass.read_codes("".join(head) + between + guarded)["k"].split_stores == 0


def test_a_reduction_may_store_single_values():
    sums = dataclasses.replace(SOUND, name="op/vector_sum_kernel<float>", stores=20, stores128=0)
    assert rules.violations([sums]) == []
    assert len(rules.violations([dataclasses.replace(sums, split_stores=1)])) == 1


def test_a_kernel_that_no_multiprocessor_holds_is_flagged():
    (line,) = rules.violations([dataclasses.replace(SOUND, registers=65, threads=1024)])
    assert "cannot be launched: 65 registers" in line


def test_calls_are_named_and_far_jumps_are_not_calls():
    assert sass._callee("`($__internal_7_$__cuda_sm20_div_s64) ;") == "div_s64"
    assert sass._callee("`($__internal_1_$__cuda_sm70_shflsync_bfly_p) ;") == "shflsync_bfly_p"
    assert sass._callee("`(.L_x_207) ;") is None
    assert sass._callee("R2 0x0 ;") == "indirect"


def test_names_are_short_and_keep_what_tells_kernels_apart():
    mangled = "_ZN7fastgan4cuda49_GLOBAL__N__acaf5057_16_bias_act_cuda_cu_071d271f14forward_kernelI"
    demangled = (
        "void fastgan::cuda::(anonymous namespace)::forward_kernel<__half, fastgan::cuda::Elu, "
        "fastgan::Run<float, 4>, (fastgan::Mode)1, unsigned int>(fastgan::BiasActParams, long)"
    )
    name = short_name(mangled, demangled)
    assert name == "bias_act/forward_kernel<half, Elu, Run<float, 4>, (Mode)1, unsigned int>"
    assert arguments(name) == ("half", "Elu", "Run<float, 4>", "(Mode)1", "unsigned int")
    assert short_name("_Z4fill", "fill(float*)") == "fill"


@pytest.mark.parametrize(
    ("device", "figures", "expected"),
    [
        (A100, (32, 0, 256), 1.0),
        (A100, (33, 0, 256), 0.75),  # 40 registers: 48 of 64 warps
        (A100, (255, 0, 256), 0.125),
        (A100, (16, 48 * 1024, 256), 0.375),
        (H100, (16, 48 * 1024, 256), 0.5),
        (H100, (16, 0, 32), 0.5),  # 32 blocks at most
        (H100, (65, 0, 1024), 0.0),
    ],
)
def test_occupancy(device, figures, expected):
    registers, shared, threads = figures
    assert device.occupancy(registers=registers, shared=shared, threads=threads) == expected


def test_baseline_has_a_line_per_kernel_and_comes_back(recorded, tmp_path):
    path = tmp_path / "baseline.json"
    baseline.write(recorded, path)
    old = baseline.read(path)

    assert old.compilers == {"13.0.88"}
    assert baseline.compare(recorded.kernels, old, DEVICES) == baseline.Comparison((), ())
    lines = [line for line in path.read_text().splitlines() if "planted/" in line]
    assert len(lines) == len(recorded.kernels)
    assert lines == sorted(lines[:11]) + sorted(lines[11:])
    figures = json.loads(path.read_text())["kernels"]["sm_80"]["planted/spill_kernel<float>"]
    assert figures == {
        "registers": 8,
        "threads": 256,
        "stack": 128,
        "spill_loads": 1,
        "spill_stores": 1,
        "loads128": "0 of 1",
        "stores128": "0 of 1",
    }


def test_command_writes_compares_and_fails(recorded, tmp_path, capsys, monkeypatch):
    path, page, ceilings = (tmp_path / name for name in ("baseline.json", "report.md", "c.json"))
    call = ["planted.o", "--baseline", str(path), "--markdown", str(page)]
    monkeypatch.setattr(counts, "PATH", ceilings)
    copy = Part(kernel="planted/copy_kernel<half, 8, unsigned int>", outputs=8, moved=4)
    monkeypatch.setattr(command, "load_work", lambda: [Work(label="copy half", parts=(copy,))])
    assert command.main(call) == 1
    assert f"there is no {path}; run --write-baseline" in capsys.readouterr().err
    assert command.main([*call, "--write-baseline"]) == 1  # the rules hold whatever it says
    assert capsys.readouterr().err.count("FAIL") == len(WEAK) * len(DEVICES)
    text = page.read_text()
    assert "| `planted/copy_kernel<half, 8, unsigned int>` | sm_90 | 14 | 0/0 | 0 | 0 |" in text
    assert "| 0 or dynamic | 256 | ≤ 100% |" in text
    assert "Model, unproven until a GPU runs it" in text
    assert "| copy half | 1.9 | 1.9 | 100% |" in text

    monkeypatch.setattr(rules, "violations", lambda kernels: [])
    assert command.main(call) == 0
    capsys.readouterr()
    assert command.main([*call[:3], "--arch", "sm_90"]) == 0
    assert "sm_80" not in capsys.readouterr().out
    path.write_text(path.read_text().replace('"registers": 10, ', '"registers": 200, '))
    assert command.main(call) == 0
    assert "better: planted/copy_kernel<float, 4, unsigned int> sm_80" in capsys.readouterr().out
    path.write_text(path.read_text().replace('"loads128": "0 of 1"', '"loads128": "1 of 1"'))
    assert command.main(call) == 1
    assert "128-bit loads 1 of 1 → 0 of 1" in capsys.readouterr().err
    ceilings.write_text('{"copy half": 1.8}')
    assert command.main(call) == 1
    assert "copy half: 1.9 instructions per output element, ceiling 1.8" in capsys.readouterr().err
    path.write_text(path.read_text().replace("13.0.88", "12.9.41"))
    assert command.main(call) == 0
    assert "it is of nvcc 12.9.41, this library of nvcc 13.0.88" in capsys.readouterr().out


def test_what_cannot_be_read_is_refused_in_words(recorded, tmp_path, capsys, monkeypatch):
    with pytest.raises(toolkit.ToolError, match="has no code for sm_70 but for sm_80, sm_90"):
        listing.read_libraries([Path("planted.o")], ["sm_70"])
    twice = [Path("planted.o"), Path("again.o")]
    assert listing.read_libraries(twice, DEVICES) == recorded
    registers = itertools.count(8)
    usage = {"STACK": 0, "SHARED": 0, "LOCAL": 0}
    monkeypatch.setattr(listing, "_usage", lambda line: usage | {"REG": next(registers)})
    with pytest.raises(toolkit.ToolError, match="two different kernels are called planted/"):
        listing.read_libraries(twice, DEVICES)
    monkeypatch.setattr(command._build_cache, "cached_library", lambda name: None)
    monkeypatch.setattr(command._build_cache, "installed_library", lambda name: None)
    assert command.main([]) == 2
    assert "run `fastgan build --cuda`, or name a library" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--arch", "sm_80", "--write-baseline"])


def test_a_missing_tool_names_the_packages(monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(toolkit, "_packaged", lambda name: None)
    with pytest.raises(toolkit.ToolError, match=r"pip install 'fastgan\[cuda-check\]'"):
        toolkit.find("nvdisasm")


def test_a_tool_that_refuses_is_quoted(monkeypatch, tmp_path):
    tool = tmp_path / "bin" / "cuobjdump"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho no such cubin >&2\nexit 3\n")
    tool.chmod(0o700)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(toolkit.ToolError, match="failed with exit code 3: no such cubin"):
        toolkit.run("cuobjdump", "-elf", "x")
