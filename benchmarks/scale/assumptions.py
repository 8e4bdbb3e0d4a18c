"""What the predictions assume, on what ground, and why one may doubt it: a table of the README."""

import torch

from benchmarks.scale.machines import GPU, LINKS

_FLOPS = {dtype: f"{flops / 1e12:.0f} TFLOP/s" for dtype, flops in GPU.flops.items()}

# what; what is assumed; on what ground; why one may doubt it
ASSUMPTIONS = (
    (
        "peak, bfloat16",
        _FLOPS[torch.bfloat16],
        "H100 SXM data sheet, dense tensor cores",
        "clocks under load",
    ),
    (
        "peak, float32",
        _FLOPS[torch.float32],
        "data sheet, TF32, which torch lets cuDNN take for convolutions",
        "matrix products are in full float32 by default: less than 1 % of the flops",
    ),
    (
        "share of the peak",
        f"{GPU.flops_share:g}",
        "a guess over all convolutions and their gradients",
        "small maps, few channels and stride 2 do worse, 512 channels better",
    ),
    (
        "memory",
        f"{GPU.bandwidth / 1e9:.0f} GB/s, {GPU.bandwidth_share:g} of it",
        "data sheet; the share is that of `tests/cuda_report`",
        "an op reads its inputs and writes its results once: no cache, no further pass in cuDNN",
    ),
    (
        "an op takes",
        "the longer of arithmetic and memory",
        "they overlap within an op, not between ops",
        "optimistic within, pessimistic between",
    ),
    (
        "arithmetic but convolutions and matrix products",
        "none",
        "fused ops are bound by memory",
        "resampling in 16 bits may not be",
    ),
    (
        "launch",
        f"{GPU.launch_seconds * 1e6:g} µs an op",
        "that of `tests/cuda_report`; whole-step graphs, no host in the way",
        "a graph's node may cost 1 to 5 µs; an op of several kernels counts once",
    ),
    (
        "within a node",
        f"{LINKS.inside / 1e9:.0f} GB/s a GPU, {LINKS.share:g} of it",
        f"NVLink 4 through NVSwitch, one direction, {LINKS.node} GPUs",
        "reduction in the switch would be faster",
    ),
    (
        "between nodes",
        f"{LINKS.between / 1e9:.0f} GB/s a node, {LINKS.share:g} of it",
        "8 × 400 Gb/s InfiniBand, a ring on each rail",
        "one rail for the node is an eighth",
    ),
    (
        "a hop",
        f"{LINKS.inside_seconds * 1e6:g} µs within, {LINKS.between_seconds * 1e6:g} µs between",
        "guesses",
        "trees need fewer hops",
    ),
    (
        "overlap",
        "none",
        "one all_reduce of the flat float32 gradients follows each backward pass",
        "most of it could be hidden by splitting the buffer",
    ),
    ("ranks", "equally fast, none waits", "", "the slowest sets the pace"),
    (
        "data, ticks, snapshots, scores",
        "free",
        "in no figure here",
        "`data-wait` and `maintenance` in a run's log",
    ),
    ("memory size", "any batch fits", "not counted", "accumulating gradients adds launches"),
)
