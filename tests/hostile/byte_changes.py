# SPDX-License-Identifier: Apache-2.0
"""Damaged copies of files: what disks, networks and people with a hex editor do to them."""

from collections.abc import Callable, Iterator
from random import Random

_WORDS = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"PK\x01\x02", b"null", b"-1", b"[[[[")


def refusal(act: Callable[[], object], kind: type[Exception]) -> str | None:
    """The message of an error of this kind that `act` raises, None for none; others surface."""
    try:
        act()
    except kind as error:
        return str(error) or "without a word"
    return None


def damaged(data: bytes, count: int, seed: int, *, head: int = 0) -> Iterator[bytes]:
    """`count` copies of `data` that differ from it.

    head: half of the changes fall into the first so many bytes, where a format's fields are.
    """
    random = Random(seed)
    while count > 0:
        changed = bytearray(data)
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            end = head if head and random.random() < 0.5 else len(changed)
            at = random.randrange(max(1, min(end, len(changed))))
            kind = random.randrange(7)
            if kind == 0 and changed:
                changed[at % len(changed)] ^= 1 << random.randrange(8)
            elif kind == 1 and changed:
                changed[at % len(changed)] = random.randrange(256)
            elif kind == 2:
                del changed[at:]
            elif kind == 3:
                del changed[at : at + random.randrange(1, 64)]
            elif kind == 4:
                changed[at:at] = random.choice(_WORDS)
            elif kind == 5:
                word = random.choice(_WORDS)
                changed[at : at + len(word)] = word
            else:
                changed[at:at] = changed[: random.randrange(1, 64)]
        if changed != data:
            count -= 1
            yield bytes(changed)
