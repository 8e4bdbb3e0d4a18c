# SPDX-License-Identifier: Apache-2.0
"""`TrainState`: what a training run consists of at one moment, and what a checkpoint holds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastgan import sample_rng
from fastgan._trees import map_tensors, num_rows
from fastgan.augment import AdaController, AugmentPipe, BlurFade
from fastgan.losses import Objective
from fastgan.models import load_architecture
from fastgan.training.config.run import StepConfig, TrainConfig
from fastgan.training.optim.ema import average_of
from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.optim.flat_parameters import shared_parameters
from fastgan.training.optim.optimizers import make_optimizer
from fastgan.training.step.context import StepContext, make_context
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.frozen_layers import freeze_layers
from fastgan.training.step.precision import check_networks
from fastgan.training.step.state_tensors import StateTensor, list_tensors
from fastgan.training.step.statistics import Statistics

__all__ = [
    "StepState",
    "TrainState",
    "build_state",
    "create_state",
    "create_step_state",
]

STATISTICS = (
    "Loss/D",
    "Loss/G",
    "Loss/r1",
    "Loss/r2",
    "Loss/gp",
    "Loss/pl",
    "Logits/real",
    "Logits/fake",
)
GRID_SIZE = 64


@dataclass(kw_only=True)
class StepState:
    """Networks, optimisers, device scalars and counters: what the phases of a step work on.

    Device tensors persist: phases and the host write into them and never replace them, so that
    a captured step sees every change.

    Attributes:
        config: the step's configuration.
        device: of all tensors.
        G: the generator, in training mode.
        D: the discriminator, in training mode.
        G_ema: the moving average of G, in eval mode.
        g_optimizer: the optimiser of G, which also updates G_ema's parameters.
        d_optimizer: the optimiser of D.
        augment: `AugmentPipe`, or Identity for none.
        ada: the controller of augment.p, or None.
        blur: what D sees passes it before augment, or None; σ is written before every step.
        objective: what `config` names; its buffers are its state.
        pl_mean: [], the moving mean of the path length.
        ema_weight: [], 1 - β of the moving average, written before every step.
        gamma_scale: [], the annealing factor of every penalty of D, written before every step.
        stats: means of losses and logits.
        context: how the phases are run in this process; the only field that is not state.
        step: the number of steps made.
        nimg: the number of real samples shown, over all ranks.
        faults: what the policy on non-finite numbers has decided so far.
    """

    config: StepConfig
    device: torch.device
    G: nn.Module = field(metadata={"has_means": True})
    D: nn.Module = field(metadata={"has_means": True})
    G_ema: nn.Module
    g_optimizer: FlatOptimizer
    d_optimizer: FlatOptimizer
    augment: nn.Module
    ada: AdaController | None
    blur: BlurFade | None
    objective: Objective = field(metadata={"has_means": True})
    pl_mean: Tensor
    ema_weight: Tensor = field(metadata={"is_saved": False})
    gamma_scale: Tensor = field(metadata={"is_saved": False})
    stats: Statistics
    context: StepContext
    step: int = 0
    nimg: int = 0
    faults: FaultRecord = field(default_factory=FaultRecord)

    def tensors(self) -> Iterator[StateTensor]:
        """Every tensor of the state with its role: the one list that all others are made from."""
        return list_tensors(self)

    def saved_tensors(self) -> dict[str, Tensor]:
        """Name → live tensor of all that a checkpoint holds, random generators apart."""
        return {entry.name: entry.tensor for entry in self.tensors() if entry.is_saved}

    @property
    def kimg(self) -> float:
        """Real samples shown, in thousands."""
        return self.nimg / 1000

    @property
    def position(self) -> int:
        """The position of the next batch in the stream of real samples."""
        return self.nimg + self.faults.skipped_nimg


@dataclass(kw_only=True)
class TrainState(StepState):
    """The state of one run: a step's state, the latents of its pictures, and the loop's counters.

    Attributes:
        config: the run's configuration.
        grid_z: [64, z_dim], the latents of every snapshot's samples, or a tree of tensors; None
            with latents="none".
        grid_c: their conditions: [64, c_dim], one-hot classes in turn, or a tree of tensors
            [n, ...] of a data set, and then grid_z has n rows; None for an unconditional model.
        tick: the number of ticks so far.
        elapsed_sec: the training time so far, in seconds, of earlier processes too.
        reason: why the last `train` ended: "finished", "interrupted" or "unhealthy".
        standing: kinds of the alarms that stood when it ended, such as "collapse, G-grows".
    """

    config: TrainConfig
    grid_z: Any = field(metadata={"name": "grid.z"})
    grid_c: Any = field(metadata={"name": "grid.c"})
    tick: int = 0
    elapsed_sec: float = 0.0
    reason: str = ""
    standing: str = ""

    @property
    def grid_size(self) -> int:
        """The number of a snapshot's samples."""
        grid = self.grid_c if self.grid_z is None else self.grid_z
        return 0 if grid is None else num_rows(grid)


