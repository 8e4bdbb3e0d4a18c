# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan.nn import mix_styles, sample_cutoff


def test_each_sample_switches_at_its_own_layer():
    a, b = torch.zeros(4, 5, 2), torch.ones(4, 5, 2)
    ws = mix_styles(a, b, torch.tensor([0, 2, 4, 5]))
    assert ws[:, :, 0].int().tolist() == [
        [1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    torch.testing.assert_close(mix_styles(a, b, torch.tensor(2))[:, :, 1], ws[1, :, 0].expand(4, 5))


def test_cutoffs_are_uniform_with_the_given_probability():
    torch.manual_seed(0)
    counts = sample_cutoff(20_000, 5, probability=0.8).bincount(minlength=6) / 20_000
    assert counts[0] == 0
    torch.testing.assert_close(counts[1:], torch.full((5,), 0.2), rtol=0, atol=0.02)
    assert sample_cutoff(100, 5, probability=0.0).eq(5).all()
    assert sample_cutoff(100, 5, probability=1.0).lt(5).all()
    assert sample_cutoff(3, 1).tolist() == [1, 1, 1]


def test_gradients_reach_the_chosen_latents_only():
    a, b = torch.randn(1, 3, 2, requires_grad=True), torch.randn(1, 3, 2, requires_grad=True)
    mix_styles(a, b, torch.tensor([1])).sum().backward()
    assert a.grad[0, :, 0].tolist() == [1, 0, 0]
    assert b.grad[0, :, 0].tolist() == [0, 1, 1]


def test_no_value_reaches_the_host():
    with FakeTensorMode():
        ws = torch.randn(4, 5, 2)
        assert mix_styles(ws, ws, sample_cutoff(4, 5)).shape == (4, 5, 2)


def test_wrong_inputs_are_refused():
    ws = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="ws_a and ws_b must have one shape"):
        mix_styles(ws, ws[:1], torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"cutoff must be an integer tensor of shape \[2\]"):
        mix_styles(ws, ws, torch.tensor([1.0, 1.0]))
    with pytest.raises(ValueError, match=r"cutoff must be an integer tensor of shape \[2\]"):
        mix_styles(ws, ws, torch.tensor([1, 1, 1]))
