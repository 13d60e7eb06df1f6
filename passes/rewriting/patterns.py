"""Apply rewrite patterns so that no op loses its location, or what rules say of it.

xDSL gives a new op the unknown location. Here it inherits that of the op which its pattern
matched, unless the pattern set one, as `fused_location` of all ops that it replaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import (
    UNKNOWN_LOC,
    ArrayAttr,
    FusedLoc,
    LocationAttr,
    ModuleOp,
    NoneAttr,
)
from xdsl.ir import Operation
from xdsl.pattern_rewriter import (
    GreedyRewritePatternApplier,
    PatternRewriter,
    PatternRewriterListener,
    PatternRewriteWalker,
    RewritePattern,
)

from ranvier.passes.analysis.locations import location_parts
from ranvier.passes.rewriting.marks import inherit_marks


@dataclass
class InheritLocation(RewritePattern):
    """Run `inner`; the ops that it inserts take location and marks of the op that it matched."""

    inner: RewritePattern
    current: Operation | None = None

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter, /) -> None:
        self.current = op
        self.inner.match_and_rewrite(op, rewriter)

    def on_insert(self, op: Operation) -> None:
        if self.current is not None and self.current is not op:
            inherit_marks(op, self.current)
            if op.location == UNKNOWN_LOC:
                op.location = self.current.location


def apply_patterns(
    module: ModuleOp,
    patterns: Sequence[RewritePattern],
    *,
    ctx: Context | None = None,
    recursive: bool = True,
    dce: bool = False,
) -> bool:
    """Apply patterns greedily, to a fixed point if `recursive`; whether any of them applied."""
    applier = GreedyRewritePatternApplier(list(patterns), ctx=ctx, dce_enabled=dce)
    inherit = InheritLocation(applier)
    listener = PatternRewriterListener(operation_insertion_handler=[inherit.on_insert])
    walker = PatternRewriteWalker(inherit, apply_recursively=recursive, listener=listener)
    return walker.rewrite_module(module)


def fused_location(*ops: Operation) -> LocationAttr:
    """The location of an op that stands for several: each known one, once, in order."""
    parts = list(dict.fromkeys(part for op in ops for part in location_parts(op.location)))
    match parts:
        case []:
            return UNKNOWN_LOC
        case [part]:
            return part
        case _:
            return FusedLoc(ArrayAttr(parts), NoneAttr())
