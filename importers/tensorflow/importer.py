"""Turn a flat graph into an `nn` module, results on demand.

Evaluation starts at the outputs and walks to the inputs with a stack of its own. A node whose
operands are known goes to the handler of its op type.

A strict import raises for what `nn` cannot hold. A tolerant one, for a caller that keeps such nodes
in TensorFlow, notes the reason and goes on: what reads such a node is missing as well, unless the
caller knows the type of its result. An untyped one keeps both as ops of unknown types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from xdsl.dialects.builtin import UNKNOWN_LOC, LocationAttr, ModuleOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import UNKNOWN
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.importers.builder import ModuleBuilder, hint, named
from ranvier.importers.errors import ModelImportError, reason_code
from ranvier.importers.tensorflow.control import import_control, unrolled_frames
from ranvier.importers.tensorflow.elementwise import import_identity, import_identity_n
from ranvier.importers.tensorflow.flatten import PLACEHOLDERS, FlatGraph
from ranvier.importers.tensorflow.graph import (
    Body,
    Library,
    Nodes,
    Tensor,
    attribute,
    fail,
    tensor_named,
)
from ranvier.importers.tensorflow.loops import Loop, loops_of
from ranvier.importers.tensorflow.node import HANDLERS, Node, NotInNn, described
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.tensors import array_of, is_repeated
from ranvier.importers.tensorflow.values import Dead, Missing, TensorList, Value

IDENTITIES = (import_identity, import_identity_n)
"""Handlers of nodes that give what they read."""


@dataclass(eq=False)
class Frame:
    """Values of the results of some nodes: of the graph, of one call, of one iteration."""

    nodes: Nodes
    location: LocationAttr | None = None
    """Of all ops, where the nodes are part of a node that stands for them."""
    values: dict[Tensor, Value] = field(default_factory=dict[Tensor, Value])
    others: dict[str, Missing | Dead] = field(default_factory=dict[str, "Missing | Dead"])
    """What all results of a node are that have no value of their own."""
    done: set[str] = field(default_factory=set[str])

    def knows(self, tensor: Tensor) -> bool:
        if tensor not in self.values and tensor.node in self.others:
            self.values[tensor] = self.others[tensor.node]
        return tensor in self.values


class GraphImporter:
    """One import of a flat graph."""

    def __init__(
        self,
        flat: FlatGraph,
        inputs: Mapping[Tensor, tuple[str, TensorType]],
        *,
        types: Mapping[Tensor, TensorType] | None = None,
        tolerant: bool = False,
        outside: Collection[str] = (),
        untyped: bool = False,
    ) -> None:
        """`inputs` gives the name in the module, and the type, of each result that is fed.

        `types` are those of results that the importer cannot infer. Nodes in `outside` stay in
        TensorFlow, whatever `nn` has: no pass merges them with others.
        """
        self.flat = flat
        self.place = flat.place
        self.library = Library(flat.place, flat.functions)
        self.builder = ModuleBuilder(dict(inputs.values()))
        self.types = types or {}
        self.tolerant = tolerant
        self.outside = outside
        self.untyped = untyped
        self.refused: dict[str, Missing] = {}
        """Why nodes of the graph have no place in the module."""
        self.root = Frame(Nodes(flat.place, flat.nodes.values()))
        self.fed = {tensor: self.builder.inputs[name] for tensor, (name, _) in inputs.items()}
        self.root.values |= self.fed
        self._bodies: dict[str, Body] = {}
        self._loops: dict[int, dict[str, Loop]] = {}

    # -- What control flow needs --------------------------------------------------------------

    def body(self, function: Message) -> Body:
        name = function.signature.name
        if name not in self._bodies:
            self._bodies[name] = Body(self.place, function)
        return self._bodies[name]

    def frame(self, nodes: Nodes, location: LocationAttr | None) -> Frame:
        return Frame(nodes, location)

    def loop_location(self, frame: Frame, loop: Loop) -> LocationAttr:
        """One for all nodes of a loop: it is placed as a whole."""
        return frame.location or named(loop.name, named("While"))

    def loops(self, nodes: Nodes) -> Mapping[str, Loop]:
        if id(nodes) not in self._loops:
            self._loops[id(nodes)] = loops_of(nodes)
        return self._loops[id(nodes)]

    # -- Evaluation ---------------------------------------------------------------------------

    def evaluate(self, frame: Frame, wanted: Iterable[Tensor]) -> list[Value]:
        """The values of results. Raises ModelImportError for a cycle and for what is undefined."""
        wanted = list(wanted)
        pending = [tensor.node for tensor in wanted if not frame.knows(tensor)]
        opened: set[str] = set()
        while pending:
            name = pending[-1]
            if name in frame.done:
                pending.pop()
                continue
            node = frame.nodes.node(name)
            needed = [t for t in self._operands(frame, node) if not frame.knows(t)]
            if not needed:
                self._import(frame, node)
                frame.done.add(pending.pop())
                continue
            if undefined := next((t for t in needed if t.node in frame.done), None):
                self._fail(node, f"reads '{undefined}', which its node does not have")
            if name in opened:
                self._fail(node, "is part of a cycle")
            opened.add(name)
            pending += [tensor.node for tensor in needed]
        if undefined := next((t for t in wanted if not frame.knows(t)), None):
            fail(self.place, Code.NODE_INVALID, f"there is no result '{undefined}'")
        return [frame.values[tensor] for tensor in wanted]

    def _fail(self, node: Message, text: str) -> None:
        fail(self.place, Code.NODE_INVALID, f"{described(node)} {text}")

    def _operands(self, frame: Frame, node: Message) -> Sequence[Tensor]:
        if node.op == "Exit" and (loop := self.loops(frame.nodes).get(node.name)) is not None:
            return loop.starts()
        return frame.nodes.data_inputs(node)

    def _import(self, frame: Frame, proto: Message) -> None:
        """Define the results of a node whose operands are known."""
        operands = [frame.values[tensor] for tensor in self._operands(frame, proto)]
        node = Node(proto, operands, self.builder, self.place, frame.location)
        mark = self.builder.mark()
        try:
            if proto.op == "Exit":
                self._run_loop(frame, proto, operands)
                return
            if proto.op == "Const":
                results = [self._constant(frame, node)]
            elif proto.op != "Merge" and any(isinstance(value, Dead) for value in operands):
                frame.others[proto.name] = Dead()
                return
            else:
                results = self._results(node)
        except ModelImportError as error:
            if not self.tolerant or frame is not self.root:
                raise
            self.builder.roll_back(mark)
            before = next((value for value in operands if isinstance(value, Missing)), None)
            code = reason_code(error) if self.untyped else error.code
            if code is None:
                raise
            own = Missing(code, node.reason(error), described(proto))
            self._keep(node, before or own)
            return
        if frame is self.root and proto.name in self.outside:
            results = self._outside(node, results, mark)
        for index, value in enumerate(results):
            tensor = Tensor(proto.name, index)
            if frame is self.root and tensor in self.fed:
                continue
            frame.values[tensor] = value
            if isinstance(value, SSAValue) and value.name_hint is None:
                hint(value, proto.name)

    def _run_loop(self, frame: Frame, proto: Message, operands: Sequence[Value]) -> None:
        loop = self.loops(frame.nodes).get(proto.name)
        if loop is None:
            self._fail(proto, "leaves a loop that has no condition")
            return
        for value in operands:
            if isinstance(value, Missing):
                raise ModelImportError(value.code, value.reason)
        unrolled_frames(self, frame, loop, proto)

    def _results(self, node: Node) -> Sequence[Value]:
        if node.op_type == "Merge":
            return import_control(self, node) or ()
        if missing := next((v for v in node.inputs if isinstance(v, Missing)), None):
            if self.untyped and HANDLERS.get(node.op_type) in IDENTITIES:
                return node.inputs
            raise ModelImportError(missing.code, missing.reason)
        try:
            results = import_control(self, node)
            if results is None:
                results = self._handled(node)
        except VerifyException as error:
            raise node.error(Code.NODE_INVALID, str(error)) from error
        except NotInNn:
            known = "such form of " if node.op_type in HANDLERS else ""
            raise node.error(Code.OP_OPAQUE, f"nn has no {known}{node.op_type}") from None
        return [results] if isinstance(results, Value) else results

    def _handled(self, node: Node) -> Value | Sequence[Value]:
        if node.op_type in ("Placeholder", "PlaceholderV2"):
            node.fail(Code.INPUT_UNKNOWN, "it is not fed, or its elements are such as nn lacks")
        if (handler := HANDLERS.get(node.op_type)) is None:
            raise NotInNn
        return handler(node)

    def _constant(self, frame: Frame, node: Node) -> SSAValue:
        array = self.flat.constants.get(node.name) if frame.nodes is self.root.nodes else None
        try:
            if array is None:
                array = array_of(attribute(node.proto, "value").tensor)
            if is_repeated(array):  # do not make its bytes
                one = node.build_constant(array.reshape(-1)[0])
                return node.build(nn.BroadcastOp(one, shape=array.shape))
            return node.build_constant(array)
        except VerifyException as error:
            raise node.error(Code.NODE_INVALID, str(error)) from error

    def _keep(self, node: Node, missing: Missing) -> None:
        """A node that stays in TensorFlow: opaque as far as the types of its results are known."""
        self.refused[node.name] = self.root.others[node.name] = missing
        types = self._types_by_node.get(node.name, {})
        if self.untyped:
            self._keep_untyped(node, missing, types)
            return
        operands = [value for value in node.inputs if isinstance(value, SSAValue)]
        if types:
            op = nn.OpaqueOp("TENSORFLOW", node.op_type, 1, {}, operands, list(types.values()))
            self.builder.append(op, node.location)
            self.root.values |= dict(zip(types, op.results, strict=True))

    def _outside(
        self, node: Node, results: Sequence[Value], mark: Operation | None
    ) -> Sequence[Value]:
        """Results of an opaque op in place of those of a node.

        Values that the model fixes, lists, and what reads lists are as they were: they are no ops.
        """
        tensors = [value for value in results if isinstance(value, SSAValue)]
        fixed = [value for value in tensors if self.builder.constant_of(value) is not None]
        operands = [value for value in node.inputs if isinstance(value, SSAValue)]
        if fixed or len(tensors) < len(results) or len(operands) < len(node.inputs):
            return results
        types = [value.type for value in tensors]
        self.builder.roll_back(mark)
        op = nn.OpaqueOp("TENSORFLOW", node.op_type, 1, {}, operands, types)
        self.builder.append(op, node.location)
        return op.results

    def _keep_untyped(
        self, node: Node, missing: Missing, types: Mapping[Tensor, TensorType]
    ) -> None:
        """A node that stays in TensorFlow, with results of unknown types where that is all."""
        results = [Tensor(node.name, index) for index in range(self._counts.get(node.name, 1))]
        operands = [value for entry in node.inputs for value in values_in(entry)]
        found = [types.get(tensor, UNKNOWN) for tensor in results]
        op = nn.OpaqueOp("TENSORFLOW", node.op_type, 1, {}, operands, found)
        # An input of elements that nn lacks is no op.
        location = UNKNOWN_LOC if node.op_type in PLACEHOLDERS else node.location
        reason = Reason(missing.code, missing.reason + self._why_untyped(found))
        self.builder.keep(op, reason, missing.node.removeprefix("node "), location)
        for tensor, value in zip(results, op.results, strict=True):
            known = value.type != UNKNOWN
            self.root.values[tensor] = value if known else replace(missing, value=value)

    def _why_untyped(self, found: Sequence[Attribute]) -> str:
        if UNKNOWN not in found:
            return ""
        if self.types:
            return "; TensorFlow knows no static type of its result"
        return "; the type of its result is not known without TensorFlow"

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many results of each node are read."""
        texts = (text for node in self.flat.nodes.values() for text in node.input)
        read = [tensor_named(text) for text in texts if not text.startswith("^")]
        counts: dict[str, int] = {}
        for tensor in (*read, *self.flat.outputs):
            counts[tensor.node] = max(counts.get(tensor.node, 0), tensor.position + 1)
        return counts

    @cached_property
    def _types_by_node(self) -> dict[str, dict[Tensor, TensorType]]:
        found: dict[str, dict[Tensor, TensorType]] = {}
        for tensor, type in self.types.items():
            found.setdefault(tensor.node, {})[tensor] = type
        return found

    # -- The module ---------------------------------------------------------------------------

    def finish(self, outputs: Mapping[str, SSAValue], identity: str, name: str) -> ModuleOp:
        return self.builder.finish(
            outputs,
            {
                "ranvier.framework": "TENSORFLOW",
                "ranvier.name": name,
                "ranvier.source_sha256": identity,
            },
        )


def values_in(entry: Value) -> Sequence[SSAValue]:
    """The values of the module that an operand consists of."""
    match entry:
        case TensorList():
            return [item for item in entry.items if item is not None]
        case Missing(value=value):
            return [] if value is None else [value]
        case SSAValue():
            return [entry]
        case _:
            return []
