# SPDX-License-Identifier: Apache-2.0
"""results.json as tables that a person reads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.cuda_report.roofline import BANDWIDTH_SHARE, LAUNCH_SECONDS
from tests.gpu._steps import PASSED

Json = Mapping[str, Any]


def render(results: Json) -> str:
    """The whole page: facts, steps, and a section for every step that has more to say."""
    by_name = {step["name"]: step for step in results["steps"]}
    facts = by_name.get("environment", {}).get("data", {})
    parts = [
        f"# fastgan on {facts.get('device', 'an unknown device')}, {results['date']}",
        _facts(facts, results),
        "## Steps",
        _table(["step", "status", "seconds", "reason"], _steps(results["steps"])),
    ]
    for name, section in _SECTIONS.items():
        data = by_name.get(name, {}).get("data", {})
        if data:
            parts += section(data, facts)
    return "\n\n".join(parts) + "\n"


def _facts(facts: Json, results: Json) -> str:
    rows = [
        ("device", f"{facts.get('device')}, SM {facts.get('sm')}"),
        ("driver", facts.get("driver")),
        ("commit", _commit(facts)),
        ("torch", f"{facts.get('torch')}, CUDA {facts.get('cuda')}, cuDNN {facts.get('cudnn')}"),
        ("nvcc", facts.get("nvcc")),
        ("library", facts.get("library")),
        ("its code", facts.get("library_architectures")),
        ("copy bandwidth", _rate(facts.get("copy_bytes_per_second"), "measured")),
        ("nominal bandwidth", _rate(facts.get("nominal_bytes_per_second"), "clock × bus width")),
        ("date", results["date"]),
        ("command", f"`{results['command']}`"),
    ]
    return _table(["", ""], rows)


def _steps(steps: Iterable[Json]) -> list[Sequence[Any]]:
    return [(s["name"], _loud(s["status"]), s["seconds"], s["reason"]) for s in steps]


def _suite(data: Json, facts: Json) -> list[str]:
    failures = "".join(f"\n- `{test}`" for test in data["failures"])
    lines = [f"`{data['command']}`", f"{data['closing_line']}{failures}", data["where"] or ""]
    return ["## Test suite", *lines]


def _day_suite(data: Json, facts: Json) -> list[str]:
    said = f"Changed since {data['since']}: {', '.join(data['ops']) or 'no kernel'}."
    return [said, *(_suite(data, facts) if "command" in data else [])]


def _sanitizer(data: Json, facts: Json) -> list[str]:
    rows = [
        (name, _loud(tool["status"]), tool.get("summary"), tool.get("samples"), tool["reason"])
        for name, tool in data["tools"].items()
    ]
    head = ["tool", "status", "its summary", "driver", "reason"]
    return ["## compute-sanitizer", _table(head, rows)]


def _capture(data: Json, facts: Json) -> list[str]:
    rows = []
    for r in data["phases"]:
        recipe, phase = r["item"].split("/")
        rows.append((recipe, phase, _verdict(r), r.get("tensors"), r.get("rounds"), _worst(r)))
    head = ["recipe", "phase", "captured against eager", "tensors", "rounds", "largest difference"]
    text = (
        "Between the rounds batch, learning rates, p, penalty scale and EMA weight change in place."
    )
    return ["## Captured phases", text, _table(head, rows)]


def _verdict(record: Json) -> str:
    if record["failure"]:
        return f"**FAILED** {record['failure']}"
    if record["is_bitwise_equal"]:
        return "equal bit for bit"
    return "as near as eager is to itself"


def _worst(record: Json) -> str:
    found = record.get("differing")
    if not found:
        return ""
    worst = found[0]
    ratios = f"{worst['relative']:.2g} of its change, eager {worst['eager_relative']:.2g}"
    return f"{worst['tensor']}: {worst['max_abs']:.2g} ({ratios})"


def _benchmarks(data: Json, facts: Json) -> list[str]:
    rows = [row for item in data["ops"] for row in item.get("rows", ())]
    large = [_large(row, facts) for row in rows if row["cache"] == "rotated"]
    small = [_small(row) for row in rows if row["cache"] == "warm"]
    left = [(i["item"], i["failure"]) for i in data["ops"] if i["failure"]]
    left += [(i["item"], i["refused"]) for i in data["ops"] if i.get("refused")]
    absent = sorted({f"{n}: {w}" for r in rows for n, w in r.get("absent", {}).items()})
    parts = [
        "## Ops",
        "Milliseconds per call in a CUDA graph, whose calls rotate over more memory than the L2 "
        "holds; medians, interleaved in one process; every variant checked against float64 first, "
        "a wrong one has no number. launched: native, when the host launches it. "
        "bound by: what accounts for 75 % of native's time in its graph, and whether the host is "
        "slower when it launches native. "
        "× native: that variant's time over native's; above 1, native is faster. "
        "copy %: bytes that any implementation must move over native's time, as a share of the "
        "measured copy bandwidth. predicted: the bytes that our kernels move, at "
        f"{BANDWIDTH_SHARE:.0%} of the nominal bandwidth, and {LAUNCH_SECONDS * 1e6:g} µs per "
        "launch.",
        _table(_LARGE, large),
        *(f"compile `-`: {why.removeprefix('compile: ')}" for why in absent),
    ]
    if small:
        parts += [
            "### Launches",
            "Microseconds per call of small cases, warm: launched one by one, and in a CUDA graph.",
            _table(["op", "case", "dtype", "mode", "launched", "in a graph"], small),
        ]
    if left:
        parts += ["### Not measured", _table(["item", "why"], left)]
    return parts + _training(data["training"])


_LARGE = ["op", "case", "dtype", "layout", "mode", "native", "reference", "× native", "compile",
          "× native", "copy floor", "copy %", "predicted", "launched", "bound by"]  # fmt: skip


def _large(row: Json, facts: Json) -> list[Any]:
    seconds, ratios, wrong = row["seconds"], row["ratios_to_native"], row["wrong"]
    label = [row[name] for name in ("op", "case", "dtype", "layout", "mode")]
    cells = [_ms(seconds, "native", wrong)]
    for name in ("reference", "compile"):
        cells += [_ms(seconds, name, wrong), f"{ratios[name]:.2f}" if name in ratios else "-"]
    floor = seconds["copy"] * row["floor_bytes"] / row["copied_bytes"]
    cells += [f"{floor * 1e3:.3g}", _share(row, facts), _predicted(row, facts)]
    return [*label, *cells, _ms(row["launched"], "native", {}), row["bound"]]


def _share(row: Json, facts: Json) -> str:
    copy, native = facts.get("copy_bytes_per_second"), row["seconds"].get("native")
    return f"{row['floor_bytes'] / native / copy:.0%}" if copy and native else "-"


def _predicted(row: Json, facts: Json) -> str:
    nominal = facts.get("nominal_bytes_per_second")
    if not nominal:
        return "-"
    moving = row["moved_bytes"] / (BANDWIDTH_SHARE * nominal)
    return f"{(moving + row['launches'] * LAUNCH_SECONDS) * 1e3:.3g}"


def _small(row: Json) -> list[Any]:
    label = [row[name] for name in ("op", "case", "dtype", "mode")]
    times = [row["seconds"].get(name) for name in ("native", "graph")]
    wrong = "**WRONG**" if row["wrong"] else "-"
    return [*label, *(wrong if t is None else f"{t * 1e6:.2f}" for t in times)]


def _day_ops(data: Json, facts: Json) -> list[str]:
    return _benchmarks({**data, "training": ()}, facts)


def _whole_steps(data: Json, facts: Json) -> list[str]:
    """Of each item what it has: rates, memory at moments, or kernels."""
    parts = ["## Whole steps"]
    items = data["whole_steps"]
    rates = [r for r in items if "sec_per_kimg" in r]
    if rates:
        head = ["item", "batch", "ms a step", "seconds per kimg", "captured", "peak GiB"]
        rows = [
            (r["item"], r["batch"], f"{r['ms_per_step']:.4g}", f"{r['sec_per_kimg']:.4g}",
             r["is_captured"], _gib(r["peak_allocated"]))
            for r in rates
        ]  # fmt: skip
        parts.append(_table(head, rows))
    for r in items:
        if "moments" in r:
            head = ["moment", "seconds", "allocated GiB", "peak GiB", "reserved GiB"]
            rows = [
                (name, f"{m['seconds']:.3g}",
                 *(_gib(m[key]) for key in ("allocated", "peak_allocated", "reserved")))
                for name, m in r["moments"].items()
            ]  # fmt: skip
            parts += [f"### {r['item']}", _table(head, rows)]
        if "rows" in r:
            head = [f"kernel, of {r['kernels']} in {r['steps']} steps", "calls", "microseconds"]
            parts += [f"### {r['item']}", _table(head, r["rows"][:20])]
    left = [(r["item"], r["failure"]) for r in items if r["failure"]]
    return parts + ([_table(["not measured", "why"], left)] if left else [])


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g}"


def _training(items: Sequence[Json]) -> list[str]:
    if not items:
        return []
    rows = []
    for item in items:
        if item["failure"]:
            rows.append((item["item"], "", "", f"**FAILED** {item['failure']}", "", ""))
            continue
        rate = item["images_per_second"]
        size = "×".join(map(str, item["resolution"]))
        gain = rate["captured"] / rate["eager"]
        numbers = (f"{rate['eager']:.0f}", f"{rate['captured']:.0f}", f"{gain:.2f}")
        rows.append((item["item"], size, item["batch"], *numbers))
    head = ["recipe", "size", "batch", "eager", "captured", "captured / eager"]
    return ["## Training steps", "Real images per second.", _table(head, rows)]


_SECTIONS = {
    "suite": _suite,
    "sanitizer": _sanitizer,
    "capture": _capture,
    "benchmarks": _benchmarks,
    "day-ops": _day_ops,
    "day-steps": _whole_steps,
    "day-profile": _whole_steps,
    "day-others": _whole_steps,
    "day-memory": _whole_steps,
    "day-suite": _day_suite,
}


def _ms(seconds: Json, name: str, wrong: Json) -> str:
    if name in wrong:
        return "**WRONG**"
    return f"{seconds[name] * 1e3:.3g}" if name in seconds else "-"


def _commit(facts: Json) -> str:
    changed = {True: " with uncommitted changes", False: "", None: ""}[facts.get("is_dirty")]
    return f"{facts.get('commit')}{changed}"


def _rate(bytes_per_second: float | None, how: str) -> str:
    known = bytes_per_second is not None
    return f"{bytes_per_second / 1e9:.0f} GB/s ({how})" if known else "unknown"


def _loud(status: str) -> str:
    return status if status == PASSED else f"**{status}**"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    """One line, with no bar that would end the cell."""
    text = "" if value is None else str(value)
    return " ".join(text.split()).replace("|", "\\|")
