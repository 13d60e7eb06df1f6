"""The rules of a program: those of each instruction, and those that need the whole machine.

Loops are checked at the extremes of their turns, so the work does not grow with trip counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute
from xdsl.irdl import OptOperandDef, OptPropertyDef, VerificationContext
from xdsl.utils.exceptions import VerifyException

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.backend.neuron.program import (
    SCRATCH,
    CoreProgram,
    Instruction,
    Loop,
    Operand,
    Program,
    Record,
)
from ranvier.dialects.interfaces import as_attribute
from ranvier.dialects.nc import DramType, InstructionOp, PsumType, ReceiveOp, SbufType, SendOp
from ranvier.dialects.nc.access import LOOP_DEPTH
from ranvier.dialects.nc.instruction import check_instruction
from ranvier.dialects.nc.structure import INPUT, OUTPUT, WEIGHT
from ranvier.dialects.nc.sync import STREAMS
from ranvier.dialects.nc.types import (
    PARTITIONS,
    PSUM_BANK_BYTES,
    PSUM_BANKS,
    BufferType,
    Space,
)

MAX_TRANSFER = 1 << 31
"""Elements that one DMA instruction moves at most; it bounds what a hostile program can ask for."""

_SAMPLES = (0, 0.0, False, "", (0,))
_INHERENT = ("accesses", "waits", "operandSegmentSizes")


@dataclass(frozen=True)
class FieldRule:
    """What a scalar field of an instruction may hold."""

    kinds: frozenset[type]
    optional: bool


@cache
def field_rules(op: type[InstructionOp]) -> dict[str, FieldRule]:
    """The scalar fields of an instruction, read off its definition."""
    rules: dict[str, FieldRule] = {}
    for name, definition in op.get_irdl_definition().properties.items():
        if name in _INHERENT:
            continue
        kinds: set[type] = set()
        for sample in _SAMPLES:
            try:
                definition.constr.verify(as_attribute(sample), VerificationContext())
            except VerifyException:
                continue
            kinds.add(type(sample))
        rules[name] = FieldRule(frozenset(kinds), isinstance(definition, OptPropertyDef))
    return rules


@cache
def required_roles(op: type[InstructionOp]) -> tuple[str, ...]:
    """The roles that an instruction cannot do without."""
    operands = op.get_irdl_definition().operands
    return tuple(name for name, rule in operands if not isinstance(rule, OptOperandDef))


def verify_program(program: Program, machine: Machine) -> None:
    """Raises NeffProgramError with the record's path for the first rule that is broken."""
    if program.target != machine.name:
        raise NeffProgramError(f"a program for {program.target} does not run on {machine.name}")
    if not 1 <= len(program.cores) <= machine.max_cores:
        raise NeffProgramError(
            f"{len(program.cores)} cores; {machine.name} has 1 to {machine.max_cores}"
        )
    _verify_interface(program)
    transfers = Transfers()
    for index, core in enumerate(program.cores):
        checker = _CoreChecker(index, core, machine, transfers)
        checker.body(core.body, ())
    transfers.verify()


def _verify_interface(program: Program) -> None:
    """Inputs agree between cores; an output has one owner; sizes are positive."""
    inputs: dict[object, tuple[Attribute, int]] = {}
    outputs: set[object] = set()
    for index, core in enumerate(program.cores):
        if core.scratch_bytes < 0:
            raise NeffProgramError(f"core {index}: {core.scratch_bytes} bytes of scratch")
        for number, tensor in enumerate(core.tensors):
            path = f"core {index}, tensor {number}"
            if tensor.kind not in (INPUT, OUTPUT, WEIGHT) or tensor.length < 1:
                raise NeffProgramError(f"{path}: {tensor.kind} of {tensor.length} elements")
            if isinstance(tensor.source, str) != (tensor.kind == WEIGHT):
                raise NeffProgramError(f"{path}: {tensor.kind} {tensor.source!r}")
            form = (tensor.element, tensor.length)
            if tensor.kind == INPUT and inputs.setdefault(tensor.source, form) != form:
                raise NeffProgramError(f"{path}: input {tensor.source} differs between cores")
            if tensor.kind == OUTPUT:
                if tensor.source in outputs:
                    raise NeffProgramError(f"{path}: output {tensor.source} has a writer already")
                outputs.add(tensor.source)


@dataclass
class Transfers:
    """What cores send and receive: (source, destination, tag) -> elements in all turns."""

    sent: dict[tuple[int, int, int], int] = field(default_factory=dict[Any, int])
    received: dict[tuple[int, int, int], int] = field(default_factory=dict[Any, int])

    def add(self, core: int, instruction: Instruction, turns: int) -> None:
        """Count an instruction of a core that runs so many times."""
        peer, tag = instruction.fields["peer"], instruction.fields["tag"]
        if instruction.op is SendOp:
            table, key, role = self.sent, (core, peer, tag), "src"
        else:
            table, key, role = self.received, (peer, core, tag), "dst"
        if key[0] >= key[1]:
            raise VerifyException(f"core {key[0]} cannot send to core {key[1]}; only to later ones")
        table[key] = table.get(key, 0) + instruction.operands[role].access.size * turns

    def verify(self) -> None:
        """Every element that is sent is received."""
        for key in sorted(self.sent.keys() | self.received.keys()):
            sent, received = self.sent.get(key, 0), self.received.get(key, 0)
            if sent != received:
                source, destination, tag = key
                raise NeffProgramError(
                    f"core {source} sends {sent} elements under tag {tag}, core {destination} "
                    f"receives {received}"
                )


