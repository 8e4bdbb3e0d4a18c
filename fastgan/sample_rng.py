"""Random numbers that belong to a sample: a pure function of (seed, step, phase, sample index).

Within `sample_stream` every sample has its own sequence of 64-bit words, and each draw uses the
next words of each of its rows. How a batch is divided over processes and micro-batches therefore
never changes a sample's numbers, and nothing has to be saved to resume a run. All arithmetic is
int64 on the device and can be captured: if `key` is a device tensor, each replay draws new numbers.

    w(s, j) = mix(k(s) + j·γ)              word j = 0, 1, … of sample s
    k(s)    = mix(key + mix(phase) + s·γ)
    key     = mix(mix(seed + γ) + step·γ)  `step_key`, on the host

with all sums modulo 2^64, γ = 2^64 / golden ratio, and mix the finaliser of SplitMix64 (Steele, Lea
and Flood, "Fast splittable pseudorandom number generators", 2014; constants of Stafford's variant
13). A sample's sequence is thus SplitMix64 itself, seeded by another SplitMix64.

    uniform    the top 24 bits of a word (53 for float64) · 2^-24 (2^-53), in [0, 1)
    integers   low + ⌊(top 32 bits) · (high - low) / 2^32⌋
    normal     Box and Muller (1958), two per word: r·cos(π·b/2^31) and r·sin(π·b/2^31) with
               r = √(-2 ln(|a|/2^31 + 2^-32)); a, b the upper and lower half, signed; up to ±6.66

Float64 normals are the float32 ones without their rounding. With no active stream each function
uses torch's global generator only: `normal(n, 3)` then equals `torch.randn(n, 3)`, bit by bit.

A stream counts the draws inside it, so every process must make the same draws. A module that draws
from torch itself is not covered.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["integers", "normal", "normal_like", "sample_stream", "step_key", "uniform"]

_GAMMA = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_BLOCK = 32  # words that draws of a few numbers per row are served from: fewer and larger ops


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SIGNED_GAMMA = _signed(_GAMMA)
_SIGNED_FACTORS = tuple(_signed(factor) for factor in _FACTORS)


def _mix_int(z: int) -> int:
    z &= _MASK
    z = (z ^ (z >> 30)) * _FACTORS[0] & _MASK
    z = (z ^ (z >> 27)) * _FACTORS[1] & _MASK
    return z ^ (z >> 31)


def _mix_(z: Tensor) -> Tensor:
    """The same in place, z int64."""
    z.bitwise_xor_(_shifted(z, 30)).mul_(_SIGNED_FACTORS[0])
    z.bitwise_xor_(_shifted(z, 27)).mul_(_SIGNED_FACTORS[1])
    return z.bitwise_xor_(_shifted(z, 31))


def _shifted(z: Tensor, bits: int) -> Tensor:
    """z shifted right as an unsigned number; torch's own shift repeats the sign bit."""
    return (z >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def step_key(seed: int, step: int) -> int:
    """The key of one step for `sample_stream`.

    Args:
        seed: seed of the run.
        step: number of the step.

    Returns:
        An int in the range of int64 that differs between seeds and between steps.
    """
    return _signed(_mix_int(_mix_int(seed + _GAMMA) + step * _GAMMA))


class _Stream:
    """The position in the samples' sequences, which is the same for all samples."""

    def __init__(self, key: int | Tensor, phase: int, first: int, stride: int):
        self.key, self.first, self.stride = key, first, stride
        self.phase = _signed(_mix_int(phase))
        self.used = 0
        self._keys: Tensor | None = None  # [n]: k of as many rows as were asked for
        self._block: Tensor | None = None  # [_BLOCK, n]
        self._block_begin = 0

    def words(self, n: int, count: int, device: torch.device) -> Tensor:
        """The next `count` words of rows 0 … n - 1: int64 [n, count], not to be changed."""
        begin, self.used = self.used, self.used + count
        keys = self._row_keys(n, device)
        if count > _BLOCK // 4:
            return _mix_(keys[:n, None] + self._steps(begin, count, device))
        end = self._block_begin + _BLOCK
        block = self._block
        if block is None or block.shape[1] < n or not self._block_begin <= begin <= end - count:
            block = self._block = _mix_(self._steps(begin, _BLOCK, device)[:, None] + keys)
            self._block_begin = begin
        begin -= self._block_begin
        return block[begin : begin + count, :n].t()

    def _row_keys(self, n: int, device: torch.device) -> Tensor:
        if self._keys is None or len(self._keys) < n:
            end = self.first + n * self.stride
            rows = torch.arange(self.first, end, self.stride, device=device)
            self._keys = _mix_(rows.mul_(_SIGNED_GAMMA).add_(self.key).add_(self.phase))
        return self._keys

    @staticmethod
    def _steps(begin: int, count: int, device: torch.device) -> Tensor:
        return torch.arange(begin, begin + count, device=device).mul_(_SIGNED_GAMMA)


# Of the process, not a ContextVar: torch.compile can't trace one.
_stream: _Stream | None = None


@contextmanager
def sample_stream(
    key: int | Tensor, phase: int = 0, *, first: int = 0, stride: int = 1
) -> Iterator[None]:
    """Let the rows of every draw in the block be samples first, first + stride, and so on.

    Every draw starts at row 0 of these. Streams nest; the inner one is used. A stream belongs to
    the process: other threads must not draw meanwhile, and activation checkpointing, which draws
    again in the backward pass, must not be used across a draw.

    Args:
        key: `step_key(seed, step)`, or a 0-dim int64 tensor holding it on the device of the draws.
        phase: any whole number; streams of one key and different phases are independent.
        first: index of the first sample. Process r of W, in micro-batch a of A, has the samples
            (r + W·a) + W·A·row: first = r + W·a, stride = W·A. Groups of the minibatch standard
            deviation, samples i with equal i mod (N / G), are then in one process if G divides the
            rows of a micro-batch.
        stride: distance of the indices of two rows.

    Raises:
        ValueError: for first < 0, stride < 1, or a key that is a tensor but not a 0-dim int64.
    """
    if first < 0 or stride < 1:
        raise ValueError(
            f"sample_stream: expected first >= 0 and stride >= 1, got {first} and {stride}; "
            "the whole batch in one process is first=0, stride=1"
        )
    if isinstance(key, Tensor) and (key.dtype != torch.int64 or key.dim() != 0):
        raise ValueError(
            f"sample_stream: key must be an int or a 0-dim int64 tensor, got {key.dtype} of shape "
            f"{tuple(key.shape)}; fill one with step_key(seed, step)"
        )
    global _stream
    outer, _stream = _stream, _Stream(key, phase, first, stride)
    try:
        yield
    finally:
        _stream = outer


def normal(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Draw from N(0, 1), as `torch.randn`.

    Args:
        *shape: [rows, ...].
        dtype: None is torch's default dtype.
        device: None is torch's default device.

    Returns:
        A contiguous tensor.
    """
    if (stream := _stream) is None:
        return torch.randn(*shape, dtype=dtype, device=device)
    return _normal(stream, shape, dtype, device)


def normal_like(x: Tensor) -> Tensor:
    """Draw from N(0, 1), as `torch.randn_like`.

    Args:
        x: [rows, ...]; its values are not read.

    Returns:
        A tensor of x's shape, dtype, device and strides.
    """
    if (stream := _stream) is None:
        return torch.randn_like(x)
    return torch.empty_like(x).copy_(_normal(stream, tuple(x.shape), x.dtype, x.device))


def uniform(
    *shape: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Draw from the uniform distribution on [0, 1), as `torch.rand`.

    Args:
        *shape: [rows, ...].
        dtype: None is torch's default dtype.
        device: None is torch's default device.

    Returns:
        A tensor of that shape.
    """
    if (stream := _stream) is None:
        return torch.rand(*shape, dtype=dtype, device=device)
    dtype, device = _options(dtype, device)
    bits = 53 if dtype == torch.float64 else 24
    words = stream.words(shape[0], math.prod(shape[1:]), device)
    wide = torch.promote_types(dtype, torch.float32)
    return _shifted(words, 64 - bits).to(wide).mul_(2.0**-bits).to(dtype).reshape(shape)


def integers(
    low: int,
    high: int,
    *shape: int,
    dtype: torch.dtype = torch.int64,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw whole numbers low … high - 1 uniformly, as `torch.randint`.

    Args:
        low: the smallest number.
        high: the largest number plus 1.
        *shape: [rows, ...].
        dtype: dtype of the result.
        device: None is torch's default device.

    Returns:
        A tensor of that shape.
    """
    if (stream := _stream) is None:
        return torch.randint(low, high, shape, dtype=dtype, device=device)
    _, device = _options(None, device)
    words = stream.words(shape[0], math.prod(shape[1:]), device)
    return ((_shifted(words, 32) * (high - low) >> 32) + low).to(dtype).reshape(shape)


def _normal(stream: _Stream, shape: tuple[int, ...], dtype, device) -> Tensor:
    dtype, device = _options(dtype, device)
    wide = torch.promote_types(dtype, torch.float32)
    n, size = shape[0], math.prod(shape[1:])
    words = stream.words(n, (size + 1) // 2, device)  # [n, pairs]
    radius = (words >> 32).to(wide).abs_()  # exact near 0, where the tail comes from
    radius = radius.mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = words.to(torch.int32).to(wide).mul_(math.pi * 2.0**-31)
    pair = torch.cat([angle.cos().mul_(radius), angle.sin().mul_(radius)], 1)
    return pair[:, :size].reshape(shape).to(dtype)


def _options(dtype, device) -> tuple[torch.dtype, torch.device]:
    dtype = torch.get_default_dtype() if dtype is None else dtype
    return dtype, torch.get_default_device() if device is None else torch.device(device)
