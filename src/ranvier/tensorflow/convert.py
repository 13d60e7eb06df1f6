"""Turn a flat graph into one whose subgraphs are `NeuronOp` nodes.

Outputs keep their names: where a node had a result of the model, an `IdentityN` of its name stands.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from posixpath import commonpath

from xdsl.utils.exceptions import PassFailedException, VerifyException

from ranvier.dialects.diagnostics import Code, CodedError, Reason
from ranvier.dialects.interfaces import Array
from ranvier.importers.builder import spelled
from ranvier.importers.tensorflow.graph import Tensor, tensor_named
from ranvier.importers.tensorflow.model import Model
from ranvier.importers.tensorflow.protos import Message, NodeDef
from ranvier.importers.tensorflow.tensors import proto_of_array
from ranvier.passes.analysis.operators import code_of
from ranvier.placement import is_disobeyed
from ranvier.program import Shapes
from ranvier.tensorflow.batching import batches_of
from ranvier.tensorflow.options import Compilation, Placement
from ranvier.tensorflow.partition import Divider, Division, Kind, Subgraph
from ranvier.tensorflow.placed import Placed
from ranvier.tensorflow.placing import TypesOf, place
from ranvier.tensorflow.subgraph import (
    CompiledSubgraph,
    compile_subgraph,
    constant,
    model_of_subgraph,
    neuron_node,
    placeholder,
)

LOG = logging.getLogger("ranvier")
BYTES_PER_SECOND, SHORTEST_TIMEOUT, MOST_DUPLICATES = 1e8, 10, 64
Errors = (CodedError, PassFailedException, VerifyException, TimeoutError)


@dataclass
class Converted:
    """The nodes of the new graph, in order, and what became of the old ones."""

    model: Model
    nodes: list[Message]
    subgraphs: list[CompiledSubgraph]
    placed: Placed
    native: Mapping[str, None]
    """Names of the old nodes that stay in TensorFlow."""
    functions: Mapping[str, Message]

    @property
    def on_neuron(self) -> int:
        """Nodes in subgraphs, without their placeholders."""
        return sum(subgraph.op_count for subgraph in self.subgraphs)

    @property
    def operations(self) -> int:
        """Nodes of the new graph, with each subgraph in place of its node."""
        return len(self.nodes) - len(self.subgraphs) + self.on_neuron


@dataclass
class Converter:
    """One conversion."""

    model: Model
    ends: Mapping[str, Tensor]
    """The results of the original graph that the outputs are, by output."""
    dtypes: Mapping[str, int]
    """Their types, as `DataType`."""
    shapes: Shapes
    placement: Placement
    compilation: Compilation
    types_of: TypesOf
    recovery: bool = True
    """Whether a subgraph that does not compile stays in TensorFlow."""
    done: dict[tuple[str, ...], CompiledSubgraph] = field(
        default_factory=dict[tuple[str, ...], CompiledSubgraph]
    )

    def run(self) -> Converted:
        placed = place(
            self.model, self.shapes, self.compilation.options, self.placement, self.types_of
        )
        batches = None
        if self.compilation.dynamic_batch_size:
            batches = batches_of(self.model, self.shapes, placed)
        fixed = placed.constants if batches is None else batches.fixed()
        while True:
            ops = sum(kind in (Kind.DEVICE, Kind.HOST) for kind in placed.kinds.values())
            divider = Divider(self.model.flat, placed.kinds, placed.constants, fixed)
            minimum = self.placement.minimum(ops)
            division = divider.divide(minimum, placed.forced.keys())
            if self._compile_all(division, placed):
                break
        for name, size in division.small.items():
            text = f"its subgraph has {size} nodes; one with fewer than {minimum} is not compiled"
            placed.keep(name, Reason(Code.OP_SEGMENT_TOO_SMALL, text))
        subgraphs = [self.done[key_of(subgraph)] for subgraph in division.subgraphs]
        if batches is not None:
            for subgraph, compiled in zip(division.subgraphs, subgraphs, strict=True):
                compiled.input_axes, compiled.output_axes = batches.axes_of(subgraph)
        nodes = self._nodes(division, subgraphs, fixed)
        return Converted(
            self.model, nodes, subgraphs, placed, division.native, self.model.flat.functions
        )

    # -- Compiling ----------------------------------------------------------------------------

    def _compile_all(self, division: Division, placed: Placed) -> bool:
        """Whether all subgraphs are on the machine; if not, `placed` says what is not."""
        nodes = self.model.flat.nodes
        names = {form: name for name in nodes for form in (name, spelled(name))}
        for subgraph in division.subgraphs:
            key = key_of(subgraph)
            if key in self.done:
                continue
            try:
                found = self._compile(subgraph, placed)
            except Errors as error:
                if not self.recovery or is_disobeyed(error):
                    raise
                LOG.warning("a subgraph of %d nodes stays in TensorFlow: %s", len(key), error)
                reason = Reason(getattr(error, "code", Code.OP_NO_LOWERING), str(error))
                for name in subgraph.nodes:
                    placed.keep(name, reason)
                return False
            self.done[key] = found
            refused = {op.name: op for op in found.host_ops if op.name in names}
            for name, op in refused.items():
                placed.keep(names[name], Reason(code_of(op.code), op.reason))
            if refused:
                return False
        return True

    def _compile(self, subgraph: Subgraph, placed: Placed) -> CompiledSubgraph:
        model = model_of_subgraph(self.model.flat, subgraph, placed)
        name = f"neuron_op_{model.identity[:16]}"
        if scope := common_scope(subgraph):
            name = f"{scope}/{name}"
        return compile_subgraph(self.model.flat, subgraph, placed, self.compilation, name)

    # -- Writing ------------------------------------------------------------------------------

    def _nodes(
        self,
        division: Division,
        subgraphs: Sequence[CompiledSubgraph],
        fixed: Mapping[str, Array],
    ) -> list[Message]:
        """Placeholders, native nodes, NeuronOps, and an IdentityN per output node."""
        flat = self.model.flat
        inputs = {info.tensor.node: info for info in self.model.inputs.values()}
        ends = [name for name, end in self.ends.items() if end.node not in inputs]
        made = {self.ends[name].node for name in ends if not self._is_itself(name, division)}
        ends = [name for name in ends if self.ends[name].node in made]
        refs = References({name: f"{name}/native" for name in made & set(division.native)})
        for subgraph, compiled in zip(division.subgraphs, subgraphs, strict=True):
            for tensor, position in subgraph.outputs.items():
                refs.made[tensor] = f"{compiled.name}:{position}"
        nodes = [
            flat.nodes.get(name) or placeholder(name, info.dtype, info.shape)
            for name, info in inputs.items()
            if name not in division.native
        ]
        for name in division.native:
            new = refs.renamed.get(name, name)
            known = fixed.get(name)
            nodes.append(
                native_node(self.model, name, refs) if known is None else constant(new, known)
            )
        cores = max((compiled.cores for compiled in subgraphs), default=1)
        duplicates = MOST_DUPLICATES if len(subgraphs) == 1 else 1
        for subgraph, compiled in zip(division.subgraphs, subgraphs, strict=True):
            seconds = max(SHORTEST_TIMEOUT, ceil(len(compiled.executable) / BYTES_PER_SECOND))
            read = [refs.of(tensor) for tensor in subgraph.inputs]
            config = (cores, compiled.cores, duplicates, seconds)
            nodes.append(neuron_node(compiled, read, config))
        return nodes + output_nodes(self.model, self._ends_by_node(ends), self.dtypes, refs)

    def _is_itself(self, name: str, division: Division) -> bool:
        """Whether an output is what it was: the result of a node that stays in TensorFlow."""
        end = self.ends[name]
        return end == self.model.outputs[name] and end.node in division.native

    def _ends_by_node(self, names: Sequence[str]) -> Mapping[str, Mapping[int, str]]:
        by_node: dict[str, dict[int, str]] = {}
        for name in names:
            by_node.setdefault(self.ends[name].node, {})[self.ends[name].position] = name
        return by_node


@dataclass
class References:
    """What the new graph calls the results of the flat one."""

    renamed: Mapping[str, str]
    """Native nodes whose names the outputs take."""
    made: dict[Tensor, str] = field(default_factory=dict[Tensor, str])
    """Results of NeuronOps."""

    def of(self, tensor: Tensor) -> str:
        own = Tensor(self.renamed.get(tensor.node, tensor.node), tensor.position)
        return self.made.get(tensor, str(own))


def native_node(model: Model, name: str, refs: References) -> Message:
    """A node that stays in TensorFlow, with its value if it is a variable's."""
    node = NodeDef()
    node.CopyFrom(model.flat.nodes[name])
    node.name = refs.renamed.get(name, name)
    texts = [
        f"^{refs.renamed.get(text[1:], text[1:])}"
        if text.startswith("^")
        else refs.of(tensor_named(text))
        for text in node.input
    ]
    del node.input[:]
    node.input.extend(texts)
    node.attr.pop("_output_shapes", None)
    if (array := model.flat.constants.get(name)) is not None:
        node.attr["value"].tensor.CopyFrom(proto_of_array(array))
    return node


def output_nodes(
    model: Model,
    ends: Mapping[str, Mapping[int, str]],
    dtypes: Mapping[str, int],
    refs: References,
) -> list[Message]:
    """An IdentityN for each node of the original graph that has an output of the model.

    `ends` are the outputs by node and position.
    """
    nodes: list[Message] = []
    for node_name, results in ends.items():
        first = next(iter(results.values()))
        listed = [results.get(position, first) for position in range(max(results) + 1)]
        node = NodeDef(name=node_name, op="IdentityN")
        node.input.extend(refs.of(model.outputs[name]) for name in listed)
        node.attr["T"].list.type.extend(dtypes[name] for name in listed)
        nodes.append(node)
    return nodes


def key_of(subgraph: Subgraph) -> tuple[str, ...]:
    return (*subgraph.members, "", *map(str, subgraph.outputs))


def common_scope(subgraph: Subgraph) -> str:
    """The scope of names that all computing nodes share."""
    return commonpath([name.rpartition("/")[0] for name in subgraph.nodes])
