# SPDX-License-Identifier: Apache-2.0
import functools
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, numpy64

from fastgan.ops import anti_aliased_snake, kaiser_sinc_filter, use_backend

NAMES = ("x", "alpha", "beta")
# up_ratio, down_ratio, taps up, taps down
RATIOS = {
    "published": (2, 2, 12, 12),
    "plain": (1, 1, 1, 1),
    "same rate": (1, 1, 5, 4),
    "no overlap": (2, 2, 2, 1),
    "least overlap": (2, 2, 4, 3),
    "odd": (2, 2, 7, 9),
    "triple": (3, 3, 18, 18),
    "up alone": (4, 1, 8, 6),
    "down alone": (1, 2, 3, 12),
    "3 to 2": (3, 2, 9, 7),
    "2 to 5": (2, 5, 6, 4),
    "long": (2, 2, 41, 64),
}


def filters(ratios, device):
    """Taps of both signs that are not symmetric, so that a flipped filter is seen."""
    generator = torch.Generator().manual_seed(sum(ratios))
    _, _, up_taps, down_taps = ratios
    return [
        (torch.randn(n, generator=generator).double() / n**0.5).to(device)
        for n in (up_taps, down_taps)
    ]


def tensors(shape, dtype, device, has_beta=True):
    wide = torch.promote_types(dtype, torch.float32)
    inputs = {
        "x": torch.randn(shape, device=device).to(dtype),
        "alpha": (torch.rand(shape[1], device=device) * 2 + 0.3).to(wide),
        "beta": (torch.rand(shape[1], device=device) * 2 + 0.3).to(wide),
    }
    return inputs if has_beta else {k: inputs[k] for k in NAMES[:2]}


