# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.bias_act`."""

from types import SimpleNamespace

from fastgan import ops
from fastgan.compat._forwarding import forwarded
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
bias_act = forwarded(ops.bias_act)
