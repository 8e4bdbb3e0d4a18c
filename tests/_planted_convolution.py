# SPDX-License-Identifier: Apache-2.0
"""A processor on which torch's 16-bit convolutions of small maps are garbage: Intel's with AMX.

Its faults as they were seen with torch 2.13, planted into torch on whatever processor runs this:
values and gradients of every 16-bit convolution are NaN where

    with stride 1 the kernel is wider than the map, or in the backward pass than dy
    with another stride the map is no wider than the kernel
    the channels that a convolution reads are even and fewer than 16, and their product with the
    kernel's width is a multiple of 32 from 64 on, and 3 or more columns come out

A test under `planted()` fails on every machine where fastgan leaves such a convolution to torch.
As a pytest plugin (`-p _planted_convolution`) it holds for the whole session.
"""

import contextlib

import torch

NARROW = (torch.bfloat16, torch.float16)
_ORIGINAL = {}  # operator -> torch's kernel


def is_faulty(sizes, kernel, output, stride, dilation, backward=False) -> bool:
    """`sizes` of the map and `output` of the convolution, or for a transposed one reversed."""
    for i, (size, k, out) in enumerate(zip(sizes, kernel, output, strict=True)):
        span = dilation[i % len(dilation)] * (k - 1) + 1
        if max(stride) > 1 and size <= span:
            return True
        if max(stride) == 1 and (size < span or (backward and out < span)):
            return True
    return False


def is_faulty_kernel(w, y) -> bool:
    n = w.shape[1] * w.shape[-1]
    few = w.shape[1] < 16 and w.shape[1] % 2 == 0
    return few and n >= 64 and n % 32 == 0 and y.shape[-1] >= 3


def _spoiled(t):
    return None if t is None else torch.full_like(t, float("nan"))


def _convolution(keyset, x, w, b, stride, padding, dilation, transposed, *rest):
    y = _ORIGINAL["convolution"].call_boxed(
        keyset, x, w, b, stride, padding, dilation, transposed, *rest
    )
    maps = (y, x) if transposed else (x, y)
    sizes = [m.shape[2 - w.dim() :] for m in maps]
    if x.dtype in NARROW and is_faulty(sizes[0], w.shape[2:], sizes[1], stride, dilation):
        return _spoiled(y)
    if x.dtype in NARROW and not transposed and is_faulty_kernel(w, y):
        return _spoiled(y)
    return y


def _convolution_backward(
    keyset, dy, x, w, bias_sizes, stride, padding, dilation, transposed, *rest
):
    found = _ORIGINAL["convolution_backward"].call_boxed(
        keyset, dy, x, w, bias_sizes, stride, padding, dilation, transposed, *rest
    )
    maps = (dy, x) if transposed else (x, dy)
    sizes = [m.shape[2 - w.dim() :] for m in maps]
    if x.dtype in NARROW and is_faulty(sizes[0], w.shape[2:], sizes[1], stride, dilation, True):
        return _spoiled(found[0]), _spoiled(found[1]), found[2]
    return found


@contextlib.contextmanager
def planted():
    if _ORIGINAL:  # a session's plugin has planted them
        yield
        return
    library = torch.library.Library("aten", "IMPL")
    for name, kernel in (
        ("convolution", _convolution),
        ("convolution_backward", _convolution_backward),
    ):
        _ORIGINAL[name] = torch.library.get_kernel(f"aten::{name}", "CPU")
        library.impl(name, kernel, "CPU", with_keyset=True)
    try:
        yield
    finally:
        library._destroy()
        _ORIGINAL.clear()


def pytest_sessionstart(session):
    session.config._planted = planted()
    session.config._planted.__enter__()


def pytest_sessionfinish(session):
    session.config._planted.__exit__(None, None, None)
