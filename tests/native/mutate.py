# SPDX-License-Identifier: Apache-2.0
"""The mutation check: bugs planted in the ops, each of which a detector must see.

    python tests/native/mutate.py [--fast] [--every-detector] [--only TEXT] [--per-op N] [--list]

prints the table bug × detector and exits with 1 where a bug is missed by a detector that must see
it, or where the kernels as they are get flagged. The bugs are in tests/native/mutations/*.toml;
each is planted in a copy of csrc/ or fastgan/, so the shipped sources know nothing of them. A bug
in a CUDA kernel must be seen by a driver under an order of threads or a sanitizer, one in Python by
the op's own tests ("tests", whose cell names the first that fails). A bug is run under the
detectors that must see it; a cell of another one is empty, unless --every-detector runs all of
them, which takes twice as long. --fast leaves out the sanitizers, the tests and the bugs that only
they see; --per-op takes the first N of each op; --seeds takes the first N seeds instead of all ten.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import native_build

from fastgan import _build

OUTPUT = native_build.OUTPUT.with_name("mutations")
BUGS = Path(__file__).with_name("mutations")
SEEDS = range(1, 11)
TIMEOUT_SECONDS = 120  # for one run of a driver
TESTS_TIMEOUT_SECONDS = 900  # for the tests of one op
# Optimising costs more time than it saves. What has no bug in it and no sanitizer has the flags and
# the folder of the other tests, whose objects are taken.
QUICK = ["-O0"]
OTHER_TYPES = r"(case DType::k(?:Float64|BFloat16|Float16):) return f\(\w+\{\}\);"


class StaleMutationError(Exception):
    """A kernel has changed so that a bug can no longer be planted in it."""


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One bug: in `file` of `op`, `old`, which is there once, becomes `new`.

    file: below csrc/, or the path of a Python file. cases: texts of which one is in the name of
    each driver case to run. seen_by: the detectors that must see it; "random" must see it under
    every seed.
    """

    name: str
    kind: str
    op: str
    file: str
    cases: tuple[str, ...]
    seen_by: tuple[str, ...]
    old: str
    new: str

    @property
    def is_python(self) -> bool:
        return self.file.endswith(".py")

    @property
    def source(self) -> Path:
        return (native_build.ROOT if self.is_python else native_build.CSRC) / self.file

    @property
    def folder(self) -> Path:
        """Always the same for a bug, so that its objects are found again."""
        return OUTPUT / "".join(c if c.isalnum() else "-" for c in f"{self.op} {self.name}")


@dataclasses.dataclass(frozen=True)
class Detector:
    """A build of the driver and how it is run, once per seed."""

    name: str
    sanitize: str | None
    order: str
    seeds: tuple[int, ...] = (1,)
    narrow_limit: int | None = None


DETECTORS = (
    Detector("forward", None, "forward"),
    Detector("reverse", None, "reverse"),
    Detector("random", None, "random", tuple(SEEDS)),
    Detector("narrow", None, "random", narrow_limit=100),
    Detector("address", "address", "random"),
    Detector("thread", "thread", "forward"),
)
TESTS = "tests"  # pytest, on the op's own tests, sees bugs in Python
FAST = ("random", "narrow")
# What a sanitizer says → how the table calls it; the first that fits.
FINDINGS = {
    "Sanitizer: SEGV": "crash",
    "WARNING: ThreadSanitizer": "race",
    "ERROR: AddressSanitizer": "overflow",
    "misaligned address": "misaligned",
    "runtime error": "undefined",
}
EXIT_CODES = {0: "", 2: "wrong", 3: "error"}


def load() -> list[Mutation]:
    found = []
    for path in sorted(BUGS.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]:
            lists = {key: tuple(entry.get(key, ())) for key in ("cases", "seen_by")}
            found.append(Mutation(**{**entry, **lists}))
    return found


def planted(mutation: Mutation) -> str:
    """The text of the mutation's file with the bug in it."""
    text = mutation.source.read_text(encoding="utf-8")
    count = text.count(mutation.old)
    if count != 1:
        raise StaleMutationError(
            f"mutation {mutation.name!r} ({mutation.op}): its text is {count} times in "
            f"{mutation.file}, expected once: the source changed; renew this mutation"
        )
    return text.replace(mutation.old, mutation.new)


