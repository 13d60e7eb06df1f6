"""Put programs in the place of segments, and record the result as TorchScript.

Ops on the host stay aten ops of the same graph. Weights that only segments read are in their NEFFs
and leave the module. Recording must not fix a size that depends on data: such sizes are written as
the recorder follows them, and what it cannot follow is an error.
"""

from __future__ import annotations

import operator
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.jit._trace import TracerWarning

from ranvier.dialects.diagnostics import Code
from ranvier.torch.capturing import Call, CaptureError
from ranvier.torch.node import attribute_of, describe, is_symbolic, mutates, output_of, schema_of
from ranvier.torch.partition import Partition, Segment
from ranvier.torch.runtime import DTYPES, LOADED, OFF, Replay, Signature

NAMES = {dtype: name for name, dtype in DTYPES.items()}


def signature_of(segment: Segment, batch: str) -> Signature:
    values: list[Tensor] = [node.meta["val"] for node in segment.outputs]
    return Signature(tuple((NAMES[v.dtype], tuple(v.shape)) for v in values), batch)


def assemble(
    partition: Partition, neffs: Sequence[Tensor], *, batch: str = OFF, half: bool = False
) -> GraphModule:
    """A module that calls `neff::execute` for each segment, `neff_<number>` in graph order.

    With `half`, inputs of f32 are cast to f16 first and results of f32 last.
    """
    source = partition.module
    graph = Graph()
    set_signature(graph, source.graph)
    copies: dict[Node, Node] = {}
    owners = {
        node: number
        for number, segment in enumerate(partition.segments)
        for node in segment.nodes
        if node not in partition.constants
    }
    for node in execution_order(partition):
        if node not in owners:
            if writes_input(node):
                copies[node] = guarded_write(graph, node, copies)
                continue
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if half and node.op == "placeholder":
                copies[node] = narrowed(graph, copies[node])
        elif node not in copies:
            number = owners[node]
            segment = partition.segments[number]
            insert_call(graph, segment, copies, f"neff_{number}", signature_of(segment, batch))
    results = map_arg(output_of(source.graph).args[0], copies.__getitem__)
    if half:
        results = map_arg(results, lambda node: narrowed(graph, node))
    graph.output(results)
    graph.eliminate_dead_code()
    return module_of(graph, source, neffs)


def execution_order(partition: Partition) -> list[Node]:
    """All nodes but the output: inputs first, by levels, writes to inputs and buffers last."""
    last = max(partition.levels.values(), default=0) + 1

    def level(node: Node) -> int:
        if node.op == "placeholder":
            return -1
        return last if mutates(node) else partition.levels.get(node, 0)

    nodes = [node for node in partition.module.graph.nodes if node.op != "output"]
    return sorted(nodes, key=level)


def writes_input(node: Node) -> bool:
    target = node.args[0] if node.target is torch.ops.aten.copy_.default else None
    return isinstance(target, Node) and target.op == "placeholder"


def guarded_write(graph: Graph, node: Node, copies: Mapping[Node, Node]) -> Node:
    """Write to an input unless others have memory of it; the input stands for the result."""
    target, value = (copies[read] for read in node.all_input_nodes)
    target = target if target.op == "placeholder" else target.all_input_nodes[0]  # not its cast
    inputs = graph.find_nodes(op="placeholder")
    others = [n for n in inputs if n is not target and isinstance(n.meta.get("val"), Tensor)]
    graph.call_function(torch.ops.neff.write.default, (target, value, others))
    return target


def insert_call(
    graph: Graph, segment: Segment, copies: dict[Node, Node], attribute: str, signature: Signature
) -> None:
    """The call of a program, and its results in the place of the segment's."""
    inputs = [copies[node] for node in segment.inputs]
    neff = graph.get_attr(attribute)
    call = graph.call_function(
        torch.ops.neff.execute.default, (inputs, neff), {"signature": signature.text()}
    )
    copies |= dict.fromkeys(segment.nodes, call)
    for index, node in enumerate(segment.outputs):
        copies[node] = graph.create_node(
            "call_function", operator.getitem, (call, index), name=node.name
        )
        copies[node].meta = dict(node.meta)


def narrowed(graph: Graph, node: Node) -> Node:
    """A value as f16 if it is f32, or may be: a tensor that is f16 stays as it is."""
    value = node.meta.get("val")
    floats = (torch.float32, torch.float16)
    if not isinstance(value, Tensor) or value.dtype not in floats:
        return node
    if value.dtype == torch.float16 and node.op != "placeholder":
        return node
    cast = graph.call_function(torch.ops.aten.to.dtype, (node, torch.float16))
    cast.meta = {**node.meta, "val": value.to(torch.float16)}
    return cast


