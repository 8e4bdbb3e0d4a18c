# SPDX-License-Identifier: Apache-2.0
"""`FlatOptimizer`: what optimisers of one network over flat buffers share.

A step whose gradient has a NaN or an infinite element anywhere in the network is not applied, on
the device: parameters, state, average and step stay as they are, and `nonfinite` counts the
elements.

A parameter to which a phase gives no gradient has gradient 0 in it: its moments decay and, where
there is momentum, it still moves by it. torch.optim's optimisers skip such a parameter where
`.grad` is None. These do not, for three reasons: whether autograd finds a path to a parameter whose
derivative is 0 depends on how an op is written; a rank can't know what the others found; and lazy
regularisation's β^c (arXiv 1912.04958, appendix B) counts k + 1 updates of every parameter for k
steps.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastgan.training.optim.flat_copies import FlatCopies
from fastgan.training.optim.flat_parameters import FlatParameters

__all__ = ["FlatOptimizer"]


class FlatOptimizer:
    """An optimiser of one network's trainable parameters, which become views of flat buffers.

    A subclass names its state and its numbers, and computes `_update`.

    Args:
        module: its parameters, float32 or float64 on one device, are moved into a flat buffer.
        lr: learning rate, kept in the device tensor `param_groups[0]["lr"]`, which the host may
            fill.
        average: a copy of the module whose parameters become the moving average, or None.
        numbers: the further entries of `param_groups[0]`.

    Attributes:
        HOST_NUMBERS: keys of `param_groups[0]` that `step` reads on the host, besides the device
            tensor "lr".
        STATE: names of the flat state buffers, which are attributes of these names, too.
        param_groups: one group, which reads as torch's: "params", "lr" and `HOST_NUMBERS`.
        state: state[p] holds "step" (float32 []) and p's part of each buffer of `STATE`. They are
            views: writing into them sets the optimiser. Where the steps of two parameters differ,
            as in a state of torch's, the largest one counts.
    """

    HOST_NUMBERS: ClassVar[tuple[str, ...]] = ()
    STATE: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float,
        average: nn.Module | None,
        numbers: dict[str, Any],
    ):
        self.flat = flat = FlatParameters(module)
        self.copies = FlatCopies(flat)
        like = flat.values
        for name in self.STATE:
            setattr(self, name, flat.new_buffer())
        self.steps = torch.zeros(len(flat.parameters), device=like.device)  # [parameters]
        self.applied = torch.zeros([], dtype=torch.int64, device=like.device)
        self.nonfinite = torch.zeros([], dtype=torch.int64, device=like.device)
        self.ema = None if average is None else flat.new_buffer()
        self._averages = () if average is None else flat.adopt(average, self.ema)
        self.param_groups: list[dict[str, Any]] = [
            {
                "params": list(flat.parameters),
                "lr": torch.tensor(lr, dtype=like.dtype, device=like.device),
                "base_lr": lr,
            }
            | numbers
        ]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {
            p: {"step": step} for p, step in zip(flat.parameters, self.steps.unbind(), strict=True)
        }
        for name, buffer in zip(self.STATE, self.state_buffers(), strict=True):
            for p, view in zip(flat.parameters, flat.views(buffer), strict=True):
                self.state[p][name] = view

    def state_buffers(self) -> tuple[Tensor, ...]:
        """The buffers [n] of `STATE`, such as Adam's two moments."""
        return tuple(getattr(self, name) for name in self.STATE)

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
        self.check()
        if ema_weight is not None:
            if self.ema is None:
                raise ValueError(
                    f"{type(self).__name__}.step: ema_weight needs an average, got none; make it "
                    "with average="
                )
            ema_weight = ema_weight.to(self.ema.dtype)
        self.applied.copy_(self.steps.amax())
        self._update(ema_weight)
        self.steps.copy_(self.applied)
        # A kernel wrote to the buffer, not to its views: autograd must know that they changed.
        torch.autograd.graph.increment_version(self.flat.parameters)
        if ema_weight is not None:
            torch.autograd.graph.increment_version(self._averages)

    def _update(self, ema_weight: Tensor | None) -> None:
        """Writes values, state, average, `applied` and `nonfinite` from the flat gradient."""
        raise NotImplementedError

    def check(self) -> None:
        """RuntimeError where a parameter, a gradient or an average left its buffer, by name."""
        self.flat.check()
        if self.ema is not None:
            self.flat.check_adopted(self._averages, self.ema)

    def reset(self) -> None:
        """Sets the state and the steps to 0 in place, as before the first step."""
        for buffer in (*self.state_buffers(), self.steps):
            buffer.zero_()

    def to_torch_state_dict(self) -> dict[str, Any]:
        """Copies for `load_state_dict` of torch's optimiser over the module's trainable parameters.

        Returns:
            {"state": …, "param_groups": …} of torch.optim's class of the same algorithm.
        """
        entries = {
            i: {key: value.clone() for key, value in self.state[p].items()}
            for i, p in enumerate(self.param_groups[0]["params"])
        }
        return {"state": entries, "param_groups": self._like_torch().state_dict()["param_groups"]}

    def _like_torch(self) -> torch.optim.Optimizer:
        """torch's optimiser of the same parameters with the same numbers."""
        raise NotImplementedError

    @torch.no_grad()
    def from_torch_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over the state_dict of torch's optimiser, by the order of parameters: all of it.

        A parameter without an entry (it never had a gradient) gets a state of 0.

        Raises:
            ValueError: the number of parameters or a shape differs, two groups differ in a number,
                or an option is on that this update has not, by name. Nothing is changed.
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
        for key in self.HOST_NUMBERS:
            own[key] = _plain(group[key])
        self._numbers_taken_over()

    def _numbers_taken_over(self) -> None:
        """Called when `HOST_NUMBERS` are those of another state."""

    def _require_fit(self, groups: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
        where = f"{type(self).__name__}.from_torch_state_dict"
        if len(entries) != len(self.flat.parameters):
            raise ValueError(
                f"{where}: expected {len(self.flat.parameters)} parameters, got {len(entries)}; "
                "the state must be of this network's trainable parameters, in order"
            )
        for key in ("lr", *self.HOST_NUMBERS):
            if any(key not in group for group in groups):
                raise ValueError(
                    f"{where}: the groups have no {key}; the state must be of torch's optimiser of "
                    "the same algorithm"
                )
            if len({str(_plain(group[key])) for group in groups}) > 1:
                raise ValueError(f"{where}: the groups differ in {key}; one network has one")
        for group in groups:
            for key in self._refused(group):
                raise ValueError(f"{where}: {key} is on, and this update has none; switch it off")
        for name, p, entry in zip(self.flat.names, self.flat.parameters, entries, strict=True):
            for key in self.STATE:
                if key in entry and entry[key].shape != p.shape:
                    raise ValueError(
                        f"{where}: {key} of {name} must have shape {tuple(p.shape)}, got "
                        f"{tuple(entry[key].shape)}"
                    )

    def _refused(self, group: dict[str, Any]) -> list[str]:
        """Options of a group of torch's that are on, and that this update has not."""
        raise NotImplementedError


def _plain(value: Any) -> float | tuple[float, ...]:
    """Numbers that print alike where they are alike."""
    if isinstance(value, Iterable) and not isinstance(value, Tensor):
        return tuple(float(item) for item in value)
    return float(value)
