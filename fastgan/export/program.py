# SPDX-License-Identifier: Apache-2.0
"""A generator as a graph of plain torch operators."""

import torch
from torch import nn

from fastgan.models import stylegan2
from fastgan.models._network import StyleGenerator
from fastgan.ops._backend import trace_reference

MOST_SAMPLES = 4096
PARTS = ("whole", "mapping", "synthesis", "trunk", "rest")
_TRACED = 3  # samples: neither 1, which is special, nor a size that a network has of its own


class _Sampler(nn.Module):
    """z [N, z_dim] (and c [N, c_dim] of a conditional one) -> images."""

    def __init__(self, G: nn.Module, truncation_psi: float, noise_mode: str) -> None:
        super().__init__()
        self.G = G
        self.options = {"truncation_psi": truncation_psi, "noise_mode": noise_mode}

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.G(z, c, **self.options)


class _Mapping(nn.Module):
    """z [N, z_dim] (and c) -> ws [N, num_ws, w_dim]."""

    def __init__(self, G: nn.Module, truncation_psi: float) -> None:
        super().__init__()
        self.mapping, self.truncation_psi = G.mapping, truncation_psi

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.mapping(z, c, truncation_psi=self.truncation_psi, update_w_avg=False)


class _Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> images."""

    def __init__(self, G: nn.Module, noise_mode: str) -> None:
        super().__init__()
        self.synthesis, self.noise_mode = G.synthesis, noise_mode

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        return self.synthesis(ws, noise_mode=self.noise_mode)


class _Trunk(nn.Module):
    """ws [N, num_ws, w_dim] -> (maps, sum of images) of the last of the first blocks."""

    def __init__(self, G: nn.Module, noise_mode: str, blocks: int) -> None:
        super().__init__()
        self.synthesis, self.noise_mode, self.blocks = G.synthesis, noise_mode, blocks

    def forward(self, ws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, image = self.synthesis.run_blocks(ws, None, None, self.noise_mode, 0, self.blocks)
        return x.to(ws.dtype).contiguous(), image.contiguous()


class _Rest(nn.Module):
    """ws [N, num_ws, w_dim], and what the trunk gave -> images."""

    def __init__(self, G: nn.Module, noise_mode: str, blocks: int) -> None:
        super().__init__()
        self.synthesis, self.noise_mode = G.synthesis, noise_mode
        self.blocks, self.stop = blocks, len(G.config.sizes)

    def forward(self, ws: torch.Tensor, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        _, image = self.synthesis.run_blocks(ws, x, image, self.noise_mode, self.blocks, self.stop)
        return image.contiguous()


def input_sizes(G: nn.Module, part: str, trunk_blocks: int = 0) -> dict[str, tuple[int, ...]]:
    """Name of each input of a part of G → its shape without N.

    Args:
        G: a generator with z_dim and c_dim.
        part: one of `PARTS`.
        trunk_blocks: as of `to_exported_program`.

    Returns:
        "ws", with "x" and "image" of part "rest"; or "z" and, of a conditional G, "c".
    """
    if part in ("synthesis", "trunk"):
        return {"ws": (G.num_ws, G.w_dim)}
    if part == "rest":
        size = G.config.sizes[trunk_blocks - 1]
        channels = {"x": G.config.channels(size), "image": G.config.img_channels}
        return {"ws": (G.num_ws, G.w_dim)} | {k: (n, *size) for k, n in channels.items()}
    return {"z": (G.z_dim,), "c": (G.c_dim,)} if G.c_dim else {"z": (G.z_dim,)}


def to_exported_program(
    G: nn.Module,
    *,
    truncation_psi: float = 1.0,
    noise_mode: str = "const",
    part: str = "whole",
    trunk_blocks: int = 0,
) -> torch.export.ExportedProgram:
    """Export G in eval mode with `torch.export`: (z) or (z, c) -> images.

    The program takes any batch of 1 to 4096 samples.

    Args:
        G: a generator of `fastgan.models`, on any device, in float32 or float64.
        truncation_psi: fixed in the program.
        noise_mode: "const" or "none"; with "random" the program would draw noise itself, and always
            for the same number of samples.
        part: "whole"; or one half of a generator with styles, to mix and move styles in between:
            "mapping", (z) or (z, c) -> ws [N, num_ws, w_dim], or "synthesis", (ws) -> images. The
            synthesis of a StyleGAN2 with g_architecture "skip", which has an image at each size,
            may be cut once more, so that a small image is there early: "trunk",
            (ws) -> (x [N, C, H, W], image [N, img_channels, H, W]), and "rest",
            (ws, x, image) -> images.
        trunk_blocks: of "trunk" and "rest": how many sizes, from the base on, the trunk has.

    Returns:
        A program without ops of fastgan. It computes what `use_backend("reference")` does, so its
        outputs equal G's within rounding. G keeps its own mode.

    Raises:
        ValueError: noise_mode "random", a G without z_dim and c_dim, an unknown part, a part that
            G does not have, trunk_blocks out of range, or truncation in "synthesis" or its parts,
            which come after it.
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
    _check_part(G, part, truncation_psi)
    _check_trunk(G, part, trunk_blocks)
    like = next(G.parameters())
    sizes = input_sizes(G, part, trunk_blocks)
    inputs = tuple(
        torch.randn(_TRACED, *size, dtype=like.dtype, device=like.device) for size in sizes.values()
    )
    n = torch.export.Dim("n", min=1, max=MOST_SAMPLES)
    was_training = G.training
    if part == "mapping":
        traced: nn.Module = _Mapping(G, truncation_psi)
    elif part == "synthesis":
        traced = _Synthesis(G, noise_mode)
    elif part == "trunk":
        traced = _Trunk(G, noise_mode, trunk_blocks)
    elif part == "rest":
        traced = _Rest(G, noise_mode, trunk_blocks)
    else:
        traced = _Sampler(G, truncation_psi, noise_mode)
    G.eval()
    try:
        with trace_reference(), torch.no_grad():
            return torch.export.export(
                traced.eval(), inputs, dynamic_shapes={k: {0: n} for k in sizes}, strict=False
            )
    finally:
        G.train(was_training)


