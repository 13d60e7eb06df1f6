"""Multiply a tensor by all its weights at once.

Before: `%q = nn.matmul %x, %a`, `%k = nn.matmul %x, %b` with constant `%a` and `%b`.
After:  one product with `nn.concat %a, %b` and a slice of it for each; so too where a constant row
        is added to each.

The operand is read and laid out once, and slices are views. Concatenated constants are left to
`fold-constants`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import nn
from ranvier.dialects.nn.types import element_of, is_float, shape_of, tensor
from ranvier.passes.analysis.dataflow import (
    constant_ops,
    expression,
    remove_dead_ops,
    tensor_blocks,
)
from ranvier.passes.rewriting.patterns import fused_location


@dataclass(frozen=True)
class MergeProductsPass(ModulePass):
    """Merge products of one operand with several weights."""

    name = "merge-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        merge_products(op)


def merge_products(module: ModuleOp) -> None:
    """Merge in every block, and remove what that leaves dead."""
    for block in tensor_blocks(module):
        constants = constant_ops(block.ops)
        groups: dict[tuple[object, ...], list[Projection]] = {}
        for projection in projections_of(block, constants):
            groups.setdefault(projection.kind, []).append(projection)
        for group in groups.values():
            if len(group) > 1:
                merge(block, group)
        remove_dead_ops(block)


@dataclass(frozen=True)
class Projection:
    """`x . weight + row`, or without a row."""

    product: nn.MatmulOp
    row: SSAValue | None
    result: SSAValue

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for those that merge."""
        weight, result = self.product.rhs, self.product.result
        elements: tuple[Attribute, ...] = (element_of(weight), element_of(result))
        return (self.product.lhs, *elements, self.row is not None)

    @property
    def columns(self) -> int:
        return shape_of(self.product.rhs)[1]


def projections_of(block: Block, constants: set[Operation]) -> Iterator[Projection]:
    """Products of a computed operand, of rank 2 or more, with constant matrices of floats."""
    for op in block.ops:
        if not isinstance(op, nn.MatmulOp) or op in constants or op.rhs.owner not in constants:
            continue
        if (
            len(shape_of(op.lhs)) < 2
            or len(shape_of(op.rhs)) != 2
            or not is_float(element_of(op.rhs))
        ):
            continue
        add = next(iter(op.result.uses)).operation if op.result.has_one_use() else None
        row = _other(add, op.result) if isinstance(add, nn.AddOp) else None
        if add is not None and row is not None and row.owner in constants:
            if shape_of(row) == shape_of(op.rhs)[1:] and add.results[0].type == op.result.type:
                yield Projection(op, row, add.results[0])
                continue
        yield Projection(op, None, op.result)


def _other(add: nn.AddOp, value: SSAValue) -> SSAValue:
    return add.rhs if add.lhs is value else add.lhs


def merge(block: Block, group: Sequence[Projection]) -> None:
    """One product in place of the first; each result becomes a slice of it."""
    first = group[0].product
    own = [op for p in group for op in dict.fromkeys((p.product, p.result.owner))]
    location = fused_location(*(op for op in own if isinstance(op, Operation)))

    def add(op: Operation) -> SSAValue:
        op.location = location
        block.insert_op_before(op, first)
        return op.results[0]

    def joined(values: Sequence[SSAValue], axis: int) -> SSAValue:
        """Constants may stand behind the first product: they are written again before it."""
        copies: dict[SSAValue, SSAValue] = {}
        for value in values:
            for op in expression(value):
                if op.results[0] not in copies:
                    copies[op.results[0]] = add(op.clone(copies))
        return add(nn.ConcatOp(*(copies[value] for value in values), axis=axis))

    weight = joined([projection.product.rhs for projection in group], 1)
    shape = (*shape_of(first.lhs)[:-1], shape_of(weight)[1])
    kind = tensor(shape, element_of(first.result))
    value = add(nn.MatmulOp(first.lhs, weight, result_types=[kind]))
    if rows := [projection.row for projection in group if projection.row is not None]:
        value = add(nn.AddOp(value, joined(rows, 0)))
    start, rank = 0, len(shape)
    for projection in group:
        sizes = (*shape[:-1], projection.columns)
        cut = nn.SliceOp(value, starts=(0,) * (rank - 1) + (start,), sizes=sizes, steps=(1,) * rank)
        projection.result.replace_all_uses_with(add(cut))
        cut.location = projection.product.location
        start += projection.columns
