# SPDX-License-Identifier: Apache-2.0
"""How many instructions a thread of a kernel issues: basic blocks, loops and the way through them.

What runs how often is not in machine code, so two things are given or assumed. Given (Work, in
`work/`): how often each loop goes round. Assumed, where the code branches: a thread takes a way
without calls, of these the one that moves the most bytes to or from memory, global or shared, and
of such ways the one with the fewest instructions. That is the way through the middle of a tensor:
no element is left out, no ragged end is copied element by element, no slow path of a division is
called. An instruction whose predicate is false is issued all the same and counts. Every instruction
counts 1, though some units take several cycles for one (sines, conversions, bank conflicts).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_FUNCTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^(\.L\S+):$")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*)$")
_TARGET = re.compile(r"`\((\.L[^)]+)\)")
_BARRIER = re.compile(r"\bB\d+\b")
_PREDICATE = re.compile(r"^!?UP\d")
_MEMORY = {"LDG", "STG", "LD", "ST", "LDS", "STS", "LDGSTS", "ATOMG", "RED", "ATOMS", "LDSM"}
_BYTES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
_COUNTED = ("LDG", "STG", "LDS", "STS", "FFMA", "MUFU")  # what `describe` tells loops apart by


class FlowError(ValueError):
    """The loops of the code are not those that its Work gives trip counts for."""


@dataclass
class Block:
    """Instructions that run one after another, and the blocks that may come next."""

    address: int
    opcodes: list[str] = field(default_factory=list)
    after: list[int] = field(default_factory=list)  # indices of blocks; empty at an exit

    @property
    def calls(self) -> int:
        return sum(opcode.startswith("CALL") for opcode in self.opcodes)

    @property
    def bytes(self) -> int:
        return sum(_moved(opcode) for opcode in self.opcodes)


@dataclass(frozen=True)
class Loop:
    """A natural loop: its header, and every block of it (those of the loops inside too)."""

    header: int
    blocks: frozenset[int]
    ends: frozenset[int]  # blocks that jump back to the header
    depth: int


@dataclass(frozen=True)
class Way:
    """Bytes, instructions and calls along the way taken, each summed over trips."""

    bytes: float = 0.0
    cost: float = 0.0
    calls: float = 0.0

    def __add__(self, other: "Way") -> "Way":
        return Way(self.bytes + other.bytes, self.cost + other.cost, self.calls + other.calls)

    def times(self, trips: float) -> "Way":
        return Way(self.bytes * trips, self.cost * trips, self.calls * trips)

    @property
    def rank(self) -> tuple[float, float, float]:
        return (-self.calls, self.bytes, -self.cost)


@dataclass
class Flow:
    """The control flow of one kernel; the slow paths that it calls are not part of it."""

    blocks: list[Block]

    @cached_property
    def loops(self) -> list[Loop]:
        """By the address of their headers, so that a loop comes before those inside it."""
        dominators = _dominators(self.blocks)
        ends: dict[int, set[int]] = defaultdict(set)
        for index in dominators:
            for target in self.blocks[index].after:
                if target in dominators[index]:
                    ends[target].add(index)
        before: dict[int, list[int]] = defaultdict(list)
        for index in dominators:
            for target in self.blocks[index].after:
                before[target].append(index)
        bodies = {}
        for header, sources in ends.items():
            body, open_ones = {header}, list(sources)
            while open_ones:
                index = open_ones.pop()
                if index not in body:
                    body.add(index)
                    open_ones += before[index]
            bodies[header] = frozenset(body)
        return [
            Loop(
                header,
                bodies[header],
                frozenset(ends[header]),
                sum(header in other for at, other in bodies.items() if at != header),
            )
            for header in sorted(bodies, key=lambda h: self.blocks[h].address)
        ]

    def instructions(self, trips: Sequence[float]) -> float:
        """Issued by one thread. `trips`: of each loop in the order of `loops`, per entry.

        Raises:
            FlowError: there are more or fewer loops than `trips`.
        """
        if len(trips) != len(self.loops):
            raise FlowError(
                f"{len(trips)} trip counts are given, the code has {len(self.loops)} loops:\n"
                + "\n".join(self.describe())
            )
        return self._way(0, frozenset(range(len(self.blocks))), None, dict(self._by(trips))).cost

    def _by(self, trips: Sequence[float]) -> Iterator[tuple[int, float]]:
        for loop, count in zip(self.loops, trips, strict=True):
            yield loop.header, count

    def describe(self) -> list[str]:
        """A line per loop: its number, depth, address, and what one trip issues of some kinds."""
        lines = []
        for number, loop in enumerate(self.loops):
            inside = {
                block
                for other in self.loops
                if other.header in loop.blocks and other.header != loop.header
                for block in other.blocks
            }
            opcodes = [o for block in loop.blocks - inside for o in self.blocks[block].opcodes]
            kinds = Counter(opcode.split(".")[0] for opcode in opcodes)
            wide = sum(_moved(o) == 16 for o in opcodes)
            words = ", ".join(f"{kinds[kind]} {kind}" for kind in _COUNTED if kinds[kind])
            lines.append(
                f"  {'  ' * loop.depth}loop {number} at {self.blocks[loop.header].address:#06x}: "
                f"{len(opcodes)} instructions; {words or 'no memory'}; {wide} of 128 bits"
            )
        return lines

    def _way(
        self, start: int, inside: frozenset[int], own: Loop | None, trips: dict[int, float]
    ) -> Way:
        """The best way from `start` to an end of loop `own`, or without one to an exit."""
        heads = {
            loop.header: loop
            for loop in self.loops
            if loop.header in inside and (own is None or loop.header != own.header)
        }
        outermost = {
            header: loop
            for header, loop in heads.items()
            if not any(header in o.blocks for h, o in heads.items() if h != header)
        }
        owner = {block: loop for loop in outermost.values() for block in loop.blocks}
        found: dict[int, Way | None] = {}

        def node(index: int) -> int:
            return owner[index].header if index in owner else index

        def visit(root: int) -> None:
            stack = [(root, False)]
            while stack:
                index, is_done = stack.pop()
                if index in found and not is_done:
                    continue
                if index in outermost:
                    loop = outermost[index]
                    nexts = {t for b in loop.blocks for t in self.blocks[b].after} - loop.blocks
                    is_end = bool(own and own.ends & loop.blocks)
                else:
                    nexts = set(self.blocks[index].after)
                    is_end = index in own.ends if own else not nexts
                if own:
                    nexts = (nexts & inside) - {own.header}
                nexts = {node(target) for target in nexts}
                if not is_done:
                    stack.append((index, True))
                    stack += [(target, False) for target in nexts if target not in found]
                    continue
                ways = [found[target] for target in nexts if found.get(target) is not None]
                if is_end:
                    ways.append(Way())
                if not ways:
                    found[index] = None  # an infinite loop that pads the code
                    continue
                if index in outermost:
                    loop = outermost[index]
                    once = self._way(loop.header, loop.blocks, loop, trips)
                    here = once.times(trips[loop.header])
                else:
                    block = self.blocks[index]
                    here = Way(block.bytes, len(block.opcodes), block.calls)
                found[index] = here + max(ways, key=lambda way: way.rank)

        first = node(start)
        visit(first)
        way = found[first]
        if way is None:
            raise FlowError("no way leads to an exit")
        return way


def read_flows(sass: str) -> dict[str, Flow]:
    """By mangled name, from `nvdisasm -c`."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in sass.splitlines():
        if header := _FUNCTION.match(line):
            lines = sections.setdefault(header[1], [])
        else:
            lines.append(line)
    return {name: _flow(lines) for name, lines in sections.items()}


