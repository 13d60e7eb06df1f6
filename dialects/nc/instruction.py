"""The base of all instructions: one op is one documented instruction of one engine.

An instruction has buffers in named roles, each with an access pattern, and scalar fields. Syntax:

    nc.activation dst = %t[0:64][0][1:504] src = %p[0:64][0][1:504] bias = %b[0:64][0][1:1]
        {func = "relu", scale = 1.000000e+00 : f64} wait(pe >= 4)

Rules that hold for one op class stand in its `check`; it sees views and fields, not IR, so that
the loader of a compiled file applies the same rules to decoded records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import AttrSizedOperandSegments, IRDLOperation, opt_prop_def, prop_def
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import as_attribute, as_python
from ranvier.dialects.nc.access import (
    Access,
    AccessesAttr,
    parse_access,
    start_partition_is_legal,
)
from ranvier.dialects.nc.sync import QUEUES, WaitsAttr, parse_wait
from ranvier.dialects.nc.types import Space, buffer_type_of


@dataclass(frozen=True, slots=True)
class View:
    """A buffer's elements as one operand sees them."""

    space: Space
    element: Attribute
    access: Access


Views = Mapping[str, View]
Fields = Mapping[str, Any]

_INHERENT = ("accesses", "waits", "operandSegmentSizes")


class InstructionOp(IRDLOperation):
    """One instruction. Subclasses declare a buffer operand per role, fields as properties."""

    accesses = prop_def(AccessesAttr)
    waits = opt_prop_def(WaitsAttr)

    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    OPCODE: ClassVar[int]
    """Number of the instruction in a program file; never reused."""
    ENGINE: ClassVar[str]
    WRITES: ClassVar[tuple[str, ...]] = ("dst",)
    """Roles that the instruction writes."""
    ON_CHIP_START_RULE: ClassVar[bool] = True
    """Whether partitions start at a quadrant; DMA reaches any."""

    @classmethod
    def make(cls, views: Mapping[str, tuple[SSAValue, Access]], **fields: object) -> Self:
        """Build from `role=(buffer, access)` and fields; absent roles and None are left out."""
        roles = cls.roles()
        present = [role for role in roles if role in views]
        properties = {k: as_attribute(v) for k, v in fields.items() if v is not None}
        properties["accesses"] = AccessesAttr(tuple(views[role][1] for role in present))
        segments = [int(role in views) for role in roles]
        return cls._create([views[role][0] for role in present], segments, properties)

    @classmethod
    def _create(
        cls, operands: Sequence[SSAValue], segments: list[int], properties: dict[str, Attribute]
    ) -> Self:
        from xdsl.dialects.builtin import DenseArrayBase, i32

        properties["operandSegmentSizes"] = DenseArrayBase.from_list(i32, segments)
        return cls.create(operands=operands, properties=properties)

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        """Names of the buffer operands, in order."""
        return tuple(name for name, _ in cls.get_irdl_definition().operands)

    def present_roles(self) -> tuple[str, ...]:
        """The roles that this instruction fills, in the order of its operands."""
        segments: Any = self.properties["operandSegmentSizes"]
        sizes: Sequence[int] = segments.get_values()
        return tuple(role for role, size in zip(self.roles(), sizes, strict=True) if size)

    def views(self) -> dict[str, View]:
        """The operands by role."""
        views: dict[str, View] = {}
        for role, value, access in zip(
            self.present_roles(), self.operands, self.accesses.data, strict=True
        ):
            type = buffer_type_of(value)
            views[role] = View(type.space, type.element, access)
        return views

    def fields(self) -> dict[str, Any]:
        """The scalar fields as Python values."""
        return {k: as_python(v) for k, v in self.properties.items() if k not in _INHERENT}

    def stream(self) -> str:
        """The instruction stream that issues it."""
        return stream_of(type(self), self.fields())

    def verify_(self) -> None:
        if len(self.accesses.data) != len(self.operands):
            raise VerifyException(
                f"{self.name} has {len(self.operands)} buffers, {len(self.accesses.data)} patterns"
            )
        trips = enclosing_trips(self)
        for role, value, access in zip(
            self.present_roles(), self.operands, self.accesses.data, strict=True
        ):
            try:
                access.check(buffer_type_of(value), trips)
            except VerifyException as error:
                raise VerifyException(f"{self.name} {role}: {error}") from error
        check_instruction(type(self), self.views(), self.fields())

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        """Rules of this instruction. Raises VerifyException with the values."""

    # -- Syntax -----------------------------------------------------------------------------

    def print(self, printer: Printer) -> None:
        for role, value, access in zip(
            self.present_roles(), self.operands, self.accesses.data, strict=True
        ):
            printer.print_string(f" {role} = ")
            printer.print_ssa_value(value)
            printer.print_string(str(access))
        fields = {k: v for k, v in sorted(self.properties.items()) if k not in _INHERENT}
        printer.print_op_attributes(fields | self.attributes)
        if self.waits is not None:
            printer.print_string(f" wait({', '.join(map(str, self.waits.data))})")

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        roles = cls.roles()
        operands: list[SSAValue] = []
        accesses: list[Access] = []
        segments = [0] * len(roles)
        for index, role in enumerate(roles):
            if parser.parse_optional_keyword(role) is None:
                continue
            parser.parse_punctuation("=")
            operands.append(_resolve(parser, parser.parse_unresolved_operand()))
            accesses.append(parse_access(parser))
            segments[index] = 1
        both = parser.parse_optional_attr_dict()
        names = cls.get_irdl_definition().properties
        properties = {name: value for name, value in both.items() if name in names}
        properties["accesses"] = AccessesAttr(tuple(accesses))
        if parser.parse_optional_keyword("wait"):
            waits = parser.parse_comma_separated_list(
                parser.Delimiter.PAREN, lambda: parse_wait(parser)
            )
            properties["waits"] = WaitsAttr(tuple(waits))
        op = cls._create(operands, segments, properties)
        op.attributes.update({name: v for name, v in both.items() if name not in names})
        return op


