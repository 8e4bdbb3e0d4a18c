# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastgan.augment import GROUPS, AdaController, AugmentPipe

SINGLE = ("blit", "geom", "color", "filter", "noise", "cutout")


def seeded(pipe, x, seed=0):
    torch.manual_seed(seed)
    return pipe(x)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (2, 1, 7, 5), (3, 3, 1, 2), (1, 1, 1, 1)])
def test_p_0_returns_the_input_bit_by_bit(groups, shape):
    x = torch.randn(shape)
    assert torch.equal(AugmentPipe(groups)(x), x)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (2, 1, 7, 5), (3, 3, 1, 2), (0, 3, 4, 4)])
def test_p_1_keeps_shape_and_finiteness(groups, shape):
    y = AugmentPipe(groups, p=1.0)(torch.randn(shape))
    assert y.shape == shape
    assert y.isfinite().all()


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("shape", [(3, 3, 5, 5), (3, 1, 3, 4)])
def test_first_and_second_derivatives(groups, shape):
    pipe = AugmentPipe(groups, p=0.7)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    # fast_mode compares one random projection of the Jacobian, which suffices for affine maps.
    assert torch.autograd.gradcheck(lambda x: seeded(pipe, x), (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: seeded(pipe, x), (x,), fast_mode=True)


@pytest.mark.parametrize("groups", SINGLE)
def test_second_derivatives_entry_by_entry(groups):
    """A gradient penalty at the images needs them of every transform."""
    pipe = AugmentPipe(groups, p=0.8)
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: seeded(pipe, x), (x,))


@pytest.mark.parametrize("groups", SINGLE)
def test_affine_in_x(groups):
    pipe = AugmentPipe(groups, p=1.0)
    a, b = torch.randn(2, 6, 3, 6, 6, dtype=torch.float64)
    y = seeded(pipe, 0.25 * a + 0.75 * b)
    expected = 0.25 * seeded(pipe, a) + 0.75 * seeded(pipe, b)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", ["noise", "cutout"])
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_the_share_of_changed_images_is_p(groups, p):
    n = 4000
    x = torch.ones(n, 1, 4, 4)
    torch.manual_seed(1)
    is_changed = (AugmentPipe(groups, p)(x) != x).flatten(1).any(dim=1)
    four_sigma = 4 * (p * (1 - p) / n) ** 0.5
    assert is_changed.float().mean().item() == pytest.approx(p, abs=four_sigma)


def test_p_is_followed_when_changed_in_place():
    pipe, x = AugmentPipe("cutout", p=0.0), torch.ones(8, 1, 8, 8)
    assert torch.equal(pipe(x), x)
    pipe.p.fill_(1.0)
    assert not (pipe(x) == x).flatten(1).all(dim=1).any()


def test_p_is_the_only_state_and_is_restored():
    state = AugmentPipe(p=0.25).state_dict()
    assert list(state) == ["p"]
    assert state["p"].dtype == torch.float32
    assert state["p"].shape == ()
    pipe = AugmentPipe()
    pipe.load_state_dict(state)
    assert pipe.p.item() == 0.25


def test_same_seed_same_images_and_different_images_in_a_batch():
    pipe = AugmentPipe("bgcfnc", p=1.0)
    x = torch.randn(1, 3, 8, 8).expand(4, -1, -1, -1)
    y = seeded(pipe, x, 3)
    assert torch.equal(y, seeded(pipe, x, 3))
    assert not torch.equal(y, seeded(pipe, x, 4))
    assert not any(torch.equal(y[0], y[i]) for i in (1, 2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_seed_gives_the_same_transforms_in_every_dtype(dtype):
    pipe = AugmentPipe("bgc", p=1.0)
    x = torch.rand(4, 3, 8, 8).to(dtype)
    y = seeded(pipe, x)
    assert y.dtype == dtype
    expected = seeded(pipe, x.float())
    tolerance = 8 * (torch.finfo(dtype).eps if dtype != torch.float64 else 1e-6)
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=tolerance)


def test_autocast_does_not_reach_the_transforms():
    pipe, x = AugmentPipe("bgcf", p=1.0), torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = seeded(pipe, x)
    assert torch.equal(y, seeded(pipe, x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_strides_do_not_matter(memory_format):
    pipe = AugmentPipe("bgcfnc", p=1.0)
    x = torch.randn(4, 3, 9, 7)
    strided = torch.randn(4, 3, 18, 8)[:, :, ::2, 1:]
    strided.copy_(x)
    torch.testing.assert_close(
        seeded(pipe, x.to(memory_format=memory_format)), seeded(pipe, x), rtol=0, atol=2e-6
    )
    torch.testing.assert_close(seeded(pipe, strided), seeded(pipe, x), rtol=0, atol=2e-6)


class Trace(TorchDispatchMode):
    """Records every op with the shapes and numbers that it gets."""

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs))
        facts = [leaf.shape if isinstance(leaf, torch.Tensor) else str(leaf) for leaf in leaves]
        self.ops.append((str(func), facts))
        return func(*args, **(kwargs or {}))


def test_a_captured_step_would_replay_it():
    pipe, controller = AugmentPipe("bgcfnc"), AdaController()
    traces = []
    for p in (0.0, 1.0):
        pipe.p.fill_(p)
        x = torch.randn(4, 3, 8, 8, requires_grad=True)
        with Trace() as trace:
            (dx,) = torch.autograd.grad(pipe(x).square().sum(), x, create_graph=True)
            controller.accumulate(dx)
            controller.update(pipe, 4)
        traces.append(trace.ops)
    # Nothing is read back and no tensor is made from host values, whatever p is.
    hosts = ("_local_scalar_dense", "lift", "nonzero", "masked_select", "unique")
    assert [op for op, _ in traces[0] if any(name in op for name in hosts)] == []
    assert traces[0] == traces[1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"groups": "bgx"}, ValueError, "groups must be one of blit, geom.*got 'bgx'"),
        ({"p": 1.5}, ValueError, "p must be a probability in \\[0, 1\\], got 1.5"),
        ({"p": float("nan")}, ValueError, "p must be a probability"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, error, words):
    with pytest.raises(error, match=f"AugmentPipe: {words}"):
        AugmentPipe(**arguments)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.zeros(4, 2), ValueError, "x must be images .* got shape \\(4, 2\\)"),
        (torch.zeros(4, 3, 0, 2), ValueError, "x must be images"),
        (torch.zeros(4, 3, 2, 2, dtype=torch.uint8), TypeError, "x must be floating point"),
        (torch.zeros(4, 2, 2, 2), ValueError, "needs 1 or 3 channels, got 2; use groups='bg'"),
        (torch.zeros(4, 3, 2, 2, device="meta"), ValueError, "x must be on cpu like p, got meta"),
    ],
)
def test_wrong_images_are_refused_in_words(x, error, words):
    with pytest.raises(error, match=words):
        AugmentPipe("bgc")(x)


def test_any_number_of_channels_without_color():
    x = torch.randn(2, 5, 6, 6)
    assert AugmentPipe("bg", p=1.0)(x).shape == x.shape
