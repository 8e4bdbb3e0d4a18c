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