def gradient_like(inputs, ratios):
    n, c, length = inputs["x"].shape
    size = -(-length * ratios[0] // ratios[1])
    return torch.randn(n, c, size, device=inputs["x"].device).to(inputs["x"].dtype)


def run(inputs, dy, ratios, name="auto"):
    """y and the gradients of all inputs, by name."""
    leaves = {k: t.detach().requires_grad_() for k, t in inputs.items()}
    with use_backend(name):
        y = anti_aliased_snake(
            leaves["x"],
            leaves["alpha"],
            leaves.get("beta"),
            *filters(ratios, dy.device),
            *ratios[:2],
        )
        grads = torch.autograd.grad(y, list(leaves.values()), dy)
    return {"y": y.detach()} | {f"d{k}": g for k, g in zip(leaves, grads, strict=True)}


def matrices(length, ratios, dtype):
    """Up-sampling [U·T, T] and down-sampling [outputs, U·T], straight from the definition.

    Each with the matrix of magnitudes: an end that is repeated meets several taps.
    """
    up, down, up_taps, down_taps = ratios
    wide = torch.promote_types(dtype, torch.float32)
    f, g = (numpy64(t.to(wide)) for t in filters(ratios, "cpu"))
    size, outputs = length * up, -(-length * up // down)
    up_matrix, down_matrix = np.zeros((2, size, length)), np.zeros((2, outputs, size))
    for j in range(size):
        for i in range(-up_taps, length + up_taps):
            k = j + (up_taps - up) // 2 - up * i
            if 0 <= k < up_taps:
                up_matrix[:, j, min(max(i, 0), length - 1)] += up * f[k], up * abs(f[k])
    for t in range(outputs):
        for k in range(down_taps):
            j = down * t + k - (down_taps // 2 - (down_taps % 2 == 0))
            down_matrix[:, t, min(max(j, 0), size - 1)] += g[k], abs(g[k])
    return up_matrix, down_matrix


def oracle(inputs, dy, ratios):
    """(values, scales) in float64, by the names of `run`.

    A sine is as wrong as its argument: that is the last term of each scale.
    """
    v = {k: numpy64(t) for k, t in inputs.items()}
    x, dy, a = v["x"], numpy64(dy), v["alpha"][:, None]
    r = 1 / (v.get("beta", v["alpha"])[:, None] + 1e-9)
    (up, up_size), (down, down_size) = matrices(x.shape[2], ratios, inputs["x"].dtype)
    u, size_u = x @ up.T, np.abs(x) @ up_size.T
    square, sine = np.sin(a * u) ** 2, np.sin(2 * a * u)
    dv, size_dv = dy @ down, np.abs(dy) @ down_size
    du = dv * (1 + a * r * sine)
    size_du = size_dv * (1 + a * r) + np.abs(dv) * 2 * a * a * r * size_u
    by_alpha, by_beta = dv * u * sine * r, -dv * square * r * r
    size_alpha = r * (size_dv * np.abs(u) + np.abs(dv) * size_u * (1 + 2 * a * np.abs(u)))
    size_beta = r * r * (size_dv * square + np.abs(dv) * (square + 2 * a * size_u))
    values = {"y": (u + r * square) @ down.T, "dx": du @ up}
    scales = {
        "y": (size_u * (1 + 2 * a * r) + r * square) @ down_size.T,
        "dx": size_du @ up_size,
    }
    if "beta" in v:
        terms = {"dalpha": (by_alpha, size_alpha), "dbeta": (by_beta, size_beta)}
    else:
        terms = {"dalpha": (by_alpha + by_beta, size_alpha + size_beta)}
    for name, (term, size) in terms.items():
        values[name], scales[name] = term.sum((0, 2)), size.sum((0, 2))
    return values, scales


def check_against_oracle(inputs, dy, ratios):
    got, plain = run(inputs, dy, ratios), run(inputs, dy, ratios, "reference")
    values, scales = oracle(inputs, dy, ratios)
    assert set(got) == set(values)
    for k, t in got.items():
        assert_accurate(t, values[k], scales[k], plain=plain[k], what=k)
        assert t.dtype == inputs[k[1:] if k != "y" else "x"].dtype, k
    return got


@pytest.mark.parametrize("ratios", RATIOS.values(), ids=RATIOS)
def test_values_and_gradients(ratios, dtype, device, seed):
    inputs = tensors((2, 3, 21), dtype, device)
    check_against_oracle(inputs, gradient_like(inputs, ratios), ratios)


@pytest.mark.parametrize("name", ["published", "3 to 2", "2 to 5", "long"])
@pytest.mark.parametrize("length", [1, 2, 7, 63, 1100])
def test_lengths(length, name, device, seed):
    """Shorter than the filters, and longer than a tile of the kernels."""
    inputs = tensors((1, 2, length), torch.float32, device)
    check_against_oracle(inputs, gradient_like(inputs, RATIOS[name]), RATIOS[name])


def test_lengths_around_a_tile(device, seed):
    for length in (511, 512, 513, 514, 517, 518, 1024, 1025):
        inputs = tensors((1, 1, length), torch.float32, device)
        ratios = RATIOS["published"]
        check_against_oracle(inputs, gradient_like(inputs, ratios), ratios)


def test_snake_is_beta_as_alpha(device, seed):
    inputs = tensors((2, 3, 9), torch.float64, device, has_beta=False)
    ratios = RATIOS["published"]
    check_against_oracle(inputs, gradient_like(inputs, ratios), ratios)


@pytest.mark.parametrize("name", ["published", "3 to 2"])
def test_layouts(name, lay_out, dtype, device, seed):
    inputs = tensors((3, 4, 10), dtype, device)
    dy = lay_out(gradient_like(inputs, RATIOS[name]))
    inputs = {k: lay_out(t) if k == "x" else t for k, t in inputs.items()}
    inputs["alpha"] = inputs["alpha"].repeat_interleave(2)[::2]
    got = check_against_oracle(inputs, dy, RATIOS[name])
    assert got["y"].is_contiguous()
    assert got["dx"].is_contiguous()


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5)], ids=str)
def test_empty(shape, dtype, device):
    inputs = tensors(shape, dtype, device)
    ratios = RATIOS["3 to 2"]
    got = run(inputs, gradient_like(inputs, ratios), ratios)
    assert got["y"].shape == (*shape[:2], 8)
    for k in inputs:
        assert torch.equal(got[f"d{k}"], torch.zeros_like(inputs[k])), k


