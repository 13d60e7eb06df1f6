"""Programs, cores, buffers and loops.

    nc.program @seg0 on "inf2" {
      nc.core 0 {
        %x = nc.tensor input 0 : !nc.dram<150528xf32>
        %w = nc.tensor weight @conv1.tiled : !nc.dram<9408xbf16>
        %t = nc.alloc {address = 1024 : i64} : !nc.sbuf<128x512xbf16>
        nc.loop 4 { … }
      }
    }

Program order of a core is its meaning. A loop means exactly its unrolling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from xdsl.dialects.builtin import (
    I64,
    IntegerAttr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import HasParent, IsolatedFromAbove, NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nc.access import LOOP_DEPTH
from ranvier.dialects.nc.instruction import enclosing_trips
from ranvier.dialects.nc.types import (
    PSUM_BANKS,
    BufferType,
    Space,
    buffer_type_of,
)

INPUT, OUTPUT, WEIGHT = "input", "output", "weight"


@irdl_op_definition
class ProgramOp(IRDLOperation):
    """What one device segment does: a body of cores, in pipeline order."""

    name = "nc.program"
    sym_name = prop_def(SymbolNameConstraint())
    target = prop_def(StringAttr)
    body = region_def("single_block")

    traits = traits_def(SymbolOpInterface(), IsolatedFromAbove(), NoTerminator())

    def __init__(self, name: str, target: str, cores: Sequence[Operation] = ()) -> None:
        super().__init__(
            properties={"sym_name": StringAttr(name), "target": StringAttr(target)},
            regions=[Region(Block(cores))],
        )

    @property
    def symbol(self) -> str:
        return self.sym_name.data

    @property
    def cores(self) -> list[CoreOp]:
        return [op for op in self.body.block.ops if isinstance(op, CoreOp)]

    def verify_(self) -> None:
        numbers = [core.index for core in self.cores]
        if numbers != list(range(len(numbers))) or not numbers:
            raise VerifyException(f"@{self.symbol} has cores 0, 1, … in order, got {numbers}")

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_symbol_name(self.symbol)
        printer.print_string(" on ")
        printer.print_attribute(self.target)
        printer.print_string(" ")
        printer.print_region(self.body)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        name = parser.parse_symbol_name()
        parser.parse_keyword("on")
        target = StringAttr(parser.parse_str_literal())
        region = parser.parse_region()
        if not region.blocks:
            region.add_block(Block())
        return cls.create(properties={"sym_name": name, "target": target}, regions=[region])


@irdl_op_definition
class CoreOp(IRDLOperation):
    """One NeuronCore: its buffers and its instructions in program order."""

    name = "nc.core"
    number = prop_def(IntegerAttr[I64])
    body = region_def("single_block")

    traits = traits_def(IsolatedFromAbove(), NoTerminator(), HasParent(ProgramOp))

    def __init__(self, number: int, body: Region | None = None) -> None:
        super().__init__(
            properties={"number": IntegerAttr(number, i64)}, regions=[body or Region(Block())]
        )

    @property
    def index(self) -> int:
        return self.number.value.data

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.index} ")
        printer.print_region(self.body)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        number = IntegerAttr(parser.parse_integer(), i64)
        region = parser.parse_region()
        if not region.blocks:
            region.add_block(Block())
        return cls.create(properties={"number": number}, regions=[region])


@irdl_op_definition
class TensorOp(IRDLOperation):
    """A buffer in DRAM that exists before the program runs: an input, an output, a weight."""

    name = "nc.tensor"
    kind = prop_def(StringAttr)
    index = opt_prop_def(IntegerAttr[I64])
    weight = opt_prop_def(SymbolRefAttr)
    buffer = result_def()

    def __init__(self, kind: str, source: int | str, type: Attribute) -> None:
        named = isinstance(source, str)
        super().__init__(
            result_types=[type],
            properties={
                "kind": StringAttr(kind),
                "index": None if named else IntegerAttr(source, i64),
                "weight": SymbolRefAttr(source) if named else None,
            },
        )

    @property
    def symbol(self) -> str | None:
        return None if self.weight is None else self.weight.root_reference.data

    def verify_(self) -> None:
        if self.kind.data not in (INPUT, OUTPUT, WEIGHT):
            raise VerifyException(f"a tensor is input, output or weight, not {self.kind.data}")
        if (self.kind.data == WEIGHT) != (self.weight is not None) or (
            (self.index is None) == (self.weight is None)
        ):
            raise VerifyException("a weight has a symbol, an input or output has a number")
        if buffer_type_of(self.buffer).space != Space.DRAM:
            raise VerifyException(f"a tensor is in DRAM, got {self.buffer.type}")

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.kind.data} ")
        if self.symbol is not None:
            printer.print_symbol_name(self.symbol)
        elif self.index is not None:
            printer.print_int(self.index.value.data)
        printer.print_string(" : ")
        printer.print_attribute(self.buffer.type)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        kind = parser.parse_identifier()
        properties: dict[str, Attribute] = {"kind": StringAttr(kind)}
        if (symbol := parser.parse_optional_symbol_name()) is not None:
            properties["weight"] = SymbolRefAttr(symbol)
        else:
            properties["index"] = IntegerAttr(parser.parse_integer(), i64)
        parser.parse_punctuation(":")
        return cls.create(result_types=[parser.parse_type()], properties=properties)


@irdl_op_definition
class AllocOp(IRDLOperation):
    """A buffer of the program: in SBUF, in a PSUM bank, or scratch in DRAM.

    `allocate` gives it an address: bytes from the start of a partition on chip, bytes of the
    scratch area in DRAM. A PSUM buffer starts a bank.
    """

    name = "nc.alloc"
    address = opt_prop_def(IntegerAttr[I64])
    buffer = result_def()

    assembly_format = "(`at` $address^)? attr-dict `:` type($buffer)"

    def __init__(self, type: Attribute, address: int | None = None) -> None:
        super().__init__(
            result_types=[type],
            properties={"address": None if address is None else IntegerAttr(address, i64)},
        )

    @property
    def type(self) -> BufferType:
        return buffer_type_of(self.buffer)

    def verify_(self) -> None:
        type = buffer_type_of(self.buffer)
        if self.address is not None and self.address.value.data < 0:
            raise VerifyException(f"address {self.address.value.data} is negative")
        if type.space == Space.PSUM and self.address is not None:
            from ranvier.dialects.nc.types import PSUM_BANK_BYTES

            address = self.address.value.data
            if address % PSUM_BANK_BYTES or address // PSUM_BANK_BYTES >= PSUM_BANKS:
                raise VerifyException(f"address {address} starts no PSUM bank")


@irdl_op_definition
class LoopOp(IRDLOperation):
    """Repeat the body a fixed number of times; `i0` is the outermost loop's turn, `i1` the next."""

    name = "nc.loop"
    trip = prop_def(IntegerAttr[I64])
    body = region_def("single_block")

    traits = traits_def(NoTerminator())

    def __init__(self, trip: int, body: Region | None = None) -> None:
        super().__init__(
            properties={"trip": IntegerAttr(trip, i64)}, regions=[body or Region(Block())]
        )

    @property
    def trips(self) -> int:
        return self.trip.value.data

    def verify_(self) -> None:
        if self.trips < 1:
            raise VerifyException(f"a loop runs at least once, got {self.trips}")
        if len(enclosing_trips(self)) >= LOOP_DEPTH:
            raise VerifyException(f"loops nest at most {LOOP_DEPTH} deep")

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.trips} ")
        printer.print_region(self.body)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        trip = IntegerAttr(parser.parse_integer(), i64)
        region = parser.parse_region()
        if not region.blocks:
            region.add_block(Block())
        return cls.create(properties={"trip": trip}, regions=[region])
