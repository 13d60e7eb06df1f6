"""Import MXNet symbols and parameters into `nn`, with or without MXNet installed.

A symbol is a graph in topological order; its variables are parameters or inputs. Each node goes to
the handler that its family enters for its op. Types are inferred by the `nn` ops themselves, so
only inputs need shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from xdsl.dialects.builtin import ModuleOp

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
from ranvier.importers.mxnet.advice import shape_advice
from ranvier.importers.mxnet.importer import Foreign, GraphImporter, types_of
from ranvier.importers.mxnet.params import DTYPES, read_params
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph, SymbolNode
from ranvier.importers.semantics import element_type

ForeignOf: TypeAlias = Callable[
    [SymbolGraph, Mapping[str, Array], Mapping[str, Tensor]], Foreign | None
]

LONGEST_NUMBER = 19
"""Digits that no i64 exceeds."""
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


def import_mxnet(
    paths: Sequence[Path],
    shapes: Mapping[str, Shape],
    *,
    untyped: bool = False,
    foreign: ForeignOf | None = None,
) -> ModuleOp:
    """The module of a `symbol.json` and its `.params` file, in any order.

    With `untyped`, what `nn` lacks has a place in it, and results of unknown types but where
    `foreign` knows more: of a symbol with parameters and types of its inputs, the types of nodes.
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
        open_ones = [node.name for node in needed_variables(graph) if node.name not in arrays]
        raise ModelImportError(
            Code.INPUT_UNKNOWN,
            f"{path.name}: no variable '{unknown[0]}' to give a shape to; inputs: "
            f"{', '.join(open_ones)}",
        )
    inputs = input_types(graph, arrays, shapes, path.name)
    return import_symbol(
        graph,
        arrays,
        inputs,
        name=path.stem.removesuffix("-symbol"),
        identity=sha256(data).hexdigest(),
        where=path.name,
        foreign=None if foreign is None else foreign(graph, arrays, inputs),
        untyped=untyped,
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
    foreign: Foreign | None = None,
    untyped: bool = False,
) -> ModuleOp:
    """The module of a symbol whose variables are `params` (arrays by name) and `inputs`.

    `where` starts the text of errors. Raises ModelImportError that names the node.
    """
    builder = ModuleBuilder(inputs)
    outputs = GraphImporter(graph, params, builder, where, foreign=foreign, untyped=untyped).run()
    attributes = {
        "ranvier.framework": "MXNET",
        "ranvier.name": name,
        "ranvier.source_sha256": identity,
    }
    return builder.finish(outputs, attributes)


def infer_types(
    graph: SymbolGraph,
    params: Mapping[str, Array],
    inputs: Mapping[str, Tensor],
    *,
    where: str = "symbol",
    foreign: Foreign | None = None,
) -> dict[Entry, Tensor]:
    """The type of every value that the outputs need, variables among them.

    Parameters that are not given get the shapes that their readers ask for. `foreign` knows the
    results of ops that `nn` lacks. Raises ModelImportError for a node whose types nobody knows.
    """
    importer = GraphImporter(
        graph, params, ModuleBuilder(inputs), where, foreign=foreign, guess=True
    )
    importer.run()
    return types_of(importer.results)


def input_types(
    graph: SymbolGraph, params: Mapping[str, Array], shapes: Mapping[str, Shape], where: str
) -> dict[str, Tensor]:
    """Types of the variables that are no parameters and that inference reads.

    A variable may state its own shape and element type (`__shape__`, `__dtype__`). Raises
    ModelImportError for one whose shape nobody knows.
    """

    def advice(name: str) -> str:
        if not params:
            return "there are no parameters: pass the .params file with the symbol"
        return shape_advice(graph, name, params)

    return {
        node.name: _input_type(node, shapes.get(node.name), where, advice)
        for node in needed_variables(graph)
        if node.name not in params
    }


def needed_variables(graph: SymbolGraph) -> list[SymbolNode]:
    """The variables that inference reads, in MXNet's order: labels of losses are none of them."""
    needed = {id(graph.nodes[index]) for index in graph.needed()}
    return [node for node in graph.variables() if id(node) in needed]


def stated_shape(node: SymbolNode) -> Shape | None:
    """The shape that a variable states of itself; None if it states none, or not all of one."""
    stated = _stated_sizes(node)
    return stated if stated and min(stated) > 0 else None


def stated_dtype(node: SymbolNode) -> np.dtype[Any]:
    """The element type that a variable states of itself; f32 if it states none."""
    flag = node.attrs.get("__dtype__", "0")
    return DTYPES[int(flag)] if flag.isdigit() and int(flag) < len(DTYPES) else np.dtype("f4")


def _stated_sizes(node: SymbolNode) -> Shape:
    return tuple(
        int(size)
        for size in node.attrs.get("__shape__", "").strip("()[] ").split(",")
        if size.strip().lstrip("-").isdigit() and len(size.strip()) < LONGEST_NUMBER
    )


def _input_type(
    node: SymbolNode, given: Shape | None, where: str, advice: Callable[[str], str]
) -> Tensor:
    stated = _stated_sizes(node)
    if given is None and (not stated or min(stated) < 1):
        raise ModelImportError(
            Code.SHAPE_UNKNOWN,
            f"{where}: variable '{node.name}' is no parameter and has no shape: "
            f"{advice(node.name)}",
        )
    if given is not None and stated and not _fits(given, stated):
        raise ModelImportError(
            Code.SHAPE_MISMATCH,
            f"{where}: variable '{node.name}' is {format_shape(stated)}, got {format_shape(given)}",
        )
    return tensor(stated if given is None else given, element_type(stated_dtype(node)))


def _fits(given: Shape, stated: Shape) -> bool:
    """Equal but for sizes that the symbol leaves open."""
    return len(given) == len(stated) and all(
        want in (-1, 0, size) for size, want in zip(given, stated, strict=True)
    )
