# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, numpy64

from fastgan.ops import minibatch_stddev, use_backend
from fastgan.ops.minibatch_stddev import largest_group

EPS = 1e-8
# shape, group_size, num_channels. Runs that 16 bytes divide and do not, of one place, of several
# slices; groups of 1, 2, 3, 4 and 5 samples.
CASES = {
    "images": ((8, 16, 3, 5), 4, 1),
    "two runs": ((6, 16, 3, 3), 4, 2),
    "four runs": ((4, 32, 2, 2), 4, 4),
    "thin runs": ((4, 6, 3, 3), 2, 6),
    "odd": ((3, 7, 5, 9), 4, 1),
    "vectors": ((10, 63), 5, 7),
    "scalars": ((4, 1), 2, 1),
    "sequences": ((4, 8, 7), 4, 2),
    "volumes": ((2, 4, 2, 3, 2), 4, 2),
    "alone": ((1, 8, 4, 4), 4, 1),
    "prime": ((7, 8, 2, 2), 4, 2),
    "several slices": ((4, 24, 30, 31), 4, 1),
    "several slices of two runs": ((2, 48, 20, 19), 2, 2),
}


def random(shape, num_channels, dtype, device):
    x = torch.randn(shape, device=device).to(dtype)
    return x, torch.randn(shape[0], num_channels, device=device).to(dtype)


def run(x, dy, group_size, num_channels, name="auto"):
    """y and dx."""
    x = x.detach().requires_grad_()
    with use_backend(name):
        y = minibatch_stddev(x, group_size, num_channels)
        return y.detach(), torch.autograd.grad(y, x, dy)[0]


def group_of(n, group_size):
    return next(g for g in range(min(n, group_size), 0, -1) if n % g == 0)


def oracle(x, dy, group_size, num_channels):
    """(y, dx) and the magnitudes that make them, sample by sample, in float64."""
    x, dy = numpy64(x), numpy64(dy)
    n, channels = x.shape[:2]
    g = group_of(n, group_size)
    groups, width = n // g, channels // num_channels
    y, y_scale = np.empty((n, num_channels)), np.empty((n, num_channels))
    dx, dx_scale = np.empty_like(x), np.empty_like(x)
    for i in range(n):
        members = [i % groups + k * groups for k in range(g)]
        for f in range(num_channels):
            part = x[members, f * width : (f + 1) * width]
            c = part - part.mean(0)
            sigma = np.sqrt((c**2).mean(0) + EPS)
            y[i, f] = sigma.mean()
            y_scale[i, f] = (sigma + np.abs(part).mean(0)).mean()
            own = slice(f * width, (f + 1) * width)
            # Rounding x - mean is felt as a change of x; the slope of c / σ is at most 1 / σ.
            h, h_scale = dy[members, f].sum(), np.abs(dy[members, f]).sum()
            mine = x[i, own] - part.mean(0)
            dx[i, own] = h * mine / sigma / (g * sigma.size)
            felt = np.abs(mine) + np.abs(part).mean(0) * (g > 1)
            dx_scale[i, own] = h_scale * felt / sigma / (g * sigma.size)
    return y, dx, y_scale, dx_scale


def check_against_oracle(x, dy, group_size, num_channels):
    y, dx = run(x, dy, group_size, num_channels)
    plain_y, plain_dx = run(x, dy, group_size, num_channels, "reference")
    want_y, want_dx, y_scale, dx_scale = oracle(x, dy, group_size, num_channels)
    assert_accurate(y, want_y, y_scale, plain=plain_y)
    assert_accurate(dx, want_dx, 2 * dx_scale, plain=plain_dx, what="dx")
    assert y.dtype == dx.dtype == x.dtype
    return dx


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, lay_out, dtype, device, seed):
    shape, group_size, num_channels = CASES[case]
    x, dy = random(shape, num_channels, dtype, device)
    x = lay_out(x)
    dx = check_against_oracle(x, dy, group_size, num_channels)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        assert dx.is_contiguous() or dx.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("n", "group_size", "expected"),
    [(8, 4, 4), (6, 4, 3), (7, 4, 1), (3, 4, 3), (9, 4, 3), (1, 4, 1), (0, 4, 1)],
)
def test_group_is_the_largest_fitting_divisor(n, group_size, expected):
    assert largest_group(n, group_size) == expected


