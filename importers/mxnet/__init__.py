"""Import MXNet symbols and parameters into `nn`, with or without MXNet installed.

A symbol is a graph in topological order; its variables are parameters or inputs. Each node goes to
the handler that its family enters for its op. Types are inferred by the `nn` ops themselves, so
only inputs need shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.dialects.nn.types import Tensor, tensor
from ranvier.importers.builder import ModuleBuilder
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet import (
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    shape,
)
from ranvier.importers.mxnet.node import HANDLERS, Node
from ranvier.importers.mxnet.params import DTYPES, read_params
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph, SymbolNode, parse_symbol
from ranvier.importers.semantics import element_type

FAMILIES = (
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    shape,
)
"""Loaded for the handlers that they enter."""

LOSSES = frozenset(
    {
        "SoftmaxOutput",
        "Softmax",
        "LinearRegressionOutput",
        "LogisticRegressionOutput",
        "MAERegressionOutput",
    }
)
"""Ops whose operands after the first are labels, which inference does not read."""
ONE_VISIBLE = frozenset(
    {"Dropout", "GroupNorm", "InstanceNorm", "L2Normalization", "LRN", "LayerNorm", "Pooling"}
)
"""Ops whose outputs after the first are for training only."""
NAMED_OUTPUTS = {
    "RNN": ("output", "state_output", "statecell_output"),
    "BatchNorm": ("output", "mean", "var"),
}


def import_mxnet(paths: Sequence[Path], shapes: Mapping[str, Shape]) -> ModuleOp:
    """The module of a `symbol.json` and its `.params` file, in any order.

    Raises ModelImportError.
    """
    symbols = [path for path in paths if _is_symbol(path)]
    if len(symbols) != 1 or len(paths) > 2:
        raise ModelImportError(
            Code.OPTION_INVALID,
            "an MXNet model is one symbol.json and one .params file, got "
            f"{', '.join(path.name for path in paths)}",
        )
    (path,) = symbols
    data = path.read_bytes()
    try:
        graph = parse_symbol(data.decode(), path.name)
    except UnicodeDecodeError as error:
        raise ModelImportError(Code.FILE_INVALID, f"{path.name}: no text: {error}") from error
    params: dict[str, Array] = {}
    for other in paths:
        if other != path:
            params = read_params(other)
    arrays = {name.removeprefix("arg:").removeprefix("aux:"): a for name, a in params.items()}
    known = {variable.name for variable in graph.nodes if variable.is_variable}
    if unknown := sorted(set(shapes) - known):
        raise ModelImportError(
            Code.INPUT_UNKNOWN, f"{path.name}: no variable '{unknown[0]}' to give a shape to"
        )
    inputs = input_types(graph, arrays, shapes, path.name)
    return import_symbol(
        graph,
        arrays,
        inputs,
        name=path.stem.removesuffix("-symbol"),
        identity=sha256(data).hexdigest(),
        where=path.name,
    )


def _is_symbol(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(64).lstrip().startswith(b"{")


def import_symbol(
    graph: SymbolGraph,
    params: Mapping[str, Array],
    inputs: Mapping[str, Tensor],
    *,
    name: str = "symbol",
    identity: str = "",
    where: str = "symbol",
) -> ModuleOp:
    """The module of a symbol whose variables are `params` (arrays by name) and `inputs`.

    `where` starts the text of errors. Raises ModelImportError that names the node.
    """
    builder = ModuleBuilder(inputs)
    importer = _GraphImporter(graph, params, builder, where)
    outputs = importer.run()
    attributes = {
        "ranvier.framework": "MXNET",
        "ranvier.name": name,
        "ranvier.source_sha256": identity,
    }
    return builder.finish(outputs, attributes)


def input_types(
    graph: SymbolGraph, params: Mapping[str, Array], shapes: Mapping[str, Shape], where: str
) -> dict[str, Tensor]:
    """Types of the variables that are no parameters and that inference reads.

    A variable may state its own shape and element type (`__shape__`, `__dtype__`). Raises
    ModelImportError for one whose shape nobody knows.
    """
    return {
        node.name: _input_type(node, shapes.get(node.name), where)
        for node in needed_variables(graph)
        if node.name not in params
    }


def needed_variables(graph: SymbolGraph) -> Iterator[SymbolNode]:
    """Variables in order, without the labels of losses."""
    read = {head.node for head in graph.heads}
    for node in graph.nodes:
        count = 1 if node.op in LOSSES else len(node.inputs)
        read.update(entry.node for entry in node.inputs[:count])
    needed = {id(graph.nodes[index]) for index in read}
    return (node for node in graph.variables() if id(node) in needed)


def _input_type(node: SymbolNode, given: Shape | None, where: str) -> Tensor:
    stated = tuple(
        int(size)
        for size in node.attrs.get("__shape__", "").strip("()[] ").split(",")
        if size.strip().lstrip("-").isdigit()
    )
    if given is None and (not stated or min(stated) < 1):
        raise ModelImportError(
            Code.SHAPE_UNKNOWN,
            f"{where}: variable '{node.name}' is no parameter and has no shape",
        )
    if given is not None and stated and not _fits(given, stated):
        raise ModelImportError(
            Code.SHAPE_MISMATCH,
            f"{where}: variable '{node.name}' is {format_shape(stated)}, got {format_shape(given)}",
        )
    flag = node.attrs.get("__dtype__", "0")
    dtype = DTYPES[int(flag)] if flag.isdigit() and int(flag) < len(DTYPES) else np.dtype("f4")
    return tensor(stated if given is None else given, element_type(dtype))


def _fits(given: Shape, stated: Shape) -> bool:
    """Equal but for sizes that the symbol leaves open."""
    return len(given) == len(stated) and all(
        want in (-1, 0, size) for size, want in zip(given, stated, strict=True)
    )


class _GraphImporter:
    """One pass over the nodes that the outputs need."""

    def __init__(
        self,
        graph: SymbolGraph,
        params: Mapping[str, Array],
        builder: ModuleBuilder,
        where: str,
    ) -> None:
        self.graph = graph
        self.params = params
        self.builder = builder
        self.where = where
        self.results: dict[int, Sequence[SSAValue]] = {}

    def run(self) -> dict[str, SSAValue]:
        """The outputs by their MXNet names."""
        needed = self._needed()
        for index, node in enumerate(self.graph.nodes):
            if index in needed and not node.is_variable:
                self.results[index] = self.import_node(index, node)
        outputs: dict[str, SSAValue] = {}
        for head in self.graph.heads:
            name = output_name(self.graph, head)
            if name in outputs:
                self.fail(Code.NODE_INVALID, f"two outputs are called '{name}'")
            outputs[name] = self.value(head, name)
        return outputs

    def _needed(self) -> set[int]:
        needed = {head.node for head in self.graph.heads}
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            if index in needed:
                needed.update(entry.node for entry in self.graph.nodes[index].inputs)
        return needed

    def import_node(self, index: int, symbol: SymbolNode) -> Sequence[SSAValue]:
        count = 1 if symbol.op in LOSSES else len(symbol.inputs)
        what = f"node '{symbol.name}' ({symbol.op})"
        operands = [self.value(entry, what) for entry in symbol.inputs[:count]]
        node = Node(symbol, index, operands, self.builder, self.where)
        if (handler := HANDLERS.get(symbol.op)) is None:
            node.fail(Code.MODEL_UNSUPPORTED, "there is no such op in ranvier")
        try:
            results = handler(node)
        except VerifyException as error:
            raise node.error(Code.NODE_INVALID, str(error)) from error
        return [results] if isinstance(results, SSAValue) else results

    def value(self, entry: Entry, reader: str) -> SSAValue:
        symbol = self.graph.nodes[entry.node]
        if symbol.is_variable and entry.node not in self.results:
            self.results[entry.node] = [self.variable(symbol)]
        results = self.results[entry.node]
        if entry.output >= len(results):
            self.fail(
                Code.MODEL_UNSUPPORTED,
                f"{reader} reads output {entry.output} of '{symbol.name}' ({symbol.op}), which has "
                f"{len(results)} at inference",
            )
        return results[entry.output]

    def variable(self, symbol: SymbolNode) -> SSAValue:
        if symbol.name in self.builder.inputs:
            return self.builder.inputs[symbol.name]
        if (array := self.params.get(symbol.name)) is None:
            self.fail(
                Code.INPUT_MISSING, f"variable '{symbol.name}' is neither a parameter nor an input"
            )
        try:
            return self.builder.constant(array, symbol.name)
        except VerifyException as error:
            raise ModelImportError(
                Code.MODEL_UNSUPPORTED, f"{self.where}: parameter '{symbol.name}': {error}"
            ) from error

    def fail(self, code: Code, text: str) -> NoReturn:
        raise ModelImportError(code, f"{self.where}: {text}")


def output_name(graph: SymbolGraph, entry: Entry) -> str:
    """MXNet's name of an output: `conv0_output`, `split0_output1`, a variable's own name."""
    node = graph.nodes[entry.node]
    if node.is_variable:
        return node.name
    if (names := NAMED_OUTPUTS.get(node.op)) is not None:
        return f"{node.name}_{names[entry.output]}"
    count = graph.row_ptr[entry.node + 1] - graph.row_ptr[entry.node]
    one = count == 1 or node.op in ONE_VISIBLE
    suffix = "output" if one else f"output{entry.output}"
    return f"{node.name}_{suffix}"
