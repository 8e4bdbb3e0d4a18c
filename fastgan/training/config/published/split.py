# SPDX-License-Identifier: Apache-2.0
"""How many images a process computes at once, and how many of them D compares."""

from fastgan.ops.minibatch_stddev import largest_group


def split(batch: int, gpus: int, *, most: int, group: int = 1) -> tuple[int | None, int]:
    """The images that a process computes at once, and a minibatch-stddev group that fits them.

    The group comes first: it is the largest of at most `group` that divides a process's share of
    the batch. The images at once are the largest number of at most `most` that divides the share
    and is a multiple of the group.

        split(32, gpus=1, most=4, group=4)  # (4, 4): gradients of 8 parts are added up
        split(30, gpus=3, most=8, group=4)  # (2, 2): 10 images of a process have no group of 4

    Args:
        batch: images of a step, over all processes.
        gpus: processes that will train.
        most: images that the published runs computed at once, or that fit in a GPU's memory.
        group: the published group of the minibatch standard deviation; default 1: D has none.

    Returns:
        (images at once, group). The images are None where the batch cannot be split over `gpus`
        processes equally, which is refused when training begins.
    """
    share, rest = divmod(batch, gpus)
    if rest or share == 0:
        return None, min(group, batch)
    most = max(most, 1)
    group = largest_group(share, min(group, most))
    return group * largest_group(share // group, most // group), group
