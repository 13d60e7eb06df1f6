"""Functions of loops and branches that take the value of a variable in place of its handle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ranvier.dialects.diagnostics import Code
from ranvier.importers.tensorflow.graph import (
    BRANCHES,
    CALLS,
    CASES,
    LOOPS,
    Library,
    attribute,
    fail,
)
from ranvier.importers.tensorflow.protos import FunctionDef, Message
from ranvier.importers.tensorflow.tensors import RESOURCE, proto_of_array

Types = Mapping[int, int]
"""Element types by the position of the argument that becomes a value."""


def become_read(node: Message) -> None:
    node.op = "Identity"
    node.attr["T"].type = node.attr["dtype"].type
    del node.attr["dtype"]


def become_gather(node: Message) -> None:
    """`ResourceGather(handle, indices)` as `GatherV2(value, indices, axis)`."""
    node.op = "GatherV2"
    node.attr["Tparams"].type = node.attr["dtype"].type
    node.attr["Taxis"].type = 3
    for name in ("dtype", "validate_indices"):
        node.attr.pop(name, None)


class Specializer:
    """Writes specialised copies of functions beside the others."""

    def __init__(self, library: Library, functions: dict[str, Message]) -> None:
        self.library = library
        self.functions = functions
        self._known: dict[tuple[str, tuple[tuple[int, int], ...]], str] = {}

    def specialize_control_flow(self, node: Message, types: Types) -> None:
        """Let the functions of a loop, branch or call take values at some positions."""
        shifted, listed = types, "T"
        if node.op in BRANCHES or node.op in CASES:
            shifted, listed = {i - 1: dtype for i, dtype in types.items()}, "Tin"
        elif node.op in CALLS:
            listed = "Tin"
        for position, dtype in shifted.items():
            node.attr[listed].list.type[position] = dtype
        for name in ("cond", "body", "then_branch", "else_branch", "f"):
            if name in node.attr and node.attr[name].HasField("func"):
                function = node.attr[name].func
                function.name = self.specialized(node, function.name, shifted)
        for branch in attribute(node, "branches").list.func:
            branch.name = self.specialized(node, branch.name, shifted)
        if node.op in LOOPS:
            node.attr.pop("output_shapes", None)

    def specialized(self, node: Message, name: str, types: Types) -> str:
        """The name of a copy of a function that takes values at some positions."""
        key = name, tuple(sorted(types.items()))
        if key not in self._known:
            function = FunctionDef()
            function.CopyFrom(self.library.function(node, name))
            function.signature.name = f"{name}_of_values_{len(self._known)}"
            self._known[key] = function.signature.name
            self._rewrite(function, types)
            self.functions[function.signature.name] = function
        return self._known[key]

    def _rewrite(self, function: Message, types: Types) -> None:
        arguments = function.signature.input_arg
        values = {arguments[position].name: dtype for position, dtype in types.items()}
        for position, dtype in types.items():
            arguments[position].type = dtype
        function.attr.pop("_input_shapes", None)  # that of a handle is a scalar's
        renamed: dict[str, str] = {}
        for node in list(function.node_def):
            self._rewrite_node(function, node, values, renamed)
        for node in function.node_def:
            inputs = [renamed.get(text, text) for text in node.input]
            del node.input[:]
            node.input.extend(inputs)
        for result in function.signature.output_arg:
            text = function.ret[result.name]
            function.ret[result.name] = renamed.get(text, text)
            if text in values:
                result.type = values[text]

    def _rewrite_node(
        self, function: Message, node: Message, values: dict[str, int], renamed: dict[str, str]
    ) -> None:
        data = [text for text in node.input if not text.startswith("^")]
        read = {i: values[text] for i, text in enumerate(data) if text in values}
        if not read:
            return
        match node.op:
            case "Identity" if attribute(node, "T").type == RESOURCE:
                node.attr["T"].type = read[0]
                values |= {f"{node.name}:output:0": read[0], f"{node.name}:output": read[0]}
            case "ReadVariableOp":
                become_read(node)
                renamed |= {
                    f"{node.name}:value{end}": f"{node.name}:output:0" for end in (":0", "")
                }
            case "ResourceGather":
                become_gather(node)
                axis = function.node_def.add(name=f"{node.name}/axis_of_rows", op="Const")
                axis.attr["dtype"].type = 3
                axis.attr["value"].tensor.CopyFrom(proto_of_array(np.array(0, np.int32)))
                rest = [text for text in node.input if text.startswith("^")]
                del node.input[:]
                node.input.extend([*data, f"{axis.name}:output:0", *rest])
            case "VariableShape":
                node.op, node.attr["T"].type = "Shape", read[0]
            case op if op in (*LOOPS, *BRANCHES, *CASES, *CALLS):
                self.specialize_control_flow(node, read)
                if op in LOOPS:
                    values |= {f"{node.name}:output:{i}": dtype for i, dtype in read.items()}
            case op:
                fail(
                    self.library.place,
                    Code.MODEL_UNSUPPORTED,
                    f"node '{node.name}' ({op}) uses a variable as the model runs",
                )
