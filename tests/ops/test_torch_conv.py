# SPDX-License-Identifier: Apache-2.0
"""16-bit convolutions of small maps, in both orders of derivative, against float64.

On an Intel processor with AMX torch's own are wrong, and this file fails there without the guard.
On any other processor the `planted` half stands in for it: see `_planted_convolution`.
"""

import ast
import contextlib
import functools
import itertools
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from _planted_convolution import planted
from _tolerances import errors

import fastgan
from fastgan import ops
from fastgan.losses.gradient_penalty import r1
from fastgan.models import load_architecture
from fastgan.nn import _torch_conv as modules
from fastgan.ops import _torch_conv
from fastgan.ops._torch_conv import (
    convolve,
    convolve_transposed,
    map_is_too_small,
    weight_gradient,
)

# Each guarded result is rounded once, by half an eps; sums of a few hundred float32 products do not
# show. What is left to torch may add up in 16 bits.
LIMIT, TORCHS_LIMIT = 0.75, 3.0
NAMES = ("y", "dx", "dw", "db", "ddy of dx", "dw of dx", "dx of dw", "ddy of dw")


@pytest.fixture(params=["this processor", "planted"])
def processor(request):
    with planted() if request.param == "planted" else contextlib.nullcontext():
        yield request.param


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=str)
def narrow(request):
    return request.param


def derivatives(run, x, w, b, dy, ddx, ddw):
    """As NAMES, of a convolution: each from 16-bit tensors and rounded once."""
    x, w, b, dy = (t.detach().requires_grad_() for t in (x, w, b, dy))
    y = run(x, w, b)
    dx, dw, db = torch.autograd.grad(y, (x, w, b), dy, create_graph=True)
    of_dx = torch.autograd.grad(dx, (dy, w), ddx, retain_graph=True)
    of_dw = torch.autograd.grad(dw, (x, dy), ddw)
    return [y, dx, dw, db, *of_dx, *of_dw]


def check(run, shapes, dtype, is_guarded, orders, where):
    """`run(x, w, b)` near float64, element by element, in the first derivatives or in both."""
    x, w, b = (torch.randn(shape).to(dtype) for shape in shapes)
    dy = torch.randn_like(run(x, w, b))
    given = [x, w, b, dy, torch.randn_like(x), torch.randn_like(w)]
    got = derivatives(run, *given)
    want = derivatives(run, *(t.double() for t in given))
    scale = derivatives(run, *(t.double().abs() for t in given))
    results = list(zip(NAMES, got, want, scale, strict=True))
    for name, a, exact, size in results if orders == 2 else results[:4]:
        assert a.dtype == dtype
        worst = errors(a, exact, size).max(initial=0.0)
        limit = LIMIT if is_guarded else TORCHS_LIMIT
        assert worst <= limit, f"{where}: {name}: {worst:.3g} eps"


def geometries(count):
    """Sizes, kernel, stride, padding, dilation, groups: what was seen to fail, and its kin."""
    sizes = {1: [(1,), (4,), (9,)], 2: [(5, 1), (1, 4), (3, 5), (8, 9)], 3: [(2, 3, 1)]}[count]
    kernels = {1: [1, 4, 12], 2: [(3, 3), (4, 1), (1, 12), (12, 12)], 3: [(3, 3, 3)]}[count]
    steps = itertools.product(sizes, kernels, (1, 2), (0, 1, 5), (1, 2), (1, 4))
    for size, kernel, stride, padding, dilation, groups in steps:
        kernel = kernel if isinstance(kernel, tuple) else (kernel,) * count
        spans = [dilation * (k - 1) + 1 for k in kernel]
        if dilation == 2 and (12 in kernel or groups == 4):
            continue
        if all(n + 2 * padding >= span for n, span in zip(size, spans, strict=True)):
            yield size, kernel, stride, padding, dilation, groups


