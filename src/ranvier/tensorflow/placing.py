"""Find out of each node of a flat graph whether the machine runs it.

The graph is imported as far as `nn` can hold it, and the compiler's own passes place its ops: what
they leave on the host stays in TensorFlow, with their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xdsl.ir import Operation, SSAValue

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.importers.builder import named
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.importers.tensorflow.importer import GraphImporter
from ranvier.importers.tensorflow.model import InputTypes, Model
from ranvier.importers.tensorflow.node import described
from ranvier.passes.analysis.operators import (
    code_of,
    framework_name,
    framework_ops,
    host_ops,
    live_ops,
    segments_of,
)
from ranvier.passes.pipelines import placement_pipeline, run_pipeline
from ranvier.program import Options, Shapes
from ranvier.tensorflow.lists import place_lists
from ranvier.tensorflow.options import Placement
from ranvier.tensorflow.partition import Kind, nodes_in_loop
from ranvier.tensorflow.placed import Placed

TypesOf = Callable[[Model, Shapes], Mapping[Tensor, TensorType]]
"""What TensorFlow infers of a graph's results under some shapes of its inputs."""


def place(
    model: Model, shapes: Shapes, options: Options, placement: Placement, types_of: TypesOf
) -> Placed:
    """Place every node of a model whose inputs have these shapes."""
    inputs = InputTypes(model, shapes).resolve(tolerant=True)
    importer = GraphImporter(model.flat, inputs, tolerant=True)
    importer.evaluate(importer.root, model.outputs.values())
    if importer.refused:
        types = types_of(model, shapes)
        importer = GraphImporter(model.flat, inputs, types=types, tolerant=True)
        importer.evaluate(importer.root, model.outputs.values())
    placed = Placed(dict.fromkeys(model.flat.nodes, Kind.FREE))
    placed.kinds |= {info.tensor.node: Kind.INPUT for info in model.inputs.values()}
    note_values(importer, placed)
    run_passes(importer, model, options, placed)
    for name, missing in importer.refused.items():
        if placed.kinds[name] is not Kind.INPUT:  # its elements may be strings
            why = missing.why(described(model.flat.nodes[name]))
            placed.keep(name, Reason(missing.code, why))
    keep_as_asked(model, placed, placement)
    place_loops(importer, placed, placement)
    place_lists(importer, placed)
    return placed


def keep_as_asked(model: Model, placed: Placed, placement: Placement) -> None:
    """The caller may keep what the machine runs, and by name what others absorbed."""
    absorbed = {
        name
        for name in placement.no_fuse_ops & placed.kinds.keys() - placed.constants.keys()
        if placed.kinds[name] is Kind.FREE and model.flat.nodes[name].op != "Const"
    }
    for name, node in model.flat.nodes.items():
        if placed.kinds[name] is Kind.DEVICE or name in absorbed:
            if (reason := placement.why_host(node)) is not None:
                placed.keep(name, reason)


def place_loops(importer: GraphImporter, placed: Placed, placement: Placement) -> None:
    """A loop without functions is placed as a whole: its ends stand for it."""
    nodes = importer.root.nodes
    kinds = dict(placed.kinds)
    for end, loop in importer.loops(nodes).items():
        inside = nodes_in_loop(nodes, loop)
        chosen = [n for n in inside & placement.no_fuse_ops if nodes.node(n).op != "Const"]
        placed.kinds |= dict.fromkeys(inside, Kind.FREE)
        if chosen:
            placed.keep(end, Reason(Code.OP_RULE, f"no_fuse_ops names '{min(chosen)}' in it"))
        elif kinds[loop.name] is Kind.HOST:
            placed.keep(end, placed.reasons[loop.name])
        elif kinds[loop.name] is Kind.DEVICE:
            placed.kinds[end] = Kind.DEVICE


def note_values(importer: GraphImporter, placed: Placed) -> None:
    """Types of results, and the values that follow from shapes and constants alone."""
    for tensor, value in importer.root.values.items():
        if not isinstance(value, SSAValue):
            continue
        placed.types[tensor] = value.type  # pyright: ignore[reportArgumentType]
        kind = placed.kinds.get(tensor.node)
        if kind is Kind.FREE and tensor.position == 0:
            known = importer.builder.constant_of(value)
            if known is not None and importer.flat.nodes[tensor.node].op != "Const":
                placed.constants[tensor.node] = known


def run_passes(importer: GraphImporter, model: Model, options: Options, placed: Placed) -> None:
    """Let the compiler place what is imported."""
    wanted = [*model.outputs.values(), *read_by_refused(importer)]
    values = {str(t): v for t in wanted if isinstance(v := importer.root.values.get(t), SSAValue)}
    if not values:
        return
    names = {framework_name(named(name)): name for name in model.flat.nodes}
    module = importer.finish(values, model.identity, model.name)
    mode = options.cast_mode
    run_pipeline(module, placement_pipeline(options.target, mode, placing=options.placing))
    for segment in segments_of(module):
        for op in live_ops(segment):
            if not segment.on_host:
                mark_on_machine(op, names, placed)
    for op in host_ops(module):
        if op.name in names:
            placed.keep(names[op.name], Reason(code_of(op.code), op.reason))


def mark_on_machine(op: Operation, names: Mapping[str, str], placed: Placed) -> None:
    for part in framework_ops(op):
        name = names.get(framework_name(part))
        if name is not None and placed.kinds[name] is Kind.FREE:
            placed.kinds[name] = Kind.DEVICE
            placed.constants.pop(name, None)


def read_by_refused(importer: GraphImporter) -> list[Tensor]:
    """What nodes that stay in TensorFlow read of the others."""
    nodes = importer.root.nodes
    return [t for name in importer.refused for t in nodes.data_inputs(nodes.node(name))]
