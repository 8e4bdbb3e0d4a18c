# SPDX-License-Identifier: Apache-2.0
"""The published training step of StyleGAN2-ADA and StyleGAN3, written plainly in float64.

Only the networks are fastgan's. Losses, penalties, lazy regularisation, Adam, moving averages,
style mixing, the mean path length, the blur, the augmentation (groups bgc) and its controller are
written here from the papers, with torch alone. Random numbers are those that fastgan's own step
drew, in its order: `same_draws` records them and hands them out again.

Sources: arXiv 1912.04958 (path length, lazy regularisation, style mixing), 2006.06676 (ADA and its
transforms, appendix B), 2106.12423 (blur, magnitude EMA), 1412.6980 (Adam), 1801.04406 (R1).
"""

import contextlib
import copy
import functools
import math
from unittest import mock

import torch
import torch.nn.functional as F

from fastgan import sample_rng
from fastgan.augment.geometry import SYM6
from fastgan.ops import use_backend
from fastgan.training import Batch, create_state, train_step

F64 = torch.float64


class Draws:
    """The random numbers of one run, in order."""

    def __init__(self):
        self.values, self.is_recording = [], True

    def __call__(self, make, *args, **kwargs):
        if self.is_recording:
            self.values.append(make(*args, **kwargs))
            return self.values[-1]
        return self.values.pop(0)

    def take(self, *shape):
        value = self.values.pop(0)
        assert value.shape == shape, f"expected {shape}, fastgan drew {tuple(value.shape)}"
        return value


@contextlib.contextmanager
def same_draws(draws):
    """In the block all of `fastgan.sample_rng` is recorded, or after `replay` handed out again."""
    with contextlib.ExitStack() as stack:
        for name in ("normal", "normal_like", "uniform", "integers"):
            make = getattr(sample_rng, name)

            def draw(*args, make=make, **kwargs):
                return draws(make, *args, **kwargs)

            stack.enter_context(mock.patch.object(sample_rng, name, draw))
        yield


class Adam:
    """Kingma and Ba, algorithm 1; lazy: the interval k of a regularisation, or None."""

    def __init__(self, module, lr, betas, lazy):
        c = 1.0 if lazy is None else lazy / (lazy + 1)
        self.lr, self.betas = lr * c, [beta**c for beta in betas]
        self.parameters = list(module.parameters())
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.t = 0

    @torch.no_grad()
    def step(self, grads):
        self.t += 1
        b1, b2 = self.betas
        for p, m, v, g in zip(self.parameters, self.m, self.v, grads, strict=True):
            g = torch.zeros_like(p) if g is None else g
            m.copy_(b1 * m + (1 - b1) * g)
            v.copy_(b2 * v + (1 - b2) * g * g)
            p -= self.lr * (m / (1 - b1**self.t)) / ((v / (1 - b2**self.t)).sqrt() + 1e-8)


