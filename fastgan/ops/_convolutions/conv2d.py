# SPDX-License-Identifier: Apache-2.0
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
from fastgan.autocast import autocast_type
from fastgan.ops._backend import _forced_reference, native_module, reference_is_forced
from fastgan.ops._layout import dense_format
from fastgan.ops._operands import check_count, plain_numbers
from fastgan.ops._torch_conv import convolve
from fastgan.ops.grouped_conv2d import grouped_conv2d
from fastgan.ops.winograd_conv2d import winograd_conv2d
from fastgan.ops.winograd_strided_conv2d import winograd_strided_conv2d

__all__ = ["Conv2dChoice", "conv2d", "conv2d_choice", "use_winograd"]

# Measured against oneDNN in NHWC and NCHW, 1 thread, 64 to 512 channels: from here on every pass
# gains (1.1 at 32 tiles and 256 channels, where transforming the weights is half of the work, 2 and
# more from 128 tiles on). A thread wants as many tiles as one thread alone.
FEWEST_CHANNELS = 64
FEWEST_TILES = 32  # of 4×4 outputs, in the batch, for each thread
# The same for stride 2, and of 4×4 inputs of its transpose: 1.1 and more forward and
# backward with AVX-512; AVX2 is not measured.
FEWEST_STRIDED_TILES = 32

# Of 4×4 taps, on AMX: 1.1 to 1.3 forward and backward, from here on, in channels_last; contiguous
# maps gain nothing, as they are copied.
FEWEST_FOUR_TAP_TILES = 64

# The same in groups of 8 to 64 channels, which `grouped_conv2d` takes: forward and backward are 1.2
# (8 tiles, 512 channels) to 2.1 times as fast from here on, with 1 and 2 threads, but only in
# channels_last: contiguous maps oneDNN takes twice as fast, and ours would copy them. What lies
# outside the map of a tile's products is lost: with 9/16 inside (9×9 maps) nothing is gained.
GROUP_WIDTHS = (8, 16, 32, 64)
FEWEST_GROUPED_TILES, FEWEST_TILE_CHANNELS = 8, 2048  # tiles times channels, for each thread
SMALLEST_SHARE = 9 / 16  # of the tiles' pixels; more than this

_setting: ContextVar[str | None] = ContextVar("fastgan_winograd", default=None)


class Conv2dChoice(NamedTuple):
    """Which algorithm `conv2d` uses, and why.

    Attributes:
        is_winograd: whether it is one of Winograd's.
        reason: why, in words.
        algorithm: the name of the op of `fastgan.ops`, or "torch".
    """

    is_winograd: bool
    reason: str
    algorithm: str = "torch"


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
    is_channels_last: bool = True


