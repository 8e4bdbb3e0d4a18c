import numpy as np
import pytest
import torch
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


GRAPHS = {
    "pairs": ((4, 3), 2, 1),
    "two runs": ((3, 2, 2), 3, 2),
    "images": ((4, 2, 2, 1), 2, 1),
    "alone": ((1, 2, 2), 4, 1),
    "prime": ((5, 2), 4, 2),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_two_orders_of_derivative(case, device, seed):
    shape, *options = GRAPHS[case]
    x = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    f = lambda x: minibatch_stddev(x, *options)  # noqa: E731
    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))


def test_third_derivative(device, seed):
    x = torch.randn(4, 2, dtype=torch.float64, device=device, requires_grad=True)

    def second(x):
        y = minibatch_stddev(x, 2)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), x, create_graph=True)

    assert torch.autograd.gradcheck(second, (x,))


@pytest.mark.parametrize("channels_last", [False, True])
def test_r1_of_a_small_critic_equals_plain_pytorch(channels_last, device, seed):
    """Gradients of ‖∂D/∂x‖² by both weights, each by name: what a wrong second order spoils."""
    x = torch.randn(8, 3, 2, 3, dtype=torch.float64, device=device)
    params = {
        "w1": torch.randn(4, 3, 1, 1, dtype=torch.float64, device=device),
        "w2": torch.randn(2, 1, dtype=torch.float64, device=device),
    }
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)

    def penalty_gradients(name):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        leaf = x.clone().requires_grad_()
        with use_backend(name):
            h = torch.nn.functional.conv2d(leaf, leaves["w1"]).tanh()
            out = minibatch_stddev(h, 4, 2).tanh() @ leaves["w2"]
            (g,) = torch.autograd.grad(out.sum(), leaf, create_graph=True)
            loss = g.square().sum() + out.square().sum()
            return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    ours, plain = penalty_gradients("auto"), penalty_gradients("reference")
    for name in params:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-11, atol=1e-12, msg=name)


SAMPLES = {
    "images": ((8, 4, 3, 5), 4, 2, torch.float32),
    "channels_last": ((4, 8, 3, 5), 2, 2, torch.float32),
    "16 bits": ((4, 8), 4, 1, torch.bfloat16),
    "alone": ((1, 2, 3), 1, 1, torch.float32),
    "empty": ((0, 2, 3), 1, 1, torch.float32),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck(sample, device, seed):
    shape, group, num_channels, dtype = SAMPLES[sample]
    x, dy = random(shape, num_channels, dtype, device)
    if sample == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_(), dy.requires_grad_()
    ops = torch.ops.fastgan
    torch.library.opcheck(ops.minibatch_stddev.default, (x, group, num_channels))
    torch.library.opcheck(ops.minibatch_stddev_backward.default, (dy, x, group, num_channels))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)],
)
def test_compiles_without_a_graph_break(engine, device, seed):
    x, dy = random((8, 4, 3, 5), 2, torch.float32, device)
    torch.compiler.reset()
    compiled = torch.compile(minibatch_stddev, fullgraph=True, backend=engine)
    y = compiled(x.requires_grad_(), 4, 2)
    (dx,) = torch.autograd.grad(y, x, dy)
    for got, value in zip((y, dx), run(x, dy, 4, 2), strict=True):
        torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_same_bits_every_time(fmt, backend, device, seed):
    if backend == "reference":
        pytest.skip("plain PyTorch promises no order of summation")
    x, _ = random((4, 24, 33, 31), 2, torch.float32, device)
    x = x.contiguous(memory_format=fmt)
    first = minibatch_stddev(x, 4, 2)
    for _ in range(2):
        assert torch.equal(minibatch_stddev(x, 4, 2), first)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("channels", [6, 16])
def test_64_bit_indices_change_no_bit(channels, fmt, dtype, backend, device, seed, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    x, dy = random((4, channels, 5, 3), 2, dtype, device)
    x = x.contiguous(memory_format=fmt)
    results = []
    for limit in (x.numel(), x.numel() - 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        results.append(run(x, dy, 4, 2))
    for narrow, wide in zip(*results, strict=True):
        assert torch.equal(narrow, wide)


X = torch.zeros(4, 6, 2)
ERRORS = {
    "integer x": (TypeError, r"minibatch_stddev: x must be .*int64; cast", (X.long(),)),
    "group_size": (ValueError, r"minibatch_stddev: group_size must be at least 1, got 0", (X, 0)),
    "num_channels": (ValueError, r"minibatch_stddev: num_channels must be at least 1", (X, 4, 0)),
    "undivided": (ValueError, r"C a multiple of num_channels=4 .*got shape \(4, 6, 2\)", (X, 4, 4)),
    "dims": (ValueError, r"minibatch_stddev: x must be \[N, C, \.\.\.\]", (X[0, 0],)),
    "empty samples": (ValueError, r"no empty sample, got shape \(4, 6, 0\)", (X[:, :, :0],)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument(name):
    error, message, args = ERRORS[name]
    with pytest.raises(error, match=message):
        minibatch_stddev(*args)
