# SPDX-License-Identifier: Apache-2.0
"""The kernels' positions are those of the definition, which tests/augment looks at in images."""

import pytest
import torch
from _op_info import OpInfo
from _tolerances import assert_accurate, numpy64

from fastgan.augment.geometry import _CENTER, _LEAD
from fastgan.ops import augment_positions as ops
from fastgan.ops import use_backend
from fastgan.ops._backend import has_kernel

# images, height, width: none, one pixel, a row, fewer positions than a block, and several blocks
SHAPES = ((0, 4, 4), (2, 1, 1), (3, 1, 5), (3, 6, 1), (2, 3, 7), (3, 17, 20))
WIDE = (torch.float32, torch.float64)


def whole_matrices(n, height, width, device, dtype):
    """Flips, turns and shifts by up to three images."""
    far = 3 * max(height, width)
    matrices = torch.zeros(n, 3, 3, dtype=dtype)
    turns = torch.tensor([[[1, 0], [0, 1]], [[-1, 0], [0, 1]], [[-1, 0], [0, -1]]], dtype=dtype)
    if height == width:
        turns = torch.cat([turns, torch.tensor([[[0, -1], [1, 0]]], dtype=dtype)])
    matrices[:, :2, :2] = turns[torch.arange(n) % len(turns)]
    matrices[:, :2, 2] = torch.randint(-far, far + 1, (n, 2)).to(dtype)
    matrices[:, 2, 2] = 1
    return matrices.to(device)


def any_matrices(n, height, width, device, dtype):
    matrices = torch.randn(n, 3, 3, dtype=dtype)
    matrices[:, :2, 2] *= max(height, width)
    matrices[:, 2] = torch.tensor([0, 0, 1], dtype=dtype)
    return matrices.to(device)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixel_indices_are_those_of_the_definition(shape, dtype, device, seed):
    n, height, width = shape
    inverse = whole_matrices(n, height, width, device, dtype)
    got = ops.augment_pixel_index(inverse, height, width)
    assert got.shape == shape
    assert got.dtype == torch.int64
    assert torch.equal(got, ops.pixel_index_ref(inverse, height, width))


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("shape", SHAPES)
def test_grids_are_those_of_the_definition(shape, dtype, device, seed):
    """The error of a position is that of the sum before it is mirrored, times 2 / size."""
    n, height, width = shape
    inverse = any_matrices(n, height, width, device, dtype)
    got = ops.augment_warp_grid(inverse, height, width, lead=_LEAD, center=_CENTER)
    assert got.shape == (n, 2 * (height + _LEAD), 2 * (width + _LEAD), 2)
    assert got.is_contiguous()
    want = ops.warp_grid_ref(inverse.double(), height, width, _LEAD, _CENTER)
    # float64 of the definition rounds as often as the kernel's: both are compared with each other
    far = inverse[:, :2].double().abs()
    reach = far[..., 0] * (width + _LEAD) + far[..., 1] * (height + _LEAD) + far[..., 2]
    size = torch.tensor([width, height], dtype=torch.float64, device=device)
    scale = 4 + 4 * (reach + size) / size  # [N, 2]
    scale = scale[:, None, None, :].expand_as(want)
    assert_accurate(got, numpy64(want), numpy64(scale))


def test_by_hand(device):
    """Two columns on and one row up in an image of 3 rows and 4 columns, mirrored beyond it."""
    inverse = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]], device=device)
    columns, rows = [2, 3, 2, 1], [1, 0, 1]
    want = [[row * 4 + column for column in columns] for row in rows]
    assert ops.augment_pixel_index(inverse, 3, 4)[0].tolist() == want
    grid = ops.augment_warp_grid(inverse, 3, 4, lead=0, center=0.0)[0]
    # Every second sample of the doubled image is a pixel, whose own coordinate this is.
    assert grid[0, ::2, 0].tolist() == [(4 * column + 1) / 8 - 1 for column in columns]
    assert grid[::2, 0, 1].tolist() == pytest.approx([(4 * row + 1) / 6 - 1 for row in rows])


@pytest.mark.parametrize("layout", ["strided", "expanded"])
def test_any_layout_of_the_matrices(layout, device, seed):
    inverse = any_matrices(4, 5, 6, device, torch.float32)
    inverse = inverse[::2] if layout == "strided" else inverse[:1].expand(3, 3, 3)
    got = ops.augment_warp_grid(inverse, 5, 6, lead=1, center=0.5)
    want = ops.augment_warp_grid(inverse.contiguous(), 5, 6, lead=1, center=0.5)
    assert torch.equal(got, want)


def test_64_bit_indices_change_no_bit(backend, device, monkeypatch, seed):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    whole = whole_matrices(3, 17, 17, device, torch.float32)
    inverse = any_matrices(3, 17, 17, device, torch.float32)

    def both():
        index = ops.augment_pixel_index(whole, 17, 17)
        return index, ops.augment_warp_grid(inverse, 17, 17, lead=_LEAD, center=_CENTER)

    want = both()
    for limit in (3 * 44 * 44 * 2, 3 * 44 * 44 * 2 - 1, 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        for got, one in zip(both(), want, strict=True):
            assert torch.equal(got, one)


def test_use_backend_takes_the_definition(device, seed):
    inverse = any_matrices(2, 5, 6, device, torch.float32)
    with use_backend("reference"):
        got = ops.augment_warp_grid(inverse, 5, 6, lead=2, center=0.25)
    assert torch.equal(got, ops.warp_grid_ref(inverse, 5, 6, 2, 0.25))


def test_opcheck(device, seed):
    whole = whole_matrices(2, 5, 5, device, torch.float32)
    torch.library.opcheck(torch.ops.fastgan.augment_pixel_index.default, (whole, 5, 5))
    arguments = (any_matrices(2, 5, 6, device, torch.float32), 5, 6, 2, 0.25)
    torch.library.opcheck(torch.ops.fastgan.augment_warp_grid.default, arguments)


def test_kernels_guard_their_memory(device):
    if not has_kernel("augment_pixel_index", device.type):
        pytest.skip("plain PyTorch needs no guard")
    index, grid = torch.ops.fastgan.augment_pixel_index, torch.ops.fastgan.augment_warp_grid
    inverse = torch.eye(3, device=device)[None]
    with pytest.raises(RuntimeError, match="float32 or float64"):
        index(inverse.half(), 4, 4)
    with pytest.raises(RuntimeError, match="contiguous"):
        index(inverse.expand(2, 3, 3), 4, 4)
    with pytest.raises(RuntimeError, match="1 to 2"):
        index(inverse, 0, 4)
    with pytest.raises(RuntimeError, match="lead must be"):
        grid(inverse, 4, 4, -1, 0.0)


WRONG = torch.zeros(2, 3, 4)
OP_INFO = OpInfo(
    errors={
        "index": (
            ValueError,
            r"augment_pixel_index: inverse must have shape \[N, 3, 3\], got \(2, 3, 4\)",
            lambda: ops.augment_pixel_index(WRONG, 4, 4),
        ),
        "grid": (
            ValueError,
            r"augment_warp_grid: inverse must have shape \[N, 3, 3\], got \(2, 3, 4\)",
            lambda: ops.augment_warp_grid(WRONG, 4, 4, lead=1, center=0.0),
        ),
    },
    has_derivatives=False,
)
