"""`TrainStep`: fastgan's training step in a loop of one's own, with networks of one's own."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import AdaController
from fastgan.training.config.step import StepConfig
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import Batch, StepState, create_step_state

__all__ = ["TrainStep"]

_MODULES = ("G", "D", "G_ema", "augment", "ada")
_TENSORS = ("pl_mean",)
_COUNTERS = ("step", "nimg")


class TrainStep:
    """One call is one training step of any generator and any discriminator.

        step = TrainStep(G, D, r1_gamma=1.0, d_reg_interval=16)
        for x in loader:
            step(x)
        print(step.read())
        images = step.G_ema(z)

    G(z) or G(z, c) makes samples of any shape, D(x) or D(x, c) judges them; whether a network
    takes c is read off its forward. It is the same code that `fastgan train` runs: the phases of
    `fastgan.training.step.phases`, flat buffers, lazy regularisation, the average G_ema.

    Args:
        G, D: on one device, in float32 or float64; made trainable in place. Move, cast and load
            them before. Parameters with requires_grad False stay as they are.
        latent_shape: of one z, whose elements are N(0, 1); an int for a vector. Default: G.z_dim.
        augment: a module or function applied to all that D sees, such as
            `fastgan.augment.AugmentPipe`.
        ada: steers augment.p.
        settings: the fields of `fastgan.training.StepConfig`: objective, g_optimizer,
            d_optimizer, r1_gamma, r2_gamma, gp_weight, d_reg_interval, pl_weight, ema, capture,
            precision, …
            `batch` is taken from the first call where it is left out.

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_shape: int | tuple[int, ...] | None = None,
        augment: nn.Module | None = None,
        ada: AdaController | None = None,
        **settings: Any,
    ):
        if latent_shape is None:
            latent_shape = getattr(G, "z_dim", None)
        if latent_shape is None:
            raise ValueError(
                f"TrainStep: latent_shape is needed, as {type(G).__name__} has no z_dim; pass the "
                "shape of one latent, such as latent_shape=128"
            )
        shape = (latent_shape,) if isinstance(latent_shape, int) else tuple(latent_shape)
        if ada is not None and not hasattr(augment, "p"):
            raise ValueError(
                "TrainStep: ada steers augment.p, and augment has none; pass an AugmentPipe"
            )
        self._has_batch = "batch" in settings
        self.state: StepState = create_step_state(
            StepConfig(**settings), G, D, latent_shape=shape, augment=augment, ada=ada
        )
        self._example: Batch | None = None

    @property
    def G_ema(self) -> nn.Module:
        """The average of G, in eval mode: what to sample from."""
        return self.state.G_ema

    def __call__(self, x: Tensor, c: Tensor | None = None) -> None:
        """One step on real samples x [N, ...] with conditions c [N, ...]. Waits for nothing.

        ValueError where a shape, dtype or device differs from the first call's.
        """
        batch = Batch(x=x, c=c)
        if self._example is None:
            self._begin(batch)
        self._require_alike(batch)
        train_step(self.state, batch)

    def read(self) -> dict[str, float]:
        """Means since the last `read` of all losses and logits; waits for the device."""
        means = self.state.stats.read()
        self.state.stats.reset()
        return means

    def read_history(self) -> dict[str, list[float]]:
        """The same of each of the last 256 steps, the newest last; `read` clears nothing of it.

        NaN where a step had none, as a lazy penalty between its steps. Waits for the device.
        """
        return self.state.stats.read_history()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, torch's generators included: copies.

        Tensors and ints only: `torch.save` it, or put its tensors wherever others go.
        """
        state = self.state
        values: dict[str, Any] = {
            name: {key: t.detach().clone() for key, t in getattr(state, name).state_dict().items()}
            for name in _MODULES
            if isinstance(getattr(state, name), nn.Module)
        }
        for name in ("g_optimizer", "d_optimizer"):
            values[name] = {key: t.clone() for key, t in self._moments(name).items()}
        values |= {name: getattr(state, name).clone() for name in _TENSORS}
        values["stats"] = {key: t.clone() for key, t in state.stats.tensors().items()}
        values |= {name: getattr(state, name) for name in _COUNTERS}
        values["rng"] = torch.get_rng_state()
        if state.device.type == "cuda":
            values["rng.cuda"] = torch.cuda.get_rng_state(state.device)
        return values

    @torch.no_grad()
    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave, in place; torch's generators, too.

        ValueError names what is missing or unknown; load_state_dict's RuntimeError what differs.
        """
        state, own = self.state, self.state_dict()
        only = "rng.cuda"  # a state may go on on another kind of device
        problems = sorted((own.keys() ^ values.keys()) - {only})
        for name in ("g_optimizer", "d_optimizer", "stats"):
            problems += sorted(own[name].keys() ^ values.get(name, {}).keys())
        if problems:
            raise ValueError(
                f"TrainStep.load_state_dict: missing or unknown: {', '.join(problems[:8])}; the "
                "state must be of the same networks and settings"
            )
        for name in own.keys() & set(_MODULES):
            getattr(state, name).load_state_dict(values[name])
        for name in ("g_optimizer", "d_optimizer"):
            for key, tensor in self._moments(name).items():
                tensor.copy_(values[name][key])
        for name in _TENSORS:
            getattr(state, name).copy_(values[name])
        for key, tensor in state.stats.tensors().items():
            tensor.copy_(values["stats"][key])
        for name in _COUNTERS:
            setattr(state, name, values[name])
        torch.set_rng_state(values["rng"].cpu())
        if state.device.type == "cuda" and only in values:
            torch.cuda.set_rng_state(values[only].cpu(), state.device)

    def _moments(self, name: str) -> dict[str, Tensor]:
        optimizer = getattr(self.state, name)
        named = zip(optimizer.flat.names, optimizer.flat.parameters, strict=True)
        return {
            f"{path}.{key}": tensor
            for path, p in named
            for key, tensor in optimizer.state[p].items()
        }

    def _begin(self, batch: Batch) -> None:
        state = self.state
        if batch.c is not None and not (state.g_takes_c or state.d_takes_c):
            raise ValueError(
                "TrainStep: c is given, but neither G nor D takes a second argument; leave c out"
            )
        if not self._has_batch:
            state.config = dataclasses.replace(state.config, batch=batch.x.shape[0])
        self._example = Batch(x=batch.x.detach(), c=None if batch.c is None else batch.c.detach())

    def _require_alike(self, batch: Batch) -> None:
        for name, got, first in (
            ("x", batch.x, self._example.x),
            ("c", batch.c, self._example.c),
        ):
            if (got is None) != (first is None):
                raise ValueError(
                    f"TrainStep: {name} must be given in every call or in none; the first call had "
                    f"{'none' if first is None else 'one'}"
                )
            if got is None:
                continue
            if got.device.type != self.state.device.type:
                raise ValueError(
                    f"TrainStep: {name} must be on {self.state.device}, got {got.device}; move it"
                )
            if (got.shape, got.dtype) != (first.shape, first.dtype):
                raise ValueError(
                    f"TrainStep: {name} must stay {tuple(first.shape)} {first.dtype} as in the "
                    f"first call, got {tuple(got.shape)} {got.dtype}; drop an incomplete last "
                    "batch (DataLoader(drop_last=True)), or make another TrainStep"
                )
