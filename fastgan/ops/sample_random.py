# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a sample: a pure function of a key, the sample and a counter.

    w(s, j) = mix(k(s) + j·γ)                    word j = 0, 1, … of sample s
    k(s)    = mix(key + offset + s·γ)

with all sums modulo 2^64, γ = 2^64 / golden ratio, and mix the finaliser of SplitMix64. Row r of
what is drawn belongs to sample first + r·stride, and is made of its words begin, begin + 1, …

    uniform    the top 24 bits of a word (53 for float64) · 2^-24 (2^-53), in [0, 1)
    integers   low + ⌊(top 32 bits) · (high - low) / 2^32⌋
    normal     r·cos(π·b/2^31) of each word, then r·sin(π·b/2^31) of each, with
               r = √(-2 ln(|a|/2^31 + 2^-32)); a, b the upper and lower half, signed

16-bit numbers are the float32 ones, rounded. On CUDA each draw is one launch. Words, uniform
numbers and integers have the same bits everywhere; normal numbers are those of the device's
logarithm, sine and cosine. A CPU makes the words in a kernel, and of these numbers by torch's
functions, so that they have its bits. Not differentiable; capturable: the key is read on its
device.
Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), constants of
Stafford's variant 13; Box and Muller (1958).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from fastgan.ops._backend import has_kernel, reference_is_forced
from fastgan.ops._define import define_op

__all__: list[str] = []  # fastgan.sample_rng is what users call

GAMMA = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def signed(word: int) -> int:
    """The int64 of the same 64 bits."""
    word &= _MASK
    return word - 2**64 if word >= 2**63 else word


def mix(z: int) -> int:
    """SplitMix64's finaliser of a number of 64 bits, on the host."""
    z &= _MASK
    z = (z ^ (z >> 30)) * _FACTORS[0] & _MASK
    z = (z ^ (z >> 27)) * _FACTORS[1] & _MASK
    return z ^ (z >> 31)


def mix_(z: torch.Tensor) -> torch.Tensor:
    """The same in place, z int64."""
    z.bitwise_xor_(shifted(z, 30)).mul_(signed(_FACTORS[0]))
    z.bitwise_xor_(shifted(z, 27)).mul_(signed(_FACTORS[1]))
    return z.bitwise_xor_(shifted(z, 31))


def shifted(z: torch.Tensor, bits: int) -> torch.Tensor:
    """z shifted right as an unsigned number; torch's own shift repeats the sign bit."""
    return (z >> bits).bitwise_and_(2 ** (64 - bits) - 1)


class Place(NamedTuple):
    """What a draw begins with: the key [] int64 on the device, and where its words are."""

    key: torch.Tensor
    offset: int
    first: int
    stride: int
    begin: int


def sample_words_ref(
    key: torch.Tensor, offset: int, first: int, stride: int, begin: int, rows: int, count: int
) -> torch.Tensor:
    """The definition of `sample_words` in PyTorch."""
    device = key.device
    samples = torch.arange(first, first + rows * stride, stride, device=device)
    keys = mix_(samples.mul_(signed(GAMMA)).add_(key).add_(offset))
    steps = torch.arange(begin, begin + count, device=device).mul_(signed(GAMMA))
    return mix_(keys[:, None] + steps)


_words_op = define_op(
    "sample_words(Tensor key, int offset, int first, int stride, int begin, int rows, int count) "
    "-> Tensor",
    reference=sample_words_ref,
    fake=lambda key, offset, first, stride, begin, rows, count: key.new_empty(rows, count),
)


def sample_words(place: Place, rows: int, count: int) -> torch.Tensor:
    """The words `place.begin` … `place.begin` + count - 1 of each row.

    Args:
        place: where they are.
        rows: the number of rows.
        count: of words of each row.

    Returns:
        int64 [rows, count].
    """
    run = sample_words_ref if reference_is_forced() else _words_op
    return run(*place, rows, count)


