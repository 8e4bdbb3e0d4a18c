# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment import AdaController, AugmentPipe

CONFIDENT = torch.tensor([[2.0], [0.1], [5.0], [1.0]])  # r_t = 1
UNSURE = torch.tensor([[2.0], [-0.1], [5.0], [-1.0]])  # r_t = 0
EVEN = torch.tensor([[2.0], [0.5], [5.0], [-1.0]])  # r_t = 0.5


def update(pipe, controller, logits, num_images):
    controller.accumulate(logits)
    controller.update(pipe, num_images)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [(CONFIDENT, 0.35), (EVEN, 0.3), (UNSURE, 0.25), (-CONFIDENT, 0.25)],
)
def test_p_moves_by_one_step_against_overfitting(logits, expected):
    pipe = AugmentPipe(p=0.3)
    update(pipe, AdaController(target=0.5, ada_kimg=2), logits, 100)
    assert pipe.p.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("logits", "p", "bound"), [(CONFIDENT, 0.9, 1.0), (UNSURE, 0.1, 0.0)])
def test_p_stays_a_probability(logits, p, bound):
    pipe = AugmentPipe(p=p)
    update(pipe, AdaController(ada_kimg=1), logits, 500)
    assert pipe.p.item() == bound


def test_p_goes_from_0_to_1_in_ada_kimg():
    pipe, controller = AugmentPipe(), AdaController(ada_kimg=2)
    for _ in range(19):
        update(pipe, controller, CONFIDENT, 100)
    assert pipe.p.item() == pytest.approx(0.95, abs=1e-5)
    update(pipe, controller, CONFIDENT, 100)
    assert pipe.p.item() == pytest.approx(1.0, abs=1e-5)


def test_r_t_is_the_mean_over_all_steps_since_the_last_update():
    controller = AdaController()
    controller.accumulate(-torch.ones(3, 1))
    controller.accumulate(torch.ones(5))
    assert controller.sums.tolist() == [2.0, 8.0]
    controller.update(AugmentPipe(), 8)
    assert controller.r_t.item() == 0.25
    assert controller.sums.tolist() == [0.0, 0.0]


def test_p_stays_without_logits_and_moves_on_with_them():
    pipe, controller = AugmentPipe(p=0.3), AdaController(ada_kimg=1)
    controller.update(pipe, 100)
    assert controller.r_t.isnan()
    assert pipe.p.item() == pytest.approx(0.3)
    update(pipe, controller, CONFIDENT, 100)
    assert pipe.p.item() == pytest.approx(0.4)


def test_a_nan_logit_counts_as_undecided():
    controller = AdaController()
    update(AugmentPipe(), controller, torch.tensor([1.0, math.nan]), 100)
    assert controller.r_t.item() == 0.5


def test_p_is_changed_in_place_and_logits_keep_their_graph_alone():
    pipe, controller = AugmentPipe(), AdaController()
    p, address = pipe.p, pipe.p.data_ptr()
    update(pipe, controller, CONFIDENT.clone().requires_grad_(), 1000)
    assert pipe.p is p
    assert p.data_ptr() == address
    assert p.dtype == torch.float32
    assert not p.requires_grad
    assert not controller.r_t.requires_grad


def test_a_restored_controller_continues_as_the_first():
    first, pipe = AdaController(ada_kimg=1), AugmentPipe(p=0.3)
    first.accumulate(CONFIDENT)
    second = AdaController(ada_kimg=1)
    second.load_state_dict(first.state_dict())
    second.accumulate(-torch.ones(1))
    second.update(pipe, 100)
    assert second.r_t.item() == pytest.approx(0.6)
    assert set(first.state_dict()) == {"sums", "r_t"}


def held_out_controller(num=3, **options):
    controller = AdaController(ada_kimg=2, boundary=None, **options)
    controller.hold(torch.zeros(num, 1, 2, 2))
    return controller


@pytest.mark.parametrize(
    ("held_out", "r_v", "p"),
    [
        (1.0, 0.0, 0.25),
        (0.25, 0.25, 0.25),
        (-0.3, 0.4333, 0.25),
        (-0.5, 0.5, 0.35),
        (-2.0, 1.0, 0.35),
        (4.0, -1, 0.25),
    ],
)
@pytest.mark.parametrize("constant", [0.0, 100.0])
@pytest.mark.parametrize("factor", [1.0, 20.0])
def test_p_follows_what_is_said_of_images_that_are_not_trained_on(
    held_out, r_v, p, constant, factor
):
    """Neither a constant nor a factor in D changes it. The standard error is (3.5 / 14)^0.5, so
    that the boundary is at 0.3 + 0.5 / 3."""
    controller, pipe = held_out_controller(14, target=0.3), AugmentPipe(p=0.3)
    means = {"real": 1.0, "fake": -2.0, "held_out": held_out}
    spread = torch.tensor([[-3.0], [1.0], [2.0], [0.0]])
    logits = {name: factor * (mean + spread) + constant for name, mean in means.items()}
    controller.accumulate(**logits)
    controller.update(pipe, 100)
    assert controller.r_t.item() == pytest.approx(r_v, abs=1e-4)
    assert pipe.p.item() == pytest.approx(p, abs=1e-6)
    assert controller.sums.tolist() == [0.0] * 5


