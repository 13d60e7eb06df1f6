"""What lowers: one `Lowering` per op class. The whitelist of the target is derived from it.

A lowering says why it refuses an op, with the value, and otherwise emits its instructions. There is
no other list of supported ops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i16, i32, i64
from xdsl.ir import Attribute, Operation, SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import ConstantSource, HasPrecision, Precision, ReferenceSemantics
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.constant import OpaqueOp
from ranvier.dialects.nn.types import element_of, shape_of, size_of
from ranvier.passes.rewriting.marks import keeps_f32

if TYPE_CHECKING:
    from ranvier.backend.neuron.lowering.context import Context

FAMILIES = (
    "elementwise",
    "elementwise_cast",
    "elementwise_activation",
    "elementwise_math",
    "contraction",
    "reduction",
    "normalization",
    "pooling",
    "shape",
    "indexing",
    "indexing_scatter",
    "indexing_top_k",
    "reduction_arg",
    "reduction_scan",
    "recurrent",
)
FLOATS = (f32, bf16, f16)
HELD = (*FLOATS, i32, i16, i8, ui8, i1)
"""Element types that have a place on the machine."""

OpT = TypeVar("OpT", bound=Operation)


class Lowering(ABC, Generic[OpT]):
    """How one op class runs on a core, and why some of its ops do not."""

    ops: ClassVar[tuple[type[Operation], ...]]
    elements: ClassVar[tuple[Attribute, ...]] = FLOATS
    """Element types of operands and results."""

    def why_unsupported(self, op: OpT, machine: Machine) -> Reason | None:
        """The first thing that this lowering refuses about the op."""
        return None

    @abstractmethod
    def lower(self, op: OpT, context: Context) -> None:
        """Emit the op and define its results."""


_LOWERINGS: dict[type[Operation], Lowering[Operation]] = {}


def register(lowering: type[Lowering[OpT]]) -> type[Lowering[OpT]]:
    """Class decorator: the lowering of its `ops`."""
    instance = cast("Lowering[Operation]", lowering())  # it is only asked about its own ops
    for op in lowering.ops:
        _LOWERINGS[op] = instance
    return lowering


@cache
def lowerings() -> dict[type[Operation], Lowering[Operation]]:
    """All lowerings by op class."""
    for family in FAMILIES:
        import_module(f"ranvier.backend.neuron.lowering.{family}")
    return _LOWERINGS


def why_unsupported(op: Operation, machine: Machine) -> Reason | None:
    """Why the machine does not run the op, or None. An f32 operand may still become bf16."""
    if isinstance(op, OpaqueOp):
        kind = f"{op.framework.data}'s {op.op_type.data}"
        return Reason(Code.OP_OPAQUE, f"{kind} has no definition in nn")
    lowering = lowerings().get(type(op))
    if lowering is None:
        for value in (*op.operands, *op.results):
            if (element := element_of(value)) not in (*HELD, i64):
                held = ", ".join(map(str, HELD))
                return Reason(
                    Code.OP_ELEMENT_TYPE, f"{machine.name} holds {held}; {op.name} got {element}"
                )
        return Reason(Code.OP_NO_LOWERING, f"{machine.name} has no lowering for {op.name}")
    for value in (*op.operands, *op.results):
        if element_of(value) not in lowering.elements:
            held = ", ".join(map(str, lowering.elements))
            return Reason(
                Code.OP_ELEMENT_TYPE, f"{op.name} runs on {held}, got {element_of(value)}"
            )
        if size_of(value) == 0:
            return Reason(Code.OP_EMPTY, f"{op.name} has an empty tensor of {shape_of(value)}")
    if machine.pe_f32_passes is None and _keeps_product(op):
        return Reason(
            Code.OP_ELEMENT_TYPE, f"{machine.name} multiplies no f32, which {op.name} keeps"
        )
    return lowering.why_unsupported(op, machine)


def _keeps_product(op: Operation) -> bool:
    """Whether the op is a product that `cast-bf16` leaves in f32 because it was told to."""
    policy = op.get_trait(HasPrecision)
    narrows = policy is not None and policy.precision is Precision.NARROW
    return narrows and keeps_f32(op) and element_of(op.operands[0]) == f32


def is_constant(value: SSAValue) -> bool:
    """Whether a value is a constant of the model or an expression over constants."""
    pending, seen = [value], {value}
    while pending:
        owner = pending.pop().owner
        if not isinstance(owner, Operation):
            return False
        if owner.has_trait(ConstantSource):
            continue
        if not owner.operands or not isinstance(owner, ReferenceSemantics):
            return False
        fresh = [operand for operand in owner.operands if operand not in seen]
        pending.extend(fresh)
        seen.update(fresh)
    return True
