"""What one issue of an instruction costs, from its decoded record.

Engine cycles are the published ones of NeuronCore-v2 (docs/design/0001-machine.md, instruction
table); DMA time is a start latency, then descriptors on the DMA engines. Every figure that follows
from here is a documented-cost estimate, never a measurement of a device; for `inf1` most inputs are
assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod

from xdsl.dialects.builtin import bf16, f16, f32

from ranvier.backend.neuron.interpreter.layout import Layout, align
from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects import nc
from ranvier.dialects.nc.types import Space

MIN_II = 64
"""Cycles between two issues of an engine, at least."""
ACCESS_CYCLES = 60
"""Cycles until another engine sees a result."""
DMA_LATENCY = 1.3e-6
"""Seconds from the semaphore to the first byte."""
DESCRIPTOR_SECONDS = 16e-9
"""Seconds per descriptor. Assumed: a fit, 7 to 19 ns."""
DESCRIPTOR_DIMS = 4
"""Nested strides of a descriptor, on each side. Published file format of DMA descriptors."""
BURST_BYTES = 64
"""Memory is read and written in bursts of so many bytes. Assumed."""
DESCRIPTOR_BYTES = 4096
"""A larger transfer is cut, so that more engines share it. Assumed."""


@dataclass(frozen=True, slots=True)
class DmaCost:
    """A transfer: its bytes, what they cost of the engines' bandwidth, and its descriptors."""

    nbytes: int
    moved: int
    """Bytes, counting at least a burst for each contiguous run."""
    descriptors: int

    def seconds(self, engines: int, machine: Machine) -> float:
        """Time on each of so many engines, which share the descriptors."""
        share = ceil(self.descriptors / engines)
        each = self.moved / self.descriptors / machine.dma_bytes_per_second + DESCRIPTOR_SECONDS
        return share * each


def clock_of(engine: str, machine: Machine) -> float:
    """Clock of an engine in Hz."""
    clocks = {
        "pe": machine.pe_clock,
        "act": machine.act_clock,
        "dve": machine.dve_clock,
        "pool": machine.pool_clock,
    }
    if (clock := clocks.get(engine)) is None:
        raise ValueError(f"{machine.name} has no {engine} engine")
    return clock


def cycles(instruction: Instruction, machine: Machine) -> float:
    """Cycles of the engine for one issue. Raises ValueError for a transfer, which has none."""
    if (formula := _FORMULAS.get(instruction.op)) is None:
        raise ValueError(f"{instruction.op.name} runs on no engine")
    return formula(instruction, machine)


def seconds(instruction: Instruction, machine: Machine) -> float:
    """Seconds that one issue keeps its engine busy, or a transfer alone on all DMA engines."""
    if instruction.engine == "dma":
        return DMA_LATENCY + dma_cost(instruction).seconds(machine.dma_engines, machine)
    return cycles(instruction, machine) / clock_of(instruction.engine, machine)


def dma_cost(instruction: Instruction) -> DmaCost:
    """Bytes and descriptors of a transfer.

    A descriptor holds up to four nested strides on each side, and belongs to one partition. Each
    run of bytes that is contiguous on both sides takes at least a burst of memory.
    """
    if instruction.op in (nc.GatherOp, nc.ScatterOp):
        rows = "dst" if instruction.op is nc.GatherOp else "src"
        return _indirect_cost(instruction.operands[rows])
    operands = list(instruction.operands.values())
    nbytes = max(operand.nbytes for operand in operands)
    elements = operands[0].access.size
    aligned = align(*map(_layout, operands))
    if aligned is None:
        return DmaCost(nbytes, elements * BURST_BYTES, elements)
    dims = list(zip(*aligned, strict=True))
    partitions = prod(dim[0][1] for dim in dims if any(_is_partition(side) for side in dim))
    inner = [dim for dim in dims if not any(_is_partition(side) for side in dim)]
    run = inner[-1][0][1] if inner and all(stride == 1 for stride, _ in inner[-1]) else 1
    moved = elements // run * max(BURST_BYTES, run * nbytes // elements)
    nested = partitions * prod(dim[0][1] for dim in inner[:-DESCRIPTOR_DIMS])
    return DmaCost(nbytes, moved, max(nested, ceil(moved / DESCRIPTOR_BYTES)))