@dataclass
class _CoreChecker:
    index: int
    core: CoreProgram
    machine: Machine
    transfers: Transfers
    number: int = 0

    def body(self, records: tuple[Record, ...], trips: tuple[int, ...]) -> None:
        for record in records:
            if isinstance(record, Loop):
                if record.trip < 1 or len(trips) >= LOOP_DEPTH:
                    raise NeffProgramError(
                        f"core {self.index}: a loop of {record.trip} turns in {len(trips)} loops"
                    )
                self.body(record.body, (*trips, record.trip))
                continue
            try:
                self.instruction(record, trips)
            except VerifyException as error:
                raise NeffProgramError(
                    f"core {self.index}, instruction {self.number} ({record.op.name}): {error}"
                ) from error
            self.number += 1

    def instruction(self, record: Instruction, trips: tuple[int, ...]) -> None:
        _check_form(record, len(trips))
        views = {role: operand.view for role, operand in record.operands.items()}
        for role, operand in record.operands.items():
            try:
                self.operand(operand, trips, written=role in record.op.WRITES)
            except VerifyException as error:
                raise VerifyException(f"{role}: {error}") from error
        check_instruction(record.op, views, record.fields)
        self.engine(record)
        if record.op in (SendOp, ReceiveOp):
            turns = 1
            for trip in trips:
                turns *= trip
            self.transfers.add(self.index, record, turns)

    def operand(self, operand: Operand, trips: tuple[int, ...], *, written: bool) -> None:
        """Aligned, inside its memory in every turn, and writable if it is written."""
        itemsize = operand.dtype.itemsize
        if operand.address < 0 or operand.address % itemsize:
            raise VerifyException(f"address {operand.address} in units of {itemsize} bytes")
        if operand.space == Space.DRAM:
            room = self.dram_bytes(operand, written=written)
            if operand.access.size > MAX_TRANSFER:
                raise VerifyException(f"{operand.access.size} elements in one instruction")
        elif operand.space == Space.SBUF:
            room = self.machine.sbuf_bytes
        else:
            bank = operand.address // PSUM_BANK_BYTES
            if bank >= PSUM_BANKS:
                raise VerifyException(f"address {operand.address} is in none of {PSUM_BANKS} banks")
            room = (bank + 1) * PSUM_BANK_BYTES
        length = (room - operand.address) // itemsize
        if length < 1:
            raise VerifyException(f"address {operand.address} leaves {room} bytes")
        operand.access.check(_memory_type(operand.space, length, operand.element), trips)

    def dram_bytes(self, operand: Operand, *, written: bool) -> int:
        if operand.memory == SCRATCH:
            return self.core.scratch_bytes
        if not 0 <= operand.memory < len(self.core.tensors):
            raise VerifyException(f"no tensor {operand.memory} among {len(self.core.tensors)}")
        tensor = self.core.tensors[operand.memory]
        if tensor.element != operand.element:
            raise VerifyException(f"{operand.element} of a tensor of {tensor.element}")
        if written and tensor.kind != OUTPUT:
            raise VerifyException(f"writes {tensor.kind} {tensor.source}")
        return tensor.nbytes

    def engine(self, record: Instruction) -> None:
        """The target has the engine, and multiplies the types."""
        if record.stream == "pool" and self.machine.pool_clock is None:
            raise VerifyException(f"{self.machine.name} has no pool engine")
        inputs = [o for role, o in record.operands.items() if role not in record.op.WRITES]
        if record.engine == "pe" and self.machine.pe_f32_passes is None:
            if any(operand.element == f32 for operand in inputs):
                raise VerifyException(f"{self.machine.name} multiplies no f32")


def _check_form(record: Instruction, depth: int) -> None:
    """Roles, fields and waits are of the shape that the instruction's definition gives."""
    roles = record.op.roles()
    if missing := [role for role in required_roles(record.op) if role not in record.operands]:
        raise VerifyException(f"operand {missing[0]} is missing")
    if unknown := [role for role in record.operands if role not in roles]:
        raise VerifyException(f"no operand {unknown[0]}")
    rules = field_rules(record.op)
    for name, value in record.fields.items():
        if name not in rules or type(value) not in rules[name].kinds:
            raise VerifyException(f"no field {name} of {type(value).__name__}")
    if missing := [n for n, rule in rules.items() if n not in record.fields and not rule.optional]:
        raise VerifyException(f"field {missing[0]} is missing")
    for turn in record.fields.get("first_at", ()):
        if turn not in range(depth):
            raise VerifyException(f"first_at names loop {turn} of {depth}")
    for wait in record.waits:
        if wait.stream not in STREAMS or len(wait.steps) != depth:
            raise VerifyException(f"waits for {wait} in {depth} loops")


_KINDS: dict[Space, type[BufferType]] = {
    Space.DRAM: DramType,
    Space.SBUF: SbufType,
    Space.PSUM: PsumType,
}


@lru_cache(maxsize=4096)
def _memory_type(space: Space, length: int, element: Attribute) -> BufferType:
    """The memory from an address on, as a buffer of one type."""
    return _KINDS[space].of((length,) if space == Space.DRAM else (PARTITIONS, length), element)
