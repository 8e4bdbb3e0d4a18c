"""`python -m benchmarks [op ...] [--quick] [--device cuda] [--threads N] [--json FILE]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import _report, _runner
from benchmarks._timer import Protocol
from fastgan.ops import NativeRequiredError


def main(argv: Sequence[str] | None = None) -> int:
    """Check and measure; 0 if every row was right, 1 if one was wrong, 2 if nothing can run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("op", nargs="*", help=f"any of: {', '.join(_runner.bench_files())}")
    parser.add_argument("--quick", action="store_true", help="few cases, without torch.compile")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--cache", choices=("warm", "cold"), default="warm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample too")
    options = parser.parse_args(argv)
    try:
        cases = _runner.load_cases(options.op, is_quick=options.quick)
        protocol = Protocol(
            device=options.device,
            threads=options.threads,
            rounds=5 if options.quick else 9,
            cache=options.cache,
        )
    except ValueError as error:
        parser.error(str(error))
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks: nothing measured. torch sees no CUDA device", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    facts = _report.environment(protocol)
    print("\n".join(f"{name:<14}{value}" for name, value in facts.items()) + "\n")
    rows = []
    try:
        with _runner.native_required():
            for case in cases:
                print(
                    f"{case.op} {case.name} {case.dtype} {case.layout} ...",
                    file=sys.stderr,
                    flush=True,
                )
                case = _runner.on_device(case, options.device)
                variants = _runner.default_variants(case, is_compiled=not options.quick)
                rows += _runner.run_case(case, protocol, variants)
    except NativeRequiredError as error:
        print(f"benchmarks: nothing measured. {error}", file=sys.stderr)
        return 2
    print(_report.table(rows))
    if options.quick:
        print("torch.compile: left out by --quick, because compiling takes long")
    if options.json is not None:
        data = {"environment": facts, "rows": [_report.row_json(row) for row in rows]}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return int(any(row.failure for row in rows))


if __name__ == "__main__":
    sys.exit(main())
