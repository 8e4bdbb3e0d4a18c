# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.func import functional_call

from fastgan import sample_rng
from fastgan.losses.gradient_penalty import (
    dragan,
    gradient_norm_penalty,
    logits_and_penalty,
    penalty_of_logits,
    r1,
    r2,
    wgan_gp,
)


class ImageCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.out = nn.Linear(12, 1)

    def forward(self, x):
        return self.out(self.conv(x).tanh().flatten(1))


class SequenceCritic(nn.Module):
    """Of embedded tokens [N, T, E]; its output has two columns."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(3, 3)
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        weights = (self.query(x) @ x.transpose(1, 2)).softmax(-1)
        return self.out((weights @ x).mean(1))


class GraphCritic(nn.Module):
    """Of nodes [N, V, F] and adjacency [N, V, V]."""

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(3, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, graph):
        nodes, edges = graph
        return self.out((edges @ self.w(nodes)).tanh().sum(1))


class ConditionalCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(5, 4)
        self.embed = nn.Linear(2, 4)

    def forward(self, x, c):
        return (self.w(x).tanh() * self.embed(c)).sum(1, keepdim=True)


KINDS = {
    "vector": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), [(3, 5)], None),
    "image": (ImageCritic, [(3, 2, 4, 4)], None),
    "sequence": (SequenceCritic, [(3, 4, 3)], None),
    "graph": (GraphCritic, [(3, 4, 3), (3, 4, 4)], None),
    "conditional": (ConditionalCritic, [(3, 5)], (3, 2)),
}
PENALTIES = {
    "r1": (0.0, False),
    "wgan-gp": (1.0, False),
    "one-sided": (0.05, True),
}


def build(kind, dtype=torch.float64):
    torch.manual_seed(len(kind))
    make, shapes, c_shape = KINDS[kind]
    D = make().to(dtype)
    xs = tuple(torch.randn(shape, dtype=dtype) for shape in shapes)
    c = None if c_shape is None else torch.randn(c_shape, dtype=dtype)
    return D, (xs if len(xs) > 1 else xs[0]), c


def by_hand(D, x, c, target, one_sided):
    """The penalty in plain torch: gradient with a graph, norm over everything but N."""
    xs = [t.detach().clone().requires_grad_() for t in (x if isinstance(x, tuple) else (x,))]
    at = tuple(xs) if isinstance(x, tuple) else xs[0]
    logits = D(at) if c is None else D(at, c)
    grads = torch.autograd.grad(logits.sum(), xs, create_graph=True)
    squared = sum((g**2).flatten(1).sum(1) for g in grads)
    if target == 0:
        return squared
    excess = squared.sqrt() - target
    return (excess.relu() if one_sided else excess) ** 2


def parameter_gradients(D, loss):
    names, values = zip(*D.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)
    return dict(zip(names, grads, strict=True))


def assert_same_gradients(D, got, want, rtol=1e-10):
    got, want = parameter_gradients(D, got), parameter_gradients(D, want)
    assert any(g.abs().sum() > 0 for g in want.values())
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=rtol, atol=rtol,
                                   msg=lambda m, name=name: f"{name}: {m}")  # fmt: skip


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_double_backward_by_hand(kind, penalty):
    D, x, c = build(kind)
    target, one_sided = PENALTIES[penalty]
    p = gradient_norm_penalty(D, x, c, target=target, one_sided=one_sided)
    want = by_hand(D, x, c, target, one_sided)
    assert p.shape == (3,)
    torch.testing.assert_close(p, want)
    assert_same_gradients(D, p.mean(), want.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_r1_and_r2_are_the_squared_norm(kind):
    D, x, c = build(kind)
    want = by_hand(D, x, c, 0.0, False)
    torch.testing.assert_close(r1(D, x, c), want)
    torch.testing.assert_close(r2(D, x, c), want)


@pytest.mark.parametrize("kind", ["vector", "image", "graph"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_parameter_gradients_by_finite_differences(kind, penalty):
    D, x, c = build(kind)
    target, one_sided = PENALTIES[penalty]
    names = [name for name, _ in D.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in D.parameters()]

    def penalised(*parameters):
        def critic(*inputs):
            return functional_call(D, dict(zip(names, parameters, strict=True)), inputs)

        return gradient_norm_penalty(critic, x, c, target=target, one_sided=one_sided)

    assert torch.autograd.gradcheck(penalised, values)


def test_wgan_gp_penalises_between_real_and_fake(monkeypatch):
    D, real, _ = build("vector")
    fake = torch.randn_like(real)
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: t)
    points = t[:, None] * real + (1 - t[:, None]) * fake
    torch.testing.assert_close(wgan_gp(D, real, fake), by_hand(D, points, None, 1.0, False))
    torch.testing.assert_close(
        wgan_gp(D, real, fake, target=0.3, one_sided=True), by_hand(D, points, None, 0.3, True)
    )


def test_wgan_gp_of_two_tensors_moves_both_alike():
    D, (nodes, edges), _ = build("graph")
    seen = []

    def spy(inputs):
        seen.append([t.detach() for t in inputs])
        return D(inputs)

    zeros = (torch.zeros_like(nodes), torch.zeros_like(edges))
    assert wgan_gp(spy, (nodes, edges), zeros).shape == (3,)
    t = [(seen[0][i] / part).flatten(1) for i, part in enumerate((nodes, edges))]
    for per_sample in t:
        assert (per_sample >= 0).all()
        assert (per_sample <= 1).all()
        torch.testing.assert_close(per_sample, t[0][:, :1].expand_as(per_sample))
    assert t[0][:, 0].unique().numel() == 3


def test_dragan_penalises_real_samples_with_noise():
    D, real, _ = build("graph")
    seen = []

    def spy(graph):
        seen.append(graph)
        return D(graph)

    with sample_rng.sample_stream(3):
        p = dragan(spy, real, noise=0.25, target=1.0)
    with sample_rng.sample_stream(3):
        moves = [0.25 * sample_rng.normal_like(t) for t in real]
    at = tuple(t + move for t, move in zip(real, moves, strict=True))
    torch.testing.assert_close(tuple(t.detach() for t in seen[0]), at)
    torch.testing.assert_close(p, by_hand(D, at, None, 1.0, False))


def test_other_tensors_of_a_tree_pass_untouched_and_fakes_may_have_more_keys():
    w = torch.randn(5, 1, dtype=torch.float64)
    kind = torch.tensor([0, 2, 1])

    def D(x):
        assert x["kind"] is kind
        return [x["y"].square() @ w]

    real = {"y": torch.randn(3, 5, dtype=torch.float64), "kind": kind}
    fake = {"y": torch.randn(3, 5, dtype=torch.float64), "kind": None, "again": real["y"]}
    fake["kind"] = kind + 1
    want = (2 * real["y"] * w.T).square().sum(1)
    torch.testing.assert_close(r1(D, real), want)
    with sample_rng.sample_stream(3):
        p = wgan_gp(D, real, fake, target=0.0)
    with sample_rng.sample_stream(3):
        t = sample_rng.uniform(3, dtype=torch.float64)[:, None]
    y = t * real["y"] + (1 - t) * fake["y"]
    torch.testing.assert_close(p, (2 * y * w.T).square().sum(1))


def test_several_logits_and_features():
    """The gradient is that of all logits, and of no feature."""
    D = nn.Linear(3, 2).double()
    x = torch.randn(4, 3, dtype=torch.float64)

    def both(x):
        y = D(x).tanh()
        return [y, y[:, :1] * 3, y[:, 1]], {"map": x.exp()}

    weights = torch.tensor([4.0, 2.0], dtype=torch.float64)
    for method in ("double_backward", "auto"):
        want = by_hand(lambda x: D(x).tanh() * weights, x, None, 0.0, False)
        output, p = logits_and_penalty(both, x, method=method)
        assert (len(output[0]), output[1].keys()) == (3, {"map"})
        torch.testing.assert_close(p, want)
        torch.testing.assert_close(gradient_norm_penalty(both, x, method=method), want)
        assert_same_gradients(D, p.sum(), want.sum())


def test_other_outputs_are_refused():
    y = torch.zeros(3, 1, requires_grad=True)
    for output in ({"logits": y}, (y, y, y), [], [y, [y]], (y,), ([y, (y,)], None)):
        with pytest.raises(ValueError, match="gradient_norm_penalty: D's output must be a tensor"):
            r1(lambda x, output=output: output, X)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_penalty_is_summed_in_float32_at_least(dtype):
    D, x, _ = build("vector", dtype)
    assert r1(D, x).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_generated_samples_are_detached():
    D, real, _ = build("vector")
    G = nn.Linear(2, 5).double()
    fake = G(torch.randn(3, 2, dtype=torch.float64))
    (r2(D, fake).sum() + wgan_gp(D, real, fake).sum()).backward()
    assert all(p.grad is None for p in G.parameters())
    assert all(p.grad is not None for p in list(D.parameters())[:1])


def test_the_samples_of_the_caller_are_left_alone():
    D, real, _ = build("vector")
    r1(D, real).sum().backward()
    assert not real.requires_grad
    assert real.grad is None


def test_from_logits_that_exist_already():
    D, x, _ = build("image")
    x.requires_grad_()
    logits = D(x)
    p = penalty_of_logits(logits, x)
    torch.testing.assert_close(p, by_hand(D, x, None, 0.0, False))
    assert_same_gradients(
        D, p.sum() + logits.sum(), by_hand(D, x, None, 0.0, False).sum() + D(x).sum()
    )


def test_an_input_that_the_critic_ignores():
    D, x, _ = build("vector")
    p = gradient_norm_penalty(lambda xs: D(xs[0]), (x, torch.randn(3, 2, dtype=torch.float64)))
    torch.testing.assert_close(p, by_hand(D, x, None, 0.0, False))


@pytest.mark.parametrize("method", ["double_backward", "finite_difference"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_zero_gradient_gives_no_nan(penalty, method):
    target, one_sided = PENALTIES[penalty]
    D = nn.Linear(5, 1).double()
    nn.init.zeros_(D.weight)
    x = torch.randn(3, 5, dtype=torch.float64)
    p = gradient_norm_penalty(D, x, target=target, one_sided=one_sided, method=method)
    torch.testing.assert_close(p, torch.full_like(p, 0 if one_sided else target**2))
    p.sum().backward()
    assert D.weight.grad.isfinite().all()


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_finite_difference_of_a_smooth_critic(kind, penalty, monkeypatch):
    """The value is exact; the gradient's error falls with the square of the step."""
    D, x, c = build(kind)
    target, one_sided = PENALTIES[penalty]
    options = {"target": target, "one_sided": one_sided}
    want = gradient_norm_penalty(D, x, c, **options)
    exact = torch.cat([g.flatten() for g in parameter_gradients(D, want.sum()).values()])
    error = {}
    for step in (0.03, 0.003):
        monkeypatch.setattr("fastgan.losses.gradient_penalty.FINITE_DIFFERENCE_STEP", step)
        p = gradient_norm_penalty(D, x, c, method="finite_difference", **options)
        torch.testing.assert_close(p, want)
        near = torch.cat([g.flatten() for g in parameter_gradients(D, p.sum()).values()])
        error[step] = ((near - exact).norm() / exact.norm()).item()
    assert error[0.03] < 0.02
    assert error[0.003] < 0.02 * error[0.03]


