# SPDX-License-Identifier: Apache-2.0
"""The policy that keeps freed memory: process-global, so each test that sets it has a process."""

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fastgan import memory

ROOT = Path(__file__).parents[1]
MB = 2**20
NO_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0", "THP_MEM_ALLOC_ENABLE": "0"}

PRELUDE = """
import ctypes, json, resource
from pathlib import Path
from fastgan import memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a fault is a page of 4 KiB

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()

def faults_of_a_call(shape=(8, 64, 256, 256)):  # 134 MB: every new one is mmapped by default
    import torch
    torch.set_num_threads(1)
    x = torch.ones(shape)
    for _ in range(12):  # a hole may be pinned by a small block a few times, then none is
        x * 2
    before = faults()
    for _ in range(3):
        x * 2
    return (faults() - before) / 3
"""


def run(code, **env):
    """What `code` prints last, as JSON, in a new process that has PRELUDE."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


needs_glibc = pytest.mark.skipif(
    memory.policy().why is not None, reason=f"no glibc malloc here: {memory.policy().why}"
)


@needs_glibc
def test_large_tensors_are_faulted_in_once():
    """A 134 MB result is 32768 pages: without the policy each call takes all of them again."""
    before, during, after = run(
        """
        before = faults_of_a_call()
        with memory.keep_freed_memory() as change:
            assert change and "M_TRIM_THRESHOLD" in change.settings
            assert memory.policy().name == "keep"
            during = faults_of_a_call()
        assert memory.policy().name == "default"
        print(json.dumps([before, during, faults_of_a_call()]))
        """,
        **NO_HUGE_PAGES,
    )
    assert before > 1000
    assert during < 100
    assert after > 1000


@needs_glibc
def test_restore_gives_the_memory_back():
    kept, restored = run(
        """
        import torch
        memory.keep_freed_memory()
        x = [torch.ones(2**25) for _ in range(4)]  # 4 times 128 MiB, touched
        del x
        kept = resident()
        change = memory.restore()
        assert change.settings and not memory.restore()
        print(json.dumps([kept, resident()]))
        """
    )
    assert kept > 500 * MB
    assert restored < kept - 400 * MB


@needs_glibc
def test_the_inner_of_two_blocks_leaves_the_outer_in_force():
    code = """
        with memory.keep_freed_memory():
            with memory.keep_freed_memory() as inner:
                assert not inner and inner.why == "freed memory is kept already"
            print(json.dumps(memory.policy().name))
        """
    assert run(code) == "keep"


@needs_glibc
def test_a_block_that_fails_is_undone():
    code = """
        try:
            with memory.keep_freed_memory():
                raise OSError
        except OSError:
            print(json.dumps(memory.policy().name))
        """
    assert run(code) == "default"


def test_import_changes_nothing():
    """Neither the package nor any of its rooms calls mallopt."""
    code = """
        import fastgan, fastgan.ops, fastgan.nn, fastgan.training, fastgan.bench.measure.step_rows
        import fastgan.cli.train, fastgan.cli.bench
        print(json.dumps([memory.policy().name, faults_of_a_call()]))
        """
    name, faults = run(code, **NO_HUGE_PAGES)
    assert name == "default"
    if memory.policy().why is None:
        assert faults > 1000


class _Musl:
    """A C library without gnu_get_libc_version."""

    malloc = ctypes.CDLL(None).malloc


@pytest.mark.parametrize("where", ["musl", "jemalloc", "darwin"])
def test_other_allocators_are_refused_in_words(where, monkeypatch):
    if where == "musl":
        monkeypatch.setattr(memory, "_libc", _Musl)
        wanted = "glibc's malloc only"
    elif where == "jemalloc":
        monkeypatch.setattr(memory, "_owner_of_malloc", lambda libc: "libjemalloc.so.2")
        wanted = "malloc of libjemalloc.so.2 is used"
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
        wanted = "glibc's malloc only"
    monkeypatch.setattr(memory, "_mallopt", lambda settings: pytest.fail("mallopt was called"))
    change = memory.keep_freed_memory()

    assert not change
    assert wanted in change.why
    assert wanted in str(memory.policy())
    assert memory.policy().name == "default"
    with change:
        pass


@needs_glibc
def test_an_old_glibc_that_refuses_the_threshold_gets_none_at_all(monkeypatch):
    calls = []

    def mallopt(settings):
        calls.append(dict(settings))
        return "M_MMAP_THRESHOLD" not in settings or settings["M_MMAP_THRESHOLD"] <= 32 * MB

    monkeypatch.setattr(memory, "_mallopt", mallopt)
    with memory.keep_freed_memory() as change:
        assert dict(change.settings) == {"M_MMAP_MAX": 0, "M_TRIM_THRESHOLD": -1}
    assert calls[-1] == {"M_MMAP_MAX": 65536, "M_TRIM_THRESHOLD": 64 * MB}
    assert memory.policy().name == "default"


@needs_glibc
def test_a_refusal_leaves_all_as_it_was(monkeypatch):
    monkeypatch.setattr(memory, "_mallopt", lambda settings: False)
    change = memory.keep_freed_memory()

    assert not change
    assert "refused" in change.why
    assert memory.policy().name == "default"


@needs_glibc
@pytest.mark.slow
def test_steps_of_varied_sizes_stay_bounded():
    """A heap has holes where single mappings have none: over 400 steps they must not add up."""
    early, late = run(
        """
        import torch
        from torch.nn.functional import leaky_relu
        torch.set_num_threads(1)
        memory.keep_freed_memory()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(16, 1, 1, requires_grad=True)

        def step():  # no convolution: oneDNN keeps what it compiled for each shape
            size, n = (int(torch.randint(a, b, (), generator=generator))
                       for a, b in ((32, 160), (1, 17)))
            y = leaky_relu(torch.randn(n, 1, size, size) * weight)
            z = torch.cat([y, y.flip(2)], 1).square()
            weight.grad = None
            (z.mean() + y.mean()).backward()

        sizes = []
        for i in range(400):
            step()
            sizes.append(resident())
        print(json.dumps([max(sizes[:100]), max(sizes[300:])]))
        """
    )
    assert late < 1.25 * early
