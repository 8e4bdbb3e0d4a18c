"""filtered_lrelu as an op: chunks, layouts, dtypes, torch's checks. Values: test_composed.py."""

import _plain_definitions as plain
import pytest
import torch
from _both_orders import assert_same

from fastgan.ops import _filtered_lrelu as room
from fastgan.ops import filtered_lrelu, use_backend

SKEW = torch.tensor([0.1, -0.3, 0.5, 0.2, 0.7, 0.4])
OPTIONS = {"up": 2, "down": 2, "padding": [4, 3, 5, 4], "clamp": 0.8, "slope": 0.3}
CL = torch.channels_last


def call(x, b=None, **changes):
    f = SKEW.to(x.device)
    return filtered_lrelu(x, f, f, b, **OPTIONS | changes)


@pytest.mark.parametrize("planes", [1, 2, 5, 1000])
@pytest.mark.parametrize("layout", [torch.contiguous_format, CL])
def test_chunks_change_nothing(planes, layout, device, monkeypatch):
    """Of samples and of channels, whole ones and a rest; values and both orders of gradient."""
    torch.manual_seed(0)
    inputs = [torch.randn(3, 5, 9, 8, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    h, w = room._up_size(inputs[0], SKEW, 2, *OPTIONS["padding"])
    for name in ("_CPU_CHUNK", "_GPU_CHUNK"):
        monkeypatch.setattr(room, name, planes * h * w * 8)
    seen = []
    ref = room.filtered_lrelu_ref
    monkeypatch.setattr(
        room, "filtered_lrelu_ref", lambda x, *rest: (seen.append(x.shape[:2]), ref(x, *rest))[1]
    )
    assert_same(
        lambda x, b: call(x.contiguous(memory_format=layout), b),
        lambda x, b: plain.filtered_lrelu(x, SKEW, SKEW, b, **OPTIONS),
        inputs,
        device,
    )
    assert sum(n * c for n, c in seen) == 15
    if planes < 15:
        assert max(n * c for n, c in seen) <= (planes if layout != CL else max(planes, 5))


def test_third_order(device):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, device=device, requires_grad=True)
    dy = torch.randn_like(call(x)).requires_grad_()
    assert torch.autograd.gradcheck(call, (x,))
    assert torch.autograd.gradgradcheck(call, (x,))

    def second(dy):  # the gradient of a gradient, as a function of dy
        (dx,) = torch.autograd.grad(call(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), dy, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, (dy,))


@pytest.mark.parametrize(
    "op", ["filtered_lrelu", "filtered_lrelu_backward", "filtered_lrelu_masked"]
)
def test_opcheck(op, device):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, device=device, requires_grad=True)
    b = torch.randn(3, device=device, requires_grad=True)
    f = SKEW.to(device)
    tail = (2, 2, 4, 3, 5, 4, 1.4, 0.3, 0.8, False)
    y = call(x).detach()
    args = {
        "filtered_lrelu": (x, f, f, b),
        "filtered_lrelu_backward": (torch.randn_like(y).requires_grad_(), x, b, f, f),
        "filtered_lrelu_masked": (torch.randn_like(x).requires_grad_(), x, b, f, f),
    }[op]
    torch.library.opcheck(getattr(torch.ops.fastgan, op).default, (*args, *tail))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, CL])
def test_dtypes_and_layouts(dtype, layout, device):
    """Within twice what the same steps as plain PyTorch err, from the same inputs: in 16 bits the
    up-sampled value is rounded before its kink, on either way."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 12, 10).to(device, dtype).contiguous(memory_format=layout)
    b = torch.randn(8, device=device)
    wide = x.double().cpu().requires_grad_()
    want = plain.filtered_lrelu(wide, SKEW, SKEW, b.to(dtype).double().cpu(), **OPTIONS)
    dy = torch.randn(want.shape).to(device, dtype)
    (want_dx,) = torch.autograd.grad(want, wide, dy.double().cpu())

    def errors():
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = call(leaf, b)
        (dx,) = torch.autograd.grad(y, leaf, dy)
        assert y.dtype == dx.dtype == dtype
        layouts = [t.is_contiguous(memory_format=layout) for t in (y, dx)]
        pairs = ((y, want), (dx, want_dx))
        found = [((t.double().cpu() - exact).norm() / exact.norm()).item() for t, exact in pairs]
        return found, layouts

    ours, layouts = errors()
    assert layouts == [True, True]
    with use_backend("reference"):
        theirs, _ = errors()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine <= max(2 * other, 2 * torch.finfo(dtype).eps), (ours, theirs)


def test_what_is_kept_is_x_alone(device):
    """Of up² times as many activations none lives until the backward pass."""
    kept = []
    x = torch.randn(2, 4, 16, 16, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.append(t.numel()), t)[1], lambda t: t
    ):
        y = call(x, torch.zeros(4, device=device, requires_grad=True), up=4, padding=8)
    assert max(kept, default=0) <= x.numel()
    y.sum().backward()


def test_an_empty_batch(device):
    x = torch.zeros(0, 4, 6, 6, device=device, requires_grad=True)
    y = call(x)
    assert y.shape == (0, 4, *call(torch.zeros(1, 4, 6, 6, device=device)).shape[2:])
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_autocast_keeps_the_dtype_of_x(device):
    x = torch.randn(1, 2, 6, 6, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        assert call(x).dtype == torch.float32


def test_errors(device):
    x = torch.randn(2, 3, 4, 4, device=device)
    with pytest.raises(ValueError, match=r"b must have shape \(3,\)"):
        call(x, torch.zeros(4, device=device))
    with pytest.raises(TypeError, match="filtered_lrelu: x must be float64"):
        call(x.int())
    with pytest.raises(ValueError, match="smaller than the 6×6 filter fu; pad more"):
        call(x, padding=-2)
