# SPDX-License-Identifier: Apache-2.0
"""What every op must do, on the samples of every op: see `_op_info`.

The values are compared with an oracle in each op's own test file.
"""

import contextvars
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import _op_info
import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacrev, jvp, vjp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.ops import use_backend

TABLES = _op_info.load()


def table(*kinds, where=lambda op, sample: True, marks=lambda op, name: ()):
    """pytest's parameters (op, sample) of some kinds; ids such as `modulate-channels_last`."""
    return pytest.mark.parametrize(
        ("op", "sample"),
        [
            pytest.param(
                op,
                sample,
                id=f"{op}-{'large ' * (kind == 'large')}{name}",
                marks=marks(op, name),
            )
            for op, info in TABLES.items()
            if info.has_derivatives
            for kind in kinds
            for name, sample in getattr(info, kind).items()
            if where(op, sample)
        ],
    )


@pytest.fixture(autouse=True)
def kernel(request, backend):
    """Skips where the op of this test has no kernel of the emulator's."""
    op = getattr(request.node, "callspec", None) and request.node.callspec.params.get("op")
    if op and backend == "emulator" and not _op_info.has_kernel(op, "cuda.cu"):
        pytest.skip("the emulator runs CUDA kernels, and this op has none")


def with_gradients(sample, tensors, dy=None):
    """y and the gradient of each tensor, by name."""
    leaves = {name: t.detach().requires_grad_() for name, t in tensors.items()}
    y = sample.call(*leaves.values())
    dy = (y.detach() + 0.5) if dy is None else dy
    grads = torch.autograd.grad(y, list(leaves.values()), dy)
    return {"y": y.detach()} | {f"d{n}": g for n, g in zip(leaves, grads, strict=True)}


def with_penalty(sample, tensors, wanted):
    """The gradient by each wanted tensor of a penalty on the first gradients."""
    leaves = {name: t.detach().requires_grad_(name in wanted) for name, t in tensors.items()}
    inputs = [leaves[name] for name in wanted]
    y = sample.call(*leaves.values())
    first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
    penalty = sum(g.square().sum() for g in first) + y.sin().sum()
    return dict(zip(wanted, torch.autograd.grad(penalty, inputs), strict=True))


def assert_equal_bits(got, want):
    for name, t in want.items():
        assert torch.equal(got[name], t), name


@table("derivatives")
def test_two_orders_of_derivative(op, sample, device, seed):
    leaves = [t.requires_grad_() for t in sample.tensors(device, torch.float64).values()]
    assert torch.autograd.gradcheck(sample.call, leaves)
    assert torch.autograd.gradgradcheck(sample.call, leaves)


@table("samples", "large")
def test_second_derivatives_equal_plain_pytorchs(op, sample, device, seed):
    """By all tensors together, and by each alone while the others are constant."""
    tensors = sample.tensors(device, torch.float64)
    for wanted in {tuple(tensors), *((name,) for name in tensors)}:
        ours = with_penalty(sample, tensors, wanted)
        with use_backend("reference"):
            plain = with_penalty(sample, tensors, wanted)
        for name, want in plain.items():
            limit = 1e-11 * (1 + want.abs().sum().item() / max(want.numel(), 1))
            torch.testing.assert_close(ours[name], want, rtol=1e-10, atol=limit, msg=name)


@table("large")
def test_each_gradient_alone_is_the_same(op, sample, device, seed):
    """A backward pass that computes only what is wanted, where the sums are long."""
    tensors = sample.tensors(device)
    want = with_gradients(sample, tensors)
    for name in tensors:
        leaves = {n: t.detach().requires_grad_(n == name) for n, t in tensors.items()}
        y = sample.call(*leaves.values())
        (got,) = torch.autograd.grad(y, leaves[name], y.detach() + 0.5)
        limit = 1e-5 * (1 + got.abs().mean().item())
        torch.testing.assert_close(got, want[f"d{name}"], rtol=1e-5, atol=limit, msg=name)


class Calls(TorchDispatchMode):
    """Records the calls of our ops: one for each set of options and of absent tensors."""

    def __init__(self):
        super().__init__()
        self.found = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "fastgan":
            self.found.setdefault((func, kind_of(args)), args)
        return func(*args, **(kwargs or {}))


def kind_of(argument):
    if isinstance(argument, (list, tuple)):
        return tuple(map(kind_of, argument))
    return torch.Tensor if isinstance(argument, torch.Tensor) else argument


CALLS_CHECKED_WHOLE = set()
TRACED_CALLS = set()