@pytest.mark.any_backend
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_against_float64(count, transposed, narrow, processor, seed):
    for size, kernel, stride, padding, dilation, groups in geometries(count):
        more = stride - 1
        spans = [dilation * (k - 1) + 1 for k in kernel]
        sizes = size
        if transposed:
            pairs = zip(size, spans, strict=True)
            sizes = [(n - 1) * stride - 2 * padding + span + more for n, span in pairs]
            if min(sizes) < 1:
                continue
            run = functools.partial(
                convolve_transposed, stride=stride, padding=padding, output_padding=more,
                groups=groups, dilation=dilation,
            )  # fmt: skip
            w = (8, 4 // groups, *kernel)
        else:
            run = functools.partial(
                convolve, stride=stride, padding=padding, dilation=dilation, groups=groups
            )
            w = (4, 8 // groups, *kernel)
        # A dilated one's second derivative is torch's: see `map_is_too_small`.
        orders = 1 if dilation > 1 and processor == "planted" else 2
        check(
            run,
            [(2, 8, *size), w, (4,)],
            narrow,
            map_is_too_small(sizes, kernel, stride, padding, dilation),
            orders,
            f"map {size}, kernel {kernel}, stride {stride}, padding {padding}, dilation "
            f"{dilation}, groups {groups}",
        )


# Batch, size, kernel, stride, padding: torch's second derivative by w takes a kernel of map size.
BATCHES = [
    (8, 8, 3, 1, 1), (8, 12, 3, 1, 1), (4, 16, 3, 1, 1), (12, 8, 1, 1, 0), (6, 32, 5, 1, 2),
    (8, 16, 4, 2, 1), (8, 8, 3, 2, 1),
]  # fmt: skip


@pytest.mark.any_backend
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize("case", BATCHES, ids=str)
def test_second_derivatives_of_few_samples(case, transposed, narrow, processor, seed):
    batch, size, k, stride, padding = case
    run = functools.partial(
        convolve_transposed if transposed else convolve, stride=stride, padding=padding
    )
    w = (3, 5, k, k) if transposed else (5, 3, k, k)
    check(run, [(batch, 3, size, size), w, (5,)], narrow, False, 2, str(case))


@pytest.mark.any_backend
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize(("channels", "k"), [(8, 8), (12, 8), (4, 16), (6, 16), (2, 32)])
def test_wide_kernels_of_few_channels(channels, k, transposed, narrow, processor, seed):
    run = convolve_transposed if transposed else convolve
    w = torch.randn(4, channels, 1, k)
    read, written = (4, channels) if transposed else (channels, 4)
    check(
        run, [(2, read, 3, k + 9), tuple(w.shape), (written,)], narrow, True, 2, str((channels, k))
    )


@pytest.mark.any_backend
@pytest.mark.parametrize("size", [(5, 1), (3, 5), (16, 16)], ids=str)
def test_the_weight_gradient_alone(size, narrow, processor, seed):
    x, w = torch.randn(2, 4, *size).to(narrow), torch.randn(6, 4, 3, 3).to(narrow)
    dy = torch.randn_like(convolve(x, w, None, 2, 1))
    got, want, scale = (
        weight_gradient(w.shape, to(dy), to(x), (2, 2), (1, 1), (1, 1), 1)
        for to in (lambda t: t, torch.Tensor.double, lambda t: t.double().abs())
    )
    assert got.dtype == narrow
    assert errors(got, want, scale).max() <= TORCHS_LIMIT


def test_the_planted_processor_fails_without_the_guard():
    x, w = torch.randn(1, 8, 3, 5).bfloat16(), torch.randn(4, 8, 12, 12).bfloat16()
    with planted():
        assert F.conv2d(x, w, padding=5).isnan().all()
        assert F.conv2d(x.float(), w.float(), padding=5).isfinite().all()
        assert convolve(x, w, padding=5).isfinite().all()
    assert not F.conv2d(x, w, padding=5).isnan().all()


UNGUARDED = {
    "ops/_torch_conv.py": "the guard",
    "nn/_torch_conv.py": "the guarded modules",
    "ops/_convolutions/conv2d.py": "float32 at least",
    "ops/anti_aliased_snake.py": "float32 at least",
    "ops/grouped_conv2d.py": "float32 at least",
    "ops/winograd_conv2d.py": "float32 at least",
    "ops/winograd_strided_conv2d.py": "float32 at least",
    "models/r3gan/layers.py": "weights, which fastgan.ops.conv2d takes",
    "models/r3gan/discriminator.py": "weights, which a sum takes",
    "compat/weights/configs/r3gan.py": "asks for the class alone",
    "modalities/sounds.py": "float32, of a data set",
    "nn/acceleration/model_swap.py": "asks for the classes, and names the function in a text",
    "training/step/memory_format.py": "asks for the classes",
    "nn/acceleration/swapped.py": "asks for the classes; torch's own stay where nothing gains",
}


def calls_torch(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    return any(re.fullmatch(r"(F|nn|.*functional)\.[cC]onv\w+", name) for name in names)


@pytest.mark.any_backend
def test_nothing_else_calls_torchs_convolutions():
    """But what fastgan bench measures against, which is plain PyTorch."""
    package = Path(fastgan.__file__).parent
    paths = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    found = {name for name, path in paths.items() if calls_torch(path)}
    assert {name for name in found if not name.startswith("bench/")} == set(UNGUARDED)


LARGE = {  # maps and kernels of the networks' hot layers
    "3×3": ((8, 8), (3, 3), 1, 1),
    "3×3 on 4×4": ((4, 4), (3, 3), 1, 1),
    "stride 2": ((16, 16), (4, 4), 2, 1),
    "stride 2, to 4×4": ((9, 9), (3, 3), 2, 0),
    "1×1": ((1, 1), (1, 1), 1, 0),
    "along one axis": ((64, 2), (5, 1), (3, 1), (2, 0)),
}


@pytest.mark.parametrize("case", LARGE)
def test_larger_maps_go_to_torch_as_they_are(case, narrow, monkeypatch, seed):
    size, kernel, stride, padding = LARGE[case]
    x, w = torch.randn(2, 4, *size).to(narrow), torch.randn(4, 4, *kernel).to(narrow)
    seen = []
    for table, run in (("_CONVOLUTIONS", F.conv2d), ("_TRANSPOSED", F.conv_transpose2d)):
        spy = {4: lambda *args, run=run: seen.append(args[:2]) or run(*args)}
        monkeypatch.setattr(_torch_conv, table, spy)
    y = convolve(x, w, None, stride, padding)
    back = convolve_transposed(y, w, None, stride, padding)
    assert torch.equal(y, F.conv2d(x, w, None, stride, padding))
    assert torch.equal(back, F.conv_transpose2d(y, w, None, stride, padding))
    assert [tuple(map(id, pair)) for pair in seen] == [(id(x), id(w)), (id(y), id(w))]


def test_padding_beyond_same_is_guarded_at_any_size():
    """Its second derivative by w convolves the map with a kernel of dy's size, which is larger."""
    assert map_is_too_small((64, 64), (3, 3), 1, 2, 1)
    assert not map_is_too_small((64, 64), (3, 3), 1, 1, 1)


def test_float32_and_float64_are_torchs(seed):
    x, w = torch.randn(1, 2, 1, 1), torch.randn(3, 2, 3, 3)
    for dtype in (torch.float32, torch.float64):
        args = (x.to(dtype), w.to(dtype), None, 2, 1)
        assert torch.equal(convolve(*args), F.conv2d(*args))


def test_autocast(processor, seed):
    """The forward pass rounds to bfloat16 as torch's does, also where all passes are inside."""
    x, w = torch.randn(2, 3, 5, 1), torch.randn(4, 3, 3, 3)
    given = [t.requires_grad_() for t in (x, w)]
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.conv2d(x, w, stride=2, padding=1)
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        found = torch.autograd.grad(dx.square().sum() + y.square().sum(), given)
    assert (y.dtype, dx.dtype) == (torch.bfloat16, torch.float32)
    want = F.conv2d(x.bfloat16().double(), w.bfloat16().double(), stride=2, padding=1)
    torch.testing.assert_close(y.double(), want, rtol=2**-8, atol=2**-8)
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in found)


OPS = {
    "conv2d": (lambda x, w: ops.conv2d(x, w, None, 2, 1), (2, 4, 5, 1), (4, 4, 3, 3)),
    "conv2d in groups": (lambda x, w: ops.conv2d(x, w, None, 1, 1, 2), (1, 4, 1, 2), (4, 2, 3, 3)),
    "conv_transpose2d": (lambda x, w: ops.conv_transpose2d(x, w, None, 2, 1, 1), (2, 4, 1, 1),
                         (4, 3, 3, 3)),
    "conv2d_resample": (
        lambda x, w: ops.conv2d_resample(x, w, ops.setup_filter([1, 3, 3, 1]), 1, 2, 1),
        (1, 3, 2, 2), (2, 3, 3, 3)),
    "modulated_conv2d": (
        lambda x, w: ops.modulated_conv2d(x, w, x.new_ones(2, 3), padding=2),
        (2, 3, 1, 2), (4, 3, 5, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_ops_near_float64(name, narrow, processor, seed):
    run, *shapes = OPS[name]
    x, w = (torch.randn(shape).to(narrow) for shape in shapes)
    got = _second_order(run, x, w)
    want = _second_order(run, x.double(), w.double())
    for a, b in zip(got, want, strict=True):  # several roundings each
        eps = torch.finfo(narrow).eps
        assert (a.double() - b).abs().max() <= 12 * eps * b.abs().max()


def _second_order(run, x, w):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = run(x, w)
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return [y, dx, *torch.autograd.grad((dx * dx.detach()).sum(), w)]


@pytest.mark.parametrize("module", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
def test_modules_are_torchs_but_for_the_guard(module, processor, seed):
    theirs = getattr(torch.nn, module)(4, 6, 4, stride=2, padding=1)
    ours = getattr(modules, module)(4, 6, 4, stride=2, padding=1)
    ours.load_state_dict(theirs.state_dict())
    for size in (4, 9):
        x = torch.randn(2, 4, *[size] * int(module[-2]))
        assert torch.equal(ours(x), theirs(x))
    x = torch.randn(2, 4, *[1 if "Transpose" in module else 2] * int(module[-2]))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).isfinite().all()


@pytest.mark.parametrize("size", [(8, 1), (2, 6)], ids=str)
@pytest.mark.parametrize(
    ("name", "method"),
    [("dcgan", "linearised"), ("dcgan", "double_backward"), ("light_skip_gan", "double_backward")],
)
def test_networks_of_tiny_images(name, size, method, processor, seed):
    """Both networks and the gradients of R1, in bfloat16."""
    model = load_architecture(name)
    options = {"d_norm": "none"} if name == "dcgan" else {}
    config = model.Config(img_height=size[0], img_width=size[1], **options)
    G, D = model.Generator(config), model.Discriminator(config)
    with torch.autocast("cpu", torch.bfloat16):
        fakes = G(torch.randn(4, config.z_dim))
        penalty = r1(D, fakes.detach(), method=method).mean()
        loss = penalty + D(fakes).mean()
        loss.backward()
    found = [p.grad for p in (*G.parameters(), *D.parameters()) if p.grad is not None]
    assert loss.isfinite()
    assert all(t.isfinite().all() for t in found)
    assert sum(bool(t.any()) for t in found) > 8
