"""Rewrite ops that the target lacks into ops that it has.

Before: `nn.silu %x`, of which the target says why it is unsupported.
After:  `nn.mul %x, (nn.sigmoid %x)`, and the module says `ranvier.target`.

Each identity is a `Decomposition` in the file of its family. One applies only if every op that it
leads to is supported or decomposes further, so that an op which stays on the host stays whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from ranvier.dialects import graph
from ranvier.dialects.interfaces import WIDE
from ranvier.passes.analysis.dataflow import is_constant_source, remove_dead_ops, tensor_blocks
from ranvier.passes.legalize import (
    contraction,
    contraction_einsum,
    contraction_volumes,
    elementwise,
    indexing,
    normalization,
    pooling,
    pooling_resize,
    pooling_sample,
    reduction,
    reduction_scan,
    shape,
)
from ranvier.passes.legalize.decomposition import AnyDecomposition, Emitter
from ranvier.passes.legalize.integers import narrow_integers
from ranvier.passes.rewriting.marks import placement_of
from ranvier.passes.rewriting.patterns import apply_patterns
from ranvier.passes.target import Target, set_target, target_of

DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    *contraction.DECOMPOSITIONS,
    *contraction_einsum.DECOMPOSITIONS,
    *contraction_volumes.DECOMPOSITIONS,
    *elementwise.DECOMPOSITIONS,
    *indexing.DECOMPOSITIONS,
    *normalization.DECOMPOSITIONS,
    *pooling.DECOMPOSITIONS,
    *pooling_resize.DECOMPOSITIONS,
    *pooling_sample.DECOMPOSITIONS,
    *reduction.DECOMPOSITIONS,
    *reduction_scan.DECOMPOSITIONS,
    *shape.DECOMPOSITIONS,
)


@dataclass(frozen=True)
class LegalizePass(ModulePass):
    """Decompose what the target lacks into what it has."""

    name = "legalize"

    target: str | None = None
    """Name of the target; the module's own if absent."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        legalize(op, target_of(op, self.target))


def legalize(
    module: ModuleOp,
    target: Target,
    decompositions: Iterable[AnyDecomposition] = DECOMPOSITIONS,
) -> None:
    """Narrow integers, decompose unsupported ops, and write the target's name into the module."""
    set_target(module, target)
    decompose = DecomposeUnsupported(target, decompositions)
    narrow_integers(module, decompose.runs)
    apply_patterns(module, [decompose], recursive=False)
    for block in tensor_blocks(module):
        remove_dead_ops(block)


@dataclass(frozen=True)
class Replacement:
    """Ops that are in no block yet, operands first, and the value that they compute."""

    ops: list[Operation]
    result: SSAValue


class DecomposeUnsupported(RewritePattern):
    """`f(x) -> g(h(x))` where the target lacks `f` and has, or decomposes further, `g` and `h`"""

    def __init__(self, target: Target, decompositions: Iterable[AnyDecomposition]) -> None:
        self._target = target
        self._by_type: dict[type[Operation], list[AnyDecomposition]] = {}
        for decomposition in decompositions:
            for op_type in decomposition.op_types:
                self._by_type.setdefault(op_type, []).append(decomposition)

    def runs(self, op: Operation) -> bool:
        """Whether the target has an op, or all that it decomposes into."""
        if self._target.why_unsupported(op) is None:
            return True
        if (legal := self._legal(op, frozenset())) is not None:
            discard(legal.ops)
        return legal is not None

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter, /) -> None:
        if type(op) not in self._by_type or (placement_of(op) or ("",))[0] == graph.HOST:
            return  # what a rule keeps on the host stays whole
        if self._target.why_unsupported(op) is None:
            return
        if (legal := self._legal(op, frozenset())) is not None:
            # An identity is of the first result; it fails where others are used.
            rewriter.replace(op, legal.ops, [legal.result, *[None] * (len(op.results) - 1)])

    def _legal(self, op: Operation, entered: frozenset[AnyDecomposition]) -> Replacement | None:
        """Supported ops for an unsupported one. No decomposition is entered twice on the way."""
        for decomposition in self._by_type.get(type(op), ()):
            if decomposition in entered:
                continue
            emit = Emitter()
            result = decomposition.decompose(op, emit)
            if decomposition.wide:
                for emitted in emit.ops:
                    emitted.attributes[WIDE] = UnitAttr()
            if result is not None and result.type == op.results[0].type:
                legal = self._all_legal(emit.ops, result, entered | {decomposition})
                if legal is not None:
                    return legal
            discard(emit.ops)
        return None

    def _all_legal(
        self, ops: list[Operation], result: SSAValue, entered: frozenset[AnyDecomposition]
    ) -> Replacement | None:
        legal: list[Operation] = []
        constants: set[Operation] = set()
        for op in ops:
            if is_constant_source(op) or _reads_only(op, constants):
                constants.add(op)
            elif self._target.why_unsupported(op) is not None:
                if (inner := self._legal(op, entered)) is None:
                    discard(legal)
                    return None
                if result is op.results[0]:
                    result = inner.result
                op.results[0].replace_all_uses_with(inner.result)
                legal.extend(inner.ops)
                discard([op])
                continue
            legal.append(op)
        return Replacement(legal, result)


def _reads_only(op: Operation, constants: set[Operation]) -> bool:
    """Whether all operands are constants: the target never runs such an op, it is folded."""
    return bool(op.operands) and all(
        isinstance(owner := operand.owner, Operation)
        and (owner in constants or is_constant_source(owner))
        for operand in op.operands
    )


def discard(ops: Iterable[Operation]) -> None:
    """Forget ops that never came into a block: their operands lose them as readers."""
    for op in ops:
        op.drop_all_references()
