"""Compute neighbouring ops in the layout that needs the fewest transposed elements.

Before: `%1 = nn.transpose %0 …`, `%2 = nn.relu %1`, `%3 = nn.transpose %2 …` with the inverse.
After:  `%3 = nn.relu %0`

A region is a set of `Permutable` ops that hand tensors of one rank to each other. It is computed as
a whole in the layout of one of the transposes at its border, if no more elements cross the border
transposed then; of equals, transposes come after it, so that what precedes them is next to it.
Reads the ops' own interface. Transposes of constants are left to `fold-constants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from ranvier.dialects import graph, nn
from ranvier.dialects.interfaces import Permutable, ints
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.analysis.dataflow import constant_ops, remove_dead_ops, tensor_blocks
from ranvier.passes.rewriting.patterns import apply_patterns
from ranvier.passes.simplify_shapes import (
    MergeReshapes,
    MergeTransposes,
    RemoveIdentity,
    TransposeToReshape,
)

Permutation = tuple[int, ...]


@dataclass(frozen=True)
class MoveTransposesPass(ModulePass):
    """Compute regions of ops in the layout that transposes the least."""

    name = "move-transposes"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        move_transposes(op)


ROUNDS = 8
"""A region may end where a reshape only adds or drops a dimension of 1: the next round goes on."""


def move_transposes(module: ModuleOp) -> None:
    """Choose a layout for each region, and remove the transposes that it makes superfluous."""
    patterns: list[RewritePattern] = [
        RemoveIdentity(),
        MergeReshapes(),
        TransposeToReshape(),
        MergeTransposes(),
        TransposeAfterUnitReshape(),
    ]
    for _ in range(ROUNDS):
        apply_patterns(module, patterns)
        if not any([choose_layouts(block) for block in tensor_blocks(module)]):
            return
    apply_patterns(module, patterns)


def choose_layouts(block: Block) -> bool:
    """Rewrite the regions of a block that have a better layout; whether there was one."""
    remove_dead_ops(block)
    constants = constant_ops(block.ops)
    order = {op: number for number, op in enumerate(block.ops)}
    changed = False
    for region in regions_of(block, constants):
        if (layout := region.best_layout()) is not None:
            region.rewrite(layout, order)
            changed = True
    remove_dead_ops(block)
    return changed


def transposes_on_device(module: ModuleOp) -> int:
    """Transposes in device segments that move elements; constants are folded, and do not count."""
    count = 0
    for block in tensor_blocks(module):
        segment = block.parent_op()
        while segment is not None and not isinstance(segment, graph.SegmentOp):
            segment = segment.parent_op()
        if segment is None or segment.on_host:
            continue
        constants = constant_ops(block.ops)
        count += sum(
            isinstance(op, nn.TransposeOp)
            and op not in constants
            and moves(shape_of(op.operand), ints(op.permutation))
            for op in block.ops
        )
    return count


def inverse(permutation: Sequence[int]) -> Permutation:
    return tuple(permutation.index(d) for d in range(len(permutation)))


def composed(first: Sequence[int], second: Sequence[int]) -> Permutation:
    """The permutation of a transpose by `first`, then by `second`."""
    return tuple(first[d] for d in second)


def moves(shape: Shape, permutation: Sequence[int]) -> bool:
    """Whether a transpose changes the order of elements."""
    kept = [d for d in permutation if shape[d] != 1]
    return kept != sorted(kept)


def full_rank(op: Operation) -> int:
    """The rank that an op works in: that of its largest operand or result."""
    return max(len(shape_of(value)) for value in (*op.operands, *op.results))


def regions_of(block: Block, constants: set[Operation]) -> list[LayoutRegion]:
    """The regions of a block, in program order of their first ops."""
    owners: dict[Operation, LayoutRegion] = {}
    for op in block.ops:
        if op in constants or not isinstance(op, Permutable) or len(op.results) != 1:
            continue
        region = LayoutRegion(full_rank(op), constants)
        region.ops.append(op)
        owners[op] = region
        for operand in op.operands:
            producer = operand.owner
            if isinstance(producer, Operation) and producer in owners:
                other = owners[producer]
                if other.rank == region.rank == len(shape_of(operand)) and other is not region:
                    region = joined(other, region, owners)
    unique = {id(region): region for region in owners.values()}
    return list(unique.values())


def joined(
    one: LayoutRegion, other: LayoutRegion, owners: dict[Operation, LayoutRegion]
) -> LayoutRegion:
    """Two regions as one: the smaller is added to the larger, so that all of it is n log n."""
    large, small = (one, other) if len(one.ops) >= len(other.ops) else (other, one)
    large.ops.extend(small.ops)
    for op in small.ops:
        owners[op] = large
    return large


@dataclass
class LayoutRegion:
    """Ops that are computed in one layout."""

    rank: int
    constants: set[Operation]
    ops: list[Operation] = field(default_factory=list[Operation])

    @cached_property
    def members(self) -> set[Operation]:
        return set(self.ops)

    def best_layout(self) -> Permutation | None:
        """The layout with the fewest elements to transpose, or None if that is the present one."""
        own = tuple(range(self.rank))
        sunk = [
            inverse(ints(value.owner.permutation))
            for value in self._inputs()
            if isinstance(value.owner, nn.TransposeOp) and len(shape_of(value)) == self.rank
        ]
        raised = [
            ints(op.permutation)
            for value in self._results()
            for op in self._readers(value)
            if isinstance(op, nn.TransposeOp) and len(shape_of(value)) == self.rank
        ]
        if not sunk and not raised:
            return None
        best = min(dict.fromkeys((*sunk, own, *raised)), key=self.cost)
        return None if best == own else best

    def cost(self, layout: Permutation) -> int:
        """Elements that are transposed at the border if the region is computed in a layout."""
        inputs = sum(self._cost_of_input(value, layout) for value in self._inputs())
        return inputs + sum(self._cost_of_result(value, layout) for value in self._results())

    def _cost_of_input(self, value: SSAValue, layout: Permutation) -> int:
        """The transposes of the value, or of what it is a transpose of."""
        op = value.owner
        if isinstance(op, nn.TransposeOp) and len(shape_of(value)) == self.rank:
            own = ints(op.permutation)
            needed = {composed(own, layout), *([own] if list(self._readers(value)) else [])}
            return _moved(shape_of(op.operand), needed)
        missing = self.rank - len(shape_of(value))
        return _moved((1,) * missing + shape_of(value), {layout})

    def _cost_of_result(self, value: SSAValue, layout: Permutation) -> int:
        """A transpose for each layout that readers outside need."""
        shape = shape_of(value)
        if len(shape) != self.rank:
            kept = self.kept_shapes[value]
            return _moved(tuple(kept[d] for d in layout), {inverse(layout)})
        needed: set[Permutation] = set()
        for op in self._readers(value):
            last = ints(op.permutation) if isinstance(op, nn.TransposeOp) else range(self.rank)
            needed.add(composed(inverse(layout), last))
        return _moved(tuple(shape[d] for d in layout), needed)

    @cached_property
    def kept_shapes(self) -> dict[SSAValue, Shape]:
        """The shapes of results that drop dimensions, with those as 1."""
        found: dict[SSAValue, Shape] = {}
        for op in self.ops:
            if len(shape_of(op.results[0])) != self.rank:
                assert isinstance(op, Permutable)
                probe = op.permuted(range(self.rank), *op.operands)
                found[op.results[0]] = shape_of(probe.results[0])
                probe.drop_all_references()
        return found

    def _inputs(self) -> Iterator[SSAValue]:
        """What the region reads, each once; constants are transposed when they are folded."""
        seen: set[SSAValue] = set()
        for op in self.ops:
            for value in op.operands:
                if value not in seen and self._crosses(value):
                    seen.add(value)
                    yield value

    def _crosses(self, value: SSAValue) -> bool:
        owner = value.owner
        return owner not in self.members and owner not in self.constants

    def _results(self) -> Iterator[SSAValue]:
        for op in self.ops:
            yield op.results[0]

    def _readers(self, value: SSAValue) -> Iterator[Operation]:
        """Ops outside that read a value."""
        return (use.operation for use in value.uses if use.operation not in self.members)

    def rewrite(self, layout: Permutation, order: Mapping[Operation, int]) -> None:
        """Compute all ops in the layout, and their results as others read them from there."""
        found: dict[SSAValue, SSAValue] = {}
        for op in sorted(self.ops, key=order.__getitem__):
            into = _Before(op)
            operands: list[SSAValue] = []
            for value in op.operands:
                if value not in found:
                    found[value] = self._transposed(value, layout, into)
                operands.append(found[value])
            assert isinstance(op, Permutable)
            new = into.add(op.permuted(layout, *operands))
            back = into.add(nn.TransposeOp(new, permutation=inverse(layout)))
            if len(shape_of(op.results[0])) == self.rank:
                found[back] = new
            else:
                back = into.add(nn.ReshapeOp(back, shape=shape_of(op.results[0])))
            back.name_hint = op.results[0].name_hint
            op.results[0].replace_all_uses_with(back)

    def _transposed(self, value: SSAValue, layout: Permutation, into: _Before) -> SSAValue:
        shape = shape_of(value)
        if len(shape) < self.rank:
            if prod(shape) == 1:
                return value
            value = into.add(nn.ReshapeOp(value, shape=(1,) * (self.rank - len(shape)) + shape))
        return into.add(nn.TransposeOp(value, permutation=layout))


class TransposeAfterUnitReshape(RewritePattern):
    """`reshape(transpose(x, p)) -> transpose(reshape(x), q)` if only sizes of 1 come and go"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ReshapeOp, rewriter: PatternRewriter, /) -> None:
        if not isinstance(inner := op.operand.owner, nn.TransposeOp):
            return
        shape, given = shape_of(op.result), shape_of(op.operand)
        if [size for size in shape if size != 1] != [size for size in given if size != 1]:
            return
        # Dimensions of 1 come first, then the others as they lie.
        moved = [d for d in ints(inner.permutation) if shape_of(inner.operand)[d] != 1]
        units, others = iter(range(shape.count(1))), iter(sorted(moved).index(d) for d in moved)
        order = [next(units) if size == 1 else shape.count(1) + next(others) for size in shape]
        plain = (1,) * shape.count(1) + tuple(shape_of(inner.operand)[d] for d in sorted(moved))
        turned = nn.ReshapeOp(inner.operand, shape=plain)
        rewriter.replace(op, [turned, nn.TransposeOp(turned.result, permutation=order)])


class _Before:
    """Inserts ops before another, which they replace."""

    def __init__(self, op: Operation) -> None:
        self.op = op

    def add(self, new: Operation) -> SSAValue:
        block = self.op.parent
        assert block is not None
        new.location = self.op.location
        block.insert_op_before(new, self.op)
        return new.results[0]


def _moved(shape: Shape, permutations: Iterable[Permutation]) -> int:
    """Elements that transposes of a tensor move."""
    return sum(prod(shape) for permutation in permutations if moves(shape, permutation))
