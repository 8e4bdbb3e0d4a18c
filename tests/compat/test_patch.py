# SPDX-License-Identifier: Apache-2.0
"""Small code bases in the style of those that `patch` is for, under it and after it."""

import importlib
import logging
import subprocess
import sys

import pytest
import torch
from code_bases import CODE_BASES, NVIDIA_NETWORKS, OLDER_OP, module, nvidia, write

from fastgan.compat import patch, patching

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


@pytest.fixture
def nvidia_checkout(tmp_path):
    files = nvidia() | {"networks.py": NVIDIA_NETWORKS, "train.py": NVIDIA_TRAIN}
    files["torch_utils/custom_ops.py"] += "import torch.utils.no_such_thing\n"
    return write(tmp_path, files)


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
        if "pytest" in file or root in ROOTS:
            del sys.modules[name]


ROOTS = {name.partition("/")[0] for files in CODE_BASES.values() for name in files}


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
    with pytest.raises(RuntimeError, match="ninja"):
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
    assert "torch_utils: custom_ops, ops.bias_act, ops.conv2d_gradfix" in said[0]
    assert (tmp_path / "losses").read_text().startswith("[[")


def test_the_command_line_passes_exit_codes_on_and_refuses_in_words(cli, tmp_path):
    write(tmp_path, nvidia())
    code = "import sys; import torch_utils.ops.fma; sys.exit(7)"
    result = cli("patch", "stylegan2-ada", "--", "python", "-c", code, code=7)
    assert "will be fastgan's when imported" in result.output
    assert "nothing was replaced" not in result.output
    result = cli("patch", "stylegan4", "--", "python", "-c", "pass", code=2)
    assert "stylegan2-ada, stylegan3" in result.output
    result = cli("patch", "stylegan3", "--", "no-such-command-anywhere", code=1)
    assert "no-such-command-anywhere can't be started" in result.output
    result = cli(
        "patch", "stylegan3", "--package", "no.such.package", "--", "python", "x.py", code=2
    )
    said = " ".join(result.output.split())
    assert "Python finds no package no.such.package" in said
    assert "holds the ops with --package" in said
    assert "package=" not in said


def test_the_command_line_takes_several_packages(cli, tmp_path, capfd):
    """In code where each op is a module of its own at the top; each of them must be found."""
    files = {name.rpartition("/")[2]: text for name, text in nvidia().items()}
    write(tmp_path, {n: files[n] for n in ("bias_act.py", "upfirdn2d.py", "fma.py")})
    code = "import bias_act as a, upfirdn2d as b; print(a.__spec__.origin, b.__spec__.origin)"
    write(tmp_path, {"run.py": code, "third.py": "import fma"})  # theirs raise when imported
    two = ("--package", "bias_act", "--package", "upfirdn2d")
    result = cli("patch", "stylegan3", *two, "--", "python", "run.py")
    assert "bias_act, upfirdn2d: bias_act, upfirdn2d will be fastgan's" in result.output
    assert capfd.readouterr().out == "fastgan.compat fastgan.compat\n"
    cli("patch", "stylegan3", *two, "--", "python", "third.py", code=1)
    result = cli("patch", "stylegan3", *two, "--package", "gone", "--", "python", "run.py", code=2)
    assert "Python finds no package gone" in " ".join(result.output.split())


def test_the_command_line_says_that_nothing_was_replaced(cli, tmp_path):
    write(tmp_path, nvidia())
    result = cli("patch", "stylegan3", "--", "python", "-c", "pass")
    words = (
        "nothing was replaced: no process of python imported an op of stylegan3 from torch_utils"
    )
    assert words in result.output
    result = cli(
        "patch", "stylegan3", "--", "sh", "-c", "exit 3", code=3
    )  # it may start any program
    assert "modules that define ops of stylegan3 will be fastgan's when imported" in result.output
    assert "nothing was replaced" in result.output


def test_the_command_line_says_what_is_not_fastgans_at_the_end(cli, tmp_path, capfd):
    write(tmp_path, nvidia())
    code = "import torch_utils.ops.fma as m; m.fma = len"
    cli("patch", "stylegan3", "--", "python", "-c", code)
    said = capfd.readouterr().err
    assert "fastgan patch: torch_utils.ops.fma holds fma of another origin" in said


def test_the_command_line_finds_the_package_beside_the_script(cli, tmp_path):
    write(tmp_path, {f"code/{name}": text for name, text in nvidia().items()})
    write(tmp_path, {"code/run.py": "import torch_utils.ops.fma as m; print(m.__spec__.origin)"})
    result = cli("patch", "stylegan3", "--", "python", "code/run.py")
    assert "ops.fma" in result.output
    assert "nothing was replaced" not in result.output


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
        def fused_leaky_relu(input, bias, negative_slope=0.2, scale=2 ** 0.5):
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


def test_basicsr(importable, tmp_path):
    importable(write(tmp_path, {
        "basicsr/__init__.py": "",
        "basicsr/ops/__init__.py": "",
        "basicsr/ops/fused_act/__init__.py":
            "from .fused_act import FusedLeakyReLU, fused_leaky_relu",
        "basicsr/ops/fused_act/fused_act.py": module(*OLDER_OP["fused_act.py"]),
        "basicsr/ops/upfirdn2d/__init__.py": "from .upfirdn2d import upfirdn2d",
        "basicsr/ops/upfirdn2d/upfirdn2d.py": module(*OLDER_OP["upfirdn2d.py"]),
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
        **CODE_BASES["bigvgan"],
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


def test_one_line_says_what_was_done(caplog, nvidia_checkout, importable):
    importable(nvidia_checkout)
    with caplog.at_level(logging.WARNING, "fastgan"), patch("stylegan2-ada") as done:
        assert str(done) in caplog.text
    assert "torch_utils: custom_ops, ops.bias_act, ops.conv2d_gradfix" in str(done)
    assert len(str(done).splitlines()) == len(caplog.records) == 1


def test_an_unknown_family_is_refused_and_nothing_is_changed():
    before = world()
    with pytest.raises(ValueError, match="family must be one of stylegan2-ada, stylegan3"):
        patch("progan")
    assert world() == before


def test_a_patch_that_fails_half_way_leaves_nothing(monkeypatch, nvidia_checkout, importable):
    from fastgan.compat.legacy_apis.fixes import Fix

    importable(nvidia_checkout)
    before = world()

    def fail(module, done):
        raise OSError("no")

    monkeypatch.setitem(patching.FIXES, "sampler_argument", Fix("torch.utils.data", fail))
    with pytest.raises(OSError, match="no"):
        patch("stylegan3")
    assert world() == before


@pytest.mark.parametrize("family", CODE_BASES)
def test_undo_is_exact_and_can_be_repeated(family, importable, tmp_path):
    importable(write(tmp_path, CODE_BASES[family]))
    before = world()
    done = patch(family)
    assert list(sys.meta_path) != before[0]
    done.undo()
    assert world() == before
    done.undo()
    with patch(family), patch(family):  # nested
        pass
    assert world() == before
