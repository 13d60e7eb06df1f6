"""Programs of the machine as records: one instruction between loads and stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from ranvier.backend.neuron.interpreter.machine import Machine
from ranvier.backend.neuron.limits import INF2
from ranvier.backend.neuron.program import (
    CoreProgram,
    Instruction,
    Operand,
    Program,
    Record,
    TensorRecord,
)
from ranvier.dialects.nc import Access, CopyOp, DmaOp, InstructionOp
from ranvier.dialects.nc.types import ELEMENTS, PSUM_BANK_BYTES, Space
from samples import Array

DTYPES = {name: dtype for name, (_, dtype) in ELEMENTS.items()}
FLOATS = ("f32", "bf16", "f16")
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def element_of(array: Array) -> Any:
    return ELEMENTS[_NAMES[array.dtype]][0]


def whole(array: Array) -> Access:
    """All elements of a [partitions, elements] array, in order."""
    return Access(0, array.shape[0], 0, (), ((1, array.shape[1]),))


def flat(array: Array) -> Access:
    """All elements of a tensor in DRAM."""
    return Access(0, 0, 0, (), ((1, array.size),))


def places(access: Access) -> Iterator[tuple[int, int]]:
    """(partition, element) in the order in which an instruction touches them."""
    for partition in range(access.partition, access.partition + access.partitions):
        for turns in product(*(range(count) for count in access.counts)):
            moves = zip(turns, access.dims, strict=True)
            yield partition, access.start + sum(turn * stride for turn, (stride, _) in moves)


def picked(array: Array, access: Access) -> Array:
    """The elements of an access, [partitions, elements]."""
    values = [array[place] for place in places(access)]
    return np.array(values, array.dtype).reshape(access.partitions, access.free_size)


def placed(array: Array, access: Access, values: Array) -> Array:
    """A copy of the array with the elements of an access replaced."""
    result = array.copy()
    for place, value in zip(places(access), values.reshape(-1), strict=True):
        result[place] = value
    return result


@dataclass
class Bench:
    """Buffers on chip, filled from inputs; an instruction in between; buffers back as outputs."""

    inputs: list[Array] = field(default_factory=list[Array])
    tensors: list[TensorRecord] = field(default_factory=list[TensorRecord])
    before: list[Record] = field(default_factory=list[Record])
    after: list[Record] = field(default_factory=list[Record])
    sbuf: int = 0
    bank: int = 0

    def place(self, array: Array, space: Space) -> tuple[int, Any]:
        """Load an array of [partitions, elements]; its address and element type."""
        address = self.in_sbuf(array)
        element = element_of(array)
        number = len(self.inputs)
        self.inputs.append(array)
        self.tensors.append(TensorRecord("input", number, element, array.size))
        dram = Operand(Space.DRAM, len(self.tensors) - 1, 0, element, flat(array))
        chip = Operand(Space.SBUF, 0, address, element, whole(array))
        self.before.append(Instruction(DmaOp, {"dst": chip, "src": dram}, {"queue": 0}))
        if space == Space.PSUM:
            target = self.bank * PSUM_BANK_BYTES
            self.bank += 1
            copy = Operand(Space.PSUM, 0, target, element, whole(array))
            self.before.append(Instruction(CopyOp, {"dst": copy, "src": chip}, {}))
            return target, element
        return address, element

    def in_sbuf(self, array: Array) -> int:
        """Room in SBUF, on a boundary of 64 bytes."""
        address = self.sbuf
        self.sbuf += -(-array.shape[1] * array.itemsize // 64) * 64
        return address

    def store(self, array: Array, space: Space, address: int) -> None:
        """Bring a buffer back."""
        element = element_of(array)
        source = Operand(space, 0, address, element, whole(array))
        if space == Space.PSUM:
            copy = Operand(Space.SBUF, 0, self.in_sbuf(array), element, whole(array))
            self.after.append(Instruction(CopyOp, {"dst": copy, "src": source}, {}))
            source = copy
        outputs = sum(tensor.kind == "output" for tensor in self.tensors)
        self.tensors.append(TensorRecord("output", outputs, element, array.size))
        dram = Operand(Space.DRAM, len(self.tensors) - 1, 0, element, flat(array))
        self.after.append(Instruction(DmaOp, {"dst": dram, "src": source}, {"queue": 1}))

    def program(self, *body: Record) -> Program:
        records = (*self.before, *body, *self.after)
        return Program("inf2", (CoreProgram(tuple(self.tensors), 0, records),))

    def run(self, *body: Record, exact: bool = False) -> list[Array]:
        machine = Machine(self.program(*body), INF2, exact=exact)
        return machine.run(self.inputs, no_weights)


def no_weights(name: str) -> Array:
    raise KeyError(name)


View = tuple[Space, Array, Access]


def issue(
    kind: type[InstructionOp],
    views: Mapping[str, View],
    outputs: Sequence[str] = ("dst",),
    /,
    **fields: Any,
) -> list[Array]:
    """The buffers of `outputs` after one issue. Equal arrays are one buffer."""
    bench = Bench()
    homes: dict[int, tuple[int, Any]] = {}
    operands: dict[str, Operand] = {}
    for role, (space, array, access) in views.items():
        if id(array) not in homes:
            homes[id(array)] = bench.place(array, space)
        address, element = homes[id(array)]
        operands[role] = Operand(space, 0, address, element, access)
    for role in outputs:
        space, array, _ = views[role]
        bench.store(array, space, homes[id(array)][0])
    results = bench.run(Instruction(kind, operands, fields))
    return [
        result.reshape(views[role][1].shape) for role, result in zip(outputs, results, strict=True)
    ]
