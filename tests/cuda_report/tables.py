# SPDX-License-Identifier: Apache-2.0
"""The report's tables, in Markdown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.cuda_report.device import DEVICES, Device
from tests.cuda_report.kernel import Kernel
from tests.cuda_report.names import family
from tests.cuda_report.roofline import BANDWIDTH_SHARE, LAUNCH_SECONDS, Row

_KERNEL_HEAD = (
    "kernel", "arch", "registers", "spill loads/stores", "stack B", "static shared B", "block",
    "occupancy", "128-bit loads", "128-bit stores", "split stores", "calls",
    "instructions",
)  # fmt: skip
_FAMILY_HEAD = (
    "kernels", "arch", "count", "registers", "occupancy", "128-bit loads", "128-bit stores",
    "split stores", "local accesses", "64-bit divisions", "other calls",
)  # fmt: skip


def kernel_table(kernels: Iterable[Kernel]) -> str:
    """A row per kernel and arch."""
    body = [
        (
            _code(kernel.name),
            kernel.arch,
            str(kernel.registers),
            f"{kernel.local_loads}/{kernel.local_stores}",
            str(kernel.stack),
            f"{kernel.shared}{' or dynamic' if kernel.has_dynamic_shared else ''}",
            str(kernel.threads),
            f"{'≤ ' if kernel.has_dynamic_shared else ''}{kernel.occupancy:.0%}",
            f"{kernel.loads128}/{kernel.loads}",
            f"{kernel.stores128}/{kernel.stores}",
            str(kernel.split_stores),
            ", ".join(f"{callee} ×{count}" for callee, count in kernel.calls.items()) or "-",
            str(kernel.instructions),
        )
        for kernel in kernels
    ]
    return _table(_KERNEL_HEAD, body)


def family_table(kernels: Iterable[Kernel]) -> str:
    """A row per kernel template and arch: ranges and sums over its instantiations."""
    groups: dict[tuple[str, str], list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        groups[family(kernel.name), kernel.arch].append(kernel)
    return _table(_FAMILY_HEAD, [_family(*key, every) for key, every in sorted(groups.items())])


def roofline_table(rows: Iterable[Row], devices: Sequence[Device]) -> str:
    """Bytes and predicted times, under a title that says what they are."""
    title = (
        f"Model, unproven until a GPU runs it: bytes moved at {BANDWIDTH_SHARE:.0%} of "
        + " and ".join(f"{d.bandwidth / 1e9:.0f} GB/s ({d.name})" for d in devices)
        + f", plus {LAUNCH_SECONDS * 1e6:.0f} µs for each launch."
    )
    head = ["op", "case", "dtype", "layout", "mode", "minimum MB", "moved MB", "moved/minimum"]
    head += ["launches", *(f"{device.name} µs" for device in devices)]
    body = [
        (
            row.case.op,
            row.case.name,
            str(row.case.dtype).removeprefix("torch."),
            row.case.layout,
            row.mode,
            f"{row.least_bytes / 1e6:.1f}",
            f"{row.moved_bytes / 1e6:.1f}",
            f"{row.moved_bytes / row.least_bytes:.2f}",
            str(row.case.gpu_launches(row.mode)),
            *(f"{row.seconds(device) * 1e6:.0f}" for device in devices),
        )
        for row in rows
    ]
    return f"{title}\n\n{_table(head, body)}"


def report(
    kernels: Sequence[Kernel], rows: Iterable[Row], counted: str, compilers: Iterable[str]
) -> str:
    """The whole document; `counted` is the table of counts.py."""
    archs = sorted({kernel.arch for kernel in kernels})
    devices = [DEVICES[arch] for arch in archs]
    names = ", ".join(f"{device.arch} ({device.name})" for device in devices)
    return "\n\n".join(
        (
            "# CUDA kernels, read off their machine code",
            f"nvcc {', '.join(sorted(compilers))}; {names}. No GPU has run anything for this page. "
            "Occupancy counts registers, static shared memory and block size; ≤ marks kernels with "
            "dynamic shared memory, which may lower it. Loads and stores are global ones.",
            "## By kernel template",
            family_table(kernels),
            "## Instructions per output element",
            "Of sm_90 code, for the cases in tests/cuda_report/work; a prediction for an H200, "
            "until one has run it: 25 T instructions of single lanes a second, 4.09 TB/s.",
            counted,
            "## Roofline",
            roofline_table(rows, devices),
            "## Every kernel",
            kernel_table(kernels),
        )
    )


def _family(name: str, arch: str, every: list[Kernel]) -> tuple[str, ...]:
    divisions = sum(n for k in every for callee, n in k.calls.items() if callee.endswith("64"))
    return (
        _code(name),
        arch,
        str(len(every)),
        _range(str(value) for value in sorted(k.registers for k in every)),
        _range(f"{value:.0%}" for value in sorted(k.occupancy for k in every)),
        f"{sum(k.loads128 for k in every)}/{sum(k.loads for k in every)}",
        f"{sum(k.stores128 for k in every)}/{sum(k.stores for k in every)}",
        str(sum(k.split_stores for k in every)),
        str(sum(k.local_loads + k.local_stores for k in every)),
        str(divisions),
        str(sum(sum(k.calls.values()) for k in every) - divisions),
    )


def _range(ordered: Iterable[str]) -> str:
    first, *rest = ordered
    return first if not rest or rest[-1] == first else f"{first}–{rest[-1]}"


def _code(name: str) -> str:
    return f"`{name}`"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