def own_files(mutation: Mutation) -> dict[str, str]:
    """The texts, by their paths below csrc/, that differ where the bug is planted.

    Where all of its cases are of float32, the kernels of other types are not compiled, which take
    most of the time.
    """
    texts = {mutation.file: planted(mutation)}
    if all("float32" in text for text in mutation.cases):
        name = "common/platform.cuh"
        text = texts.get(name, (native_build.CSRC / name).read_text(encoding="utf-8"))
        texts[name], count = re.subn(OTHER_TYPES, r"\1 return 1;", text)
        if count != 3:
            raise StaleMutationError(f"{name}: {count} types beside float32 are dispatched, not 3")
    return texts


def plant(mutation: Mutation) -> Path:
    """A csrc/ with the bug in it: files of its own among links to the others.

    What is as it should be stays untouched, so that it is not compiled again.
    """
    texts, csrc = own_files(mutation), mutation.folder / "csrc"
    for source in (path for path in native_build.CSRC.rglob("*") if path.is_file()):
        name = source.relative_to(native_build.CSRC)
        copy = csrc / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = texts.get(name.as_posix())
        if text is None:
            if not copy.is_symlink():
                copy.unlink(missing_ok=True)
                copy.symlink_to(source)
        elif copy.is_symlink() or not copy.is_file() or copy.read_text(encoding="utf-8") != text:
            copy.unlink(missing_ok=True)
            copy.write_text(text, encoding="utf-8")
    return csrc


def run_tests(mutation: Mutation) -> str:
    """The first of the op's tests that fails, on plain PyTorch, with the bug in a copy of fastgan/;
    empty if none does."""
    text, root = planted(mutation), native_build.ROOT
    shutil.rmtree(mutation.folder, ignore_errors=True)
    shutil.copytree(root / "fastgan", mutation.folder / "fastgan")
    (mutation.folder / mutation.file).write_text(text, encoding="utf-8")
    tests = [root / "tests" / "ops" / f"test_{name}.py" for name in (mutation.op, "contract")]
    chosen = f"test_{mutation.op}.py or {mutation.op}-"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
               "-m", "not slow", "-k", chosen, "--backend", "reference",
               "--rootdir", root, "-c", root / "pyproject.toml", *tests]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=mutation.folder, capture_output=True, text=True, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=TESTS_TIMEOUT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "hang"
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0].split("::")[1].split(" - ")[0] if failed else ""


def finding(done: subprocess.CompletedProcess[str]) -> str:
    """What one run of the driver found; empty if nothing."""
    said = done.stdout + done.stderr
    for text, word in FINDINGS.items():
        if text in said:
            return word
    if done.returncode < 0:
        return "crash"
    if done.returncode not in EXIT_CODES:
        raise RuntimeError(f"driver: exit code {done.returncode}\n{said}")
    return EXIT_CODES[done.returncode]


