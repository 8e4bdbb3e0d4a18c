# SPDX-License-Identifier: Apache-2.0
"""How `fastgan.nn.accelerate` times."""

import pytest
import torch
from torch import nn

from fastgan.nn.acceleration import functions, measure
from fastgan.nn.acceleration.record import record


def test_the_ratio_is_of_before_over_after(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure, "_clock", lambda: lambda: clock[0])

    def taking(seconds):
        def work():
            clock[0] += seconds

        return work

    assert measure.times_as_fast(taking(0.3), taking(0.1)) == pytest.approx(3)
    assert measure.times_as_fast(taking(1e-4), taking(2e-4)) == pytest.approx(0.5)


@pytest.mark.parametrize("has_backward", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_recorded_call_can_be_repeated(has_backward, bias, monkeypatch):
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, 2, 1, bias=bias), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, bias=bias)
    )
    x = torch.randn(1, 4, 9, 8).expand(3, -1, -1, -1)
    calls, _ = record(model, lambda: model(x))
    done = []
    monkeypatch.setattr(measure, "times_as_fast", lambda a, b: done.append((a(), b())) or 2.0)
    for layer in model:
        (call,) = calls[layer]
        assert measure.conv_gain(call, has_backward=has_backward) == 2
    for before, after in done:
        before, after = (r if has_backward else (r,) for r in (before, after))
        assert len(before) == (2 + bias if has_backward else 1)
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("has_backward", [False, True])
def test_a_filter_of_all_channels_is_measured_with_its_own_taps(has_backward, monkeypatch):
    """One that is an outer product is faster than one that is not."""
    monkeypatch.setattr(functions, "has_kernel", lambda op, device: True)  # on every backend
    model = nn.Conv2d(4, 4, 4, groups=4, bias=False).requires_grad_(False)
    taps = torch.tensor([1.0, 3.0, 2.0, 1.0])
    model.weight.copy_(taps[:, None] * taps)
    x = torch.randn(2, 4, 9, 8)
    (call,) = record(model, lambda: model(x))[0][model]
    assert call.choice.algorithm == "upfirdn2d"
    done = []
    monkeypatch.setattr(measure, "times_as_fast", lambda a, b: done.append((a(), b())) or 2.0)
    assert measure.conv_gain(call, has_backward=has_backward) == 2
    ((before, after),) = done
    for a, b in zip(*((r,) if torch.is_tensor(r) else r for r in (before, after)), strict=True):
        torch.testing.assert_close(a, b)
    assert call.shared_filter == tuple(map(tuple, (taps[:, None] * taps).tolist()))
