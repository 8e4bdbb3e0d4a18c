# SPDX-License-Identifier: Apache-2.0
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
13). A sample's sequence is thus SplitMix64 itself, seeded by another SplitMix64. How numbers are
made of words is said in fastgan/ops/sample_random.py: uniform ones of 24 bits (53 for float64),
whole ones by multiplication, normal ones by Box and Muller's formula, two per word, up to ±6.66.

Float64 normals are the float32 ones without their rounding. With no active stream each function
uses torch's global generator only: `normal(n, 3)` then equals `torch.randn(n, 3)`, bit by bit.

A stream counts the draws inside it, so every process must make the same draws. A module that draws
from torch itself is not covered.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fastgan.ops import sample_random
from fastgan.ops.sample_random import GAMMA, Place, is_drawn_at_once, mix, sample_words, signed

__all__ = ["integers", "normal", "normal_like", "sample_stream", "step_key", "uniform"]

_BLOCK = 32  # words that draws of a few numbers per row are served from on a CPU


def step_key(seed: int, step: int) -> int:
    """The key of one step for `sample_stream`.

    Args:
        seed: seed of the run.
        step: number of the step.

    Returns:
        An int in the range of int64 that differs between seeds and between steps.
    """
    return signed(mix(mix(seed + GAMMA) + step * GAMMA))


class _Stream:
    """The position in the samples' sequences, which is the same for all samples."""

    def __init__(self, key: int | Tensor, phase: int, first: int, stride: int):
        self.first, self.stride = first, stride
        self.offset = signed(mix(phase) + (0 if isinstance(key, Tensor) else key))
        self.used = 0
        self.ahead: deque[Tensor] = deque()  # drawn and not yet asked for: see `normals_ahead`
        self._key = key if isinstance(key, Tensor) else None
        self._block: Tensor | None = None  # [n, _BLOCK]
        self._block_begin = 0

    def place(self, count: int, device: torch.device) -> Place:
        """Where the next `count` words of every row are."""
        if self.ahead:
            raise RuntimeError(
                "sample_rng: within normals_ahead only the draws that were announced may be made"
            )
        begin, self.used = self.used, self.used + count
        return self._at(begin, device)

    def words(self, n: int, count: int, device: torch.device) -> Tensor:
        """The next `count` words of rows 0 … n - 1: int64 [n, count], not to be changed."""
        begin, self.used = self.used, self.used + count
        if count > _BLOCK // 4:
            return sample_words(self._at(begin, device), n, count)
        end = self._block_begin + _BLOCK
        block = self._block
        if block is None or block.shape[0] < n or not self._block_begin <= begin <= end - count:
            block = self._block = sample_words(self._at(begin, device), n, _BLOCK)
            self._block_begin = begin
        begin -= self._block_begin
        return block[:n, begin : begin + count]

    def _at(self, begin: int, device: torch.device) -> Place:
        if self._key is None:
            self._key = torch.zeros([], dtype=torch.int64, device=device)
        return Place(self._key, self.offset, self.first, self.stride, begin)


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
    count = math.prod(shape[1:])
    if is_drawn_at_once(device):
        return sample_random.uniform(stream.place(count, device), shape, dtype)
    words = stream.words(shape[0], count, device)
    return sample_random.uniform_of(words, dtype).reshape(shape)


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

    Raises:
        ValueError: when there is no number to draw, or there are more than 2^32.
    """
    if not 1 <= high - low <= 2**32:
        raise ValueError(
            f"integers: high must be low + 1 to low + 2^32, got low={low} and high={high}; the "
            "numbers are low, low + 1 and so on to high - 1"
        )
    if (stream := _stream) is None:
        return torch.randint(low, high, shape, dtype=dtype, device=device)
    _, device = _options(None, device)
    count = math.prod(shape[1:])
    if is_drawn_at_once(device):
        return sample_random.integers(stream.place(count, device), low, high, shape, dtype)
    words = stream.words(shape[0], count, device)
    return sample_random.integers_of(words, low, high, dtype).reshape(shape)


def place_at_once(count: int, device: torch.device) -> Place | None:
    """Where the next `count` words of every row are, for an op that makes its numbers itself.

    Args:
        count: words of each row; the stream goes on after them.
        device: of the draw.

    Returns:
        None where no stream is active, or the device draws by torch's functions.
    """
    if (stream := _stream) is None or not is_drawn_at_once(device):
        return None
    return stream.place(count, device)


@contextmanager
def normals_ahead(shapes: Sequence[tuple[int, ...]], device: torch.device) -> Iterator[None]:
    """Draws what calls of `normal` in the block ask for: all of it in one operator.

    The numbers are those of the calls one by one. Without a stream, and where a device draws by
    torch's functions, nothing is drawn ahead.

    Args:
        shapes: [rows, ...] of each call, in their order, of the same rows; in float32. The block
            makes no other draw.
        device: of the calls.

    Raises:
        RuntimeError: when a call asks for something else, or the block for less.
    """
    stream = _stream
    if stream is None or not shapes or not is_drawn_at_once(device):
        yield
        return
    count = sum((math.prod(shape[1:]) + 1) // 2 for shape in shapes)
    stream.ahead.extend(sample_random.normals(stream.place(count, device), shapes))
    try:
        yield
        if stream.ahead:
            shape = tuple(stream.ahead[0].shape)
            raise RuntimeError(f"normals_ahead: the block did not ask for noise of shape {shape}")
    finally:
        stream.ahead.clear()


def _normal(stream: _Stream, shape: tuple[int, ...], dtype, device) -> Tensor:
    dtype, device = _options(dtype, device)
    n, size = shape[0], math.prod(shape[1:])
    count = (size + 1) // 2
    if stream.ahead:
        drawn = stream.ahead.popleft()
        if drawn.shape != shape or drawn.dtype != dtype:
            raise RuntimeError(
                f"normals_ahead: expected a draw of {tuple(drawn.shape)} in float32, got {shape} "
                f"in {dtype}; announce the draws in their order"
            )
        return drawn
    if is_drawn_at_once(device):
        return sample_random.normal(stream.place(count, device), shape, dtype)
    words = stream.words(n, count, device)  # [n, pairs]
    return sample_random.normal_of(words, size, dtype).reshape(shape)


def _options(dtype, device) -> tuple[torch.dtype, torch.device]:
    dtype = torch.get_default_dtype() if dtype is None else dtype
    return dtype, torch.get_default_device() if device is None else torch.device(device)
