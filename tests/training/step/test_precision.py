"""precision="bf16": networks compute in bfloat16, everything around them in float32."""

import pytest
import torch
from torch import nn

from fastgan.models.stylegan2 import Config as StyleGAN2Config
from fastgan.training import StepConfig, TrainConfig, TrainStep
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import digest
from fastgan.training.config.run import AugmentConfig
from fastgan.training.step import phases as step
from fastgan.training.step.generate import generate
from fastgan.training.step.state import Batch, build_state

STYLEGAN2 = {
    "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 16,
    "mbstd_channels": 0, "img_channels": 3, "img_height": 8, "img_width": 8,
}  # fmt: skip
PHASES = ["d_step", "d_penalty_step", "d_full_step", "g_step", "g_penalty_step", "g_full_step"]


def config(precision="bf16", **changes):
    settings = {
        "name": "small", "architecture": "stylegan2", "model": StyleGAN2Config(**STYLEGAN2),
        "batch": 8, "r1_gamma": 1.0, "r2_gamma": 0.5, "gp_weight": 0.5, "pl_weight": 2.0,
        "style_mixing_prob": 0.5, "precision": precision,
    }  # fmt: skip
    return TrainConfig(**settings | changes)


def batch(i=0):
    generator = torch.Generator().manual_seed(i)
    return Batch(x=torch.rand([8, 3, 8, 8], generator=generator) * 2 - 1)


def gradient(precision, phase, method):
    state = build_state(config(precision, penalty_method=method))
    torch.manual_seed(3)
    getattr(step, phase)(state, batch())
    optimizer = state.d_optimizer if phase.startswith("d") else state.g_optimizer
    return optimizer.flat.gradients.clone(), state.stats.read()


@pytest.mark.parametrize(
    ("phase", "method"),
    [(phase, "double_backward") for phase in PHASES]
    + [(phase, "linearised") for phase in PHASES if phase.startswith("d_")],
)
def test_gradients_and_losses_of_a_phase_are_near_float32s(phase, method):
    """Measured: gradients within 6 % of their norm; of D's penalties together, which pull against
    each other, 12 % (R1 alone 1.4, R2 3.4, WGAN-GP 8.2 %). Losses within 0.004."""
    wide, wide_losses = gradient("fp32", phase, method)
    narrow, narrow_losses = gradient("bf16", phase, method)
    assert narrow.isfinite().all()
    assert not torch.equal(wide, narrow)
    assert (narrow - wide).norm() < 0.15 * wide.norm()
    assert narrow_losses == pytest.approx(wide_losses, rel=0.015, abs=0.006)


def test_losses_stay_close_over_steps():
    """12 steps from one start. Measured: path lengths' penalties within 0.026, all else 0.007."""
    traces = {}
    for precision in ("fp32", "bf16"):
        state = build_state(config(precision, d_reg_interval=3, g_reg_interval=2))
        traces[precision] = []
        for i in range(12):
            step.train_step(state, batch(i))
            traces[precision].append(state.stats.read())
            state.stats.reset()
    for i, (wide, narrow) in enumerate(zip(traces["fp32"], traces["bf16"], strict=True)):
        assert narrow.pop("Loss/pl", 0) == pytest.approx(wide.pop("Loss/pl", 0), abs=0.05), i
        assert narrow == pytest.approx(wide, abs=0.015), i
    first, last = traces["bf16"][0]["Loss/D"], traces["bf16"][-1]["Loss/D"]
    assert abs(last - first) > 0.1  # that far did it train


def test_networks_compute_in_bfloat16_and_give_float32():
    state = build_state(config(augment=AugmentConfig(mode="fixed", p=0.5)))
    inner, outer, caches = set(), set(), set()

    def see(module, args, output):
        inner.add(output.dtype)
        caches.add(torch.is_autocast_cache_enabled())

    for network in (state.G, state.D):
        convolutions = [m for m in network.modules() if type(m).__name__ == "EqualConv2d"]
        for module in convolutions:
            module.register_forward_hook(see)
    state.augment.register_forward_hook(lambda module, args, output: outer.add(output.dtype))
    state.judge.register_forward_hook(lambda module, args, output: outer.add(output.dtype))
    step.train_step(state, batch())
    assert inner == {torch.bfloat16}
    assert caches == {False}
    assert outer == {torch.float32}
    images, ws = generate(state, 2, None)
    assert (images.dtype, ws.dtype) == (torch.float32, torch.float32)
    for optimizer in (state.g_optimizer, state.d_optimizer):
        held = (optimizer.flat.values, optimizer.flat.gradients, optimizer.exp_avg)
        assert {t.dtype for t in held} == {torch.float32}
    assert state.G_ema(torch.zeros(1, 8)).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_resume_is_bit_exact(tmp_path):
    """Saved at a step that is no multiple of an interval."""
    settings = config(
        d_reg_interval=3, g_reg_interval=2, augment=AugmentConfig(mode="ada", p=0.3, ada_kimg=0.1)
    )
    whole, first = build_state(settings), build_state(settings)
    for i in range(9):
        step.train_step(whole, batch(i))
    wanted = digest(whole)
    torch.manual_seed(settings.seed)
    first = build_state(settings)
    for i in range(5):
        step.train_step(first, batch(i))
    saved = checkpoint.save(first, tmp_path)
    second = build_state(settings)
    checkpoint.load(second, saved)
    for i in range(5, 9):
        step.train_step(second, batch(i))
    assert digest(second) == wanted


def test_networks_of_ones_own_keep_their_layout():
    G = nn.Sequential(nn.Linear(4, 48), nn.Unflatten(1, (3, 4, 4)))
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1))
    own = TrainStep(G, D, latent_shape=4, r1_gamma=1.0, precision="bf16")
    layouts = set()
    D[0].register_forward_hook(
        lambda module, args, output: layouts.add((args[0].is_contiguous(), output.dtype))
    )
    for i in range(2):
        own(batch(i).x[:, :, :4, :4].contiguous())
    assert layouts == {(True, torch.bfloat16)}
    assert all(map(torch.isfinite, map(torch.tensor, own.read().values())))


def test_refusals():
    with pytest.raises(ValueError, match="precision: expected one of fp32, bf16, got 'fp16'"):
        StepConfig(precision="fp16")
    with pytest.raises(ValueError, match="penalty_method: expected an exact method with"):
        StepConfig(precision="bf16", penalty_method="finite_difference")
    half = StyleGAN2Config(**STYLEGAN2, half_dtype="bfloat16", conv_clamp=256.0)
    with pytest.raises(ValueError, match=r"precision='bf16' casts all.*model\.half_dtype=None"):
        config(model=half)
    assert config("fp32", model=half).precision == "fp32"
    with pytest.raises(ValueError, match=r"G.weight is torch.float64; make G float32"):
        TrainStep(nn.Linear(2, 2).double(), nn.Linear(2, 1), latent_shape=2, precision="bf16")
