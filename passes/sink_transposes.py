"""Move transposes toward the results, so that they meet their inverses and disappear.

Before: `transpose(relu(transpose(conv(x))))`, as models of another layout are imported.
After:  `relu(conv(x))`, where what broadcasts along is transposed instead if that is free: a
        constant, a scalar, or a tensor of which only dimensions of size 1 move.

Every rewrite is exact. A transpose that meets no inverse stays before the first op that is not
listed here. Transposed constants are left to `fold-constants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.elementwise import BinaryOp, UnaryOp
from ranvier.dialects.nn.reduction import ArgOp, CumulativeOp, ReduceOp
from ranvier.dialects.nn.types import TensorOp, shape_of, size_of
from ranvier.passes.analysis.dataflow import constant_ops, remove_dead_ops, tensor_blocks
from ranvier.passes.rewriting.patterns import apply_patterns
from ranvier.passes.simplify_shapes import (
    MergeReshapes,
    MergeTransposes,
    RemoveIdentity,
    TransposeToReshape,
)


@dataclass(frozen=True)
class SinkTransposesPass(ModulePass):
    """Move transposes through elementwise ops, reductions, pads, slices and concats."""

    name = "sink-transposes"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        sink_transposes(op)


def sink_transposes(module: ModuleOp) -> None:
    """Sink and merge to a fixed point, and remove dead ops."""
    blocks = tensor_blocks(module)
    constants = {op for block in blocks for op in constant_ops(block.ops)}
    patterns: list[RewritePattern] = [
        RemoveIdentity(),
        MergeReshapes(),
        TransposeToReshape(),
        MergeTransposes(),
        SinkThroughElementwise(constants),
        SinkThroughMovement(),
        SinkThroughConcat(constants),
        SinkThroughAxes(),
        SinkThroughUnitReshape(),
    ]
    apply_patterns(module, patterns)
    for block in blocks:
        remove_dead_ops(block)


def permutation_of(value: SSAValue) -> tuple[int, ...] | None:
    """Of the transpose that makes a value, or None."""
    return ints(value.owner.permutation) if isinstance(value.owner, nn.TransposeOp) else None


def inverse(permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(permutation.index(d) for d in range(len(permutation)))


def before(value: SSAValue) -> SSAValue:
    """What a transpose transposes."""
    assert isinstance(value.owner, nn.TransposeOp)
    return value.owner.operand


def unsink(entries: Sequence[int], permutation: Sequence[int]) -> list[int]:
    """Entries per dimension of a transpose's result, in the order of its operand's dimensions."""
    return [entries[d] for d in inverse(permutation)]


def replace_below(
    op: TensorOp, new: TensorOp, permutation: Sequence[int], rewriter: PatternRewriter
) -> None:
    rewriter.replace(op, [new, nn.TransposeOp(new.results[0], permutation=permutation)])


@dataclass
class SinkThroughElementwise(RewritePattern):
    """`f(transpose(x, p), c) -> transpose(f(x, c'), p)` where `c'`, of `c`, costs nothing"""

    constants: set[Operation]

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: TensorOp, rewriter: PatternRewriter, /) -> None:
        if not isinstance(op, UnaryOp | BinaryOp | nn.SelectOp | nn.CastOp):
            return
        whole = [v for v in op.operands if size_of(v) == size_of(op.results[0])]
        permutation = next((p for v in whole if (p := permutation_of(v)) is not None), None)
        if permutation is None or len(permutation) != len(shape_of(op.results[0])):
            return
        others = [self.untransposed(operand, permutation) for operand in op.operands]
        operands = [other for other in others if other is not None]
        if len(operands) < len(others):
            return
        for other in operands:
            if isinstance(other, TensorOp):
                for made in reversed([other, *(o.owner for o in other.operands)]):
                    if isinstance(made, Operation) and made.parent is None:
                        rewriter.insert(made)
        values = [o.results[0] if isinstance(o, TensorOp) else o for o in operands]
        replace_below(op, op.rebuilt(*values), permutation, rewriter)

    def untransposed(
        self, value: SSAValue, permutation: tuple[int, ...]
    ) -> SSAValue | TensorOp | None:
        """The operand before the transpose, or made so for free; None if that costs something."""
        if permutation_of(value) == permutation:
            return before(value)
        shape = shape_of(value)
        if len(shape) > len(permutation):
            return None
        if size_of(value) == 1 and not shape:
            return value
        full = (1,) * (len(permutation) - len(shape)) + shape
        moved = [d for d in inverse(permutation) if full[d] != 1]
        if value.owner not in self.constants and moved != sorted(moved):
            return None
        aligned = value if full == shape else nn.ReshapeOp(value, shape=full).result
        return nn.TransposeOp(aligned, permutation=inverse(permutation))


class SinkThroughMovement(RewritePattern):
    """`pad(transpose(x, p)) -> transpose(pad(x), p)`, and so for slices and broadcasts"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: TensorOp, rewriter: PatternRewriter, /) -> None:
        if not isinstance(op, nn.PadOp | nn.SliceOp):
            return
        if (p := permutation_of(op.operand)) is None:
            return
        match op:
            case nn.PadOp():
                new = nn.PadOp(
                    before(op.operand),
                    low=unsink(ints(op.low), p),
                    high=unsink(ints(op.high), p),
                    mode=op.mode,
                    value=op.value,
                )
            case nn.SliceOp():
                new = nn.SliceOp(
                    before(op.operand),
                    starts=unsink(ints(op.starts), p),
                    sizes=unsink(ints(op.sizes), p),
                    steps=unsink(ints(op.steps), p),
                )
        replace_below(op, new, p, rewriter)


