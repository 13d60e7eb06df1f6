"""Move the ops of a block into isolated groups: what `segment` and `partition-pipeline` share.

A *floating* op belongs to no group: it is copied into each group that reads it (constants, and
casts that only prepare an operand). All others move. The groups must be in an order in which no
group reads from a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ranvier.dialects import graph
from ranvier.passes.analysis.dataflow import operands_of

Build: TypeAlias = Callable[
    [int, Sequence[SSAValue], Sequence[Attribute], Region], Sequence[Operation]
]
"""Makes a group's op from its index, inputs, result types and body; the last op is the group."""


class Outliner:
    """One outlining of one block into groups of its ops."""

    def __init__(
        self,
        block: Block,
        groups: Sequence[Sequence[Operation]],
        floating: AbstractSet[Operation],
        build: Build,
    ) -> None:
        self._block = block
        self._groups = groups
        self._floating = floating
        self._build = build
        self.results: dict[SSAValue, SSAValue] = {}
        """What stands for a value of a group outside of it."""

    def run(self, keep_constants_in: int) -> None:
        """Outline. Floating values that the block's terminator reads go into the named group."""
        end = self._block.last_op
        assert end is not None
        bodies = [Body(ops, self._floating) for ops in self._groups]
        returned = [v for v in dict.fromkeys(end.operands) if v.owner in self._floating]
        copies = [bodies[keep_constants_in].value(value) for value in returned]
        crossing = {value for body in bodies for value in body.inputs} | {*end.operands}
        for index, body in enumerate(bodies):
            outputs = [value for value in body.own if value in crossing]
            pairs = list(zip(outputs, outputs, strict=True))
            if index == keep_constants_in:
                pairs += zip(returned, copies, strict=True)
            self._close(index, body, pairs, end)
        end.operands = [self.results.get(value, value) for value in end.operands]
        for op in reversed(list(self._block.ops)):
            if op in self._floating:
                op.detach()
                op.erase()

    def _close(
        self, index: int, body: Body, yielded: Sequence[tuple[SSAValue, SSAValue]], end: Operation
    ) -> None:
        """Build the op of a filled body that yields the second of each pair for the first."""
        inner = [value for _, value in yielded]
        body.block.add_op(graph.YieldOp(*inner))
        inputs = [self.results.get(value, value) for value in body.inputs]
        built = self._build(index, inputs, [v.type for v in inner], Region(body.block))
        self._block.insert_ops_before(built, end)
        for (old, value), new in zip(yielded, built[-1].results, strict=True):
            self.results[old] = new
            new.name_hint = value.name_hint


class Body:
    """The block of a group: its ops, moved in, and copies of the floating ops that they read."""

    def __init__(self, ops: Sequence[Operation], floating: AbstractSet[Operation]) -> None:
        self.block = Block()
        self.inputs: list[SSAValue] = []
        """The values from outside that it reads, in the order of its arguments."""
        self.own: dict[SSAValue, None] = {result: None for op in ops for result in op.results}
        self._floating = floating
        self._inside: dict[SSAValue, SSAValue] = {}
        for op in ops:
            op.detach()
            self._add(op)

    def value(self, outer: SSAValue) -> SSAValue:
        """What a value is called inside: itself, a copy of a floating op's, or an argument."""
        if outer in self.own:
            return outer
        if outer not in self._inside:
            owner = outer.owner
            if isinstance(owner, Operation) and owner in self._floating:
                self._copy(owner)
            else:
                self.inputs.append(outer)
                argument = self.block.insert_arg(outer.type, len(self.block.args))
                argument.name_hint = outer.name_hint
                self._inside[outer] = argument
        return self._inside[outer]

    def _add(self, op: Operation) -> None:
        """Take an op in; it, and what is in its regions, read what is inside."""
        inside = {v: self.value(v) for v in operands_of(op) if v not in self.own}
        for reader in op.walk() if inside else ():
            if any(operand in inside for operand in reader.operands):
                reader.operands = [inside.get(operand, operand) for operand in reader.operands]
        self.block.add_op(op)

    def _copy(self, op: Operation) -> None:
        copy = op.clone({v: self.value(v) for v in operands_of(op)})
        self.block.add_op(copy)
        for old, new in zip(op.results, copy.results, strict=True):
            self._inside[old] = new
