# SPDX-License-Identifier: Apache-2.0
"""Which ops the projects define, and which modules of ours replace them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Op:
    """A module of a project that defines an op, and ours in its place.

    Args:
        defines: functions and classes that a module defines if it is this one.
        ours: our module.
        names: what is taken from it; empty: all of its names, private ones included.
    """

    defines: tuple[str, ...]
    ours: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of code base.

    Args:
        packages: packages that hold its ops; the `package=` of `patch` replaces them. None: it has
            no ops of its own, and only the older APIs of today's packages are supplied.
        ops: what is replaced in any module of these packages that defines it. Of several with the
            same `defines`, the first with the parameters of the project's function is taken.
        absent: {package: names} that are made if the code base has none.
    """

    packages: tuple[str, ...]
    ops: tuple[Op, ...]
    absent: Mapping[str, Op] = field(default_factory=lambda: MappingProxyType({}))


def _nvidia(name: str, *defines: str) -> Op:
    return Op(defines or (name,), f"fastgan.compat.nvlabs.{name}")


_GRADFIX = _nvidia("conv2d_gradfix", "conv2d", "conv_transpose2d")
_NVIDIA = (
    _nvidia("custom_ops", "get_plugin"),
    *map(_nvidia, ("bias_act", "upfirdn2d", "conv2d_resample", "filtered_lrelu", "fma")),
    _nvidia("grid_sample_gradfix", "grid_sample"),
    _GRADFIX,
)

_FUSED = ("FusedLeakyReLU", "fused_leaky_relu")
_ROSINALITY = (
    Op(_FUSED, "fastgan.compat.rosinality.op", _FUSED),
    Op(_FUSED, "fastgan.compat.basicsr", _FUSED),  # always with a bias: another constructor
    Op(("upfirdn2d",), "fastgan.compat.rosinality.op", ("upfirdn2d", "upfirdn2d_native")),
    _GRADFIX,
)

_MMCV = "fastgan.compat.mmcv"
_FUSED_BIAS = ("fused_bias_leakyrelu", "FusedBiasLeakyReLU")
_MMCV_2 = {
    "fused_bias_leakyrelu": Op(_FUSED_BIAS, _MMCV, _FUSED_BIAS),
    "bias_act": Op(("bias_act",), _MMCV, ("bias_act",)),
    "upfirdn2d": Op(("upfirdn2d",), _MMCV, ("upfirdn2d", "filter2d", "upsample2d", "downsample2d")),
    "filtered_lrelu": Op(("filtered_lrelu",), _MMCV, ("filtered_lrelu",)),
    "conv2d_gradfix": Op(("conv2d", "conv_transpose2d"), _MMCV, ("conv2d", "conv_transpose2d")),
}
# mmcv 1.x calls upfirdn2d as rosinality does; mmgeneration holds a copy of stylegan3's ops.
_MMCV_OPS = (*_MMCV_2.values(), *_ROSINALITY, *_NVIDIA)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "stylegan2-ada": Family(packages=("torch_utils",), ops=_NVIDIA),
        "stylegan3": Family(packages=("torch_utils",), ops=_NVIDIA),
        "r3gan": Family(packages=("torch_utils",), ops=_NVIDIA),
        "studiogan": Family(packages=("utils.style_ops",), ops=_NVIDIA),
        "rosinality": Family(packages=("op",), ops=_ROSINALITY),
        "basicsr": Family(packages=("basicsr.ops",), ops=_ROSINALITY),
        "mmcv": Family(
            packages=("mmcv.ops",),
            ops=_MMCV_OPS,
            absent=MappingProxyType(
                {"mmcv.ops": Op((), _MMCV)}
                | {f"mmcv.ops.{name}": op for name, op in _MMCV_2.items()}
            ),
        ),
        "bigvgan": Family(
            packages=("alias_free_activation",),
            ops=(Op(("Activation1d",), "fastgan.compat.bigvgan", ("Activation1d",)),),
        ),
        "hifigan": Family(packages=(), ops=()),  # for the older APIs that it calls
    }
)

# Code bases that were built on those: {name: (family, packages that hold their ops)}.
COPIES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("projected-gan", "stylegan-xl", "stylegan-t", "eg3d", "draggan"),
            ("stylegan3", ("torch_utils",)),
        ),
        "diffaugment": ("stylegan2-ada", ("torch_utils",)),
        "swagan": ("rosinality", ("op",)),
        **dict.fromkeys(("psp", "e4e", "restyle"), ("rosinality", ("models.stylegan2.op",))),
        "gfpgan": ("basicsr", ("basicsr.ops",)),
        "real-esrgan": ("basicsr", ("basicsr.ops",)),
        "mmgeneration": ("mmcv", ("mmcv.ops", "mmgen.ops")),
    }
)


def family_of(name: str, package: str | Sequence[str] | None = None) -> Family:
    """The family of this name, or of the code base of this name.

    Args:
        name: one of `FAMILIES` or of `COPIES`.
        package: the package that holds the ops, or several, or None for the usual ones.

    Raises:
        TypeError: package is no name, and no sequence of names.
        ValueError: there is no such family, or a package is given for one without ops.
    """
    given = (package,) if isinstance(package, str) else package
    is_names = isinstance(given, list | tuple) and all(isinstance(p, str) and p for p in given)
    if given is not None and not (is_names and given):
        raise TypeError(
            "patch: package must be the dotted name of the package that holds the ops, a list of "
            f"such names, or None for the usual ones, got {package!r}"
        )
    if name not in FAMILIES and name not in COPIES:
        raise ValueError(
            f"patch: family must be one of {', '.join(FAMILIES)}, or a code base built on one "
            f"({', '.join(COPIES)}), got {name!r}; for a copy of these ops in another package, "
            "name the family and that package (package=)"
        )
    kind, packages = COPIES.get(name, (name, None))
    family = FAMILIES[kind]
    if package is not None and not family.ops:
        raise ValueError(f"patch: {name} has no ops of its own, got package {package!r}; give none")
    if given is not None:
        packages = tuple(given)
    return family if packages is None else replace(family, packages=packages)
