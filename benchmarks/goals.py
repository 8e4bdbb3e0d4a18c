"""`python -m benchmarks.goals`: the committed results against the goals, as a table.

Reads `benchmarks/results/*.json`, as `fastgan bench --json`, `benchmarks.scaling` and
`benchmarks.startup` write them, and replaces what stands between the two markers of
benchmarks/README.md. A goal over several rows gives the range and how many of them reach it.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- goals: written by `python -m benchmarks.goals` -->", "<!-- end of goals -->"
LARGE = 16e6  # bytes
MODES = {"forward": "fwd", "forward+backward": "fwd+bwd", "double": "double"}

Rows = list[dict]


@dataclass(frozen=True)
class Goal:
    """`values(rows of file)`: label → number; `at_most` or `at_least` is the bound for each."""

    number: str
    what: str
    file: str
    values: Callable[[Rows], Mapping[str, float]]
    at_most: float = math.inf
    at_least: float = -math.inf
    unit: str = ""

    def is_met(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most

    @property
    def bound(self) -> str:
        sign, value = ("≤", self.at_most) if self.at_most < math.inf else ("≥", self.at_least)
        return f"{sign} {value:g}{self.unit}"


def _input_bytes(row: dict) -> int:
    return math.prod(row["shapes"][0]) * (2 if row["dtype"] == "bfloat16" else 4)


def _label(row: dict) -> str:
    return f"{row['case']} {row['dtype']} {row['layout']}"


def of_ops(op: str, mode: str, over: str, size: Callable[[dict], bool], name: str = ""):
    """Time of native over the floor, or of another variant over native."""

    def values(rows: Rows) -> Mapping[str, float]:
        found = {}
        for row in rows:
            is_right = row["op"] == op and row["mode"] == mode and name in row["case"]
            if not is_right or row["failure"] or not size(row):
                continue
            if over == "floor":
                found[_label(row)] = row["variants"]["native"]["seconds"] / row["floor_seconds"]
            elif over == "µs":
                found[_label(row)] = row["variants"]["native"]["seconds"] * 1e6
            elif over in row["variants"]:
                found[_label(row)] = row["variants"][over]["ratio_to_native"]
        return found

    return values


def of_step(case: str, phase: str, what: str, pair: tuple[str, str] = ("reference", "native")):
    """A ratio of times or of peak bytes (native over reference), or native's page faults."""

    def values(rows: Rows) -> Mapping[str, float]:
        for row in rows:
            if row["case"] == case and row["phase"] == phase:
                of, variants = " / ".join(pair), row["variants"]
                if what == "seconds" and of in row["ratios"]:
                    return {f"{case} {phase}": row["ratios"][of]}
                if what == "peak_bytes" and set(pair) <= set(variants):
                    theirs, ours = (variants[name]["peak_bytes"] for name in pair)
                    return {f"{case} {phase}": ours / theirs}
                if what == "page_faults" and "native" in variants:
                    return {f"{case} {phase}": variants["native"]["page_faults"]}
        return {}

    return values


def is_large(row: dict) -> bool:
    return _input_bytes(row) >= LARGE


def is_small_plane(row: dict) -> bool:
    return row["shapes"][0][-1] <= 16


def is_cached(row: dict) -> bool:
    return not is_large(row) and not is_small_plane(row)


def is_tiny(row: dict) -> bool:
    return row["shapes"][0] in ([4, 64, 8, 8], [8, 512])


def is_wide(row: dict) -> bool:
    return row["shapes"][0][-1] >= 32


def is_wide_map(row: dict) -> bool:
    return is_wide(row) and "gradient" not in row["case"]