def _resolve(parser: Parser, name: UnresolvedOperand) -> SSAValue:
    """A buffer by name: it is defined before its uses, so its type need not be written."""
    values = parser.ssa_values.get(name.operand_name)
    if values is None or name.index >= len(values):
        parser.raise_error(f"no buffer %{name.operand_name} before this use", name.span)
    return values[name.index]


def stream_of(instruction: type[InstructionOp], fields: Fields) -> str:
    """The stream of an instruction with these fields: its queue, its engine field, its engine."""
    if instruction.ENGINE == "dma":
        return f"q{fields.get('queue', 0)}"
    return fields.get("engine", instruction.ENGINE)


def enclosing_trips(op: Operation) -> tuple[int, ...]:
    """Trip counts of the loops around an op, outermost first."""
    trips: list[int] = []
    parent = op.parent_op()
    while parent is not None:
        if (trip := parent.properties.get("trip")) is not None:
            trips.append(as_python(trip))
        parent = parent.parent_op()
    return tuple(reversed(trips))


def check_instruction(instruction: type[InstructionOp], views: Views, fields: Fields) -> None:
    """Rules of every instruction, then its own. Raises VerifyException."""
    name = instruction.name
    for role, view in views.items():
        if instruction.ON_CHIP_START_RULE:
            if view.space == Space.DRAM:
                raise VerifyException(f"{name} {role}: only DMA reaches DRAM")
            if not start_partition_is_legal(view.access):
                raise VerifyException(
                    f"{name} {role}: {view.access.partitions} partitions may not start at "
                    f"{view.access.partition}"
                )
    inputs = [v for role, v in views.items() if role not in instruction.WRITES]
    if sum(view.space == Space.PSUM for view in inputs) > 1:
        raise VerifyException(f"{name} reads PSUM through more than one operand")
    if (queue := fields.get("queue")) is not None and not 0 <= queue < QUEUES:
        raise VerifyException(f"{name} has no queue {queue}; there are {QUEUES}")
    instruction.check(views, fields)


def same_counts(name: str, views: Views, *roles: str) -> None:
    """The roles touch as many partitions and elements. Raises VerifyException."""
    sizes = {
        role: (views[role].access.partitions, views[role].access.free_size)
        for role in roles
        if role in views
    }
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{role} {p} x {n}" for role, (p, n) in sizes.items())
        raise VerifyException(f"{name} operands differ in partitions x elements: {text}")


def per_partition(name: str, views: Views, role: str, like: str) -> None:
    """The role, where present, holds one element per partition of `like`."""
    if (view := views.get(role)) is None:
        return
    if view.access.free_size != 1 or view.access.partitions != views[like].access.partitions:
        raise VerifyException(
            f"{name} {role} holds one element for each of {views[like].access.partitions} "
            f"partitions, got {view.access.partitions} x {view.access.free_size}"
        )


def one_of(name: str, field: str, value: object, allowed: Sequence[object]) -> None:
    """The field has one of the allowed values. Raises VerifyException."""
    if value not in allowed:
        raise VerifyException(
            f"{name} {field} is one of {', '.join(map(str, allowed))}, got {value}"
        )


def spaces(name: str, views: Views, role: str, *allowed: Space) -> None:
    """The role is in one of the memories. Raises VerifyException."""
    if role in views and views[role].space not in allowed:
        raise VerifyException(
            f"{name} {role} is in {' or '.join(allowed)}, got {views[role].space}"
        )
