# SPDX-License-Identifier: Apache-2.0
import functools
import importlib
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo
from _tolerances import assert_accurate, numpy64
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan.ops import adam_ema_, library_facts, use_backend
from fastgan.ops.adam_ema import adam_ema_ref

BUFFERS = ("param", "exp_avg", "exp_avg_sq", "ema")
DTYPES = {  # of the gradient: of everything else
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}
OPTIONS = {
    "defaults": {},
    "of a GAN": {"betas": (0, 0.99)},
    "no second memory": {"betas": (0.5, 0)},
    "weight decay": {"betas": (0.0, 0.99), "weight_decay": 0.1},
    "large eps": {"eps": 0.1},
    "scaled gradient": {"grad_scale": 0.125},
}
SIZES = (0, 1, 7, 63, 1023, 4097)


def at(n, offset, dtype, device):
    """[n] zeros, `offset` elements after the start of an allocation that is NaN elsewhere."""
    return torch.full([n + offset + 1], math.nan, device=device, dtype=dtype)[offset:-1].zero_()


class Run:
    """The tensors of one optimiser; `moments` other than 0, as in the middle of training."""

    def __init__(self, n, dtype, device, offsets=(), has_ema=True, seed=0):
        generator = torch.Generator().manual_seed(seed)
        wide = DTYPES[dtype]
        offsets = dict(offsets)
        names = BUFFERS if has_ema else BUFFERS[:3]
        self.grad = at(n, offsets.get("grad", 0), dtype, device)
        self.buffers = {name: at(n, offsets.get(name, 0), wide, device) for name in names}
        for t in (self.grad, *self.buffers.values()):
            t.copy_(torch.randn(n, generator=generator, dtype=torch.float64))
        self.buffers["exp_avg_sq"].abs_()
        self.step = torch.tensor(0, device=device)
        self.nonfinite = torch.tensor(0, device=device)
        self.lr = torch.tensor(0.01, dtype=wide, device=device)
        self.ema_weight = torch.tensor(0.1, dtype=wide, device=device) if has_ema else None

    def __call__(self, name="auto", **options):
        with use_backend(name):
            adam_ema_(
                self.buffers["param"], self.grad, self.buffers["exp_avg"],
                self.buffers["exp_avg_sq"], step=self.step, nonfinite=self.nonfinite, lr=self.lr,
                ema=self.buffers.get("ema"), ema_weight=self.ema_weight, **options,
            )  # fmt: skip

    def state(self):
        """Copies of all that the op may write to, by name."""
        everything = self.buffers | {"step": self.step, "nonfinite": self.nonfinite}
        return {name: t.clone() for name, t in everything.items()}


class Oracle:
    """Algorithm 1 in long double, with the magnitudes that were added up."""

    def __init__(self, run):
        self.values = {k: numpy64(t).astype(np.longdouble) for k, t in run.buffers.items()}
        self.scales = {k: np.abs(v) for k, v in self.values.items()}
        self.t = int(run.step)

    def __call__(self, run, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, grad_scale=1.0):
        self.t += 1
        beta1, beta2 = (np.longdouble(float(beta)) for beta in betas)
        x, s = self.values, self.scales
        lr = np.longdouble(run.lr.item())
        g = numpy64(run.grad) * np.longdouble(grad_scale)
        size = np.abs(g) + weight_decay * s["param"]
        g = g + weight_decay * x["param"]
        x["exp_avg"] = beta1 * x["exp_avg"] + (1 - beta1) * g
        s["exp_avg"] = beta1 * s["exp_avg"] + (1 - beta1) * size
        x["exp_avg_sq"] = beta2 * x["exp_avg_sq"] + (1 - beta2) * g * g
        s["exp_avg_sq"] = beta2 * s["exp_avg_sq"] + (1 - beta2) * size * size
        correction1, correction2 = 1 - beta1**self.t, 1 - beta2**self.t
        rate = lr / correction1
        root = np.sqrt(x["exp_avg_sq"] / correction2) + eps
        x["param"] = x["param"] - rate * x["exp_avg"] / root
        # The corrections are differences in float64; exp_avg_sq may be one, too, if g has a sum.
        eps64 = np.finfo(np.float64).eps / torch.finfo(run.lr.dtype).eps
        share = 1 + s["exp_avg_sq"] / np.maximum(x["exp_avg_sq"], np.finfo(np.float64).tiny)
        share = share + eps64 / correction1 + eps64 / correction2
        s["param"] = s["param"] + rate * s["exp_avg"] / root * share
        if "ema" in x:
            w = np.longdouble(run.ema_weight.item())
            x["ema"] = x["ema"] + w * (x["param"] - x["ema"])
            s["ema"] = (1 - w) * s["ema"] + w * s["param"]