def test_large_arguments(device, seed):
    """Where the quick reduction by π ends, and far beyond: the oracle's sine decides."""
    x = torch.logspace(0, 30, 61, device=device).reshape(1, 1, -1)
    x = torch.cat([x, -x, torch.linspace(16000, 17000, 64, device=device).reshape(1, 1, -1)], -1)
    inputs = {"x": x, "alpha": torch.ones(1, device=device), "beta": x.new_full((1,), 1e-8)}
    got = run(inputs, torch.ones_like(x), RATIOS["plain"])
    f, g = (t.float().item() for t in filters(RATIOS["plain"], "cpu"))
    u = numpy64(x * f)
    want = g * (u + np.sin(u) ** 2 / (numpy64(inputs["beta"]) + 1e-9))
    assert_accurate(got["y"], want, 4 * np.abs(g) * (np.abs(u) + 1e8))


def test_the_sine_keeps_its_last_digits(device):
    """sin² weighted by 9e7, so that nothing hides it, near its zeros, too."""
    x = torch.cat([torch.linspace(-1e4, 1e4, 20011), torch.arange(1, 3000) * math.pi])
    x = x.to(device).reshape(1, 1, -1)
    one, beta = torch.ones(1, device=device), torch.full((1,), 1e-8, device=device)
    y = anti_aliased_snake(x, one, beta, one, one, 1, 1)
    u = numpy64(x)
    bent = np.sin(u) ** 2 / (numpy64(beta) + 1e-9)
    assert_accurate(y, u + bent, np.abs(u) + 3 * bent)


def test_several_steps_of_a_row_in_a_warp(device, backend, monkeypatch):
    """A small GPU gives each warp more to do: the same numbers."""
    if backend != "emulator":
        pytest.skip("only the emulator's GPU can be made smaller")
    f = kaiser_sinc_filter(0.25, 0.3, 12)
    torch.manual_seed(0)
    x, alpha = torch.randn(1, 12, 1300), torch.rand(12) + 0.5
    found = []
    for processors in ("132", "1"):
        monkeypatch.setenv("FASTGAN_EMULATOR_MULTIPROCESSORS", processors)
        found.append(anti_aliased_snake(x, alpha, None, f, f))
    assert torch.equal(*found)


def test_infinite_and_nan_inputs(device):
    x = torch.zeros(1, 1, 65, device=device)
    for value in (math.inf, math.nan):
        x[..., 32] = value
        y = anti_aliased_snake(
            x, x.new_ones(1), None, *(kaiser_sinc_filter(0.25, 0.3, 12).to(device),) * 2
        )
        assert y[..., 27:38].isnan().all()
        assert y[..., :20].eq(0).all()
        assert y[..., 45:].eq(0).all()


def test_a_constant_passes(device):
    f = kaiser_sinc_filter(0.25, 0.3, 12).to(device)
    x = torch.full((1, 1, 40), 3.0, device=device)
    y = anti_aliased_snake(x, x.new_tensor([1.5]), x.new_tensor([0.7]), f, f)
    want = 3 + math.sin(1.5 * 3) ** 2 / 0.7
    torch.testing.assert_close(y, torch.full_like(y, want), rtol=1e-6, atol=0)


def test_kaiser_sinc_filter():
    f = kaiser_sinc_filter(0.25, 0.3, 12).double()
    assert torch.equal(f, f.flip(0))
    assert f.sum().item() == pytest.approx(1, abs=1e-6)
    assert f[::2].sum().item() == pytest.approx(0.5, abs=1e-7)
    t = torch.arange(12).double() - 5.5

    def gain(frequency):
        return abs((f * (2 * math.pi * frequency * t).cos()).sum().item())

    assert gain(0.25) == pytest.approx(0.5, abs=0.01)  # half of the amplitude at the cutoff
    assert gain(0.5) < 1e-6
    assert kaiser_sinc_filter(0, 0.3, 4).eq(0).all()
    assert torch.equal(kaiser_sinc_filter(0.5, 0.1, 1), torch.ones(1))
    # A = 21 to 50 dB and below 21: the other two formulas for the window.
    assert torch.special.i0(torch.tensor(window_beta(kaiser_sinc_filter(0.25, 0.15, 12)))) > 1
    rectangle = kaiser_sinc_filter(0.25, 0.01, 5)
    torch.testing.assert_close(rectangle / rectangle[2], torch.sinc(torch.arange(-2, 3) / 2))


