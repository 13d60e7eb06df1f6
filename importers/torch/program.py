"""The graph of an exported program, and parts of fx graphs, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.importers.torch.importer import OpImporter
from ranvier.importers.torch.model import Imported, Mutation, Output
from ranvier.importers.torch.schema import leaves, unused_results
from ranvier.importers.torch.types import Place, tensor_type
from ranvier.importers.torch.variable import Foreign, NotFunctional, Variable

INLINED = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
"""Higher-order ops that run a graph as it is -> the position of that graph."""

STATE_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


class FxImporter:
    """Values of fx nodes, in one module under construction."""

    def __init__(self, name: str, *, untyped: bool = False) -> None:
        self.importer = OpImporter(name, untyped=untyped)
        self.env: dict[Node, Any] = {}

    def run(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.op == "call_function":
                self.env[node] = self.call(node)
            elif node.op == "get_attr":
                self.env[node] = self.attribute(node)
            else:
                raise self.importer.error(
                    Code.MODEL_UNSUPPORTED,
                    f"node '{node.name}' is a {node.op} of {node.target}; export the model with "
                    "torch.export",
                )

    def call(self, node: Node) -> Any:
        args = map_arg(node.args, self.env.__getitem__)
        kwargs = map_arg(node.kwargs, self.env.__getitem__)
        place = place_of(node)
        if isinstance(node.target, OpOverload):
            result = self.importer.call(node.target, args, kwargs, place)
            return self.typed(node, result)
        if isinstance(node.target, HigherOrderOperator):
            return self.inlined(node, args, place)
        if any(isinstance(leaf, Foreign | torch.SymInt) for leaf in leaves([args, kwargs])):
            return self.typed(node, self.foreign_element(node, args))
        function: Any = node.target  # getitem, or arithmetic on numbers that export has fixed
        return function(*args, **kwargs)

    def foreign_element(self, node: Node, args: Sequence[Any]) -> Any:
        """An element of a foreign result, or a number computed of one."""
        if getattr(node.target, "__name__", "") == "getitem" and isinstance(args[0], tuple):
            return args[0][args[1]]
        self.importer.foreign[node.name] = Reason(
            Code.SHAPE_UNKNOWN, "it computes with a size that depends on values"
        )
        return Foreign(node.name, None)

    def typed(self, node: Node, result: Any) -> Any:
        """A foreign result with the type that the graph states, under the name of its node."""
        stated = node.meta.get("val")
        if not isinstance(result, Foreign) or not isinstance(stated, torch.Tensor):
            return result
        if result.value is not None:
            return result
        known = stated if tensor_type(stated) is not None else None
        return Foreign(node.name, result.fake if result.fake is not None else known)

    def inlined(self, node: Node, args: Sequence[Any], place: Place) -> Any:
        """The results of a graph inside the graph."""
        position = INLINED.get(str(node.target))
        if position is None and self.importer.untyped:
            reason = Reason(Code.OP_OPAQUE, "control flow that depends on values is not compiled")
            location = place.location(str(node.target))
            return self.importer.keep(str(node.target), args, location, place, reason)
        if position is None:
            raise self.importer.error(
                Code.MODEL_UNSUPPORTED,
                f"'{node.name}' is {node.target}: control flow that depends on values is not "
                "compiled; rewrite it with torch.where, or fix its condition",
            )
        graph: GraphModule = args[position]
        inner = list(graph.graph.nodes)
        inputs = [each for each in inner if each.op == "placeholder"]
        self.env |= dict(zip(inputs, args[position + 1 :], strict=True))
        self.run([each for each in inner if each.op in ("call_function", "get_attr")])
        return map_arg(inner[-1].args[0], self.env.__getitem__)

    def attribute(self, node: Node) -> Any:
        module: Any = node.graph.owning_module
        for part in str(node.target).split("."):
            module = getattr(module, part)
        if isinstance(module, torch.Tensor):
            return self.state(module, str(node.target))
        return module

    def state(self, tensor: torch.Tensor, name: str) -> Variable | Foreign:
        return self.importer.state(tensor, name)


def import_exported(exported: ExportedProgram, name: str, *, untyped: bool = False) -> Imported:
    """The whole program; writes that the importer cannot undo, PyTorch does. Raises
    ModelImportError."""
    try:
        return import_as_it_is(exported, name, untyped=untyped)
    except NotFunctional:
        return import_as_it_is(exported.run_decompositions({}), name, untyped=untyped)


def import_as_it_is(exported: ExportedProgram, name: str, *, untyped: bool = False) -> Imported:
    run, signature = FxImporter(name, untyped=untyped), exported.graph_signature
    nodes = list(exported.graph.nodes)
    placeholders = {node.name: node for node in nodes if node.op == "placeholder"}
    inputs: list[str | None] = []
    held: dict[str, Any] = {}
    for spec in signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            node = placeholders[spec.arg.name]
            value = user_input(run, node, spec.arg)
            inputs.append(node.name if isinstance(value, Variable) else None)
            run.env[node] = held[node.name] = value
        elif spec.kind in STATE_KINDS and spec.target is not None:
            node = placeholders[spec.arg.name]
            if node.users:
                held[spec.target] = run.env[node] = run.state(
                    state_of(exported, spec.target), spec.target
                )
        elif spec.kind is InputKind.CUSTOM_OBJ:
            raise run.importer.error(
                Code.MODEL_UNSUPPORTED, f"'{spec.target}' is an object of Python, not a tensor"
            )
    run.run([node for node in nodes if node.op in ("call_function", "get_attr")])
    mutations: list[Mutation] = []
    outputs: list[Output] = []
    (results,) = nodes[-1].args
    names = returned_names(leaves(results))
    for spec, node, result in zip(signature.output_specs, leaves(results), names, strict=True):
        value = run.env[node] if isinstance(node, Node) else node
        if spec.kind is OutputKind.USER_OUTPUT:
            outputs.append(run.importer.output(result, value))
        elif spec.target is not None:
            is_input = spec.kind is OutputKind.USER_INPUT_MUTATION
            mutations.append(run.importer.mutation(result, value, spec.target, is_input=is_input))
    # Writes that the graph itself still has, before PyTorch turns them into results.
    for target, value in held.items():
        if isinstance(value, Variable) and value.changed:
            name, is_input = f"{target}.changed", target in inputs
            mutations.append(run.importer.mutation(name, value, target, is_input=is_input))
    return run.importer.finish(inputs, outputs, mutations)


def user_input(run: FxImporter, node: Node, spec: Any) -> Any:
    """The variable of an input, or the number that the export fixed it to."""
    if isinstance(spec, ConstantArgument):
        return spec.value
    stated = node.meta.get("val")
    if not isinstance(stated, torch.Tensor):
        raise run.importer.error(
            Code.SHAPE_UNKNOWN,
            f"input '{node.name}' is {type(stated).__name__}, which is not fixed; export it as a "
            "constant",
        )
    check_static(run.importer, node.name, stated)
    return run.importer.argument(node.name, run.importer.fake(stated))


def check_static(importer: OpImporter, name: str, stated: torch.Tensor) -> None:
    """Raises ModelImportError for a dimension that the export left open."""
    for dimension, size in enumerate(stated.shape):
        if type(size) is not int:
            raise importer.error(
                Code.SHAPE_UNKNOWN,
                f"dimension {dimension} of input '{name}' is dynamic ({size}); export the model "
                "without dynamic_shapes for it",
            )


def state_of(exported: ExportedProgram, target: str) -> torch.Tensor:
    held: Mapping[str, Any] = exported.state_dict
    return held[target] if target in held else cast(torch.Tensor, exported.constants[target])


def returned_names(results: Sequence[Any]) -> list[str]:
    """A name per result: its node's."""
    return [
        result.name if isinstance(result, Node) else f"constant_{index}"
        for index, result in enumerate(results)
    ]


def place_of(node: Node) -> Place:
    """The node's name, after the path of the module that it stands in."""
    stack: Any = node.meta.get("nn_module_stack") or {}
    path: str = [*stack.values()][-1][0] if stack else ""
    trace = node.meta.get("stack_trace") or ""
    name = f"{path}/{node.name}" if path else node.name
    return Place(node.name, name, trace, unused_results(node), node.meta.get("val"))
