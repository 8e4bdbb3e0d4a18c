"""Small code bases in the style of those that `patch` is for, written here.

Their op modules do what the real ones do today: fail on import, compile, or are slow. Only names
and parameters are those of the projects.
"""

import textwrap

BROKEN = 'raise RuntimeError("ninja: build stopped: subcommand failed")\n'

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
