"""Which ops compute constants, which are dead, and where tensor ops are at all.

Everything here is one walk over the ops in their order: a block's order is a topological one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from math import prod
from typing import cast

from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    AnyFloat,
    ContainerType,
    DenseIntOrFPElementsAttr,
    DenseResourceAttr,
    FixedBitwidthType,
    IndexType,
    IntegerType,
    ModuleOp,
    ShapedType,
    TensorType,
    UnregisteredOp,
    VectorType,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.traits import ConstantLike, NoMemoryEffect, Pure

from ranvier.dialects.interfaces import ConstantSource, ReferenceSemantics
from ranvier.dialects.nn.types import Tensor, dtype_of

VALUE_TYPES = (TensorType, VectorType, IntegerType, IndexType, AnyFloat)


def tensor_blocks(module: ModuleOp) -> list[Block]:
    """The blocks of functions and of the segments and stages in them, outer ones first."""
    blocks: list[Block] = []
    for op in module.body.block.ops:
        if isinstance(op, FuncOp):
            blocks.extend(op.walk_blocks())
    return blocks


def main_block(module: ModuleOp, function: str = "main") -> Block | None:
    """The body of `@main`, or None if the module has no such function of one block."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == function and len(op.body.blocks) == 1:
            return op.body.block
    return None


def is_constant_source(op: Operation) -> bool:
    """Whether an op of any dialect is a constant: by its traits, or by elements that it holds."""
    if op.operands or op.regions:
        return False
    held = op.attributes if isinstance(op, UnregisteredOp) else op.properties
    return _is_constant_class(type(op)) or any(
        isinstance(value, DenseIntOrFPElementsAttr | DenseResourceAttr) for value in held.values()
    )


@cache
def _is_constant_class(op: type[Operation]) -> bool:
    return op.has_trait(ConstantSource) or op.has_trait(ConstantLike)


@cache
def _is_free_of_effects(op: type[Operation]) -> bool:
    return op.has_trait(Pure) or op.has_trait(NoMemoryEffect)


def operands_of(op: Operation) -> Sequence[SSAValue]:
    """What an op reads: its operands, and what its regions take from outside of it."""
    if not op.regions:
        return op.operands
    captured = {
        operand: None
        for inner in op.walk()
        if inner is not op
        for operand in inner.operands
        if not op.is_ancestor(operand.owner)
    }
    return list(dict.fromkeys((*op.operands, *captured)))


def has_effects(op: Operation) -> bool:
    """Whether an op must keep its place among others of the kind.

    An op that declares no effects does not; nor does one on values alone, tensors and scalars.
    """
    if _is_free_of_effects(type(op)):
        return False
    types = [value.type for value in (*op.operands, *op.results)]
    return not op.results or not all(isinstance(type, VALUE_TYPES) for type in types)


def constant_ops(ops: Iterable[Operation]) -> set[Operation]:
    """The constant sources, and the ops that compute something of constants alone."""
    constants: set[Operation] = set()
    for op in ops:
        if is_constant(op, constants):
            constants.add(op)
    return constants


def is_constant(op: Operation, constants: AbstractSet[Operation]) -> bool:
    """Whether an op is a constant source, or computes something of `constants` alone."""
    if not op.operands:
        return is_constant_source(op)
    return (
        all(operand.owner in constants for operand in op.operands)
        and isinstance(op, ReferenceSemantics)
        and len(op.results) == 1
    )


def expression(value: SSAValue) -> list[Operation]:
    """The ops that a constant value is computed by, each once, operands first."""
    ordered: dict[Operation, None] = {}
    stack: list[tuple[Operation, Iterator[SSAValue]]] = []
    owner = value.owner
    if isinstance(owner, Operation):
        stack.append((owner, iter(owner.operands)))
    while stack:
        op, operands = stack[-1]
        for operand in operands:
            if isinstance(operand.owner, Operation) and operand.owner not in ordered:
                stack.append((operand.owner, iter(operand.owner.operands)))
                break
        else:
            ordered[op] = None
            stack.pop()
    return list(ordered)


def remove_dead_ops(block: Block) -> bool:
    """Erase pure ops whose results nobody uses, last first; whether there was one."""
    removed = False
    op = block.last_op
    while op is not None:
        before = op.prev_op
        if all(result.first_use is None for result in op.results) and op.has_trait(Pure):
            op.detach()
            op.erase()
            removed = True
        op = before
    return removed


def bytes_of(type: Tensor) -> int:
    """Stored size of a tensor."""
    return prod(type.get_shape()) * dtype_of(type.element_type).itemsize


def extents_of(type: Attribute) -> tuple[tuple[int, ...], Attribute] | None:
    """Shape and element type of a tensor, vector or buffer of any dialect; None for other types."""
    if isinstance(type, ShapedType) and isinstance(type, ContainerType):
        return type.get_shape(), cast("ContainerType[Attribute]", type).get_element_type()
    return None


def value_bytes(type: Attribute) -> int:
    """Stored size of a value of any dialect; 0 where its type does not say."""
    shape, element = extents_of(type) or ((), type)
    if DYNAMIC_INDEX in shape or not isinstance(element, FixedBitwidthType):
        return 0
    return prod(shape) * element.size