@pytest.mark.parametrize(("held_out", "p"), [(-1.0, 0.35), (0.1, 0.25), (1.5, 0.25)])
def test_a_discriminator_that_prefers_fakes_overfits_where_it_prefers_trained_images(held_out, p):
    controller, pipe = held_out_controller(), AugmentPipe(p=0.3)
    controller.accumulate(torch.zeros(4), torch.ones(4), torch.full((4,), held_out))
    controller.update(pipe, 100)
    assert pipe.p.item() == pytest.approx(p, abs=1e-6)


def drifted(gap, r_v, num=30, updates=150, p=0.2):
    """p after updates of 256 logits each of a D whose logits have a standard deviation of 1."""
    controller, pipe = held_out_controller(num), AugmentPipe(p=p)
    draw = torch.Generator().manual_seed(0)
    for _ in range(updates):
        x, v, fake = torch.randn(3, 256, generator=draw)
        controller.accumulate(x, fake - gap, v - r_v * gap)
        controller.update(pipe, 12)
    return pipe.p.item()


def test_p_falls_where_real_and_generated_images_are_hardly_told_apart():
    """The ratio of two small differences is not taken for overfitting, whatever it is; where D
    tells images apart, the same ratio is."""
    assert drifted(gap=0.1, r_v=0.9) < 0.05
    assert drifted(gap=0.1, r_v=0.5) < 0.05
    assert drifted(gap=0.0, r_v=0.0) < 0.05
    assert drifted(gap=2.0, r_v=0.9) > 0.9
    assert drifted(gap=1.0, r_v=0.4) < 0.05  # 300 photographs whose KID still falls


def test_more_held_out_images_say_it_with_a_smaller_error():
    """0.6 of a gap of 1 exceeds the target by 0.1: less than 1 / √30, more than 1 / √256."""
    assert drifted(gap=1.0, r_v=0.6) < 0.05
    assert drifted(gap=1.0, r_v=0.6, num=256) > 0.3


@pytest.mark.parametrize(("mean", "p"), [(-0.4, 0.25), (-0.6, 0.35)])
def test_where_no_images_were_given_each_logit_is_taken_for_one(mean, p):
    """The boundary is at 0.5 · 2 + 1 / √4 below the mean of real images."""
    controller, pipe = AdaController(ada_kimg=2, boundary=None), AugmentPipe(p=0.3)
    held_out = mean + torch.tensor([1.0, -1.0, 1.0, -1.0])
    controller.accumulate(torch.ones(4), -torch.ones(4), held_out)
    controller.update(pipe, 100)
    assert pipe.p.item() == pytest.approx(p, abs=1e-6)


def test_default_targets():
    assert (AdaController().target, AdaController(boundary=0.5).target) == (0.6, 0.6)
    assert AdaController(boundary=None).target == 0.5


def test_held_out_images_come_with_their_labels():
    controller = AdaController(boundary=None)
    images = torch.arange(5.0).view(5, 1, 1, 1)
    controller.hold(images, images.view(5, 1))
    x, c = controller.draw_held_out(64)
    assert torch.equal(x.view(64), c.view(64))
    assert set(c.view(64).tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert set(controller.state_dict()) == {"sums", "r_t"}


def test_signs_are_those_of_the_boundary():
    pipe, controller = AugmentPipe(p=0.3), AdaController(target=0.0, ada_kimg=2, boundary=0.5)
    controller.accumulate(torch.tensor([0.4, 0.3, 0.6, 0.2]))
    controller.update(pipe, 100)
    assert controller.r_t.item() == -0.5
    assert pipe.p.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("fake", "held_out", "got"),
    [(None, CONFIDENT, r"None and \(4, 1\)"), (CONFIDENT, torch.ones(3), r"\(4, 1\) and \(3,\)")],
)
def test_logits_of_all_three_kinds_are_needed(fake, held_out, got):
    with pytest.raises(ValueError, match=rf"accumulate: with boundary=None .*\(4, 1\), got {got}"):
        held_out_controller().accumulate(CONFIDENT, fake, held_out)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AdaController().hold(torch.ones(1)), "hold: with boundary=0.0 no image is held"),
        (lambda: AdaController(boundary=None).hold(torch.ones(0)), "at least one image"),
        (lambda: AdaController(boundary=None).hold(torch.ones(2), torch.ones(3)), "got 2 and 3"),
        (lambda: AdaController(boundary=None).draw_held_out(2), r"give them to hold\(\)"),
    ],
)
def test_held_out_images_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("boundary", [math.inf, math.nan])
def test_a_boundary_that_is_no_number_is_refused(boundary):
    with pytest.raises(ValueError, match="AdaController: boundary must be finite or None"):
        AdaController(boundary=boundary)


@pytest.mark.parametrize("target", [-1.0, 1.0, math.nan])
def test_a_target_that_no_mean_sign_can_cross_is_refused(target):
    with pytest.raises(ValueError, match="AdaController: target must lie between -1 and 1"):
        AdaController(target=target)


@pytest.mark.parametrize("ada_kimg", [0, -1, math.inf, math.nan])
def test_ada_kimg_must_be_a_positive_number(ada_kimg):
    with pytest.raises(ValueError, match="AdaController: ada_kimg must be finite and > 0"):
        AdaController(ada_kimg=ada_kimg)


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match=r"AdaController.update: num_images .* got -4"):
        AdaController().update(AugmentPipe(), -4)
