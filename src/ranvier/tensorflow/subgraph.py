"""Compile one subgraph, and describe it as a `NeuronOp` node."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.dialects.nn.types import dtype_of
from ranvier.importers.tensorflow import import_graph
from ranvier.importers.tensorflow.flatten import FlatGraph
from ranvier.importers.tensorflow.graph import Tensor, tensor_named
from ranvier.importers.tensorflow.model import InputInfo, Model
from ranvier.importers.tensorflow.protos import GraphDef, Message, NodeDef
from ranvier.importers.tensorflow.tensors import code_of_dtype, dtype_of_code, proto_of_array
from ranvier.passes.analysis.operators import HostOp
from ranvier.program import compile_module
from ranvier.tensorflow.options import Compilation
from ranvier.tensorflow.partition import Subgraph
from ranvier.tensorflow.placed import Placed

SMALL_CONSTANT = 1024
"""Bytes. The graph in a NeuronOp keeps the values of constants up to this size."""


@dataclass
class CompiledSubgraph:
    """A subgraph with its program."""

    name: str
    model: Model
    executable: bytes
    cores: int
    host_ops: Sequence[HostOp]
    input_types: Sequence[TensorType]
    output_types: Sequence[TensorType]
    input_axes: Sequence[int] = ()
    output_axes: Sequence[int] = ()

    @property
    def op_count(self) -> int:
        """Nodes of the subgraph, without its placeholders."""
        return len(self.model.flat.nodes) - len(self.model.inputs)


def model_of_subgraph(flat: FlatGraph, subgraph: Subgraph, placed: Placed) -> Model:
    """The nodes of a subgraph between placeholders and results."""
    inputs: dict[str, InputInfo] = {}
    names: dict[Tensor, str] = {}
    own = FlatGraph(flat.place, functions=flat.functions)
    for tensor in subgraph.inputs:
        if tensor not in placed.types:
            raise CallerError(
                Code.MODEL_UNSUPPORTED, f"it reads '{tensor}', which is no tensor of nn"
            )
        name = tensor.node if tensor.position == 0 else f"{tensor.node}/_{tensor.position}"
        while name in subgraph.members or name in own.nodes:
            name += "/_"
        type = placed.types[tensor]
        code = code_of_dtype(dtype_of(type.element_type))
        names[tensor] = name
        own.nodes[name] = placeholder(name, code, type.get_shape())
        inputs[f"{name}:0"] = InputInfo(Tensor(name, 0), code, type.get_shape())
    for name in subgraph.members:
        known = placed.constants.get(name)
        own.nodes[name] = (
            copy_of(flat.nodes[name], names) if known is None else constant(name, known)
        )
        if name in flat.constants:
            own.constants[name] = flat.constants[name]
    own.outputs = list(subgraph.outputs)
    text = "".join([name for name in own.nodes] + [str(t) for t in own.outputs])
    identity = sha256(text.encode()).hexdigest()
    return Model(identity[:16], identity, own, inputs, {str(t): t for t in own.outputs})


def copy_of(node: Message, names: Mapping[Tensor, str]) -> Message:
    """A node that reads placeholders in place of some results."""
    copy = NodeDef()
    copy.CopyFrom(node)
    read = [text for text in node.input if not text.startswith("^")]
    texts = [f"{names[t]}:0" if (t := tensor_named(text)) in names else text for text in read]
    del copy.input[:]
    copy.input.extend(texts)
    copy.attr.pop("_output_shapes", None)
    return copy


def placeholder(name: str, code: int, shape: Sequence[int] | None) -> Message:
    node = NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = code
    node.attr["shape"].shape.unknown_rank = shape is None
    for size in shape or ():
        node.attr["shape"].shape.dim.add(size=size)
    return node


def constant(name: str, array: Array) -> Message:
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = code_of_dtype(array.dtype)
    node.attr["value"].tensor.CopyFrom(proto_of_array(array))
    return node


def compile_subgraph(
    flat: FlatGraph, subgraph: Subgraph, placed: Placed, compilation: Compilation, name: str
) -> CompiledSubgraph:
    """Compile a subgraph to a program. Raises what the compiler raises, and TimeoutError."""
    model = model_of_subgraph(flat, subgraph, placed)
    started = time.perf_counter()

    def watch(step: str) -> None:
        if compilation.timeout and time.perf_counter() - started > compilation.timeout:
            raise TimeoutError(f"{name}: not compiled within {compilation.timeout:g} s, at {step}")

    module = import_graph(model, {})
    compiled = compile_module(module, compilation.options, progress=watch)
    with tempfile.TemporaryDirectory(prefix="ranvier-") as folder:
        path = Path(folder) / "graph_def.neff"
        compiled.write(path)
        executable = path.read_bytes()
    done = CompiledSubgraph(
        name,
        model,
        executable,
        compiled.cores,
        compiled.host_ops,
        [placed.types[tensor] for tensor in subgraph.inputs],
        [placed.types[tensor] for tensor in subgraph.outputs],
    )
    if compilation.workdir is not None:
        keep_files(compilation.workdir / name, done, time.perf_counter() - started)
    return done


def keep_files(folder: Path, compiled: CompiledSubgraph, seconds: float) -> None:
    """What a work directory holds of each subgraph."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph_def.pb").write_bytes(graph_of(compiled.model.flat, whole=True))
    (folder / "graph_def.neff").write_bytes(compiled.executable)
    (folder / "graph_def.io-config.json").write_text(json.dumps(io_config(compiled.model)))
    lines = [
        f"{compiled.op_count} operations compiled in {seconds:.1f} s",
        *(f"on the host: {op.op} '{op.name}': {op.reason} [{op.code}]" for op in compiled.host_ops),
    ]
    (folder / "graph_def.neuron-cc.log").write_text("\n".join(lines) + "\n")


