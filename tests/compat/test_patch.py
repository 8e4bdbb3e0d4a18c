"""`patch` under small code bases in the style of those that it is for, written here.

Their op modules do what the real ones do today: fail on import, or compile, or answer slowly.
"""

import importlib
import logging
import subprocess
import sys
import textwrap

import pytest
import torch

from fastgan.compat import FAMILIES, patch

BROKEN = 'raise RuntimeError("ninja: build stopped: subcommand failed")\n'

NVIDIA_NETWORKS = """
import torch
from torch_utils import custom_ops
from torch_utils.ops import bias_act, conv2d_gradfix, conv2d_resample, fma, upfirdn2d
from torch_utils.ops import filtered_lrelu, grid_sample_gradfix

class Layer(torch.nn.Module):
    def __init__(self, n_in, n_out, activation="lrelu", up=1, down=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n_out, n_in, 3, 3) / (3 * n_in ** 0.5))
        self.bias = torch.nn.Parameter(torch.zeros(n_out))
        self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))
        self.activation, self.up, self.down = activation, up, down
        self.act_gain = bias_act.activation_funcs[activation].def_gain

    def forward(self, x):
        x = conv2d_resample.conv2d_resample(
            x=x, w=self.weight.to(x.dtype), f=self.resample_filter, up=self.up, down=self.down,
            padding=1, flip_weight=(self.up == 1))
        return bias_act.bias_act(x, self.bias.to(x.dtype), act=self.activation,
                                 gain=self.act_gain, clamp=256)

class Generator(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Layer(4, 8, up=2), Layer(8, 3, "linear")

    def forward(self, z):
        x = self.first(z.reshape(-1, 4, 4, 4))
        x = filtered_lrelu.filtered_lrelu(x, fu=self.first.resample_filter,
            fd=self.first.resample_filter, up=2, down=2, padding=3, clamp=256)
        return fma.fma(self.second(x), torch.ones([]), torch.zeros([]))

class Discriminator(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(Layer(3, 8, down=2), Layer(8, 8, down=2))
        self.out = torch.nn.Linear(32, 1)

    def forward(self, x):
        return self.out(self.layers(x).flatten(1))
"""
NVIDIA_TRAIN = """
import sys
import torch
from pkg_resources import parse_version
from torch_utils import custom_ops
from torch_utils.ops import conv2d_gradfix, grid_sample_gradfix

assert parse_version("1.7.1") < parse_version("1.10.0") <= parse_version("1.10.0")
custom_ops.verbosity = "none"
conv2d_gradfix.enabled = grid_sample_gradfix.enabled = True

class InfiniteSampler(torch.utils.data.Sampler):
    def __init__(self, dataset):
        super().__init__(dataset)
        self.dataset = dataset

    def __iter__(self):
        while True:
            yield from range(len(self.dataset))

def train(rank, path):
    from networks import Discriminator, Generator
    torch.manual_seed(0)
    G, D = Generator(), Discriminator()
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.002, betas=[0, 0.99]) for m in (G, D)]
    data = torch.utils.data.TensorDataset(torch.randn(8, 3, 8, 8))
    batches = torch.utils.data.DataLoader(data, batch_size=4, sampler=InfiniteSampler(data))
    losses = []
    for _, (real,) in zip(range(3), batches):
        real.requires_grad_()
        logits = D(real)
        with conv2d_gradfix.no_weight_gradients():
            (r1,) = torch.autograd.grad(logits.sum(), [real], create_graph=True)
        loss = (torch.nn.functional.softplus(-logits) + 5 * r1.square().sum([1, 2, 3])).mean()
        loss = loss + torch.nn.functional.softplus(D(G(torch.randn(4, 64)).detach())).mean()
        optimizers[1].zero_grad(); loss.backward(); optimizers[1].step()
        g_loss = torch.nn.functional.softplus(-D(G(torch.randn(4, 64)))).mean()
        optimizers[0].zero_grad(); g_loss.backward(); optimizers[0].step()
        losses.append([float(loss.detach()), float(g_loss.detach())])
    assert D.layers[0].weight.grad is not None
    with open(path, "w") as file:
        file.write(repr(losses))

if __name__ == "__main__":
    if "--spawn" in sys.argv:
        torch.multiprocessing.spawn(train, args=(sys.argv[1],), nprocs=1)
    else:
        train(0, sys.argv[1])
"""
OPS = (
    "bias_act", "upfirdn2d", "conv2d_resample", "conv2d_gradfix", "grid_sample_gradfix", "fma",
    "filtered_lrelu",
)  # fmt: skip


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@pytest.fixture
def nvidia_checkout(tmp_path):
    files = {f"torch_utils/ops/{op}.py": BROKEN for op in OPS}
    files |= {"torch_utils/__init__.py": "", "torch_utils/ops/__init__.py": ""}
    files |= {"torch_utils/custom_ops.py": "import torch.utils.no_such_thing\n"}
    return write(tmp_path, files | {"networks.py": NVIDIA_NETWORKS, "train.py": NVIDIA_TRAIN})


