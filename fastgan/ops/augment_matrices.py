# SPDX-License-Identifier: Apache-2.0
"""augment_matrices: the random matrices of discriminator augmentation, of every image at once.

    blit      inverse [N, 3, 3] of x-flip, quarter turns and whole translation
    inverse   inverse [N, 3, 3] of blit and then the general geometric transforms
    color     [N, C + 1, C + 1] on homogeneous colours, C channels

`blit_matrix`, `geom_matrix` and `color_matrix` define them: what is drawn, in which order, and what
is made of it. Coordinates are pixels with the origin at the image's centre. Image r belongs to
sample first + r·stride, and its numbers are made of words begin, begin + 1, … of that sample, as
fastgan/ops/sample_random.py says: one word for each number drawn. On CUDA it is one launch, with
the executed transforms of the definition and its numbers up to rounding. A CPU takes torch's
functions of the words. float32; not differentiable; capturable.
Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), appendix
B.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops.sample_random import Place, integers_of, normal_of, sample_words_ref, uniform_of

__all__: list[str] = []  # fastgan.augment is what users call

# What one number is: uniform in [0, 1), normal, or a whole number below the one given.
UNIFORM, NORMAL = "uniform", "normal"
Kind = str | int

GEOM: tuple[Kind, ...] = (
    UNIFORM, NORMAL, UNIFORM, UNIFORM, UNIFORM, NORMAL, UNIFORM, UNIFORM, UNIFORM, NORMAL, NORMAL,
)  # fmt: skip
SCALE_STD = 0.2 * math.log(2)
SHIFT = 0.125  # of the width or height


def blit_kinds(height: int, width: int) -> tuple[Kind, ...]:
    """What `blit_matrix` takes."""
    turns = 4 if height == width else 2
    return (UNIFORM, 2, UNIFORM, turns, UNIFORM, UNIFORM, UNIFORM)


def color_kinds(channels: int) -> tuple[Kind, ...]:
    """What `color_matrix` takes."""
    grey: tuple[Kind, ...] = (UNIFORM, NORMAL, UNIFORM, NORMAL, UNIFORM, 2)
    return grey if channels == 1 else (*grey, UNIFORM, UNIFORM, UNIFORM, NORMAL)


def blit_matrix(numbers: Iterable[Tensor], p: Tensor, height: int, width: int) -> Tensor:
    """Inverse matrix [N, 3, 3] of x-flip, 90° rotation and integer translation, each with
    probability p.

    Flip: i ~ U{0, 1}. Rotation: i ~ U{0, 1, 2, 3} quarter turns; where height ≠ width, i ~ U{0, 2},
    because a quarter turn would change the shape. Translation: round(t·width), round(t·height) with
    t ~ U(-0.125, 0.125) per axis. Entries are integers, exact in float32.
    """
    flips, flip, turns, turn, moves, tx, ty = numbers
    mirror = 1 - 2 * _where(flips < p, flip, 0.0)
    turn = _where(turns < p, turn, 0.0)
    turn = turn if height == width else 2 * turn
    is_odd = turn.remainder(2) == 1
    cos = (1 - turn).masked_fill(is_odd, 0.0)  # 1, 0, -1, 0
    sin = (2 - turn).masked_fill(~is_odd, 0.0)  # 0, 1, 0, -1
    executed = moves < p
    tx = (_where(executed, _between(tx, -SHIFT, SHIFT), 0.0) * width).round()
    ty = (_where(executed, _between(ty, -SHIFT, SHIFT), 0.0) * height).round()
    return compose(compose(_scaling(mirror, 1.0), _rotation(cos, -sin)), _translation(-tx, -ty))


def geom_matrix(
    numbers: Iterable[Tensor], p: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Inverse matrix [N, 3, 3] of the general transforms, and [N] bool: whether any of them is
    executed.

    In order: isotropic scale s ~ exp(N(0, (0.2·ln 2)²)); rotation; anisotropic scale (s, 1/s) of
    the same law; rotation; fractional translation of (width, height)·N(0, 0.125²). Both rotations
    turn by U(-π, π) and are executed with probability 1 - sqrt(1 - p), so that an image is rotated
    with probability p; the others with probability p.
    """
    scales, scale, rotates, angle, stretches, stretch, turns, turn, moves, tx, ty = numbers
    p_rotation = 1 - (1 - p).clamp(min=0).sqrt()
    is_scaled, is_rotated = scales < p, rotates < p_rotation
    is_stretched, is_turned, is_moved = stretches < p, turns < p_rotation, moves < p
    s = 1 / _where(is_scaled, scale * SCALE_STD, 0.0).exp()
    inverse = compose(_scaling(s, s), _inverse_turn(is_rotated, angle))
    s = 1 / _where(is_stretched, stretch * SCALE_STD, 0.0).exp()
    inverse = compose(compose(inverse, _scaling(s, 1 / s)), _inverse_turn(is_turned, turn))
    tx = _where(is_moved, tx * SHIFT, 0.0) * width
    ty = _where(is_moved, ty * SHIFT, 0.0) * height
    inverse = compose(inverse, _translation(-tx, -ty))
    return inverse, is_scaled | is_rotated | is_stretched | is_turned | is_moved


