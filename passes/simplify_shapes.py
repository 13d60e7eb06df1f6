"""Remove what moves or casts tensors to no effect, and ops whose results nobody uses.

Before: `%1 = nn.reshape %x …`, `%2 = nn.reshape %1 …`, and casts to bf16 of casts from bf16.
After:  one reshape, and no cast.

Every rewrite is exact, but for one: an *implicit* round trip through a narrow type disappears, as
no op of the model asked for it. Constants are left to `fold-constants`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.shape import MovementOp
from ranvier.dialects.nn.types import dtype_of, element_of, is_float, shape_of, size_of
from ranvier.passes.analysis.dataflow import remove_dead_ops, tensor_blocks
from ranvier.passes.rewriting.patterns import apply_patterns


@dataclass(frozen=True)
class SimplifyShapesPass(ModulePass):
    """Remove reshapes, transposes, slices, pads, concats and casts that do nothing."""

    name = "simplify-shapes"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        simplify_shapes(op)


def simplify_shapes(module: ModuleOp) -> None:
    """Simplify to a fixed point, merge equal casts and transposes, and remove dead ops."""
    patterns: list[RewritePattern] = [
        RemoveIdentity(),
        RemoveEmptyParts(),
        RemoveConcatOfOne(),
        MergeReshapes(),
        TransposeToReshape(),
        MergeTransposes(),
        MergeCasts(),
    ]
    apply_patterns(module, patterns)
    for block in tensor_blocks(module):
        merge_equal_casts(block)
        merge_equal_transposes(block)
        remove_dead_ops(block)


class RemoveIdentity(RewritePattern):
    """`f(x) -> x` for a movement that leaves each element where it is"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: MovementOp, rewriter: PatternRewriter, /) -> None:
        if op.result.type == op.operand.type and _moves_nothing(op):
            rewriter.replace(op, [], [op.operand])


def _moves_nothing(op: MovementOp) -> bool:
    match op:
        case nn.ReshapeOp() | nn.BroadcastOp():
            return True
        case nn.TransposeOp():
            permutation = ints(op.permutation)
            return permutation == tuple(range(len(permutation)))
        case nn.SliceOp():
            return not any(ints(op.starts)) and all(
                step == 1 or size <= 1
                for step, size in zip(ints(op.steps), ints(op.sizes), strict=True)
            )
        case nn.PadOp():
            return not any(ints(op.low)) and not any(ints(op.high))
        case _:
            return False


class RemoveEmptyParts(RewritePattern):
    """`concat(x, y) -> concat(x)` if `y` has no elements, but `x` has"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConcatOp, rewriter: PatternRewriter, /) -> None:
        full = [part for part in op.parts if size_of(part)]
        if full and len(full) < len(op.parts):
            rewriter.replace(op, op.rebuilt(*full))


class RemoveConcatOfOne(RewritePattern):
    """`concat(x) -> x`"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConcatOp, rewriter: PatternRewriter, /) -> None:
        if len(op.parts) == 1:
            rewriter.replace(op, [], [op.parts[0]])


class MergeReshapes(RewritePattern):
    """`reshape(reshape(x)) -> reshape(x)`"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ReshapeOp, rewriter: PatternRewriter, /) -> None:
        if isinstance(inner := op.operand.owner, nn.ReshapeOp):
            rewriter.replace(op, nn.ReshapeOp(inner.operand, shape=shape_of(op.result)))


class TransposeToReshape(RewritePattern):
    """`transpose(x) -> reshape(x)` if only dimensions of size 1 change their place"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter, /) -> None:
        shape = shape_of(op.operand)
        moved = [d for d in ints(op.permutation) if shape[d] != 1]
        if moved == sorted(moved):
            rewriter.replace(op, nn.ReshapeOp(op.operand, shape=shape_of(op.result)))


class MergeTransposes(RewritePattern):
    """`transpose(transpose(x, p), q) -> transpose(x, p . q)`"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter, /) -> None:
        if isinstance(inner := op.operand.owner, nn.TransposeOp):
            first = ints(inner.permutation)
            permutation = tuple(first[d] for d in ints(op.permutation))
            rewriter.replace(op, nn.TransposeOp(inner.operand, permutation=permutation))


class MergeCasts(RewritePattern):
    """`cast(x, type of x) -> x`; `cast(cast(x, wider), t) -> cast(x, t)`, both or none implicit;
    `cast(cast(x, narrower), type of x) -> x`, both implicit
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.CastOp, rewriter: PatternRewriter, /) -> None:
        if op.result.type == op.operand.type:
            rewriter.replace(op, [], [op.operand])
            return
        inner = op.operand.owner
        if not isinstance(inner, nn.CastOp) or (inner.implicit is None) != (op.implicit is None):
            return
        implicit = op.implicit is not None
        origin = inner.operand
        if origin.type == op.result.type:
            if implicit or is_widening(element_of(origin), inner.to):
                rewriter.replace(op, [], [origin])
        elif is_widening(element_of(origin), inner.to):
            rewriter.replace(op, op.rebuilt(origin))


def is_widening(narrow: Attribute, wide: Attribute) -> bool:
    """Whether every value of one float type is one of the other."""
    if not is_float(narrow) or not is_float(wide):
        return False
    return dtype_of(narrow).itemsize < dtype_of(wide).itemsize


def merge_equal_casts(block: Block) -> None:
    """One cast per value, type and kind: the first one serves the later ones."""
    first: dict[tuple[object, ...], nn.CastOp] = {}
    for op in block.ops:
        if isinstance(op, nn.CastOp):
            kind = (op.operand, op.to, op.implicit is not None, op.saturate is not None)
            earlier = first.setdefault(kind, op)
            if earlier is not op:
                op.result.replace_all_uses_with(earlier.result)


def merge_equal_transposes(block: Block) -> None:
    """One transpose per value and permutation: the first one serves the later ones."""
    first: dict[tuple[SSAValue, Attribute], nn.TransposeOp] = {}
    for op in block.ops:
        if isinstance(op, nn.TransposeOp):
            earlier = first.setdefault((op.operand, op.permutation), op)
            if earlier is not op:
                op.result.replace_all_uses_with(earlier.result)