def build_state(config: TrainConfig, *, grid_c: Any = None) -> TrainState:
    """The state at step 0 of networks of `config.architecture`.

    Args:
        config: its `seed` seeds torch's global generator, from which the networks are initialised.
        grid_c: as `create_state`.

    Returns:
        The state, on `config.device`.

    Raises:
        ValueError: when config asks for what the networks can't do (see `create_state`).

    Example:
        state = build_state(load_recipe("mlp")(resolution=(32, 32)))
        train_step(state, Batch(x=torch.rand(64, 1, 32, 32) * 2 - 1))
    """
    torch.manual_seed(config.seed)
    architecture = load_architecture(config.architecture)
    G, D = architecture.Generator(config.model), architecture.Discriminator(config.model)
    freeze_layers(D, config)
    return create_state(config, G, D, grid_c=grid_c)


def create_state(
    config: TrainConfig, G: nn.Module, D: nn.Module, *, grid_c: Any = None
) -> TrainState:
    """The state at step 0 of any generator G(z, c) and discriminator D(x, c).

    Args:
        config: of the run; `architecture`, `model` and `d_frozen_layers` are not used here.
        G: has `z_dim` and `c_dim`, or `sample_latents(n, device)`, which draws the latents of n
            samples, a tree of tensors [n, ...], by `fastgan.sample_rng`; neither with
            latents="none". Path length and style mixing need its `mapping` and `synthesis`.
            Moved to `config.device` in place. Parameters with requires_grad False stay as they are.
        D: the same.
        grid_c: conditions of the snapshots' samples, a tree of tensors [n, ...]; default: 64
            classes in turn, or none.

    Returns:
        The state, on `config.device`.

    Raises:
        ValueError: when pl_weight or style_mixing_prob is set and G has no mapping, when G and D
            share a parameter, when precision does not fit the networks' dtype.
    """
    device = torch.device(config.device)
    augment, ada = _make_augment(config, device)
    latent_shape = (getattr(G, "z_dim", 0),)
    fields = _step_fields(
        config, G, D, device, latent_shape, augment, ada, config.augment.p,
        getattr(G, "sample_latents", None),
    )  # fmt: skip
    grid_z, grid_c = map_tensors(lambda t: t.to(device), _make_grid(config, G, grid_c))
    return TrainState(**fields, grid_z=grid_z, grid_c=grid_c)


def create_step_state(
    config: StepConfig,
    G: nn.Module,
    D: nn.Module,
    *,
    latent_shape: tuple[int, ...],
    augment: nn.Module | None = None,
    ada: AdaController | None = None,
    latent_sampler: Callable[[int, torch.device], Any] | None = None,
) -> StepState:
    """The state at step 0 of any G(z) or G(z, c) and D(x) or D(x, c), on the device of G.

    Args:
        config: of the step.
        G: the generator.
        D: the discriminator.
        latent_shape: of one z.
        augment: applied to all that D sees; None: nothing.
        ada: the controller of augment.p; None: p stays.
        latent_sampler: draws the latents of n samples on a device; None: z by `config.latents`.

    Raises:
        ValueError: as `create_state`.
    """
    device = next(G.parameters()).device
    first_p = float(augment.p) if hasattr(augment, "p") else 0.0
    fields = _step_fields(config, G, D, device, latent_shape, augment, ada, first_p, latent_sampler)
    return StepState(**fields)


