# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one process of a run, and the largest batch_gpu that fits in it.

    state        parameters, gradients, moments, the average of G, buffers, the batch
    activations  the most that lives at once beside them: maps that a backward pass needs, gradients
                 of maps, temporaries of the step
    rest         an allowance, not a prediction. On CUDA: cuDNN may convert the layout of the
                 largest convolution's maps, and cuBLAS keeps a workspace; CUDA's own context, about
                 half a gigabyte that torch does not count, and NCCL's buffers are not in it. On a
                 CPU: the most that was measured of what convolutions allocate inside and glibc's
                 allocator keeps, 1.2 times the activations.

Activations are counted from operators' results, in the allocator's blocks. What an operator
allocates and releases inside, and fragmentation, are not seen.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from fastgan.training.config.run import TrainConfig
from fastgan.training.needs.operator_trace import OperatorTrace
from fastgan.training.needs.step_on_meta import PhaseKey, StepOnMeta
from fastgan.training.step.state import TrainState

__all__ = ["COMPARED", "MOST_OFF", "Memory", "allowance", "largest_batch_gpu", "memory_of"]

CUBLAS_WORKSPACE = 32 * 2**20  # bytes; torch's choice for sm_90, less on others
CPU_ALLOWANCE = 1.2  # of the activations
# tests/training/needs/test_memory.py compares the peak of as many configurations with real steps
COMPARED = 6
MOST_OFF = 0.02  # of the real peak


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one process at its peak.

    Attributes:
        parameters: of G and D.
        gradients: of both.
        moments: those of both optimisers (Adam's two, RMSprop's one).
        average: G_ema's parameters.
        other: buffers, statistics, latents of the pictures, the batch.
        activations: the most of the phases'.
        phase: the name of the phase that has the most.
        rest: an allowance for workspaces of libraries.
        by_operator: operator's name → bytes of its results among the activations.
        largest_convolution: bytes of the arguments and the result of the largest one.
    """

    parameters: int
    gradients: int
    moments: int
    average: int
    other: int
    activations: int
    phase: str
    rest: int
    by_operator: dict[str, int]
    largest_convolution: int

    @property
    def state(self) -> int:
        """What lives between two steps."""
        return self.parameters + self.gradients + self.moments + self.average + self.other

    @property
    def peak(self) -> int:
        """State and activations: what torch.cuda.max_memory_allocated is compared with."""
        return self.state + self.activations

    @property
    def total(self) -> int:
        """The peak and the rest."""
        return self.peak + self.rest


def allowance(activations: int, largest_convolution: int, device_type: str) -> int:
    """`Memory.rest`: bytes for what operators allocate inside and libraries keep."""
    if device_type == "cpu":
        return round(CPU_ALLOWANCE * activations)
    return largest_convolution + CUBLAS_WORKSPACE


def memory_of(state: TrainState, traces: dict[PhaseKey, OperatorTrace], device_type: str) -> Memory:
    """The memory of a traced step.

    Args:
        state: whose phases were traced.
        traces: of each phase.
        device_type: "cuda" or "cpu".
    """
    key, highest = max(traces.items(), key=lambda item: item[1].peak)
    optimizers = (state.g_optimizer, state.d_optimizer)
    parameters = sum(_bytes(o.flat.values) for o in optimizers)
    gradients = sum(_bytes(o.flat.gradients_and_scalars) for o in optimizers)
    moments = sum(_bytes(buffer) for o in optimizers for buffer in o.state_buffers())
    average = _bytes(state.g_optimizer.ema)
    existing = highest.existing_bytes
    convolution = max(trace.largest_convolution for trace in traces.values())
    return Memory(
        parameters=parameters,
        gradients=gradients,
        moments=moments,
        average=average,
        other=existing - parameters - gradients - moments - average,
        activations=highest.peak,
        phase=key[0].__name__,
        rest=allowance(highest.peak, convolution, device_type),
        by_operator={k: v for k, v in highest.peak_by_operator.items() if v > 0},
        largest_convolution=convolution,
    )


def _bytes(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.untyped_storage().nbytes()


def largest_batch_gpu(
    config: TrainConfig,
    memory_bytes: int,
    *,
    gpus: int = 1,
    device_type: str = "cuda",
) -> int | None:
    """The largest batch_gpu with which a run fits in a GPU's memory.

    Among the divisors of a process's share of the batch that split no minibatch-stddev group.

    Args:
        config: of the run; its batch_gpu and device are not used.
        memory_bytes: what torch may allocate: a GPU's memory without CUDA's own context, about half
            a gigabyte, and NCCL's buffers.
        gpus: the number of processes that share `config.batch`; default 1.
        device_type: "cuda" (default) or "cpu".

    Returns:
        The largest for which `Memory.total` is at most memory_bytes; None where none fits.

    Raises:
        ValueError: when the batch can't be split over so many processes.

    Example:
        config = config.with_changes(batch_gpu=largest_batch_gpu(config, 80 * 2**30, gpus=8))
    """
    step = StepOnMeta(dataclasses.replace(config, batch_gpu=None), gpus, device_type)
    fitting = [n for n in range(1, step.share + 1) if step.share % n == 0 and _is_allowed(step, n)]
    found, low, high = None, 0, len(fitting) - 1
    middle = high  # the whole share often fits
    while low <= high:  # memory grows with the number of samples
        n = fitting[middle]
        traces = step.trace_phases(n, min(step.share // n, 2))
        if memory_of(step.state, traces, device_type).total <= memory_bytes:
            found, low = n, middle + 1
        else:
            high = middle - 1
        middle = (low + high) // 2
    return found


def _is_allowed(step: StepOnMeta, batch_gpu: int) -> bool:
    try:
        step.check(batch_gpu)
    except ValueError:
        return False
    return True
