"""What the model takes machines to be. For GPUs every number is an assumption: none is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tests.cuda_report.device import H100
from tests.cuda_report.roofline import BANDWIDTH_SHARE, LAUNCH_SECONDS


@dataclass(frozen=True, kw_only=True)
class Machine:
    """`flops`: dtype → flops/s of convolutions and matrix products at their peak, of which
    `flops_share` is reached; `bandwidth` bytes/s of memory, `bandwidth_share` of it reached;
    `launch_seconds` of each op, on top of its work."""

    name: str
    flops: Mapping[torch.dtype, float]
    flops_share: float
    bandwidth: float
    bandwidth_share: float
    launch_seconds: float


@dataclass(frozen=True, kw_only=True)
class Links:
    """A ring over `node` GPUs in each node: bytes/s that each GPU sends within a node, and from
    node to node; `share` of that reached; seconds of one hop."""

    node: int = 8
    inside: float = 450e9
    between: float = 400e9
    share: float = 0.8
    inside_seconds: float = 2e-6
    between_seconds: float = 8e-6


GPU = Machine(
    name=H100.name,
    flops={torch.bfloat16: 989e12, torch.float16: 989e12, torch.float32: 495e12},
    flops_share=0.3,
    bandwidth=H100.bandwidth,
    bandwidth_share=BANDWIDTH_SHARE,
    launch_seconds=LAUNCH_SECONDS,
)
LINKS = Links()
