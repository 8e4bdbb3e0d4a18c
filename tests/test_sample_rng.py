# SPDX-License-Identifier: Apache-2.0
"""fastgan.sample_rng: torch's generator outside a stream; inside, numbers of the sample alone."""

import math

import pytest
import torch

from fastgan import sample_rng
from fastgan.augment import AugmentPipe
from fastgan.losses.gradient_penalty import wgan_gp
from fastgan.losses.path_length import path_length_penalty
from fastgan.nn import NoiseInjection, sample_cutoff
from fastgan.ops import sample_random


def stream(first=0, stride=1, *, seed=3, step=5, phase=1):
    return sample_rng.sample_stream(
        sample_rng.step_key(seed, step), phase, first=first, stride=stride
    )


def test_without_a_stream_torch_draws_as_ever():
    x = torch.empty(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    got = [
        sample_rng.normal(3, 4), sample_rng.normal_like(x),
        sample_rng.uniform(5, dtype=torch.float64),
        sample_rng.integers(1, 9, 7), sample_rng.integers(0, 4, 6, dtype=torch.float32),
    ]  # fmt: skip
    torch.manual_seed(1)
    expected = [
        torch.randn(3, 4), torch.randn_like(x), torch.rand(5, dtype=torch.float64),
        torch.randint(1, 9, (7,)), torch.randint(4, (6,), dtype=torch.float32),
    ]  # fmt: skip
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_within_a_stream_torch_is_left_alone():
    before = torch.get_rng_state()
    with stream():
        everything(4)
    assert torch.equal(torch.get_rng_state(), before)


def splitmix64(state):
    """The published generator, in plain integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


def test_published_numbers():
    """SplitMix64 of 1234567 begins with 6457827717110365317, 3203168211198807973."""
    generator = splitmix64(1234567)
    assert [next(generator), next(generator)] == [6457827717110365317, 3203168211198807973]
    z = torch.tensor([(1234567 + (i + 1) * 0x9E3779B97F4A7C15) % 2**64 for i in range(2)],
                     dtype=torch.uint64).view(torch.int64)  # fmt: skip
    assert sample_random.mix_(z).view(torch.uint64).tolist() == [
        6457827717110365317,
        3203168211198807973,
    ]


def words_by_hand(seed, step, phase, sample, count):
    gamma = 0x9E3779B97F4A7C15

    def mix(z):
        return next(splitmix64(z - gamma))

    key = mix(mix(seed + gamma) + step * gamma)
    begin = mix(key + mix(phase) + sample * gamma)
    return [mix(begin + j * gamma) for j in range(count)]


def test_draws_are_what_the_docstring_says():
    words = words_by_hand(3, 5, 1, 6, 4)
    halves = [(w % 2**32, w >> 32) for w in words]
    b, a = ([h - 2**32 if h >= 2**31 else h for h in half] for half in zip(*halves, strict=True))
    with stream(first=6, stride=9):
        u = sample_rng.uniform(2, dtype=torch.float64)
        i = sample_rng.integers(-2, 5, 2)
        z = sample_rng.normal(1, 3, dtype=torch.float64)
    assert u[0].item() == (words[0] >> 11) * 2.0**-53
    assert i[0].item() == -2 + (words[1] >> 32) * 7 // 2**32
    radius = [math.sqrt(-2 * math.log(abs(x) / 2**31 + 2**-32)) for x in a]
    cos = [radius[j] * math.cos(math.pi * b[j] / 2**31) for j in (2, 3)]
    sin = [radius[j] * math.sin(math.pi * b[j] / 2**31) for j in (2, 3)]
    torch.testing.assert_close(z[0], torch.tensor([*cos, sin[0]], dtype=torch.float64))


def everything(n):
    """One of each draw of [n, ...], small ones between large ones, then of half the rows."""
    return [
        sample_rng.normal(n, 1, 9, 7), sample_rng.uniform(n),
        sample_rng.normal(n, 5), sample_rng.integers(0, 7, n, 3),
        *[sample_rng.uniform(n) for _ in range(40)], sample_rng.normal(n, 33), sample_rng.normal(n),
        sample_rng.normal_like(torch.empty(n, 3, 4, 4).to(memory_format=torch.channels_last)),
        sample_rng.normal(n // 2, 11), sample_rng.uniform(n // 2, dtype=torch.float64),
    ]  # fmt: skip


@pytest.mark.parametrize(("ranks", "micro"), [(1, 1), (2, 1), (1, 3), (3, 2), (2, 6)])
def test_a_split_changes_no_bit(ranks, micro):
    n, parts = 24, ranks * micro
    with stream():
        whole = everything(n)
    for rank in range(ranks):
        for a in range(micro):
            first = rank + ranks * a
            with stream(first, parts):
                for part, all_rows in zip(everything(n // parts), whole, strict=True):
                    assert torch.equal(part, all_rows[first::parts])


def test_numbers_do_not_depend_on_the_threads():
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with stream():
                results.append(sample_rng.normal(4, 1, 300, 211))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 6}, {"phase": 2}, {"first": 1}])
def test_every_part_of_the_key_counts(change):
    with stream():
        a, b = sample_rng.normal(64, 512), sample_rng.normal(64, 512)
    with stream(**change):
        c = sample_rng.normal(64, 512)
    own = c[:-1] if "first" in change else c
    for other in (b, c) if "first" not in change else (b,):
        correlation = (a * other).mean() * math.sqrt(a.numel())
        assert abs(correlation) < 4
    assert not (own == a[: len(own)]).any(1).all()


def test_a_device_key_is_read_when_drawing():
    key = torch.zeros([], dtype=torch.int64)
    for step in (5, 6):
        key.fill_(sample_rng.step_key(3, step))
        with sample_rng.sample_stream(key, 1):
            from_tensor = sample_rng.normal(3, 40)
        with stream(step=step):
            assert torch.equal(from_tensor, sample_rng.normal(3, 40))


def test_dtypes_share_their_numbers():
    results = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        with stream():
            results[dtype] = (
                sample_rng.normal(8, 1000, dtype=dtype),
                sample_rng.uniform(8, 3, dtype=dtype),
            )
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.bfloat16, 2e-2)):
        for a, b in zip(results[dtype], results[torch.float64], strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


N, SIZE = 256, 4096


@pytest.fixture(scope="module")
def normals():
    with stream(seed=0, step=0, phase=0):
        return sample_rng.normal(N, SIZE, dtype=torch.float64)


def test_normal_moments(normals):
    count = normals.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        error = (normals**power).mean() - moment
        assert abs(error) < 4 * math.sqrt(variance / count), power


def chi_square(u, bins):
    counts = torch.histc(u.double(), bins=bins, min=0, max=1)
    expected = u.numel() / bins
    return ((counts - expected).square().sum() / expected - (bins - 1)) / math.sqrt(2 * (bins - 1))


def test_normal_shape(normals):
    assert abs(chi_square(torch.special.ndtr(normals).flatten(), 1000)) < 4
    tail = (normals.abs() > 4).sum().item() / normals.numel()
    assert tail == pytest.approx(math.erfc(4 / math.sqrt(2)), rel=0.5)


def test_uniforms_and_integers_fill_their_range():
    with stream():
        u, i = sample_rng.uniform(512, 1024), sample_rng.integers(1, 8, 512, 1024)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(chi_square(u.flatten(), 1000)) < 4
    assert (i.min(), i.max()) == (1, 7)
    assert abs(chi_square((i.flatten() - 0.5) / 7, 7)) < 4


def test_neighbours_are_independent(normals):
    """Rows (samples), words, the two numbers of a word; next sites and steps as new rows."""
    half = SIZE // 2
    pairs = [(normals[:-1], normals[1:]), (normals[:, : half - 1], normals[:, 1:half]),
             (normals[:, :half], normals[:, half:])]  # fmt: skip
    for change in ({"seed": 1}, {"step": 1}, {"phase": 1}):
        with stream(**({"seed": 0, "step": 0, "phase": 0} | change)):
            pairs.append((normals, sample_rng.normal(N, SIZE, dtype=torch.float64)))
    for a, b in pairs:
        for x, y in ((a, b), (a.square() - 1, b.square() - 1)):
            scale = math.sqrt(a.numel()) / (1 if x is a else 2)
            assert abs((x * y).mean() * scale) < 4


def test_one_number_per_sample_is_as_random_as_many():
    """What augmentation draws: the first word of consecutive samples and of consecutive steps."""
    by_step = []
    for step in range(64):
        with stream(step=step):
            by_step.append(sample_rng.uniform(1024))
    u = torch.stack(by_step)
    assert abs(chi_square(u.flatten(), 256)) < 4
    centred = u.double() - 0.5
    for a, b in ((centred[:-1], centred[1:]), (centred[:, :-1], centred[:, 1:])):
        assert abs((a * b).mean() * 12 * math.sqrt(a.numel())) < 4


def noise(x):
    layer = NoiseInjection()
    torch.nn.init.ones_(layer.noise_strength)
    return layer(x)


def path_lengths(x):
    ws = torch.ones(len(x), 1, 8, requires_grad=True)
    return path_length_penalty(x * ws[..., None], ws, torch.zeros([]), decay=0.0)


@pytest.mark.parametrize(
    "module",
    [
        noise,
        lambda x: sample_cutoff(len(x), 9),
        lambda x: AugmentPipe("bgcfnc", p=0.7)(x),
        lambda x: wgan_gp(lambda x: (x.flatten(1) ** 2).sum(1), x, -x),
        path_lengths,
    ],
    ids=["noise", "style mixing", "augmentation", "wgan_gp", "path length"],
)
def test_own_modules_draw_through_it(module):
    x = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    with stream():
        whole = module(x)
    with stream(step=6):
        assert not torch.equal(module(x), whole)
    for first in (0, 1):
        with stream(first, 2):
            torch.testing.assert_close(module(x[first::2].contiguous()), whole[first::2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "arguments", [{"first": -1}, {"stride": 0}, {"key": torch.zeros(1, dtype=torch.int64)},
                  {"key": torch.zeros([])}],
)  # fmt: skip
def test_refusals(arguments):
    with (
        pytest.raises(ValueError, match="sample_stream"),
        sample_rng.sample_stream(**({"key": 1} | arguments)),
    ):
        pass


def test_streams_nest_and_end_with_an_error():
    with stream():
        a = sample_rng.uniform(4)
        with pytest.raises(KeyError), stream(phase=9):
            raise KeyError
        b = sample_rng.uniform(4)
    with stream():
        assert torch.equal(sample_rng.uniform(4), a)
        assert torch.equal(sample_rng.uniform(4), b)
    assert sample_rng._stream is None


def test_a_compiled_step_draws_the_same_and_anew_with_each_key():
    key, layer = torch.zeros([], dtype=torch.int64), NoiseInjection()
    torch.nn.init.ones_(layer.noise_strength)
    x = torch.zeros(2, 3, 4, 5)

    def step(key, x):
        with sample_rng.sample_stream(key, 1):
            return layer(layer(x))

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = []
    for number in (1, 2):
        key.fill_(sample_rng.step_key(0, number))
        results.append(compiled(key, x))
        assert torch.equal(results[-1], step(key, x))
    assert not torch.equal(*results)
