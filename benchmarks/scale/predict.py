"""Seconds from counted work: a machine's, a ring's, and those of a thousand images on many GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.scale.machines import Links, Machine
from benchmarks.scale.phases import Phase
from benchmarks.scale.work import Work

FEWEST_PER_GPU = 4  # a minibatch-stddev group, which never crosses ranks


@dataclass(frozen=True)
class Prediction:
    """Of a step over `batch` images on `gpus`."""

    gpus: int
    batch: int
    compute_seconds: float
    exchange_seconds: float

    @property
    def seconds_per_kimg(self) -> float:
        return 1000 / self.batch * (self.compute_seconds + self.exchange_seconds)

    @property
    def exchange_share(self) -> float:
        return self.exchange_seconds / (self.compute_seconds + self.exchange_seconds)


def op_seconds(work: Work, machine: Machine) -> float:
    arithmetic = work.flops / (machine.flops[work.dtype] * machine.flops_share) if work.flops else 0
    memory = work.moved / (machine.bandwidth * machine.bandwidth_share)
    return max(arithmetic, memory) + machine.launch_seconds


def phase_seconds(phase: Phase, machine: Machine) -> float:
    return sum(op_seconds(work, machine) for work in phase.work)


def step_seconds(phases: Mapping[str, Phase], machine: Machine) -> float:
    return sum(phase.times * phase_seconds(phase, machine) for phase in phases.values())


def ring_bytes(gpus: int, size: int) -> float:
    """Bytes that each of `gpus` sends in a ring all_reduce of `size` bytes."""
    return 2 * (gpus - 1) / gpus * size


def exchange_seconds(gpus: int, size: int, links: Links) -> float:
    """One all_reduce of `size` bytes: the slowest link's bandwidth, and every hop's latency."""
    hops = 2 * (gpus - 1)
    if gpus <= links.node:
        rate, latency = links.inside, hops * links.inside_seconds
    else:
        rate = min(links.inside, links.between)
        crossing = hops // links.node
        latency = crossing * links.between_seconds + (hops - crossing) * links.inside_seconds
    return ring_bytes(gpus, size) / (rate * links.share) + latency


def batch_on(gpus: int, batch: int) -> int:
    """The global batch: `batch`, or what gives each GPU FEWEST_PER_GPU images."""
    return max(batch, FEWEST_PER_GPU * gpus)


def predict(
    phases: Mapping[str, Phase], gpus: int, batch: int, machine: Machine, links: Links
) -> Prediction:
    """`phases`: of one GPU's share, batch / gpus images."""
    exchange = sum(
        phase.times * exchange_seconds(gpus, phase.gradient_bytes, links)
        for phase in phases.values()
    )
    return Prediction(gpus, batch, step_seconds(phases, machine), exchange)
