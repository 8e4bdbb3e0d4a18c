"""How many images a process computes at once."""


def images_at_once(batch: int, gpus: int, most: int) -> int | None:
    """The largest divisor of a process's share of the batch that is at most `most`.

        images_at_once(32, gpus=1, most=4)  # 4: gradients of 8 parts are added up

    Args:
        batch: images of a step, over all processes.
        gpus: processes that will train.
        most: images that the published runs computed at once, or that fit in a GPU's memory.

    Returns:
        The number; None where the batch cannot be split over `gpus` processes equally, which is
        refused when training begins.
    """
    share, rest = divmod(batch, gpus)
    if rest or share == 0:
        return None
    return next(n for n in range(min(share, max(most, 1)), 0, -1) if share % n == 0)
