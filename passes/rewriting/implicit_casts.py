"""The casts that `cast-bf16` inserted, and how to take them away from an op again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from xdsl.dialects.builtin import f32
from xdsl.ir import Block, Operation, SSAValue, Use

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.nn.types import (
    NARROW_FLOATS,
    Tensor,
    TensorOp,
    element_of,
    shape_of,
    tensor,
    type_of,
)


def is_implicit(op: object) -> bool:
    return isinstance(op, nn.CastOp) and op.implicit is not None


def is_narrowing(op: Operation) -> bool:
    """An implicit cast that prepares an operand; the others return a result to f32."""
    return isinstance(op, nn.CastOp) and op.implicit is not None and is_narrow(op.result)


def is_narrow(value: SSAValue) -> bool:
    return isinstance(element_of(value), NARROW_FLOATS)


def is_narrowed(op: Operation, narrowed: Collection[SSAValue]) -> bool:
    """Whether an op is a cast of ours to a narrow type, or reads one of the `narrowed` values."""
    return is_narrowing(op) or (
        bool(narrowed) and any(operand in narrowed for operand in op.operands)
    )


def implicitly_narrow(block: Block) -> list[SSAValue]:
    """The values that only casts of ours made narrow, in program order."""
    narrowed: dict[SSAValue, None] = {}
    for op in block.ops:
        if is_narrowed(op, narrowed):
            narrowed |= {result: None for result in op.results if is_narrow(result)}
    return list(narrowed)


def widen_for(value: SSAValue, readers: Sequence[Use]) -> Sequence[Operation]:
    """Let the readers of a narrow value read a cast of its f32 form: the same number.

    Returns the cast to f32 and the one that readers read.
    """
    op = value.owner
    assert isinstance(op, Operation)
    assert op.parent is not None
    wide = nn.CastOp(value, f32, implicit=True)
    narrow = nn.CastOp(wide.result, element_of(value), implicit=True)
    wide.location = narrow.location = op.location
    op.parent.insert_ops_after([wide, narrow], op)
    for use in readers:
        if not is_implicit(use.operation):
            use.operation.operands[use.index] = narrow.result
    return wide, narrow


def unwind_host_casts(block: Block, on_host: Mapping[Operation, Reason]) -> dict[Operation, Reason]:
    """Let host ops compute in f32 where only casts of ours made them narrow.

    Returns the host ops, those that were rebuilt replaced by their successors. Values that cross
    between target and host are f32; the casts are on the target's side.
    """
    narrowed: set[SSAValue] = set()
    unwound: dict[Operation, Reason] = {}
    for op in list(block.ops):
        if is_narrowed(op, narrowed):
            if op in on_host and isinstance(op, TensorOp):
                unwound[_unwind(op, narrowed)] = on_host[op]
                continue
            narrowed |= {r for r in op.results if is_narrow(r)}
        if op in on_host:
            unwound[op] = on_host[op]
    return unwound


def _unwind(op: TensorOp, narrowed: set[SSAValue]) -> TensorOp:
    """Put the op on f32 operands, and casts of its f32 results where narrow ones were read."""
    block = op.parent
    assert block is not None
    operands: list[SSAValue] = []
    for operand in op.operands:
        if operand in narrowed:
            operand = _widened(block, op, operand)
        operands.append(operand)
    new = op.rebuilt(*operands, result_types=[_wide_type(result) for result in op.results])
    new.location = op.location
    new.attributes |= op.attributes
    block.insert_op_before(new, op)
    for old, result in zip(op.results, new.results, strict=True):
        result.name_hint = old.name_hint
        value: SSAValue = result
        if result.type != old.type:
            _bypass_casts(old, result)
            cast = nn.CastOp(result, element_of(old), implicit=True)
            cast.location = op.location
            block.insert_op_before(cast, op)
            value = cast.result
            narrowed.add(value)
        old.replace_all_uses_with(value)
    op.detach()
    op.erase()
    return new


def _widened(block: Block, op: Operation, operand: SSAValue) -> SSAValue:
    """The f32 value that a narrow one was cast from, or a cast of it to f32."""
    owner = operand.owner
    if isinstance(owner, nn.CastOp) and owner.implicit is not None:
        return owner.operand
    cast = nn.CastOp(operand, f32, implicit=True)
    cast.location = owner.location if isinstance(owner, Operation) else op.location
    block.insert_op_before(cast, op)
    return cast.result


def _bypass_casts(old: SSAValue, wide: SSAValue) -> None:
    """Give readers of `cast(old, f32)` the f32 value itself."""
    readers: Sequence[Operation] = [use.operation for use in old.uses]
    for reader in readers:
        if (
            isinstance(reader, nn.CastOp)
            and is_implicit(reader)
            and reader.result.type == wide.type
        ):
            reader.result.replace_all_uses_with(wide)


def _wide_type(result: SSAValue) -> Tensor:
    return tensor(shape_of(result), f32) if is_narrow(result) else type_of(result)
