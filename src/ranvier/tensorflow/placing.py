"""Find out of each node of a flat graph whether the machine runs it.

The graph is imported as far as `nn` can hold it, and the compiler's own passes place its ops: what
they leave on the host stays in TensorFlow, with their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from xdsl.ir import Operation, SSAValue

from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.importers.builder import spelled
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.importers.tensorflow.importer import GraphImporter
from ranvier.importers.tensorflow.model import InputTypes, Model
from ranvier.importers.tensorflow.node import described
from ranvier.passes.analysis.locations import framework_name, framework_ops
from ranvier.passes.analysis.operators import code_of, host_ops, live_ops, segments_of
from ranvier.passes.placement.nodes import decide
from ranvier.placement import place_ops
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
    """Place every node of a model whose inputs have these shapes.

    Raises PassError for a node that a rule wants on the machine, and that cannot be there.
    """
    nodes = model.flat.nodes
    placed = Placed(dict.fromkeys(nodes, Kind.FREE))
    placed.kinds |= {info.tensor.node: Kind.INPUT for info in model.inputs.values()}
    placeable = [n for n in nodes.values() if placed.kinds[n.name] is Kind.FREE and n.op != "Const"]
    rules = placement.rules(placeable, options.rules)
    decided = decide(rules, [(node.name, spelled(node.name), node.op) for node in placeable])
    importer = imported(model, shapes, types_of, decided.host.keys())
    note_values(importer, placed)
    for name, rule in decided.neuron.items():
        placed.forced[name] = f"{rule}: {described(nodes[name])}"
    run_passes(importer, model, options, rules, placed)
    for name, missing in importer.refused.items():
        if placed.kinds[name] is not Kind.INPUT:  # its elements may be strings
            why = missing.why(described(nodes[name]))
            placed.keep(name, Reason(missing.code, why))
    for name, reason in decided.host.items():
        if name not in placed.constants:
            placed.keep(name, reason)
    place_loops(importer, placed, decided.host)
    place_lists(importer, placed)
    return placed


def imported(
    model: Model, shapes: Shapes, types_of: TypesOf, outside: Collection[str]
) -> GraphImporter:
    """The graph as far as `nn` can hold it; types of the rest are TensorFlow's."""
    inputs = InputTypes(model, shapes).resolve(tolerant=True)
    importer = GraphImporter(model.flat, inputs, tolerant=True, outside=outside)
    importer.evaluate(importer.root, model.outputs.values())
    if importer.refused:
        types = types_of(model, shapes)
        importer = GraphImporter(model.flat, inputs, types=types, tolerant=True, outside=outside)
        importer.evaluate(importer.root, model.outputs.values())
    return importer


def place_loops(importer: GraphImporter, placed: Placed, chosen: Mapping[str, Reason]) -> None:
    """A loop without functions is placed as a whole: its ends stand for it.

    `chosen` are nodes that rules keep in TensorFlow.
    """
    nodes = importer.root.nodes
    kinds = dict(placed.kinds)
    for end, loop in importer.loops(nodes).items():
        inside = nodes_in_loop(nodes, loop)
        placed.kinds |= dict.fromkeys(inside, Kind.FREE)
        placed.forced |= {end: placed.forced[n] for n in sorted(inside & placed.forced.keys())}
        if kept := inside & chosen.keys():
            text = f"{chosen[min(kept)].text}, for '{min(kept)}' in it"
            placed.keep(end, Reason(Code.OP_RULE, text))
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


def run_passes(
    importer: GraphImporter, model: Model, options: Options, rules: str, placed: Placed
) -> None:
    """Let the compiler place what is imported.

    Raises CallerError for nodes that need TensorFlow where the flags forbid that.
    """
    kept = [*importer.refused, *importer.outside]
    wanted = [*model.outputs.values(), *read_by(kept, importer)]
    values = {str(t): v for t in wanted if isinstance(v := importer.root.values.get(t), SSAValue)}
    if not values:
        return
    names = {form: name for name in model.flat.nodes for form in (name, spelled(name))}
    module = importer.finish(values, model.identity, model.name)
    for op, rule in place_ops(module, options, rules).items():
        if op in names:
            placed.forced[names[op]] = f"{rule}: {described(model.flat.nodes[names[op]])}"
    for segment in segments_of(module):
        for op in live_ops(segment):
            if not segment.on_host:
                mark_on_machine(op, names, placed)
    on_host = host_ops(module)
    lacking = [op for op in on_host if op.code != Code.OP_RULE.number]
    if lacking and options.fallback == "error":
        listed = "; ".join(f"{op.op} '{op.name}': {op.reason} [{op.code}]" for op in lacking)
        raise CallerError(Code.FALLBACK_FORBIDDEN, f"nodes need TensorFlow: {listed}")
    for op in on_host:
        if op.name in names:
            placed.keep(names[op.name], Reason(code_of(op.code), op.reason))


def mark_on_machine(op: Operation, names: Mapping[str, str], placed: Placed) -> None:
    for part in framework_ops(op):
        name = names.get(framework_name(part))
        if name is not None and placed.kinds[name] is Kind.FREE:
            placed.kinds[name] = Kind.DEVICE
            placed.constants.pop(name, None)


def read_by(names: Iterable[str], importer: GraphImporter) -> list[Tensor]:
    """What nodes that stay in TensorFlow read of the others."""
    nodes = importer.root.nodes
    return [tensor for name in names for tensor in nodes.data_inputs(nodes.node(name))]