def check(run, oracle, plain):
    for name, got in run.buffers.items():
        assert_accurate(got, oracle.values[name], oracle.scales[name], what=name,
                        plain=plain.get(name, got), or_twice_plain=name in plain)  # fmt: skip


class TorchAdam:
    """torch.optim.Adam over the same buffers, one step at a time."""

    def __init__(self, run, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, grad_scale=1.0):
        self.param = torch.nn.Parameter(run.buffers["param"].clone())
        self.ema = run.buffers["ema"].clone()
        self.grad_scale = grad_scale
        betas = tuple(float(beta) for beta in betas)
        self.optimizer = torch.optim.Adam([self.param], betas=betas, eps=eps, foreach=True,
                                          weight_decay=weight_decay)  # fmt: skip
        self.optimizer.state[self.param] = {
            "step": run.step.float(),
            "exp_avg": run.buffers["exp_avg"].clone(),
            "exp_avg_sq": run.buffers["exp_avg_sq"].clone(),
        }

    @torch.no_grad()
    def __call__(self, run, **group):
        self.optimizer.param_groups[0] |= group
        self.param.grad = run.grad.to(self.param.dtype) * self.grad_scale
        self.optimizer.param_groups[0]["lr"] = run.lr.item()
        self.optimizer.step()
        self.ema.lerp_(self.param, run.ema_weight)

    def state(self):
        moments = self.optimizer.state[self.param]
        return {"param": self.param.detach(), "ema": self.ema} | {
            name: moments[name] for name in ("exp_avg", "exp_avg_sq")
        }


@pytest.mark.parametrize("options", OPTIONS)
def test_twenty_steps_are_those_of_torch_adam(options, dtype, device, seed):
    """No less exact than torch.optim.Adam, with another lr and average at every step."""
    options = OPTIONS[options]
    run = Run(203, dtype, device)
    oracle, theirs = Oracle(run), TorchAdam(run, **options)
    for k in range(20):
        run.grad.copy_(torch.randn(203))
        run.lr.fill_(0.01 * (1 + k % 3))
        run.ema_weight.fill_(0.9 / (1 + k))
        run(**options)
        oracle(run, **options)
        theirs(run)
    check(run, oracle, theirs.state())
    assert run.step.item() == 20
    assert run.nonfinite.item() == 0


def test_a_changing_beta2_is_that_of_each_step(dtype, device, seed):
    run, number = Run(203, dtype, device), Run(203, dtype, device)
    oracle, theirs = Oracle(run), TorchAdam(run, betas=(0.5, 0.9))
    beta2 = torch.tensor(0.9, dtype=torch.float64, device=device)
    for k in range(20):
        run.grad.copy_(torch.randn(203))
        beta2.fill_(0.3 + 0.03 * k)  # on both sides of 0.5
        number.grad.copy_(run.grad)
        run(betas=(0.5, 0.9), beta2=beta2)
        number(betas=(0.5, beta2.item()))
        oracle(run, betas=(0.5, beta2.item()))
        theirs(run, betas=(0.5, beta2.item()))
    check(run, oracle, theirs.state())
    assert run.step.item() == 20
    for name, buffer in number.buffers.items():
        assert torch.equal(run.buffers[name], buffer), name


@pytest.mark.parametrize("has_ema", [True, False], ids=["average", "no average"])
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n, has_ema, dtype, device):
    run = Run(n, dtype, device, has_ema=has_ema)
    oracle = Oracle(run)
    for _ in range(2):
        run()
        oracle(run)
    check(run, oracle, {})
    assert run.step.item() == 2


@pytest.mark.parametrize("offset", [1, 3])
@pytest.mark.parametrize("which", ["grad", *BUFFERS, "all"])
def test_views_that_start_anywhere(which, offset, dtype, device):
    names = ("grad", *BUFFERS) if which == "all" else (which,)
    run = Run(1023, dtype, device, offsets=dict.fromkeys(names, offset))
    oracle = Oracle(run)
    run()
    oracle(run)
    check(run, oracle, {})


