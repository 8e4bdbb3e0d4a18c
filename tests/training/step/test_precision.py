# SPDX-License-Identifier: Apache-2.0
"""precision="bf16": networks compute in bfloat16, everything around them in float32."""

import functools

import pytest
import torch
from torch import nn

from fastgan.models.stylegan2 import Config as StyleGAN2Config
from fastgan.models.stylegan2 import Discriminator, Generator
from fastgan.training import StepConfig, TrainConfig, TrainStep
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import digest
from fastgan.training.config.run import AugmentConfig
from fastgan.training.step import phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.generate import generate
from fastgan.training.step.state import build_state, create_state

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


EPS = {"fp32": torch.finfo(torch.float32).eps, "bf16": torch.finfo(torch.bfloat16).eps}
# How many times as far as random errors of half an eps in each weight and in each layer's output
# take float64. A layer rounds in some nine places (modulation, weight, convolution, epilogue, and
# as often in the passes of its derivatives): 3 = √9 for the sum of many independent errors, and
# twice that for one parameter or one loss alone, whose draw may be an unlucky one.
WHOLE, ALONE = 3.0, 6.0
DRAWS = 12


def roughen(state, generator):
    """Rounding as random numbers: weights and layers' outputs times 1 + δ, |δ| ≤ eps / 2."""

    def rough(t):
        noise = torch.rand(t.shape, generator=generator, dtype=t.dtype) - 0.5
        return t * (1 + EPS["bf16"] * noise)

    for network in (state.G, state.D):
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(rough(p))
        for module in network.modules():
            if module is not network:
                module.register_forward_hook(
                    lambda module, args, y: rough(y) if isinstance(y, torch.Tensor) else None
                )


def run_phase(precision, phase, method="double_backward", seed=None, **changes):
    """Each parameter's gradient, and the losses; precision may be "fp64". The penalties' weights
    are such that each makes up a good part of the gradient."""
    weights = {"r1_gamma": 8.0, "r2_gamma": 8.0, "gp_weight": 0.5, "pl_weight": 2.0}
    settings = config(
        "bf16" if precision == "bf16" else "fp32", penalty_method=method, **weights | changes
    )
    torch.manual_seed(settings.seed)
    networks = Generator(settings.model), Discriminator(settings.model)
    x = batch().x
    if precision == "fp64":
        networks, x = [network.double() for network in networks], x.double()
    state = create_state(settings, *networks)
    state.context.rng_key = torch.tensor(12345)  # the same draws in each precision
    if seed is not None:
        roughen(state, torch.Generator().manual_seed(seed))
    getattr(phases, phase)(state, Batch(x=x))
    flat = (state.d_optimizer if phase.startswith("d") else state.g_optimizer).flat
    gradients = dict(zip(flat.names, flat.views(flat.gradients.double()), strict=True))
    return gradients, state.stats.read()


@functools.cache
def exact_and_spread(phase):
    """float64's results, and how far the random errors of bfloat16's size take each, as a root mean
    square: the phase's own sensitivity, the same on every machine."""
    gradients, losses = run_phase("fp64", phase)
    rough = [run_phase("fp64", phase, seed=seed) for seed in range(DRAWS)]

    def spread(which, key, value):
        return sum(float((r[which][key] - value).square().sum()) for r in rough) / DRAWS

    losses = {key: torch.tensor(value) for key, value in losses.items()}
    return (
        (gradients, {key: spread(0, key, value) ** 0.5 for key, value in gradients.items()}),
        (losses, {key: spread(1, key, value) ** 0.5 for key, value in losses.items()}),
    )


