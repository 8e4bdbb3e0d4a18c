"""Everything that a training run is at one moment, and that a checkpoint therefore holds."""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastgan.augment import AdaController, AugmentPipe
from fastgan.losses import load_objective
from fastgan.losses.adversarial import Objective
from fastgan.models import load_architecture
from fastgan.training.config.run import AdamConfig, StepConfig, TrainConfig
from fastgan.training.optim.flat_adam import FlatAdam
from fastgan.training.optim.flat_parameters import shared_parameters
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.precision import check_networks, in_precision
from fastgan.training.step.statistics import Statistics

if TYPE_CHECKING:
    from fastgan.training.step.capture import PhaseRunner

__all__ = [
    "Batch",
    "StepState",
    "TrainState",
    "build_state",
    "create_state",
    "create_step_state",
    "frozen",
    "make_adam",
    "prime_adam",
    "takes_condition",
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


@dataclass
class Batch:
    """x: real samples [N, ...]; c: their condition [N, c_dim], or None where c_dim is 0."""

    x: Tensor
    c: Tensor | None = None


@dataclass(kw_only=True)
class StepState:
    """Networks, optimisers, device scalars and counters: what the phases of a step work on.

    Device tensors persist: phases and the host write into them and never replace them, so that
    a captured step sees every change. `step` counts steps, `nimg` real samples shown.

    exchange: called once per phase with the flat gradient of one network and its riders
        (`FlatParameters.exchanged`), which it replaces in place by their mean over all processes;
        None where there is one.
    average: called once per step, by its last phase: replaces what is a mean or a sum over samples
        (w_avg, ADA's sums, statistics) by its mean over all processes; None where there is one.
    rng_key: where every sample draws numbers of its own (`fastgan.sample_rng`), the key of the
        current step; None: torch's global generator. rows: (r, W): samples r, r + W, … of each
        batch are this process's. Both are set by `fastgan.training.distributed.replica`.
    """

    config: StepConfig
    device: torch.device
    G: nn.Module
    D: nn.Module
    G_ema: nn.Module
    judge: nn.Module  # D in config.precision: what the phases call
    latent_shape: tuple[int, ...]  # of one z
    g_takes_c: bool  # G(z, c), not G(z)
    d_takes_c: bool  # D(x, c), not D(x)
    objective: Objective
    g_optimizer: FlatAdam  # holds G_ema's parameters, too
    d_optimizer: FlatAdam
    augment: nn.Module  # AugmentPipe, or Identity for none
    ada: AdaController | None
    pl_mean: Tensor  # []
    ema_weight: Tensor  # []: 1 - β
    gamma_scale: Tensor  # []: annealing factor of every D penalty
    stats: Statistics
    exchange: Callable[[Tensor], None] | None = None
    average: Callable[[], None] | None = None
    rng_key: Tensor | None = None  # [] int64
    rows: tuple[int, int] = (0, 1)
    runner: "PhaseRunner | None" = None  # how the phases are run; the first step makes it
    step: int = 0
    nimg: int = 0
    faults: FaultRecord = field(default_factory=FaultRecord)

    @property
    def kimg(self) -> float:
        return self.nimg / 1000

    @property
    def position(self) -> int:
        """Where the next batch begins in the stream of real samples."""
        return self.nimg + self.faults.skipped_nimg


@dataclass(kw_only=True)
class TrainState(StepState):
    """Everything of one run."""

    config: TrainConfig
    grid_z: Tensor  # [64, z_dim]: the latents of every picture of fakes
    grid_c: Tensor | None  # [64, c_dim]: classes in turn
    tick: int = 0
    elapsed_sec: float = 0.0
    reason: str = ""  # why the last `train` ended: "finished" or "interrupted"


def build_state(config: TrainConfig) -> TrainState:
    """Networks of `config.architecture` initialised from `config.seed`. Seeds torch."""
    torch.manual_seed(config.seed)
    architecture = load_architecture(config.architecture)
    return create_state(
        config, architecture.Generator(config.model), architecture.Discriminator(config.model)
    )


def create_state(config: TrainConfig, G: nn.Module, D: nn.Module) -> TrainState:
    """State at step 0 of any generator G(z, c) and discriminator D(x, c).

    G needs `z_dim` and `c_dim`; path length and style mixing need its `mapping` and `synthesis`
    (ValueError otherwise). Parameters with requires_grad False stay as they are.
    """
    device = torch.device(config.device)
    augment, ada = _make_augment(config, device)
    latent_shape = (getattr(G, "z_dim", 0),)
    fields = _step_fields(config, G, D, device, latent_shape, augment, ada)
    grid_z, grid_c = _make_grid(config, G.z_dim, G.c_dim)
    return TrainState(
        **fields,
        grid_z=grid_z.to(device),
        grid_c=None if grid_c is None else grid_c.to(device),
    )


def create_step_state(
    config: StepConfig,
    G: nn.Module,
    D: nn.Module,
    *,
    latent_shape: tuple[int, ...],
    augment: nn.Module | None = None,
    ada: AdaController | None = None,
) -> StepState:
    """State at step 0 of any G(z) or G(z, c) and D(x) or D(x, c), on the device of G."""
    device = next(G.parameters()).device
    return StepState(**_step_fields(config, G, D, device, latent_shape, augment, ada))


def _step_fields(
    config: StepConfig,
    G: nn.Module,
    D: nn.Module,
    device: torch.device,
    latent_shape: tuple[int, ...],
    augment: nn.Module | None,
    ada: AdaController | None,
) -> dict[str, Any]:
    for name in ("pl_weight", "style_mixing_prob"):
        value = getattr(config, name)
        if value > 0 and not (hasattr(G, "mapping") and hasattr(G, "synthesis")):
            raise ValueError(
                f"{name}={value} needs a generator with mapping and synthesis, which "
                f"{type(G).__name__} has not; set {name}=0"
            )
    check_networks(config.precision, G, D)
    shared = list(shared_parameters(G, D))
    if shared:
        raise ValueError(
            f"create_state: G and D share D's {', '.join(shared)}; give each parameters of its own"
        )
    G, D = G.to(device).train(), D.to(device).train()
    is_g_lazy = config.pl_weight > 0 and config.g_reg_interval > 1
    is_d_lazy = config.has_d_penalty and config.d_reg_interval > 1
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    g_interval = config.g_reg_interval if is_g_lazy else None
    d_interval = config.d_reg_interval if is_d_lazy else None
    return {
        "config": config,
        "device": device,
        "G": G,
        "D": D,
        "G_ema": G_ema,
        "judge": in_precision(D, config.precision),
        "latent_shape": latent_shape,
        "g_takes_c": takes_condition(G),
        "d_takes_c": takes_condition(D),
        "objective": load_objective(config.objective),
        "g_optimizer": make_adam(G, config.g_optimizer, g_interval, average=G_ema),
        "d_optimizer": make_adam(D, config.d_optimizer, d_interval),
        "augment": nn.Identity() if augment is None else augment,
        "ada": ada,
        "pl_mean": torch.zeros([], device=device),
        "ema_weight": torch.ones([], device=device),
        "gamma_scale": torch.ones([], device=device),
        "stats": Statistics(STATISTICS, device),
    }


def takes_condition(module: nn.Module) -> bool:
    """Whether module(x, c) can be called: whether forward has a second positional argument."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2


def make_adam(
    module: nn.Module,
    config: AdamConfig,
    lazy_interval: int | None = None,
    *,
    average: nn.Module | None = None,
) -> FlatAdam:
    """Adam over the trainable parameters, which it moves into flat buffers, and their `average`.

    `lazy_interval` k: regularisation adds one step to every k, so lr' = c·lr, β' = β^c with
    c = k/(k+1) (StyleGAN2, arXiv 1912.04958, appendix B). None: no correction.
    """
    c = 1.0 if lazy_interval is None else lazy_interval / (lazy_interval + 1)
    betas = (config.betas[0] ** c, config.betas[1] ** c)
    return FlatAdam(module, lr=config.lr * c, betas=betas, eps=config.eps, average=average)


def prime_adam(optimizer: FlatAdam) -> None:
    """Moments and steps become 0, as before the first step, in the same memory."""
    optimizer.reset()


@contextmanager
def frozen(optimizer: FlatAdam) -> Iterator[None]:
    """The optimiser's parameters take no gradient inside: a phase trains one network only."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def _make_augment(
    config: TrainConfig, device: torch.device
) -> tuple[nn.Module, AdaController | None]:
    settings = config.augment
    if settings.mode == "noaug":
        return nn.Identity(), None
    pipe = AugmentPipe(groups=settings.groups, p=settings.p).to(device)
    is_ada = settings.mode == "ada"
    return pipe, AdaController(settings.target, settings.ada_kimg).to(device) if is_ada else None


def _make_grid(config: TrainConfig, z_dim: int, c_dim: int) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(config.seed)
    grid_z = torch.randn([GRID_SIZE, z_dim], generator=generator)
    if c_dim == 0:
        return grid_z, None
    return grid_z, torch.eye(c_dim)[torch.arange(GRID_SIZE) % c_dim]
