"""Samples of G as a training step makes them."""

from torch import Tensor

from fastgan import sample_rng
from fastgan.nn.style_mixing import mix_styles, sample_cutoff
from fastgan.training.step.precision import autocast
from fastgan.training.step.state import StepState

__all__ = ["draw_latents", "generate"]


def generate(
    state: StepState, n: int, c: Tensor | None, *, is_for_d: bool = False
) -> tuple[Tensor, Tensor | None]:
    """n samples of G under the real samples' conditions, and their ws (None without mapping).

    Computed in config.precision, given in the networks' dtype.

    With probability style_mixing_prob a sample takes the latents after a uniformly drawn layer
    from a second z (Karras et al. 2019, arXiv 1812.04948, section 3.1). The second latents do not
    move w_avg, and G's running means move at all as config.update_emas says. is_for_d: D is trained
    on these samples, in its objective.
    """
    is_moving = is_for_d or state.config.update_emas == "all"
    with autocast(state.config.precision, state.device):
        return _generate(state, n, c, is_moving)


def _generate(
    state: StepState, n: int, c: Tensor | None, is_moving: bool
) -> tuple[Tensor, Tensor | None]:
    G, config, context = state.G, state.config, state.context
    conditions = () if c is None or not context.g_takes_c else (c,)
    z = draw_latents(state, n)
    if config.pl_weight == 0 and config.style_mixing_prob == 0 and is_moving:
        return _wide(state, G(z, *conditions)), None
    options = {} if is_moving else context.mapping_options
    ws = _wide(state, G.mapping(z, *conditions, **options))  # [N, num_ws, w_dim]
    if config.style_mixing_prob > 0:
        z = draw_latents(state, n)
        other = _wide(state, G.mapping(z, *conditions, **context.mapping_options))
        cutoff = sample_cutoff(n, G.num_ws, config.style_mixing_prob, state.device)
        ws = mix_styles(ws, other, cutoff)
    options = {} if is_moving else context.synthesis_options
    return _wide(state, G.synthesis(ws, **options)), ws


def _wide(state: StepState, x: Tensor) -> Tensor:
    return x if state.config.precision == "fp32" else x.float()


def draw_latents(state: StepState, n: int) -> Tensor:
    """z [n, *latent_shape] of N(0, 1), in the networks' dtype; drawn in the default one."""
    z = sample_rng.normal(n, *state.context.latent_shape, device=state.device)
    return z.to(state.g_optimizer.flat.values.dtype)
