"""Nodes of an exported graph, as the original names them.

The nodes of a captured model are calls of aten ops on tensors, look-ups of their results, and
arithmetic on sizes that are known only at run time.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from ranvier.importers.builder import spelled
from ranvier.importers.torch.program import place_of
from ranvier.importers.torch.schema import base_name

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in')
_NOT_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
"""Files of PyTorch and ours, and code that PyTorch makes."""


@dataclass(frozen=True)
class GraphNode:
    """What a `subgraph_builder_function` sees of a node."""

    name: tuple[str, ...]
    """Classes and attribute names of the modules around it, the outermost first."""
    type_string: str
    """`aten::conv2d`"""

    def kind(self) -> str:
        """`aten::conv2d`, as nodes of TorchScript have it."""
        return self.type_string


def graph_node(node: Node) -> GraphNode:
    return GraphNode(module_names(node), type_of(node))


def is_call(node: Node) -> bool:
    return node.op not in ("placeholder", "get_attr", "output")


def is_lookup(node: Node) -> bool:
    """Whether a node only takes a result of an op with several."""
    return node.target is operator.getitem


def schema_of(node: Node) -> Any:
    """The schema of the op that a node calls, or None for Python's own functions."""
    return getattr(node.target, "_schema", None)


def is_op(node: Node) -> bool:
    """Whether a node counts as an operator: a call of a framework's op on tensors."""
    return node.op == "call_function" and schema_of(node) is not None and not is_symbolic(node)


def is_symbolic(node: Node) -> bool:
    """Whether a node's value is a size or number that is known only at run time."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def argument(node: Node, name: str) -> Any:
    """An argument by its name in the op's schema, its default where the call leaves it out."""
    for position, declared in enumerate(schema_of(node).arguments):
        if declared.name == name:
            given = node.args[position] if position < len(node.args) else declared.default_value
            return node.kwargs.get(name, given)
    return None


def is_seeded(node: Node) -> bool:
    """Whether a node draws random numbers: dropout that is off does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    if any(argument(node, flag) is False for flag in ("train", "training")):
        return False
    return not any(argument(node, rate) == 0 for rate in ("dropout_p", "dropout", "p"))


def mutates(node: Node) -> bool:
    schema = schema_of(node)
    return schema is not None and schema.is_mutable


def values_of(node: Node) -> list[Any]:
    """The fake values of a node, one per result."""
    return pytree.tree_leaves(node.meta.get("val"))


def is_static(value: Tensor) -> bool:
    return all(type(size) is int for size in value.shape)


def bytes_of(node: Node) -> int:
    """Bytes of the results whose size is known."""
    tensors = [v for v in values_of(node) if isinstance(v, Tensor) and is_static(v)]
    return sum(prod(tensor.shape) * tensor.element_size() for tensor in tensors)


def type_of(node: Node) -> str:
    """`aten::conv2d`; sizes are `aten::size`, other Python functions `prim::<name>`."""
    target: Any = node.target
    if schema_of(node) is None:
        return f"prim::{getattr(target, '__name__', target)}"
    return base_name(target)


def name_of(node: Node) -> str:
    """`layer1.0/conv2d_3`: the name in locations and rules, with the path of its module."""
    return spelled(place_of(node).name)


def module_names(node: Node) -> tuple[str, ...]:
    """`("Net", "layer", "Convolution")`: class, then attribute and class per level."""
    names: list[str] = []
    path = ""
    for inner, kind in (node.meta.get("nn_module_stack") or {}).values():
        attribute = inner.removeprefix(path).lstrip(".")
        names += [part for part in attribute.split(".") if part]
        names.append(str(getattr(kind, "__qualname__", kind)).rsplit(".", 1)[-1])
        path = inner
    return tuple(names)


def source_of(node: Node) -> str:
    """`model.py:12`, the line of the user's code that made a node; empty if unknown."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if not frame[0].startswith(_NOT_OWN)]
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""


def describe(node: Node) -> str:
    """`aten::nonzero 'layer1/nonzero' at model.py:12`"""
    where = source_of(node)
    return f"{type_of(node)} '{name_of(node)}'" + (f" at {where}" if where else "")


def output_of(graph: Graph) -> Node:
    return next(iter(graph.find_nodes(op="output")))


def attribute_of(module: GraphModule, node: Node) -> Tensor:
    """The tensor of a `get_attr` node."""
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def changed_state(graph: Graph) -> set[str]:
    """Names of buffers and inputs that the graph writes to."""
    changed: set[str] = set()
    for node in graph.nodes:
        if mutates(node):
            written = node.args[0]
            if isinstance(written, Node):
                changed.add(str(written.target))
    return changed


def constant_nodes(graph: Graph) -> set[Node]:
    """Nodes whose values the model fixes: weights, and what is computed of them alone."""
    changed, constants = changed_state(graph), set[Node]()
    for node in graph.nodes:
        if node.op == "get_attr":
            fixed = str(node.target) not in changed
        else:
            fixed = (
                is_call(node)
                and not is_seeded(node)
                and not mutates(node)
                and not is_symbolic(node)
                and all(read in constants for read in node.all_input_nodes)
                and all(not isinstance(v, Tensor) or is_static(v) for v in values_of(node))
            )
        if fixed:
            constants.add(node)
    return constants


def counted(nodes: Iterable[Node]) -> list[Node]:
    """The operators among nodes, in their order."""
    return [node for node in nodes if is_op(node)]