def test_more_than_one_round_of_the_grid(device):
    n = 132 * 16 * 256 + 77
    run = Run(n, torch.float64, device)
    oracle = Oracle(run)
    run()
    oracle(run)
    check(run, oracle, {})


def test_a_bad_element_in_a_late_block(device):
    """More partial counts than a block has threads."""
    run = Run(300 * 256 + 1, torch.float64, device)
    before = run.state()
    run.grad[290 * 256] = math.nan
    run()
    assert run.nonfinite.item() == 1
    assert torch.equal(run.buffers["param"], before["param"])


def test_views_of_one_buffer(device):
    """As flat buffers are cut: nothing beyond a view is touched."""
    n = 1021
    whole = torch.randn(4 * n + 5, device=device)
    whole[3 * n : 4 * n].abs_()
    run = Run(n, torch.float32, device, has_ema=False)
    for i, name in enumerate(("param", "exp_avg", "exp_avg_sq")):
        run.buffers[name] = whole[(i + 1) * n : (i + 2) * n]
    first, last = whole[:n].clone(), whole[4 * n :].clone()
    oracle = Oracle(run)
    run()
    oracle(run)
    check(run, oracle, {})
    assert torch.equal(whole[:n], first)
    assert torch.equal(whole[4 * n :], last)


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("where", [0, 1022, 4092, 4096])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_element_skips_the_step(bad, where, name, dtype, device):
    run = Run(4097, dtype, device)
    run(name)
    before = run.state()
    good = run.grad[where].clone()
    run.grad[where] = bad
    run(name)
    after = run.state()
    assert after.pop("nonfinite").item() == 1
    assert before.pop("nonfinite").item() == 0
    for what, t in after.items():
        assert torch.equal(t, before[what]), what
    run.grad[where] = good
    run(name)
    assert run.step.item() == 2
    assert not torch.equal(run.buffers["param"], before["param"])


def test_a_skipped_step_leaves_no_trace(dtype, device):
    skips, plain = Run(63, dtype, device), Run(63, dtype, device)
    for k in range(6):
        skips()
        plain()
        good = skips.grad.clone()
        skips.grad[: k + 1] = math.nan
        skips()
        skips.grad.copy_(good)
    assert skips.nonfinite.item() == 1 + 2 + 3 + 4 + 5 + 6
    assert skips.step.item() == 6
    for name in BUFFERS:
        assert torch.equal(skips.buffers[name], plain.buffers[name]), name


def test_an_overflow_by_the_scale_is_not_finite(dtype, device):
    run = Run(5, dtype, device)
    before = run.state()
    run.grad.fill_(torch.finfo(dtype).max)
    largest = torch.finfo(run.lr.dtype).max
    run(grad_scale=2.0 if dtype == run.lr.dtype else largest)
    assert run.nonfinite.item() == 5
    assert torch.equal(run.buffers["param"], before["param"])


def test_the_step_is_read_on_the_device(device):
    """A resumed run corrects its moments' bias by where it is, not by how often it was called."""
    run = Run(63, torch.float64, device)
    run.step.fill_(12345)
    oracle = Oracle(run)
    run(betas=(0.9999, 0.99999))
    oracle(run, betas=(0.9999, 0.99999))
    check(run, oracle, {})
    assert run.step.item() == 12346


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_the_average_at_its_ends(name, device):
    run = Run(63, torch.float32, device)
    before = run.state()["ema"]
    run.ema_weight.fill_(0)
    run(name)
    assert torch.equal(run.buffers["ema"], before)
    run.ema_weight.fill_(1)
    run(name)
    assert torch.equal(run.buffers["ema"], run.buffers["param"])


def test_zero_gradients_move_nothing(device):
    """0 / (0 + eps): no NaN from parameters that were never used."""
    run = Run(63, torch.float32, device)
    for name in ("exp_avg", "exp_avg_sq"):
        run.buffers[name].zero_()
    run.grad.zero_()
    before = run.state()
    run()
    assert torch.equal(run.buffers["param"], before["param"])