def _step_fields(
    config: StepConfig,
    G: nn.Module,
    D: nn.Module,
    device: torch.device,
    latent_shape: tuple[int, ...],
    augment: nn.Module | None,
    ada: AdaController | None,
    first_augment_p: float,
    latent_sampler: Callable[[int, torch.device], Any] | None = None,
) -> dict[str, Any]:
    _check_augment_schedule(config, augment, ada)
    for name in ("pl_weight", "style_mixing_prob"):
        value = getattr(config, name)
        if value > 0 and not (hasattr(G, "mapping") and hasattr(G, "synthesis")):
            raise ValueError(
                f"{name}={value} needs a generator with mapping and synthesis, which "
                f"{type(G).__name__} has not; set {name}=0"
            )
    is_augmented = not isinstance(augment, nn.Identity | None)
    draws = is_augmented and config.penalty_at == "images" and config.has_d_penalty
    if draws and config.penalty_method == "finite_difference":
        raise ValueError(
            "penalty_method='finite_difference' runs D several times, and with "
            "penalty_at='images' each run would draw another augmentation; set "
            "penalty_at='augmented', or an exact penalty_method"
        )
    if config.update_emas == "d_step" and not hasattr(G, "mapping"):
        raise ValueError(
            "update_emas='d_step' needs a generator with mapping and synthesis, which "
            f"{type(G).__name__} has not; set update_emas='all'"
        )
    check_networks(config.precision, G, D)
    shared = list(shared_parameters(G, D))
    if shared:
        raise ValueError(
            f"create_state: G and D share D's {', '.join(shared)}; give each parameters of its own"
        )
    G, D = G.to(device).train(), D.to(device).train()
    G_ema = average_of(G)
    is_corrected = config.pl_weight > 0 or config.always_corrects_g
    g_interval = config.g_reg_interval if is_corrected else 1
    d_interval = config.d_reg_interval if config.has_d_penalty else 1
    changes_beta2 = config.schedule.beta2_end is not None
    g_optimizer = make_optimizer(
        G, config.g_optimizer, g_interval, average=G_ema, has_changing_beta2=changes_beta2
    )
    blur = None
    if config.blur_init_sigma > 0:
        blur = BlurFade(config.blur_init_sigma).to(device)
    scalar = g_optimizer.flat.values.new_zeros([])
    objective = _make_objective(config, scalar)
    return {
        "config": config,
        "device": device,
        "G": G,
        "D": D,
        "G_ema": G_ema,
        "g_optimizer": g_optimizer,
        "d_optimizer": make_optimizer(
            D, config.d_optimizer, d_interval, has_changing_beta2=changes_beta2
        ),
        "augment": nn.Identity() if augment is None else augment,
        "ada": ada,
        "blur": blur,
        "pl_mean": scalar.clone(),
        "ema_weight": scalar + 1,
        "gamma_scale": scalar + 1,
        "objective": objective,
        "stats": Statistics(STATISTICS, device, has_open_names=objective.has_open_names),
        "context": make_context(config, G, D, latent_shape, first_augment_p, latent_sampler),
    }


def _make_objective(config: StepConfig, like: Tensor) -> Objective:
    objective = config.make_objective().to(device=like.device, dtype=like.dtype)
    trained = [name for name, p in objective.named_parameters() if p.requires_grad]
    if trained:
        raise ValueError(
            f"objective {type(objective).__name__} has parameters that require gradients "
            f"({', '.join(trained[:3])}), and no optimiser trains them; call requires_grad_(False) "
            "on it, or make what is trained a part of G or D"
        )
    return objective


def _check_augment_schedule(
    config: StepConfig, augment: nn.Module | None, ada: AdaController | None
) -> None:
    last = config.schedule.augment_p_end
    if last is not None and (ada is not None or not hasattr(augment, "p")):
        raise ValueError(
            f"schedule.augment_p_end={last} changes augment.p, but "
            + ("augment has no p" if ada is None else "ADA controls it")
            + "; pass an AugmentPipe without ada, or leave schedule.augment_p_end out"
        )


def _make_augment(
    config: TrainConfig, device: torch.device
) -> tuple[nn.Module | None, AdaController | None]:
    settings = config.augment
    if settings.mode == "noaug":
        return None, None
    pipe = AugmentPipe(groups=settings.groups, p=settings.p).to(device)
    if settings.mode != "ada":
        return pipe, None
    boundary = config.make_objective().boundary
    return pipe, AdaController(settings.target, settings.ada_kimg, boundary).to(device)


def _make_grid(config: TrainConfig, G: nn.Module, grid_c: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(config.seed)
    size = GRID_SIZE if grid_c is None else num_rows(grid_c)
    shape = [size, getattr(G, "z_dim", 0)]
    sampler = getattr(G, "sample_latents", None)
    if config.latents == "none":
        grid_z = None
    elif sampler is not None:
        with sample_rng.sample_stream(sample_rng.step_key(config.seed, 0)):
            grid_z = sampler(size, torch.device(config.device))
    elif config.latents == "uniform":
        grid_z = torch.rand(shape, generator=generator) * 2 - 1
    else:
        grid_z = torch.randn(shape, generator=generator)
    c_dim = getattr(G, "c_dim", 0)
    if grid_c is None and c_dim > 0:
        grid_c = torch.eye(c_dim)[torch.arange(size) % c_dim]
    return grid_z, grid_c