def color_matrix(numbers: Iterable[Tensor], p: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Matrix [N, C + 1, C + 1] of the colour transforms, and [N] bool: whether any is executed.

    Each with probability p, in this order. Brightness: adds b ~ N(0, 0.2²). Contrast: multiplies by
    exp(N(0, (0.5·ln 2)²)). Luma flip: mirrors the grey axis v = (1, 1, 1)/√3 with i ~ U{0, 1}. Hue:
    rotates about v by U(-π, π). Saturation: multiplies what is orthogonal to v by exp(N(0, ln² 2)).
    One channel is a grey picture: its transform is scalar, and hue and saturation do not exist.
    """
    brightens, offset, contrasts, scale, flips, flip, *rest = numbers
    is_brighter, is_contrasted, is_flipped = brightens < p, contrasts < p, flips < p
    offset = _where(is_brighter, offset * 0.2, 0.0)
    scale = _where(is_contrasted, scale * (0.5 * math.log(2)), 0.0).exp()
    mirror = 1 - 2 * _where(is_flipped, flip, 0.0)
    executed = is_brighter | is_contrasted | is_flipped
    if channels == 1:
        gain = mirror * scale
        return matrix([[gain, gain * offset], [0.0, 1.0]]), executed
    turns, angle, saturates, saturation = rest
    is_turned, is_saturated = turns < p, saturates < p
    angle = _where(is_turned, _between(angle, -math.pi, math.pi), 0.0)
    saturation = _where(is_saturated, saturation * math.log(2), 0.0).exp()
    transform = matrix(
        [
            [1.0, 0.0, 0.0, offset],
            [0.0, 1.0, 0.0, offset],
            [0.0, 0.0, 1.0, offset],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    one, zero = torch.ones_like(scale), torch.zeros_like(scale)
    for step in (
        _about_grey(scale, scale, zero),
        _about_grey(mirror, one, zero),
        _about_grey(one, angle.cos(), angle.sin()),
        _about_grey(one, saturation, zero),
    ):
        transform = compose(step, transform)
    return transform, executed | is_turned | is_saturated


def matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """[N, R, C] from R rows of C entries: tensors [N] or numbers, at least one a tensor."""
    entries = [entry for row in rows for entry in row]
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    numbers = {entry for entry in entries if not isinstance(entry, Tensor)}
    filled = {number: torch.full_like(like, number) for number in sorted(numbers)}
    columns = [entry if isinstance(entry, Tensor) else filled[entry] for entry in entries]
    return torch.stack(columns, dim=-1).unflatten(-1, (len(rows), -1))


def compose(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for [N, K, K] matrices.

    Summed elementwise, so that TF32, which would move pixels, never applies.
    """
    return (a[:, :, :, None] * b[:, None, :, :]).sum(dim=2)


def _translation(tx: Tensor, ty: Tensor) -> Tensor:
    """[N, 3, 3]: (x, y) → (x + tx, y + ty)."""
    return matrix([[1.0, 0.0, tx], [0.0, 1.0, ty], [0.0, 0.0, 1.0]])


def _scaling(sx: Tensor, sy: Tensor | float) -> Tensor:
    """[N, 3, 3]: (x, y) → (sx·x, sy·y)."""
    return matrix([[sx, 0.0, 0.0], [0.0, sy, 0.0], [0.0, 0.0, 1.0]])


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    """[N, 3, 3]: (x, y) → (cos·x - sin·y, sin·x + cos·y)."""
    return matrix([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _inverse_turn(executed: Tensor, uniform: Tensor) -> Tensor:
    angle = _where(executed, _between(uniform, -math.pi, math.pi), 0.0)
    return _rotation(angle.cos(), -angle.sin())


def _about_grey(grey: Tensor, across: Tensor, turn: Tensor) -> Tensor:
    """[N, 4, 4]: grey·v vᵀ + across·(I - v vᵀ) + turn·[v]×, with v = (1, 1, 1)/√3 and [v]× the
    matrix of the cross product.

    Rodrigues' rotation by θ about v is grey = 1, across = cos θ, turn = sin θ.
    """
    mean = (grey - across) / 3
    same = mean + across
    ahead = mean + turn / math.sqrt(3)
    behind = mean - turn / math.sqrt(3)
    return matrix(
        [
            [same, behind, ahead, 0.0],
            [ahead, same, behind, 0.0],
            [behind, ahead, same, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def _where(executed: Tensor, value: Tensor, neutral: float) -> Tensor:
    # The scalar of masked_fill is a kernel argument; that of torch.where may become a host copy,
    # which a CUDA graph can't capture.
    return value.masked_fill(~executed, neutral)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return uniform * (high - low) + low


def kinds_of(
    height: int, width: int, channels: int, has_blit: bool, has_geom: bool, color_share: float
) -> tuple[Kind, ...]:
    """What is drawn for an image, in order, by the arguments of `augment_matrices`."""
    blit = blit_kinds(height, width) if has_blit else ()
    color = color_kinds(channels) if color_share > 0 else ()
    return (*blit, *(GEOM if has_geom else ()), *color)


def of_numbers(
    draw: Callable[[Sequence[Kind]], Iterable[Tensor]],
    p: Tensor,
    height: int,
    width: int,
    channels: int,
    has_blit: bool,
    has_geom: bool,
    color_share: float,
) -> tuple[Tensor, ...]:
    """The matrices of drawn numbers.

    Args:
        draw: [N] of each of some kinds; called in the order of the words.
        p: the probability of a transform, [].
        height: of the images.
        width: of the images.
        channels: 1 or 3.
        has_blit: whether x-flip, quarter turns and whole translation are drawn.
        has_geom: whether the general geometric transforms are.
        color_share: p of a colour transform over p; 0 without them.

    Returns:
        blit, inverse, is_moved [N] bool, color, is_colored [N] bool; empty tensors for what is not
        drawn. inverse and is_moved belong to geom.
    """
    blit, inverse, color = (p.new_empty(0) for _ in range(3))
    is_moved, is_colored = (p.new_empty(0, dtype=torch.bool) for _ in range(2))
    if has_blit:
        blit = blit_matrix(draw(blit_kinds(height, width)), p, height, width)
    if has_geom:
        inverse, is_moved = geom_matrix(draw(GEOM), p, height, width)
        inverse = compose(blit, inverse) if has_blit else inverse
    if color_share > 0:
        share = p if color_share == 1 else p * color_share
        color, is_colored = color_matrix(draw(color_kinds(channels)), share, channels)
    return blit, inverse, is_moved, color, is_colored


def augment_matrices_ref(
    p: Tensor, key: Tensor, offset: int, first: int, stride: int, begin: int, rows: int, *options
) -> tuple[Tensor, ...]:
    """The definition of `augment_matrices` in PyTorch."""
    count = len(kinds_of(*options))
    columns = iter(sample_words_ref(key, offset, first, stride, begin, rows, count).split(1, 1))

    def number(kind: Kind) -> Tensor:
        words = next(columns)
        if kind == UNIFORM:
            return uniform_of(words, p.dtype).flatten()
        if kind == NORMAL:
            return normal_of(words, 1, p.dtype).flatten()
        return integers_of(words, 0, kind, p.dtype).flatten()

    return of_numbers(lambda kinds: [number(kind) for kind in kinds], p, *options)


def _fake(p, key, offset, first, stride, begin, rows, height, width, channels, blit, geom, share):
    def made(is_there, *shape, dtype=p.dtype):
        return p.new_empty(shape if is_there else [0], dtype=dtype)

    side = channels + 1
    return (
        made(blit, rows, 3, 3),
        made(geom, rows, 3, 3),
        made(geom, rows, dtype=torch.bool),
        made(share > 0, rows, side, side),
        made(share > 0, rows, dtype=torch.bool),
    )


_op = define_op(
    "augment_matrices(Tensor p, Tensor key, int offset, int first, int stride, int begin, "
    "int rows, int height, int width, int channels, bool has_blit, bool has_geom, "
    "float color_share) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=augment_matrices_ref,
    fake=_fake,
)


def augment_matrices(
    p: Tensor,
    place: Place,
    rows: int,
    height: int,
    width: int,
    channels: int,
    *,
    has_blit: bool,
    has_geom: bool,
    color_share: float,
) -> tuple[Tensor, ...]:
    """The matrices of `rows` images whose numbers are made of the words at `place`.

    Args:
        p: the probability of a transform, [] float32.
        place: where the words are; an image takes one for each of `kinds_of`.
        rows: the number of images.
        height: of the images.
        width: of the images.
        channels: of the images: 1 or 3 with colour.
        has_blit: whether x-flip, quarter turns and whole translation are drawn.
        has_geom: whether the general geometric transforms are.
        color_share: p of a colour transform over p; 0 without them.

    Returns:
        As `of_numbers`.
    """
    run = augment_matrices_ref if reference_is_forced() else _op
    p = p.detach()
    options = (height, width, channels, has_blit, has_geom, float(color_share))
    return run(p, *place, rows, *options)
