"""What the model takes machines to be. For GPUs every number is an assumption: none is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from benchmarks.cuda.device import H100
from benchmarks.cuda.roofline import BANDWIDTH_SHARE, LAUNCH_SECONDS


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

# What is assumed, on what ground, and why one may doubt it.
ASSUMPTIONS = """
peak, bfloat16 | 989 TFLOP/s | H100 SXM data sheet, dense tensor cores | clocks under load
peak, float32 | 495 TFLOP/s | data sheet, TF32, which torch lets cuDNN take for convolutions | matrix \
products are in full float32 by default: less than 1 % of the flops
share of the peak | 0.3 | a guess over all convolutions and their gradients | small maps, few channels \
and stride 2 do worse, 512 channels better
memory | 3350 GB/s, 0.9 of it | data sheet; the share is that of `benchmarks/cuda` | an op reads its \
inputs and writes its results once: no cache, no further pass in cuDNN
an op takes | the longer of arithmetic and memory | they overlap within an op, not between ops | \
optimistic within, pessimistic between
arithmetic but convolutions and matrix products | none | fused ops are bound by memory | resampling \
in 16 bits may not be
launch | 3 µs an op | that of `benchmarks/cuda`; whole-step graphs, no host in the way | a graph's \
node may cost 1 to 5 µs; an op of several kernels counts once
within a node | 450 GB/s a GPU, 0.8 of it | NVLink 4 through NVSwitch, one direction, 8 GPUs | \
reduction in the switch would be faster
between nodes | 400 GB/s a node, 0.8 of it | 8 × 400 Gb/s InfiniBand, a ring on each rail | one rail \
for the node is an eighth
a hop | 2 µs within, 8 µs between nodes | guesses | trees need fewer hops
overlap | none | one all_reduce of the flat float32 gradients follows each backward pass | most of it \
could be hidden by splitting the buffer
ranks | equally fast, none waits | | the slowest sets the pace
data, ticks, snapshots, scores | free | in no figure here | `data-wait` and `maintenance` in a run's log
memory size | any batch fits | not counted | gradient accumulation would add launches
"""
