# SPDX-License-Identifier: Apache-2.0
"""Seconds per thousand images by a roofline: a prediction that no GPU has confirmed.

An operator takes the longer of two times and a launch:

    max(bytes / bandwidth, matrix operations / (share · peak) + filter operations / (share · peak))

Operators follow each other; nothing overlaps. Not in it: data, gradient exchange, the host, caches
(an operator whose maps stay in L2 is faster), and kernels that instructions bound.
"""

from dataclasses import dataclass

from fastgan.training.needs.operator_trace import Work
from fastgan.training.needs.prediction import Phase, Prediction

__all__ = ["A100", "H200", "Gpu", "sec_per_kimg"]


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What a roofline needs of a GPU.

    Args:
        name: of the model.
        bandwidth: bytes/s of a copy, reading and writing counted.
        matrix_16_bit: operations/s of the tensor cores in bfloat16 and float16, dense, as in the
            data sheet.
        matrix_tf32: the same in TF32.
        plain_32_bit: operations/s of float32 without tensor cores.
        share: of those three, reached by real convolutions; default 0.5, an assumption.
        sec_per_operator: launch and end of a kernel in a CUDA graph; default 2e-6.
    """

    name: str
    bandwidth: float
    matrix_16_bit: float
    matrix_tf32: float
    plain_32_bit: float
    share: float = 0.5
    sec_per_operator: float = 2e-6

    def seconds(self, work: Work, *, tf32: bool) -> float:
        """The time of one operator.

        Args:
            work: what it does.
            tf32: whether float32 convolutions and products use TF32.

        Returns:
            Seconds.
        """
        peak = self.matrix_tf32 if tf32 else self.plain_32_bit
        peak = self.matrix_16_bit if work.is_16_bit else peak
        computing = work.matrix / peak + work.filter / self.plain_32_bit
        return max(work.bytes / self.bandwidth, computing / self.share) + self.sec_per_operator


# Bandwidth: a copy measured on one H200 (benchmarks/results/gpu); that share, 0.85, of the A100's
# data sheet. Operations: NVIDIA's data sheets, without sparsity.
H200 = Gpu(
    name="H200", bandwidth=4.09e12, matrix_16_bit=989e12, matrix_tf32=494e12, plain_32_bit=67e12
)
A100 = Gpu(
    name="A100 40 GB", bandwidth=0.85 * 1.555e12, matrix_16_bit=312e12, matrix_tf32=156e12,
    plain_32_bit=19.5e12,
)  # fmt: skip


def sec_per_kimg(prediction: Prediction, gpu: Gpu = H200, *, tf32: bool = True) -> float:
    """Predicts the seconds per thousand images of a run on `prediction.gpus` GPUs.

    Args:
        prediction: of `predict`, with device_type "cuda".
        gpu: one of the run's; default H200.
        tf32: whether float32 convolutions and products use TF32; default True.

    Returns:
        Seconds, without data, gradient exchange and pictures. No GPU has confirmed it.

    Example:
        print(sec_per_kimg(predict(config, gpus=8), A100))
    """
    return sum(p.per_step * _seconds(p, gpu, tf32) for p in prediction.phases) * (
        1000 / prediction.config.batch
    )


def _seconds(phase: Phase, gpu: Gpu, tf32: bool) -> float:
    return sum(count * gpu.seconds(work, tf32=tf32) for work, count in phase.work.items())
