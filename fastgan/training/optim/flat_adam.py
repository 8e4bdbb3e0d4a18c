"""`FlatAdam`: Adam over flat buffers, with the moving average of the parameters in the same pass.

The update is `fastgan.ops.adam_ema_`: Kingma and Ba's algorithm 1. A step whose gradient has a NaN
or an infinite element anywhere in the network is not applied, on the device: parameters, moments,
average and step stay as they are, and `nonfinite` counts the elements.

A parameter to which a phase gives no gradient has gradient 0 in it: its moments decay and, with
β1 > 0, it still moves by its momentum. torch.optim.Adam skips such a parameter where `.grad` is
None. FlatAdam does not, for three reasons: whether autograd finds a path to a parameter whose
derivative is 0 depends on how an op is written; a rank can't know what the others found; and lazy
regularisation's β^c (arXiv 1912.04958, appendix B) counts k + 1 updates of every parameter for k
steps.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops import adam_ema_
from fastgan.training.optim.flat_copies import FlatCopies
from fastgan.training.optim.flat_parameters import FlatParameters

__all__ = ["FlatAdam"]

_UNSUPPORTED = ("amsgrad", "maximize", "weight_decay", "decoupled_weight_decay")


class FlatAdam:
    """Adam of one network's trainable parameters, which become views of flat buffers.

    Args:
        module: its parameters, float32 or float64 on one device, are moved into a flat buffer.
        lr: learning rate, kept in the device tensor `param_groups[0]["lr"]`, which the host may
            fill; default 1e-3.
        betas: two numbers in [0, 1), ints or floats; default (0.9, 0.999).
        eps: default 1e-8.
        average: a copy of the module whose parameters become the moving average; default: none.
        has_changing_beta2: whether β2 is read from the device tensor `param_groups[0]["beta2"]`,
            float64 [], which the host may fill before each step. Default False: "beta2" is None,
            and β2 is that of betas.

    `param_groups` and `state` read as torch.optim.Adam's: state[p] holds "step" (float32 []),
    "exp_avg" and "exp_avg_sq" (like p). They are views: writing into them sets the optimiser.
    Where the steps of two parameters differ, as in a state of torch's, the largest one counts.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        average: nn.Module | None = None,
        has_changing_beta2: bool = False,
    ):
        self.flat = flat = FlatParameters(module)
        self.copies = FlatCopies(flat)
        like = flat.values
        self.exp_avg, self.exp_avg_sq = flat.new_buffer(), flat.new_buffer()
        self.steps = torch.zeros(len(flat.parameters), device=like.device)  # [parameters]
        self.applied = torch.zeros([], dtype=torch.int64, device=like.device)
        self.nonfinite = torch.zeros([], dtype=torch.int64, device=like.device)
        self.ema = None if average is None else flat.new_buffer()
        self._averages = () if average is None else flat.adopt(average, self.ema)
        self.param_groups: list[dict[str, Any]] = [
            {
                "params": list(flat.parameters),
                "lr": torch.tensor(lr, dtype=like.dtype, device=like.device),
                "betas": (float(betas[0]), float(betas[1])),
                "eps": eps,
                "base_lr": lr,
                "beta2": (
                    torch.tensor(float(betas[1]), dtype=torch.float64, device=like.device)
                    if has_changing_beta2
                    else None
                ),
            }
        ]
        columns = zip(
            flat.parameters, self.steps.unbind(), flat.views(self.exp_avg),
            flat.views(self.exp_avg_sq), strict=True,
        )  # fmt: skip
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {
            p: {"step": step, "exp_avg": m, "exp_avg_sq": v} for p, step, m, v in columns
        }

    def zero_grad(self) -> None:
        """Sets all gradients to 0 in one call; each p.grad is its view again afterwards."""
        self.flat.attach()
        self.flat.zero()

    @torch.no_grad()
    def step(self, ema_weight: Tensor | None = None) -> None:
        """One update from the flat gradient. Capturable; waits for nothing.

        ema_weight: [] on the device: the average moves by this share toward the new parameters;
            None leaves it alone.

        Raises:
            RuntimeError: a parameter, a gradient or an average left its buffer, by name.
            ValueError: ema_weight is given and there is no average.
        """
        flat, group = self.flat, self.param_groups[0]
        self.check()
        if ema_weight is not None:
            if self.ema is None:
                raise ValueError(
                    "FlatAdam.step: ema_weight needs an average, got none; make it with average="
                )
            ema_weight = ema_weight.to(self.ema.dtype)
        self.applied.copy_(self.steps.amax())
        adam_ema_(
            flat.values, flat.gradients, self.exp_avg, self.exp_avg_sq,
            step=self.applied, nonfinite=self.nonfinite, lr=group["lr"], betas=group["betas"],
            beta2=group["beta2"], eps=group["eps"], ema=None if ema_weight is None else self.ema,
            ema_weight=ema_weight,
        )  # fmt: skip
        self.steps.copy_(self.applied)
        # The kernel wrote to the buffer, not to its views: autograd must know that they changed.
        torch.autograd.graph.increment_version(flat.parameters)
        if ema_weight is not None:
            torch.autograd.graph.increment_version(self._averages)

    def check(self) -> None:
        """RuntimeError where a parameter, a gradient or an average left its buffer, by name."""
        self.flat.check()
        if self.ema is not None:
            self.flat.check_adopted(self._averages, self.ema)

    def reset(self) -> None:
        """Sets moments and steps to 0 in place, as before the first step."""
        for buffer in (self.exp_avg, self.exp_avg_sq, self.steps):
            buffer.zero_()

    def to_adam_state_dict(self) -> dict[str, Any]:
        """Copies for `torch.optim.Adam(module's trainable parameters).load_state_dict`."""
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        beta2 = beta2 if group["beta2"] is None else float(group["beta2"])
        adam = torch.optim.Adam(
            group["params"], lr=float(group["lr"]), betas=(beta1, beta2), eps=group["eps"]
        )
        entries = {
            i: {key: value.clone() for key, value in self.state[p].items()}
            for i, p in enumerate(group["params"])
        }
        return {"state": entries, "param_groups": adam.state_dict()["param_groups"]}

    @torch.no_grad()
    def from_adam_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over torch.optim.Adam's state_dict, by the order of parameters: all of it.

        A parameter without an entry (it never had a gradient) gets moments of 0.

        Raises:
            ValueError: the number of parameters or a shape differs, two groups differ in lr, betas
                or eps, or an option is on that this update has not, by name. Nothing is changed.
        """
        groups = values["param_groups"]
        keys = [key for group in groups for key in group["params"]]
        entries = [values["state"].get(key, {}) for key in keys]
        self._require_fit(groups, entries)
        self.reset()
        for p, entry in zip(self.flat.parameters, entries, strict=True):
            for key in self.state[p].keys() & entry.keys():
                self.state[p][key].copy_(torch.as_tensor(entry[key]))
        own, group = self.param_groups[0], groups[0]
        own["base_lr"] = float(group["lr"])
        own["lr"].fill_(own["base_lr"])
        own["betas"] = (float(group["betas"][0]), float(group["betas"][1]))
        if own["beta2"] is not None:
            own["beta2"].fill_(own["betas"][1])
        own["eps"] = float(group["eps"])

    def _require_fit(self, groups: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
        where = "FlatAdam.from_adam_state_dict"
        if len(entries) != len(self.flat.parameters):
            raise ValueError(
                f"{where}: expected {len(self.flat.parameters)} parameters, got {len(entries)}; "
                "the state must be of this network's trainable parameters, in order"
            )
        for key in ("lr", "betas", "eps"):
            if len({str(_plain(group[key])) for group in groups}) > 1:
                raise ValueError(f"{where}: the groups differ in {key}; one network has one")
        for key in _UNSUPPORTED:
            if any(group.get(key) for group in groups):
                raise ValueError(f"{where}: {key} is on, and this update has none; switch it off")
        for name, p, entry in zip(self.flat.names, self.flat.parameters, entries, strict=True):
            for key in ("exp_avg", "exp_avg_sq"):
                if key in entry and entry[key].shape != p.shape:
                    raise ValueError(
                        f"{where}: {key} of {name} must have shape {tuple(p.shape)}, got "
                        f"{tuple(entry[key].shape)}"
                    )


def _plain(value: Any) -> Any:
    """Numbers that print alike where they are alike."""
    if isinstance(value, Iterable) and not isinstance(value, Tensor):
        return [float(item) for item in value]
    return float(value)
