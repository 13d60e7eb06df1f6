"""The graph of a TorchScript module or function, interpreted on what the model fixes.

Numbers, lists and conditions of a script are computed while importing: shapes are known, so that
branches on them are taken and loops over them unrolled. Only calls on tensors become ops.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import size_of
from ranvier.importers.torch.importer import OpImporter
from ranvier.importers.torch.model import Imported
from ranvier.importers.torch.opaque import overload_of
from ranvier.importers.torch.schema import leaves, schema_of
from ranvier.importers.torch.types import Place, op_location
from ranvier.importers.torch.variable import Foreign, Variable

MAX_STEPS = 1 << 16
"""Nodes that are interpreted at most: loops without end are bad input."""

DTYPES: dict[int, torch.dtype] = {
    number: dtype
    for number, dtype in enumerate(
        (
            torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16,
            torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128,
            torch.bool, torch.qint8, torch.quint8, torch.qint32, torch.bfloat16,
        )
    )
}  # fmt: skip
LAYOUTS = {0: torch.strided}
FORMATS = {
    0: torch.contiguous_format,
    1: torch.preserve_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
}
NUMBERED: dict[str, dict[int, Any]] = {
    "dtype": DTYPES,
    "layout": LAYOUTS,
    "memory_format": FORMATS,
}
"""Arguments that TorchScript passes as numbers."""


class GraphImporter:
    """Values of TorchScript, in one module under construction."""

    def __init__(self, name: str, *, untyped: bool = False) -> None:
        self.importer = OpImporter(name, untyped=untyped)
        self.env: dict[str, Any] = {}
        self.steps = 0
        self.states: dict[str, Variable | Foreign] = {}

    def run(self, block: Any) -> list[Any]:
        """The results of a block."""
        for node in block.nodes():
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self.importer.error(
                    Code.MODEL_UNSUPPORTED, f"it takes more than {MAX_STEPS} steps"
                )
            results = self.step(node)
            for output, value in zip(node.outputs(), results, strict=True):
                self.env[output.debugName()] = value
        return [self.env[output.debugName()] for output in block.outputs()]

    def step(self, node: Any) -> Sequence[Any]:
        kind: str = node.kind()
        given = [self.env[value.debugName()] for value in node.inputs()]
        if kind in FLOW and any(isinstance(value, Foreign) for value in given[: FLOW[kind]]):
            reason = Reason(Code.OP_OPAQUE, "control flow that depends on values is not compiled")
            return self.keep(node, [*given, *self.captured(node)], reason)
        if kind in STRUCTURAL:
            return STRUCTURAL[kind](self, node, given)
        schema: str = node.schema()
        if schema == "(no schema)":
            raise self.fail(node, f"{kind} is not imported")
        results = self.call(node, overload_named(schema), given)
        return [results] if node.outputsSize() == 1 else list(results or ())

    def captured(self, node: Any) -> list[Any]:
        """What the blocks of a node read from outside of them."""
        inner = [other for block in node.blocks() for other in block.nodes()]
        own = [value.debugName() for other in inner for value in other.inputs()]
        found = [self.env[name] for name in dict.fromkeys(own) if name in self.env]
        for other in inner:
            found += self.captured(other)
        return found

    def call(self, node: Any, op: Any, given: Sequence[Any]) -> Any:
        """The result of an op: of tensors as ops of `nn`, of numbers as numbers."""
        if isinstance(op, OpOverload) and schema_of(op).name in NUMBERS:
            return self.number(node, given[0])
        if isinstance(op, OpOverload) and schema_of(op).name in METADATA:
            return op(*(self.fake_of(node, value) for value in given))
        name = node.kind()
        table = CONTAINERS.get(type(given[0]), {}) if given else {}
        if name in table:
            try:
                return table[name](*given)
            except (IndexError, KeyError) as error:
                raise self.fail(node, f"{type(error).__name__}: {error}") from error
        tensors = any(isinstance(leaf, Variable | Foreign) for leaf in leaves(list(given)))
        if not isinstance(op, OpOverload):
            raise self.fail(node, f"this PyTorch has no op {op}")
        makes = any("Tensor" in str(result.type) for result in schema_of(op).returns)
        if tensors or makes:
            names = [arg.name for arg in schema_of(op).arguments]
            args = [unnumbered(name, value) for name, value in zip(names, given, strict=False)]
            return self.importer.call(op, args, {}, self.place(node))
        try:
            return op(*given)
        except Exception as error:  # an index out of range, a division by zero
            raise self.fail(node, str(error)) from error

    def fake_of(self, node: Any, value: Any) -> Any:
        if isinstance(value, Foreign) and value.fake is None:
            raise self.fail(node, f"what follows depends on the type of '{value.name}', not in nn")
        return value.fake if isinstance(value, Variable | Foreign) else value

    def number(self, node: Any, value: Any) -> Any:
        """A number of a tensor, which the model must fix."""
        if isinstance(value, Foreign):
            if self.importer.untyped:
                return value
            raise self.fail(node, f"what follows depends on '{value.name}', which is not in nn")
        if not isinstance(value, Variable):
            return value
        read = value.read(self.importer.builder.append)
        array = self.importer.builder.constant_of(read)
        if array is None or size_of(read) != 1:
            text = "what follows depends on the value of a tensor, which no compiled model may"
            if self.importer.untyped:
                return self.keep(node, [value], Reason(Code.OP_OPERAND, text))[0]
            raise self.fail(node, text)
        return array.item()

    def keep(self, node: Any, given: Sequence[Any], reason: Reason) -> Sequence[Any]:
        """A node that only PyTorch runs, with a place in the module and unknown results."""
        place = self.place(node)
        location = place.location(node.kind())
        count = node.outputsSize()
        kept = self.importer.keep(node.kind(), given, location, place, reason, count=count)
        return kept if count > 1 else [kept]

    def place(self, node: Any) -> Place:
        path = (
            node.scopeName().rpartition("/")[2].removeprefix("__module.").removeprefix("__module")
        )
        outputs = list(node.outputs())
        name = outputs[0].debugName() if outputs else node.kind()
        unused = frozenset(i for i, output in enumerate(outputs) if not output.uses())
        full = f"{path}/{name}" if path else name
        if full in self.importer.places:  # a loop's body again
            full = f"{full}.{self.steps}"
        return Place(name, full, node.sourceRange(), unused)

    def fail(self, node: Any, text: str) -> Exception:
        place = self.place(node)
        where = op_location(place.name, node.kind(), place.trace)
        return self.importer.error(
            Code.MODEL_UNSUPPORTED, f"'{place.name}' ({node.kind()}, {where_of(where)}): {text}"
        )


def where_of(location: Any) -> str:
    """`model.py:12` of a location."""
    inner = location.location.location
    return f"{inner.filename.data}:{inner.line.data}" if hasattr(inner, "line") else "no source"


def overload_named(schema: str) -> Any:
    """The op of a printed schema; its name if PyTorch offers it to Python under none."""
    name = schema.partition("(")[0]
    try:
        return overload_of(name)
    except ValueError:
        return name


def unnumbered(name: str, value: Any) -> Any:
    """A type, layout or format by its number."""
    table = NUMBERED.get(name)
    return table.get(value, value) if table is not None and type(value) is int else value


# -- What is no call of an op -----------------------------------------------------------------

NUMBERS = {
    f"aten::{name}" for name in ("Int", "Float", "Bool", "ScalarImplicit", "IntImplicit")
} | {"aten::FloatImplicit", "aten::item", "aten::_local_scalar_dense"}
METADATA = {
    f"aten::{name}" for name in ("size", "dim", "numel", "stride", "is_floating_point", "len")
} | {"aten::is_complex", "prim::dtype", "prim::device", "aten::is_contiguous"}


LISTS: dict[str, Callable[..., Any]] = {
    "aten::_set_item": lambda items, place, item: operator.setitem(items, place, item) or items,
    "aten::add": lambda items, others: items + others,
    "aten::add_": lambda items, others: items.extend(others) or items,
    "aten::clear": list.clear,
    "aten::copy": list,
    "aten::dict": dict,
    "aten::extend": list.extend,
    "aten::insert": list.insert,
    "aten::list": list,
    "aten::mul": lambda items, count: items * count,
    "aten::pop": list.pop,
    "aten::reverse": list.reverse,
    "aten::slice": lambda items, start, end, step: items[start:end:step],
    "aten::Delete": operator.delitem,
}
DICTS: dict[str, Callable[..., Any]] = {
    "aten::__contains__": operator.contains,
    "aten::_set_item": operator.setitem,
    "aten::clear": dict.clear,
    "aten::copy": dict,
    "aten::dict": dict,
    "aten::get": dict.get,
    "aten::items": lambda pairs: list(pairs.items()),
    "aten::keys": list,
    "aten::pop": dict.pop,
    "aten::setdefault": dict.setdefault,
    "aten::update": dict.update,
    "aten::values": lambda pairs: list(pairs.values()),
    "aten::Delete": operator.delitem,
}
CONTAINERS: dict[type, dict[str, Callable[..., Any]]] = {list: LISTS, dict: DICTS}
"""Ops on lists and dicts, whatever those hold."""


def constant(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    output = node.output()
    value = output.toIValue()
    name = output.debugName()
    return [
        pytree.tree_map(
            lambda leaf: run.importer.state(leaf, name) if isinstance(leaf, torch.Tensor) else leaf,
            value,
        )
    ]


def attribute(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    """A part of the module, or its tensor, under its name in the state dict."""
    owner, path = given[0]
    name: str = node.s("name")
    value = getattr(owner, name)
    full = f"{path}.{name}" if path else name
    if isinstance(value, torch.Tensor):
        if full not in run.states:
            run.states[full] = run.importer.state(value, full)
        return [run.states[full]]
    if isinstance(value, (torch.jit.ScriptModule, torch.ScriptObject)):
        return [(value, full)]
    if isinstance(value, (list, tuple)):
        return [
            pytree.tree_map(
                lambda leaf: (
                    run.importer.state(leaf, full) if isinstance(leaf, torch.Tensor) else leaf
                ),
                value,
            )
        ]
    return [value]


def assignment(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    (_, path), value = given
    name = f"{path}.{node.s('name')}" if path else node.s("name")
    if not isinstance(value, Variable) or run.states.get(name, value) is not value:
        raise run.fail(node, f"'{name}' becomes another object; write to its tensor in place")
    return []


def number_to_tensor(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    if isinstance(given[0], Variable | Foreign):
        return given
    return [run.importer.state(torch.tensor(given[0]), node.output().debugName())]


def branch(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    condition = run.number(node, given[0])
    blocks = list(node.blocks())
    return run.run(blocks[0] if condition else blocks[1])


def loop(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Unrolled: the number of steps and the condition are known."""
    limit, going, *carried = given
    limit, going = run.number(node, limit), run.number(node, going)
    (body,) = node.blocks()
    names = [value.debugName() for value in body.inputs()]
    index = 0
    while going and index < limit:
        run.env |= dict(zip(names, [index, *carried], strict=True))
        going, *carried = run.run(body)
        going, index = run.number(node, going), index + 1
    return carried