class PublishedRun:
    """Networks and all that a published run keeps; `step` is one step of it.

    Args:
        config: a `TrainConfig`, of which numbers are read.
        G: fastgan's generator in float64, copied here; its running means are moved by hand.
        D: the discriminator.
    """

    def __init__(self, config, G, D):
        self.config = config
        self.G, self.D = copy.deepcopy(G).train(), copy.deepcopy(D).train()
        self.G_ema = copy.deepcopy(G)
        g, d = config.g_optimizer, config.d_optimizer
        is_lazy = config.g_reg_interval > 1  # also where pl_weight is 0
        self.g_adam = Adam(self.G, g.lr, g.betas, config.g_reg_interval if is_lazy else None)
        self.d_adam = Adam(self.D, d.lr, d.betas, 16)
        self.pl_mean = torch.zeros([], dtype=F64)
        self.p = torch.tensor(config.augment.p, dtype=torch.float32)
        self.signs = []
        self.steps, self.nimg = 0, 0
        self.moves_magnitude = False
        for layer in self.G.synthesis.modules():
            if hasattr(layer, "magnitude_ema"):
                layer.register_forward_pre_hook(self._move_magnitude)

    def _move_magnitude(self, layer, args):
        if self.moves_magnitude:
            beta, x = 0.5 ** (self.config.batch / 20_000), args[0].detach()
            layer.magnitude_ema.copy_(beta * layer.magnitude_ema + (1 - beta) * (x**2).mean())

    # What both networks are run with.

    def make(self, draws, n, c, *, moves):
        """n images and their ws; moves: w_avg and magnitude_ema follow."""
        G, config = self.G, self.config
        z = draws.take(n, G.z_dim)
        ws = G.mapping(z, c, update_w_avg=False)
        if moves:
            mean, beta = ws[:, 0].detach().mean(0), G.mapping.w_avg_beta
            G.mapping.w_avg.copy_(beta * G.mapping.w_avg + (1 - beta) * mean)
        if config.style_mixing_prob > 0:
            other = G.mapping(draws.take(n, G.z_dim), c, update_w_avg=False)
            cutoff, u = draws.take(n), draws.take(n)
            rows = []
            for i in range(n):
                cut = int(cutoff[i]) if u[i] < config.style_mixing_prob else G.num_ws
                rows.append(torch.cat([ws[i, :cut], other[i, cut:]]))
            ws = torch.stack(rows)
        self.moves_magnitude = moves
        with _eval_means(G.synthesis):
            return G.synthesis(ws), ws

    def look(self, draws, images, c):
        """D's logits of images: blurred, augmented."""
        sigma = 0.0
        if self.config.blur_init_sigma > 0:
            share = 1 - self.nimg / (self.config.blur_fade_kimg * 1000)
            sigma = max(share, 0.0) * self.config.blur_init_sigma
        return self.D(augment(draws, blurred(images, sigma), self.p), c)

    # The phases.

    def step(self, real, c, draws):
        """One step; returns losses by name."""
        config, losses = self.config, {}
        order = [self.g_main, self.d_main]
        if config.pl_weight > 0 and self.steps % config.g_reg_interval == 0:
            order.insert(1, self.g_path_length)
        if self.steps % config.d_reg_interval == 0:
            order.append(self.d_r1)
        for phase in order:
            losses |= phase(real, c, draws)
        self.average()
        self.steps += 1
        self.nimg += config.batch
        if self.steps % 4 == 0:
            r_t = torch.cat(self.signs).mean()
            amount = 4 * config.batch / (config.augment.ada_kimg * 1000)
            self.p += float(torch.sign(r_t - config.augment.target)) * amount
            self.p.clamp_(0, 1)
            self.signs = []
        return losses

    def g_main(self, real, c, draws):
        fake, _ = self.make(draws, len(real), c, moves=self.config.update_emas == "all")
        loss = F.softplus(-self.look(draws, fake, c)).mean()
        self._apply(self.g_adam, loss)
        return {"Loss/G": loss.item()}

    def g_path_length(self, real, c, draws):
        n = len(real) // 2
        c = None if c is None else c[:n]
        fake, ws = self.make(draws, n, c, moves=self.config.update_emas == "all")
        y = draws.take(*fake.shape) / math.sqrt(fake.shape[2] * fake.shape[3])
        (jacobian,) = torch.autograd.grad((fake * y).sum(), ws, create_graph=True)
        lengths = (jacobian**2).sum(2).mean(1).sqrt()
        mean = self.pl_mean + 0.01 * (lengths.mean() - self.pl_mean)
        loss = ((lengths - mean) ** 2).mean()
        self.pl_mean = mean.detach()
        self._apply(self.g_adam, 4 * 2.0 * loss)
        return {"Loss/pl": loss.item()}

    def d_main(self, real, c, draws):
        fake, _ = self.make(draws, len(real), c, moves=True)
        # fastgan augments real images first
        real_logits = self.look(draws, real, c)
        fake_logits = self.look(draws, fake.detach(), c)
        self.signs.append(real_logits.detach().sign().flatten())
        loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        self._apply(self.d_adam, loss)
        return {"Loss/D": loss.item()}

    def d_r1(self, real, c, draws):
        real = real.clone().requires_grad_()
        (g,) = torch.autograd.grad(self.look(draws, real, c).sum(), real, create_graph=True)
        penalty = (g**2).sum([1, 2, 3]).mean()
        self._apply(self.d_adam, 16 * self.config.r1_gamma / 2 * penalty)
        return {"Loss/r1": penalty.item()}

    def _apply(self, adam, loss):
        adam.step(torch.autograd.grad(loss, adam.parameters, allow_unused=True))

    @torch.no_grad()
    def average(self):
        half_life = self.config.ema.half_life_kimg * 1000
        if self.config.ema.rampup_ratio is not None:
            half_life = min(half_life, self.nimg * self.config.ema.rampup_ratio)
        beta = 0.5 ** (self.config.batch / max(half_life, 1e-8))
        for average, p in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
            average.copy_(beta * average + (1 - beta) * p)
        for average, b in zip(self.G_ema.buffers(), self.G.buffers(), strict=True):
            average.copy_(b)