def test_with_beta1_0_the_old_moment_is_forgotten(device):
    run = Run(1023, torch.float32, device)
    run.buffers["exp_avg"].fill_(math.nan)
    run(betas=(0, 0.99))
    assert torch.equal(run.buffers["exp_avg"], run.grad)
    assert run.buffers["param"].isfinite().all()


def test_the_same_bits_every_time(dtype, device):
    runs = [Run(5000, dtype, device) for _ in range(3)]
    for run in runs:
        run()
        run()
    for other in runs[1:]:
        for name in BUFFERS:
            assert torch.equal(other.buffers[name], runs[0].buffers[name]), name


def op_arguments(run, beta2=None):
    b = run.buffers
    options = (0.9, 0.999, 1e-8, 0.01, 0.5)
    return (b["param"], run.grad, b["exp_avg"], b["exp_avg_sq"], b.get("ema"), run.step,
            run.nonfinite, run.lr, run.ema_weight, beta2, *options)  # fmt: skip


@pytest.mark.parametrize("has_ema", [True, False], ids=["average", "no average"])
@pytest.mark.parametrize("n", [0, 63])
def test_opcheck(n, has_ema, dtype, device):
    run = Run(n, dtype, device, has_ema=has_ema)
    beta2 = None if has_ema else torch.tensor(0.4, dtype=torch.float64, device=device)
    torch.library.opcheck(torch.ops.fastgan.adam_ema_.default, op_arguments(run, beta2))


def test_nothing_is_read_by_the_host():
    """A data-dependent branch or an .item() raises on fake tensors."""
    with FakeTensorMode():
        run = Run(63, torch.bfloat16, "cpu")
        adam_ema_ref(*op_arguments(run, torch.tensor(0.4, dtype=torch.float64)))
        run()


@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.inductor])],
)
@pytest.mark.parametrize("has_ema", [True, False], ids=["average", "no average"])
def test_compiles_without_a_graph_break(has_ema, engine, device):
    torch.compiler.reset()
    got, want = (Run(63, torch.float32, device, has_ema=has_ema) for _ in range(2))

    def step(param, grad, exp_avg, exp_avg_sq, ema, count, nonfinite, lr, ema_weight):
        adam_ema_(param, 2 * grad, exp_avg, exp_avg_sq, step=count, nonfinite=nonfinite, lr=lr,
                  ema=ema, ema_weight=ema_weight)  # fmt: skip
        return param + 1

    compiled = torch.compile(step, fullgraph=True, backend=engine)
    for _ in range(2):
        after = compiled(*op_arguments(got)[:9])
        step(*op_arguments(want)[:9])
    assert torch.equal(after, got.buffers["param"] + 1)
    for name, t in want.state().items():
        assert torch.equal(got.state()[name], t), name


def test_autocast_changes_nothing(device):
    runs = [Run(63, torch.float32, device) for _ in range(2)]
    runs[0]()
    with torch.autocast(device.type, torch.bfloat16):
        runs[1]()
    for name in BUFFERS:
        assert torch.equal(runs[0].buffers[name], runs[1].buffers[name]), name


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_a_parameter_is_updated_under_no_grad(name, device):
    run = Run(63, torch.float32, device)
    run.buffers["param"] = torch.nn.Parameter(run.buffers["param"])
    with pytest.raises(RuntimeError, match=r"adam_ema_: param requires a gradient.*no_grad"):
        run(name)
    assert run.step.item() == 0
    with torch.no_grad():
        run(name)
    assert run.step.item() == 1


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_autograd_knows_that_saved_values_are_gone(name, device):
    run = Run(63, torch.float32, device)
    param = run.buffers["param"] = torch.nn.Parameter(run.buffers["param"])
    y = param.square().sum()
    with torch.no_grad():
        run(name)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def call(**changes):
    run = Run(3, changes.pop("dtype", torch.float32), torch.device("cpu"))
    run.grad = changes.pop("grad", run.grad)
    for name in BUFFERS:
        run.buffers[name] = changes.pop(name, run.buffers[name])
    for name in ("step", "nonfinite", "lr", "ema_weight"):
        setattr(run, name, changes.pop(name, getattr(run, name)))
    run(**changes)