def pair_from_0(op: str, name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = plain_numbers(value if isinstance(value, tuple | list) else (value, value))
    if len(pair) != 2 or not all(
        isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in pair
    ):
        raise ValueError(f"{op}: {name} must be an int ≥ 0 or a pair of them, got {value!r}")
    return pair


def whole_groups(op: str, groups: int) -> int:
    """`groups`, of a trace too, as an int ≥ 1."""
    if type(groups) is not int:
        (groups,) = plain_numbers((groups,))
        check_count(op, "groups", groups)
    return groups


def _choose(f: _Facts) -> Conv2dChoice:
    """A pure function: the order of the tests is from what is impossible to what is too small."""
    if f.setting == "0":
        return Conv2dChoice(False, "Winograd is off: FASTGAN_WINOGRAD=0 or use_winograd('0')")
    if f.device_type != "cpu":
        return Conv2dChoice(False, f"{f.device_type} tensors: cuDNN chooses for itself")
    if f.isa is None:
        return Conv2dChoice(False, "no native kernel is loaded: see fastgan.ops.backends()")
    if f.is_autocast:
        return Conv2dChoice(False, "under autocast, torch convolves in 16 bits")
    if any(dtype != torch.float32 for dtype in f.dtypes):
        return Conv2dChoice(False, f"{', '.join(map(str, f.dtypes))}: Winograd takes float32")
    is_four = f.w[2:] == (4, 4) and f.stride == (2, 2) and f.groups == 1
    if len(f.x) != 4 or not (f.w[2:] == (3, 3) or is_four):
        return Conv2dChoice(False, "not a 3×3 convolution, nor a 4×4 one of stride 2")
    if is_four and f.isa != "amx":
        return Conv2dChoice(False, "4×4 taps: the kernels of stride 2 need AMX")
    if f.stride not in ((1, 1), (2, 2)) or (f.groups > 1 and f.stride != (1, 1)):
        takes = "1 and 2" if f.groups == 1 else "1 in groups"
        return Conv2dChoice(False, f"stride {f.stride}: Winograd takes {takes}")
    if max(f.padding) > 2:
        return Conv2dChoice(False, f"padding {f.padding}: Winograd takes 0, 1 or 2")
    oh, ow = ((f.x[2 + i] + 2 * f.padding[i] - f.w[2]) // f.stride[i] + 1 for i in range(2))
    fits = f.groups > 0 and f.x[1] == f.w[1] * f.groups and f.w[0] % f.groups == 0
    if not fits or min(oh, ow) < 1 or (f.groups > 1 and 0 in f.w):
        return Conv2dChoice(False, "the shapes do not fit each other: see PyTorch's error")
    name = "winograd_conv2d" if f.stride == (1, 1) else "winograd_strided_conv2d"
    name = name if f.groups == 1 else "grouped_conv2d"
    if f.setting == "1":
        reason = "Winograd is forced: FASTGAN_WINOGRAD=1 or use_winograd('1')"
        return Conv2dChoice(True, reason, name)
    if f.isa == "baseline":
        return Conv2dChoice(False, "neither AVX2 nor AVX-512: not measured")
    tiles = f.x[0] * ((oh + 3) // 4) * ((ow + 3) // 4)
    objection = _too_few(f, tiles) if f.groups == 1 else _in_groups(f, tiles, oh * ow)
    if objection is not None:
        return Conv2dChoice(False, objection)
    return Conv2dChoice(True, "measured to be faster at these shapes", name)


def _too_few(f: _Facts, tiles: int) -> str | None:
    if min(f.w[0], f.w[1]) < FEWEST_CHANNELS:
        return f"fewer than {FEWEST_CHANNELS} channels"
    if f.w[2] == 4 and not f.is_channels_last:
        return "x is not in channels_last, and copying it costs what 4×4 taps gain"
    fewest = FEWEST_TILES if f.stride == (1, 1) else FEWEST_STRIDED_TILES
    fewest = (FEWEST_FOUR_TAP_TILES if f.w[2] == 4 else fewest) * f.threads
    return f"fewer than {fewest} tiles of 4×4 pixels in the batch" if tiles < fewest else None


def _in_groups(f: _Facts, tiles: int, pixels: int) -> str | None:
    if not {f.w[0] // f.groups, f.w[1]} <= set(GROUP_WIDTHS):
        return f"groups of another width than {', '.join(map(str, GROUP_WIDTHS))} channels"
    if not f.is_channels_last:
        return "x is not in channels_last, and copying it costs what Winograd gains in groups"
    channels = min(f.x[1], f.w[0])
    fewest = max(FEWEST_GROUPED_TILES, -(-FEWEST_TILE_CHANNELS * f.threads // channels))
    if tiles < fewest:
        return f"fewer than {fewest} tiles of 4×4 pixels in the batch of {channels} channels"
    if f.x[0] * pixels <= SMALLEST_SHARE * 16 * tiles:
        return "the tiles of 4×4 pixels lie too far outside the maps"
    return None


def _active_isa() -> str | None:
    module = native_module()
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
        torch.is_autocast_enabled(autocast_type(x.device)),
        _isa(),
        _first_threads if torch.compiler.is_compiling() else torch.get_num_threads(),
        _active_setting(),
        x.dim() != 4 or dense_format(x) == torch.channels_last,
    )


# Finding a choice again takes a third of the time of a small convolution.
_remembered: dict[tuple, Conv2dChoice] = {}
_MOST_REMEMBERED = 4096
_WIDE = (torch.float32, torch.float64)
_is_any_autocast, _is_reference = torch._C._is_any_autocast_enabled, _forced_reference.get


def _remembered_choice(x, w, b, stride, padding, groups) -> Conv2dChoice:
    """`conv2d_choice`, out of a table once it is known; the table's key is all of `_Facts`."""
    # (True, 1) equals (1, 1) as a key of the table
    is_plain = type(groups) is int and all(
        type(v) is int or (type(v) is tuple and bool not in map(type, v)) for v in (stride, padding)
    )
    if torch.compiler.is_compiling() or torch._C._is_tracing() or not x.is_cpu or not is_plain:
        return conv2d_choice(x, w, b, stride, padding, groups)
    key = (
        x.shape,
        w.shape,
        stride,
        padding,
        groups,
        x.dtype,
        w.dtype,
        None if b is None else b.dtype,
        _is_any_autocast() and torch.is_autocast_enabled("cpu"),
        None if (module := native_module()) is None else module.active_isa(),
        torch.get_num_threads(),
        _setting.get() or environment.winograd(),
        (groups == 1 and w.shape[-1] == 3)
        or x.dim() != 4
        or dense_format(x) == torch.channels_last,
        _is_reference(),
    )
    try:
        found = _remembered.get(key)
    except TypeError:  # a list, or a size that is a symbol
        return conv2d_choice(x, w, b, stride, padding, groups)
    if found is None:
        found = conv2d_choice(x, w, b, stride, padding, groups)
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = found
    return found


def conv2d_choice(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> Conv2dChoice:
    """Which algorithm `conv2d` uses for these arguments, and why.

    Arguments are those of `fastgan.ops.conv2d`; nothing is computed.

    Returns:
        Whether it is Winograd's algorithm (`is_winograd`), the `reason` in words, and the name of
        the
        op or "torch" (`algorithm`).

    Raises:
        ValueError: stride or padding is not an int ≥ 0 or a pair of them.
    """
    if reference_is_forced():
        return Conv2dChoice(False, "use_backend('reference') is active")
    pairs = pair_from_0("conv2d", "stride", stride), pair_from_0("conv2d", "padding", padding)
    return _choose(_facts(x, w, b, *pairs, whole_groups("conv2d", groups)))


def conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> torch.Tensor:
    """y = w ⋆ x + b, as torch.nn.functional.conv2d, by the algorithm that is measured to be faster.

    Kernels of fastgan are used on a CPU, in float32, where they are faster: Winograd's algorithm
    for 3×3 taps of stride 1 or 2, and on AMX direct sums of stride 2, of 4×4 taps too in
    channels_last. PyTorch's own convolution is used otherwise.

    On an Intel CPU with AMX, torch 2.13's own bfloat16 and float16 convolution returns garbage
    where the map is too small for the kernel (stride 2 on maps of width 1; a kernel wider than the
    map), in values and in gradients. This function computes such maps in float32 and rounds once. A
    `torch.nn.Conv2d` in a model of your own does not: use this function there, or set
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16.

    Args:
        x: [N, C, H, W]; any device, dtype and memory format.
        w: [K, C / groups, kh, kw], of x's dtype.
        b: [K], of x's dtype, or None.
        stride: an int or a pair (y, x).
        padding: zeros on every side, an int or a pair (y, x).
        groups: as in PyTorch.

    Returns:
        [N, K, OH, OW]. Where Winograd's algorithm is used (`conv2d_choice` says so) the error is
        that
        of the op that its `algorithm` names; elsewhere the result is PyTorch's, bit for bit, but
        for
        the small maps in 16 bits. Derivatives of any order; the backward passes use the algorithm
        of
        the forward pass.

    Raises:
        ValueError: stride or padding is not an int ≥ 0 or a pair of them, or groups no int
            ≥ 1. PyTorch refuses the rest.
    """
    shape = w.shape
    # Not of 16 bits, whose small maps are guarded.
    is_eager = not torch.compiler.is_compiling()  # which cannot trace the question of autocast
    is_plain = is_eager and len(shape) == 4 and x.dtype in _WIDE and not _is_any_autocast()
    if (
        is_plain
        and type(stride) is type(padding) is type(groups) is int
        and not torch._C._is_tracing()
    ):
        # After a convolution Python's code is cold, and what it does here takes thrice as long.
        k, c, kh, kw = shape
        is_torchs = kh != kw or (kh != 3 and (kh != 4 or stride != 2))
        if not is_torchs and groups == 1 and (c < FEWEST_CHANNELS or k < FEWEST_CHANNELS):
            is_torchs = _active_setting() != "1"
        if is_torchs and stride >= 0 <= padding and groups > 0:
            return F.conv2d(x, w, b, stride, padding, 1, groups)
    choice = _remembered_choice(x, w, b, stride, padding, groups)
    if not choice.is_winograd:
        if is_plain:
            return F.conv2d(x, w, b, stride, padding, 1, groups)
        return convolve(x, w, b, stride, padding, 1, groups)
    pads = pair_from_0("conv2d", "padding", padding)
    pair_from_0("conv2d", "stride", stride)  # 1.0 finds what is remembered of 1
    if choice.algorithm == "grouped_conv2d":
        y = grouped_conv2d(x, w, groups, pads)
    elif choice.algorithm == "winograd_strided_conv2d":
        y = winograd_strided_conv2d(x, w, pads)
    else:
        y = winograd_conv2d(x, w, pads)
    return y if b is None else y + b[:, None, None]


@contextlib.contextmanager
def use_winograd(setting: str) -> Iterator[None]:
    """Within the block, when `conv2d` and `conv_transpose2d` use Winograd's algorithm.

    Overrides FASTGAN_WINOGRAD. Does not reach into a function under `torch.compile`, which reads
    FASTGAN_WINOGRAD alone.

    The setting is the block's own: a thread that is started within it has the default, and enters a
    block of its own.

    Args:
        setting: "0" never, "1" wherever possible, "auto" where it is measured to be faster.

    Yields:
        Nothing.

    Raises:
        ValueError: setting is none of these.
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
