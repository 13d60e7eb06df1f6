"""The `graph` dialect: who runs what. Segments, pipeline stages, transfers, launches.

A segment runs on the target or on the host; the stages in it run on one NeuronCore each. Both
take their operands explicitly and see nothing else; nesting is exactly function > segment > stage.

    %r = graph.segment "seg0" on "neuron" (%a = %x : tensor<4xf32>) -> (tensor<4xf32>) {
      %0 = nn.relu %a : tensor<4xf32>
      graph.yield %0 : tensor<4xf32>
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from xdsl.dialects.builtin import I64, IntegerAttr, StringAttr, SymbolRefAttr, i64
from xdsl.ir import Attribute, Block, Dialect, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import HasParent, IsolatedFromAbove, IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

NEURON = "neuron"
HOST = "host"


@irdl_op_definition
class YieldOp(IRDLOperation):
    """The results of the enclosing segment or stage."""

    name = "graph.yield"
    values = var_operand_def()
    traits = traits_def(IsTerminator())
    assembly_format = "($values^ `:` type($values))? attr-dict"

    def __init__(self, *values: SSAValue) -> None:
        super().__init__(operands=[values])


class GroupOp(IRDLOperation):
    """Ops that run together: a body of one block, its arguments bound to operands."""

    inputs = var_operand_def()
    outputs = var_result_def()
    body = region_def("single_block")

    traits = traits_def(IsolatedFromAbove())

    def init_group(
        self,
        inputs: Sequence[SSAValue],
        result_types: Sequence[Attribute],
        properties: dict[str, Attribute],
        body: Region | None,
    ) -> None:
        body = body or Region(Block(arg_types=[value.type for value in inputs]))
        IRDLOperation.__init__(
            self,
            operands=[inputs],
            result_types=[result_types],
            properties=properties,
            regions=[body],
        )

    @property
    def block(self) -> Block:
        return self.body.block

    @property
    def yielded(self) -> Sequence[SSAValue]:
        """The values that the body yields. Raises VerifyException if it yields none."""
        end = self.body.block.last_op
        if not isinstance(end, YieldOp):
            raise VerifyException(f"the body of {self.name} ends with graph.yield")
        return end.values

    def verify_(self) -> None:
        if [value.type for value in self.inputs] != [arg.type for arg in self.block.args]:
            raise VerifyException(f"operands and block arguments of {self.name} differ in type")
        if [value.type for value in self.yielded] != [result.type for result in self.outputs]:
            raise VerifyException(f"yielded values and results of {self.name} differ in type")

    def print_group(self, printer: Printer) -> None:
        printer.print_string(" (")
        pairs = list(zip(self.block.args, self.inputs, strict=True))

        def print_pair(pair: tuple[SSAValue, SSAValue]) -> None:
            printer.print_ssa_value(pair[0])
            printer.print_string(" = ")
            printer.print_ssa_value(pair[1])
            printer.print_string(" : ")
            printer.print_attribute(pair[1].type)

        # The arguments belong to the body's scope, which print_region opens again.
        printer.print_list(pairs, print_pair)
        printer.print_string(") -> (")
        printer.print_list(self.outputs.types, printer.print_attribute)
        printer.print_string(")")
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)
        printer.print_string(" ")
        printer.print_region(self.body, print_entry_block_args=False)

    @classmethod
    def parse_group(cls, parser: Parser, properties: dict[str, Attribute]) -> Self:
        arguments: list[Parser.Argument] = []
        inputs: list[SSAValue] = []

        def parse_pair() -> None:
            name = parser.parse_unresolved_operand()
            parser.parse_punctuation("=")
            value = parser.parse_unresolved_operand()
            parser.parse_punctuation(":")
            type = parser.parse_type()
            arguments.append(parser.Argument(name.span, type))
            inputs.append(parser.resolve_operand(value, type))

        parser.parse_comma_separated_list(parser.Delimiter.PAREN, parse_pair)
        parser.parse_punctuation("->")
        results = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_type)
        attributes = parser.parse_optional_attr_dict_with_keyword()
        region = parser.parse_region(arguments)
        return cls.create(
            operands=inputs,
            result_types=results,
            properties=properties,
            attributes={} if attributes is None else attributes.data,
            regions=[region],
        )


@irdl_op_definition
class SegmentOp(GroupOp):
    """A convex part of the graph on the target (`neuron`) or on the host (`host`)."""

    name = "graph.segment"
    label = prop_def(StringAttr)
    placement = prop_def(StringAttr)

    def __init__(
        self,
        label: str,
        placement: str,
        inputs: Sequence[SSAValue],
        result_types: Sequence[Attribute],
        body: Region | None = None,
    ) -> None:
        properties: dict[str, Attribute] = {
            "label": StringAttr(label),
            "placement": StringAttr(placement),
        }
        self.init_group(inputs, result_types, properties, body)

    @property
    def on_host(self) -> bool:
        return self.placement.data == HOST

    def verify_(self) -> None:
        if self.placement.data not in (NEURON, HOST):
            raise VerifyException(
                f"a segment runs on {NEURON} or {HOST}, not {self.placement.data}"
            )
        super().verify_()

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_attribute(self.label)
        printer.print_string(" on ")
        printer.print_attribute(self.placement)
        self.print_group(printer)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        properties: dict[str, Attribute] = {"label": StringAttr(parser.parse_str_literal())}
        parser.parse_keyword("on")
        properties["placement"] = StringAttr(parser.parse_str_literal())
        return cls.parse_group(parser, properties)


@irdl_op_definition
class StageOp(GroupOp):
    """The part of a device segment that one NeuronCore runs; stages stand in pipeline order."""

    name = "graph.stage"
    core = prop_def(IntegerAttr)

    traits = traits_def(IsolatedFromAbove(), HasParent(SegmentOp))

    def __init__(
        self,
        core: int,
        inputs: Sequence[SSAValue],
        result_types: Sequence[Attribute],
        body: Region | None = None,
    ) -> None:
        self.init_group(inputs, result_types, {"core": IntegerAttr(core, i64)}, body)

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.core.value.data}")
        self.print_group(printer)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        return cls.parse_group(parser, {"core": IntegerAttr(parser.parse_integer(), i64)})


@irdl_op_definition
class TransferOp(IRDLOperation):
    """A tensor sent from one NeuronCore of a pipeline to a later one."""

    name = "graph.transfer"
    operand = operand_def()
    result = result_def()
    source = prop_def(IntegerAttr[I64])
    destination = prop_def(IntegerAttr[I64])

    traits = traits_def(Pure(), HasParent(SegmentOp))
    assembly_format = (
        "$operand `from` $source `to` $destination attr-dict `:` type($operand) `->` type($result)"
    )

    def __init__(self, operand: SSAValue, source: int, destination: int) -> None:
        super().__init__(
            operands=[operand],
            result_types=[operand.type],
            properties={
                "source": IntegerAttr(source, i64),
                "destination": IntegerAttr(destination, i64),
            },
        )

    def verify_(self) -> None:
        if self.operand.type != self.result.type:
            raise VerifyException(f"{self.operand.type} does not arrive as {self.result.type}")
        if self.source.value.data >= self.destination.value.data:
            raise VerifyException("a pipeline sends from a core to a later one")


@irdl_op_definition
class LaunchOp(IRDLOperation):
    """Run a device program, known by its symbol only."""

    name = "graph.launch"
    program = prop_def(SymbolRefAttr)
    inputs = var_operand_def()
    outputs = var_result_def()

    assembly_format = "$program `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)"

    def __init__(
        self, program: str, inputs: Sequence[SSAValue], result_types: Sequence[Attribute]
    ) -> None:
        super().__init__(
            operands=[inputs],
            result_types=[result_types],
            properties={"program": SymbolRefAttr(program)},
        )

    @property
    def symbol(self) -> str:
        return self.program.root_reference.data


OPS: tuple[type[Operation], ...] = (SegmentOp, StageOp, TransferOp, LaunchOp, YieldOp)

GRAPH = Dialect("graph", list(OPS), [])
