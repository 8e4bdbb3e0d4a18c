# SPDX-License-Identifier: Apache-2.0
"""Draws in one operator give the numbers of words and torch's functions."""

import math
from functools import partial

import pytest
import torch
from _op_info import OpInfo
from _tolerances import assert_accurate, numpy64
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan import sample_rng
from fastgan.ops import sample_random, use_backend
from fastgan.ops._backend import has_kernel
from fastgan.ops.sample_random import Place, sample_words_ref

# rows and shape of a row: a word for less than, as many as and more than one block's threads
SHAPES = ((0, 3), (1,), (3, 1, 7, 5), (2, 257), (5, 1000), (700,))
PLACES = {
    "whole batch": (0, 1, 0),
    "a rank's rows": (3, 7, 5),
    "far on": (2**40, 2**33, 2**35),
}

CASES = [(shape, "a rank's rows") for shape in SHAPES]
CASES += [((3, 1, 7, 5), "whole batch"), ((3, 1, 7, 5), "far on")]


def place(device, name="a rank's rows", key=-6148914691236517205, offset=2**62):
    first, stride, begin = PLACES[name]
    return Place(torch.tensor(key, device=device), offset, first, stride, begin)


def words_by_hand(place, rows, count):
    """In plain integers."""
    gamma, mix = sample_random.GAMMA, sample_random.mix
    samples = [place.first + row * place.stride for row in range(rows)]
    keys = [mix(place.key.item() + place.offset + s * gamma) for s in samples]
    return [[sample_random.signed(mix(k + (place.begin + j) * gamma)) for j in range(count)]
            for k in keys]  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
def test_words_are_those_of_plain_integers(where, device):
    at = place(device, where)
    want = torch.tensor(words_by_hand(at, 3, 9))
    assert torch.equal(sample_random.sample_words(at, 3, 9).cpu(), want)
    with use_backend("reference"):
        assert torch.equal(sample_random.sample_words(at, 3, 9).cpu(), want)


@pytest.mark.parametrize("shape", SHAPES)
def test_words_of_every_size(shape, device):
    rows, count = shape[0], math.prod(shape[1:])
    at = place(device)
    got = sample_random.sample_words(at, rows, count)
    assert torch.equal(got, sample_words_ref(*at, rows, count))


@pytest.fixture
def drawn_at_once(backend):
    if backend == "cpu":
        pytest.skip("a CPU draws by torch's functions of the words")


@pytest.mark.parametrize(("shape", "where"), CASES)
def test_uniform_and_whole_numbers_have_the_references_bits(shape, where, dtype, device):
    at, out = place(device, where), torch.empty(shape, dtype=dtype, device=device)
    sample_random.uniform_ref(out, *at)
    assert torch.equal(sample_random.uniform(at, shape, dtype), out)
    for low, high in ((0, 4), (-1000003, 5), (0, 2**31)):
        for kind in (dtype, torch.int64, torch.int32 if high < 2**31 else torch.int64):
            out = torch.empty(shape, dtype=kind, device=device)
            sample_random.integers_ref(out, *at, low, high)
            got = sample_random.integers(at, low, high, shape, kind)
            assert got.dtype == kind
            assert torch.equal(got, out)


@pytest.mark.parametrize(("shape", "where"), CASES)
def test_normal_numbers_are_the_formulas(shape, where, dtype, device):
    """Up to the rounding of a float32 u = |a|/2^31 + 2^-32, of which a small r = √(-2 ln u) sees
    eps / r, and of the angle."""
    at, wide = place(device, where), torch.promote_types(dtype, torch.float32)
    got = sample_random.normal(at, shape, dtype)
    rows, size = shape[0], math.prod(shape[1:])
    words = sample_words_ref(*at, rows, (size + 1) // 2)
    exact = sample_random.normal_of(words, size, torch.float64).reshape(shape)
    plain = sample_random.normal_of(words, size, dtype).reshape(shape)
    radius = (words >> 32).double().abs_().mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2.0)
    radius = radius.sqrt()
    scale = 2 * (radius + 1 / (radius + torch.finfo(wide).eps ** 0.5))
    scale = torch.cat([scale, scale], 1)[:, :size].reshape(shape)
    assert got.dtype == dtype
    assert_accurate(got, numpy64(exact), numpy64(scale), plain=plain)


def test_a_row_does_not_depend_on_the_others(drawn_at_once, device):
    whole = place(device, "whole batch")
    for draw in (sample_random.uniform, sample_random.normal):
        every = draw(whole, (12, 301), torch.float32)
        for first in range(3):
            part = draw(whole._replace(first=first, stride=3), (4, 301), torch.float32)
            assert torch.equal(part, every[first::3])


