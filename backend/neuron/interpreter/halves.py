"""An instruction as two that do its halves, so that two threads can run it.

Lanes of the vector and scalar engines never see each other, so such an instruction splits between
partitions. A product splits between rows or between columns of its result; either way each sum is
whole in one half. Both halves together write exactly what the instruction writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects import nc
from ranvier.dialects.nc import Access
from ranvier.dialects.nc.types import Space

Halves = tuple[Instruction, Instruction]

LANEWISE = frozenset(
    {
        nc.ActivationOp,
        nc.TensorTensorOp,
        nc.TensorScalarOp,
        nc.ScalarTensorTensorOp,
        nc.ReduceOp,
        nc.CopyOp,
        nc.ReciprocalOp,
        nc.CopyPredicatedOp,
    }
)


def halves(instruction: Instruction) -> Halves | None:
    """Two instructions that may run at the same time, or None."""
    if instruction.op is nc.MatmulOp:
        return _product_halves(instruction)
    if instruction.op is nc.DmaOp:
        return _transfer_halves(instruction)
    if instruction.op in LANEWISE:
        return _lane_halves(instruction)
    return None


def _lane_halves(instruction: Instruction) -> Halves | None:
    rows = instruction.operands["dst"].access.partitions
    if any(o.access.partitions != rows for o in instruction.operands.values()) or rows < 2:
        return None
    cuts = {role: _cut_lanes(o, rows // 2) for role, o in instruction.operands.items()}
    return _both(instruction, cuts)


def _product_halves(instruction: Instruction) -> Halves | None:
    """Between columns of `dst` or its rows: whichever reads less of the other operand twice."""
    dst, stationary, moving = (instruction.operands[role] for role in nc.MatmulOp.roles())
    by_columns = _cut_both(moving, dst)
    rows = dst.access.partitions
    by_rows = _cut(stationary, rows // 2) if rows > 1 else None
    if by_columns is not None and (by_rows is None or dst.access.free_size >= rows):
        moving_cut, dst_cut = by_columns
        return _both(
            instruction,
            {"dst": dst_cut, "stationary": (stationary, stationary), "moving": moving_cut},
        )
    if by_rows is None:
        return None
    cut = _cut_lanes(dst, rows // 2)
    return _both(instruction, {"dst": cut, "stationary": by_rows, "moving": (moving, moving)})


def _transfer_halves(instruction: Instruction) -> Halves | None:
    src, dst = instruction.operands["src"], instruction.operands["dst"]
    if src.space == dst.space:
        return None
    on_chip, other = (src, dst) if dst.space == Space.DRAM else (dst, src)
    rows = on_chip.access.partitions
    if rows < 2 or (cut := _cut(other, rows // 2 * on_chip.access.free_size)) is None:
        return None
    lanes = _cut_lanes(on_chip, rows // 2)
    return _both(
        instruction, {"src": lanes, "dst": cut} if on_chip is src else {"src": cut, "dst": lanes}
    )


def _both(instruction: Instruction, cuts: Mapping[str, tuple[Operand, Operand]]) -> Halves:
    first, second = (
        replace(instruction, operands={role: pair[side] for role, pair in cuts.items()})
        for side in (0, 1)
    )
    return first, second


def _cut_lanes(operand: Operand, at: int) -> tuple[Operand, Operand]:
    """The partitions before `at`, and the others."""
    access = operand.access
    rest = replace(access, partition=access.partition + at, partitions=access.partitions - at)
    return replace(operand, access=replace(access, partitions=at)), replace(operand, access=rest)


def _cut_both(moving: Operand, dst: Operand) -> tuple[tuple[Operand, Operand], ...] | None:
    """Both operands at the same free element, near the middle, where their patterns allow it."""
    size = moving.access.free_size
    for operand in (moving, dst):
        outer = next((count for count in operand.access.counts if count > 1), 1)
        at = outer // 2 * (size // outer)
        pairs = _cut(moving, at), _cut(dst, at)
        if pairs[0] is not None and pairs[1] is not None:
            return pairs[0], pairs[1]
    return None


def _cut(operand: Operand, at: int) -> tuple[Operand, Operand] | None:
    """The free elements before `at` and the others, or None where no stride ends there."""
    pair = _cut_access(operand.access, at)
    if pair is None:
        return None
    return replace(operand, access=pair[0]), replace(operand, access=pair[1])


def _cut_access(access: Access, at: int) -> tuple[Access, Access] | None:
    for position, (stride, count) in enumerate(access.dims):
        if count == 1:
            continue
        inner = prod(counts for _, counts in access.dims[position + 1 :])
        turns, left = divmod(at, inner)
        if left or not 0 < turns < count:
            return None
        before, after = access.dims[:position], access.dims[position + 1 :]
        return (
            replace(access, dims=(*before, (stride, turns), *after)),
            replace(
                access,
                start=access.start + stride * turns,
                dims=(*before, (stride, count - turns), *after),
            ),
        )
    return None
