# SPDX-License-Identifier: Apache-2.0
"""Compiles one kernel file and says what changed, in seconds: for whoever writes that kernel."""

import subprocess
import sys
from pathlib import Path

from fastgan import _build
from tests.cuda_report import baseline, counts, listing, rules
from tests.cuda_report.device import DEVICES
from tests.cuda_report.names import family
from tests.cuda_report.toolkit import ToolError
from tests.cuda_report.work import load_work


def report(
    source: Path, baseline_path: Path, ceilings_path: Path, *, writes: bool, lists_loops: bool
) -> int:
    """Prints the rows of `source`; 1 if a rule, the baseline or a ceiling is broken, else 0.

    Args:
        source: A kernel file, csrc/ops/OP/OP_cuda.cu.
        baseline_path: What the kernels are compared with, and where their figures are written.
        ceilings_path: The same for instructions per output element.
        writes: Compile for every architecture of the report, and take the figures as new.
        lists_loops: Print the loops of every kernel for counts.ARCH.
    """
    archs = list(DEVICES) if writes else [counts.ARCH]
    try:
        library = listing.read_libraries([compiled(source, archs)], archs)
    except (ToolError, _build.BuildError) as error:
        print(error, file=sys.stderr)
        return 2
    if lists_loops:
        for name, flow in sorted(library.flows.items()):
            print("\n".join([name, *flow.describe()]))
    own = [work for work in load_work() if any(part.kernel in library.flows for part in work.parts)]
    rows = counts.rows(library.flows, own)
    families = {family(kernel.name) for kernel in library.kernels if not _is_shared(kernel.name)}
    stems = {name.partition("/")[0] for name in families if "/" in name}

    def is_own(name: str) -> bool:
        return family(name) in families or ("/" in name and name.partition("/")[0] in stems)

    if writes:
        baseline.update(library, is_own, baseline_path)
        counts.write(rows, ceilings_path, keep={work.label for work in load_work()})
    ceilings = counts.read(ceilings_path)
    print(counts.table(rows, ceilings))
    counted = {kernel for row in rows for kernel in row.kernels}
    for kernel in library.kernels:
        if kernel.arch == counts.ARCH and kernel.name in counted:
            print(f"{kernel.name}: {kernel.registers} registers, occupancy {kernel.occupancy:.0%}")
    old = baseline.read(baseline_path)
    names = {kernel.name for kernel in library.kernels}
    before = {k: kernel for k, kernel in old.kernels.items() if is_own(k[0]) or k[0] in names}
    compared = baseline.compare(library.kernels, baseline.Baseline(old.compilers, before), archs)
    worse, better = counts.compare(rows, ceilings)
    for line in (*compared.improvements, *better):
        print(f"better: {line}")
    failures = [*rules.violations(library.kernels), *compared.regressions, *worse]
    for line in failures:
        print(f"FAIL {line}", file=sys.stderr)
    return int(bool(failures))


def _is_shared(name: str) -> bool:
    """Whether the kernel is a template of csrc/common, which several sources instantiate."""
    headers = (_build.source_root() / "common").glob("*.cuh")
    return any(f" {family(name)}(" in header.read_text() for header in headers)


def compiled(source: Path, archs: list[str]) -> Path:
    """The object of `source` for `archs` alone, with the flags of the library."""
    compiler = _build.nvcc()
    if compiler is None:
        raise ToolError("cuda-report: nvcc is not on the path; install the CUDA toolkit")
    folder = _build.source_root().parent / "build" / "cuda-report"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}.o"
    numbers = ";".join(f"{arch[3:-1]}.{arch[-1]}" for arch in archs)
    command = [*_build.device_command(compiler, numbers), "-c", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    if done.returncode != 0:
        raise ToolError(f"cuda-report: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return target
