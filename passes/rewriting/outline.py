"""Move the ops of a block into isolated groups: what `segment` and `partition-pipeline` share.

A *floating* op belongs to no group: it is copied into each group that reads it (constants, and
casts that only prepare an operand). All others move. The groups must be in an order in which no
group reads from a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """One outlining of one block. `placed` says which group each op that moves belongs to."""

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
        self.placed: dict[Operation, int] = {
            op: index for index, ops in enumerate(groups) for op in ops
        }
        self.results: dict[SSAValue, SSAValue] = {}
        """What stands for a value of a group outside of it."""

    def run(self, keep_constants_in: int) -> None:
        """Outline. Floating values that the block's terminator reads go into the named group."""
        end = self._block.last_op
        assert end is not None
        outputs = self._outputs(end)
        returned = [v for v in dict.fromkeys(end.operands) if v.owner in self._floating]
        for index, ops in enumerate(self._groups):
            extra = returned if index == keep_constants_in else []
            self._outline(index, ops, outputs[index], extra, end)
        end.operands = [self.results.get(value, value) for value in end.operands]
        for op in reversed(list(self._block.ops)):
            if op in self._floating:
                op.detach()
                op.erase()

    def _outputs(self, end: Operation) -> list[list[SSAValue]]:
        """Per group, in program order, its values that another group or the terminator reads."""
        read: set[SSAValue] = set()
        for index, ops in enumerate(self._groups):
            for op in ops:
                read |= self._foreign(operands_of(op), index)
        read |= self._foreign(end.operands, -1)
        return [[r for op in ops for r in op.results if r in read] for ops in self._groups]

    def _foreign(self, values: Sequence[SSAValue], index: int) -> set[SSAValue]:
        """The values of other groups among `values` and behind floating ones."""
        foreign: set[SSAValue] = set()
        pending = list(values)
        seen: set[Operation] = set()
        while pending:
            value = pending.pop()
            owner = value.owner
            if owner in self._floating and isinstance(owner, Operation):
                if owner not in seen:
                    seen.add(owner)
                    pending.extend(owner.operands)
            elif isinstance(owner, Operation) and self.placed.get(owner, index) != index:
                foreign.add(value)
        return foreign

    def _outline(
        self,
        index: int,
        ops: Sequence[Operation],
        outputs: Sequence[SSAValue],
        extra: Sequence[SSAValue],
        end: Operation,
    ) -> None:
        body = Body(self._floating, {r for op in ops for r in op.results})
        for op in ops:
            op.detach()
            body.add(op)
        yielded = [*outputs, *(body.value(value) for value in extra)]
        body.block.add_op(graph.YieldOp(*yielded))
        inputs = [self.results.get(value, value) for value in body.inputs]
        built = self._build(index, inputs, [v.type for v in yielded], Region(body.block))
        self._block.insert_ops_before(built, end)
        for old, inner, new in zip((*outputs, *extra), yielded, built[-1].results, strict=True):
            self.results[old] = new
            new.name_hint = inner.name_hint


class Body:
    """The block of a group while it is filled."""

    def __init__(self, floating: AbstractSet[Operation], own: AbstractSet[SSAValue]) -> None:
        self.block = Block()
        self.inputs: list[SSAValue] = []
        self._floating = floating
        self._own = own
        self._inside: dict[SSAValue, SSAValue] = {}

    def value(self, outer: SSAValue) -> SSAValue:
        """What a value is called inside: itself, a copy of a floating op's, or an argument."""
        if outer in self._own:
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

    def add(self, op: Operation) -> None:
        """Move an op in; it, and what is in its regions, read what is inside."""
        inside = {outer: self.value(outer) for outer in operands_of(op)}
        for reader in op.walk():
            reader.operands = [inside.get(operand, operand) for operand in reader.operands]
        self.block.add_op(op)

    def _copy(self, op: Operation) -> None:
        known: Mapping[SSAValue, SSAValue] = {v: self.value(v) for v in operands_of(op)}
        copy = op.clone(dict(known))
        self.block.add_op(copy)
        for old, new in zip(op.results, copy.results, strict=True):
            self._inside[old] = new
