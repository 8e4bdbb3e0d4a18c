# SPDX-License-Identifier: Apache-2.0
"""Networks of trees: graphs with a mask, latents of two kinds, two critics with features.

Everything that the engine promises of single tensors is tested with them, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastgan import sample_rng
from fastgan._trees import map_floating
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.state import TrainState, create_state

SETTINGS = {
    "objective": "least_squares",
    "objective_options": {
        "lecam": {"weight": 0.1, "outputs": 2},
        "feature_matching": {"weight": 2.0, "norm": "l1"},
    },
    "r1_gamma": 1.0, "r2_gamma": 0.5, "gp_weight": 0.1, "d_reg_interval": 2, "batch": 8,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TreeConfig:
    c_dim: int = 0
    data_shape: tuple[int, ...] = (1,)


class TreeG(nn.Module):
    """Nodes [N, 3, 2] and edges [N, 3, 3], what it drew once more, and the conditions' mask."""

    def __init__(self):
        super().__init__()
        self.nodes, self.edges, self.shift = nn.Linear(4, 6), nn.Linear(6, 9), nn.Embedding(3, 6)

    @staticmethod
    def sample_latents(n: int, device: torch.device) -> dict[str, Tensor]:
        return {
            "a": sample_rng.normal(n, 4, device=device),
            "b": (sample_rng.uniform(n, 2, 3, device=device),),
        }

    def forward(self, z: dict, c: dict) -> dict:
        nodes = (self.nodes(z["a"]) + self.shift(c["kind"])) * c["level"]
        edges = self.edges(z["b"][0].flatten(1)).unflatten(1, (3, 3))
        made = {"nodes": nodes.unflatten(1, (3, 2)), "edges": (edges, c["mask"])}
        return made | {"again": 2 * nodes}


class TreeD(nn.Module):
    """([logits [N, 3], logits [N]], features); it does not look at "again"."""

    def __init__(self):
        super().__init__()
        self.nodes, self.edges = nn.Linear(2, 5), nn.Linear(9, 5)
        self.first, self.second = nn.Linear(5, 1), nn.Linear(5, 1)

    def forward(self, x: dict) -> tuple:
        edges, mask = x["edges"]
        h = torch.tanh(self.nodes(edges @ x["nodes"])) * mask[:, :, None]
        g = torch.tanh(self.edges(edges.flatten(1)))
        return [self.first(h).squeeze(2), self.second(g)[:, 0]], {"h": h, "more": [g]}


def config(**changes) -> TrainConfig:
    settings = {"name": "trees", "architecture": "mlp"} | SETTINGS | changes
    return TrainConfig(model=TreeConfig(), **settings)


def state(config: TrainConfig, dtype: torch.dtype = torch.float32) -> TrainState:
    torch.manual_seed(config.seed)
    conditions = batch(config, 0, dtype).c
    return create_state(config, TreeG().to(dtype), TreeD().to(dtype), grid_c=conditions)


def batch(config: TrainConfig, position: int, dtype: torch.dtype = torch.float32) -> Batch:
    g, n = torch.Generator().manual_seed(position), config.batch
    mask = torch.rand(n, 3, generator=g) < 0.8
    x = {
        "nodes": torch.randn(n, 3, 2, generator=g),
        "edges": (torch.rand(n, 3, 3, generator=g), mask),
    }
    kind = torch.randint(3, (n,), generator=g)
    c = {"kind": kind, "level": 1 + torch.rand(n, 1, generator=g), "mask": mask.flip(0)}
    return Batch(*(map_floating(lambda t: t.to(dtype), tree) for tree in (x, c)))