@contextlib.contextmanager
def _eval_means(synthesis):
    """The module's own updates of magnitude_ema are off: the hook above moves it."""
    was = synthesis.training
    synthesis.training = False
    try:
        yield
    finally:
        synthesis.training = was


def blurred(x, sigma):
    """x with both axes convolved with 2^-(i/σ)², |i| ≤ ⌊3σ⌋; images are 0 outside."""
    radius = math.floor(3 * sigma)
    if radius == 0:
        return x
    i = torch.arange(-radius, radius + 1, dtype=F64)
    f = torch.exp2(-((i / sigma) ** 2))
    f = (f / f.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, f, padding=(0, radius), groups=x.shape[1])
    return F.conv2d(x, f.transpose(2, 3), padding=(radius, 0), groups=x.shape[1])


# The augmentation: blit, geom, color (arXiv 2006.06676, appendix B).


def augment(draws, x, p):
    return recoloured(draws, moved(draws, x, p), p)


def moved(draws, x, p):
    n, _, height, width = x.shape
    tables = [(_blit_matrix(draws, n, height, width, p)), _geom_matrix(draws, n, height, width, p)]
    (blit, _), (geom, has_geom) = tables
    found = []
    for k in range(n):
        copied = _copied(x[k], blit[k])
        found.append(_warped(x[k], geom[k] @ blit[k]) if has_geom[k] else copied)
    return torch.stack(found)


def _executed(draws, n, p):
    return draws.take(n) < p


def _turn(angle):
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _affine(linear=None, tx=None, ty=None, n=0):
    found = torch.eye(3, dtype=F64).repeat(n, 1, 1)
    if linear is not None:
        found[:, :2, :2] = linear
    if tx is not None:
        found[:, 0, 2], found[:, 1, 2] = tx, ty
    return found


def _blit_matrix(draws, n, height, width, p):
    """The transform itself, in pixels about the image's centre, y down."""
    has_flip, i = _executed(draws, n, p), draws.take(n)
    flip = torch.diag_embed(torch.stack([1 - 2.0 * i * has_flip, torch.ones(n)], 1)).to(F64)
    has_turn, i = _executed(draws, n, p), draws.take(n)
    turn = _turn(math.pi / 2 * (i * has_turn).to(F64)).round()
    has_shift, u, v = _executed(draws, n, p), draws.take(n), draws.take(n)
    tx, ty = (((2 * t - 1) * 0.125 * has_shift) * size for t, size in ((u, width), (v, height)))
    parts = (_affine(flip, n=n), _affine(turn, n=n), _affine(None, tx.round(), ty.round(), n))
    return parts[2] @ parts[1] @ parts[0], None