@dataclass
class SinkThroughConcat(RewritePattern):
    """`concat(transpose(x, p), transpose(y, p)) -> transpose(concat(x, y), p)`"""

    constants: set[Operation]

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConcatOp, rewriter: PatternRewriter, /) -> None:
        parts = [part for part in op.operands if part.owner not in self.constants]
        permutations = {permutation_of(part) for part in parts}
        if len(permutations) != 1 or (p := permutations.pop()) is None:
            return
        operands: list[SSAValue] = []
        for part in op.operands:
            if part.owner in self.constants:
                turned = nn.TransposeOp(part, permutation=inverse(p))
                rewriter.insert(turned)
                operands.append(turned.result)
            else:
                operands.append(before(part))
        replace_below(op, nn.ConcatOp(*operands, axis=p[op.get("axis")]), p, rewriter)


class SinkThroughAxes(RewritePattern):
    """`reduce(transpose(x, p), axes) -> transpose(reduce(x, p[axes]), rest of p)`, also softmax"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: TensorOp, rewriter: PatternRewriter, /) -> None:
        if not isinstance(
            op, ReduceOp | ArgOp | CumulativeOp | nn.SoftmaxOp | nn.LogSoftmaxOp | nn.HardmaxOp
        ):
            return
        if (p := permutation_of(op.operand)) is None:
            return
        properties = dict(op.properties)
        axes = list(ints(op.axes)) if isinstance(op, ReduceOp) else [int(op.get("axis"))]
        for name in ("axes", "axis"):
            properties.pop(name, None)
        places = (
            {"axes": [p[d] for d in axes]} if isinstance(op, ReduceOp) else {"axis": p[axes[0]]}
        )
        new = type(op)(before(op.operand), result_types=None, **properties, **places)
        replace_below(op, new, remaining(op, p, axes), rewriter)


def remaining(op: TensorOp, permutation: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation of the dimensions that a reduction leaves."""
    if op.get("keepdims", True):
        return tuple(permutation)
    kept = [permutation[d] for d in range(len(permutation)) if d not in axes]
    return tuple(sorted(kept).index(d) for d in kept)


class SinkThroughUnitReshape(RewritePattern):
    """`reshape(transpose(x, p)) -> transpose(reshape(x), q)` if only sizes of 1 come and go"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ReshapeOp, rewriter: PatternRewriter, /) -> None:
        if (p := permutation_of(op.operand)) is None:
            return
        shape, given = shape_of(op.result), shape_of(op.operand)
        if [size for size in shape if size != 1] != [size for size in given if size != 1]:
            return
        places = [d for d, size in enumerate(given) if size != 1]
        inner = sorted(p[d] for d in places)
        units = shape.count(1)
        order: list[int] = []
        """Of the result's dimensions, in the operand: those of size 1 first."""
        for size in shape:
            seen = sum(d < units for d in order)
            order.append(seen if size == 1 else units + inner.index(p[places[len(order) - seen]]))
        plain = shape_of(before(op.operand))
        together = (*(1,) * units, *(plain[d] for d in inner))
        replace_below(op, nn.ReshapeOp(before(op.operand), shape=together), order, rewriter)