X = torch.zeros(3)
ERRORS = {
    "a number for lr": (TypeError, r"adam_ema_: lr must be a tensor .*got 0\.1.*torch\.tensor",
                        {"lr": 0.1}),
    "16-bit parameters": (TypeError, r"adam_ema_: param must be torch\.float32 or .*bfloat16",
                          {"param": X.bfloat16()}),
    "a wide gradient": (TypeError, r"adam_ema_: grad must be torch\.float32 or .*float64",
                        {"grad": X.double()}),
    "a narrow gradient": (TypeError, r"adam_ema_: grad must be torch\.float64, got .*float32",
                          {"dtype": torch.float64, "grad": X}),
    "moments unlike": (TypeError, r"adam_ema_: exp_avg_sq must be torch\.float32, got .*float64",
                       {"exp_avg_sq": X.double()}),
    "a float step": (TypeError, r"adam_ema_: step must be torch\.int64, got torch\.float32",
                     {"step": torch.tensor(0.0)}),
    "a float count": (TypeError, r"adam_ema_: nonfinite must be torch\.int64, got torch\.float32",
                      {"nonfinite": torch.tensor(0.0)}),
    "sizes": (ValueError, r"adam_ema_: ema must be contiguous, of shape \(3,\), got shape \(4,\)",
              {"ema": torch.zeros(4)}),
    "two dimensions": (ValueError, r"adam_ema_: exp_avg must be contiguous.*got shape \(1, 3\)",
                       {"exp_avg": X[None]}),
    "strides": (ValueError, r"adam_ema_: grad must be contiguous.*strides \(2,\)",
                {"grad": torch.zeros(6)[::2]}),
    "lr with a dimension": (ValueError, r"adam_ema_: lr must have shape \(\), got \(1,\)",
                            {"lr": torch.ones(1)}),
    "devices": (ValueError, r"adam_ema_: grad must be on cpu like param, got meta",
                {"grad": X.to("meta")}),
    "a narrow beta2": (TypeError, r"adam_ema_: beta2 must be torch\.float64, got torch\.float32",
                       {"beta2": torch.tensor(0.9)}),
    "no weight": (ValueError, r"adam_ema_: ema_weight must come with its counterpart",
                  {"ema_weight": None}),
    "no average": (ValueError, r"adam_ema_: ema must come with its counterpart", {"ema": None}),
    "beta of 1": (ValueError, r"adam_ema_: betas must be two numbers in \[0, 1\), got \(0, 1\)",
                  {"betas": (0, 1)}),
    "negative eps": (ValueError, r"adam_ema_: eps must be ≥ 0, got -1", {"eps": -1}),
    "negative decay": (ValueError, r"adam_ema_: weight_decay must be ≥ 0, got -1",
                       {"weight_decay": -1}),
}  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 70),
    offsets=st.dictionaries(st.sampled_from(["grad", *BUFFERS]), st.integers(0, 3)),
    beta1=st.sampled_from([0, 0.5, 0.9]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_random_calls(device, n, offsets, beta1, dtype):
    run = Run(n, dtype, device, offsets)
    oracle = Oracle(run)
    run(betas=(beta1, 0.99))
    oracle(run, betas=(beta1, 0.99))
    check(run, oracle, {})


ISAS = ("baseline", "avx2", "avx512")


@pytest.fixture(params=ISAS)
def isa(request, backend):
    if backend != "cpu":
        pytest.skip("the CUDA kernel contracts and reorders")
    native = importlib.import_module("fastgan._C")
    if request.param not in native.supported_isas():
        pytest.skip(f"this processor has no {request.param}")
    before = library_facts()["cpu_isa"]
    native.limit_isa(request.param)
    yield request.param
    native.limit_isa(before)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_cpu_kernel_has_the_references_bits(options, dtype, isa):
    runs = {name: Run(4099, dtype, torch.device("cpu")) for name in ("auto", "reference")}
    for weight in (0, 0.1, 0.5, 0.9, 1):
        for name, run in runs.items():
            run.ema_weight.fill_(weight)
            run(name, **OPTIONS[options])
    for name in BUFFERS:
        got, want = (run.buffers[name] for run in runs.values())
        if dtype == torch.float64 and name in ("param", "ema"):  # torch's root of float64
            torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-14)
        else:
            assert torch.equal(got, want), name


OP_INFO = OpInfo(
    errors={name: (error, message, functools.partial(call, **changes))
            for name, (error, message, changes) in ERRORS.items()},
    has_derivatives=False,
)  # fmt: skip