def _geom_matrix(draws, n, height, width, p):
    p_turn = 1 - torch.sqrt(1 - p)
    std = 0.2 * math.log(2)
    has_scale, u = _executed(draws, n, p), draws.take(n)
    s = torch.exp(u * std * has_scale)
    scale = torch.diag_embed(torch.stack([s, s], 1))
    has_first, u = _executed(draws, n, p_turn), draws.take(n)
    first = _turn((2 * u - 1) * math.pi * has_first)
    has_stretch, u = _executed(draws, n, p), draws.take(n)
    s = torch.exp(u * std * has_stretch)
    stretch = torch.diag_embed(torch.stack([s, 1 / s], 1))
    has_second, u = _executed(draws, n, p_turn), draws.take(n)
    second = _turn((2 * u - 1) * math.pi * has_second)
    has_shift, u, v = _executed(draws, n, p), draws.take(n), draws.take(n)
    tx, ty = u * 0.125 * has_shift * width, v * 0.125 * has_shift * height
    linear = second @ stretch @ first @ scale
    return (
        _affine(None, tx, ty, n) @ _affine(linear, n=n),
        has_scale | has_first | has_stretch | has_second | has_shift,
    )


def _fold(position, size):
    """Positions beyond the border, mirrored at the outermost pixels."""
    period = 2 * (size - 1)
    position = position % period
    return torch.where(position > size - 1, period - position, position)


def _source(transform, rows, columns, height, width):
    """Where each output position comes from: rows and columns [R, C] in the image."""
    inverse = torch.linalg.inv(transform)
    y, x = torch.meshgrid(rows - (height - 1) / 2, columns - (width - 1) / 2, indexing="ij")
    place = torch.stack([x, y, torch.ones_like(x)], -1) @ inverse.T
    return (
        _fold(place[..., 1] + (height - 1) / 2, height),
        _fold(place[..., 0] + (width - 1) / 2, width),
    )


def _copied(x, transform):
    height, width = x.shape[1:]
    rows, columns = torch.arange(height, dtype=F64), torch.arange(width, dtype=F64)
    v, u = _source(transform, rows, columns, height, width)
    return x[:, v.round().long(), u.round().long()]


def _wavelet():
    f = torch.tensor(SYM6, dtype=F64)
    return (f / f.sum()).float().to(F64)