def window_beta(f):
    """The Kaiser β that makes f[0] / f[5] of 12 taps of cutoff 0.25 what it is."""
    sinc = torch.sinc((torch.arange(12).double() - 5.5) / 2)
    ratio = (f[0] / f[5]).double() / (sinc[0] / sinc[5])
    low, high = 0.0, 20.0
    for _ in range(60):
        beta = (low + high) / 2
        window = torch.kaiser_window(12, periodic=False, beta=beta, dtype=torch.float64)
        low, high = (beta, high) if window[0] / window[5] > ratio else (low, beta)
    return low


@pytest.mark.parametrize("half_width", [0.3, 0.15], ids=str)
def test_the_window_is_kaisers(half_width):
    attenuation = 2.285 * 5 * math.pi * 4 * half_width + 7.95
    want = (
        0.1102 * (attenuation - 8.7)
        if attenuation > 50
        else 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    )
    assert window_beta(kaiser_sinc_filter(0.25, half_width, 12)) == pytest.approx(want, rel=1e-4)


def test_a_second_derivative_taken_under_autocast_has_the_same_bits(device, seed):
    given = [torch.randn(2, 3, 32), torch.rand(3) + 0.5, torch.rand(3) + 0.5]
    given = [t.to(device).requires_grad_() for t in given]
    f = F12.to(device)
    results = []
    for is_enabled in (False, True):
        dx = torch.autograd.grad(
            anti_aliased_snake(*given, f, f).sum(), given[0], create_graph=True
        )[0]
        with torch.autocast(device.type, torch.bfloat16, enabled=is_enabled):
            results.append(torch.autograd.grad(dx.square().sum(), given))
    assert all(map(torch.equal, *results))


def test_autocast_keeps_parameters_in_float32(device, seed):
    inputs = tensors((2, 3, 9), torch.float32, device)
    f = filters(RATIOS["published"], device)
    leaves = {k: t.requires_grad_() for k, t in inputs.items()}
    for name in ("auto", "reference"):
        with use_backend(name), torch.autocast(device.type, torch.bfloat16):
            y = anti_aliased_snake(*leaves.values(), *f)
            low = anti_aliased_snake(leaves["x"].bfloat16(), *list(leaves.values())[1:], *f)
        assert (y.dtype, low.dtype) == (torch.float32, torch.bfloat16)
        low.sum().backward()
        assert all(t.grad.dtype == torch.float32 for t in leaves.values())


def test_sixteen_bits_are_rounded_once(device, seed):
    inputs = tensors((2, 3, 40), torch.bfloat16, device)
    f = filters(RATIOS["published"], device)
    y = anti_aliased_snake(*inputs.values(), *f)
    wide = anti_aliased_snake(inputs["x"].float(), inputs["alpha"], inputs["beta"], *f)
    assert torch.equal(y, wide.bfloat16())


def test_only_the_inputs_are_kept(device):
    inputs = [t.requires_grad_() for t in tensors((2, 3, 40), torch.float32, device).values()]
    f = [t.float() for t in filters(RATIOS["published"], device)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda t: t):
        anti_aliased_snake(*inputs, *f)
    assert {t.data_ptr() for t in kept} <= {t.data_ptr() for t in (*inputs, *f)}


def test_filter_errors_name_the_argument():
    for arguments, message in (
        ((0.6, 0.3, 12), r"cutoff must be in \[0, 0.5\].*got 0.6"),
        ((0.25, -1, 12), "half_width must be ≥ 0, got -1"),
        ((0.25, 0.3, 0), "taps must be an int ≥ 1, got 0"),
    ):
        with pytest.raises(ValueError, match=f"kaiser_sinc_filter: {message}"):
            kaiser_sinc_filter(*arguments)


def test_opcheck_of_one_gradient(device, seed):
    """The backward op alone, asked for dx or for the sums."""
    ratios = RATIOS["2 to 5"]
    inputs = tensors((1, 2, 3), torch.float32, device)
    f, dy = [t.float() for t in filters(ratios, device)], gradient_like(inputs, ratios)
    for has_dx, has_sums in ((True, False), (False, True)):
        args = (dy, *inputs.values(), *f, *ratios[:2], has_dx, has_sums)
        torch.library.opcheck(
            torch.ops.fastgan.anti_aliased_snake_backward.default,
            args,
            test_utils=("test_schema", "test_faketensor"),
        )


