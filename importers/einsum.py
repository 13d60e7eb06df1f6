"""Einstein sums of two operands: a matrix product where they are one, else `nn.einsum`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from string import ascii_letters
from typing import TypeAlias

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, shape_of

Build: TypeAlias = Callable[[TensorOp], SSAValue]


def import_equation(build: Build, equation: str, lhs: SSAValue, rhs: SSAValue) -> SSAValue | None:
    """The sum between reshapes and transposes; None if the equation broadcasts an ellipsis."""
    ranks = [len(shape_of(lhs)), len(shape_of(rhs))]
    terms = equation_terms(equation, ranks)
    if terms is None:
        return None
    left, right, out = terms
    shared = set(left) & set(right)
    alone = (set(left) ^ set(right)) - set(out)
    if alone or any(len(set(term)) < len(term) for term in terms):
        return build(nn.EinsumOp(lhs, rhs, equation=f"{left},{right}->{out}"))
    batch = [label for label in out if label in shared]
    summed = [label for label in left if label in shared and label not in out]
    rows = [label for label in left if label not in shared]
    columns = [label for label in right if label not in shared]
    sizes = dict(zip(left + right, shape_of(lhs) + shape_of(rhs), strict=True))
    lhs = grouped(build, lhs, left, (batch, rows, summed), sizes)
    rhs = grouped(build, rhs, right, (batch, summed, columns), sizes)
    product = build(nn.MatmulOp(lhs, rhs))
    labels = [*batch, *rows, *columns]
    value = build(nn.ReshapeOp(product, shape=[sizes[label] for label in labels]))
    return ordered(build, value, labels, out)


def equation_terms(equation: str, ranks: Sequence[int]) -> tuple[str, str, str] | None:
    """The labels of two operands and the result, without blanks, ellipses and implicit results.

    None where dimensions of an ellipsis broadcast.
    """
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    unused = [c for c in ascii_letters if c not in equation]
    extra = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    spread = "".join(unused[: max(extra)]) if "..." in equation else ""
    if "..." in equation and len({e for e, t in zip(extra, terms, strict=True) if "..." in t}) > 1:
        return None
    if not arrow:
        letters = "".join(terms).replace(".", "")
        once = sorted(label for label in set(letters) if letters.count(label) == 1)
        out = ("..." if spread else "") + "".join(once)
    left, right, result = (term.replace("...", spread) for term in (*terms, out))
    return left, right, result


def grouped(
    build: Build,
    value: SSAValue,
    labels: str,
    groups: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
) -> SSAValue:
    """One dimension per group of labels."""
    value = ordered(build, value, labels, [label for group in groups for label in group])
    shape = [prod(sizes[label] for label in group) for group in groups]
    return build(nn.ReshapeOp(value, shape=shape))


def ordered(
    build: Build, value: SSAValue, labels: Sequence[str], wanted: Sequence[str]
) -> SSAValue:
    if list(labels) == list(wanted):
        return value
    permutation = [labels.index(label) for label in wanted]
    return build(nn.TransposeOp(value, permutation=permutation))