@functools.cache
def _doubling(size):
    """[2·size, size]: one axis up-sampled by 2: up[k] = 2·Σ_m f[k + 5 - 2m]·x[m]."""
    f, matrix = _wavelet(), torch.zeros(2 * size, size, dtype=F64)
    for k in range(2 * size):
        for t in range(12):
            if (k + 5 - t) % 2 == 0:
                m = int(_fold(torch.tensor((k + 5 - t) // 2), size))
                matrix[k, m] += 2 * f[t]
    return matrix


@functools.cache
def _halving(size):
    """[size, 2·size + 10]: y[i] = Σ_t f[t]·s[2i + t], s from position -5 on."""
    f, matrix = _wavelet(), torch.zeros(size, 2 * size + 10, dtype=F64)
    for i in range(size):
        matrix[i, 2 * i : 2 * i + 12] = f
    return matrix


def _warped(x, transform):
    """Up-sampled by the wavelet, sampled bilinearly, down-sampled by the same wavelet."""
    height, width = x.shape[1:]
    lag = sum(i * tap for i, tap in enumerate(SYM6)) / math.sqrt(2) - 5
    up = _doubling(height) @ x @ _doubling(width).T
    rows, columns = (
        (torch.arange(-5, 2 * size + 5, dtype=F64) - lag) / 2 for size in (height, width)
    )
    v, u = _source(transform, rows, columns, height, width)
    v, u = (2 * v + lag).clamp(0, 2 * height - 1), (2 * u + lag).clamp(0, 2 * width - 1)
    top, left = v.floor().long(), u.floor().long()
    bottom, right = (top + 1).clamp(max=2 * height - 1), (left + 1).clamp(max=2 * width - 1)
    a, b = v - top, u - left
    sampled = (
        up[:, top, left] * (1 - a) * (1 - b)
        + up[:, top, right] * (1 - a) * b
        + up[:, bottom, left] * a * (1 - b)
        + up[:, bottom, right] * a * b
    )
    return _halving(height) @ sampled @ _halving(width).T


def recoloured(draws, x, p):
    n = len(x)
    has_brightness, u = _executed(draws, n, p), draws.take(n)
    brightness = 0.2 * u * has_brightness
    has_contrast, u = _executed(draws, n, p), draws.take(n)
    contrast = torch.exp(0.5 * math.log(2) * u * has_contrast)
    has_flip, i = _executed(draws, n, p), draws.take(n)
    flip = (i * has_flip).to(F64)
    has_hue, u = _executed(draws, n, p), draws.take(n)
    hue = (2 * u - 1) * math.pi * has_hue
    has_saturation, u = _executed(draws, n, p), draws.take(n)
    saturation = torch.exp(math.log(2) * u * has_saturation)
    v = torch.ones(3, dtype=F64) / math.sqrt(3)
    grey, eye = torch.outer(v, v), torch.eye(3, dtype=F64)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=F64) / math.sqrt(3)
    found = []
    for k in range(n):
        y = (x[k] + brightness[k]) * contrast[k]
        mirror = eye - 2 * grey * flip[k]
        cos, sin = torch.cos(hue[k]), torch.sin(hue[k])
        rotation = cos * eye + (1 - cos) * grey + sin * cross
        saturate = grey + (eye - grey) * saturation[k]
        found.append(torch.einsum("ij,jhw->ihw", saturate @ rotation @ mirror, y))
    return torch.stack(found)


# The comparison.


def largest_differences(config, G, D, c_dim=0, steps=5, **changes):
    """fastgan's steps, whose configuration has the changes, beside the published ones.

    Both begin with the networks G and D. Returns name → largest difference, of losses relative to
    the published one, of everything else absolute.
    """
    found, draws = {}, Draws()
    generator = torch.Generator().manual_seed(1)
    shape = (steps, config.batch, 3, config.model.img_height, config.model.img_width)
    real = torch.randn(shape, dtype=F64, generator=generator) / 2
    c = torch.eye(c_dim, dtype=F64)[torch.arange(config.batch) % c_dim] if c_dim else None

    def note(name, ours, theirs):
        difference = (ours.detach() - theirs.detach()).abs().max().item()
        found[name] = max(found.get(name, 0.0), difference)

    torch.set_default_dtype(F64)
    try:
        plain = PublishedRun(config, G, D)
        state = create_state(config.with_changes(**changes), G, D)
        for i in range(steps):
            draws.is_recording = True
            with same_draws(draws):
                train_step(state, Batch(x=real[i], c=c))
            draws.is_recording = False
            with same_draws(draws), use_backend("reference"):
                losses = plain.step(real[i], c, draws)
            assert not draws.values, "fastgan drew more numbers than the published step takes"
            means = state.stats.read()
            state.stats.reset()
            assert means.keys() - {"Logits/real", "Logits/fake"} == losses.keys()
            for name, loss in losses.items():
                found[name] = max(found.get(name, 0.0), abs(means[name] / loss - 1))
            for name in ("G", "D", "G_ema"):
                ours, theirs = getattr(state, name), getattr(plain, name)
                for key, value in theirs.state_dict().items():
                    note(name, ours.state_dict()[key], value)
            note("pl_mean", state.pl_mean, plain.pl_mean)
            note("p", state.augment.p, plain.p)
    finally:
        torch.set_default_dtype(torch.float32)
    return found