def check_phase(precision, phase, found):
    """Each gradient, all together, and each loss, near float64's."""
    scale = EPS[precision] / EPS["bf16"]
    total = total_spread = 0.0
    for (exact, spreads), values in zip(exact_and_spread(phase), found, strict=True):
        assert exact.keys() == values.keys()
        for name, value in values.items():
            error = float((torch.as_tensor(value) - exact[name]).norm())
            # A loss's few additions in float32 are not among the random errors.
            spread = spreads[name] * scale + EPS["fp32"] * float(exact[name].norm())
            assert error <= ALONE * spread, f"{name}: {error / spread:.1f}"
            if values is found[0]:
                total, total_spread = total + error**2, total_spread + spread**2
    assert total <= WHOLE**2 * total_spread, f"together: {(total / total_spread) ** 0.5:.1f}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("phase", "method"),
    [(phase, "double_backward") for phase in PHASES]
    + [(phase, "linearised") for phase in PHASES if phase.startswith("d_")],
)
def test_gradients_and_losses_of_a_phase_are_near_float64s(phase, method, precision):
    """Measured, in these units: 2.9 of one gradient, 3.6 of one loss, 1.4 of all gradients. Random
    errors of bfloat16's size move the whole gradient by 4 to 6 %."""
    gradients, losses = run_phase(precision, phase, method)
    check_phase(precision, phase, (gradients, losses))
    if precision == "bf16":
        wide = run_phase("fp32", phase, method)[0]
        assert not any(torch.equal(wide[name], t) for name, t in gradients.items() if t.any())


WRONG = {
    "no R1": ("d_penalty_step", {"r1_gamma": 0.0}),
    "no R2": ("d_penalty_step", {"r2_gamma": 0.0}),
    "no WGAN-GP": ("d_penalty_step", {"gp_weight": 0.0}),
    "twice R1": ("d_full_step", {"r1_gamma": 16.0}),
    "twice R2": ("d_full_step", {"r2_gamma": 16.0}),
    "twice WGAN-GP": ("d_full_step", {"gp_weight": 1.0}),
    "half the path length": ("g_penalty_step", {"pl_weight": 1.0}),
    "twice the path length": ("g_full_step", {"pl_weight": 4.0}),
    "another objective": ("d_step", {"objective": "wasserstein"}),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_seen(name, precision):
    phase, changes = WRONG[name]
    gradients, _ = run_phase(precision, phase, **changes)
    losses = run_phase(precision, phase)[1]
    with pytest.raises(AssertionError, match=r"weight|bias|noise_strength|const|together"):
        check_phase(precision, phase, (gradients, losses))


@pytest.mark.parametrize("phase", ["d_step", "d_penalty_step", "d_full_step", "g_full_step"])
def test_a_missing_gradient_is_seen(phase):
    gradients, losses = run_phase("bf16", phase)
    for name, gradient in gradients.items():
        if gradient.any():  # penalties give none to biases
            missing = gradients | {name: torch.zeros_like(gradient)}
            with pytest.raises(AssertionError, match=name):
                check_phase("bf16", phase, (missing, losses))


def test_losses_stay_close_over_steps():
    """12 steps from one start. Measured: path lengths' penalties within 0.026, all else 0.007."""
    traces = {}
    for precision in ("fp32", "bf16"):
        state = build_state(config(precision, d_reg_interval=3, g_reg_interval=2))
        traces[precision] = []
        for i in range(12):
            phases.train_step(state, batch(i))
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
    state.context.discriminator.register_forward_hook(
        lambda module, args, output: outer.add(output.dtype)
    )
    phases.train_step(state, batch())
    assert inner == {torch.bfloat16}
    assert caches == {False}
    assert outer == {torch.float32}
    images, ws = generate(state, Batch(x=batch().x[:2]))
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
        phases.train_step(whole, batch(i))
    wanted = digest(whole)
    torch.manual_seed(settings.seed)
    first = build_state(settings)
    for i in range(5):
        phases.train_step(first, batch(i))
    saved = checkpoint.save(first, tmp_path)
    second = build_state(settings)
    checkpoint.load(second, saved)
    for i in range(5, 9):
        phases.train_step(second, batch(i))
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