def _flow(lines: Sequence[str]) -> Flow:
    code: list[tuple[int, str, str, str]] = []  # address, predicate, opcode, operands
    labels: dict[str, int] = {}  # index of the instruction that follows
    for line in lines:
        if label := _LABEL.match(line):
            labels[label[1]] = len(code)
        elif match := _INSTRUCTION.match(line):
            address, predicate, opcode, operands = match.groups()
            code.append((int(address, 16), predicate or "", opcode, operands))
    jumps = list(_jumps(code, labels))
    starts = {0}
    for index, targets in jumps:
        starts |= {index + 1, *targets}
    starts = sorted(start for start in starts if start < len(code))
    number = {start: at for at, start in enumerate(starts)}
    targets_of = dict(jumps)
    blocks = []
    for start, stop in zip(starts, [*starts[1:], len(code)], strict=True):
        after = targets_of.get(stop - 1, [stop] if stop < len(code) else [])
        blocks.append(
            Block(
                code[start][0],
                [opcode for _, _, opcode, _ in code[start:stop]],
                sorted({number[target] for target in after if target in number}),
            )
        )
    return Flow(blocks)


def _jumps(
    code: Sequence[tuple[int, str, str, str]], labels: dict[str, int]
) -> Iterator[tuple[int, list[int]]]:
    """Each instruction that may not be followed by the next one, and what may follow it."""
    joins: dict[str, int] = {}  # where the threads meet again, by convergence barrier
    for index, (_, predicate, opcode, operands) in enumerate(code):
        base = opcode.split(".")[0]
        target = _TARGET.search(operands)
        barrier = _BARRIER.search(operands)
        is_conditional = bool(predicate) and predicate != "PT"
        if base == "BSSY" and target and barrier:
            joins[barrier[0]] = labels[target[1]]
        elif base == "BSYNC" and barrier and barrier[0] in joins:
            yield index, [joins[barrier[0]], *([index + 1] if is_conditional else [])]
        elif base == "BRA" and target:
            if ".DIV" in opcode or ".CONV" in opcode:  # taken by warps that have diverged
                continue
            is_conditional |= bool(_PREDICATE.match(operands)) or operands.startswith(("P", "!P"))
            yield index, [labels[target[1]], *([index + 1] if is_conditional else [])]
        elif base in ("EXIT", "RET"):
            yield index, [index + 1] if is_conditional else []
        elif base in ("BRX", "JMX"):
            yield index, [labels[name] for name in re.findall(r"\.L\w+", operands)]


def _dominators(blocks: Sequence[Block]) -> dict[int, set[int]]:
    """Of every block that can be reached, itself included."""
    order, seen = [], set()
    stack: list[tuple[int, bool]] = [(0, False)]
    while stack:
        index, is_done = stack.pop()
        if is_done:
            order.append(index)
        elif index not in seen:
            seen.add(index)
            stack.append((index, True))
            stack += [(target, False) for target in blocks[index].after]
    order.reverse()
    before: dict[int, list[int]] = defaultdict(list)
    for index in order:
        for target in blocks[index].after:
            before[target].append(index)
    found: dict[int, set[int]] = {0: {0}}
    is_changed = True
    while is_changed:
        is_changed = False
        for index in order[1:]:
            known = [found[b] for b in before[index] if b in found]
            now = {index} | set.intersection(*known)
            if found.get(index) != now:
                found[index], is_changed = now, True
    return found


def _moved(opcode: str) -> int:
    base, *parts = opcode.split(".")
    if base not in _MEMORY:
        return 0
    return max((_BYTES[part] for part in parts if part in _BYTES), default=4)
