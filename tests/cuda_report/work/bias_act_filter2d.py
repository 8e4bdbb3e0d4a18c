# SPDX-License-Identifier: Apache-2.0
"""bias_act_filter2d on [32, 128, 128, 128] channels_last: lrelu with a bias and a clamp, 4 taps.

The taps are an outer product, the padding is that of StyleGAN2's discriminator. A thread takes four
channels of two columns of one sample, down a strip of rows; of the first three it completes none.
The column sums of the backward pass are 1/64 of its elements and not counted.
"""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_PASSES = {"forward": 129, "backward": 128, "masked": 129}  # rows and columns of output
_MOST_ROWS, _WARM_UP = 32, 3


def _pass(name: str, dtype: str) -> Work:
    side = _PASSES[name]
    columns = 2 if name != "forward" else 3 if dtype == "float" else 4
    strips = -(-side // _MOST_ROWS)
    rows = -(-side // strips)
    return Work(
        label=f"bias_act_filter2d {name} {dtype}",
        parts=(
            Part(
                kernel=f"bias_act_filter2d/{name}_kernel<{dtype}>",
                outputs=4 * side / (-(-side // columns)) * side / strips,
                trips=(rows + _WARM_UP, 0),  # taps that are no outer product: 0
                moved=2 * ITEM_BYTES[dtype] + 0.25,
            ),
        ),
    )


WORK = tuple(_pass(name, dtype) for name in _PASSES for dtype in ("float", "bfloat16"))
