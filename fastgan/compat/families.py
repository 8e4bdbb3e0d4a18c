"""Which modules of each project are replaced, and by which of ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of code base.

    Args:
        package: package that holds its ops; the `package=` of `patch` replaces it.
        modules: {name of a module below `package`, "" for the package itself: (our module, names to
            take from it)}; no names are all of its names, private ones included.
        absent: the same for packages that are made only if the code base has none.
        fixes: names in `legacy_apis.FIXES`: older APIs of Python packages that its code uses.
    """

    package: str
    modules: Mapping[str, tuple[str, tuple[str, ...]]]
    absent: Mapping[str, tuple[str, tuple[str, ...]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    fixes: tuple[str, ...] = ()


def _nvidia(*ops: str) -> Family:
    modules = {f"ops.{op}": (f"fastgan.compat.nvlabs.{op}", ()) for op in ops}
    return Family(
        package="torch_utils",
        modules=modules | {"custom_ops": ("fastgan.compat.nvlabs.custom_ops", ())},
        fixes=("pkg_resources", "adam_betas", "sampler"),
    )


_STYLEGAN2 = (
    "bias_act", "upfirdn2d", "conv2d_resample", "conv2d_gradfix", "grid_sample_gradfix", "fma",
)  # fmt: skip
_OP = "fastgan.compat.rosinality.op"
_BASICSR = "fastgan.compat.basicsr"
_MMCV = "fastgan.compat.mmcv"
_BIGVGAN = "fastgan.compat.bigvgan"
_MMCV_OPS = {
    "fused_bias_leakyrelu": (_MMCV, ("fused_bias_leakyrelu", "FusedBiasLeakyReLU")),
    "bias_act": (_MMCV, ("bias_act",)),
    "upfirdn2d": (_MMCV, ("upfirdn2d", "filter2d", "upsample2d", "downsample2d")),
    "filtered_lrelu": (_MMCV, ("filtered_lrelu",)),
    "conv2d_gradfix": (_MMCV, ("conv2d", "conv_transpose2d")),
}

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "stylegan2-ada": _nvidia(*_STYLEGAN2),
        "stylegan3": _nvidia(*_STYLEGAN2, "filtered_lrelu"),
        "r3gan": _nvidia(*_STYLEGAN2, "filtered_lrelu"),
        "rosinality": Family(
            package="op",
            modules={
                "fused_act": (_OP, ("FusedLeakyReLU", "fused_leaky_relu")),
                "upfirdn2d": (_OP, ("upfirdn2d", "upfirdn2d_native")),
                "conv2d_gradfix": ("fastgan.compat.nvlabs.conv2d_gradfix", ()),
            },
            fixes=("adam_betas", "jit_get_operation"),
        ),
        "basicsr": Family(
            package="basicsr.ops",
            modules={
                "fused_act.fused_act": (_BASICSR, ("FusedLeakyReLU", "fused_leaky_relu")),
                "upfirdn2d.upfirdn2d": (_BASICSR, ("upfirdn2d",)),
            },
            fixes=("adam_betas", "functional_tensor"),
        ),
        "mmcv": Family(
            package="mmcv.ops",
            modules=_MMCV_OPS,
            absent={"": (_MMCV, ())},
            fixes=("adam_betas",),
        ),
        "bigvgan": Family(
            package="alias_free_activation",
            modules={
                "torch.act": (_BIGVGAN, ("Activation1d",)),
                "cuda.activation1d": (_BIGVGAN, ("Activation1d",)),
            },
        ),
    }
)
