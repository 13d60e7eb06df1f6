"""Which ops compute constants, which are dead, and where tensor ops are at all.

Everything here is one walk over the ops in their order: a block's order is a topological one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.traits import Pure

from ranvier.dialects.interfaces import ConstantSource, ReferenceSemantics
from ranvier.dialects.nn.types import Tensor, dtype_of


def tensor_blocks(module: ModuleOp) -> list[Block]:
    """The blocks of functions and of the segments and stages in them, outer ones first."""
    blocks: list[Block] = []
    for op in module.body.block.ops:
        if isinstance(op, FuncOp):
            blocks.extend(op.walk_blocks())
    return blocks


def main_block(module: ModuleOp) -> Block | None:
    """The body of `@main`, or None if the module has no such function."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main" and op.body.blocks:
            return op.body.block
    return None


def is_constant_source(op: Operation) -> bool:
    return op.has_trait(ConstantSource)


def constant_ops(ops: Iterable[Operation]) -> set[Operation]:
    """The constant sources, and the ops that compute something of constants alone."""
    constants: set[Operation] = set()
    for op in ops:
        if is_constant_source(op) or (
            isinstance(op, ReferenceSemantics)
            and len(op.results) == 1
            and op.operands
            and all(operand.owner in constants for operand in op.operands)
        ):
            constants.add(op)
    return constants


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
    for op in reversed(list(block.ops)):
        if op.has_trait(Pure) and not any(result.uses for result in op.results):
            op.detach()
            op.erase()
            removed = True
    return removed


def bytes_of(type: Tensor) -> int:
    """Stored size of a tensor."""
    return prod(type.get_shape()) * dtype_of(type.element_type).itemsize
