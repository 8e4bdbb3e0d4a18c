# SPDX-License-Identifier: Apache-2.0
"""A static report on the kernels' machine code: `python -m tests.cuda_report [LIBRARY ...]`.

With `--source csrc/ops/OP/OP_cuda.cu` that file alone is compiled, for sm_90, and its rows are
printed: seconds instead of minutes.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastgan import _build_cache
from tests.cuda_report import baseline, counts, listing, one_source, roofline, rules, tables
from tests.cuda_report.device import DEVICES
from tests.cuda_report.toolkit import ToolError
from tests.cuda_report.work import load_work


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every kernel keeps the rules and the baseline, 1 if one does not, 2 if none was read."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda_report", description=__doc__)
    parser.add_argument("library", nargs="*", type=Path, help="default: what fastgan built")
    parser.add_argument("--arch", action="append", choices=tuple(DEVICES), help="default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--baseline", type=Path, metavar="FILE", default=baseline.PATH)
    parser.add_argument("--ceilings", type=Path, metavar="FILE", help="default: ours")
    parser.add_argument("--write-baseline", action="store_true", help="take the figures as new")
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="compile and read this .cu alone"
    )
    parser.add_argument("--loops", action="store_true", help="with --source: list the loops")
    options = parser.parse_args(argv)
    ceilings_path = options.ceilings or counts.PATH
    archs = options.arch or list(DEVICES)
    if options.source:
        return one_source.report(
            options.source,
            options.baseline,
            ceilings_path,
            writes=options.write_baseline,
            lists_loops=options.loops,
        )
    if options.write_baseline and set(archs) != set(DEVICES):
        parser.error("--write-baseline needs every architecture; leave --arch out")
    try:
        library = listing.read_libraries(options.library or [_own_library()], archs)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    rows = roofline.rows(roofline.load_cases())
    found = counts.rows(library.flows, load_work()) if counts.ARCH in archs else []
    if options.write_baseline:
        baseline.write(library, options.baseline)
        counts.write(found, ceilings_path)
    ceilings = counts.read(ceilings_path)
    counted = counts.table(found, ceilings)
    text = tables.report(library.kernels, rows, counted, library.compilers)
    if options.markdown is None:
        print(text)
    else:
        options.markdown.write_text(text + "\n")
        print(tables.family_table(library.kernels))
    return _check(library, options.baseline, archs, found, ceilings)


def _own_library() -> Path:
    """`_C_cuda` of the build cache, made of these very sources, else of the installation."""
    found = _build_cache.cached_library("_C_cuda") or _build_cache.installed_library("_C_cuda")
    if found is None:
        raise ToolError(
            "cuda-report: there is no CUDA library of these sources; run "
            "`fastgan build --cuda`, or name a library"
        )
    return found


def _check(
    library: listing.Library,
    path: Path,
    archs: Sequence[str],
    found: Sequence[counts.Row],
    ceilings: Mapping[str, float],
) -> int:
    failures = rules.violations(library.kernels)
    try:
        old = baseline.read(path)
    except baseline.BaselineError as error:
        failures.append(str(error))
    else:
        if old.compilers == library.compilers:
            compared = baseline.compare(library.kernels, old, archs)
            worse, better = counts.compare(found, ceilings)
            failures += [*compared.regressions, *worse]
            for line in [*compared.improvements, *better]:
                print(f"better: {line}")
        else:
            print(
                f"\nnot compared with the baseline: it is of nvcc {_join(old.compilers)}, this "
                f"library of nvcc {_join(library.compilers)}; only the rules were checked"
            )
    for line in failures:
        print(f"FAIL {line}", file=sys.stderr)
    print(f"\n{len(library.kernels)} kernels for {', '.join(archs)}; {len(failures)} failures")
    return int(bool(failures))


def _join(versions: frozenset[str]) -> str:
    return ", ".join(sorted(versions)) or "an unknown version"


if __name__ == "__main__":
    sys.exit(main())
