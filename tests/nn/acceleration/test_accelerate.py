# SPDX-License-Identifier: Apache-2.0
"""What `fastgan.nn.accelerate` swaps, leaves, keeps and takes back."""

import copy
import inspect
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import fastgan.nn as fnn
from fastgan import ops
from fastgan.nn.acceleration import model_swap as files
from fastgan.ops import _backend

needs_kernels = pytest.mark.skipif(
    _backend.native_module() is None, reason="without CPU kernels nothing can be swapped"
)
pytestmark = [needs_kernels, pytest.mark.any_backend]  # the swap and the CPU's Winograd
ALLOWED = 1e-5  # of the norm, for one layer; rounding is about 1e-6


class ThreeByThree(nn.Conv2d):
    """A subclass without a forward of its own, as people write to set defaults."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, kernel_size=3, padding=1, **kwargs)


class Equalised(nn.Module):
    """The equalised convolution of many code bases."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))
        self.scale = 1 / (channels * 9) ** 0.5

    def forward(self, x):
        return F.conv2d(x, self.weight * self.scale, padding=1)


class Standardised(nn.Conv2d):
    """A subclass with a forward of its own, by keywords."""

    def forward(self, x, scale=1.0):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(bias=self.bias, input=x, weight=w * scale, padding=self.padding)