def test_a_large_common_mean_costs_no_digits(device, seed):
    x, dy = random((4, 8, 4, 4), 1, torch.float32, device)
    x = 1000 + x
    y, dx = run(x, dy, 4, 1)
    want, want_dx = run(x.double(), dy.double(), 4, 1, "reference")
    torch.testing.assert_close(y.double(), want, rtol=1e-5, atol=0)
    torch.testing.assert_close(dx.double(), want_dx, rtol=1e-3, atol=1e-3 * want_dx.abs().max())


@pytest.mark.parametrize("n", [1, 3, 4, 7])
@pytest.mark.parametrize("channels_last", [False, True])
def test_equal_samples_have_no_deviation_and_a_finite_gradient(
    n, channels_last, dtype, device, seed
):
    x = torch.randn(1, 8, 4, 3, device=device).to(dtype).repeat(n, 1, 1, 1)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    dy = torch.ones(n, 2, dtype=dtype, device=device)
    y, dx = run(x, dy, 4, 2)
    torch.testing.assert_close(y, torch.full_like(y, 1e-4), rtol=1e-2, atol=0)
    assert dx.isfinite().all()
    if n in (1, 4, 7):  # three equal numbers may have another mean than themselves
        assert torch.equal(dx, torch.zeros_like(dx))
    x.requires_grad_()
    (dx,) = torch.autograd.grad(minibatch_stddev(x, 4, 2).sum(), x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.float().square().sum(), x)
    assert ddx.isfinite().all()


@pytest.mark.parametrize("channels", [2, 8])
def test_empty_batch(channels, dtype, device):
    x, dy = random((0, channels, 4, 4), 2, dtype, device)
    y, dx = run(x, dy, 4, 2)
    assert y.shape == (0, 2)
    assert dx.shape == x.shape


def test_nan_is_never_hidden(device):
    for place in (0, 3):
        x = torch.randn(4, 8, 2, 2, device=device)
        x[place, 1, 0, 0] = float("nan")
        y, dx = run(x, torch.ones(4, 2, device=device), 4, 2)
        assert y[:, 0].isnan().all()
        assert y[:, 1].isfinite().all()
        assert dx[:, 1, 0, 0].isnan().all()
        assert dx.isnan().sum() == 4


def of(shape, *options, **more):
    return Sample(lambda x: minibatch_stddev(x, *options), {"x": shape}, **more)


GRAPHS = {
    "pairs": ((4, 3), 2, 1),
    "two runs": ((3, 2, 2), 3, 2),
    "images": ((4, 2, 2, 1), 2, 1),
    "alone": ((1, 2, 2), 4, 1),
    "prime": ((5, 2), 4, 2),
}
X = torch.zeros(4, 6, 2)
OP_INFO = OpInfo(
    samples={
        "images": of((8, 4, 3, 5), 4, 2),
        "channels_last": of((4, 16, 5, 3), 2, 2, layout="channels_last"),
        "ragged channels_last": of((4, 6, 5, 3), 4, 2, layout="channels_last"),
        "16 bits": of((4, 8), 4, 1, dtype=torch.bfloat16),
        "alone": of((1, 2, 3), 1, 1),
        "empty": of((0, 2, 3), 1, 1),
    },
    derivatives={
        **{name: of(*case) for name, case in GRAPHS.items()},
        "third order": Sample(first_gradient(lambda x: minibatch_stddev(x, 2)), {"x": (4, 2)}),
    },
    large={
        layout: of((4, 24, 33, 31), 4, 2, layout=layout)
        for layout in ("contiguous", "channels_last")
    },
    errors={
        "integer x": (TypeError, r"minibatch_stddev: x must be .*int64; cast",
                      lambda: minibatch_stddev(X.long())),
        "group_size": (ValueError, r"minibatch_stddev: group_size must be an int ≥ 1, got 0",
                       lambda: minibatch_stddev(X, 0)),
        "num_channels": (ValueError, r"minibatch_stddev: num_channels must be an int ≥ 1",
                         lambda: minibatch_stddev(X, 4, 0)),
        "undivided": (ValueError, r"C a multiple of num_channels=4 .*got shape \(4, 6, 2\)",
                      lambda: minibatch_stddev(X, 4, 4)),
        "dims": (ValueError, r"minibatch_stddev: x must be \[N, C, \.\.\.\]",
                 lambda: minibatch_stddev(X[0, 0])),
        "empty samples": (ValueError, r"no empty sample, got shape \(4, 6, 0\)",
                          lambda: minibatch_stddev(X[:, :, :0])),
    },
)  # fmt: skip