def _indirect_cost(rows: Operand) -> DmaCost:
    """A descriptor for the row of each partition. Their making is not published."""
    partitions = rows.access.partitions
    moved = partitions * max(BURST_BYTES, rows.nbytes // partitions)
    return DmaCost(rows.nbytes, moved, max(partitions, ceil(moved / DESCRIPTOR_BYTES)))


def _is_partition(dim: tuple[int, int]) -> bool:
    return abs(dim[0]) >= _APART


_APART = 1 << 40
"""Stride between partitions in elements: no run goes from one to the next."""


def _layout(operand: Operand) -> Layout:
    """Strides in elements, so that a cast does not break a run."""
    partitions = operand.access.partitions
    return (((_APART, partitions),) if partitions else ()) + operand.access.dims


def _free(instruction: Instruction, role: str) -> int:
    return instruction.operands[role].access.free_size


def _one_per_element(instruction: Instruction, machine: Machine) -> float:
    return max(MIN_II, _free(instruction, "dst"))


def _matmul(instruction: Instruction, machine: Machine) -> float:
    """max(min(64, M), N), four times for f32; a narrower array takes M in parts."""
    rows, columns = _free(instruction, "stationary"), _free(instruction, "moving")
    parts = ceil(rows / machine.pe_columns)
    passes = machine.pe_f32_passes or 1
    factor = passes if instruction.operands["moving"].element == f32 else 1
    return parts * factor * max(min(MIN_II, rows), columns)


def _transpose(instruction: Instruction, machine: Machine) -> float:
    """max(P, min(64, F)), four times for f32 (derived)."""
    source = instruction.operands["src"]
    factor = (machine.pe_f32_passes or 1) if source.element == f32 else 1
    return factor * max(source.access.partitions, min(MIN_II, source.access.free_size))


def _activation(instruction: Instruction, machine: Machine) -> float:
    total = MIN_II if "sum" in instruction.operands else 0
    return _one_per_element(instruction, machine) + total


def _tensor_tensor(instruction: Instruction, machine: Machine) -> float:
    """N with an input in PSUM, or for simple sums of contiguous bf16 in SBUF; else 2N."""
    operands = instruction.operands
    inputs = [operands["lhs"], operands["rhs"]]
    simple = instruction.fields["op"] in ("add", "subtract", "mult")
    fast = any(operand.space == Space.PSUM for operand in inputs) or (
        simple and all(_contiguous(operand) for operand in operands.values())
    )
    return max(MIN_II, _free(instruction, "dst") * (1 if fast else 2))


def _scalar_tensor_tensor(instruction: Instruction, machine: Machine) -> float:
    """N for (x - a) * y of an even number of bf16, else 2N."""
    operands, fields, size = instruction.operands, instruction.fields, _free(instruction, "dst")
    narrow = operands["src"].element == operands["other"].element == bf16
    fast = narrow and (fields["op0"], fields["op1"]) == ("subtract", "mult") and size % 2 == 0
    return max(MIN_II, size * (1 if fast else 2))


def _contiguous(operand: Operand) -> bool:
    """Contiguous bf16 in SBUF."""
    aligned = align(operand.access.dims)
    contiguous = aligned is not None and len(aligned[0]) == 1 and aligned[0][0][0] in (0, 1)
    return contiguous and operand.space == Space.SBUF and operand.element == bf16


def _reduce(instruction: Instruction, machine: Machine) -> float:
    """N, or half of it for sums and maxima of bf16."""
    source, target = instruction.operands["src"], instruction.operands["dst"]
    fast = source.element == target.element == bf16 and instruction.fields["op"] in ("add", "max")
    return max(MIN_II, source.access.free_size / (2 if fast else 1))


def _memset(instruction: Instruction, machine: Machine) -> float:
    """N, or half of it for zeros of a 16-bit float."""
    narrow = instruction.operands["dst"].element in (bf16, f16)
    fast = narrow and instruction.fields["value"] == 0
    return max(MIN_II, _free(instruction, "dst") / (2 if fast else 1))


def _reciprocal(instruction: Instruction, machine: Machine) -> float:
    return max(MIN_II, 8 * _free(instruction, "dst"))


def _copy_predicated(instruction: Instruction, machine: Machine) -> float:
    """N with the source or the predicate in PSUM, else 2N."""
    in_psum = any(instruction.operands[r].space == Space.PSUM for r in ("src", "predicate"))
    return max(MIN_II, _free(instruction, "dst") * (1 if in_psum else 2))


_FORMULAS: dict[type[nc.InstructionOp], Callable[[Instruction, Machine], float]] = {
    nc.MatmulOp: _matmul,
    nc.TransposeOp: _transpose,
    nc.ActivationOp: _activation,
    nc.TensorTensorOp: _tensor_tensor,
    nc.ScalarTensorTensorOp: _scalar_tensor_tensor,
    nc.TensorScalarOp: _one_per_element,
    nc.ReduceOp: _reduce,
    nc.CopyOp: _one_per_element,
    nc.MemsetOp: _memset,
    nc.ReciprocalOp: _reciprocal,
    nc.CopyPredicatedOp: _copy_predicated,
}
