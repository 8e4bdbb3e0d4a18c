# SPDX-License-Identifier: Apache-2.0
"""Style mixing: two latents in one image, split at a layer drawn per sample."""

import torch

from fastgan import sample_rng


def sample_cutoff(
    n: int, num_ws: int, probability: float = 0.9, device: torch.device | str | None = None
) -> torch.Tensor:
    """Draw per sample from which layer on a second latent is used.

    Drawn by ``fastgan.sample_rng``, without a host sync. num_ws = 1 never mixes.

    Args:
        n: how many samples there are.
        num_ws: latents per sample.
        probability: of a sample to be mixed.
        device: where the result is.

    Returns:
        int64 [n]: with ``probability`` uniform in 1..num_ws − 1, else num_ws (no mixing).
    """
    if num_ws < 2:
        return torch.full((n,), num_ws, dtype=torch.int64, device=device)
    cutoff = sample_rng.integers(1, num_ws, n, device=device)
    is_mixed = sample_rng.uniform(n, device=device) < probability
    return torch.where(is_mixed, cutoff, num_ws)


def mix_styles(ws_a: torch.Tensor, ws_b: torch.Tensor, cutoff: torch.Tensor) -> torch.Tensor:
    """Take each sample's first latents from one batch and the others from a second.

        ws[n, i] = ws_a[n, i] if i < cutoff[n] else ws_b[n, i]

    The choice is made on the device: no host sync, capturable.

    Args:
        ws_a: [N, num_ws, w_dim].
        ws_b: [N, num_ws, w_dim].
        cutoff: an integer tensor [N] or [] on the same device, see ``sample_cutoff``.

    Returns:
        ws [N, num_ws, w_dim].

    Raises:
        ValueError: for unequal shapes, or a cutoff of another shape or dtype.

    Source: Karras et al. 2019 (StyleGAN), section 3.1.
    """
    if ws_a.ndim != 3 or ws_a.shape != ws_b.shape:
        raise ValueError(
            "mix_styles: ws_a and ws_b must have one shape [N, num_ws, w_dim], got "
            f"{tuple(ws_a.shape)} and {tuple(ws_b.shape)}; map equal batches with one network"
        )
    if cutoff.is_floating_point() or cutoff.shape not in ((), ws_a.shape[:1]):
        raise ValueError(
            f"mix_styles: cutoff must be an integer tensor of shape [{ws_a.shape[0]}] or [], got "
            f"{cutoff.dtype} of shape {tuple(cutoff.shape)}; draw it with sample_cutoff"
        )
    layer = torch.arange(ws_a.shape[1], device=ws_a.device)  # [num_ws]
    is_a = (layer < cutoff[..., None]).expand(ws_a.shape[:2])  # [N, num_ws]
    return torch.where(is_a[:, :, None], ws_a, ws_b)
