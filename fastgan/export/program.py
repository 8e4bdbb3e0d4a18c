"""A generator as a graph of plain torch operators."""

import torch
from torch import nn

from fastgan.ops._backend import trace_reference

MOST_SAMPLES = 4096
_TRACED = 3  # samples: neither 1, which is special, nor a size that a network has of its own


class _Sampler(nn.Module):
    """z [N, z_dim] (and c [N, c_dim] of a conditional one) -> images."""

    def __init__(self, G: nn.Module, truncation_psi: float, noise_mode: str) -> None:
        super().__init__()
        self.G = G
        self.options = {"truncation_psi": truncation_psi, "noise_mode": noise_mode}

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.G(z, c, **self.options)


def to_exported_program(
    G: nn.Module, *, truncation_psi: float = 1.0, noise_mode: str = "const"
) -> torch.export.ExportedProgram:
    """Export G in eval mode with `torch.export`: (z) or (z, c) -> images.

    The program takes any batch of 1 to 4096 samples.

    Args:
        G: a generator of `fastgan.models`, on any device, in float32 or float64.
        truncation_psi: fixed in the program.
        noise_mode: "const" or "none"; with "random" the program would draw noise itself, and always
            for the same number of samples.

    Returns:
        A program without ops of fastgan. It computes what `use_backend("reference")` does, so its
        outputs equal G's within rounding. G keeps its own mode.

    Raises:
        ValueError: noise_mode "random", or a G without z_dim and c_dim.
    """
    if noise_mode not in ("const", "none"):
        raise ValueError(
            f"to_exported_program: noise_mode must be 'const' or 'none', got {noise_mode!r}"
        )
    if not hasattr(G, "z_dim") or not hasattr(G, "c_dim"):
        raise ValueError(
            "to_exported_program: G must have z_dim and c_dim, as the generators of fastgan.models "
            f"do, got {type(G).__name__}; call torch.export.export under "
            "fastgan.ops.use_backend('reference') for another module"
        )
    like = next(G.parameters())
    names = ("z", "c") if G.c_dim else ("z",)
    inputs = tuple(
        torch.randn(_TRACED, size, dtype=like.dtype, device=like.device)
        for size in (G.z_dim, G.c_dim)[: len(names)]
    )
    n = torch.export.Dim("n", min=1, max=MOST_SAMPLES)
    shapes = {"z": {0: n}, "c": {0: n} if G.c_dim else None}
    was_training = G.training
    sampler = _Sampler(G, truncation_psi, noise_mode).eval()
    try:
        with trace_reference(), torch.no_grad():
            return torch.export.export(
                sampler, inputs, dynamic_shapes={k: shapes[k] for k in names}, strict=False
            )
    finally:
        G.train(was_training)
