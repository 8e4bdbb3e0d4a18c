# SPDX-License-Identifier: Apache-2.0
import gc
import weakref

import pytest
import torch

from fastgan.nn import EqualConv2d, EqualLinear, ModulatedConv2d, _recompute
from fastgan.nn import conv as conv_room
from fastgan.nn import modulation as modulation_room
from fastgan.ops import use_backend, use_small_calls

MAPS, ROWS = (2, 4, 6, 5), (3, 4)


class Modulated(torch.nn.Module):
    """As a layer of StyleGAN3 convolves."""

    def __init__(self):
        super().__init__()
        self.affine = torch.nn.Linear(5, 4)
        self.weight = torch.nn.Parameter(torch.randn(3, 4, 3, 3))

    def forward(self, x, w):
        return modulation_room.convolve_modulated(x, self.weight, self.affine(w), padding=2)


LAYERS = {
    "convolution": (lambda: EqualConv2d(4, 3, 3), MAPS),
    "upwards": (lambda: EqualConv2d(4, 3, 3, up=2), MAPS),
    "downwards": (lambda: EqualConv2d(4, 3, 3, down=2), MAPS),
    "pointwise": (lambda: EqualConv2d(4, 3, 1), MAPS),
    "pointwise upwards": (lambda: EqualConv2d(4, 3, 1, up=2), MAPS),
    "pointwise downwards": (lambda: EqualConv2d(4, 3, 1, down=2), MAPS),
    "linear": (lambda: EqualLinear(4, 3), ROWS),
    "modulated": (lambda: ModulatedConv2d(4, 3, 3, 5), MAPS),
    "modulated upwards": (lambda: ModulatedConv2d(4, 3, 3, 5, up=2), MAPS),
    "modulated, padding 2": (Modulated, MAPS),
}


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(_recompute, "_FEWEST_BYTES", 1)
    with use_small_calls("0"):  # they recompute nothing
        yield


def build(name, dtype=torch.float64):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().to(dtype)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    if not name.startswith("modulated"):
        return layer, (x,)
    return layer, (x, torch.randn(shape[0], 5, dtype=dtype, requires_grad=True))


def derivatives(layer, inputs):
    """y, all first derivatives, and all derivatives of the square of the inputs' ones."""
    y = layer(*inputs)
    dy = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    wanted = [p for p in (*inputs, *layer.parameters()) if p.requires_grad]
    first = torch.autograd.grad(y, wanted, dy, create_graph=True)
    norm = sum(d.square().sum() for d in first[: len(inputs)])
    if not norm.requires_grad:  # a frozen linear layer's gradient is constant
        return [y, *first]
    return [y, *first, *torch.autograd.grad(norm, wanted, allow_unused=True)]


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("name", LAYERS)
def test_no_bit_of_any_derivative_changes(name, is_frozen, monkeypatch):
    layer, inputs = build(name)
    layer.requires_grad_(not is_frozen)
    lean = derivatives(layer, inputs)
    monkeypatch.setattr(_recompute, "_FEWEST_BYTES", 1 << 40)
    for a, b in zip(lean, derivatives(layer, inputs), strict=True):
        assert (a is None) == (b is None)
        assert a is None or (torch.equal(a, b) and a.stride() == b.stride())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_casts_and_layouts_are_made_again(dtype, monkeypatch):
    layer, (x, w) = build("modulated upwards", torch.float32)
    x = x.detach().to(dtype, memory_format=torch.channels_last).requires_grad_()
    results = []
    for fewest in (1, 1 << 40):
        monkeypatch.setattr(_recompute, "_FEWEST_BYTES", fewest)
        y = layer(x, w)
        results.append(torch.autograd.grad(y.float().sum(), [x, w, *layer.parameters()]))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
        assert a.stride() == b.stride()


def is_kept(function, room, monkeypatch, layer, inputs):
    """Whether what `function` of `room` returned outlives the layer's forward pass."""
    made = []

    def noted(*args, **kwargs):
        t = function(*args, **kwargs)
        made.append(weakref.ref(t.untyped_storage()))
        return t

    monkeypatch.setattr(room, function.__name__, noted)
    y = layer(*inputs)
    gc.collect()
    kept = made[0]() is not None
    y.sum().backward()
    return kept


@pytest.mark.parametrize("name", ["modulated", "modulated, padding 2"])
def test_the_modulated_input_is_not_kept(name, monkeypatch):
    layer, inputs = build(name)
    modulate = modulation_room.modulate
    assert not is_kept(modulate, modulation_room, monkeypatch, layer, inputs)
    with use_backend("reference"):  # all of autograd's own
        assert is_kept(modulate, modulation_room, monkeypatch, layer, inputs)


def test_the_modulated_input_is_kept_without_recomputation(monkeypatch):
    layer, inputs = build("modulated")
    modulate = modulation_room.modulate
    with _recompute.recomputation(False):
        assert is_kept(modulate, modulation_room, monkeypatch, layer, inputs)


@pytest.mark.parametrize("name", ["modulated upwards", "convolution"])
def test_no_bit_changes_without_recomputation(name):
    layer, inputs = build(name)
    lean = derivatives(layer, inputs)
    with _recompute.recomputation(False):
        plain = derivatives(layer, inputs)
    for a, b in zip(lean, plain, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (torch.equal(a, b) and a.stride() == b.stride())


def test_what_nothing_reads_is_not_kept_without_recomputation(monkeypatch):
    layer, inputs = build("downwards")
    layer.requires_grad_(False)
    with _recompute.recomputation(False):
        assert not is_kept(conv_room.upfirdn2d, conv_room, monkeypatch, layer, inputs)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_the_filtered_input_is_kept_for_a_weight_gradient_only(is_frozen, monkeypatch):
    layer, inputs = build("downwards")
    layer.requires_grad_(not is_frozen)
    found = is_kept(conv_room.upfirdn2d, conv_room, monkeypatch, layer, inputs)
    assert found is not is_frozen


@pytest.mark.parametrize("written", ["weight", "x", "styles"])
def test_writing_into_a_part_before_the_backward_pass_raises(written):
    layer, (x, w) = build("modulated")
    x = x * 1
    y = layer(x, w)
    with torch.no_grad():
        if written == "weight":
            layer.weight.add_(1)
        elif written == "x":
            x.add_(1)
        else:
            layer.affine.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_layer_holds_nothing_but_the_graph():
    """The exchange itself keeps no tensor, nor a cycle that waits for the garbage collector."""
    layer, inputs = build("convolution")
    gc.disable()
    try:
        y = layer(*inputs)
        kept = weakref.ref(y.grad_fn)
        del y
        assert kept() is None
    finally:
        gc.enable()
