# SPDX-License-Identifier: Apache-2.0
"""How CUDA computes: TF32, cuDNN's choice of algorithms, determinism. Set here and nowhere else.

    TrainConfig.tf32             matrix products and convolutions of float32 tensors round their
                                 inputs to 10 bits of mantissa, as float16 has, and keep float32's
                                 range and sums. Layers in float32 then use the tensor cores.
    TrainConfig.cudnn_benchmark  cuDNN times its algorithms at the first call of each shape, and
                                 takes the fastest.
    TrainConfig.deterministic    two runs give the same bits: cuDNN and cuBLAS take algorithms that
                                 always add in the same order, and an operator of PyTorch that has
                                 none raises an error.

These are switches of the whole process. `fastgan.training.loop.train` sets all three for a run, and
gives back what it found. `TrainStep`, which runs in somebody else's process, leaves them alone:

    with backend_settings(config, "cuda"):
        ...

On a CPU none of them has an effect.
"""

import contextlib
import os
from collections.abc import Iterator

import torch

from fastgan.training.config.run import TrainConfig

__all__ = ["backend_settings", "backends_note", "current_settings"]

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextlib.contextmanager
def backend_settings(config: TrainConfig, device: torch.device | str) -> Iterator[None]:
    """A context in which PyTorch's switches are those of `config`; nothing on a CPU.

    Args:
        config: of a run.
        device: on which it runs.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    flags = (cudnn.benchmark, cudnn.deterministic)
    precisions = _fp32_precisions()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    is_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    try:
        _set_fp32_precisions(*["tf32" if config.tf32 else "ieee"] * 3)
        cudnn.benchmark = config.cudnn_benchmark and not config.deterministic
        cudnn.deterministic = config.deterministic
        torch.use_deterministic_algorithms(config.deterministic)
        if config.deterministic and workspace is None:
            os.environ[_WORKSPACE] = ":4096:8"  # cuBLAS reads it when it is first used
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = flags
        _set_fp32_precisions(*precisions)
        torch.use_deterministic_algorithms(is_deterministic, warn_only=is_warning)
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


def backends_note(config: TrainConfig, device: torch.device | str) -> str:
    """One line that says what `backend_settings` sets.

    Args:
        config: of a run.
        device: on which it runs.

    Returns:
        Such as "TF32 on, cuDNN benchmark on, deterministic off".
    """
    if torch.device(device).type != "cuda":
        return "TF32, cuDNN benchmark and deterministic have no effect on a CPU"
    has_benchmark = config.cudnn_benchmark and not config.deterministic
    return (
        f"TF32 {_on(config.tf32)}, cuDNN benchmark {_on(has_benchmark)}, "
        f"deterministic {_on(config.deterministic)}"
    )


def current_settings() -> dict[str, str]:
    """PyTorch's switches as they are in this process.

    Returns:
        name → value, in words, for `fastgan doctor`.
    """
    matmul, conv, _ = _fp32_precisions()
    return {
        "TF32 in matrix products": _on(matmul == "tf32"),
        "TF32 in convolutions": _on(conv == "tf32"),
        "cuDNN benchmark": _on(torch.backends.cudnn.benchmark),
        "deterministic": _on(
            torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
        ),
    }


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


def _fp32_precisions() -> tuple[str, str, str]:
    """Of matrix products, convolutions, RNNs: "tf32", "ieee", or "none": as a wider setting."""
    cudnn = torch.backends.cudnn
    return (
        torch.backends.cuda.matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        cudnn.rnn.fp32_precision,
    )


def _set_fp32_precisions(matmul: str, conv: str, rnn: str) -> None:
    # Both interfaces: PyTorch raises where it reads the older one and only the newer one was set,
    # and a newer one that says "none" follows a wider setting.
    torch.backends.cuda.matmul.allow_tf32 = matmul == "tf32"
    torch.backends.cudnn.allow_tf32 = conv == "tf32"
    torch.backends.cuda.matmul.fp32_precision = matmul
    torch.backends.cudnn.conv.fp32_precision = conv
    torch.backends.cudnn.rnn.fp32_precision = rnn
