"""`torch_utils.ops.bias_act`."""

from types import SimpleNamespace

import torch

from fastgan import ops
from fastgan.compat._impl import chosen
from fastgan.ops.bias_act import ACTIVATIONS

# Networks read the default gain here: activation_funcs["lrelu"].def_gain.
activation_funcs = {
    name: SimpleNamespace(
        func=lambda x, alpha=spec.alpha, f=spec.f, **_: f(x, alpha),
        def_alpha=spec.alpha,
        def_gain=spec.gain,
        has_2nd_grad=spec.ddf is not None,
    )
    for name, spec in ACTIVATIONS.items()
}


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.bias_act`; `clamp` bounds the value after `gain`, a negative one nothing."""
    with chosen("bias_act", impl):
        return ops.bias_act(x, b, dim, act, alpha, gain, clamp)
