# SPDX-License-Identifier: Apache-2.0
"""The backward pass of demodulation for w [512, 512, 3, 3] in channels_last and 32 samples, outputs
counted as elements of dw. Some of the blocks make dw, the others ds."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_OUTPUTS, _INPUTS, _TAPS, _SAMPLES = 512, 512, 9, 32


def _backward(dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    kernel = f"demodulation/demodulation_backward_kernel<{dtype}, {run}>"
    own = 2 * _TAPS  # elements of a thread that makes dw
    styles = _INPUTS / 32 * _SAMPLES / 8 * 256  # threads that make ds
    return Work(
        label=f"demodulation backward channels_last {dtype}",
        parts=(
            Part(
                kernel=kernel,
                outputs=own,
                # Once over the samples, eight at a time; two runs of weights at a time.
                trips=(1, _SAMPLES / 8, own / run / 2, 0, 0, 0),
                moved=2 * ITEM_BYTES[dtype] + 4 / _TAPS,
            ),
            Part(
                kernel=kernel,
                outputs=_OUTPUTS * _INPUTS * _TAPS / styles,
                # 256 outputs at a time; each warp takes an eighth of them, eight at a time.
                trips=(0, 0, 0, 0, _OUTPUTS / 256, 256 / 8 / 8),
            ),
        ),
    )


WORK = tuple(_backward(dtype) for dtype in ("float", "bfloat16"))
