# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.losses import Judged, Judgement, load_objective, objectives


def softplus(v):
    return np.logaddexp(0, v)


def sigmoid(v):
    return np.exp(-np.logaddexp(0, -v))


# name: (L_D per real, L_D per fake, L_G per fake) and their derivatives, for unpaired objectives.
VALUES = {
    "minimax": (lambda r: softplus(-r), softplus, lambda f: -softplus(f)),
    "non_saturating": (lambda r: softplus(-r), softplus, lambda f: softplus(-f)),
    "least_squares": (lambda r: (r - 1) ** 2 / 2, lambda f: f**2 / 2, lambda f: (f - 1) ** 2 / 2),
    "wasserstein": (lambda r: -r, lambda f: f, lambda f: -f),
    "hinge": (lambda r: np.maximum(0, 1 - r), lambda f: np.maximum(0, 1 + f), lambda f: -f),
}
SLOPES = {
    "minimax": (lambda r: -sigmoid(-r), sigmoid, lambda f: -sigmoid(f)),
    "non_saturating": (lambda r: -sigmoid(-r), sigmoid, lambda f: -sigmoid(-f)),
    "least_squares": (lambda r: r - 1, lambda f: f, lambda f: f - 1),
    "wasserstein": (lambda r: -np.ones_like(r), np.ones_like, lambda f: -np.ones_like(f)),
    "hinge": (lambda r: -1.0 * (r < 1), lambda f: 1.0 * (f > -1), lambda f: -np.ones_like(f)),
}
REAL = np.array([[-3.0], [-0.25], [0.5], [4.0]])
FAKE = np.array([[2.0], [-1.5], [0.25]])