@table("samples")
def test_opcheck(op, sample, backend, device, seed):
    """Each of our ops that runs for this sample, its gradients and their gradients.

    The schema, the registration of derivatives and the shapes of outputs are checked on every
    sample. The trace with symbolic shapes, which takes nearly all of the time, is checked once for
    each call that takes other branches, and not on the emulator: it puts other kernels under the
    same functions, and the trace runs none.
    """
    tensors = sample.tensors(device)
    with Calls() as calls:
        with_penalty(sample, tensors, tuple(tensors))
    assert calls.found
    for (func, _), args in calls.found.items():
        names = [argument.name for argument in func._schema.arguments]
        is_last = func._opname in TABLES[op].highest_order
        is_constant = [is_last or name in TABLES[op].constants for name in names]
        given = zip(args, is_constant, strict=True)
        leaves = tuple(as_constant(a) if fixed else as_leaf(a) for a, fixed in given)
        checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
        call = (func, repr(branches_of(args)))
        is_traced = call not in TRACED_CALLS and backend != "emulator"
        if is_traced:
            checks.append("test_aot_dispatch_dynamic")
        torch.library.opcheck(func, leaves, test_utils=checks)
        if is_traced:
            TRACED_CALLS.add(call)


def branches_of(argument):
    """What a trace may branch on: types, dimensions, switches, and which arguments are absent."""
    if isinstance(argument, (list, tuple)):
        return [branches_of(a) for a in argument]
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.dim(), argument.numel() == 0
    if isinstance(argument, (int, float)) and not isinstance(argument, bool):
        return type(argument).__name__, argument != argument, argument == 0, argument == 1
    return argument


def as_constant(argument):
    return argument.detach() if isinstance(argument, torch.Tensor) else argument


def as_leaf(argument):
    if isinstance(argument, (list, tuple)):
        return [as_leaf(a) for a in argument]
    if isinstance(argument, torch.Tensor) and argument.is_floating_point():
        return argument.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    return argument


def compile_whole(sample, engine, device):
    torch.compiler.reset()
    tensors = sample.tensors(device)
    want = with_gradients(sample, tensors)
    leaves = [t.detach().requires_grad_() for t in tensors.values()]
    y = torch.compile(sample.call, fullgraph=True, backend=engine)(*leaves)
    grads = torch.autograd.grad(y, leaves, want["y"] + 0.5)
    for got, (name, value) in zip((y, *grads), want.items(), strict=True):
        limit = torch.finfo(value.dtype).eps * 16
        # inductor sums in another order, and a sum that cancels keeps the errors of its terms
        size = float(value.abs().max()) if engine == "inductor" and value.numel() else 1.0
        torch.testing.assert_close(got, value, rtol=limit, atol=limit * max(size, 1.0), msg=name)


@table("samples")
def test_compiles_without_a_graph_break(op, sample, device, seed):
    compile_whole(sample, "aot_eager", device)


def of_inductor(op, name):
    """To inductor an op is one call by its schema and its fake kernel; what is wrong with those,
    test_opcheck sees on every sample, strides too. By default: the first of each op."""
    is_default = name == next(iter(TABLES[op].samples))
    return [pytest.mark.slow, *([pytest.mark.inductor] if is_default else [])]


@table("samples", marks=of_inductor)
def test_inductor_compiles_without_a_graph_break(op, sample, device, seed):
    compile_whole(sample, "inductor", device)


@table("samples", where=lambda op, sample: (_op_info.CSRC / op).is_dir())
def test_autocast_changes_no_bit(op, sample, device, seed):
    """But of functions made of several ops, whose convolutions autocast takes to 16 bits."""
    tensors = sample.tensors(device)
    want = with_gradients(sample, tensors)
    with torch.autocast(device.type, torch.bfloat16):
        assert_equal_bits(with_gradients(sample, tensors), want)


