# SPDX-License-Identifier: Apache-2.0
"""`predict`: parameters, floating-point operations and memory of a run, before anything is loaded.

Nothing is computed: one step runs on 'meta' tensors (`step_on_meta`), in about a second.
"""

import dataclasses
from dataclasses import dataclass

from torch import nn

from fastgan.training.config.run import TrainConfig
from fastgan.training.needs.flops import Flops
from fastgan.training.needs.memory import Memory, allowance, memory_of
from fastgan.training.needs.operator_trace import OperatorTrace, Work
from fastgan.training.needs.step_on_meta import PhaseKey, StepOnMeta, on_device

__all__ = ["Network", "Phase", "Prediction", "predict"]

DEVICE_TYPES = ("cuda", "cpu")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of one network.

    Attributes:
        parameters: the number of elements of all parameters, frozen ones included.
        buffers: the number of elements of all buffers.
        forward: floating-point operations of one forward pass of one sample.
    """

    parameters: int
    buffers: int
    forward: Flops


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What one process runs in one phase of a step, over all its micro-batches.

    Attributes:
        name: of the function in `fastgan.training.step.phases`.
        per_step: how often a step runs it; below 1 for a lazy penalty.
        flops: of all operators.
        bytes: that all operators read and write.
        operators: how many of them run.
        peak: the most bytes of activations at once.
        work: what the operators do → how many do it.
    """

    name: str
    per_step: float
    flops: Flops
    bytes: int
    operators: float
    peak: int
    work: dict[Work, float]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run needs, as `predict` found it.

    Attributes:
        config: of the run.
        device_type: "cuda" or "cpu".
        gpus: the number of processes.
        batch_gpu: samples that a process computes at once.
        G: sizes of the generator.
        D: sizes of the discriminator.
        phases: of a step.
        memory: the peak of one process.
    """

    config: TrainConfig
    device_type: str
    gpus: int
    batch_gpu: int
    G: Network
    D: Network
    phases: tuple[Phase, ...]
    memory: Memory

    @property
    def step_flops(self) -> Flops:
        """Floating-point operations of a whole step per image of the batch."""
        share = self.config.batch // self.gpus
        matrix = sum(phase.per_step * phase.flops.matrix for phase in self.phases) / share
        filters = sum(phase.per_step * phase.flops.filter for phase in self.phases) / share
        return Flops(round(matrix), round(filters))

    def on_cpu(self) -> "Prediction":
        """The prediction for the same run on a CPU.

        Returns:
            This one with a CPU's allowance where the networks' dtypes are the same there; else a
            new prediction.
        """
        if on_device(self.config, "cpu") is not self.config:
            return predict(self.config, gpus=self.gpus, device_type="cpu")
        memory = self.memory
        rest = allowance(memory.activations, memory.largest_convolution, "cpu")
        return dataclasses.replace(
            self, device_type="cpu", memory=dataclasses.replace(memory, rest=rest)
        )


def predict(
    config: TrainConfig,
    *,
    gpus: int = 1,
    batch_gpu: int | None = None,
    device_type: str = "cuda",
) -> Prediction:
    """Predicts parameters, floating-point operations and memory of a run without computing it.

    Args:
        config: of the run; its device is not used.
        gpus: the number of processes that share `config.batch`; default 1.
        batch_gpu: samples that a process computes at once, a divisor of its share; default None:
            `config.batch_gpu`, or the whole share.
        device_type: "cuda" (default) or "cpu", where StyleGAN's 16-bit maps are float32.

    Returns:
        The prediction. Memory is what tensors hold; see `fastgan.training.needs.memory`.

    Raises:
        ValueError: when the batch can't be split so, or device_type is another.

    Example:
        config = load_recipe("faces")(resolution=(64, 64))
        print(predict(config, batch_gpu=8).memory.peak)
    """
    if device_type not in DEVICE_TYPES:
        raise ValueError(
            f"predict: device_type must be one of {', '.join(DEVICE_TYPES)}, got {device_type!r}"
        )
    if batch_gpu is not None:
        config = dataclasses.replace(config, batch_gpu=batch_gpu)
    step = StepOnMeta(config, gpus, device_type)
    at_once = config.batch_gpu or step.share
    step.check(at_once)
    parts = step.share // at_once
    both = step.trace_phases(at_once, min(parts, 2))
    first = step.trace_phases(at_once, 1) if parts > 1 else both
    rates = step.phases_per_step()
    g_flops, d_flops = step.forward_flops()
    return Prediction(
        config=config,
        device_type=device_type,
        gpus=gpus,
        batch_gpu=at_once,
        G=_network(step.state.G, g_flops),
        D=_network(step.state.D, d_flops),
        phases=tuple(_phase(key, rates[key], first[key], both[key], parts) for key in first),
        memory=memory_of(step.state, both, device_type),
    )


def _network(module: nn.Module, flops: Flops) -> Network:
    return Network(
        parameters=sum(p.numel() for p in module.parameters()),
        buffers=sum(b.numel() for b in module.buffers()),
        forward=flops,
    )


def _phase(
    key: PhaseKey, per_step: float, first: OperatorTrace, both: OperatorTrace, parts: int
) -> Phase:
    """A phase of `parts` micro-batches from those of one and two: each one costs the same."""
    more = parts - 1

    def over_parts(one: int, two: int) -> int:
        return one + more * (two - one)

    work = {
        item: over_parts(first.work[item], both.work[item])
        for item in first.work.keys() | both.work.keys()
    }
    return Phase(
        name=key[0].__name__,
        per_step=per_step,
        flops=Flops(*map(over_parts, first.flops, both.flops)),
        bytes=over_parts(first.bytes, both.bytes),
        operators=sum(work.values()),
        peak=both.peak,
        work=work,
    )