class EqualisedUp(nn.Module):
    """The transposed one."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))

    def forward(self, x):
        return F.conv_transpose2d(x, self.weight / 24, stride=2, padding=1, output_padding=1)


class BlurPool(nn.Module):
    """One filter, repeated for each channel, after padding by another layer."""

    def __init__(self, channels, stride):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 2.0, 1.0])  # not symmetrical
        f = taps[:, None] * taps.square()
        self.register_buffer("weight", f.repeat(channels, 1, 1, 1) / f.sum())
        self.pad, self.stride = nn.ReflectionPad2d((1, 2, 1, 2)), stride

    def forward(self, x):
        return F.conv2d(self.pad(x), self.weight, stride=self.stride, groups=x.shape[1])


LAYERS = {
    "equalised": lambda: Equalised(64),
    "equalised transposed": lambda: EqualisedUp(64),
    "standardised": lambda: Standardised(64, 64, 3, padding=1),
    "blur": lambda: BlurPool(64, 1),
    "blur pool": lambda: BlurPool(64, 2),
    "plain": lambda: nn.Conv2d(64, 96, 3, padding=1),
    "no bias": lambda: nn.Conv2d(64, 64, 3, padding=(1, 0), bias=False),
    "same": lambda: nn.Conv2d(64, 64, 3, padding="same"),
    "valid": lambda: nn.Conv2d(64, 64, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
    "reflect same": lambda: nn.Conv2d(64, 64, 3, padding="same", padding_mode="circular"),
    "stride 2": lambda: nn.Conv2d(64, 64, 3, stride=2, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(64, 96, 3, 2, 1, output_padding=1),
    "subclass": lambda: ThreeByThree(64, 64),
    "groups": lambda: nn.Conv2d(64, 64, 3, padding=1, groups=8).to(
        memory_format=torch.channels_last
    ),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(64, 64, 3, padding=1)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(64, 64, 3, padding=1)),
}


@pytest.fixture(autouse=True)
def _gains(monkeypatch):
    """No test depends on how fast this machine is: what may gain does."""
    monkeypatch.setattr(files, "conv_gain", lambda call, has_backward: 2.0)
    monkeypatch.setattr(files, "times_as_fast", lambda before, after: after() or 1.5)


def example(layer):
    x = torch.randn(6, 64, 19, 18)
    w = layer.weight
    is_last = w.shape[1] > 1 and w.is_contiguous(memory_format=torch.channels_last)
    return x.to(memory_format=torch.channels_last) if is_last else x


def results(model, x):
    """Output and gradients, the second order of R1 too, by name."""
    x = x.detach().requires_grad_()
    named = {"x": x} | dict(model.named_parameters())
    y = model(x)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    loss = dx.square().sum() + y.sum()
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {"y": y.detach(), "dx": dx.detach()} | dict(zip(named, grads, strict=True))


def assert_close(got, want, allowed=ALLOWED):
    for name, value in want.items():
        if value is not None:
            error = (got[name] - value).norm() / value.norm()
            assert error <= allowed, f"{name}: {error}"


def algorithms(model, x, monkeypatch):
    """The names of the Winograd ops that a forward pass calls."""
    called = []
    module = __import__("fastgan.ops._convolutions.conv2d", fromlist=["conv2d"])
    transposed = __import__("fastgan.ops._convolutions.conv_transpose2d", fromlist=["x"])
    functions = __import__("fastgan.nn.acceleration.functions", fromlist=["x"])
    for owner, name in (
        (module, "winograd_conv2d"),
        (module, "winograd_strided_conv2d"),
        (module, "grouped_conv2d"),
        (transposed, "winograd_strided_conv_transpose2d"),
        (functions, "upfirdn2d"),
    ):
        run = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *a, run=run, name=name, **k: called.append(name) or run(*a, **k)
        )
    model(x)
    monkeypatch.undo()
    return called


@pytest.mark.parametrize("name", LAYERS)
def test_a_swapped_layer_computes_the_same(name, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(LAYERS[name]()).eval()
    x = example(model[0])
    before, keys = results(model, x), list(model.state_dict())
    layer, parameters = model[0], list(model.parameters())
    cls = type(layer)

    report = fnn.accelerate(model, x)
    assert report.swapped == ["0"]
    assert report.difference <= ALLOWED
    assert model[0] is layer
    assert isinstance(layer, cls.__bases__[0])
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert_close(results(model, x), before)
    assert len(algorithms(model, x, monkeypatch)) == 1

    report.undo()
    assert type(layer) is cls
    assert torch.equal(results(model, x)["y"], before["y"])


@pytest.mark.parametrize("name", ["plain", "transposed", "weight norm", "equalised"])
def test_a_copy_is_swapped_and_can_be_undone(name, monkeypatch):
    model = nn.Sequential(LAYERS[name]()).eval()
    x, cls = example(model[0]), type(model[0])
    fnn.accelerate(model, x)
    other = copy.deepcopy(model)
    assert_close(results(other, x), results(model, x), 0)
    assert len(algorithms(other, x, monkeypatch)) == 1
    assert fnn.undo_accelerate(other) == 1
    assert type(other[0]) is cls
    assert type(model[0]) is not cls


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_model_stays_swapped(protocol):
    model = nn.Sequential(ThreeByThree(64, 64), nn.Conv2d(64, 64, 3, padding=1))
    x = example(model[0])
    fnn.accelerate(model, x)
    other = pickle.loads(pickle.dumps(model, protocol))
    assert_close(results(other, x), results(model, x), 0)
    assert fnn.undo_accelerate(other) == 2
    assert [type(m) for m in other] == [ThreeByThree, nn.Conv2d]
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))


def test_parametrisations_come_and_go_while_swapped():
    model = nn.Sequential(
        parametrizations.spectral_norm(nn.Conv2d(64, 64, 3)), nn.Conv2d(64, 64, 3)
    )
    x = example(model[1])
    fnn.accelerate(model, x)
    parametrize.remove_parametrizations(model[0], "weight")
    parametrizations.weight_norm(model[1])
    y = model.eval()(x)
    assert "accelerated" in repr(model[0])
    assert "accelerated" in repr(model[1])
    copied = copy.deepcopy(model)
    for m in (model, copied):
        assert fnn.undo_accelerate(m) == 2
        assert type(m[0]) is nn.Conv2d
        assert parametrize.is_parametrized(m[1], "weight")
        assert parametrize.type_before_parametrizations(m[1]) is nn.Conv2d
        assert "accelerated" not in repr(m)
        torch.testing.assert_close(m(x), y)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_norms_by_hooks_stay(norm):
    model = nn.Sequential(norm(nn.Conv2d(64, 64, 3)))
    x = example(nn.Conv2d(64, 64, 3))
    u = {k: v.clone() for k, v in model.state_dict().items()}
    report = fnn.accelerate(model, x)
    assert report.swapped == ["0"]
    assert all(torch.equal(v, u[k]) for k, v in model.state_dict().items())  # weight_u, too
    model.eval()
    y = {"y": model(x)}
    report.undo()
    assert_close({"y": model(x)}, y)


def test_the_table_says_why_each_layer_is_left():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 64, 3, padding=1)
            self.down = nn.Conv2d(64, 64, 5, 2, 2)
            self.dilated = nn.Conv2d(64, 64, 3, padding=2, dilation=2)
            self.body = nn.Conv2d(64, 64, 3, padding=1)
            self.own = Equalised(64)
            self.unused = nn.Conv2d(64, 64, 3)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.own(self.act(self.body(self.dilated(self.down(self.first(x))))))

    report = fnn.accelerate(Net(), torch.randn(4, 3, 34, 33))
    why = {row.name: row.why for row in report.rows}
    assert report.swapped == ["body", "own"]
    assert why == {
        "first": "fewer than 64 channels",
        "down": "not a 3×3 convolution, nor a 4×4 one of stride 2",
        "dilated": "dilated",
        "body": "winograd_conv2d, measured 2.00 times as fast as torch",
        "own": "winograd_conv2d, measured 2.00 times as fast as torch",
        "unused": "not called with the example",
        "act": "fastgan computes it no faster",
    }
    text = str(report)
    assert "2 of 7 layers swapped; the whole model is 1.50 times as fast" in text
    assert all(row.why in text and row.layer in text for row in report.rows)


def test_a_function_beside_layers_that_convolve_is_left():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 64, 3, 3))
            self.layer = nn.Conv2d(64, 64, 4)

        def forward(self, x):
            return self.layer(F.conv2d(x, self.weight))

    model = Net()
    report = fnn.accelerate(nn.Sequential(model), torch.randn(4, 64, 16, 16))
    assert report.swapped == []
    why = {row.name: row.why for row in report.rows}
    assert why["0"] == "Net.forward calls F.conv2d and layers that call it, too"
    assert type(model) is Net


def test_a_forward_of_its_own_keeps_its_signature_and_compiles():
    model = Standardised(64, 64, 3, padding=1)
    x = example(model)
    assert fnn.accelerate(model, x).swapped == [""]
    assert list(inspect.signature(model.forward).parameters) == ["x", "scale"]
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, scale=2.0), model(x, scale=2.0))


def test_filters_that_differ_or_learn_are_left():
    model = BlurPool(64, 1)
    model.weight[3, 0, 1, 1] += 0.1
    x = example(model)
    report = fnn.accelerate(model, x)
    assert report.swapped == []
    model = BlurPool(64, 1)
    assert fnn.accelerate(model, x).swapped == [""]
    model.weight[3, 0, 1, 1] += 0.1  # after the swap: each call looks
    y = model(x)
    fnn.undo_accelerate(model)
    torch.testing.assert_close(model(x), y)
    learnt = nn.Conv2d(64, 64, 3, groups=64, bias=False)
    nn.init.constant_(learnt.weight, 0.1)
    assert fnn.accelerate(learnt, x).swapped == []


def test_layers_of_one_kind_share_a_line():
    model = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(5)))
    lines = str(fnn.accelerate(model, torch.randn(4, 64, 16, 16))).splitlines()
    assert sum("Conv2d 64 to 64" in line for line in lines) == 1
    assert lines[-1].startswith("0, 1, 3 more")


def test_what_measures_slower_is_left(monkeypatch):
    monkeypatch.setattr(files, "conv_gain", lambda call, has_backward: 1.04)
    model = nn.Sequential(LAYERS["plain"]())
    report = fnn.accelerate(model, example(model[0]))
    assert report.swapped == []
    assert type(model[0]) is nn.Conv2d
    assert "measured 1.04 times as fast as torch" in report.rows[0].why
    assert fnn.accelerate(model, example(model[0]), measure=False).swapped == ["0"]


def test_all_is_left_where_the_whole_is_no_faster(monkeypatch):
    monkeypatch.setattr(files, "times_as_fast", lambda before, after: after() or 1.01)
    model = nn.Sequential(LAYERS["plain"]())
    report = fnn.accelerate(model, example(model[0]))
    assert report.swapped == []
    assert type(model[0]) is nn.Conv2d
    assert "the whole model is measured 1.01 times as fast" in report.rows[0].why


def test_other_results_are_refused_and_undone(monkeypatch):
    model = nn.Sequential(LAYERS["plain"]())
    x = example(model[0])

    def wrong(self, input, weight, bias):
        return F.conv2d(input, 1.01 * weight, bias, self.stride, self.padding)

    monkeypatch.setattr("fastgan.nn.acceleration.swapped.SwappedConv2d._conv_forward", wrong)
    with pytest.raises(RuntimeError, match=r"the outputs of model differ by .*everything was un"):
        fnn.accelerate(model, x)
    assert type(model[0]) is nn.Conv2d
    assert fnn.accelerate(model, x, tolerance=0.1).swapped == ["0"]


def test_a_model_that_differs_from_itself_is_not_compared():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.generator = LAYERS["plain"](), torch.Generator()

        def forward(self, x):
            y = self.conv(x)
            return y + torch.randn(y.shape, generator=self.generator)

    report = fnn.accelerate(Noisy(), torch.randn(4, 64, 16, 16))
    assert report.swapped == ["conv"]
    assert report.difference is None
    assert "two runs of the model as it was differ" in str(report)


def test_nothing_else_of_the_model_moves():
    model = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.Dropout(), nn.Flatten(1)
    )
    x = example(model[0])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    handle = model[0].register_forward_hook(lambda *_: seen.append("forward"))
    random = torch.get_rng_state()
    fnn.accelerate(model, x)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    seen.clear()
    model(x)
    assert seen == ["forward"]
    handle.remove()


def test_a_shared_layer_is_swapped_once():
    layer = nn.Conv2d(64, 64, 3, padding=1)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    report = fnn.accelerate(model, example(layer))
    assert report.swapped == ["0"]
    assert model[2] is layer
    assert fnn.undo_accelerate(model) == 1


def test_a_compiled_model_is_compiled_anew():
    model = nn.Sequential(LAYERS["plain"](), nn.ReLU())
    x = example(model[0])
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    before = compiled(x)
    report = fnn.accelerate(compiled, x)
    assert report.swapped == ["0"]
    after = compiled(x)
    assert not torch.equal(after, before)  # Winograd rounds otherwise
    torch.testing.assert_close(after, before)
    report.undo()
    assert torch.equal(compiled(x), before)


def test_fx_and_copies_of_layers_by_name():
    model = nn.Sequential(LAYERS["plain"](), nn.ReLU())
    x = example(model[0])
    fnn.accelerate(model, x)
    assert type(model[0]).__name__ == "Conv2d"  # initialisers go by the name of the class
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_keep_the_results_of_torch(dtype):
    model = nn.Sequential(LAYERS["plain"]())
    x = example(model[0])
    fnn.accelerate(model, x)
    other = copy.deepcopy(model).to(dtype)
    plain = copy.deepcopy(other)
    fnn.undo_accelerate(plain)
    assert torch.equal(other(x.to(dtype)), plain(x.to(dtype)))
    assert fnn.accelerate(other, x.to(dtype)).swapped == []


def test_without_an_example_each_call_decides(monkeypatch):
    model = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(64, 32, 3),
        nn.Conv2d(32, 64, 4, 2),
        nn.ConvTranspose2d(64, 64, 3, 1),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.ConvTranspose2d(64, 64, 3, 2),
    )
    report = fnn.accelerate(model)
    assert report.swapped == ["0", "5"]
    assert report.speedup is None
    assert "No example was given" in str(report)
    x = torch.randn(6, 64, 20, 20)
    assert algorithms(model[0], x, monkeypatch) == ["winograd_conv2d"]
    assert algorithms(model[0], x[:1, :, :4, :4], monkeypatch) == []


def test_wrappers_are_looked_into():
    model = nn.DataParallel(nn.Sequential(LAYERS["plain"]()))
    report = fnn.accelerate(model, example(model.module[0]))
    assert report.swapped == ["0"]
    assert report.model is model
    report.undo()
    assert type(model.module[0]) is nn.Conv2d


def test_without_gradients_only_forward_is_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(
        files, "conv_gain", lambda call, has_backward: asked.append(has_backward) or 2.0
    )
    model = nn.Sequential(LAYERS["plain"]())
    x = example(model[0])
    with torch.no_grad():
        assert fnn.accelerate(model, x).gradient_difference is None
    with torch.inference_mode():
        fnn.accelerate(model, x)
    assert fnn.accelerate(model, x).gradient_difference is not None
    model.requires_grad_(False)
    fnn.accelerate(model, x)
    assert asked == [False, False, True, False]


def test_keywords_and_errors_of_the_model():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = LAYERS["plain"]()

        def forward(self, x, *, scale):
            return {"image": self.conv(x) * scale, "step": torch.tensor(3)}

    x = torch.randn(4, 64, 16, 16)
    assert fnn.accelerate(Net(), x, keywords={"scale": 2.0}).swapped == ["conv"]
    with pytest.raises(TypeError, match="scale") as caught:
        fnn.accelerate(Net(), x)
    assert "called with the example" in caught.value.__notes__[0]


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn.Module, got function"):
        fnn.accelerate(lambda x: x, torch.ones(1))
    with pytest.raises(ValueError, match="accelerate: model has parameters that are not init"):
        fnn.accelerate(nn.Sequential(nn.LazyConv2d(3, 3)), torch.ones(1, 3, 4, 4))


def test_with_winograd_off_nothing_is_swapped():
    model = nn.Sequential(LAYERS["plain"]())
    with ops.use_winograd("0"):
        report = fnn.accelerate(model, example(model[0]))
    assert report.swapped == []
    assert "Winograd is off" in report.rows[0].why
