"""A program as the machine takes it: plain records, the decoded form of `program.bin`.

Nothing here needs IR. Addresses are absolute: bytes from the start of each partition on chip, bytes
of a tensor or of the scratch area in DRAM. Counts and strides stay in elements, as in `nc`.
`program_rules.py` holds the rules that a program keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from xdsl.ir import Attribute

from ranvier.dialects.nc import Access, InstructionOp, Wait
from ranvier.dialects.nc.instruction import View, stream_of
from ranvier.dialects.nc.types import Space, element_dtype

SCRATCH = -1
"""Memory number of a core's scratch area in DRAM; 0, 1, … are its tensors."""


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor in DRAM that exists before the program runs."""

    kind: str
    """`input`, `output` or `weight`."""
    source: int | str
    """Number of the operand or result of the launch; the symbol of a weight."""
    element: Attribute
    length: int
    """Elements."""

    @property
    def nbytes(self) -> int:
        return self.length * element_dtype(self.element).itemsize


@dataclass(frozen=True, slots=True)
class Operand:
    """The elements that an instruction touches in one of its roles."""

    space: Space
    memory: int
    """In DRAM, the tensor's number in its core or SCRATCH; 0 on chip."""
    address: int
    """Bytes from the start of the partition, or of the DRAM area, to element 0 of the access."""
    element: Attribute
    access: Access

    @property
    def dtype(self) -> np.dtype[Any]:
        return element_dtype(self.element)

    @property
    def view(self) -> View:
        """The operand as the rules of `nc` see it."""
        return View(self.space, self.element, self.access)

    @property
    def nbytes(self) -> int:
        """Bytes over all partitions."""
        return self.access.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, issued once per turn of its loops."""

    op: type[InstructionOp]
    operands: Mapping[str, Operand]
    fields: Mapping[str, Any]
    waits: tuple[Wait, ...] = ()

    @property
    def stream(self) -> str:
        """The engine or DMA queue that issues it."""
        return stream_of(self.op, self.fields)

    @property
    def engine(self) -> str:
        """The engine that runs it; `dma` for all queues."""
        return "dma" if self.op.ENGINE == "dma" else self.stream

    def writes(self) -> tuple[str, ...]:
        """The present roles that are written."""
        return tuple(role for role in self.operands if role in self.op.WRITES)


@dataclass(frozen=True, slots=True)
class Loop:
    """The body, `trip` times."""

    trip: int
    body: tuple[Record, ...]


Record: TypeAlias = Loop | Instruction


@dataclass(frozen=True, slots=True)
class CoreProgram:
    """What one NeuronCore does, in program order."""

    tensors: tuple[TensorRecord, ...]
    scratch_bytes: int
    body: tuple[Record, ...]

    def instructions(self) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
        """Every instruction once, with the trip counts of its loops, outermost first."""
        yield from _walk(self.body, ())


@dataclass(frozen=True, slots=True)
class Program:
    """A device segment: its cores in pipeline order."""

    target: str
    cores: tuple[CoreProgram, ...]

    def inputs(self) -> dict[int, TensorRecord]:
        """Inputs of the launch that some core reads, by number."""
        return self._numbered("input")

    def outputs(self) -> dict[int, TensorRecord]:
        return self._numbered("output")

    def _numbered(self, kind: str) -> dict[int, TensorRecord]:
        found = {
            tensor.source: tensor
            for core in self.cores
            for tensor in core.tensors
            if tensor.kind == kind and isinstance(tensor.source, int)
        }
        return dict(sorted(found.items()))


def _walk(
    body: tuple[Record, ...], trips: tuple[int, ...]
) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
    for record in body:
        if isinstance(record, Loop):
            yield from _walk(record.body, (*trips, record.trip))
        else:
            yield record, trips


def issues(body: tuple[Record, ...]) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
    """Every issue in program order: its instruction, and the turn of each loop around it."""
    return _issues(body, ())


def _issues(
    body: tuple[Record, ...], turns: tuple[int, ...]
) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
    for record in body:
        if isinstance(record, Loop):
            for turn in range(record.trip):
                yield from _issues(record.body, (*turns, turn))
        else:
            yield record, turns
