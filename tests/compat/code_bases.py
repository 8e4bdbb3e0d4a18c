# SPDX-License-Identifier: Apache-2.0
"""Small code bases in the style of those that `patch` is for, written here.

Their op modules do what the real ones do today: fail on import, compile, or are slow. Only names
and parameters are those of the projects.
"""

import textwrap

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

_RESAMPLED = "padding=0, flip_filter=False, gain=1, impl='cuda'"
NVIDIA = {
    "bias_act": [
        "bias_act(x, b=None, dim=1, act='linear', alpha=None, gain=None, clamp=None, impl='cuda')"
    ],
    "upfirdn2d": [
        "setup_filter(f, device=None, normalize=True, flip_filter=False, gain=1, separable=None)",
        f"upfirdn2d(x, f, up=1, down=1, {_RESAMPLED})",
        f"filter2d(x, f, {_RESAMPLED})",
        f"upsample2d(x, f, up=2, {_RESAMPLED})",
        f"downsample2d(x, f, down=2, {_RESAMPLED})",
    ],
    "conv2d_resample": [
        "conv2d_resample(x, w, f=None, up=1, down=1, padding=0, groups=1, flip_weight=True, "
        "flip_filter=False)"
    ],
    "conv2d_gradfix": [
        "no_weight_gradients(disable=True)",
        "conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)",
        "conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, "
        "groups=1, dilation=1)",
    ],
    "grid_sample_gradfix": ["grid_sample(input, grid)"],
    "fma": ["fma(a, b, c)"],
    "filtered_lrelu": [
        "filtered_lrelu(x, fu=None, fd=None, b=None, up=1, down=1, padding=0, gain=2 ** 0.5, "
        "slope=0.2, clamp=None, flip_filter=False, impl='cuda')"
    ],
}
GET_PLUGIN = "get_plugin(module_name, sources, headers=None, source_dir=None, **build_kwargs)"
_FUSED = "fused_leaky_relu(input, bias, negative_slope=0.2, scale=2 ** 0.5)"
_PAD = "upfirdn2d(input, kernel, up=1, down=1, pad=(0, 0))"
OP = {
    "op/fused_act.py": (
        ["fused_leaky_relu(input, bias=None, negative_slope=0.2, scale=2 ** 0.5)"],
        {"FusedLeakyReLU": "channel, bias=True, negative_slope=0.2, scale=2 ** 0.5"},
    ),
    "op/upfirdn2d.py": ([_PAD], {}),
    "op/conv2d_gradfix.py": (
        ["no_weight_gradients()", *NVIDIA["conv2d_gradfix"][1:]], {},
    ),
}  # fmt: skip
OLDER_OP = {  # always with a bias
    "fused_act.py": ([_FUSED], {"FusedLeakyReLU": "channel, negative_slope=0.2, scale=2 ** 0.5"}),
    "upfirdn2d.py": ([_PAD], {}),
}
_MMCV = {
    "fused_bias_leakyrelu.py": (
        ["fused_bias_leakyrelu(input, bias, negative_slope=0.2, scale=2 ** 0.5)"],
        {"FusedBiasLeakyReLU": "num_channels, negative_slope=0.2, scale=2 ** 0.5"},
    ),
    "upfirdn2d.py": (
        ["upfirdn2d(input, filter, up=1, down=1, padding=0, flip_filter=False, gain=1, "
         "use_custom_op=True)"], {},
    ),
    "conv2d_gradfix.py": (NVIDIA["conv2d_gradfix"][1:], {}),
}  # fmt: skip
_ACTIVATION = {"Activation1d": "activation, up_ratio=2, down_ratio=2, up_kernel_size=12"}


def module(functions, classes=None, end=BROKEN):
    """The source of a module with these functions and constructors, which fails at its end."""
    lines = [f"def {signature}:\n    raise RuntimeError('not built')\n" for signature in functions]
    for name, parameters in (classes or {}).items():
        lines.append(f"class {name}:\n    def __init__(self, {parameters}):\n        pass\n")
    return "\n".join([*lines, end])


def nvidia(package="torch_utils.ops", custom_ops="torch_utils.custom_ops"):
    """{file: text} of NVIDIA's ops in a package."""
    files = {f"{package.replace('.', '/')}/{op}.py": module(f) for op, f in NVIDIA.items()}
    return with_packages(files | {f"{custom_ops.replace('.', '/')}.py": module([GET_PLUGIN])})


def with_packages(files):
    """The same files, and an empty `__init__.py` in each folder that has none."""
    folders = {f"{part}" for name in files for part in _folders(name)}
    return {f"{folder}/__init__.py": "" for folder in folders} | files


def _folders(name):
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def below(folder, files):
    return with_packages({f"{folder}/{name}": module(*content) for name, content in files.items()})


CODE_BASES = {
    **dict.fromkeys(("stylegan2-ada", "stylegan3", "r3gan"), nvidia()),
    "studiogan": nvidia("utils.style_ops", "utils.style_ops.custom_ops"),
    "rosinality": with_packages({name: module(*content) for name, content in OP.items()}),
    "basicsr": below("basicsr/ops/fused_act", {"fused_act.py": OLDER_OP["fused_act.py"]})
    | below("basicsr/ops/upfirdn2d", {"upfirdn2d.py": OLDER_OP["upfirdn2d.py"]}),
    "mmcv": below("mmcv/ops", _MMCV),
    "bigvgan": with_packages(
        {
            "alias_free_activation/torch/act.py": module([], _ACTIVATION),
            "alias_free_activation/cuda/activation1d.py": module([], _ACTIVATION),
        }
    ),
    "psp": below("models/stylegan2/op", OLDER_OP),
    # conv2d_gradfix beside a copy of stylegan3's ops, two packages further down.
    "mmgeneration": below("mmcv/ops", _MMCV)
    | below("mmgen/ops", {"conv2d_gradfix.py": _MMCV["conv2d_gradfix.py"]})
    | nvidia("mmgen.ops.stylegan3.ops", "mmgen.ops.stylegan3.custom_ops"),
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder
