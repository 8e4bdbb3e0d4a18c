"""`TrainStep`: the training step for a user's own loop and networks."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import AdaController
from fastgan.training.config.step import StepConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import StepState, create_step_state
from fastgan.training.step.state_tensors import counters, mismatches

__all__ = ["TrainStep"]


class TrainStep:
    """One call is one training step of any generator and any discriminator.

    G(z) or G(z, c) makes samples of any shape, and D(x) or D(x, c) gives their logits; whether a
    network takes c is read from the signature of its forward. It is the same code that `fastgan
    train` runs: the phases of `fastgan.training.step.phases`, flat buffers, lazy regularisation and
    the moving average G_ema.

    Args:
        G: the generator, in float32 or float64; its parameters are moved into a flat buffer in
            place. Move, cast and load it before. Parameters with requires_grad False stay as they
            are.
        D: the discriminator, on the same device; the same holds for it.
        latent_shape: of one z, whose elements are N(0, 1); an int for a vector. Default: G.z_dim.
        augment: a module applied to all that D sees, such as `fastgan.augment.AugmentPipe`.
            Default: none.
        ada: controls augment.p. Default: p stays.
        **settings: the fields of `fastgan.training.StepConfig`: objective, g_optimizer,
            d_optimizer, r1_gamma, r2_gamma, gp_weight, d_reg_interval, pl_weight, ema, capture,
            precision, … Without `batch` the first call's batch counts.

    Raises:
        TypeError: when a setting does not exist.
        ValueError: naming the argument that does not fit.

    Example:
        step = TrainStep(G, D, r1_gamma=1.0, d_reg_interval=16)
        for x in loader:
            step(x)
        print(step.read())
        images = step.G_ema(z)
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
                "TrainStep: ada controls augment.p, but augment has no p; pass an AugmentPipe"
            )
        self._has_batch = "batch" in settings
        self.state: StepState = create_step_state(
            StepConfig(**settings), G, D, latent_shape=shape, augment=augment, ada=ada
        )
        self._example: Batch | None = None

    def release(self) -> None:
        """Destroys the CUDA graphs of the phases now; the next call warms up and captures anew.

        Call it, or use the step as a context manager, before a process group is destroyed whose
        collectives run in a step: NCCL waits until the graphs that captured them are gone.
        """
        self.state.context.release()

    def __enter__(self) -> "TrainStep":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def G_ema(self) -> nn.Module:
        """The moving average of G, in eval mode: sample from it."""
        return self.state.G_ema

    def __call__(self, x: Tensor, c: Tensor | None = None) -> None:
        """One training step. Waits for nothing on the device.

        Args:
            x: real samples [N, ...], such as images [N, C, H, W], on the networks' device.
            c: their conditions [N, ...]; None for unconditional networks.

        Raises:
            ValueError: when a shape, dtype or device differs from the first call's, or c is given
                and neither network takes it.
        """
        batch = Batch(x=x, c=c)
        if self._example is None:
            self._begin(batch)
        self._require_alike(batch)
        train_step(self.state, batch)

    def read(self) -> dict[str, float]:
        """Means of all losses and logits since the last `read`. Waits for the device.

        Returns:
            "Loss/D", "Loss/G", "Logits/real", "Logits/fake", and the penalties in use without
            their weights ("Loss/r1", "Loss/r2", "Loss/gp", "Loss/pl").
        """
        means = self.state.stats.read()
        self.state.stats.reset()
        return means

    def read_history(self) -> dict[str, list[float]]:
        """Means of each of the last 256 steps. `read` does not reset them. Waits for the device.

        Returns:
            Name → values, the newest last; NaN where a step had none, such as a lazy penalty
            between its steps.
        """
        return self.state.stats.read_history()

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that a bit-exact continuation needs, torch's generators included.

        Returns:
            Tensors and ints, nested by the state's fields: {"G": {"fc.weight": …}, "pl_mean": …,
            "step": 3, "rng": …}. `torch.save` takes it.
        """
        values: dict[str, Any] = {}
        for name, tensor in self.state.saved_tensors().items():
            field, _, rest = name.partition(".")
            copied = tensor.detach().clone()
            values |= {field: values.get(field, {}) | {rest: copied} if rest else copied}
        values |= counters(self.state)
        values["rng"] = torch.get_rng_state()
        if self.state.device.type == "cuda":
            values["rng.cuda"] = torch.cuda.get_rng_state(self.state.device)
        return values

    @torch.no_grad()
    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned, in place, torch's generators included.

        Args:
            values: of a TrainStep of the same networks and settings, on any device.

        Raises:
            ValueError: when a name is missing or unknown, or a shape or dtype differs. Nothing is
                changed then.
        """
        state = self.state
        live, numbers = state.saved_tensors(), counters(state)
        saved = dict(_flatten(values))
        generators = {name: saved.pop(name, None) for name in ("rng", "rng.cuda")}
        found = {name: saved.pop(name) for name in numbers if name in saved}
        problems = [f"missing {name}" for name in numbers.keys() - found.keys()]
        problems += ["missing rng"] if generators["rng"] is None else []
        problems += mismatches(saved, live)
        if problems:
            raise ValueError(
                f"TrainStep.load_state_dict: the state does not fit: {'; '.join(problems)}; it "
                "must be of the same networks and settings"
            )
        for name, tensor in live.items():
            tensor.copy_(saved[name])
        for name, value in found.items():
            setattr(state, name, value)
        torch.set_rng_state(generators["rng"].cpu())
        if state.device.type == "cuda" and generators["rng.cuda"] is not None:
            torch.cuda.set_rng_state(generators["rng.cuda"].cpu(), state.device)

    def _begin(self, batch: Batch) -> None:
        state = self.state
        if batch.c is not None and not (state.context.g_takes_c or state.context.d_takes_c):
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


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
