# SPDX-License-Identifier: Apache-2.0
"""adam_ema_: Adam and the moving average of the parameters, in place over flat buffers.

    g = grad_scale·grad + weight_decay·param        t = step + 1
    m ← β1·m + (1 - β1)·g                           exp_avg
    v ← β2·v + (1 - β2)·g²                          exp_avg_sq
    param ← param - lr·m̂ / (√v̂ + ε)                 m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)
    ema ← ema + ema_weight·(param - ema)            if there is one
    step ← t

A gradient of which any element of grad_scale·grad is NaN or infinite is not applied at all: every
buffer and `step` stay as they are, bit for bit, and the number of such elements is added to
`nonfinite`. (The number of skipped calls is the number of calls less the growth of `step`.)

All that may change from step to step is read on the device: capturable. Not differentiable.
On CUDA it is two launches, not one: no block may write before all have looked at the whole
gradient, and one launch would need a barrier over the grid, which a GPU that runs other work at the
same time cannot promise. One pass that writes at once and takes it back would have to keep what it
overwrites: 12 bytes a parameter. Looking twice costs 4 bytes beside the 32 of the update (float32
with an average and β1 = 0), and less for what stays in the second-level cache: the update begins at
the gradient's end, where the first launch stopped. It sums the first launch's counts and computes
1 - β^t.
The CPU kernel looks twice for the same reason. There, what an update takes is reading: five
buffers, and the gradient once more, which its vector code checks at the rate of memory.
The factors that all elements share, lr / (1 - β1^t) and 1 / √(1 - β2^t), are computed in float64
and rounded once, so that an element has one division: lr·m̂ / (√v̂ + ε) is
(lr / (1 - β1^t))·m / (√v·(1 / √(1 - β2^t)) + ε).
Deterministic. The CPU kernel gives the reference's bits, on every instruction set and with any
number of threads; the CUDA kernel contracts and reorders, within a few units in the last place.
Source: Adam: Kingma & Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1, with
torch.optim.Adam's ε and (coupled) weight decay; the average: Karras et al. (2018),
arXiv 1710.10196.
"""

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops._operands import finite_number

__all__ = ["adam_ema_"]

_IN_CACHE = 1 << 16  # elements that the reference computes at once on a CPU