@pytest.fixture
def importable(monkeypatch):
    """importable(folder): on the path in this test; what it imported is forgotten afterwards."""
    before = set(sys.modules)

    def add(folder):
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        return folder

    yield add
    for name in set(sys.modules) - before:
        file = str(getattr(sys.modules[name], "__file__", "") or "")
        root = name.partition(".")[0]
        if "pytest" in file or root in ("op", "models", "torch_utils", "basicsr", "mmcv"):
            del sys.modules[name]


def world():
    """What a patch may change outside of the modules that it replaces."""
    return (
        list(sys.meta_path),
        (torch.optim.Adam.__init__, torch._C._jit_get_operation),
        "__init__" in vars(torch.utils.data.Sampler),
        {n for n in sys.modules if n.partition(".")[0] not in ("fastgan", "torch")},
    )  # fmt: skip


def test_a_broken_checkout_trains(nvidia_checkout, importable, tmp_path):
    importable(nvidia_checkout)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        importlib.import_module("networks")
    before = world()
    with patch("stylegan3"):
        train = importlib.import_module("train")
        train.train(0, str(tmp_path / "losses"))
        networks = sys.modules["networks"]
        assert networks.bias_act.__spec__.origin == "fastgan.compat"
    for name in ("train", "networks"):
        sys.modules.pop(name)
    losses = eval((tmp_path / "losses").read_text())
    assert len(losses) == 3
    assert all(0 < x < 1e4 for pair in losses for x in pair)
    after = world()
    assert after[:3] == before[:3]
    assert not {n for n in after[3] - before[3] if n.startswith("torch_utils.ops.")}
    with pytest.raises(RuntimeError, match="ninja"):
        importlib.import_module("torch_utils.ops.bias_act")


