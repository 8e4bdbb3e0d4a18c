"""conv2d: torch.nn.functional.conv2d, with Winograd's algorithm where it is measured to be faster.

The choice depends on nothing but shapes, dtypes, device, autocast, instruction set and number of
threads, and says why (`conv2d_choice`). FASTGAN_WINOGRAD=0 keeps it off, 1 takes it wherever it is
possible; `use_winograd` does the same for a block of code.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import torch
import torch.nn.functional as F

from fastgan import environment
from fastgan.ops import _backend
from fastgan.ops.winograd_conv2d import winograd_conv2d
from fastgan.ops.winograd_strided_conv2d import winograd_strided_conv2d

# Measured against oneDNN in NHWC and NCHW, 1 thread, 64 to 512 channels: from here on every pass
# gains (1.1 at 32 tiles and 256 channels, where transforming the weights is half of the work, 2 and
# more from 128 tiles on). A thread wants as many tiles as one thread alone.
FEWEST_CHANNELS = 64
FEWEST_TILES = 32  # of 4×4 outputs, in the batch, for each thread
FEWEST_STRIDED_TILES = 32  # the same for stride 2, and of 4×4 inputs of its transpose

_setting: ContextVar[str | None] = ContextVar("fastgan_winograd", default=None)


class Conv2dChoice(NamedTuple):
    """Which algorithm `conv2d` takes, and why."""

    is_winograd: bool
    reason: str


class _Facts(NamedTuple):
    """All that the choice depends on."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    dtypes: tuple[torch.dtype, ...]
    device_type: str
    is_autocast: bool
    isa: str | None  # None: no native kernel
    threads: int
    setting: str


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= 0 for v in pair):
        raise ValueError(f"conv2d: {name} must be an int ≥ 0 or a pair of them, got {value!r}")
    return pair


def _choose(f: _Facts) -> Conv2dChoice:
    """A pure function: the order of the tests is from what is impossible to what is too small."""
    if f.setting == "0":
        return Conv2dChoice(False, "Winograd is off: FASTGAN_WINOGRAD=0 or use_winograd('0')")
    if f.device_type != "cpu":
        return Conv2dChoice(False, f"{f.device_type} tensors: cuDNN chooses for itself")
    if f.isa is None:
        return Conv2dChoice(False, "no native kernel answers: see fastgan.ops.backends()")
    if f.is_autocast:
        return Conv2dChoice(False, "under autocast, torch convolves in 16 bits")
    if any(dtype != torch.float32 for dtype in f.dtypes):
        return Conv2dChoice(False, f"{', '.join(map(str, f.dtypes))}: Winograd takes float32")
    if len(f.x) != 4 or f.w[2:] != (3, 3) or f.groups != 1:
        return Conv2dChoice(False, "not a 3×3 convolution without groups")
    if f.stride not in ((1, 1), (2, 2)):
        return Conv2dChoice(False, f"stride {f.stride}: Winograd takes 1 and 2")
    if max(f.padding) > 2:
        return Conv2dChoice(False, f"padding {f.padding}: Winograd takes 0, 1 or 2")
    stride = f.stride[0]
    oh, ow = ((f.x[2 + i] + 2 * f.padding[i] - 3) // stride + 1 for i in range(2))
    if f.x[1] != f.w[1] or min(oh, ow) < 1:
        return Conv2dChoice(False, "the shapes do not fit: torch says how")
    if f.setting == "1":
        return Conv2dChoice(True, "Winograd is forced: FASTGAN_WINOGRAD=1 or use_winograd('1')")
    if f.isa == "baseline":
        return Conv2dChoice(False, "neither AVX2 nor AVX-512: not measured")
    if min(f.w[0], f.w[1]) < FEWEST_CHANNELS:
        return Conv2dChoice(False, f"fewer than {FEWEST_CHANNELS} channels")
    tiles = f.x[0] * ((oh + 3) // 4) * ((ow + 3) // 4)
    fewest = (FEWEST_TILES if stride == 1 else FEWEST_STRIDED_TILES) * f.threads
    if tiles < fewest:
        return Conv2dChoice(False, f"fewer than {fewest} tiles of 4×4 pixels in the batch")
    return Conv2dChoice(True, "measured to be faster at these shapes")


def _active_isa() -> str | None:
    module = _backend.native_module()
    return None if module is None else module.active_isa()


# What torch.compile goes by: it can trace neither question.
_loaded_isa, _first_threads = _active_isa(), torch.get_num_threads()


def _isa() -> str | None:
    return _loaded_isa if torch.compiler.is_compiling() else _active_isa()


def _active_setting() -> str:
    forced = None if torch.compiler.is_compiling() else _setting.get()
    return forced or environment.winograd()


def _facts(x, w, b, stride, padding, groups) -> _Facts:
    return _Facts(
        tuple(x.shape),
        tuple(w.shape),
        stride,
        padding,
        groups,
        (x.dtype, w.dtype) if b is None else (x.dtype, w.dtype, b.dtype),
        x.device.type,
        torch.is_autocast_enabled(x.device.type),
        _isa(),
        _first_threads if torch.compiler.is_compiling() else torch.get_num_threads(),
        _active_setting(),
    )


def conv2d_choice(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> Conv2dChoice:
    """What `conv2d` with these arguments would take, `is_winograd`, and the `reason` in words."""
    if _backend.reference_is_forced():
        return Conv2dChoice(False, "use_backend('reference') is active")
    pairs = _pair("stride", stride), _pair("padding", padding)
    return _choose(_facts(x, w, b, *pairs, groups))


def conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> torch.Tensor:
    """y = w ⋆ x + b, as torch.nn.functional.conv2d, by the faster algorithm.

    Args:
        x: [N, C, H, W]; any device, dtype and layout.
        w: [K, C / groups, kh, kw], of x's dtype.
        b: [K] or None.
        stride, padding: an int or a pair (y, x).
        groups: as in torch.

    Returns:
        [N, K, OH, OW]. Where Winograd is taken (`conv2d_choice` tells), the error is that of
        `winograd_conv2d` or `winograd_strided_conv2d`; elsewhere the result is torch's, bit for
        bit. Derivatives: any order. The backward passes take the algorithm of the forward pass.

    Raises:
        ValueError for a stride or padding of another form; the rest is torch's to refuse.
    """
    if not conv2d_choice(x, w, b, stride, padding, groups).is_winograd:
        return F.conv2d(x, w, b, stride, padding, 1, groups)
    run = winograd_conv2d if _pair("stride", stride) == (1, 1) else winograd_strided_conv2d
    y = run(x, w, _pair("padding", padding))
    return y if b is None else y + b[:, None, None]


@contextlib.contextmanager
def use_winograd(setting: str) -> Iterator[None]:
    """Within the block, `conv2d` takes Winograd never ("0"), wherever possible ("1"), or where
    measured to be faster ("auto"), whatever FASTGAN_WINOGRAD says.

    Does not reach into a function under `torch.compile`, which reads FASTGAN_WINOGRAD alone.
    """
    if setting not in environment.WINOGRAD:
        raise ValueError(
            f"use_winograd: setting must be one of {', '.join(environment.WINOGRAD)}, "
            f"got {setting!r}"
        )
    token = _setting.set(setting)
    try:
        yield
    finally:
        _setting.reset(token)