def adam_ema_ref(
    param: torch.Tensor,
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    ema: torch.Tensor | None,
    step: torch.Tensor,
    nonfinite: torch.Tensor,
    lr: torch.Tensor,
    ema_weight: torch.Tensor | None,
    beta2_tensor: torch.Tensor | None,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """The definition of `fastgan.ops.adam_ema_` in PyTorch, without a branch on the host.

    Every operation rounds by itself. Arguments are those of `fastgan.ops.adam_ema_`, all given and
    in the order of the op: its `beta2` is `beta2_tensor` here, and `betas` are `beta1` and `beta2`.
    """
    beta2_now = beta2 if beta2_tensor is None else beta2_tensor
    g = grad.to(param.dtype) * grad_scale
    count = g.isfinite().logical_not().sum()
    is_applied = count == 0
    t = step.double() + 1
    step_size = (lr.double() / (1 - beta1**t)).to(param.dtype)
    rescale = (1 / (1 - beta2_now**t).sqrt()).to(param.dtype)
    size = _IN_CACHE if param.device.type == "cpu" else max(param.numel(), 1)
    buffers = [buffer.split(size) for buffer in (param, g, exp_avg, exp_avg_sq)]
    averages = [None] * len(buffers[0]) if ema is None else ema.split(size)
    for x, dx, m_old, v_old, average in zip(*buffers, averages, strict=True):
        if weight_decay:
            dx = dx + weight_decay * x
        m = _toward(m_old, dx, 1 - beta1) if beta1 else dx
        v = _toward(v_old, dx * dx, 1 - beta2_now)
        # torch's float32 root is off by a bit now and then
        root = v.double().sqrt().to(v.dtype)
        new = x - step_size * m / (root * rescale + eps)
        if average is not None:
            average.copy_(torch.where(is_applied, _toward(average, new, ema_weight), average))
        for old, value in ((x, new), (m_old, m), (v_old, v)):
            old.copy_(torch.where(is_applied, value, old))
    step += is_applied
    nonfinite += count


def _toward(old: torch.Tensor, new: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    """old + weight·(new - old), exact at weight 0 and at 1."""
    rest = 1 - weight
    if isinstance(weight, torch.Tensor):
        weight, rest, is_near = weight.to(old.dtype), rest.to(old.dtype), weight < 0.5
        return torch.where(is_near, old + weight * (new - old), new - rest * (new - old))
    return old + weight * (new - old) if weight < 0.5 else new - rest * (new - old)


_op = define_op(
    "adam_ema_(Tensor(a!) param, Tensor grad, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, "
    "Tensor(d!)? ema, Tensor(e!) step, Tensor(f!) nonfinite, Tensor lr, Tensor? ema_weight, "
    "Tensor? beta2_tensor, float beta1, float beta2, float eps, float weight_decay, "
    "float grad_scale) -> ()",
    reference=adam_ema_ref,
    fake=lambda *arguments: None,
)


def adam_ema_(
    param: torch.Tensor,
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    *,
    step: torch.Tensor,
    nonfinite: torch.Tensor,
    lr: torch.Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    beta2: torch.Tensor | None = None,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    ema: torch.Tensor | None = None,
    ema_weight: torch.Tensor | None = None,
) -> None:
    """One step of Adam and of the moving average of the parameters, in place over flat buffers.

    The formulas stand at the top of fastgan/ops/adam_ema.py. A gradient with a NaN or an infinity
    is not applied: nothing but `nonfinite` changes. All tensors are on one device. Call it under
    torch.no_grad() where a tensor requires a gradient, as a parameter does. Capturable in a CUDA
    graph.

    Args:
        param: [n], float32 or float64, contiguous; written to. Views of one buffer are fine as long
            as no two arguments share an element.
        grad: [n], contiguous; float32, bfloat16 or float16 (float64 for float64 param).
        exp_avg: [n], of param.dtype, the first moment; written to.
        exp_avg_sq: [n], of param.dtype, the second moment; written to.
        step: [], int64: the number of steps applied so far; written to.
        nonfinite: [], int64: the number of NaN and infinite elements met so far; written to.
        lr: [], of param.dtype, the learning rate.
        betas: β1 and β2 in [0, 1), ints or floats. β1 = 0 saves the reading of exp_avg.
        beta2: [], float64: β2 of this step, in the place of that of betas, for one that changes
            from step to step; also the correction 1 - β2^t takes it. None: β2 is that of betas.
        eps: ε ≥ 0, added after the root.
        weight_decay: ≥ 0, added to the gradient before the moments, not to the update.
        grad_scale: factor on grad, such as 1 / world size after a summing all_reduce.
        ema: [n], of param.dtype, the moving average; written to. None for no average.
        ema_weight: [], of param.dtype, 1 - β of the average; given exactly where ema is.

    Raises:
        TypeError: an argument is no tensor or has the wrong dtype.
        ValueError: a shape, device, memory layout or number does not fit.
        RuntimeError: a tensor requires a gradient and gradients are enabled.
    """
    flat = {"param": param, "grad": grad, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    scalars = {"step": step, "nonfinite": nonfinite, "lr": lr}
    if beta2 is not None:
        scalars["beta2"] = beta2
    if (ema is None) != (ema_weight is None):
        missing = "ema" if ema is None else "ema_weight"
        raise ValueError(
            f"adam_ema_: {missing} must come with its counterpart, got None; pass both or neither"
        )
    if ema is not None and ema_weight is not None:
        flat["ema"], scalars["ema_weight"] = ema, ema_weight
    for name, t in (flat | scalars).items():
        _check_tensor(name, t, param)
    for name, t in flat.items():
        if t.dim() != 1 or t.numel() != param.numel() or not t.is_contiguous():
            raise ValueError(
                f"adam_ema_: {name} must be contiguous, of shape ({param.numel()},), got shape "
                f"{tuple(t.shape)} with strides {t.stride()}; flatten it into one buffer"
            )
    for name, t in scalars.items():
        if t.dim() != 0:
            raise ValueError(
                f"adam_ema_: {name} must have shape (), got {tuple(t.shape)}; reshape it to ()"
            )
    beta1, second = (
        (finite_number("adam_ema_", "betas", beta) for beta in betas)
        if isinstance(betas, tuple | list) and len(betas) == 2
        else (-1.0, -1.0)
    )
    if not (0 <= beta1 < 1 and 0 <= second < 1):
        raise ValueError(
            f"adam_ema_: betas must be two numbers in [0, 1), got {betas!r}; (0, 0.99) suits GANs"
        )
    grad_scale = finite_number("adam_ema_", "grad_scale", grad_scale)
    eps = finite_number("adam_ema_", "eps", eps)
    weight_decay = finite_number("adam_ema_", "weight_decay", weight_decay)
    for name, value in (("eps", eps), ("weight_decay", weight_decay)):
        if not value >= 0:
            raise ValueError(f"adam_ema_: {name} must be ≥ 0, got {value}; 0 switches it off")
    _refuse_shared_memory(flat | scalars)
    if torch.is_grad_enabled():
        for name, t in (flat | scalars).items():
            if t.requires_grad:
                raise RuntimeError(
                    f"adam_ema_: {name} requires a gradient, and an update in place has none; "
                    "call it under torch.no_grad()"
                )
    run = adam_ema_ref if reference_is_forced() else _op
    run(
        param, grad, exp_avg, exp_avg_sq, ema, step, nonfinite, lr, ema_weight, beta2,
        beta1, second, eps, weight_decay, grad_scale,
    )  # fmt: skip


_WRITTEN = ("param", "exp_avg", "exp_avg_sq", "ema", "step", "nonfinite")


def _refuse_shared_memory(tensors: dict[str, torch.Tensor]) -> None:
    """ValueError where one that is written to shares an element with another."""
    if torch.compiler.is_compiling() or any(
        type(t) not in (torch.Tensor, torch.nn.Parameter) for t in tensors.values()
    ):
        return  # tensors without memory, such as fake ones
    ends = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size(), name)
        for name, t in tensors.items()
        if t.numel() > 0 and t.device.type != "meta"
    )
    for i, (_, end, name) in enumerate(ends):
        for start, _, other in ends[i + 1 :]:
            if start >= end:
                break
            if name in _WRITTEN or other in _WRITTEN:
                raise ValueError(
                    f"adam_ema_: {name} and {other} share memory, and one of them is written to; "
                    "give each a tensor of its own"
                )


def _check_tensor(name: str, t: torch.Tensor, param: torch.Tensor) -> None:
    if not isinstance(t, torch.Tensor):
        raise TypeError(
            f"adam_ema_: {name} must be a tensor on the parameters' device, got {t!r}; a captured "
            f"step reads it there: torch.tensor({t!r}, device=param.device)"
        )
    expected = {
        "step": (torch.int64,),
        "nonfinite": (torch.int64,),
        "param": (torch.float32, torch.float64),
        "grad": (torch.float32, torch.bfloat16, torch.float16),
        "beta2": (torch.float64,),
    }
    dtypes = expected.get(name, (param.dtype,))
    if name == "grad" and param.dtype == torch.float64:
        dtypes = (torch.float64,)
    if t.dtype not in dtypes:
        words = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"adam_ema_: {name} must be {words}, got {t.dtype}; convert it with .to()")
    if t.device != param.device:
        raise ValueError(
            f"adam_ema_: {name} must be on {param.device} like param, got {t.device}; move it"
        )
