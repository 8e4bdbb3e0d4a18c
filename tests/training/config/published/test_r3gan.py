# SPDX-License-Identifier: Apache-2.0
"""Steps of the published configurations of R3GAN against plain ones in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from _published_r3gan import generate, judge
from _published_steps import F64, Draws, moved, recoloured, same_draws

from fastgan.models.r3gan import Discriminator, Generator
from fastgan.training import Batch, TrainConfig, create_state, train_step
from fastgan.training.config.published.r3gan import PUBLISHED, published
from fastgan.training.config.recipes import load_recipe

STEPS = 4
SMALL = {
    "z_dim": 5, "widths": (8, 4), "blocks": (1, 2), "groups": (2, 2), "img_height": 8,
    "img_width": 8, "bf16_stages": (),
}  # fmt: skip


def small(name, c_dim):
    """The run's schedule ends at its last step but one."""
    return published(
        name, batch=4, c_dim=c_dim, model=SMALL, augment={"p": 0.2},
        schedule={"anneal_kimg": 0.008, "ema_half_life_end_kimg": 0.02},
    )  # fmt: skip


class PlainStep:
    """Weights by name, and one step of Huang et al. 2024; the numbers are the published ones."""

    def __init__(self, config, G, D, gamma, last_p):
        self.config, self.gamma, self.last_p = config, gamma, last_p
        self.c, self.t, self.nimg = config.model, 0, 0
        self.G, self.D = ({k: t.clone() for k, t in n.state_dict().items()} for n in (G, D))
        self.G_ema = dict(self.G)
        self.v = [
            {k: torch.zeros_like(t) for k, t in weights.items()} for weights in (self.G, self.D)
        ]

    def cosine(self, first, last):
        share = min(self.nimg / 8, 1)
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))

    def seen(self, draws, x):
        """Blit and geometry with p, colours with p / 2, a cut-out half with p."""
        p = torch.tensor(self.cosine(0.2, self.last_p), dtype=torch.float32)
        x = recoloured(draws, moved(draws, x, p), p / 2)
        n, _, height, width = x.shape
        has_cut, u, v = draws.take(n) < p, draws.take(n), draws.take(n)
        row = (torch.arange(height) + 0.5)[:, None] / height
        column = (torch.arange(width) + 0.5) / width
        keep = [
            ~(has_cut[k] & ((row - v[k]).abs() < 0.25) & ((column - u[k]).abs() < 0.25))
            for k in range(n)
        ]
        return x * torch.stack(keep)[:, None]

    def adam(self, weights, v, grads):
        lr, beta2 = self.cosine(2e-4, 5e-5), self.cosine(0.9, 0.99)
        for name, g in grads.items():
            v[name] = beta2 * v[name] + (1 - beta2) * g * g
            root = (v[name] / (1 - beta2**self.t)).sqrt()
            weights[name] = weights[name] - lr * g / (root + 1e-8)  # β1 = 0

    def step(self, real, label, draws):
        self.t += 1
        gamma, n = self.cosine(self.gamma, self.gamma / 10), len(real)

        fake = generate(self.c, self.G, draws.take(n, self.c.z_dim), label)
        D = {k: t.clone().requires_grad_(not k.endswith("Kernel")) for k, t in self.D.items()}
        images = [x.clone().requires_grad_() for x in (real, fake)]
        logits = [judge(self.c, D, self.seen(draws, x), label) for x in images]
        penalties = []
        for x, y in zip(images, logits, strict=True):
            (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            penalties.append(g.square().sum([1, 2, 3]).mean())
        d_loss = F.softplus(logits[1] - logits[0]).mean()
        learned = {k: t for k, t in D.items() if t.requires_grad}
        grads = torch.autograd.grad(d_loss + gamma / 2 * sum(penalties), list(learned.values()))
        self.adam(self.D, self.v[1], dict(zip(learned, grads, strict=True)))

        G = {k: t.clone().requires_grad_(not k.endswith("Kernel")) for k, t in self.G.items()}
        fake = generate(self.c, G, draws.take(n, self.c.z_dim), label)
        fake_logits = judge(self.c, self.D, self.seen(draws, fake), label)
        real_logits = judge(self.c, self.D, self.seen(draws, real), label)
        g_loss = F.softplus(real_logits - fake_logits).mean()
        learned = {k: t for k, t in G.items() if t.requires_grad}
        grads = torch.autograd.grad(g_loss, list(learned.values()))
        self.adam(self.G, self.v[0], dict(zip(learned, grads, strict=True)))

        beta = 0.5 ** (n / max(self.cosine(0, 20), 1e-8))
        self.G_ema = {k: beta * t + (1 - beta) * self.G[k] for k, t in self.G_ema.items()}
        self.nimg += n
        losses = {"Loss/D": d_loss, "Loss/G": g_loss, "Loss/r1": penalties[0]}
        return {k: t.item() for k, t in (losses | {"Loss/r2": penalties[1]}).items()}


def largest_differences(config, plain, G, D, c_dim):
    """Of losses relative, of weights absolute, over STEPS steps of both."""
    found, draws = {}, Draws()
    generator = torch.Generator().manual_seed(1)
    reals = torch.randn(STEPS, 4, 3, 8, 8, dtype=F64, generator=generator) / 2
    label = torch.eye(c_dim, dtype=F64)[torch.arange(4) % c_dim] if c_dim else None
    state = create_state(config, G, D)
    for real in reals:
        draws.is_recording = True
        with same_draws(draws):
            train_step(state, Batch(x=real, c=label))
        draws.is_recording = False
        losses = plain.step(real, label, draws)
        assert not draws.values, "fastgan drew more numbers than the published step takes"
        means = state.stats.read()
        state.stats.reset()
        assert means.keys() - {"Logits/real", "Logits/fake"} == losses.keys()
        for name, loss in losses.items():
            found[name] = max(found.get(name, 0.0), abs(means[name] / loss - 1))
        for name in ("G", "D", "G_ema"):
            ours, theirs = getattr(state, name).state_dict(), getattr(plain, name)
            assert ours.keys() == theirs.keys()
            difference = max((ours[k] - t).abs().max().item() for k, t in theirs.items())
            found[name] = max(found.get(name, 0.0), difference)
    return found


def networks(config):
    torch.manual_seed(0)
    made = Generator(config.model).double(), Discriminator(config.model).double()
    with torch.no_grad():  # the last weights of blocks start at 0, and would hide the others
        for network in made:
            for p in network.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return made


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


# γ and the last p by the published table
CASES = {
    "CIFAR10": (0.05, 0.55, 3),
    "FFHQ-64": (2.0, 0.3, 0),
    "FFHQ-256": (150.0, 0.3, 0),
    "ImageNet-32": (0.5, 0.5, 3),
    "ImageNet-64": (1.0, 0.4, 3),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_steps_are_the_published_ones(name):
    """Losses, penalties, every parameter of G, D and G_ema, while all of the schedule changes."""
    gamma, last_p, c_dim = CASES[name]
    config = small(name, c_dim)
    G, D = networks(config)
    found = largest_differences(config, PlainStep(config, G, D, gamma, last_p), G, D, c_dim)
    assert found.keys() == {"Loss/D", "Loss/G", "Loss/r1", "Loss/r2", "G", "D", "G_ema"}
    for key, difference in found.items():
        assert difference < 1e-12, f"{key}: {difference}"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"penalty_at": "augmented"}, "Loss/r1"),
        ({"r2_gamma": 1.9}, "D"),
        ({"schedule": {"beta2_end": 0.98}}, "D"),
        ({"schedule": {"lr_end": 0.3}}, "G"),
        ({"schedule": {"gamma_end": 0.2}}, "D"),
        ({"schedule": {"ema_half_life_end_kimg": 0.03}}, "G_ema"),
        ({"schedule": {"augment_p_end": 0.4}}, "Loss/D"),
        ({"augment": {"groups": "bgc"}}, "Loss/D"),
    ],
)
def test_another_setting_is_seen(change, where):
    config = small("FFHQ-64", 0)
    G, D = networks(config)
    plain = PlainStep(config, G, D, 2.0, 0.3)
    try:
        found = largest_differences(config.with_changes(**change), plain, G, D, 0)
    except (AssertionError, IndexError):  # other numbers were drawn
        assert "augment" in change
        return
    assert found[where] > 1e-6, found