def run(driver: Path, detector: Detector, seed: int, cases: Iterable[str] = ()) -> str:
    environment = os.environ | {
        "FASTGAN_EMULATOR_ORDER": detector.order,
        "FASTGAN_EMULATOR_SEED": str(seed),
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    environment.pop("FASTGAN_EMULATOR_NARROW_LIMIT", None)
    if detector.narrow_limit is not None:
        environment["FASTGAN_EMULATOR_NARROW_LIMIT"] = str(detector.narrow_limit)
    chosen = [word for text in cases for word in ("--only", text)]
    chosen += ["--once"] if detector.sanitize else []  # as sanitize.py runs it
    try:
        done = subprocess.run(
            [driver, *chosen], capture_output=True, text=True, env=environment,
            timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "hang"
    return finding(done)


Drivers = dict[tuple[str, str | None], Path]
Plan = Mapping[Mutation, Sequence[Detector]]  # the bugs in kernels, and what each is run under


def build(plan: Plan) -> Drivers:
    """The drivers that `plan` needs: by the name of an op, or of a bug's folder, and by the
    sanitizer.
    """
    drivers: Drivers = {}
    for sanitize in {d.sanitize for detectors in plan.values() for d in detectors}:
        bugs = [m for m, detectors in plan.items() if sanitize in {d.sanitize for d in detectors}]
        sources = {m.op: (m.op, native_build.CSRC) for m in bugs}
        sources |= {m.folder.name: (m.op, plant(m)) for m in bugs}
        extra = QUICK if sanitize else ()
        targets = [
            native_build.driver_target(
                f"{name}.{sanitize}.driver",
                "emulator",
                sanitize,
                [op],
                csrc=csrc,
                extra=extra,
                of_kernels=() if csrc == native_build.CSRC else QUICK,
            )
            for name, (op, csrc) in sources.items()
        ]
        folder = OUTPUT if sanitize else native_build.PLAIN
        made = _build.make(folder, targets)
        drivers |= {(name, sanitize): path for name, path in zip(sources, made, strict=True)}
    return drivers


def check(
    mutation: Mutation, detectors: Iterable[Detector], drivers: Drivers
) -> dict[str, list[str]]:
    """Findings per detector and seed."""
    if mutation.is_python:
        return {TESTS: [run_tests(mutation)]}
    name = mutation.folder.name
    return {
        d.name: [run(drivers[name, d.sanitize], d, seed, mutation.cases) for seed in d.seeds]
        for d in detectors
    }


def check_clean(plan: Plan, drivers: Drivers, seeds: Sequence[int]) -> dict[str, list[str]]:
    """What the detectors find in the cases in which they look for bugs, where there is no bug:
    under all of `seeds` where results may depend on them.
    """
    cases: dict[tuple[str, Detector], set[str]] = {}
    for mutation, detectors in plan.items():
        for d in detectors:
            cases.setdefault((mutation.op, d), set()).update(mutation.cases)
    found: dict[str, list[str]] = {}
    for (op, d), names in sorted(cases.items(), key=lambda item: (item[0][0], item[0][1].name)):
        driver = drivers[op, d.sanitize]
        # An access that a sanitizer flags is wrong in any order of threads.
        those = seeds if d.order == "random" and d.sanitize is None else seeds[:1]
        found.setdefault(d.name, []).extend(run(driver, d, seed, sorted(names)) for seed in those)
    return found


def cell(findings: Sequence[str]) -> str:
    """`wrong`, or `wrong 7/10` where not every seed saw it."""
    seen = [f for f in findings if f]
    words = "/".join(sorted(set(seen)))
    return words if len(seen) in (0, len(findings)) else f"{words} {len(seen)}/{len(findings)}"


def table(rows: Iterable[tuple[str, str, dict[str, list[str]]]], names: Sequence[str]) -> str:
    lines = [["bug", "op", *names], ["---"] * (len(names) + 2)]
    for name, op, found in rows:
        lines.append([name, op, *(cell(found[d]) or "-" if d in found else "" for d in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def faults(mutation: Mutation, found: dict[str, list[str]]) -> list[str]:
    """What is wrong with the detectors, given what they found of this bug."""
    return [
        f"{mutation.name!r} ({mutation.op}) is missed by {name!r}: {found[name]}"
        for name in mutation.seen_by
        if name in found and not all(found[name])
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="no sanitizers")
    parser.add_argument("--every-detector", action="store_true", help="also those that may miss it")
    parser.add_argument("--only", default="", metavar="TEXT", help="bugs with TEXT in op or name")
    parser.add_argument("--per-op", type=int, metavar="N", help="the first N bugs of each op")
    parser.add_argument("--seeds", type=int, metavar="N", help="the first N seeds; default: all")
    parser.add_argument("--list", action="store_true", help="name the bugs; build nothing")
    options = parser.parse_args(argv)
    detectors = [
        dataclasses.replace(d, seeds=d.seeds[: options.seeds])
        for d in DETECTORS
        if not options.fast or d.name in FAST
    ]
    names = [d.name for d in detectors] + ([] if options.fast else [TESTS])
    mutations = [
        m for m in load()
        if options.only in f"{m.op} {m.name}" and set(m.seen_by) & set(names)
    ]  # fmt: skip
    if options.per_op is not None:
        each = {m.op: [n for n in mutations if n.op == m.op] for m in mutations}
        mutations = [m for of_op in each.values() for m in of_op[: options.per_op]]
    if options.list:
        print("\n".join(f"{m.op}: {m.name} [{m.kind}]" for m in mutations))
        return 0
    wrong = []
    try:
        plan = {
            m: [d for d in detectors if options.every_detector or d.name in m.seen_by]
            for m in mutations
            if not m.is_python
        }
        drivers = build(plan)
        clean = check_clean(plan, drivers, SEEDS[: options.seeds])
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            results = list(pool.map(lambda m: check(m, plan.get(m, ()), drivers), mutations))
    except StaleMutationError as error:
        print(error)
        return 1
    for name in names:
        if any(clean.get(name, ())):
            wrong.append(f"the kernels as they are get flagged by {name!r}: {clean[name]}")
    for mutation, found in zip(mutations, results, strict=True):
        wrong += faults(mutation, found)
    rows = [("none", "each", clean)]
    rows += [(m.name, m.op, found) for m, found in zip(mutations, results, strict=True)]
    print(table(rows, names))
    print("\n".join(wrong) if wrong else f"{len(mutations)} bugs, all seen; clean: never flagged")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