@table("samples", where=lambda op, sample: TABLES[op].has_bits_of_64)
def test_64_bit_indices_change_no_bit(op, sample, dtype, backend, device, seed, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    tensors = sample.tensors(device, dtype)
    want = with_gradients(sample, tensors)
    most = max(t.numel() for t in tensors.values())
    for limit in (most, most - 1, 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(max(limit, 1)))
        assert_equal_bits(with_gradients(sample, tensors), want)


@table("large")
def test_the_same_bits_every_time_and_with_any_threads(op, sample, backend, device, seed):
    if backend == "reference":
        pytest.skip("plain PyTorch promises no order of summation")
    tensors, before = sample.tensors(device), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(with_gradients(sample, tensors))
    finally:
        torch.set_num_threads(before)
    assert_equal_bits(results[1], results[2])
    for other in results[1:]:
        other = {name: t for name, t in other.items() if name not in TABLES[op].by_matmul}
        assert_equal_bits(results[0], other)


def is_first(op, sample):
    return sample is next(iter(TABLES[op].samples.values()))


@table("samples", where=is_first)
def test_fifty_calls_give_the_same_bits(op, sample, backend, device, seed):
    if backend == "reference":
        pytest.skip("plain PyTorch promises no order of summation")
    tensors, before = sample.tensors(device), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            want = with_gradients(sample, tensors)
            for _ in range(25):
                assert_equal_bits(with_gradients(sample, tensors), want)
    finally:
        torch.set_num_threads(before)


@table("samples", where=is_first)
def test_eight_threads_of_python_get_the_same_bits(op, sample, backend, device, seed):
    """Each on tensors of its own, all at once."""
    if backend == "emulator":
        pytest.skip("the emulator runs one launch at a time")
    inputs = [sample.tensors(device) for _ in range(8)]
    wanted = [with_gradients(sample, tensors) for tensors in inputs]
    start = threading.Barrier(len(inputs), timeout=60)

    def work(tensors):
        start.wait()
        return [with_gradients(sample, tensors) for _ in range(4)]

    with ThreadPoolExecutor(len(inputs)) as pool:
        # What use_backend and the like say holds in a thread that gets its starter's context.
        tasks = [pool.submit(contextvars.copy_context().run, work, t) for t in inputs]
        found = [task.result(timeout=60) for task in tasks]
    for results, want in zip(found, wanted, strict=True):
        for result in results:
            assert_equal_bits(result, want)


class CallsInAWorker(torch.utils.data.Dataset):
    """Item i: y and gradients of the first sample of the i-th op, of tensors made beforehand."""

    def __init__(self, names, device):
        self.samples = [next(iter(TABLES[op].samples.values())) for op in names]
        self.tensors = [sample.tensors(device) for sample in self.samples]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return with_gradients(self.samples[i], self.tensors[i])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a process with threads
def test_workers_of_a_data_loader_get_the_same_bits(backend, device, seed):
    if backend == "emulator" or not hasattr(os, "fork"):
        pytest.skip("forked workers call CPU kernels, or plain PyTorch")
    names = [op for op, info in TABLES.items() if info.has_derivatives]
    calls = CallsInAWorker(names, device)
    wanted = [calls[i] for i in range(len(calls))]
    loader = torch.utils.data.DataLoader(
        calls, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    found = list(loader)
    assert len(found) == len(names) > 10
    for result, want in zip(found, wanted, strict=True):
        assert_equal_bits(result, want)


# torch.func's transforms, and forward-mode differentiation: as over plain torch.


def has_elements(op, sample):
    return all(math.prod(shape) for shape in sample.shapes.values())


def of_first(sample, device):
    """The call as a function of its first tensor, and that tensor."""
    tensors = list(sample.tensors(device, torch.float64).values())
    return lambda x: sample.call(x, *tensors[1:]), tensors[0]


def near(a, b, rtol=1e-9):
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)


@table("samples", where=has_elements)
def test_reverse_transforms(op, sample, device, seed):
    run, x = of_first(sample, device)
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(run(leaf).square().sum(), leaf)
    near(grad(lambda x: run(x).square().sum())(x), want)
    y, pull = vjp(run, x)
    near(y, run(x))
    near(pull(2 * y)[0], want)
    rows = jacrev(run)(x).flatten(0, y.dim() - 1)
    near(torch.einsum("i,i...->...", 2 * y.flatten(), rows), want)


@table("samples", where=has_elements)
def test_forward_transforms(op, sample, device, seed):
    run, x = of_first(sample, device)
    v, e = torch.randn_like(x), 1e-5
    want = (run(x + e * v) - run(x - e * v)) / (2 * e)  # knows no derivative of ours or torch's
    near(jvp(run, (x,), (v,))[1], want, 1e-6)
    with forward_ad.dual_level():
        y = run(forward_ad.make_dual(x, v))
        near(forward_ad.unpack_dual(y).tangent, want, 1e-6)


@table("samples", where=has_elements)
def test_vmap(op, sample, device, seed):
    run, x = of_first(sample, device)
    xs = torch.stack([x, 0.5 * x, x + 1])
    near(vmap(run)(xs), torch.stack([run(x) for x in xs]))
    each = grad(lambda x: run(x).square().sum())
    near(vmap(each)(xs), torch.stack([each(x) for x in xs]))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        pytest.param(*error, id=f"{op}-{name}")
        for op, info in TABLES.items()
        for name, error in info.errors.items()
    ],
)
def test_errors_name_the_argument(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_every_op_has_samples_of_each_kind():
    for op in (path.name for path in _op_info.CSRC.iterdir() if path.is_dir()):
        info = TABLES.get(op)
        assert info, f"tests/ops/test_{op}.py has no OP_INFO"
        kinds = ("samples", "derivatives", "large") if info.has_derivatives else ()
        for kind in ("errors", *kinds):
            assert getattr(info, kind), f"{op}: OP_INFO has no {kind}"
