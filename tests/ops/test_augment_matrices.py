# SPDX-License-Identifier: Apache-2.0
"""The kernel's matrices are those of the definition, whose numbers tests/augment looks at."""

import math
from functools import partial

import pytest
import torch
from _op_info import OpInfo
from _tolerances import assert_accurate, numpy64

from fastgan import sample_rng
from fastgan.augment import AugmentPipe
from fastgan.augment.matrices import draw_matrices
from fastgan.ops import augment_matrices as ops
from fastgan.ops import use_backend
from fastgan.ops._backend import has_kernel
from fastgan.ops.sample_random import Place, sample_words_ref

PLACES = {"whole batch": (0, 1, 0), "a rank's rows": (3, 7, 5), "far on": (2**40, 2**33, 2**35)}
# height, width, channels, has_blit, has_geom, color_share; rows: fewer than a block, and ragged
CASES = {
    "bgc": ((16, 16, 3, True, True, 1.0), 70),
    "bgc, wide": ((16, 40, 3, True, True, 1.0), 600),
    "blit": ((5, 9, 3, True, False, 0.0), 600),
    "geom": ((9, 9, 3, False, True, 0.0), 70),
    "grey": ((8, 8, 1, False, False, 1.0), 600),
    "half color": ((8, 8, 3, True, True, 0.5), 70),
    "no image": ((8, 8, 3, True, True, 1.0), 0),
}


def place(device, name="a rank's rows"):
    first, stride, begin = PLACES[name]
    key = torch.tensor(-6148914691236517205, device=device)
    return Place(key, 2**62, first, stride, begin)


def drawn(at, p, options, rows):
    *sizes, has_blit, has_geom, share = options
    return ops.augment_matrices(
        p, at, rows, *sizes, has_blit=has_blit, has_geom=has_geom, color_share=share
    )


def exact(at, p, options, rows):
    """The definition in float64, from uniform numbers of 24 bits; and what is executed."""
    words = sample_words_ref(*at, rows, len(ops.kinds_of(*options)))
    columns = iter(words.split(1, 1))

    def number(kind):
        word = next(columns)
        if kind == ops.UNIFORM:
            return ops.uniform_of(word, torch.float32).double().flatten()
        if kind == ops.NORMAL:
            return ops.normal_of(word, 1, torch.float64).flatten()
        return ops.integers_of(word, 0, kind, torch.float64).flatten()

    return ops.of_numbers(lambda kinds: [number(k) for k in kinds], p.double(), *options)


def probability(p, device):
    return torch.tensor(p, device=device)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("case", CASES)
def test_matrices_are_those_of_the_definition(case, where, device):
    """Within a few roundings of each product; what a rounding moves more, is a sum of them."""
    options, rows = CASES[case]
    at, p = place(device, where), probability(0.625, device)
    got, want = drawn(at, p, options, rows), exact(at, p, options, rows)
    with use_backend("reference"):
        plain = drawn(at, p, options, rows)
    for i, name in enumerate(("blit", "inverse", "is_moved", "color", "is_colored")):
        assert got[i].shape == want[i].shape == plain[i].shape, name
        assert got[i].dtype == plain[i].dtype, name
        if name.startswith("is_") or name == "blit" or got[i].dim() == 1:
            assert torch.equal(got[i].double(), want[i].double()), name
            assert torch.equal(got[i], plain[i]), name
            continue
        # Ten products are made, whose rows have the size of the largest element, and two shifts of
        # the size of the image are added up, which may cancel.
        size = want[i].abs().amax(dim=-1, keepdim=True).expand_as(want[i]).clone()
        if name == "inverse":
            size[..., 2:] += max(options[:2]) * want[i][..., :2].abs().amax(dim=-1, keepdim=True)
        assert_accurate(got[i], numpy64(want[i]), 10 * numpy64(size), what=name)


def test_at_p_0_nothing_is_executed_and_at_p_1_everything(device):
    options, rows = CASES["bgc"]
    blit, inverse, is_moved, color, is_colored = drawn(
        place(device), probability(0.0, device), options, rows
    )
    assert torch.equal(blit, torch.eye(3, device=device).expand(rows, 3, 3))
    assert torch.equal(inverse, blit)
    assert torch.equal(color, torch.eye(4, device=device).expand(rows, 4, 4))
    assert not is_moved.any()
    assert not is_colored.any()
    _, _, is_moved, _, is_colored = drawn(place(device), probability(1.0, device), options, rows)
    assert is_moved.all()
    assert is_colored.all()


def test_half_the_share_of_colour_is_half_of_p(device):
    half, whole = ((8, 8, 3, False, False, share) for share in (0.5, 1.0))
    at = place(device)
    got = drawn(at, probability(0.625, device), half, 300)
    want = drawn(at, probability(0.3125, device), whole, 300)
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a, b)


def test_a_row_does_not_depend_on_the_others(device):
    options, p = CASES["bgc, wide"][0], probability(0.5, device)
    whole = place(device, "whole batch")
    every = drawn(whole, p, options, 12)
    for first in range(3):
        part = drawn(whole._replace(first=first, stride=3), p, options, 4)
        for a, b in zip(part, every, strict=True):
            assert torch.equal(a, b[first::3])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_matrices_are_those_of_single_draws(share, channels, device, monkeypatch):
    """And the stream goes on behind them: filter, noise and cutout follow."""
    p = probability(0.6, device)

    def run():
        with sample_rng.sample_stream(77, 2, first=1, stride=2):
            matrices = draw_matrices(
                5, channels, 12, 12, p, has_blit=True, has_geom=True, color_share=share
            )
            return *matrices, sample_rng.uniform(5, device=device)

    at_once = run()
    monkeypatch.setattr(sample_rng, "place_at_once", lambda count, device: None)
    singly = run()
    assert torch.equal(at_once[-1], singly[-1])
    for a, b in zip(at_once, singly, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_opcheck(device):
    at, op = place(device), torch.ops.fastgan.augment_matrices.default
    p = probability(0.5, device)
    torch.library.opcheck(op, (p, *at, 3, 8, 8, 3, True, True, 1.0))
    torch.library.opcheck(op, (p, *at, 3, 8, 8, 1, False, False, 0.5))


def test_kernels_guard_their_memory(device):
    if not has_kernel("augment_matrices", device.type):
        pytest.skip("plain PyTorch needs no guard")
    at, op, p = place(device), torch.ops.fastgan.augment_matrices, probability(0.5, device)
    rest = (3, 8, 8)
    with pytest.raises(RuntimeError, match="one int64"):
        op(p, at.key.float(), *at[1:], *rest, 3, True, True, 1.0)
    with pytest.raises(RuntimeError, match="one float32"):
        op(p.double(), *at, *rest, 3, True, True, 1.0)
    with pytest.raises(RuntimeError, match="channels 1 or 3"):
        op(p, *at, *rest, 2, True, True, 1.0)


# The function is called by fastgan.augment, which checks what its users pass.
ERRORS = {
    "channels": (
        "color, which needs 1 or 3 channels",
        partial(AugmentPipe("bgc"), torch.ones(1, 2, 4, 4)),
    ),
    "p": ("p must be a probability", partial(AugmentPipe, "bgc", p=math.nan)),
}
OP_INFO = OpInfo(
    errors={name: (ValueError, message, call) for name, (message, call) in ERRORS.items()},
    has_derivatives=False,
)