def _check_part(G: nn.Module, part: str, truncation_psi: float) -> None:
    if part not in PARTS:
        raise ValueError(
            f"to_exported_program: part must be one of {', '.join(PARTS)}, got {part!r}"
        )
    if part != "whole" and not isinstance(G, StyleGenerator):
        raise ValueError(
            f"to_exported_program: part={part!r} needs a generator with a mapping network, such as "
            f"stylegan2's, got {type(G).__name__}; leave it out"
        )
    if part not in ("whole", "mapping") and truncation_psi != 1:
        raise ValueError(
            f"to_exported_program: truncation_psi has no effect on part={part!r}, got "
            f"{truncation_psi}; truncate its ws, or export part='mapping' with it"
        )


def has_trunk(G: nn.Module) -> bool:
    """Whether a generator has the parts "trunk" and "rest": an image at each size."""
    return isinstance(G, stylegan2.Generator) and G.config.g_architecture == "skip"


def _check_trunk(G: nn.Module, part: str, trunk_blocks: int) -> None:
    if part not in ("trunk", "rest"):
        if trunk_blocks:
            raise ValueError(
                f"to_exported_program: trunk_blocks has no effect on part={part!r}, got "
                f"{trunk_blocks}; leave it out"
            )
        return
    if not has_trunk(G):
        raise ValueError(
            f"to_exported_program: part={part!r} needs a stylegan2 generator with g_architecture "
            f"'skip', got {type(G).__module__}; export part='synthesis'"
        )
    most = len(G.config.sizes) - 1
    if not 1 <= trunk_blocks <= most:
        raise ValueError(
            f"to_exported_program: trunk_blocks must be 1 to {most}, one less than the sizes of "
            f"G, got {trunk_blocks}"
        )