def test_the_published_table():
    sides = {"CIFAR10": 32, "FFHQ-64": 64, "FFHQ-256": 256, "ImageNet-32": 32, "ImageNet-64": 64}
    bf16 = {"FFHQ-256": (3, 4, 5, 6), "FFHQ-64": (1, 2, 3, 4), "ImageNet-64": (1, 2, 3, 4)}
    for name, side in sides.items():
        config = published(name)
        model = config.model
        assert (model.img_height, model.img_width) == (side, side)
        assert model.bf16_stages == bf16.get(name, (1, 2, 3))
        assert model.c_dim == (1000 if name.startswith("ImageNet") else 0)
        assert config.data.use_labels is (model.c_dim > 0)
        assert (model.g_condition_dim, model.d_condition_dim) == (64, model.widths[0])
        assert all(w // g in (8, 16) for w, g in zip(model.widths, model.groups, strict=True))
        assert TrainConfig.from_dict(config.to_dict()) == config
    assert published("CIFAR10", c_dim=10, seed=3).model.c_dim == 10
    with pytest.raises(ValueError, match=r"r3gan.published: name must be one of CIFAR10"):
        published("ffhq")


@pytest.mark.parametrize(
    ("side", "c_dim", "preset"),
    [(32, 0, "CIFAR10"), (64, 0, "FFHQ-64"), (256, 0, "FFHQ-256"), (64, 1000, "ImageNet-64")],
)
def test_a_preset_is_chosen_by_size_and_classes(side, c_dim, preset):
    config = load_recipe("r3gan")(resolution=(side, side), c_dim=c_dim, gpus=4)
    assert config.name == f"r3gan-{preset}"
    assert config == published(preset, c_dim=c_dim, gpus=4)
    assert config.batch_gpu == PUBLISHED[preset]["batch_gpu"]


@pytest.mark.parametrize(
    ("size", "c_dim", "words"),
    [
        ((32, 32), 10, "CIFAR10 and ImageNet-32 fit 32×32 images with 10 classes; choose one with "
                       "--preset CIFAR10 or --preset ImageNet-32"),
        ((256, 256), 3, "no published configuration fits 256×256 images with 3 classes; choose one "
                        "with --preset FFHQ-256"),
        ((48, 64), 0, r"images are 64×48 .* are CIFAR10 \(32×32\), .*or take r3gan-small"),
    ],
)  # fmt: skip
def test_an_unclear_preset_is_asked_for(size, c_dim, words):
    with pytest.raises(ValueError, match=words):
        load_recipe("r3gan")(resolution=size, c_dim=c_dim)


def test_a_preset_fixes_the_size():
    with pytest.raises(ValueError, match=r"--preset FFHQ-64 is for images of 64×64, and these are"):
        load_recipe("r3gan")(resolution=(32, 32), preset="FFHQ-64")
    assert load_recipe("r3gan")(resolution=(32, 32), c_dim=10, preset="CIFAR10").model.c_dim == 10