def of_scaling(axes: tuple[str, ...], bound: float, *, over_copy: bool):
    """The growth of cost where a copy's stays within `bound`; over the copy's where it does not."""

    def values(rows: Rows) -> Mapping[str, float]:
        found = {}
        for r in rows:
            copy = r.get("floor_ratio", 0.0)  # older files did not measure it
            if r["axis"] in axes and (copy > bound) == over_copy:
                label = f"{r['op']} {r['layout']} {r['axis']} {r['bytes'] / 2**20:g} MiB"
                found[label] = r["ratio"] / copy if over_copy else r["ratio"]
        return found

    return values


def of_row(key: str, factor: float = 1.0):
    return lambda rows: {key: rows[0][key] * factor}


def goals(threads: str) -> list[Goal]:
    ops, step = f"ops_{threads}_threads", f"step_{{}}_{threads}_threads"
    r3 = "residual 32x32 R1 R2 composed"
    sg = "stylegan2 {} composed"
    wino = "winograd_conv2d"
    found = [
        Goal("1", "bias_act fwd over the copy floor, ≥ 16 MB", ops,
             of_ops("bias_act", "forward", "floor", is_large), at_most=1.1),
        Goal("1", "bias_act fwd+bwd over the copy floor, ≥ 16 MB", ops,
             of_ops("bias_act", "forward+backward", "floor", is_large), at_most=1.2),
    ]  # fmt: skip
    for mode, bound in (("forward", 4), ("forward+backward", 4), ("double", 3)):
        values = of_ops("bias_act", mode, "reference", lambda r: not is_tiny(r), "lrelu")
        what = f"eager reference over bias_act, {MODES[mode]}"
        found.append(Goal("2", what, ops, values, at_least=bound))
    for size, name, bound in (
        (is_large, "≥ 16 MB", 1.5),
        (is_cached, "in cache", 2.5),
        (is_small_plane, "planes ≤ 16²", 4),
    ):
        values = of_ops("upfirdn2d", "forward", "floor", size)
        what = f"upfirdn2d fwd over the floor, {name}"
        found.append(Goal("3", what, ops, values, at_most=bound))
    for mode, other, bound in (
        ("forward", "reference", 5),
        ("double", "reference", 12),
        ("forward", "compile", 4),
        ("forward+backward", "compile", 4),
    ):
        values = of_ops("upfirdn2d", mode, other, lambda r: True)
        what = f"{other} over upfirdn2d, {MODES[mode]}"
        file = f"compile_{threads}_threads" if other == "compile" else ops
        found.append(Goal("4", what, file, values, at_least=bound))
    for mode, bound in (("forward", 10), ("forward+backward", 50)):
        values = of_ops("bias_act", mode, "µs", is_tiny)
        what = f"bias_act of 4x64x8x8 and 8x512, {MODES[mode]}"
        found.append(Goal("5", what, ops, values, at_most=bound, unit=" µs"))
    for mode, other in ((m, "reference") for m in MODES):
        values = of_ops("bias_act", mode, other, is_tiny)
        found.append(Goal("5", f"{other} over it, {MODES[mode]}", ops, values, at_least=1))
    found += [
        Goal("8", "oneDNN over 3×3 convolution fwd, ≥ 64 channels, maps ≥ 32", ops,
             of_ops(wino, "forward", "reference", is_wide_map), at_least=1.6),
        Goal("8", "oneDNN over its weight gradient", ops,
             of_ops(wino, "forward", "reference", is_wide, "weight"), at_least=2),
        Goal("8", "oneDNN over fwd+bwd, every shape that the dispatcher is asked for", ops,
             of_ops(wino, "forward+backward", "reference", lambda r: True), at_least=1),
        Goal("8", "oneDNN over fwd+bwd of stride 2 and transposed, every shape", ops,
             of_ops("winograd_strided_conv2d", "forward+backward", "reference",
                    lambda r: True), at_least=1),
    ]  # fmt: skip
    half = ("reference bf16", "native bf16")
    for number, size, file, bounds in (
        ("9", "64x64", "64", (2.0, 1.6, 2.6)),
        ("9b", "128x128", "128", (1.8, None, None)),
        ("9b", "64x64 45M", "45m", (1.7, None, None)),
    ):
        pairs = (("reference", "native"), half, ("reference", "native bf16"))
        for pair, bound in zip(pairs, bounds, strict=True):
            if bound is not None:
                what = f"StyleGAN2 {size} step: {pair[0]} over {pair[1]}"
                values = of_step(sg.format(size), "step", "seconds", pair)
                found.append(Goal(number, what, step.format(file), values, at_least=bound))
    for phase in ("G", "D"):
        values = of_step(sg.format("64x64"), phase, "seconds", ("reference compile", "native"))
        what = f"StyleGAN2 64x64 {phase}: torch.compile over native"
        found.append(Goal("9c", what, step.format("64_compile"), values, at_least=2))
    case = sg.format("64x64")
    found += [
        Goal("10", "R3GAN-style step: reference over native", step.format("residual"),
             of_step(r3, "step", "seconds"), at_least=2.3),
        Goal("11", "StyleGAN2 64x64 peak live bytes, native over reference", step.format("64"),
             of_step(case, "step", "peak_bytes"), at_most=0.55),
        Goal("12", "page faults of that step after warm-up", step.format("64"),
             of_step(case, "step", "page_faults"), at_most=100),
    ]  # fmt: skip
    if threads == "1":
        found += [
            *(
                goal
                for axes, bound, what in (
                    (("batch", "channels"), 2.1, "cost at twice the batch or channels, fwd+bwd"),
                    (("resolution",), 4.4, "cost at twice the resolution, any size"),
                )
                for goal in (
                    Goal("13", what, "scaling", of_scaling(axes, bound, over_copy=False),
                         at_most=bound),
                    Goal("13", f"{what}, where a copy's grows beyond it too: over the copy's",
                         "scaling", of_scaling(axes, bound, over_copy=True), at_most=1.05),
                )
            ),
            Goal("14", "import of fastgan after torch", "startup",
                 of_row("import_seconds"), at_most=0.05, unit=" s"),
            Goal("14", "build of all CPU kernels", "startup",
                 of_row("build_cpu_seconds"), at_most=30, unit=" CPU-s"),
            Goal("14", "memory per compiler", "startup",
                 of_row("build_bytes_per_compiler", 1e-9), at_most=0.6, unit=" GB"),
        ]  # fmt: skip
    return found