def uniform_of(words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The uniform numbers of words [...]."""
    bits = 53 if dtype == torch.float64 else 24
    wide = torch.promote_types(dtype, torch.float32)
    return shifted(words, 64 - bits).to(wide).mul_(2.0**-bits).to(dtype)


def integers_of(words: torch.Tensor, low: int, high: int, dtype: torch.dtype) -> torch.Tensor:
    """The whole numbers low … high - 1 of words [...]."""
    return ((shifted(words, 32) * (high - low) >> 32) + low).to(dtype)


def normal_of(words: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """The normal numbers [rows, size] of words [rows, (size + 1) / 2]."""
    wide = torch.promote_types(dtype, torch.float32)
    radius = (words >> 32).to(wide).abs_()  # exact near 0, where the tail comes from
    radius = radius.mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = words.to(torch.int32).to(wide).mul_(math.pi * 2.0**-31)
    pair = torch.cat([angle.cos().mul_(radius), angle.sin().mul_(radius)], 1)
    return pair[:, :size].to(dtype)


def _rows_and_size(out: torch.Tensor) -> tuple[int, int]:
    return out.shape[0], math.prod(out.shape[1:])


def uniform_ref(out: torch.Tensor, *place) -> None:
    """The definition of `uniform` in PyTorch, into `out` [rows, ...]."""
    words = sample_words_ref(*place, *_rows_and_size(out))
    out.copy_(uniform_of(words, out.dtype).view(out.shape))


def normal_ref(out: torch.Tensor, *place) -> None:
    """The definition of `normal` in PyTorch, into `out` [rows, ...]."""
    rows, size = _rows_and_size(out)
    words = sample_words_ref(*place, rows, (size + 1) // 2)
    out.copy_(normal_of(words, size, out.dtype).reshape(out.shape))


def normals_ref(outs: list[torch.Tensor], key, offset, first, stride, begin) -> None:
    """The definition of `normals` in PyTorch: one after another into `outs`, [rows, ...] each."""
    for out in outs:
        normal_ref(out, key, offset, first, stride, begin)
        begin += (_rows_and_size(out)[1] + 1) // 2


def integers_ref(out: torch.Tensor, key, offset, first, stride, begin, low, high) -> None:
    """The definition of `integers` in PyTorch, into `out` [rows, ...]."""
    words = sample_words_ref(key, offset, first, stride, begin, *_rows_and_size(out))
    out.copy_(integers_of(words, low, high, out.dtype).view(out.shape))


_PLACE = "Tensor(a!) out, Tensor key, int offset, int first, int stride, int begin"
_uniform_op = define_op(
    f"sample_uniform_({_PLACE}) -> ()", reference=uniform_ref, fake=lambda *arguments: None
)
_normal_op = define_op(
    f"sample_normal_({_PLACE}) -> ()", reference=normal_ref, fake=lambda *arguments: None
)
_normals_op = define_op(
    f"sample_normals_({_PLACE.replace('Tensor(a!) out', 'Tensor(a!)[] outs')}) -> ()",
    reference=normals_ref,
    fake=lambda *arguments: None,
)
_integers_op = define_op(
    f"sample_integers_({_PLACE}, int low, int high) -> ()",
    reference=integers_ref,
    fake=lambda *arguments: None,
)


def is_drawn_at_once(device: torch.device) -> bool:
    """Whether a draw on `device` is one operator, and not torch's functions of words.

    On a CPU it is these by design; tests run the CUDA kernels there.
    """
    if reference_is_forced():
        return False
    if torch.compiler.is_compiling():
        return device.type != "cpu"
    return device.type != "cpu" or has_kernel("sample_normal_", "cpu")


def uniform(place: Place, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Uniform numbers in [0, 1) where `is_drawn_at_once`.

    Args:
        place: where the words are; a row takes one for each number.
        shape: [rows, ...].
        dtype: floating point.

    Returns:
        A tensor of that shape on the key's device.
    """
    out = torch.empty(shape, dtype=dtype, device=place.key.device)
    _uniform_op(out, *place)
    return out


def normal(place: Place, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Normal numbers where `is_drawn_at_once`.

    Args:
        place: where the words are; a row takes one for two numbers, rounded up.
        shape: [rows, ...].
        dtype: floating point.

    Returns:
        A tensor of that shape on the key's device.
    """
    out = torch.empty(shape, dtype=dtype, device=place.key.device)
    _normal_op(out, *place)
    return out


def normals(place: Place, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Normal numbers for several tensors, in one operator, where `is_drawn_at_once`.

    Args:
        place: where the words of the first are; those of the next one follow.
        shapes: [rows, ...] of each, of the same rows.

    Returns:
        float32 tensors on the key's device, the numbers of `normal` one after another.
    """
    sizes = [math.prod(shape) for shape in shapes]
    flat = torch.empty(sum(sizes), device=place.key.device, dtype=torch.float32)
    outs = [t.view(shape) for t, shape in zip(flat.split(sizes), shapes, strict=True)]
    _normals_op(outs, *place)
    return outs


def integers(
    place: Place, low: int, high: int, shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    """Whole numbers low … high - 1 where `is_drawn_at_once`.

    Args:
        place: where the words are; a row takes one for each number.
        low: the smallest number.
        high: the largest number plus 1.
        shape: [rows, ...].
        dtype: any; kernels write int64 and floating point, others are cast from int64.

    Returns:
        A tensor of that shape on the key's device.
    """
    own = dtype if dtype.is_floating_point else torch.int64
    out = torch.empty(shape, dtype=own, device=place.key.device)
    _integers_op(out, *place, low, high)
    return out.to(dtype)
