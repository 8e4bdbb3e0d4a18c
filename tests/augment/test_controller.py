import math
from functools import partial

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


def update_by_pairs(pipe, real, fake):
    controller = AdaController(target=0.5, ada_kimg=2, boundary=None)
    controller.accumulate(real, fake)
    controller.update(pipe, 100)
    return controller.r_t.item()


@pytest.mark.parametrize(("ordered", "p"), [(4, 0.35), (3, 0.25), (2, 0.25), (0, 0.25)])
@pytest.mark.parametrize("constant", [0.0, 1000.0, -1000.0])
def test_pairs_move_p_by_their_order_alone(ordered, p, constant):
    """0.5 for single logits is 0.66 for pairs; three of four pairs in order are 0.5."""
    fake = torch.tensor([[3.0], [-2.0], [0.5], [-7.0]]) + constant
    real = fake + torch.where(torch.arange(4)[:, None] < ordered, 1.0, -1.0)
    pipe = AugmentPipe(p=0.3)
    assert update_by_pairs(pipe, real, fake) == (2 * ordered - 4) / 4
    assert pipe.p.item() == pytest.approx(p, abs=1e-6)


def test_equal_logits_are_no_order():
    assert update_by_pairs(AugmentPipe(p=0.3), torch.ones(4), torch.ones(4)) == 0.0


def test_the_goal_of_pairs_is_the_target_for_normal_logits():
    """Logits whose mean sign is the target are compared with logits of the opposite mean."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, 100_000, dtype=torch.float64, generator=generator)
    for target in (-0.4, 0.0, 0.6, 0.9):
        mean = math.sqrt(2) * torch.erfinv(torch.tensor(target, dtype=torch.float64))
        real, fake = draw() + mean, draw() - mean
        assert real.sign().mean().item() == pytest.approx(target, abs=0.01)
        pairs = AdaController(target, boundary=None)
        pairs.accumulate(real, fake)
        pairs.update(AugmentPipe(), 0)
        assert pairs.r_t.item() == pytest.approx(pairs.goal, abs=0.01)
    assert AdaController(0.6, boundary=None).goal == pytest.approx(0.7660, abs=1e-4)
    assert AdaController(0.6, boundary=0.5).goal == 0.6


def test_signs_are_those_of_the_boundary():
    pipe, controller = AugmentPipe(p=0.3), AdaController(target=0.0, ada_kimg=2, boundary=0.5)
    controller.accumulate(torch.tensor([0.4, 0.3, 0.6, 0.2]))
    controller.update(pipe, 100)
    assert controller.r_t.item() == -0.5
    assert pipe.p.item() == pytest.approx(0.25)


@pytest.mark.parametrize("fake", [None, torch.ones(3)])
def test_pairs_need_as_many_generated_images(fake):
    with pytest.raises(ValueError, match=r"accumulate: with boundary=None .* shape \(4, 1\)"):
        AdaController(boundary=None).accumulate(CONFIDENT, fake)


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