def line(goal: Goal) -> str | None:
    """None where nothing was measured."""
    path = HERE / "results" / f"{goal.file}.json"
    if not path.is_file():
        return None
    values = goal.values(json.loads(path.read_text())["rows"])
    if not values:
        return None
    met = sum(map(goal.is_met, values.values()))
    low, high = min(values.values()), max(values.values())
    reached = f"{low:.3g}" if len(values) == 1 else f"{low:.3g} to {high:.3g}"
    is_bad = max if goal.at_most < math.inf else min
    worst = "" if met == len(values) else is_bad(values, key=values.get)
    verdict = "met" if met == len(values) else f"{met} of {len(values)}" if met else "missed"
    cells = (goal.number, goal.what, goal.bound, reached, verdict, worst, f"`{goal.file}`")
    return f"| {' | '.join(cells)} |"


def table() -> str:
    parts = []
    for threads, title in (("1", "One thread, process CPU time"), ("2", "Two threads, wall time")):
        lines = [text for goal in goals(threads) if (text := line(goal)) is not None]
        head = "| # | what | goal | reached | | farthest from it | file |"
        parts.append("\n".join([f"**{title}**\n", head, "|" + " --- |" * 7, *lines]))
    return "\n\n".join(parts)


def with_table(text: str, made: str) -> str:
    """`text` with what stands between the markers replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main() -> None:
    path, made = HERE / "README.md", table()
    path.write_text(with_table(path.read_text(), made))
    print(made)


if __name__ == "__main__":
    main()
