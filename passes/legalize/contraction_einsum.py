"""Einstein sums by diagonals, sums, transposes and matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter


@dataclass(frozen=True)
class Term:
    """A tensor and the label of each of its dimensions."""

    value: SSAValue
    labels: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.labels, shape_of(self.value), strict=True))


class DecomposeEinsum(Decomposition[nn.EinsumOp]):
    """`einsum(a, b, c) -> transpose(product(product(a', b'), c'))`

    `'` takes diagonals and sums labels that no other term has. A product multiplies matrices, its
    shared labels as batch or summed, or elementwise where it sums none.
    """

    def decompose(self, op: nn.EinsumOp, emit: Emitter) -> SSAValue | None:
        (terms, result), sizes = op.terms(), op.sizes()
        pending: list[Term] = []
        for position, (labels, operand) in enumerate(zip(terms, op.operands, strict=True)):
            others = {*result, *"".join(terms[:position] + terms[position + 1 :])}
            term = spread_dropped(Term(operand, tuple(labels)), sizes, emit)
            pending.append(summed(diagonal(term, emit), others, emit))
        term = pending.pop(0)
        while pending:
            other = pending.pop(0)
            wanted = {*result, *(label for rest in pending for label in rest.labels)}
            term = product(term, other, wanted, emit)
        # A term that labels kept for others, which had a single element of them, sums them now.
        term = ordered(summed(term, set(result), emit), result, emit)
        if shape_of(term.value) != shape_of(op.result):
            return None
        return term.value


def spread_dropped(term: Term, sizes: Mapping[str, int], emit: Emitter) -> Term:
    """Without the dimensions of 1 that stand for a larger label."""
    shape = shape_of(term.value)
    kept = [d for d, label in enumerate(term.labels) if shape[d] == sizes[label]]
    if len(kept) == len(shape):
        return term
    value = emit(nn.ReshapeOp(term.value, shape=[shape[d] for d in kept]))
    return Term(value, tuple(term.labels[d] for d in kept))


def diagonal(term: Term, emit: Emitter) -> Term:
    """Repeated labels once: every `n + 1`-th element of both dimensions joined."""
    while repeated := next((x for x in term.labels if term.labels.count(x) > 1), None):
        first, second = [d for d, label in enumerate(term.labels) if label == repeated][:2]
        rest = [d for d in range(len(term.labels)) if d not in (first, second)]
        value = emit(nn.TransposeOp(term.value, permutation=[*rest, first, second]))
        *outer, size, _ = shape_of(value)
        value = emit(nn.ReshapeOp(value, shape=[*outer, size * size]))
        cut = nn.SliceOp(
            value,
            starts=[0] * (len(outer) + 1),
            sizes=[*outer, size],
            steps=[1] * len(outer) + [size + 1],
        )
        term = Term(emit(cut), (*(term.labels[d] for d in rest), repeated))
    return term


def summed(term: Term, wanted: set[str], emit: Emitter) -> Term:
    """Without the labels that nobody else has."""
    axes = [d for d, label in enumerate(term.labels) if label not in wanted]
    if not axes:
        return term
    value = emit(nn.ReduceSumOp(term.value, axes=axes, keepdims=False))
    return Term(value, tuple(label for label in term.labels if label in wanted))


def product(lhs: Term, rhs: Term, wanted: set[str], emit: Emitter) -> Term:
    """Two terms as one, summed over shared labels that are not wanted later."""
    shared = [label for label in lhs.labels if label in rhs.labels]
    batch = [label for label in shared if label in wanted]
    contracted = [label for label in shared if label not in wanted]
    rows = [label for label in lhs.labels if label not in shared]
    columns = [label for label in rhs.labels if label not in shared]
    labels = (*batch, *rows, *columns)
    sizes = lhs.sizes | rhs.sizes
    if not contracted:
        factors = [_beside(term, labels, emit) for term in (lhs, rhs)]
        return Term(emit(nn.MulOp(*factors)), labels)
    left = _grouped(lhs, (batch, rows, contracted), emit)
    right = _grouped(rhs, (batch, contracted, columns), emit)
    value = emit(nn.MatmulOp(left, right))
    return Term(emit(nn.ReshapeOp(value, shape=[sizes[label] for label in labels])), labels)


def _beside(term: Term, labels: Sequence[str], emit: Emitter) -> SSAValue:
    """With a dimension for each label, 1 for those that the term lacks."""
    term = ordered(term, [label for label in labels if label in term.labels], emit)
    sizes = term.sizes
    return emit(nn.ReshapeOp(term.value, shape=[sizes.get(label, 1) for label in labels]))


def _grouped(term: Term, groups: Sequence[Sequence[str]], emit: Emitter) -> SSAValue:
    """One dimension per group of labels."""
    term = ordered(term, [label for group in groups for label in group], emit)
    shape = [prod(term.sizes[label] for label in group) for group in groups]
    return emit(nn.ReshapeOp(term.value, shape=shape))


def ordered(term: Term, labels: Sequence[str], emit: Emitter) -> Term:
    """The dimensions in another order; those that the term lacks are left out."""
    wanted = tuple(label for label in labels if label in term.labels)
    if wanted == term.labels:
        return term
    permutation = [term.labels.index(label) for label in wanted]
    return Term(emit(nn.TransposeOp(term.value, permutation=permutation)), wanted)


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (DecomposeEinsum(),)
