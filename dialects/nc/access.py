"""Access patterns: which elements of a buffer an instruction touches, and in which order.

On chip a pattern names its partitions, then a start and up to four nested strides that all
partitions share; in DRAM it has a start and up to five. All counts are in elements. In a loop the
start moves by a fixed step with each loop variable, so a loop needs one pattern, not one per turn.

    %t[0:64][12 + i1*504][28:18, 1:28]      64 partitions from 0; 18 rows of 28, 28 apart
    %w[0 + i0*64][128:96, 1:64]             the same in DRAM, where there are no partitions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.ir import Data
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nc.types import PARTITIONS, BufferType, Space

FREE_DIMS = 4
"""Nested strides inside a partition."""
DRAM_DIMS = 5
"""Nested strides in DRAM: one descriptor holds four, and one transfer a row of descriptors."""
MAX_STRIDE = 2**15 - 1
MAX_COUNT = 2**16 - 1
MAX_ELEMENTS = {Space.SBUF: 1 << 16, Space.PSUM: 1 << 12}
"""Elements per partition that one instruction may touch."""
LOOP_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Access:
    """One operand's elements. `partitions` is 0 in DRAM."""

    partition: int
    partitions: int
    start: int
    steps: tuple[int, ...]
    """Elements that the start moves per turn of each enclosing loop, outermost first."""
    dims: tuple[tuple[int, int], ...]
    """(stride, count) in elements, outermost first."""

    @property
    def free_size(self) -> int:
        """Elements per partition, or all elements in DRAM."""
        return prod(count for _, count in self.dims)

    @property
    def size(self) -> int:
        """Elements over all partitions."""
        return self.free_size * max(1, self.partitions)

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(count for _, count in self.dims)

    def start_at(self, turns: Sequence[int]) -> int:
        """The start in a given turn of each enclosing loop."""
        return self.start + sum(step * turn for step, turn in zip(self.steps, turns, strict=True))

    def extent(self, trips: Sequence[int]) -> tuple[int, int]:
        """Smallest and largest element offset over all turns of loops of `trips` turns."""
        reach = [
            *(step * (trip - 1) for step, trip in zip(self.steps, trips, strict=True)),
            *(stride * (count - 1) for stride, count in self.dims),
        ]
        low = self.start + sum(move for move in reach if move < 0)
        return low, self.start + sum(move for move in reach if move > 0)

    def check(self, buffer: BufferType, trips: Sequence[int]) -> None:
        """The pattern stays inside its buffer and is one that the address generators have."""
        on_chip = buffer.space != Space.DRAM
        if len(self.steps) != len(trips):
            raise VerifyException(f"{len(self.steps)} loop steps in a nest of {len(trips)} loops")
        limit = FREE_DIMS if on_chip else DRAM_DIMS
        if not 1 <= len(self.dims) <= limit:
            raise VerifyException(f"{len(self.dims)} strides; {buffer.space} takes 1 to {limit}")
        if min(self.counts) < 1:
            raise VerifyException(f"counts are positive, got {self.counts}")
        if on_chip:
            self._check_on_chip(buffer)
        elif self.partitions:
            raise VerifyException("DRAM has no partitions")
        low, high = self.extent(trips)
        if low < 0 or high >= buffer.length:
            raise VerifyException(
                f"elements {low} to {high} leave a buffer of {buffer.length} elements"
            )

    def _check_on_chip(self, buffer: BufferType) -> None:
        if not (0 < self.partitions and 0 <= self.partition):
            raise VerifyException(f"no partitions in {self.partition}:{self.partitions}")
        if self.partition + self.partitions > buffer.partitions:
            raise VerifyException(
                f"partitions {self.partition} to {self.partition + self.partitions - 1} leave a "
                f"buffer of {buffer.partitions}"
            )
        strides = [abs(stride) for stride, count in self.dims if count > 1]
        if max(strides, default=0) > MAX_STRIDE or max(self.counts) > MAX_COUNT:
            raise VerifyException(f"strides up to {MAX_STRIDE}, counts up to {MAX_COUNT}: {self}")
        if self.free_size > MAX_ELEMENTS[buffer.space]:
            raise VerifyException(
                f"{self.free_size} elements per partition exceed the "
                f"{MAX_ELEMENTS[buffer.space]} of one instruction on {buffer.space}"
            )

    def __str__(self) -> str:
        start = str(self.start) + "".join(
            f" + i{depth}*{step}" for depth, step in enumerate(self.steps)
        )
        dims = ", ".join(f"{stride}:{count}" for stride, count in self.dims)
        partitions = f"[{self.partition}:{self.partitions}]" if self.partitions else ""
        return f"{partitions}[{start}][{dims}]"


def start_partition_is_legal(access: Access) -> bool:
    """Engines reach partitions in quadrants: 128 from 0, 64 from 0 or 64, 32 from any fourth."""
    if access.partitions > PARTITIONS // 2:
        return access.partition == 0
    quadrant = PARTITIONS // 2 if access.partitions > PARTITIONS // 4 else PARTITIONS // 4
    return access.partition % quadrant == 0


def parse_access(parser: AttrParser) -> Access:
    """The inverse of `str(access)`."""
    parser.parse_punctuation("[")
    partition, partitions = 0, 0
    start = parser.parse_integer()
    if parser.parse_optional_punctuation(":"):
        partition, partitions = start, parser.parse_integer(allow_negative=False)
        parser.parse_punctuation("]")
        parser.parse_punctuation("[")
        start = parser.parse_integer()
    steps: list[int] = []
    while parser.parse_optional_punctuation("+"):
        parser.parse_keyword(f"i{len(steps)}")
        parser.parse_punctuation("*")
        steps.append(parser.parse_integer())
    parser.parse_punctuation("]")

    def parse_dim() -> tuple[int, int]:
        stride = parser.parse_integer()
        parser.parse_punctuation(":")
        return stride, parser.parse_integer(allow_negative=False)

    dims = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parse_dim)
    return Access(partition, partitions, start, tuple(steps), tuple(dims))


@irdl_attr_definition
class AccessesAttr(Data[tuple[Access, ...]]):
    """The access patterns of an instruction, one per buffer operand."""

    name = "nc.accesses"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple[Access, ...]:
        accesses = parser.parse_comma_separated_list(
            parser.Delimiter.ANGLE, lambda: parse_access(parser)
        )
        return tuple(accesses)

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(", ".join(map(str, self.data)))