X, ONES = torch.zeros(2, 3, 8), torch.ones(3)
F12 = torch.ones(12)
ERRORS = {
    "dims of x": (ValueError, r"x must be \[N, C, T\], got shape \(3, 8\)", {"x": X[0]}),
    "integer x": (TypeError, r"x must be .*int64; cast", {"x": X.long()}),
    "no samples": (ValueError, r"at least one sample.*\(2, 3, 0\)", {"x": X[..., :0]}),
    "alpha": (ValueError, r"alpha must be of shape \(3,\).*got \(2,\)", {"alpha": ONES[:2]}),
    "beta": (ValueError, r"beta must be of shape \(3,\).*got \(1, 3\)", {"beta": ONES[None]}),
    "beta's device": (
        ValueError,
        "beta must be on cpu like x, got meta; move it",
        {"beta": ONES.to("meta")},
    ),
    "up_filter": (ValueError, r"up_filter must be a tensor \[taps\]", {"up_filter": F12[None]}),
    "no taps": (ValueError, r"down_filter must be .*got \(0,\)", {"down_filter": F12[:0]}),
    "filter's gradient": (
        ValueError,
        r"down_filter is a constant.*pass down_filter\.detach",
        {"down_filter": F12.clone().requires_grad_()},
    ),
    "few taps": (
        ValueError,
        "up_filter must have 4 taps or at least 8",
        {"up_ratio": 4, "up_filter": F12[:7]},
    ),
    "many taps": (
        ValueError,
        "down_filter must have at most 4096 taps, got 4097; resample in steps",
        {"down_filter": torch.ones(4097)},
    ),
    "ratio": (ValueError, "down_ratio must be an int from 1 to 1024, got 0", {"down_ratio": 0}),
    "fraction": (ValueError, r"up_ratio must be an int from 1.*got 1\.5", {"up_ratio": 1.5}),
}


def call(**changes):
    arguments = {"x": X, "alpha": ONES, "beta": None, "up_filter": F12, "down_filter": F12}
    return anti_aliased_snake(**(arguments | changes))


def snake(name, has_beta=True):
    """The op as a function of x and of logarithms of its parameters."""
    ratios, (f, g) = RATIOS[name], filters(RATIOS[name], "cpu")

    def run(x, alpha, beta=None):
        beta = None if beta is None else (0.3 * beta).exp()
        taps = (t.to(x.device) for t in (f, g))
        return anti_aliased_snake(x, (0.3 * alpha).exp(), beta, *taps, *ratios[:2])

    return run if has_beta else lambda x, alpha: run(x, alpha)


def of(name, shape, has_beta=True, **more):
    shapes = {"x": shape, "alpha": (shape[1],), "beta": (shape[1],)}
    shapes = shapes if has_beta else {k: shapes[k] for k in NAMES[:2]}
    return Sample(snake(name, has_beta), shapes, wide=("alpha", "beta"), **more)


ODD_RATIOS = ("published", "no overlap", "3 to 2", "2 to 5")
OP_INFO = OpInfo(
    samples={
        "published": of("published", (2, 3, 17)),
        "2 to 5": of("2 to 5", (1, 2, 3)),
        "no beta": of("3 to 2", (2, 3, 9), False),
        "16 bits": of("published", (2, 3, 40), dtype=torch.bfloat16),
    },
    derivatives={
        **{f"{name}, {'beta' if has_beta else 'no beta'}": of(name, (2, 2, 5), has_beta)
           for name in ODD_RATIOS for has_beta in (True, False)},
        "third order": Sample(
            first_gradient(snake("published")), {"x": (1, 1, 3), "alpha": (1,), "beta": (1,)}
        ),
    },
    large={"several tiles": of("published", (2, 2, 9001))},
    constants=("f", "fu", "fd", "up_filter", "down_filter"),
    errors={
        name: (error, f"anti_aliased_snake: .*{message}", functools.partial(call, **changes))
        for name, (error, message, changes) in ERRORS.items()
    },
)  # fmt: skip