def test_finite_difference_makes_no_second_order_graph():
    """An op with no second derivative is enough."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, dy):
            return 2 * ctx.saved_tensors[0] * dy

    D, x, _ = build("vector")
    first = D[0]
    critic = lambda x: Once.apply(first(x)).sum(1)  # noqa: E731
    gradient_norm_penalty(critic, x, method="finite_difference").sum().backward()
    assert first.weight.grad.abs().sum() > 0


def test_works_inside_no_grad():
    D, x, _ = build("vector")
    with torch.no_grad():
        p = r1(D, x)
    torch.testing.assert_close(p, by_hand(D, x, None, 0.0, False))


def compiled_module(D):
    return torch.compile(D, backend="eager")


def compiled_in_place(D):
    D.compile(backend="eager")
    return D


def compiled_part(D):
    D[0] = torch.compile(D[0], backend="eager")
    return D


def compiled_part_in_place(D):
    D[0].compile(backend="eager")
    return D


def compiled_function(D):
    return torch.compile(lambda x: D(x), backend="eager")


def compiled_forward(D):
    D.forward = torch.compile(D.forward, backend="eager")
    return D


@pytest.mark.parametrize(
    "compiled",
    [compiled_module, compiled_in_place, compiled_part, compiled_part_in_place, compiled_function,
     compiled_forward],
)  # fmt: skip
def test_a_compiled_critic_is_refused(compiled):
    """torch.compile would return the value of the penalty and drop its gradient in silence."""
    D, x, _ = build("vector")
    with pytest.raises(NotImplementedError, match=r"is compiled by torch.compile.*trace_autograd"):
        r1(compiled(D), x)


def test_finite_difference_takes_a_compiled_critic():
    D, x, _ = build("vector")
    want = r1(D, x)
    torch.compiler.reset()
    critic = torch.compile(D, backend="aot_eager")
    p = r1(critic, x, method="finite_difference")
    torch.testing.assert_close(p, want)
    assert_same_gradients(D, p.sum(), want.sum(), rtol=0.01)


X = torch.zeros(2, 3)
ERRORS = {
    "method": (ValueError, r"gradient_norm_penalty: method must be one of auto.*got 'exact'",
               lambda: r1(nn.Linear(3, 1), X, method="exact")),
    "integers": (TypeError, r"gradient_norm_penalty: samples must be .*int64; penalise the emb",
                 lambda: r1(nn.Linear(3, 1), X.long())),
    "integers in wgan_gp": (TypeError, r"wgan_gp: samples must .*, got a tuple without one",
                            lambda: wgan_gp(nn.Linear(3, 1), (X.long(),), (X,))),
    "unequal counts": (ValueError, r"wgan_gp: fake must be what real is: expected a tensor, got",
                       lambda: wgan_gp(nn.Linear(3, 1), X, (X, X))),
    "independent": (ValueError, r"gradient_norm_penalty: D's output does not depend on x",
                    lambda: r1(lambda x: x.detach(), X)),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument(name):
    error, message, call = ERRORS[name]
    with pytest.raises(error, match=message):
        call()


def test_a_critic_that_ignores_its_input_is_refused():
    w = torch.ones((), requires_grad=True)
    with pytest.raises(ValueError, match="does not depend on x"):
        r1(lambda x: w * torch.ones(x.shape[0], 1), torch.randn(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_finite_difference_stays_finite_where_the_gradient_is_tiny_or_zero(dtype):
    D = nn.Linear(4096, 1).to(dtype)
    with torch.no_grad():
        D.weight.mul_(1e-6)
        D.weight[:, ::2] = 0
    x = torch.randn(3, 4096).to(dtype)
    penalty = gradient_norm_penalty(D, x, method="finite_difference")
    penalty.mean().backward()
    assert torch.isfinite(penalty).all()
    assert torch.isfinite(D.weight.grad).all()

    nothing = nn.Linear(4096, 1).to(dtype)
    nn.init.zeros_(nothing.weight)
    penalty = gradient_norm_penalty(nothing, x, method="finite_difference")
    penalty.mean().backward()
    assert torch.equal(penalty, torch.zeros(3))
    assert torch.isfinite(nothing.weight.grad).all()


@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
def test_a_critic_in_distributed_data_parallel():
    """Its reducer waits for a gradient of every parameter; R1 has none for the last bias."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        make, _, _ = KINDS["vector"]
        D = nn.parallel.DistributedDataParallel(make())
        for _ in range(2):
            r1(D, torch.randn(3, 5), method="double_backward").sum().backward()
        assert D.module[2].bias.grad == 0
        assert D.module[2].weight.grad.abs().max() > 0
    finally:
        dist.destroy_process_group()