def raised(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    raise run.fail(node, f"the model raises: {given[0] if given else ''}")


def unpacked(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Of a foreign value, values of an unknown type."""
    if isinstance(given[0], Foreign):
        return [Foreign(output.debugName(), None) for output in node.outputs()]
    return list(given[0])


def element(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    if isinstance(given[0], Foreign):
        return unpacked(run, node, given)
    try:
        return [given[0][given[1]]]
    except (IndexError, KeyError) as error:
        raise run.fail(node, f"{type(error).__name__}: {error}") from error


def dictionary(run: GraphImporter, node: Any, given: Sequence[Any]) -> Sequence[Any]:
    return [dict(zip(given[::2], given[1::2], strict=True))]


FLOW = {"prim::If": 1, "prim::Loop": 2}
"""Nodes with blocks, and how many of their first operands say what runs."""
STRUCTURAL: dict[str, Callable[[GraphImporter, Any, Sequence[Any]], Sequence[Any]]] = {
    "prim::Constant": constant,
    "prim::GetAttr": attribute,
    "prim::SetAttr": assignment,
    "prim::NumToTensor": number_to_tensor,
    # Names of numbers in graphs of before PyTorch 1.5, and in the original's list of operators.
    "prim::ImplicitTensorToNum": lambda run, node, given: [run.number(node, given[0])],
    "aten::dimension_value": lambda run, node, given: [run.number(node, given[0])],
    "prim::If": branch,
    "prim::Loop": loop,
    "prim::dtype": lambda run, node, given: [run.fake_of(node, given[0]).dtype],
    "prim::RaiseException": raised,
    "prim::ListConstruct": lambda run, node, given: [list(given)],
    "prim::TupleConstruct": lambda run, node, given: [tuple(given)],
    "prim::DictConstruct": dictionary,
    "prim::ListUnpack": unpacked,
    "prim::TupleUnpack": unpacked,
    "prim::TupleIndex": element,
    "prim::unchecked_cast": lambda run, node, given: given,
    "prim::unchecked_unwrap_optional": lambda run, node, given: given,
    "prim::Uninitialized": lambda run, node, given: [None],
    "prim::device": lambda run, node, given: [torch.device("cpu")],
    "aten::__is__": lambda run, node, given: [given[0] is given[1]],
    "aten::__isnot__": lambda run, node, given: [given[0] is not given[1]],
    "aten::__getitem__": element,
    "aten::len": lambda run, node, given: [len(run.fake_of(node, given[0]))],
    "aten::append": lambda run, node, given: [given[0].append(given[1]) or given[0]],
    "aten::warn": lambda run, node, given: [],
    "aten::format": lambda run, node, given: [str(given[0])],
}


def import_torchscript(
    script: torch.jit.ScriptModule | torch.jit.ScriptFunction[Any, Any],
    example_inputs: Sequence[torch.Tensor],
    name: str,
    *,
    untyped: bool = False,
) -> Imported:
    """The module of `forward`, or of a function. Raises ModelImportError."""
    run = GraphImporter(name, untyped=untyped)
    graph: Any = script.inlined_graph
    values = list(graph.inputs())
    if isinstance(script, torch.jit.ScriptModule):
        run.env[values[0].debugName()] = (script, "")
        values = values[1:]
    if len(values) != len(example_inputs):
        raise run.importer.error(
            Code.INPUT_MISSING, f"it takes {len(values)} inputs, got {len(example_inputs)} examples"
        )
    inputs: list[str] = []
    for value, example in zip(values, example_inputs, strict=True):
        inputs.append(value.debugName().partition(".")[0])
        argument = run.importer.argument(inputs[-1], run.importer.fake(example))
        run.env[value.debugName()] = argument
        run.states[inputs[-1]] = argument
    (result,) = run.run(graph)
    outputs = [
        run.importer.output(f"output_{index}", leaf) for index, leaf in enumerate(leaves(result))
    ]
    mutations = [
        run.importer.mutation(f"{target}.changed", value, target, is_input=target in inputs)
        for target, value in run.states.items()
        if isinstance(value, Variable) and value.changed
    ]
    return run.importer.finish(inputs, outputs, mutations)
