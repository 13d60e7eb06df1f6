"""Einstein sums: a matrix product where they are one, else `nn.einsum`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from string import ascii_letters
from typing import TypeAlias

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, shape_of

Build: TypeAlias = Callable[[TensorOp], SSAValue]


def import_equation(build: Build, equation: str, *operands: SSAValue) -> SSAValue:
    """The sum, of two operands between reshapes and transposes if it is a matrix product.

    Raises VerifyException for an equation that does not fit the operands.
    """
    terms, out = equation_terms(equation, [len(shape_of(operand)) for operand in operands])
    if len(operands) != 2 or not is_matrix_product(terms, out, *operands):
        return build(nn.EinsumOp(*operands, equation=f"{','.join(terms)}->{out}"))
    (left, right), (lhs, rhs) = terms, operands
    shared = set(left) & set(right)
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


def is_matrix_product(terms: Sequence[str], out: str, lhs: SSAValue, rhs: SSAValue) -> bool:
    """Whether each label is of both operands or of the result, once, and of one size."""
    left, right = terms
    sizes = dict(zip(left, shape_of(lhs), strict=True))
    alike = all(sizes.get(x, n) == n for x, n in zip(right, shape_of(rhs), strict=True))
    alone = (set(left) ^ set(right)) - set(out)
    return alike and not alone and all(len(set(t)) == len(t) for t in (left, right, out))


def equation_terms(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result, without blanks, ellipses, implicit results."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise VerifyException(f"equation '{equation}' is not of {len(ranks)} operands")
    extra = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(more < 0 or (more > 0 and "..." not in t) for more, t in zip(extra, terms, strict=True)):
        raise VerifyException(
            f"equation '{equation}' does not label operands of ranks {list(ranks)}"
        )
    unused = [c for c in ascii_letters if c not in equation]
    spread = "".join(unused[: max(extra)])
    if not arrow:
        letters = "".join(terms).replace(".", "")
        once = sorted(label for label in set(letters) if letters.count(label) == 1)
        out = "..." + "".join(once)
    found = [
        term.replace("...", spread[len(spread) - more :])
        for term, more in zip(terms, extra, strict=True)
    ]
    return found, out.replace("...", spread)


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
