"""gradient_penalty on [32, 3, 256, 256]: the squares of 24 chunks a sample; backward, a scale."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_CHUNK = 8192


def _forward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    main = _CHUNK / 256 / (16 // item)
    head = (0, 0) if dtype == "float" else (0,)  # unrolled by 4: what is left over, and fours
    return Work(
        label=f"gradient_penalty forward {dtype}",
        parts=(
            Part(
                kernel=f"gradient_penalty/square_kernel<{dtype}>",
                outputs=_CHUNK / 256,
                trips=(*head, main, 0, 5, 0, 1, 3),  # sums: shuffles, and of the 8 warps
                moved=item,
            ),
        ),
    )


def _backward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    head = (0, 0) if dtype == "float" else (0,)
    return Work(
        label=f"gradient_penalty backward {dtype}",
        parts=(
            Part(
                kernel=f"gradient_penalty/scale_kernel<{dtype}>",
                outputs=_CHUNK / 256,
                trips=(*head, _CHUNK / 256 / (16 // item), 0),
                moved=2 * item,
            ),
        ),
    )


WORK = tuple(make(dtype) for make in (_forward, _backward) for dtype in ("float", "bfloat16"))