def leaf(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("name", VALUES)
def test_closed_form_values_and_gradients(name):
    loss = load_objective(name)
    assert (loss.needs_real_for_g, loss.is_relativistic) == (False, False)
    (d_real, d_fake, g_fake), (s_real, s_fake, t_fake) = VALUES[name], SLOPES[name]
    real, fake = leaf(REAL), leaf(FAKE)
    y = loss.discriminator_loss(real, fake)
    assert y.shape == ()
    assert y.item() == pytest.approx(d_real(REAL).mean() + d_fake(FAKE).mean(), rel=1e-12)
    y.backward()
    np.testing.assert_allclose(real.grad.cpu(), s_real(REAL) / 4, rtol=1e-12)
    np.testing.assert_allclose(fake.grad.cpu(), s_fake(FAKE) / 3, rtol=1e-12)
    fake = leaf(FAKE)
    y = loss.generator_loss(fake)
    assert y.item() == pytest.approx(g_fake(FAKE).mean(), rel=1e-12)
    y.backward()
    np.testing.assert_allclose(fake.grad.cpu(), t_fake(FAKE) / 3, rtol=1e-12)


@pytest.mark.parametrize("name", objectives())
def test_the_boundary_is_the_logit_of_a_discriminator_that_cannot_tell(name):
    """Its loss is least where it says the boundary of all samples, or is the same for any logit."""
    loss = load_objective(name)
    logits = torch.linspace(-4, 4, 65, dtype=torch.float64)
    losses = torch.stack([loss.discriminator_loss(t.view(1, 1), t.view(1, 1)) for t in logits])
    if loss.boundary is None:
        assert losses.max() - losses.min() < 1e-12
    else:
        least = logits[losses < losses.min() + 1e-12]
        assert least.mean().item() == pytest.approx(loss.boundary, abs=1e-12)


def test_relativistic_closed_form():
    loss = load_objective("relativistic")
    assert loss.needs_real_for_g is True
    margin = REAL[:3] - FAKE
    real, fake = leaf(REAL[:3]), leaf(FAKE)
    y = loss.discriminator_loss(real, fake)
    assert y.item() == pytest.approx(softplus(-margin).mean(), rel=1e-12)
    y.backward()
    np.testing.assert_allclose(real.grad.cpu(), -sigmoid(-margin) / 3, rtol=1e-12)
    np.testing.assert_allclose(fake.grad.cpu(), sigmoid(-margin) / 3, rtol=1e-12)
    fake = leaf(FAKE)
    y = loss.generator_loss(fake, leaf(REAL[:3]))
    assert y.item() == pytest.approx(softplus(margin).mean(), rel=1e-12)
    y.backward()
    np.testing.assert_allclose(fake.grad.cpu(), -sigmoid(margin) / 3, rtol=1e-12)


def test_relativistic_average_closed_form():
    loss = load_objective("relativistic_average")
    y = loss.discriminator_loss(*(leaf(v) for v in (REAL[:3], FAKE)))
    r, f = REAL[:3], FAKE
    want = softplus(-(r - f.mean())).mean() + softplus(f - r.mean()).mean()
    assert y.item() == pytest.approx(want, rel=1e-12)
    real, fake = leaf(r), leaf(f)
    y = loss.generator_loss(fake, real)
    want = softplus(-(f - r.mean())).mean() + softplus(r - f.mean()).mean()
    assert y.item() == pytest.approx(want, rel=1e-12)
    y.backward()
    # d/df: its own term, and through E D(G(z)) in the real samples' term
    slope = (-sigmoid(-(f - r.mean())) - sigmoid(r - f.mean()).mean()) / 3
    np.testing.assert_allclose(fake.grad.cpu(), slope, rtol=1e-12)


@pytest.mark.parametrize("name", objectives())
def test_separable_is_what_has_a_real_gradient_that_no_fake_changes(name):
    loss = load_objective(name)
    slopes = []
    for fake in (FAKE, FAKE + 1):
        real = leaf(REAL[:3])
        loss.discriminator_loss(real, leaf(fake)).backward()
        slopes.append(real.grad)
    assert torch.equal(*slopes) is loss.is_separable


@pytest.mark.parametrize("name", objectives())
def test_several_discriminators_are_summed(name):
    loss = load_objective(name)
    pairs = [(leaf(REAL[:3]), leaf(FAKE)), (leaf(FAKE * 2), leaf(REAL[1:]))]
    reals, fakes = (Judgement(list(logits)) for logits in zip(*pairs, strict=True))
    judged = Judged(fake=fakes, real=reals, judge=None)
    d_losses, g_losses = (
        f(None, None, judged) for f in (loss.discriminator_losses, loss.generator_losses)
    )
    want = sum(loss.discriminator_loss(r, f) for r, f in pairs)
    torch.testing.assert_close(d_losses, {"D": want})
    torch.testing.assert_close(g_losses, {"G": sum(loss.generator_loss(f, r) for r, f in pairs)})


@pytest.mark.parametrize("name", objectives())
@pytest.mark.parametrize("at", [-100.0, 100.0])
def test_extreme_logits_stay_finite_in_float32(name, at):
    loss = load_objective(name)
    real, fake = leaf([[at]], torch.float32), leaf([[-at]], torch.float32)
    for y in (loss.discriminator_loss(real, fake), loss.generator_loss(fake, real)):
        assert y.isfinite()
        grads = torch.autograd.grad(y, (real, fake), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in grads)


def test_a_surely_wrong_d_gets_a_full_gradient():
    for name in ("minimax", "non_saturating", "relativistic"):
        real, fake = leaf([[-100.0]], torch.float32), leaf([[100.0]], torch.float32)
        load_objective(name).discriminator_loss(real, fake).backward()
        assert (real.grad.item(), fake.grad.item()) == (-1, 1)


def test_only_the_non_saturating_generator_learns_from_a_sure_d():
    slopes = {}
    for name in ("minimax", "non_saturating"):
        fake = leaf([[-100.0]], torch.float32)
        load_objective(name).generator_loss(fake).backward()
        slopes[name] = fake.grad.item()
    assert slopes["non_saturating"] == -1
    assert abs(slopes["minimax"]) < 1e-40


@pytest.mark.parametrize("name", objectives())
def test_low_precision_logits_are_averaged_in_float32(name):
    torch.manual_seed(0)
    loss = load_objective(name)
    real, fake = torch.randn(2, 999, 1).bfloat16()
    for y, expected in (
        (loss.discriminator_loss(real, fake), loss.discriminator_loss(real.float(), fake.float())),
        (loss.generator_loss(fake, real), loss.generator_loss(fake.float(), real.float())),
    ):
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", objectives())
def test_any_shape_of_logits(name):
    torch.manual_seed(0)
    loss = load_objective(name)
    real, fake = torch.randn(2, 3, 4, 5)
    flat = loss.discriminator_loss(real.flatten(), fake.flatten())
    torch.testing.assert_close(loss.discriminator_loss(real, fake), flat)


@pytest.mark.parametrize("name", objectives())
def test_wrong_logits_are_refused(name):
    loss = load_objective(name)
    one, none, whole = torch.zeros(1, 1), torch.zeros(0, 1), torch.zeros(1, 1, dtype=torch.int64)
    for bad in (none, whole):
        with pytest.raises(ValueError, match=rf"{name}.discriminator_loss: .*_logits"):
            loss.discriminator_loss(bad, bad)
        with pytest.raises(ValueError, match=rf"{name}.generator_loss: .*_logits"):
            loss.generator_loss(bad, bad)
    assert loss.discriminator_loss(one, one).isfinite()


def test_relativistic_refuses_what_it_cannot_pair():
    loss = load_objective("relativistic")
    with pytest.raises(ValueError, match=r"one shape to be paired, got \(4, 1\) and \(3, 1\)"):
        loss.discriminator_loss(torch.zeros(4, 1), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="real_logits must be a tensor like fake_logits, got None"):
        loss.generator_loss(torch.zeros(3, 1))


def test_unknown_objectives_are_refused_with_the_list():
    assert {*VALUES, "relativistic"} <= set(objectives())
    assert "gradient_penalty" not in objectives()
    for name in ("gradient_penalty", "_logits", "bce", "losses.hinge"):
        with pytest.raises(ValueError, match="must be one of hinge, least_squares, minimax"):
            load_objective(name)
