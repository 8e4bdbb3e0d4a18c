# SPDX-License-Identifier: Apache-2.0
import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Uninitialised floating-point memory is NaN, also where C++ allocates it."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def kernels_on_small_tensors():
    """The tests of ops are of their kernels; test_small_calls.py is of what replaces them."""
    from fastgan.ops import use_small_calls

    with use_small_calls("0"):
        yield


def _strided(x):
    parent = x.new_full([2 * n for n in x.shape], float("nan"))
    view = parent[tuple(slice(1, None, 2) for _ in x.shape)]
    return view.copy_(x)


def _offset(x):
    flat = x.new_full([x.numel() + 3], float("nan"))
    return flat[3:].view(x.shape).copy_(x)


def _channels_last(x):
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.dim()]) if x.dim() in formats else x


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": _channels_last,
    "strided": _strided,
    "offset": _offset,
    "expanded": lambda x: x[:1].expand_as(x),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
}


@pytest.fixture(params=LAYOUTS)
def lay_out(request):
    """lay_out(x): x's values (expanded: its first sample's) in an awkward place in memory."""
    return LAYOUTS[request.param]
