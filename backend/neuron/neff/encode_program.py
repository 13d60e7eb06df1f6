"""Programs as bytes: IR to records, and records to `program.bin`.

The file is a header, then three sections: strings, numbers (f64), and records. Records are one
stream of variable-length integers, seven bits to a byte; signed values are zigzag-coded. They name
opcodes, roles and fields by what the op classes declare, so a new instruction needs no change here.

    program  = target:string, cores, core*
    core     = tensors, (kind:string, 0 index | 1 symbol:string, element:string, length)*,
               scratch bytes, body
    body     = records, record*
    record   = 0, trip, body
             | opcode, roles:bits, fields, waits, operand*, (name:string, kind, value)*,
               (stream:string, count, step per loop)*
    operand  = space:string, memory, address, element:string, partition, partitions, start,
               step per loop, dims, (stride, count)*
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from xdsl.ir import Block, SSAValue

from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.backend.neuron.program import (
    SCRATCH,
    CoreProgram,
    Instruction,
    Loop,
    Operand,
    Program,
    Record,
    TensorRecord,
)
from ranvier.dialects import nc
from ranvier.dialects.nc.access import Access
from ranvier.dialects.nc.types import Space, buffer_type_of, element_name

MAGIC = b"RVPROGRM"
MAJOR, MINOR = 1, 0
HEADER = struct.Struct("<8sIIQQQ")
"""Magic, major and minor version, bytes of the strings, of the numbers, of the records."""

INT, FLOAT, BOOL, TEXT, INTS = range(5)
"""Kinds of field values."""


def program_of(op: nc.ProgramOp) -> Program:
    """The records of a program. Raises NeffProgramError where a buffer has no address yet."""
    return Program(op.target.data, tuple(_core_of(core) for core in op.cores))


def _core_of(core: nc.CoreOp) -> CoreProgram:
    places: dict[SSAValue, tuple[int, int]] = {}
    tensors: list[TensorRecord] = []
    scratch = 0
    for op in core.walk():
        if isinstance(op, nc.TensorOp):
            places[op.buffer] = (len(tensors), 0)
            tensors.append(_tensor_of(op))
        elif isinstance(op, nc.AllocOp):
            kind = buffer_type_of(op.buffer)
            if op.address is None:
                raise NeffProgramError(
                    f"core {core.index}: a buffer of {kind} has no address; run the pass "
                    "`allocate` first"
                )
            address = op.address.value.data
            places[op.buffer] = (SCRATCH if kind.space == Space.DRAM else 0, address)
            if kind.space == Space.DRAM:
                scratch = max(scratch, address + kind.row_bytes)
    return CoreProgram(tuple(tensors), scratch, _body_of(core.body.block, places))


def _tensor_of(op: nc.TensorOp) -> TensorRecord:
    buffer = buffer_type_of(op.buffer)
    if op.symbol is not None:
        source: int | str = op.symbol
    else:
        source = op.index.value.data if op.index is not None else 0
    return TensorRecord(op.kind.data, source, buffer.element, buffer.length)


def _body_of(block: Block, places: dict[SSAValue, tuple[int, int]]) -> tuple[Record, ...]:
    records: list[Record] = []
    for op in block.ops:
        if isinstance(op, nc.LoopOp):
            records.append(Loop(op.trips, _body_of(op.body.block, places)))
        elif isinstance(op, nc.InstructionOp):
            records.append(_instruction_of(op, places))
    return tuple(records)


def _instruction_of(op: nc.InstructionOp, places: dict[SSAValue, tuple[int, int]]) -> Instruction:
    operands: dict[str, Operand] = {}
    for role, value, access in zip(op.present_roles(), op.operands, op.accesses.data, strict=True):
        buffer = buffer_type_of(value)
        memory, address = places[value]
        operands[role] = Operand(buffer.space, memory, address, buffer.element, access)
    waits = () if op.waits is None else op.waits.data
    return Instruction(type(op), operands, op.fields(), waits)


def encode_program(program: Program) -> bytes:
    """The bytes of `program.bin`: the same program gives the same bytes."""
    return _Encoder().program(program)


class _Encoder:
    def __init__(self) -> None:
        self.strings: dict[str, int] = {}
        self.numbers: dict[bytes, int] = {}
        self.out = bytearray()

    def program(self, program: Program) -> bytes:
        self.text(program.target)
        self.unsigned(len(program.cores))
        for core in program.cores:
            self.core(core)
        strings = b"".join(
            len(data).to_bytes(4, "little") + data
            for data in (text.encode() for text in self.strings)
        )
        numbers = b"".join(self.numbers)
        header = HEADER.pack(MAGIC, MAJOR, MINOR, len(strings), len(numbers), len(self.out))
        return header + strings + numbers + bytes(self.out)

    def core(self, core: CoreProgram) -> None:
        self.unsigned(len(core.tensors))
        for tensor in core.tensors:
            self.text(tensor.kind)
            if isinstance(tensor.source, str):
                self.unsigned(1)
                self.text(tensor.source)
            else:
                self.unsigned(0)
                self.unsigned(tensor.source)
            self.text(element_name(tensor.element))
            self.unsigned(tensor.length)
        self.unsigned(core.scratch_bytes)
        self.body(core.body)

    def body(self, records: Sequence[Record]) -> None:
        self.unsigned(len(records))
        for record in records:
            if isinstance(record, Loop):
                self.unsigned(0)
                self.unsigned(record.trip)
                self.body(record.body)
            else:
                self.instruction(record)

    def instruction(self, record: Instruction) -> None:
        roles = record.op.roles()
        self.unsigned(record.op.OPCODE)
        self.unsigned(sum(1 << i for i, role in enumerate(roles) if role in record.operands))
        self.unsigned(len(record.fields))
        self.unsigned(len(record.waits))
        for role in roles:
            if role in record.operands:
                self.operand(record.operands[role])
        for name, value in sorted(record.fields.items()):
            self.text(name)
            self.value(value)
        for wait in record.waits:
            self.text(wait.stream)
            for number in (wait.count, *wait.steps):
                self.signed(number)

    def operand(self, operand: Operand) -> None:
        access: Access = operand.access
        self.text(operand.space)
        self.signed(operand.memory)
        self.unsigned(operand.address)
        self.text(element_name(operand.element))
        self.unsigned(access.partition)
        self.unsigned(access.partitions)
        for number in (access.start, *access.steps):
            self.signed(number)
        self.unsigned(len(access.dims))
        for stride, count in access.dims:
            self.signed(stride)
            self.unsigned(count)

    def value(self, value: Any) -> None:
        match value:
            case bool():
                self.unsigned(BOOL)
                self.unsigned(int(value))
            case int():
                self.unsigned(INT)
                self.signed(value)
            case float():
                self.unsigned(FLOAT)
                self.unsigned(self.numbers.setdefault(struct.pack("<d", value), len(self.numbers)))
            case str():
                self.unsigned(TEXT)
                self.text(value)
            case _:
                self.unsigned(INTS)
                self.unsigned(len(value))
                for item in value:
                    self.signed(item)

    def text(self, text: str) -> None:
        self.unsigned(self.strings.setdefault(str(text), len(self.strings)))

    def signed(self, value: int) -> None:
        self.unsigned(value << 1 if value >= 0 else (-value << 1) - 1)

    def unsigned(self, value: int) -> None:
        while value > 127:
            self.out.append(value & 127 | 128)
            value >>= 7
        self.out.append(value)
