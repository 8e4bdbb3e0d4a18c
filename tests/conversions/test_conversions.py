# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

from fastgan import _build

sys.path.insert(0, str(Path(__file__).parent))

import conversions

CALLS = conversions.calls()
SOURCES = sorted({source for source, _ in CALLS})


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_is_narrowed_or_shadowed(source):
    for path, command in CALLS:
        if path == source:
            assert not conversions.complaint(path, command)


def test_every_source_of_the_library_is_looked_at():
    kernels = set(_build.source_root().glob("ops/*/*_cpu.cpp"))
    assert len(kernels) > 10
    assert kernels | {_build.source_root() / "module.cpp"} <= set(SOURCES)
    for kernel in kernels:  # AMX's code is AVX-512's alone
        assert sum(source == kernel for source, _ in CALLS) == len(_build.CPU_KERNEL_FLAGS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int f(long n) { return n; }", "conversion"),
        ("template <class T> int f(T n) { return n; }  template int f(long);", "conversion"),
        ("float f(double x) { return x; }", "conversion"),
        ("double f(float x) { return x * 2.0; }", "double-promotion"),
        ("int f(int n) { for (int n = 0; n < 3;) return n; return n; }", "shadow"),
    ],
)
def test_a_planted_one_is_an_error(tmp_path, text, said):
    source = tmp_path / "a.cpp"
    source.write_text(text)
    found = conversions.complaint(source, [*_build.cxx(), *_build.CXX_FLAGS])
    assert said in found


def test_what_is_right_is_none(tmp_path):
    source = tmp_path / "a.cpp"
    source.write_text("int f(long n) { return int(n); }")
    assert not conversions.complaint(source, [*_build.cxx(), *_build.CXX_FLAGS])
