# SPDX-License-Identifier: Apache-2.0
"""`TrainStep`: the training step for a user's own loop and networks."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_leaves_with_path

from fastgan._trees import map_tensors, tensors_of
from fastgan.augment import AdaController
from fastgan.training.config.step import StepConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.health.rules import Words
from fastgan.training.step.health.watch import HealthWarning, HealthWatch
from fastgan.training.step.memory_format import lay_out
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
        latent_shape: of one z, whose elements are N(0, 1) or as `latents` says; an int for a
            vector. Default: G.z_dim.
        latent_sampler: sampler(n, device) returns the latents of n samples, a tree of tensors
            [n, ...], drawn by `fastgan.sample_rng`, in the place of z. Default: G.sample_latents
            where G has it; else none.
        augment: a module applied to all that D sees, such as `fastgan.augment.AugmentPipe`.
            Default: none.
        ada: controls augment.p; its `boundary` is that of the objective. Default: p stays.
        watch_health: whether every 25 steps are looked at, and a `HealthWarning` says in words what
            is wrong: NaN, collapse, a D that wins or learns nothing, weights that grow, and more
            (`fastgan.training.step.health`). Default True. A look waits for the device.
        held_out: real samples [N, ...] that the loop never trains on, a tree as x is, or a `Batch`
            of them and their conditions: with them a warning says when D overfits. The first 64 are
            used. Default: none.
        memory_format: "channels_last" lays the weights of convolutions of both networks out so, in
            place; "preserve" leaves them as they are; "auto" (default) does the former where it
            was measured to gain (`fastgan.training.step.memory_format`). `layout` says which, and
            why.
        shares_samples: whether G makes its samples once a step, and both networks learn from them,
            as in DCGAN's usual loop; `StepConfig.shares_samples`. Default None: where the other
            settings allow it, that is without batch_gpu, pl_weight and update_emas="d_step".
        **settings: the fields of `fastgan.training.StepConfig`: objective, objective_options,
            latents, g_optimizer, d_optimizer, r1_gamma, r2_gamma, gp_weight, d_reg_interval,
            pl_weight, ema, capture, precision, … Without `batch` the first call's batch counts.

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
        latent_sampler: Callable[[int, torch.device], Any] | None = None,
        augment: nn.Module | None = None,
        ada: AdaController | None = None,
        watch_health: bool = True,
        held_out: Any = None,
        memory_format: str = "auto",
        shares_samples: bool | None = None,
        **settings: Any,
    ):
        config = StepConfig(**settings)
        if shares_samples is None:
            shares_samples = config.can_share_samples
        config = dataclasses.replace(config, shares_samples=shares_samples)
        latent_sampler = latent_sampler or getattr(G, "sample_latents", None)
        if latent_sampler is not None or config.latents == "none":
            latent_shape = ()
        if latent_shape is None:
            latent_shape = getattr(G, "z_dim", None)
        if latent_shape is None:
            raise ValueError(
                f"TrainStep: latent_shape is needed, as {type(G).__name__} has no z_dim; pass the "
                "shape of one latent, such as latent_shape=128, or latents='none' for a G that is "
                "called with the condition alone"
            )
        shape = (latent_shape,) if isinstance(latent_shape, int) else tuple(latent_shape)
        if ada is not None and not hasattr(augment, "p"):
            raise ValueError(
                "TrainStep: ada controls augment.p, but augment has no p; pass an AugmentPipe"
            )
        self._has_batch = "batch" in settings
        boundary = config.make_objective().boundary
        if ada is not None and ada.boundary != boundary:
            raise ValueError(
                f"TrainStep: ada has boundary={ada.boundary}, and the objective "
                f"{config.objective!r} has {boundary}, by which D's logits of real samples are "
                f"read; pass AdaController(boundary={boundary})"
            )
        if held_out is not None and not isinstance(held_out, Batch):
            held_out = Batch(x=held_out)
        if ada is not None and boundary is None and ada.held_out is None:
            if held_out is None:
                raise ValueError(
                    f"TrainStep: the objective {config.objective!r} leaves single logits without "
                    "meaning, so that ada compares those of real samples with those of samples "
                    "that training does not show; pass some as held_out"
                )
            ada.hold(held_out.x, held_out.c)
        self.layout: dict[str, str] = lay_out(G, D, memory_format, config)
        self.state: StepState = create_step_state(
            config, G, D, latent_shape=shape, augment=augment, ada=ada,
            latent_sampler=latent_sampler,
        )  # fmt: skip
        self._example: Batch | None = None
        self._held_out = held_out
        words = Words.of_train_step()
        self._health: HealthWatch | None = None
        if watch_health:
            self._health = HealthWatch(self.state, words, held_out=held_out)

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
    def standing(self) -> tuple[str, ...]:
        """Kinds of what the last look at the training's health found wrong, such as "collapse"."""
        return () if self._health is None else self._health.standing

    @property
    def G_ema(self) -> nn.Module:
        """The moving average of G, in eval mode: sample from it."""
        return self.state.G_ema

    def __call__(self, x: Any, c: Any = None) -> None:
        """One training step. Waits for nothing on the device, except where health is looked at.

        Args:
            x: real samples [N, ...], such as images [N, C, H, W], on the networks' device; or a
                tree of such tensors (dict, tuple, list, registered dataclass).
            c: their conditions [N, ...], a tree likewise; None for unconditional networks.

        Raises:
            ValueError: when a shape, dtype or device differs from the first call's, c is given
                and neither network takes it, or torchrun started several processes that are not
                connected (the message says how).
        """
        batch = Batch(x=x, c=c)
        if self._example is None:
            self._begin(batch)
        self._require_alike(batch)
        if self._health is not None:
            for finding in self._health.before_step(batch):
                if not finding.is_over:
                    warnings.warn(
                        f"TrainStep, step {self.state.step}: {finding.kind}: {finding.message}",
                        HealthWarning, stacklevel=2,
                    )  # fmt: skip
        train_step(self.state, batch)

    def read(self) -> dict[str, float]:
        """Means of all losses and logits since the last `read`. Waits for the device.

        Returns:
            "Loss/D", "Loss/G", "Logits/real", "Logits/fake", the penalties in use without
            their weights ("Loss/r1", "Loss/r2", "Loss/gp", "Loss/pl"), and "Loss/NAME" for each
            further loss of the objective, with its weight. NaN where nothing was finite.
        """
        broken = self.state.stats.read_broken()
        means = {name: nan for name, (_, finite) in broken.items() if finite == 0}
        means |= self.state.stats.read()
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
            "step": 3, "rng": …}, and the looks at the training's health. `torch.save` takes it.
        """
        values: dict[str, Any] = {}
        for name, tensor in self.state.saved_tensors().items():
            field, _, rest = name.partition(".")
            copied = tensor.detach().clone()
            values |= {field: values.get(field, {}) | {rest: copied} if rest else copied}
        values |= counters(self.state)
        if self._health is not None:
            values["health"] = self._health.history()
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
        history = values.get("health", {})
        saved = dict(_flatten({name: v for name, v in values.items() if name != "health"}))
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
        if self._health is not None:
            self._health.restart()
            self._health.restore(history)

    def _begin(self, batch: Batch) -> None:
        state = self.state
        self._require_connected()
        self._require_samples(batch.x)
        takes_c = state.context.g_takes_c or state.context.d_takes_c
        if batch.c is not None and not takes_c and state.config.latents != "none":
            raise ValueError(
                "TrainStep: c is given, but neither G nor D takes a second argument; leave c out, "
                "or set latents='none' for a G that is called with c alone"
            )
        if self._held_out is not None:
            self._require_held_out("x", self._held_out.x, batch.x)
            self._require_held_out("c", self._held_out.c, batch.c)
        if not self._has_batch:
            state.config = dataclasses.replace(state.config, batch=batch.n)
        self._example = Batch(*(map_tensors(Tensor.detach, tree) for tree in (batch.x, batch.c)))

    def _require_connected(self) -> None:
        """ValueError where other processes train and nothing keeps their networks equal."""
        processes = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
        if processes > 1 and self.state.context.world_size == 1:
            raise ValueError(
                f"TrainStep: torchrun started {processes} processes, and nothing keeps their "
                "networks equal; before the first step call "
                "fastgan.training.distributed.replica.replicate(step.state, ranks) within "
                "fastgan.training.distributed.ranks.join(device) as ranks, and pass the batch of "
                "all processes together as batch=; for networks of each process alone, delete "
                "WORLD_SIZE from os.environ"
            )

    def _require_held_out(self, name: str, got: Any, first: Any) -> None:
        found, wanted = (
            [f"{list(t.shape[1:])} {t.dtype} on {t.device.type}" for t in tensors_of(tree)]
            for tree in (got, first)
        )
        if found != wanted:
            raise ValueError(
                f"TrainStep: held_out must have samples like those of {name}, "
                f"{', '.join(wanted) or 'none'}, got {', '.join(found) or 'none'} (without the "
                "first dimension); pass Batch(x=..., c=...) where the step is called with c"
            )

    def _require_samples(self, x: Any) -> None:
        if isinstance(x, tuple | list) and len(x) == 1:
            raise ValueError(
                f"TrainStep: x is a {type(x).__name__} with one entry, as a DataLoader of a "
                "TensorDataset gives it; pass that entry, x[0]"
            )
        floating = [t for t in tensors_of(x) if t.is_floating_point()]
        if not floating:
            got = x.dtype if isinstance(x, Tensor) else f"a {type(x).__name__} without one"
            raise ValueError(
                f"TrainStep: x must be a floating-point tensor [N, ...], or a tree with one, got "
                f"{got}; convert it, such as torch.as_tensor(x).float() / 127.5 - 1 for bytes"
            )
        dtype = self.state.d_optimizer.flat.values.dtype
        for t in floating:
            if t.dtype != dtype:
                raise ValueError(
                    f"TrainStep: x must be {dtype} as D is, got {t.dtype}; use x.to({dtype})"
                )

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
            leaves, firsts = _named(name, got), _named(name, first)
            if leaves.keys() != firsts.keys():
                raise ValueError(
                    f"TrainStep: {name} must keep the structure of the first call, "
                    f"{', '.join(firsts)}, got {', '.join(leaves) or type(got).__name__}; give "
                    "every call the same entries"
                )
            for entry, leaf in leaves.items():
                self._require_like(entry, leaf, firsts[entry])
            self._require_rows(leaves, batch.n)

    def _require_rows(self, leaves: dict[str, Any], n: int) -> None:
        for name, leaf in leaves.items():
            if isinstance(leaf, Tensor) and (leaf.dim() == 0 or leaf.shape[0] != n):
                raise ValueError(
                    f"TrainStep: {name} must have the {n} rows of the batch, got shape "
                    f"{tuple(leaf.shape)}; the first dimension of every tensor counts samples"
                )

    def _require_like(self, name: str, got: Any, first: Any) -> None:
        if not isinstance(got, Tensor):
            raise ValueError(
                f"TrainStep: {name} must be a tensor, got {type(got).__name__}; use torch.as_tensor"
            )
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


def _named(name: str, tree: Any) -> dict[str, Any]:
    """Name → leaf of a tree: "x", or "x['a'][0]"."""
    if isinstance(tree, Tensor):
        return {name: tree}
    return {name + keystr(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
