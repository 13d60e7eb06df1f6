"""`program.bin` back to records. The layout is described in `encode_program.py`.

The bytes are not trusted: counts are capped before anything is allocated, and every index is
checked. What the records mean for the machine is left to `program_rules.py`.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from xdsl.ir import Attribute

from ranvier.backend.neuron.neff.encode_program import (
    BOOL,
    FLOAT,
    HEADER,
    INT,
    INTS,
    MAGIC,
    MAJOR,
    TEXT,
)
from ranvier.backend.neuron.neff.errors import NeffProgramError, NeffVersionError
from ranvier.backend.neuron.program import (
    CoreProgram,
    Instruction,
    Loop,
    Operand,
    Program,
    Record,
    TensorRecord,
)
from ranvier.dialects.nc import INSTRUCTIONS, Access, InstructionOp, Wait
from ranvier.dialects.nc.access import DRAM_DIMS, LOOP_DEPTH
from ranvier.dialects.nc.types import ELEMENTS, Space

MAX_RECORDS = 1 << 20
MAX_STRINGS = 1 << 16
MAX_STRING_BYTES = 1024
MAX_CORES = 64
MAX_TENSORS = 1 << 16
MAX_FIELDS = 64
MAX_WAITS = 64
MAX_INT_BYTES = 9
"""Bytes of one integer: 63 bits."""

_SPACES = {str(space): space for space in Space}


def decode_program(data: bytes | memoryview) -> Program:
    """The program in the bytes. Raises NeffProgramError, or NeffVersionError for a later format."""
    if len(data) < HEADER.size:
        raise NeffProgramError(f"program.bin of {len(data)} bytes has no header")
    magic, major, minor, *lengths = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise NeffProgramError(f"program.bin starts with {magic!r}, not {MAGIC!r}")
    if major != MAJOR:
        raise NeffVersionError(
            f"program.bin version mismatch supported: {MAJOR}.x received: {major}.{minor}"
        )
    if HEADER.size + sum(lengths) != len(data):
        raise NeffProgramError(f"program.bin has {len(data)} bytes, its sections {lengths}")
    sections: list[bytes] = []
    start = HEADER.size
    for length in lengths:
        sections.append(bytes(data[start : start + length]))
        start += length
    strings, numbers, records = sections
    decoder = _Decoder(_strings(strings), _numbers(numbers), _integers(records))
    return decoder.program()


def _strings(data: bytes) -> list[str]:
    strings: list[str] = []
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        end = position + 4 + length
        if length > MAX_STRING_BYTES or end > len(data) or len(strings) >= MAX_STRINGS:
            raise NeffProgramError(f"string {len(strings)} of {length} bytes")
        try:
            strings.append(data[position + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise NeffProgramError(f"string {len(strings)} is no UTF-8") from error
        position = end
    return strings


def _numbers(data: bytes) -> tuple[float, ...]:
    if len(data) % 8:
        raise NeffProgramError(f"{len(data)} bytes hold no f64 numbers")
    return struct.unpack(f"<{len(data) // 8}d", data)


def _integers(data: bytes) -> list[int]:
    """Variable-length integers, decoded together: one pass of NumPy for the whole stream."""
    raw = np.frombuffer(data, np.uint8)
    if not raw.size or raw[-1] & 128:
        raise NeffProgramError("the record stream ends inside an integer")
    ends = np.flatnonzero(raw < 128)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if int((ends - starts).max()) >= MAX_INT_BYTES:
        raise NeffProgramError("an integer of more than 63 bits")
    place = np.arange(raw.size) - np.repeat(starts, ends - starts + 1)
    parts = (raw & 127).astype(np.int64) << (7 * place)
    return np.add.reduceat(parts, starts).tolist()


class _Decoder:
    def __init__(self, strings: list[str], numbers: tuple[float, ...], ints: list[int]) -> None:
        self.strings = strings
        self.numbers = numbers
        self.ints = ints
        self.position = 0
        self.records = 0

    def program(self) -> Program:
        try:
            target = self.text()
            cores = tuple(self.core() for _ in range(self.count(MAX_CORES, "cores")))
        except IndexError as error:
            raise NeffProgramError("the record stream ends early, or names no string") from error
        if self.position != len(self.ints):
            raise NeffProgramError("the record stream has trailing integers")
        return Program(target, cores)

    def core(self) -> CoreProgram:
        tensors = tuple(self.tensor() for _ in range(self.count(MAX_TENSORS, "tensors")))
        scratch = self.next()
        return CoreProgram(tensors, scratch, self.body(0))

    def tensor(self) -> TensorRecord:
        kind = self.text()
        source = self.text() if self.count(1, "tensor sources") else self.next()
        return TensorRecord(kind, source, self.element(), self.next())

    def body(self, depth: int) -> tuple[Record, ...]:
        if depth > LOOP_DEPTH:
            raise NeffProgramError(f"loops nest more than {LOOP_DEPTH} deep")
        count = self.count(MAX_RECORDS - self.records, "records")
        self.records += count
        return tuple(self.record(depth) for _ in range(count))

    def record(self, depth: int) -> Record:
        opcode = self.next()
        if opcode == 0:
            trip = self.next()
            return Loop(trip, self.body(depth + 1))
        if (op := INSTRUCTIONS.get(opcode)) is None:
            raise NeffProgramError(f"no instruction has opcode {opcode}")
        return self.instruction(op, depth)

    def instruction(self, op: type[InstructionOp], depth: int) -> Instruction:
        roles, bits = op.roles(), self.next()
        if bits >> len(roles):
            raise NeffProgramError(f"{op.name} has {len(roles)} operands, not bits {bits:#x}")
        fields = self.count(MAX_FIELDS, "fields")
        waits = self.count(MAX_WAITS, "waits")
        operands = {role: self.operand(depth) for i, role in enumerate(roles) if bits >> i & 1}
        values = {self.text(): self.value() for _ in range(fields)}
        if len(values) != fields:
            raise NeffProgramError(f"{op.name} names a field twice")
        return Instruction(op, operands, values, tuple(self.wait(depth) for _ in range(waits)))

    def operand(self, depth: int) -> Operand:
        name = self.text()
        if (space := _SPACES.get(name)) is None:
            raise NeffProgramError(f"no memory '{name}'")
        memory, address, element = self.signed(), self.next(), self.element()
        partition, partitions, start = self.next(), self.next(), self.signed()
        steps = self.signed_run(depth)
        flat = self.run(2 * self.count(DRAM_DIMS, "strides"))
        dims = tuple((_unzigzag(stride), count) for stride, count in list(pairwise(flat))[::2])
        access = Access(partition, partitions, start, steps, dims)
        return Operand(space, memory, address, element, access)

    def wait(self, depth: int) -> Wait:
        stream = self.text()
        return Wait(stream, self.signed(), self.signed_run(depth))

    def value(self) -> Any:
        kind = self.next()
        if kind == TEXT:
            return self.text()
        if kind == FLOAT:
            return self.numbers[self.next()]
        if kind == BOOL:
            return bool(self.count(1, "truth values"))
        if kind == INT:
            return self.signed()
        if kind == INTS:
            return self.signed_run(self.count(MAX_FIELDS, "integers of a field"))
        raise NeffProgramError(f"no field value is of kind {kind}")

    def element(self) -> Attribute:
        name = self.text()
        if name not in ELEMENTS:
            raise NeffProgramError(f"the machine has no {name}")
        return ELEMENTS[name][0]

    def text(self) -> str:
        return self.strings[self.next()]

    def count(self, limit: int, what: str) -> int:
        count = self.next()
        if count > limit:
            raise NeffProgramError(f"{count} {what} exceed {limit}")
        return count

    def signed(self) -> int:
        return _unzigzag(self.next())

    def signed_run(self, count: int) -> tuple[int, ...]:
        return tuple(map(_unzigzag, self.run(count)))

    def run(self, count: int) -> list[int]:
        end = self.position + count
        if end > len(self.ints):
            raise NeffProgramError("the record stream ends early")
        values = self.ints[self.position : end]
        self.position = end
        return values

    def next(self) -> int:
        value = self.ints[self.position]
        self.position += 1
        return value


def _unzigzag(value: int) -> int:
    return value >> 1 if not value & 1 else -((value + 1) >> 1)