def set_signature(graph: Graph, source: Graph) -> None:
    """Take and return what another graph does, tuples and dicts of tensors included."""
    codegen: Any = vars(source)["_codegen"]
    graph.set_codegen(codegen)


def module_of(graph: Graph, source: GraphModule, neffs: Sequence[Tensor]) -> GraphModule:
    """The graph with the attributes that it reads, and no other."""
    attributes: dict[str, Any] = {f"neff_{i}": neff for i, neff in enumerate(neffs)}
    for node in graph.find_nodes(op="get_attr"):
        if str(node.target) not in attributes:
            value = attribute_of(source, node)
            # A parameter that is written to would refuse that, as it requires a gradient.
            written = any(mutates(user) and user.args[0] is node for user in node.users)
            attributes[str(node.target)] = value.detach() if written else value
    module = GraphModule(attributes, graph)
    module.eval()
    return module


# -- Recording --------------------------------------------------------------------------------


def record(
    module: GraphModule,
    call: Call,
    replayed: Mapping[str, Sequence[Tensor]],
    settings: Mapping[str, Any],
) -> torch.jit.ScriptModule:
    """The module as TorchScript. `replayed` has the outputs of each NEFF, which then does not run.

    Raises CaptureError where the recorder would fix a value that depends on data.
    """
    followed = GraphModule(module, follow_sizes(module.graph))
    followed.eval()
    call = call.copy()  # recording runs the model, which may write to its inputs
    tensors = [getattr(module, name) for name in replayed]
    for tensor, outputs in zip(tensors, replayed.values(), strict=True):
        setattr(tensor, LOADED, Replay(outputs))
    arguments = (
        {"example_inputs": call.args}
        if not call.kwargs
        else {"example_kwarg_inputs": {**dict(zip(input_names(module), call.args)), **call.kwargs}}
    )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", TracerWarning)
            # A list has as many elements in every call.
            warnings.filterwarnings("ignore", "Encountering a list", TracerWarning)
            recorded: Any = torch.jit.trace(followed, check_trace=False, **arguments, **settings)
            return recorded
    except (TracerWarning, SystemError) as error:
        raise refused_by_recorder(error) from error
    finally:
        for tensor in tensors:
            delattr(tensor, LOADED)


def refused_by_recorder(error: Exception) -> CaptureError:
    """The recorder prints results that it refuses, which reads their values too."""
    frames = traceback.extract_tb(error.__traceback__)
    if any(Path(frame.filename).name == "_tensor_str.py" for frame in frames):
        return CaptureError(
            Code.MODEL_UNSUPPORTED,
            "TorchScript has no type for the structure of the results: tensors, tuples of them and "
            "dicts whose values are of one type can be returned; ranvier.torch.export takes others",
        )
    return CaptureError(
        Code.NODE_NOT_STATIC, f"a size that depends on data cannot be recorded: {error}"
    )


def input_names(module: GraphModule) -> list[str]:
    return [node.name for node in module.graph.find_nodes(op="placeholder")]


def follow_sizes(graph: Graph) -> Graph:
    """Sizes and what reads them, as functions that the recorder follows.

    Raises CaptureError for a number taken out of a tensor, and for an op it cannot follow.
    """
    copy = Graph()
    set_signature(copy, graph)
    copies: dict[Node, Node] = {}
    copy.output(copy.graph_copy(graph, copies))
    for original, node in copies.items():
        reads_size = any(is_symbolic(read) for read in original.all_input_nodes)
        name = "" if schema_of(node) is None else schema_of(node).name.rpartition("::")[2]
        if name in ("item", "_local_scalar_dense"):
            raise CaptureError(
                Code.NODE_NOT_STATIC,
                f"{describe(original)} takes a number out of a tensor, and what reads it would "
                "keep the example's; compute with the tensor",
            )
        if name == "sym_size":
            node.op, node.target = "call_method", "size"
        elif name and reads_size:
            node.target = followed_function(original, name)
    return copy


def followed_function(node: Node, name: str) -> Callable[..., Any]:
    """A function of PyTorch that takes sizes under the recorder."""
    if name == "slice":
        return slice_of
    for place in (Tensor, torch):
        if callable(function := getattr(place, name, None)):
            return function
    raise CaptureError(Code.NODE_NOT_STATIC, f"{describe(node)} reads a size that depends on data")


def slice_of(x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """`aten::slice` as Python writes it."""
    return x[(*(slice(None) for _ in range(dim % x.dim())), slice(start, end, step))]
