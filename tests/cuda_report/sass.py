# SPDX-License-Identifier: Apache-2.0
"""Reads machine code as nvdisasm lists it: opcodes, callees, and vectors stored in pieces."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

_FUNCTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^\S+:$")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+)?\s*([A-Z][\w.]*)\s*(.*)$")
_CALLEE = re.compile(r"`\(([^)]+)\)")
_ADDRESS = re.compile(r"\[(R\d+)([^\]]*?)(?:\+(-?0x[0-9a-f]+))?\],")  # [R10.64+UR4+0x4],
_BYTES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
_VECTOR_BYTES = 16

# What one store writes to: predicate, register, the rest of the address without the offset.
_Place = tuple[str, str, str]


@dataclass
class Code:
    """The instructions of one function, by opcode with its modifiers, and its calls by callee.

    `split_stores` counts runs of 16 adjacent bytes that one thread writes to global memory in
    smaller pieces: what a compiler makes of a 128-bit store that it takes apart.
    """

    opcodes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    split_stores: int = 0

    def count(self, *bases: str, wide: bool = False) -> int:
        """Instructions of these opcodes; `wide`: only those that move 128 bits or more."""
        return sum(
            count
            for opcode, count in self.opcodes.items()
            if opcode.split(".")[0] in bases and (not wide or _bytes(opcode) >= _VECTOR_BYTES)
        )


def read_codes(sass: str) -> dict[str, Code]:
    """The code of each function section: the kernel and the slow paths that it calls."""
    found: dict[str, Code] = {}
    code, pieces = Code(), _Pieces()
    for line in sass.splitlines():
        if _LABEL.match(line):  # a block ends here; what registers hold is no longer known
            code.split_stores += pieces.close()
            if header := _FUNCTION.match(line):
                code = found.setdefault(header[1], Code())
        elif instruction := _INSTRUCTION.match(line):
            predicate, opcode, operands = instruction.groups()
            code.opcodes[opcode] += 1
            base = opcode.split(".")[0]
            if base == "CALL" and (callee := _callee(operands)):
                code.calls[callee] += 1
            if base in ("LDG", "LD"):  # an element copied by itself is no piece of a vector
                code.split_stores += pieces.close()
            elif base in ("STG", "ST") and (address := _ADDRESS.search(operands)):
                place = (predicate or "", address[1], address[2])
                pieces.add(place, int(address[3] or "0", 16), _bytes(opcode))
            elif overwritten := re.match(r"R\d+\b", operands):
                code.split_stores += pieces.close(overwritten[0])
    code.split_stores += pieces.close()
    return found


class _Pieces:
    """The stores of a block that are narrower than a vector, by place: offset and bytes."""

    def __init__(self) -> None:
        self._written: dict[_Place, dict[int, int]] = defaultdict(dict)

    def add(self, place: _Place, offset: int, size: int) -> None:
        if size < _VECTOR_BYTES:
            self._written[place][offset] = size

    def close(self, register: str | None = None) -> int:
        """Forget the places of `register`, or all; how many whole vectors they made up."""
        places = [place for place in self._written if register in (None, place[1])]
        return sum(_vectors(self._written.pop(place)) for place in places)


def _vectors(written: dict[int, int]) -> int:
    """Whole vectors in the runs of adjacent bytes."""
    total, length, end = 0, 0, None
    for offset, size in sorted(written.items()):
        length = length + size if offset == end else size
        end = offset + size
        total += length // _VECTOR_BYTES
        length %= _VECTOR_BYTES
    return total


def _bytes(opcode: str) -> int:
    """How much one thread moves: a register, unless a modifier says otherwise."""
    return max((_BYTES[part] for part in opcode.split(".")[1:] if part in _BYTES), default=4)


def _callee(operands: str) -> str | None:
    """`div_s64` of `($__internal_7_$__cuda_sm20_div_s64)`; None for a far jump to a local label."""
    target = _CALLEE.search(operands)
    if target is None:
        return "indirect"
    if target[1].startswith(".L"):
        return None
    return re.sub(r"^__cuda_(?:sm\d+_)?", "", target[1].rpartition("$")[2])
