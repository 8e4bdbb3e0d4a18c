# SPDX-License-Identifier: Apache-2.0
"""torch.compile of the networks in the phases without a penalty: StepConfig.compile.

d_step and g_step take first derivatives only. In them G and D are called as torch.compile made
them: each half of G (mapping, synthesis) where G has halves, or all of it, and D. The phase around
them stays as it is: augmentation, losses, the flat gradients, Adam. In every other phase, and
outside the phases, the networks are the plain ones: AOTAutograd has no double backward, and a
compiled D would drop the gradient of a penalty without an error.

Only `forward` is replaced, on the object and for the time of a phase. So modules, parameters and
their names, checkpoints and copies of the networks are the same with and without it. Hooks of a
compiled part itself run; those of modules inside it are part of what is compiled.

What a compiled function must not depend on, since torch.compile makes a new one for each value:
the phase and the micro-batch, which tell the random sequences of samples apart, are added to the
key on the device (`stream_key`). The numbers drawn are the same bits. A draw from torch's own
generator keeps torch's numbers (inductor's `fallback_random`). Ops of fastgan stay kernels of their
own between the compiled ones; a layer's scale and cast of its weights (`training.optim.flat_copies`
makes them for plain phases) are compiled with the layer. A network of which torch.compile can trace
parts only is compiled in these parts, which is slower than a whole one, and not an error.

With CUDA graphs the first call of a phase compiles, the second one runs plain, as each operator of
it is checked, and later ones are captured with the compiled networks in them.

Validation: on a CPU only, with inductor, and with the capture of tests/_recorded_graphs.py. Whether
it is faster than the plain phases on a GPU is unproven: docs/train.md says how to measure it.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops.sample_random import GAMMA, mix, signed
from fastgan.training.step.capture_guard import operators_are_checked

__all__ = ["CompiledNetworks", "stream_key"]

# With and without gradients, at real and fake samples, through halves that share one class.
_MOST_VARIANTS = 64
_HALVES = ("mapping", "synthesis")


class CompiledNetworks:
    """G and D as torch.compile makes them, at their first use.

    Args:
        G: the generator.
        D: the discriminator.
        backend: of torch.compile.

    Raises:
        ValueError: when a network on a CPU has a float64 buffer without dimensions.
    """

    def __init__(self, G: nn.Module, D: nn.Module, *, backend: str | Callable = "inductor"):
        _refuse_lost_writes(G=G, D=D)
        options = {"fallback_random": True} if backend == "inductor" else None
        self._parts = [
            (*part, torch.compile(getattr(*part), dynamic=False, backend=backend, options=options))
            for part in [*_parts(G), (D, "forward")]
        ]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block G and D compute compiled; their backward passes belong to it.

        Not under a strict `capture_guard`, which checks every operator: they run as they are.

        Raises:
            RuntimeError: when a network can't be compiled.
        """
        if operators_are_checked():
            yield
            return
        try:
            with (
                torch._dynamo.config.patch(recompile_limit=_MOST_VARIANTS),
                # a phase calls backward outside autocast
                torch._functorch.config.patch(backward_pass_autocast="off"),
                warnings.catch_warnings(),
                contextlib.ExitStack() as stack,
            ):
                # torch.compile looks at the gradient of each view that stands for a parameter
                warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not")
                for owner, name, compiled in self._parts:
                    stack.enter_context(_replaced(owner, name, compiled))
                yield
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            raise RuntimeError(
                f"compile=True: torch.compile can't compile a network: {reason}; inductor needs a "
                "C++ compiler on a CPU and Triton on CUDA; or set compile=False (--no-compile)"
            ) from error


@contextlib.contextmanager
def _replaced(owner: nn.Module, name: str, compiled: Callable[..., Any]) -> Iterator[None]:
    attributes = vars(owner)
    before = attributes.get(name)
    attributes[name] = compiled
    try:
        yield
    finally:
        if before is None:
            del attributes[name]
        else:
            attributes[name] = before


def _parts(G: nn.Module) -> list[tuple[nn.Module, str]]:
    """(object, attribute) of each function of G that a step calls; a half may be a module or a
    method."""
    halves = [getattr(G, name, None) for name in _HALVES]
    if not all(callable(half) for half in halves):
        return [(G, "forward")]
    return [
        (half, "forward") if isinstance(half, nn.Module) else (G, name)
        for half, name in zip(halves, _HALVES, strict=True)
    ]


def _refuse_lost_writes(**networks: nn.Module) -> None:
    """torch.compile takes such a buffer for a number, and drops what is written to it."""
    for network, module in networks.items():
        for name, buffer in module.named_buffers():
            is_number = buffer.dim() == 0 and buffer.dtype == torch.float64
            if is_number and buffer.device.type == "cpu":
                raise ValueError(
                    f"compile=True: torch.compile loses what is written to {network}.{name}, a "
                    "float64 buffer of shape () on a CPU; make the networks float32, or set "
                    "compile=False"
                )


def stream_key(key: Tensor, phase: int, first: int) -> Tensor:
    """The key with which samples 0, 1, … draw what `key` draws in this phase for first, first + 1…

    Args:
        key: [] int64, as `sample_rng.sample_stream` takes it.
        phase: its `phase`.
        first: its `first`.

    Returns:
        [] int64 for sample_stream(key, first=0) with the same stride.
    """
    return key + signed(mix(phase) + first * GAMMA)
