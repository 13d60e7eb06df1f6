"""A node of an ONNX graph as its handler sees it, and the table of handlers.

A handler is a function of a `Node` that returns its results as SSA values. `onnx_op` enters it for
an op type from an opset on; a family's `ROWS` enter ops that are one `nn` op on the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from onnx import AttributeProto, NodeProto, defs
from xdsl.dialects.builtin import (
    ArrayAttr,
    FileLineColLoc,
    FusedLoc,
    IntAttr,
    LocationAttr,
    NoneAttr,
    StringAttr,
)
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shape import ReshapeOp
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.builder import ModuleBuilder, hint, named
from ranvier.importers.errors import ModelImportError
from ranvier.importers.onnx.tensors import attribute_value
from ranvier.importers.sources import source_line

Handler: TypeAlias = "Callable[[Node], SSAValue | Sequence[SSAValue]]"

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Where `torch.onnx.export` notes the Python frames of a node."""

HANDLERS: dict[tuple[str, str], dict[int, Handler]] = {}


def onnx_op(op_type: str, since: int = 1, domain: str = "") -> Callable[[Handler], Handler]:
    """Enter a handler for the form that an op has from opset `since` on."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.setdefault((domain, op_type), {})[since] = handler
        return handler

    return enter


def enter_rows(rows: dict[str, type[TensorOp]]) -> None:
    """Enter ops that are one `nn` op on the same operands, in every opset."""
    for op_type, op in rows.items():
        HANDLERS.setdefault(("", op_type), {})[1] = row(op)


def row(op: type[TensorOp]) -> Handler:
    return lambda node: node.build(op(*aligned_operands(node)))


def aligned_operands(node: Node) -> list[SSAValue]:
    """All operands; before opset 7 the second may stand at an `axis` of the first."""
    operands, first = node.operands(), node.attribute("axis")
    if node.opset >= 7 or first is None or len(operands) != 2:
        return operands
    trailing = max(0, node.rank() - first - len(node.shape(1)))
    shape = (*node.shape(1), *(1,) * trailing)
    return [operands[0], node.build(ReshapeOp(operands[1], shape=shape))]


def handler_of(node: Node) -> Handler | None:
    """The handler for the node's opset, or None if `nn` or that opset has no such op.

    What ONNX knows nothing about, as ops of onnxruntime, has no opsets.
    """
    if not node.domain and schema_of(node.op_type, node.opset, "") is None:
        return None
    versions = HANDLERS.get((node.domain, node.op_type), {})
    since = max((since for since in versions if since <= node.opset), default=None)
    return None if since is None else versions[since]


class NotInNn(Exception):
    """`nn` lacks this form of the op: the node becomes opaque."""


class Node:
    """One node, its operands resolved, with the module under construction."""

    def __init__(
        self,
        proto: NodeProto,
        index: int,
        opset: int,
        operands: Sequence[SSAValue | None],
        builder: ModuleBuilder,
        path: Path,
        location: LocationAttr | None = None,
    ) -> None:
        self.proto = proto
        self.index = index
        self.opset = opset
        self.builder = builder
        self.path = path
        self.folder = path.parent
        self.inputs = operands
        self.op_type = proto.op_type
        self.domain = normal_domain(proto.domain)
        self.outputs: list[str] = list(proto.output)
        self._attributes: dict[str, AttributeProto] = {a.name: a for a in proto.attribute}
        self._location = location

    # -- Operands -----------------------------------------------------------------------------

    def operands(self) -> list[SSAValue]:
        """All operands; none may be left out."""
        return [self.operand(position) for position in range(len(self.inputs))]

    def operand(self, position: int) -> SSAValue:
        if (value := self.optional(position)) is None:
            self.fail(Code.NODE_INVALID, f"operand {position} is missing")
        return value

    def optional(self, position: int) -> SSAValue | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def shape(self, position: int = 0) -> Shape:
        return shape_of(self.operand(position))

    def rank(self) -> int:
        return len(self.shape())

    def constant(self, position: int) -> Array | None:
        """The value of an operand that the model must fix, or None if it is left out."""
        if (value := self.optional(position)) is None:
            return None
        if (array := self.builder.constant_of(value)) is None:
            self.fail(
                Code.NODE_NOT_STATIC,
                f"operand {position} '{self.proto.input[position]}' is not a constant of the model",
            )
        return array

    def scalar(self, position: int) -> Any:
        """The one number of a constant operand, or None if it is left out."""
        array = self.constant(position)
        return None if array is None else number_of(array)

    def constant_ints(self, position: int) -> tuple[int, ...] | None:
        array = self.constant(position)
        return None if array is None else tuple(map(int, array.reshape(-1)))

    def ints_at(self, name: str, position: int, since: int) -> tuple[int, ...] | None:
        """Integers that were an attribute before opset `since` and are an operand from then on."""
        return self.ints(name) if self.opset < since else self.constant_ints(position)

    # -- Attributes ---------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self._attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as int, float, str, tuple or array; the default where it is absent."""
        attribute = self._attributes.get(name)
        return default if attribute is None else attribute_value(attribute)

    def ints(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, or one; None where it is absent."""
        value = self.attribute(name)
        return (value,) if isinstance(value, int) else value

    # -- Results ------------------------------------------------------------------------------

    @property
    def location(self) -> LocationAttr:
        """`loc("<name or first output>"("<op type>":<opset>:<index>))`: operator counts read it.

        A line of Python that the exporter recorded is fused with the place inside. A node of an
        op's definition has the location of that op.
        """
        if self._location is not None:
            return self._location
        place = FileLineColLoc(StringAttr(self.op_type), IntAttr(self.opset), IntAttr(self.index))
        line = source_line(self._recorded(STACK_TRACE))
        within = place if line is None else FusedLoc(ArrayAttr([place, line]), NoneAttr())
        return named(label_of(self.proto), within)

    def _recorded(self, key: str) -> str:
        """What the exporter noted on the node under a key."""
        return next((e.value for e in self.proto.metadata_props if e.key == key), "")

    def build(self, op: TensorOp) -> SSAValue:
        """Append an op of one result."""
        return self.builder.append(op, self.location)

    def build_constant(self, array: Array) -> SSAValue:
        """A constant that the node itself stands for."""
        return self.builder.constant(array, self.outputs[0], self.location)

    def uses_output(self, position: int) -> bool:
        return position < len(self.outputs) and self.outputs[position] != ""

    def name_results(self, results: Sequence[object]) -> None:
        for name, value in zip(self.outputs, results, strict=False):
            if isinstance(value, SSAValue) and value.name_hint is None:
                hint(value, name)

    # -- Errors -------------------------------------------------------------------------------

    def error(self, code: Code, text: str) -> ModelImportError:
        return ModelImportError(code, f"{self._place}: {text}")

    @property
    def _place(self) -> str:
        op = f"'{label_of(self.proto)}' ({self.op_type}, opset {self.opset})"
        return f"{self.path.name}: node {op}"

    def reason(self, error: ModelImportError) -> str:
        """The text of an error without what says where it is."""
        return str(error).removeprefix(f"{self._place}: ")

    def fail(self, code: Code, text: str) -> NoReturn:
        raise self.error(code, text)


def number_of(array: Array) -> Any:
    """The only element of an array. Raises VerifyException if it has more or none."""
    if array.size != 1:
        raise VerifyException(f"expected one number, got {array.size}")
    return array.item()


@cache
def schema_of(op_type: str, opset: int, domain: str) -> defs.OpSchema | None:
    """What ONNX says about an op, or None if it does not know it."""
    try:
        return defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return None


def check_form(node: Node) -> None:
    """Operand counts and attribute kinds are as ONNX defines them, so handlers can rely on them.

    Raises VerifyException, which says what is wrong.
    """
    schema = schema_of(node.op_type, node.opset, node.domain)
    if schema is None:
        return
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise VerifyException(
            f"it takes {schema.min_input} to {schema.max_input} operands, got {len(node.inputs)}"
        )
    if len(node.outputs) > schema.max_output:
        raise VerifyException(f"it has {schema.max_output} results, not {len(node.outputs)}")
    for attribute in node.proto.attribute:
        if (declared := schema.attributes.get(attribute.name)) is None:
            continue
        kind: Any = declared.type  # an IntEnum, which the stubs do not say
        if int(kind) != attribute.type:
            wanted, given = map(AttributeProto.AttributeType.Name, (int(kind), attribute.type))
            raise VerifyException(f"attribute '{attribute.name}' is of kind {wanted}, got {given}")


def label_of(proto: NodeProto) -> str:
    """A node's name, or its first output where it has none."""
    return proto.name or next(filter(None, proto.output), "")


def normal_domain(domain: str) -> str:
    """The default domain has two spellings."""
    return "" if domain == "ai.onnx" else domain
