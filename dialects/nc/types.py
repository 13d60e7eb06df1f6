"""Memories of a NeuronCore, and the buffers in them.

!nc.dram<50176xbf16>       elements in device memory, one dimension
!nc.sbuf<128x512xbf16>     partitions, then elements of each partition
!nc.psum<128x512xf32>      the same in the accumulator memory
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Self

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    ArrayAttr,
    IntAttr,
    IntegerType,
    Signedness,
    bf16,
    f16,
    f32,
    i8,
    i16,
    i32,
)
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

PARTITIONS = 128
"""Partitions of SBUF and PSUM, rows of the PE array."""
PSUM_BANKS = 8
PSUM_BANK_BYTES = 2048
"""Bytes of one bank in one partition: 512 f32 accumulators."""

ui8 = IntegerType(8, Signedness.UNSIGNED)

ELEMENTS: dict[str, tuple[Attribute, np.dtype[Any]]] = {
    "f32": (f32, np.dtype(np.float32)),
    "bf16": (bf16, np.dtype(ml_dtypes.bfloat16)),
    "f16": (f16, np.dtype(np.float16)),
    "i32": (i32, np.dtype(np.int32)),
    "i16": (i16, np.dtype(np.int16)),
    "i8": (i8, np.dtype(np.int8)),
    "ui8": (ui8, np.dtype(np.uint8)),
}
"""Element types that the engines read and write; truth values are ui8 of 0 and 1."""

_DTYPES = {element: dtype for element, dtype in ELEMENTS.values()}
_NAMES = {element: name for name, (element, _) in ELEMENTS.items()}


class Space(StrEnum):
    DRAM = "dram"
    SBUF = "sbuf"
    PSUM = "psum"


def element_dtype(element: Attribute) -> np.dtype[Any]:
    """The NumPy type of a machine element type. Raises VerifyException for others."""
    if (dtype := _DTYPES.get(element)) is None:
        raise VerifyException(f"the machine has no {element}; it has {', '.join(ELEMENTS)}")
    return dtype


def element_name(element: Attribute) -> str:
    return _NAMES[element]


class BufferType(ParametrizedAttribute, TypeAttribute):
    """A buffer: `dims` is (elements,) in DRAM, (partitions, elements per partition) on chip."""

    dims: ArrayAttr[IntAttr]
    element: Attribute

    SPACE: ClassVar[Space]

    @classmethod
    def of(cls, shape: Sequence[int], element: Attribute) -> Self:
        """The type of a buffer with these dimensions."""
        return cls.new((ArrayAttr([IntAttr(size) for size in shape]), element))

    @property
    def space(self) -> Space:
        return self.SPACE

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size.data for size in self.dims.data)

    @property
    def partitions(self) -> int:
        """Partitions that the buffer spans; 1 in DRAM, which has none."""
        return self.shape[0] if self.space != Space.DRAM else 1

    @property
    def length(self) -> int:
        """Elements in DRAM, elements of one partition on chip."""
        return self.shape[-1]

    @property
    def row_bytes(self) -> int:
        """Bytes of `length` elements."""
        return self.length * element_dtype(self.element).itemsize

    def verify(self) -> None:
        element_dtype(self.element)
        rank = 1 if self.space == Space.DRAM else 2
        if len(self.shape) != rank or min(self.shape) < 1:
            raise VerifyException(f"!{self.name} has {rank} positive dimensions, got {self.shape}")
        if self.partitions > PARTITIONS:
            raise VerifyException(f"{self.partitions} partitions exceed {PARTITIONS}")
        if self.space == Space.PSUM and self.row_bytes > PSUM_BANK_BYTES:
            raise VerifyException(
                f"{self.row_bytes} bytes per partition exceed a PSUM bank of {PSUM_BANK_BYTES}"
            )

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_dimension_list(self.shape)
            printer.print_string("x")
            printer.print_attribute(self.element)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        with parser.in_angle_brackets():
            shape, element = parser.parse_ranked_shape()
        return ArrayAttr([IntAttr(size) for size in shape]), element


@irdl_attr_definition
class DramType(BufferType):
    name = "nc.dram"
    SPACE: ClassVar[Space] = Space.DRAM


@irdl_attr_definition
class SbufType(BufferType):
    name = "nc.sbuf"
    SPACE: ClassVar[Space] = Space.SBUF


@irdl_attr_definition
class PsumType(BufferType):
    name = "nc.psum"
    SPACE: ClassVar[Space] = Space.PSUM


def buffer_type_of(value: SSAValue) -> BufferType:
    """The type of a buffer. Raises VerifyException for another value."""
    if not isinstance(value.type, BufferType):
        raise VerifyException(f"expected a buffer, got {value.type}")
    return value.type