@pytest.mark.parametrize("spawn", [[], ["--spawn"]])
def test_the_command_line(nvidia_checkout, tmp_path, spawn):
    line = [sys.executable, "-m", "fastgan", "patch", "stylegan3", "--", "python", "train.py"]
    done = subprocess.run(
        [*line, str(tmp_path / "losses"), *spawn], cwd=nvidia_checkout, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [text for text in done.stderr.splitlines() if "fastgan" in text]
    assert len(said) == 1
    assert "torch_utils: ops.bias_act, ops.upfirdn2d" in said[0]
    assert (tmp_path / "losses").read_text().startswith("[[")


def test_the_command_line_passes_exit_codes_on_and_refuses_in_words(cli):
    result = cli("patch", "stylegan2-ada", "--", "python", "-c", "import sys; sys.exit(7)", code=7)
    assert "now use the ops of fastgan" in result.output
    result = cli("patch", "stylegan4", "--", "python", "-c", "pass", code=2)
    assert "stylegan2-ada, stylegan3" in result.output
    result = cli("patch", "stylegan3", "--", "no-such-command-anywhere", code=1)
    assert "no-such-command-anywhere can't be started" in result.output


ROSINALITY = {
    "op/__init__.py": """
        from .fused_act import FusedLeakyReLU, fused_leaky_relu
        from .upfirdn2d import upfirdn2d
    """,
    "op/fused_act.py": """
        import torch
        class FusedLeakyReLU(torch.nn.Module):
            def __init__(self, channel):
                super().__init__()
                self.bias = torch.nn.Parameter(torch.zeros(channel))
                self.negative_slope, self.scale = 0.2, 2 ** 0.5
            def forward(self, x):
                return fused_leaky_relu(x, self.bias)
        def fused_leaky_relu(x, bias, negative_slope=0.2, scale=2 ** 0.5):
            raise RuntimeError("the CUDA extension is not built")
    """,
    "op/upfirdn2d.py": """
        def upfirdn2d(input, kernel, up=1, down=1, pad=(0, 0)):
            raise RuntimeError("the CUDA extension is not built")
    """,
    "model.py": """
        import torch
        from op import FusedLeakyReLU, upfirdn2d
        from op import fused_leaky_relu as act
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.activate = FusedLeakyReLU(3)
            def forward(self, x):
                return upfirdn2d(act(self.activate(x), torch.ones(3)), torch.ones(2, 2), pad=(1, 0))
    """,
    "non_leaking.py": """
        import torch
        from torch.autograd import Function

        class Sample(Function):
            @staticmethod
            def forward(ctx, x, grid):
                ctx.save_for_backward(x, grid)
                return torch.nn.functional.grid_sample(
                    x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

            @staticmethod
            def backward(ctx, dy):
                return SampleBackward.apply(dy, *ctx.saved_tensors)

        class SampleBackward(Function):
            @staticmethod
            def forward(ctx, dy, x, grid):
                op = torch._C._jit_get_operation("aten::grid_sampler_2d_backward")
                dx, dgrid = op(dy, x, grid, 0, 0, False)
                ctx.save_for_backward(grid)
                return dx, dgrid

            @staticmethod
            def backward(ctx, ddx, ddgrid):
                (grid,) = ctx.saved_tensors
                return Sample.apply(ddx, grid) if ctx.needs_input_grad[0] else None, None, None

        def augment(x, matrices):
            shape = (x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3] + 1)
            grid = torch.nn.functional.affine_grid(matrices, shape, align_corners=False)
            return Sample.apply(x, grid)
    """,
}


def under(files, prefix):
    """The same files below a package of another name, with `op` found there."""
    moved = {}
    for name, text in files.items():
        moved[f"{prefix}/{name}"] = text.replace("from op import", f"from {prefix}.op import")
    return moved | {f"{prefix}/__init__.py": ""}


@pytest.mark.parametrize("package", [None, "models.op"])
def test_modules_that_are_imported_already(package, importable, tmp_path):
    files = ROSINALITY if package is None else under(ROSINALITY, "models")
    importable(write(tmp_path, files))
    prefix = "" if package is None else "models."
    model = importlib.import_module(f"{prefix}model")
    fused_act = importlib.import_module(f"{prefix}op.fused_act")
    theirs = dict(vars(model)), dict(vars(fused_act)), dict(vars(sys.modules[f"{prefix}op"]))
    old = model.Net()
    with pytest.raises(RuntimeError, match="not built"):
        old(torch.ones(1, 3, 2, 2))
    patched = patch("rosinality", package)
    for net in (old, model.Net()):  # made before and after
        y = net(torch.ones(1, 3, 2, 2))
        want = (2**0.5 + 1) * 2**0.5
        torch.testing.assert_close(y[:, :, 1, 1], torch.full((1, 3), 4 * want))
    assert model.FusedLeakyReLU is not theirs[0]["FusedLeakyReLU"]
    patched.undo()
    patched.undo()
    now = vars(model), vars(fused_act), vars(sys.modules[f"{prefix}op"])
    for mine, before in zip(now, theirs, strict=True):
        assert {k: v for k, v in mine.items() if k != "conv2d_gradfix"} == before
    with pytest.raises(RuntimeError, match="not built"):
        old(torch.ones(1, 3, 2, 2))


BACKWARD = "aten::grid_sampler_2d_backward"
MATRICES = torch.tensor([[[0.9, -0.3, 0.1], [0.3, 0.8, -0.2]], [[1.1, 0.2, 0.0], [-0.1, 0.7, 0.3]]])


@pytest.fixture(params=["this torch's", "before 2.13"])
def derivative(request, monkeypatch):
    """Whether torch's own backward operator of grid_sample has a derivative."""
    if request.param == "before 2.13":
        monkeypatch.setattr("fastgan.compat.nvlabs.grid_sample_gradfix._IS_NATIVE", False)


@pytest.fixture
def non_leaking(importable, tmp_path, device):
    importable(write(tmp_path, ROSINALITY))
    yield importlib.import_module("non_leaking")
    sys.modules.pop("non_leaking")


def r1_through(augment, device):
    """R1 of a critic behind an augmentation, and the penalty's gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(3, 2, dtype=torch.float64, device=device, requires_grad=True)
    y = augment(x, MATRICES.to(x))
    logits = torch.einsum("nchw,ck->nkhw", y, w).square().sum()
    (dx,) = torch.autograd.grad(logits, x, create_graph=True)
    penalty = dx.square().sum()
    return [penalty.detach(), *torch.autograd.grad(penalty, (x, w))]


def dense(x, matrices):
    """The same samples as sums over all pixels of hat functions: any derivative is torch's."""
    (n, _, height, width), shape = x.shape, (x.shape[2] + 2, x.shape[3] + 1)
    grid = torch.nn.functional.affine_grid(matrices, (n, 1, *shape), align_corners=False)
    hats = []
    for axis, size in ((0, width), (1, height)):
        place = ((grid[..., axis] + 1) * size - 1) / 2
        pixels = torch.arange(size, dtype=x.dtype, device=x.device)
        hats.append((1 - (place[..., None] - pixels).abs()).clamp(min=0))
    return torch.einsum("nchw,nijw,nijh->ncij", x, *hats)


def test_an_augmentation_with_an_operator_of_old(non_leaking, derivative, device):
    with pytest.raises(TypeError, match="'tuple' object is not callable"):
        r1_through(non_leaking.augment, device)
    with patch("rosinality"):  # after the import of the module, which is unmodified
        found = r1_through(non_leaking.augment, device)
        x = torch.randn(2, 2, 3, 4, dtype=torch.float64, device=device, requires_grad=True)
        matrices = MATRICES.to(x)
        torch.autograd.gradcheck(lambda x: non_leaking.augment(x, matrices), x)
        torch.autograd.gradgradcheck(lambda x: non_leaking.augment(x, matrices), x)
    for mine, want in zip(found, r1_through(dense, device), strict=True):
        torch.testing.assert_close(mine, want)
    with pytest.raises(TypeError, match="'tuple' object is not callable"):
        r1_through(non_leaking.augment, device)


def test_the_operator_of_old_takes_both_signatures_and_is_differentiable(derivative, device):
    torch.manual_seed(0)
    x, dy = (torch.randn(1, 2, 3, 4, dtype=torch.float64, device=device) for _ in range(2))
    grid = torch.rand(1, 3, 4, 2, dtype=torch.float64, device=device) * 2 - 1
    dy.requires_grad_()
    old = torch.ops.aten.grid_sampler_2d_backward
    with patch("rosinality"):
        op = torch._C._jit_get_operation(BACKWARD)
        for modes in ((0, 0, False), (1, 0, False), (0, 2, True)):
            want = old(dy, x, grid, *modes, [True, True])
            for got in (op(dy, x, grid, *modes), op(dy, x, grid, *modes, output_mask=(True, True))):
                torch.testing.assert_close(got[0], want[0])
                torch.testing.assert_close(got[1], want[1])
        dx = op(dy, x, grid, 0, 0, False, [True, False])[0]
        (ddy,) = torch.autograd.grad(dx, dy, x)
        sampled = torch.nn.functional.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(ddy, sampled)


def test_other_operators_and_torchs_own_use_of_them_are_as_they_were():
    theirs = torch._C._jit_get_operation
    with patch("rosinality"):
        for name in ("aten::grid_sampler_2d", "aten::no_such_operator"):
            found = torch._C._jit_get_operation(name)
            assert type(found) is tuple
            assert found[1] == theirs(name)[1]
        _, overloads = torch._C._jit_get_operation(BACKWARD)  # as torch does for torch.ops
        assert overloads == ["", "out"]
        packet = torch._ops._OpNamespace("aten").grid_sampler_2d_backward
        assert packet.overloads() == ["default", "out"]
        with pytest.raises(AttributeError, match="cudnn_convolution_backward_weight"):
            torch._ops._OpNamespace("aten").cudnn_convolution_backward_weight  # noqa: B018
    assert torch._C._jit_get_operation is theirs


CONVOLUTIONS = {
    "stride 2": (False, (2, 2), (1, 1), (0, 0), (1, 1), 1, (7, 8)),
    "dilated, in groups": (False, (1, 1), (2, 0), (0, 0), (1, 2), 2, (7, 8)),
    "transposed": (True, (2, 2), (1, 1), (0, 0), (1, 1), 1, (3, 4)),
    "transposed, output padding, in groups": (True, (2, 3), (0, 1), (1, 2), (1, 1), 2, (3, 4)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_weight_gradients_by_operators_that_torch_removed(case, device):
    is_transposed, stride, padding, output_padding, dilation, groups, size = CONVOLUTIONS[case]
    torch.manual_seed(0)
    shape = (4, 6 // groups, 3, 3) if is_transposed else (6, 4 // groups, 3, 3)
    x = torch.randn(2, 4, *size, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    y = torch.ops.aten.convolution(
        x, w, None, stride, padding, dilation, is_transposed, output_padding, groups
    )
    dy = torch.randn_like(y).requires_grad_()
    (want,) = torch.autograd.grad(y, w, dy, create_graph=True)
    name = f"aten::cudnn_convolution_{'transpose_' if is_transposed else ''}backward_weight"
    assert torch._C._jit_get_operation(name) == (None, None)
    with patch("rosinality"):
        op = torch._C._jit_get_operation(name)
        flags = [False, False, False]
        dw = op(w.shape, dy, x, padding, stride, dilation, groups, *flags)
    torch.testing.assert_close(dw, want)
    ddw = torch.randn_like(dw)
    both = [torch.autograd.grad(dw_, (x, dy), ddw) for dw_ in (dw, want)]
    for mine, theirs in zip(*both, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_basicsr(importable, tmp_path):
    importable(write(tmp_path, {
        "basicsr/__init__.py": "",
        "basicsr/ops/__init__.py": "",
        "basicsr/ops/fused_act/__init__.py":
            "from .fused_act import FusedLeakyReLU, fused_leaky_relu",
        "basicsr/ops/fused_act/fused_act.py": BROKEN,
        "basicsr/ops/upfirdn2d/__init__.py": "from .upfirdn2d import upfirdn2d",
        "basicsr/ops/upfirdn2d/upfirdn2d.py": BROKEN,
        "basicsr/arch.py": """
            import torch
            from basicsr.ops.fused_act import FusedLeakyReLU, fused_leaky_relu
            from basicsr.ops.upfirdn2d import upfirdn2d
            layer = FusedLeakyReLU(3)
            y = upfirdn2d(layer(torch.ones(1, 3, 4, 4)), torch.ones(2, 2), up=1, down=2, pad=(1, 1))
        """,
    }))  # fmt: skip
    with patch("basicsr"):
        y = importlib.import_module("basicsr.arch").y
    assert y.shape == (1, 3, 3, 3)
    torch.testing.assert_close(y[0, 0, 1, 1].detach(), torch.tensor(4 * 2**0.5))


def test_mmcv_that_is_not_there_at_all(importable):
    with patch("mmcv"):
        from mmcv.ops import FusedBiasLeakyReLU, filtered_lrelu, upfirdn2d
        from mmcv.ops.fused_bias_leakyrelu import fused_bias_leakyrelu

        x = torch.ones(1, 3, 4, 4)
        assert FusedBiasLeakyReLU(3)(x).shape == fused_bias_leakyrelu(x, torch.ones(3)).shape
        assert upfirdn2d(x, None, up=2).shape == filtered_lrelu(x, up=2).shape == (1, 3, 8, 8)
        with pytest.raises(ImportError, match="deform_conv2d"):
            from mmcv.ops import deform_conv2d  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mmcv")


def test_bigvgan(importable, tmp_path):
    importable(write(tmp_path, {
        "alias_free_activation/__init__.py": "",
        "alias_free_activation/cuda/__init__.py": "",
        "alias_free_activation/cuda/activation1d.py": BROKEN,
        "vocoder.py": """
            import torch
            from alias_free_activation.cuda.activation1d import Activation1d
            class SnakeBeta(torch.nn.Module):
                def __init__(self, n):
                    super().__init__()
                    self.alpha_logscale = True
                    self.alpha = torch.nn.Parameter(torch.zeros(n))
                    self.beta = torch.nn.Parameter(torch.zeros(n))
            layer = Activation1d(activation=SnakeBeta(4))
        """,
    }))  # fmt: skip
    with patch("bigvgan"):
        layer = importlib.import_module("vocoder").layer
    x = torch.randn(2, 4, 32, requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert layer.act.alpha.grad.abs().sum() > 0
    sys.modules.pop("vocoder")


def test_one_line_says_what_was_done(caplog):
    with caplog.at_level(logging.WARNING, "fastgan"), patch("stylegan2-ada") as done:
        assert str(done) in caplog.text
    assert "torch_utils: ops.bias_act, ops.upfirdn2d" in str(done)
    assert len(str(done).splitlines()) == len(caplog.records) == 1


def test_an_unknown_family_is_refused_and_nothing_is_changed():
    before = world()
    with pytest.raises(ValueError, match="family must be one of stylegan2-ada, stylegan3"):
        patch("progan")
    assert world() == before


def test_a_patch_that_fails_half_way_leaves_nothing(monkeypatch):
    from fastgan.compat import legacy_apis

    before = world()

    def fail():
        raise OSError("no")

    table = dict(legacy_apis.FIXES) | {"sampler": fail}
    monkeypatch.setattr("fastgan.compat.patching.FIXES", table)
    with pytest.raises(OSError, match="no"):
        patch("stylegan3")
    assert world() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_undo_is_exact_and_can_be_repeated(family):
    before = world()
    done = patch(family)
    assert list(sys.meta_path) != before[0]
    done.undo()
    assert world() == before
    with patch(family), patch(family):  # nested
        pass
    assert world() == before