def io_config(model: Model) -> dict[str, object]:
    """Inputs and outputs in the form of `--io-config`."""
    return {
        "inputs": {
            name: [list(info.shape or ()), dtype_of_code(info.dtype).name]
            for name, info in model.inputs.items()
        },
        "outputs": list(model.outputs),
    }


def graph_of(flat: FlatGraph, *, whole: bool) -> bytes:
    """A flat graph as a GraphDef; without large constants if not `whole`."""
    graph = GraphDef()
    for node in flat.nodes.values():
        added = graph.node.add()
        added.CopyFrom(node)
        if (array := flat.constants.get(node.name)) is not None:
            small = whole or array.nbytes <= SMALL_CONSTANT
            added.attr["value"].tensor.CopyFrom(proto_of_array(array) if small else empty(array))
        elif not whole and node.op == "Const":
            empty_large(added)
    for function in flat.functions.values():
        graph.library.function.add().CopyFrom(function)
    return bytes(graph.SerializeToString(deterministic=True))


def empty(array: Array) -> Message:
    """Type and shape of an array."""
    return proto_of_array(np.broadcast_to(np.zeros((), array.dtype), array.shape))


def empty_large(node: Message) -> None:
    """Drop the values of a large constant: type and shape stay."""
    tensor = node.attr["value"].tensor
    if tensor.ByteSize() > SMALL_CONSTANT:
        for name in ("tensor_content", "float_val", "double_val", "int_val", "half_val"):
            tensor.ClearField(name)


# -- The node ---------------------------------------------------------------------------------


def neuron_node(
    compiled: CompiledSubgraph, inputs: Sequence[str], model_config: Sequence[int]
) -> Message:
    """The `NeuronOp` that stands for a subgraph."""
    node = NodeDef(name=compiled.name, op="NeuronOp", input=inputs)
    node.attr["graph_def"].s = graph_of(compiled.model.flat, whole=False)
    node.attr["executable"].s = compiled.executable
    for side, names, types in (
        ("input", compiled.model.inputs, compiled.input_types),
        ("output", compiled.model.outputs, compiled.output_types),
    ):
        listed = node.attr[f"{side}_names"].list
        listed.s.extend(name.encode() for name in names)
        dtypes = [code_of_dtype(dtype_of(type.element_type)) for type in types]
        node.attr[f"{side}_dtypes"].list.type.extend(dtypes)
        add_shapes(node.attr[f"{side}_shapes"].list, [type.get_shape() for type in types])
    node.attr["input_batch_axis"].list.i.extend(compiled.input_axes)
    node.attr["output_batch_axis"].list.i.extend(compiled.output_axes)
    node.attr["model_config"].list.i.extend(model_config)
    shapes = [output_shape(compiled, place) for place in range(len(compiled.output_types))]
    add_shapes(node.attr["_output_shapes"].list, shapes)
    return node


def output_shape(compiled: CompiledSubgraph, place: int) -> tuple[int, ...]:
    """Of an output for any call: its batch is not static if the program runs in batches."""
    shape = compiled.output_types[place].get_shape()
    batched = bool(compiled.output_axes) and compiled.output_axes[place] == 0
    return (-1, *shape[1:]) if batched else shape


def add_shapes(listed: Message, shapes: Sequence[Sequence[int]]) -> None:
    listed.SetInParent()
    for shape in shapes:
        added = listed.shape.add()
        for size in shape:
            added.dim.add(size=size)
