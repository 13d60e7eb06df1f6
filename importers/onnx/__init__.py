"""Import ONNX models, opsets 1 to 28, into `nn`.

One pass over the graph in its order, which ONNX requires to be topological. Each node goes to the
handler that its family enters for its op type and opset; what `nn` has no op for is imported by
the definition that ONNX gives of it, and becomes `nn.opaque` if there is none. Control flow and
sequences are resolved in between. Types are inferred by the `nn` ops themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from onnx import FunctionProto, GraphProto, NodeProto, TensorProto
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.builder import ModuleBuilder
from ranvier.importers.errors import ModelImportError, reason_code
from ranvier.importers.onnx import (
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
)
from ranvier.importers.onnx.control import CONTROL, ControlHandler, Value
from ranvier.importers.onnx.function import function_of
from ranvier.importers.onnx.model import InputTypes, Source, read_source
from ranvier.importers.onnx.node import (
    Node,
    NotInNn,
    check_form,
    enter_rows,
    handler_of,
    label_of,
    normal_domain,
)
from ranvier.importers.onnx.opaque import import_opaque, import_untyped
from ranvier.importers.onnx.tensors import array_of

# The other families enter their handlers as they are loaded.
FAMILIES = (
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
)
for family in (elementwise, contraction):
    enter_rows(family.ROWS)


def import_onnx(
    paths: Sequence[Path], shapes: Mapping[str, Shape], *, untyped: bool = False
) -> ModuleOp:
    """The module of one ONNX file. Raises ModelImportError."""
    if len(paths) != 1:
        raise ModelImportError(
            Code.OPTION_INVALID,
            f"an ONNX model is one file, got {len(paths)}: {', '.join(p.name for p in paths)}",
        )
    source = read_source(paths[0])
    graph = source.model.graph
    # Before IR version 4 every initializer was declared as an input too.
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in initializers]
    if len({info.name for info in inputs}) < len(inputs):
        source.fail(Code.NODE_INVALID, "two inputs of the graph have one name")
    builder = ModuleBuilder(InputTypes(source, shapes).resolve(inputs))
    results = GraphImporter(source, graph, builder, builder.inputs, untyped=untyped).run()
    outputs = {name: value for name, value in results.items() if isinstance(value, SSAValue)}
    if sequences := results.keys() - outputs.keys():
        source.fail(
            Code.MODEL_UNSUPPORTED, f"output '{min(sequences)}' is a sequence, not a tensor"
        )
    attributes = {
        "ranvier.framework": "ONNX",
        "ranvier.name": source.path.stem,
        "ranvier.source_sha256": source.identity,
    }
    return builder.finish(outputs, attributes)


class GraphImporter:
    """One pass over a graph, with the values that it has defined so far.

    The graph of a branch or of a loop's body reads the values of the graph around it as well.
    With `untyped`, nodes whose results nobody knows the types of stay as opaque ops of unknown
    types.
    """

    def __init__(
        self,
        source: Source,
        graph: GraphProto,
        builder: ModuleBuilder,
        values: Mapping[str, Value],
        around: GraphImporter | None = None,
        *,
        untyped: bool = False,
    ) -> None:
        self.source = source
        self.graph = graph
        self.builder = builder
        self.values: dict[str, Value] = dict(values)
        self.around = around
        self.untyped = untyped
        self.initializers: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        if graph.sparse_initializer:
            source.fail(Code.MODEL_UNSUPPORTED, "sparse initializers are not supported")

    def run(self) -> dict[str, Value]:
        """Import all nodes; the outputs of the graph by name."""
        for index, proto in enumerate(self.graph.node):
            self.import_node(proto, index)
        names = [info.name for info in self.graph.output]
        if len(set(names)) < len(names):
            self.source.fail(Code.NODE_INVALID, "two outputs of the graph have one name")
        return {name: self.output(name) for name in names}

    def run_inner(self, graph: GraphProto, arguments: Sequence[Value] = ()) -> list[Value]:
        """The results of a branch, or of a loop's body, on some values."""
        names = [info.name for info in graph.input]
        if len(names) != len(arguments):
            self.source.fail(
                Code.NODE_INVALID,
                f"graph '{graph.name}' takes {len(names)} operands, got {len(arguments)}",
            )
        values = dict(zip(names, arguments, strict=True))
        return list(GraphImporter(self.source, graph, self.builder, values, self).run().values())

    def import_node(self, proto: NodeProto, index: int) -> None:
        operands = [self.operand(proto, name) for name in proto.input]
        opset = self.source.opsets.get(normal_domain(proto.domain))
        if opset is None:
            self.source.fail(
                Code.MODEL_UNSUPPORTED,
                f"node '{label_of(proto)}' ({proto.op_type}) is of domain '{proto.domain}', "
                "which the model does not import",
            )
        tensors = [None if isinstance(value, tuple) else value for value in operands]
        node = Node(proto, index, opset, tensors, self.builder, self.source.path)
        results = self.results(node, operands)
        node.name_results(results)
        for name, value in zip(proto.output, results, strict=False):
            if name in self.values or name in self.initializers:
                node.fail(Code.NODE_INVALID, f"output '{name}' is defined twice")
            if name:
                self.values[name] = value

    def results(self, node: Node, operands: Sequence[Value | None]) -> Sequence[Value]:
        mark = self.builder.mark()
        try:
            if self.builder.is_blocked(members(operands)):
                return self.blocked(node, operands)
            return self.typed(node, operands)
        except ModelImportError as error:
            code = reason_code(error) if self.untyped else None
            if code is None:
                raise
            self.builder.roll_back(mark)
            self.forget()
            return import_untyped(node, Reason(code, node.reason(error)))

    def blocked(self, node: Node, operands: Sequence[Value | None]) -> Sequence[Value]:
        """The results of a node that reads what has no known type: what it reads, or unknown."""
        if self.around is not None:  # the node that the body belongs to is left as a whole
            node.fail(Code.SHAPE_UNKNOWN, "it reads a value whose type is not known")
        if node.op_type == "Identity" and operands[0] is not None:
            return [operands[0]]
        return import_untyped(node, Reason(Code.OP_OPAQUE, ""))

    def forget(self) -> None:
        """Drop the values that were rolled back: initializers that a body has read first."""
        block = self.builder.block
        self.values = {
            name: value
            for name, value in self.values.items()
            if all(v.owner is block or v.owner.parent is block for v in members([value]))
        }

    def typed(self, node: Node, operands: Sequence[Value | None]) -> Sequence[Value]:
        try:
            if not node.domain and (handler := CONTROL.get(node.op_type)) is not None:
                return self.controlled(node, handler, operands)
            for name, value in zip(node.proto.input, operands, strict=True):
                if isinstance(value, tuple):
                    node.fail(Code.NODE_INVALID, f"operand '{name}' is a sequence, not a tensor")
            return self.defined(node)
        except NotInNn:
            return self.opaque(node)

    def controlled(
        self, node: Node, handler: ControlHandler, operands: Sequence[Value | None]
    ) -> Sequence[Value]:
        """The results of a node of control flow or of sequences."""
        try:
            check_form(node)
            return handler(self, node, operands)
        except VerifyException as error:
            raise node.error(Code.NODE_INVALID, str(error)) from error

    def defined(self, node: Node) -> Sequence[SSAValue]:
        """The node in terms of `nn`. Raises NotInNn if that has no op for it."""
        try:
            check_form(node)
            if (handler := handler_of(node)) is None:
                raise NotInNn
            results = handler(node)
        except NotInNn:
            return self.expanded(node)
        except VerifyException as error:
            raise node.error(Code.NODE_INVALID, str(error)) from error
        return [results] if isinstance(results, SSAValue) else results

    def expanded(self, node: Node) -> Sequence[SSAValue]:
        """The node by its definition. Raises NotInNn if it has none, or none that is all `nn`."""
        if (function := function_of(node)) is None:
            raise NotInNn
        mark = self.builder.mark()
        try:
            return self.call(function, node)
        except (NotInNn, ModelImportError) as error:
            self.builder.roll_back(mark)
            raise NotInNn from error

    def call(self, function: FunctionProto, node: Node) -> Sequence[SSAValue]:
        """The results of a function on the operands of a node, as far as the node uses them."""
        opsets = {normal_domain(entry.domain): entry.version for entry in function.opset_import}
        values = {
            name: value
            for name, value in zip(function.input, node.inputs, strict=False)
            if value is not None
        }
        for proto in function.node:
            operands = [values.get(name) for name in proto.input]
            opset = opsets.get(normal_domain(proto.domain), node.opset)
            inner = Node(proto, node.index, opset, operands, self.builder, node.path, node.location)
            values.update(zip(proto.output, self.defined(inner), strict=False))
        used = [name for name, output in zip(function.output, node.outputs, strict=False) if output]
        if not used or not all(name in values for name in used):
            raise NotInNn
        # Results that the node leaves out may not be computed; any value keeps their places.
        return [values.get(name, values[used[0]]) for name in function.output[: len(node.outputs)]]

    def opaque(self, node: Node) -> Sequence[SSAValue]:
        try:
            return import_opaque(node, self.source, self.graph)
        except VerifyException as error:
            raise node.error(
                Code.MODEL_UNSUPPORTED, f"nn has no {node.op_type}, and {error}"
            ) from error

    def operand(self, proto: NodeProto, name: str) -> Value | None:
        """The value of a name; initializers become constants where they are first used."""
        if not name:
            return None
        if (value := self.lookup(name)) is None:
            later = next((n for n in self.graph.node if name in n.output), None)
            reason = (
                "is not defined by any node, input or initializer"
                if later is None
                else f"is defined only by the later node '{label_of(later)}': the "
                "graph is unsorted or cyclic"
            )
            self.source.fail(
                Code.NODE_INVALID,
                f"node '{label_of(proto)}' ({proto.op_type}): operand '{name}' {reason}",
            )
        return value

    def lookup(self, name: str) -> Value | None:
        if name not in self.values and (tensor := self.initializers.get(name)) is not None:
            try:
                array = array_of(tensor, self.source.path.parent)
                self.values[name] = self.builder.constant(array, name)
            except VerifyException as error:
                self.source.fail(Code.FILE_INVALID, f"initializer '{name}': {error}")
        if name in self.values or self.around is None:
            return self.values.get(name)
        return self.around.lookup(name)

    def output(self, name: str) -> Value:
        if (value := self.lookup(name)) is None:
            self.source.fail(Code.NODE_INVALID, f"output '{name}' is not defined by any node")
        return value


def members(values: Iterable[Value | None]) -> Iterator[SSAValue]:
    """The tensors among values, and those in sequences."""
    for value in values:
        if isinstance(value, tuple):
            yield from value
        elif value is not None:
            yield value