def test_64_bit_indices_change_no_bit(backend, device, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    at, shape = place(device), (5, 999)
    want = sample_random.normal(at, shape, torch.float32)
    for limit in (5 * 999, 5 * 999 - 1, 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        assert torch.equal(sample_random.normal(at, shape, torch.float32), want)


MAPS = {
    "of a pyramid": [(3, 1, side, side) for side in (4, 8, 8, 31)],
    "more than one launch takes": [(2, 1, 3, k) for k in range(1, 31)],
    "none of them a row": [(0, 5), (0, 7)],
    "one": [(1, 1)],
}


@pytest.mark.parametrize("maps", MAPS)
def test_several_draws_at_once_have_the_bits_of_each(maps, drawn_at_once, device):
    """The first ones again under a lowered limit of 32-bit indices, on the emulator."""
    at = place(device)
    want, begin = [], at.begin
    for shape in MAPS[maps]:
        want.append(sample_random.normal(at._replace(begin=begin), shape, torch.float32))
        begin += (math.prod(shape[1:]) + 1) // 2
    for got, one in zip(sample_random.normals(at, MAPS[maps]), want, strict=True):
        assert torch.equal(got, one)
    plain = [torch.empty_like(one) for one in want]
    sample_random.normals_ref(plain, *at)
    for got, one in zip(plain, want, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-4, atol=1e-5)


def test_several_draws_under_64_bit_indices(backend, device, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    at, maps = place(device), MAPS["of a pyramid"]
    want = sample_random.normals(at, maps)
    monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", "100")
    for got, one in zip(sample_random.normals(at, maps), want, strict=True):
        assert torch.equal(got, one)


def test_draws_ahead_are_those_of_the_calls(drawn_at_once, device):
    shapes = [(3, 1, 4, 4), (3, 1, 7, 5), (3, 9)]

    def draws():
        return [sample_rng.normal(*shape, device=device) for shape in shapes]

    with sample_rng.sample_stream(5, 1, first=2, stride=3):
        sample_rng.normal(3, 2, device=device)
        want = [*draws(), sample_rng.uniform(3, device=device)]
    with sample_rng.sample_stream(5, 1, first=2, stride=3):
        sample_rng.normal(3, 2, device=device)
        with sample_rng.normals_ahead(shapes, torch.device(device)):
            got = draws()
        got.append(sample_rng.uniform(3, device=device))
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a, b)


def ahead(*calls, device):
    with (
        sample_rng.sample_stream(5),
        sample_rng.normals_ahead([(2, 3), (2, 4)], torch.device(device)),
    ):
        for call in calls:
            call()


def test_other_draws_than_those_announced_are_errors(backend, device):
    if backend in ("cpu", "reference"):
        pytest.skip("nothing is drawn ahead by torch's functions")
    first = partial(sample_rng.normal, 2, 3, device=device)
    with pytest.raises(RuntimeError, match=r"did not ask for noise of shape \(2, 4\)"):
        ahead(first, device=device)
    with pytest.raises(RuntimeError, match=r"expected a draw of \(2, 4\) in float32, got \(2, 3\)"):
        ahead(first, first, device=device)
    with pytest.raises(RuntimeError, match="only the draws that were announced"):
        ahead(partial(sample_rng.uniform, 2, device=device), device=device)
    sample_rng.normal(2, device=device)


def test_the_key_is_read_on_the_device(device):
    with FakeTensorMode():
        at = Place(torch.zeros([], dtype=torch.int64), 1, 0, 1, 0)
        assert sample_random.normal(at, (2, 3), torch.bfloat16).shape == (2, 3)
        assert sample_random.uniform(at, (2, 3), torch.float32).shape == (2, 3)
        assert sample_random.integers(at, 0, 3, (2,), torch.int64).dtype == torch.int64
        assert sample_random.sample_words(at, 2, 3).shape == (2, 3)


def test_opcheck(device):
    ops, at = torch.ops.fastgan, place(device)
    torch.library.opcheck(ops.sample_words.default, (*at, 2, 3))
    for name in ("sample_uniform_", "sample_normal_"):
        torch.library.opcheck(getattr(ops, name).default, (torch.zeros(2, 5, device=device), *at))
    outs = [torch.zeros(2, 5, device=device), torch.zeros(2, 2, device=device)]
    torch.library.opcheck(ops.sample_normals_.default, (outs, *at))
    out = torch.zeros(2, 5, dtype=torch.int64, device=device)
    torch.library.opcheck(ops.sample_integers_.default, (out, *at, 0, 7))


@pytest.mark.parametrize("name", ["sample_uniform_", "sample_normal_"])
def test_kernels_guard_their_memory(name, drawn_at_once, device):
    if not has_kernel(name, device.type):
        pytest.skip("plain PyTorch needs no guard")
    at, op = place(device), getattr(torch.ops.fastgan, name)
    with pytest.raises(RuntimeError, match="contiguous"):
        op(torch.zeros(4, 6, device=device).t(), *at)
    with pytest.raises(RuntimeError, match="one int64"):
        op(torch.zeros(4, device=device), at.key.float(), *at[1:])
    with pytest.raises(RuntimeError, match="must be float32"):
        torch.ops.fastgan.sample_normals_([torch.zeros(4, device=device).double()], *at)


def draw_in(*bounds, **stream):
    with sample_rng.sample_stream(**({"key": 1} | stream)):
        sample_rng.integers(*bounds, 2)


# The functions are called by fastgan.sample_rng, which checks what its users pass.
ERRORS = {
    "no number": ("integers: high must be low", partial(draw_in, 3, 3)),
    "too many numbers": ("integers: high must be low", partial(draw_in, 0, 2**32 + 1)),
    "stride": ("sample_stream: expected first", partial(draw_in, 0, 2, stride=0)),
    "key": ("sample_stream: key must be", partial(draw_in, 0, 2, key=torch.zeros(1))),
}
OP_INFO = OpInfo(
    errors={name: (ValueError, message, call) for name, (message, call) in ERRORS.items()},
    has_derivatives=False,
)
