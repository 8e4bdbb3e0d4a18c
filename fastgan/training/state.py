"""Everything that a training run is at one moment, and that a checkpoint therefore holds."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from fastgan.augment import AdaController, AugmentPipe
from fastgan.losses import load_objective
from fastgan.models import load_architecture
from fastgan.training.adam import FlatAdam
from fastgan.training.config import AdamConfig, TrainConfig
from fastgan.training.flat import shared_parameters
from fastgan.training.statistics import Statistics

__all__ = [
    "Batch",
    "TrainState",
    "build_state",
    "create_state",
    "frozen",
    "make_adam",
    "prime_adam",
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


@dataclass
class TrainState:
    """Networks, optimisers, device scalars and counters of one run.

    Device tensors persist: phases and the host write into them and never replace them, so that
    a captured step sees every change. `step` counts steps, `nimg` real images shown.

    exchange: called once per phase with the flat gradient of one network and its riders
        (`FlatParameters.exchanged`), which it replaces in place by their mean over all processes;
        None where there is one.
    """

    config: TrainConfig
    device: torch.device
    G: nn.Module
    D: nn.Module
    G_ema: nn.Module
    objective: ModuleType  # of fastgan.losses
    g_optimizer: FlatAdam  # holds G_ema's parameters, too
    d_optimizer: FlatAdam
    augment: nn.Module  # AugmentPipe, or Identity for "noaug"
    ada: AdaController | None
    pl_mean: Tensor  # []
    ema_weight: Tensor  # []: 1 - β
    gamma_scale: Tensor  # []: annealing factor of every D penalty
    stats: Statistics
    grid_z: Tensor  # [64, z_dim]: the latents of every picture of fakes
    grid_c: Tensor | None  # [64, c_dim]: classes in turn
    exchange: Callable[[Tensor], None] | None = None
    step: int = 0
    nimg: int = 0
    tick: int = 0
    elapsed_sec: float = 0.0
    reason: str = ""  # why the last `train` ended: "finished" or "interrupted"

    @property
    def kimg(self) -> float:
        return self.nimg / 1000


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
    for name, value in (
        ("pl_weight", config.pl_weight),
        ("style_mixing_prob", config.style_mixing_prob),
    ):
        if value > 0 and not (hasattr(G, "mapping") and hasattr(G, "synthesis")):
            raise ValueError(
                f"{name}={value} needs a generator with mapping and synthesis, which "
                f"architecture {config.architecture!r} ({type(G).__name__}) has not; set {name}=0"
            )
    shared = list(shared_parameters(G, D))
    if shared:
        raise ValueError(
            f"create_state: G and D share D's {', '.join(shared)}; give each parameters of its own"
        )
    device = torch.device(config.device)
    G, D = G.to(device).train(), D.to(device).train()
    augment, ada = _make_augment(config, device)
    grid_z, grid_c = _make_grid(config, G.z_dim, G.c_dim)
    is_g_lazy = config.pl_weight > 0 and config.g_reg_interval > 1
    is_d_lazy = config.has_d_penalty and config.d_reg_interval > 1
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    g_interval = config.g_reg_interval if is_g_lazy else None
    d_interval = config.d_reg_interval if is_d_lazy else None
    return TrainState(
        config=config,
        device=device,
        G=G,
        D=D,
        G_ema=G_ema,
        objective=load_objective(config.objective),
        g_optimizer=make_adam(G, config.g_optimizer, g_interval, average=G_ema),
        d_optimizer=make_adam(D, config.d_optimizer, d_interval),
        augment=augment,
        ada=ada,
        pl_mean=torch.zeros([], device=device),
        ema_weight=torch.ones([], device=device),
        gamma_scale=torch.ones([], device=device),
        stats=Statistics(STATISTICS, device),
        grid_z=grid_z.to(device),
        grid_c=None if grid_c is None else grid_c.to(device),
    )


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
