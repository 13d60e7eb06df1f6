"""The ops of a block as numbers, for the algorithms that know no IR.

Floating ops have no number: they are copied to who reads them, so that readers read what those
read. A cast of ours that returns a result to f32 has the number of the op that made the result,
and a narrow value crosses as f32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from xdsl.ir import Block, Operation, SSAValue

from ranvier.passes.analysis.dataflow import (
    has_effects,
    operands_of,
    value_bytes,
)
from ranvier.passes.rewriting.implicit_casts import (
    is_implicit,
    is_narrow,
    is_narrowed,
    is_narrowing,
)
from ranvier.passes.segment.crossing import least_crossing
from ranvier.passes.segment.levels import PlacedGraph, Value, crossing_by_level, fewest_levels


def floating_casts(block: Block) -> set[Operation]:
    """Casts of ours that prepare operands: like constants, they are copied to their readers."""
    end = block.last_op
    return {
        op
        for op in block.ops
        if is_narrowing(op) and all(use.operation is not end for use in op.results[0].uses)
    }


def levels_of(
    block: Block, on_host: AbstractSet[Operation], floating: AbstractSet[Operation]
) -> dict[Operation, int]:
    """The level of each op but the terminator, in program order.

    The floating ops come last, each on the level of what it reads.
    """
    numbered = Numbering(block, on_host, floating)
    chosen = least_crossing(numbered.graph, fewest_levels(numbered.graph))
    levels = {op: chosen[number] for op, number in numbered.numbers.items()}
    for op in numbered.floating:
        read = (levels[v.owner] for v in op.operands if isinstance(v.owner, Operation))
        levels[op] = max(read, default=0)
    return levels


def crossing_at(
    block: Block,
    on_host: AbstractSet[Operation],
    floating: AbstractSet[Operation],
    levels: Mapping[Operation, int],
) -> dict[int, int]:
    """The bytes that the segment of each device level reads and writes."""
    numbered = Numbering(block, on_host, floating)
    chosen = [0] * len(numbered.graph)
    for op, number in numbered.numbers.items():
        chosen[number] = levels[op]
    return crossing_by_level(numbered.graph, chosen)


class Numbering:
    """The graph of a block without its floating ops, and the number of each op in it."""

    def __init__(
        self, block: Block, on_host: AbstractSet[Operation], floating: AbstractSet[Operation]
    ) -> None:
        self.numbers: dict[Operation, int] = {}
        self.floating: list[Operation] = []
        """Those of the block, in its order."""
        self._roots: dict[SSAValue, tuple[SSAValue, ...]] = {}
        self._hosted: list[bool] = []
        self._after: list[tuple[int, ...]] = []
        self._known: dict[SSAValue, tuple[int | None, list[int]]] = {
            arg: (None, []) for arg in block.args
        }
        """Who makes and who reads each value."""
        self._ordered: int | None = None
        """The last op with effects."""
        narrow: set[SSAValue] = set()
        for op in block.ops:
            if is_narrowed(op, narrow):
                narrow.update(filter(is_narrow, op.results))
            if op in floating:
                self._float(op)
            elif op is not block.last_op:
                self._number(op, op in on_host)
        returned = (
            {root for v in block.last_op.operands for root in self._rooted(v)}
            if block.last_op
            else set[SSAValue]()
        )
        values = [
            Value(
                maker,
                value_bytes(value.type) * (2 if value in narrow else 1),
                readers,
                value in returned,
            )
            for value, (maker, readers) in self._known.items()
        ]
        self.graph = PlacedGraph(self._hosted, self._after, values)

    def _rooted(self, value: SSAValue) -> tuple[SSAValue, ...]:
        """The values of numbered ops and arguments behind a value."""
        return self._roots.get(value, (value,))

    def _all_rooted(self, values: Sequence[SSAValue]) -> tuple[SSAValue, ...]:
        return tuple(dict.fromkeys(root for value in values for root in self._rooted(value)))

    def _float(self, op: Operation) -> None:
        self.floating.append(op)
        roots = self._all_rooted(op.operands)
        for result in op.results:
            self._roots[result] = roots

    def _number(self, op: Operation, on_host: bool) -> None:
        if is_implicit(op) and isinstance(maker := op.operands[0].owner, Operation):
            owner = self.numbers.get(maker)
            if owner is not None and not self._hosted[owner]:
                self.numbers[op] = owner
                self._roots[op.results[0]] = (op.operands[0],)
                return
        number = self.numbers[op] = len(self._hosted)
        self._hosted.append(on_host)
        roots = self._all_rooted(operands_of(op))
        after: list[int] = []
        for root in roots:
            maker, readers = self._known[root]
            readers.append(number)
            if maker is not None:
                after.append(maker)
        if has_effects(op):
            if self._ordered is not None:
                after.append(self._ordered)
            self._ordered = number
        self._after.append(tuple(dict.fromkeys(after)))
        for result in op.results:
            self._known[result] = (number, [])
