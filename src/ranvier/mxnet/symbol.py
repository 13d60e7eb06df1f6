"""Symbols with the face of `mx.sym`, without MXNet: read, asked, bound and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.files import completed
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import dtype_of
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.compiled import check_compiled
from ranvier.importers.mxnet.params import type_flag
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import (
    VARIABLE,
    Entry,
    SymbolGraph,
    SymbolNode,
    output_name,
    print_symbol,
    visible_outputs,
)
from ranvier.mxnet.context import Context
from ranvier.mxnet.executor import Executor, bound
from ranvier.mxnet.inference import Types, variable_types
from ranvier.mxnet.ndarray import zeros

VERSION = {"mxnet_version": ["int", 10901]}


class Symbol:
    """One or more outputs of a graph of operators."""

    def __init__(self, graph: SymbolGraph) -> None:
        self.graph = graph

    # -- What it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The name of its only output's node; None if it has several."""
        heads = self.graph.heads
        return self.graph.nodes[heads[0].node].name if len(heads) == 1 else None

    @cached_property
    def _states(self) -> set[str]:
        return self.graph.states()

    @cached_property
    def _variables(self) -> list[str]:
        return [node.name for node in self.graph.variables()]

    def list_arguments(self) -> list[str]:
        """Names of inputs and parameters, in the order in which they are needed."""
        return [name for name in self._variables if name not in self._states]

    def list_auxiliary_states(self) -> list[str]:
        """Names of parameters that training updates by itself: moving means and variances."""
        return [name for name in self._variables if name in self._states]

    def list_inputs(self) -> list[str]:
        return list(self._variables)

    def list_outputs(self) -> list[str]:
        return [output_name(self.graph, head) for head in self.graph.heads]

    @property
    def num_outputs(self) -> int:
        return len(self.graph.heads)

    def attr(self, key: str) -> str | None:
        """An attribute of its only output's node. None if it is not there."""
        heads = self.graph.heads
        return self.graph.nodes[heads[0].node].attrs.get(key) if len(heads) == 1 else None

    def list_attr(self) -> dict[str, str]:
        heads = self.graph.heads
        return dict(self.graph.nodes[heads[0].node].attrs) if len(heads) == 1 else {}

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """The attributes of every node that has some, by its name."""
        return {node.name: dict(node.attrs) for node in self.graph.nodes if node.attrs}

    # -- Others made of it --------------------------------------------------------------------

    def get_internals(self) -> Symbol:
        """All outputs of all nodes, variables among them."""
        heads = [
            Entry(index, output)
            for index, node in enumerate(self.graph.nodes)
            for output in range(visible_outputs(node, self.graph.output_count(index)))
        ]
        return Symbol(self.graph.selected(heads))

    def get_children(self) -> Symbol | None:
        """The inputs of its outputs' nodes; None for a variable."""
        nodes = dict.fromkeys(head.node for head in self.graph.heads)
        heads = [entry for node in nodes for entry in self.graph.nodes[node].inputs]
        return Symbol(self.graph.selected(heads)) if heads else None

    def __getitem__(self, index: int | slice | str) -> Symbol:
        """Outputs by number or name. Raises CallerError for a name that is none, or several."""
        heads = self.graph.heads
        if isinstance(index, slice):
            return Symbol(self.graph.selected(heads[index]))
        if isinstance(index, str):
            places = [place for place, name in enumerate(self.list_outputs()) if name == index]
            if len(places) != 1:
                raise CallerError(
                    Code.INPUT_UNKNOWN, f"{len(places)} outputs of the symbol are called '{index}'"
                )
            (index,) = places
        if not -len(heads) <= index < len(heads):
            raise IndexError(f"output {index} of a symbol that has {len(heads)}")
        return Symbol(self.graph.selected([heads[index]]))

    def __len__(self) -> int:
        return len(self.graph.heads)

    def __iter__(self) -> Iterator[Symbol]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<Symbol {self.name or 'group [' + ', '.join(self.list_outputs()) + ']'}>"

    # -- Types --------------------------------------------------------------------------------

    def infer_shape(
        self, *args: Sequence[int] | None, **kwargs: Sequence[int]
    ) -> tuple[list[Shape], list[Shape], list[Shape]]:
        """Shapes of arguments, outputs and auxiliary states, from those of some arguments.

        Raises ModelImportError where a shape neither follows nor is given.
        """
        types = self._types(args, kwargs, {})
        arguments, outputs, states = self._listed(types)
        return (
            [tuple(type.get_shape()) for type in arguments],
            [tuple(type.get_shape()) for type in outputs],
            [tuple(type.get_shape()) for type in states],
        )

    def infer_type(
        self, *args: Any, **kwargs: Any
    ) -> tuple[list[type[np.generic]], list[type[np.generic]], list[type[np.generic]]]:
        """Element types, from those of some arguments. The variables must state their shapes."""
        arguments = self.list_arguments()
        given = {name: dtype for name, dtype in zip(arguments, args, strict=False) if dtype}
        listed = self._listed(self._types((), {}, {**given, **kwargs}))
        arguments, outputs, states = ([type_class(type) for type in side] for side in listed)
        return arguments, outputs, states

    def _listed(self, types: Types) -> tuple[list[Any], list[Any], list[Any]]:
        return (
            [types.variables[name] for name in self.list_arguments()],
            [types.entries[head] for head in self.graph.heads],
            [types.variables[name] for name in self.list_auxiliary_states()],
        )

    def _types(
        self,
        args: Sequence[Sequence[int] | None],
        shapes: Mapping[str, Sequence[int]],
        dtypes: Mapping[str, Any],
    ) -> Types:
        given = dict(zip(self.list_arguments(), args, strict=False))
        found = {
            name: checked_shape(name, shape)
            for name, shape in {**given, **shapes}.items()
            if shape is not None
        }
        return variable_types(self.graph, found, dtypes)

    # -- Execution ----------------------------------------------------------------------------

    def simple_bind(
        self,
        ctx: Context | None = None,
        grad_req: Any = "null",
        type_dict: Mapping[str, Any] | None = None,
        **shapes: Sequence[int],
    ) -> Executor:
        """An executor with zeros for all parameters, to be filled by `copy_params_from`.

        `shapes` gives those of the inputs, by name. Raises CallerError for a name that is none.
        """
        types = self._types((), shapes, type_dict or {}).variables
        arrays = {
            name: zeros(tuple(type.get_shape()), ctx, type_class(type))
            for name, type in types.items()
        }
        arguments = {name: arrays[name] for name in self.list_arguments()}
        states = {name: arrays[name] for name in self.list_auxiliary_states()}
        return Executor(self.graph, arguments, states)

    def bind(
        self,
        ctx: Context | None = None,
        args: Mapping[str, Any] | Sequence[Any] | None = None,
        args_grad: Any = None,
        grad_req: Any = "null",
        aux_states: Mapping[str, Any] | Sequence[Any] | None = None,
        **others: Any,
    ) -> Executor:
        """An executor on these arrays, by name or in the order of `list_arguments`.

        Arrays that the symbol does not need are ignored, as are gradients. Raises CallerError for
        a missing one.
        """
        arguments = bound(args, self.list_arguments(), "argument")
        states = bound(aux_states, self.list_auxiliary_states(), "auxiliary state")
        return Executor(self.graph, arguments, states)

    # -- Files --------------------------------------------------------------------------------

    def tojson(self) -> str:
        """The text that MXNet writes for the graph."""
        return print_symbol(self.graph)

    def save(self, fname: str | PathLike[str]) -> None:
        """Write `tojson`, whole or not at all."""
        with completed(Path(fspath(fname))) as temporary:
            temporary.write_text(self.tojson(), encoding="utf-8")

    @staticmethod
    def load(fname: str | PathLike[str]) -> Symbol:
        return load(fname)

    @staticmethod
    def load_json(json_str: str) -> Symbol:
        return load_json(json_str)


def checked_shape(name: str, shape: object) -> Shape:
    """Raises CallerError for what is no tuple of sizes; for MXNet a size of 0 is not known."""
    sizes = tuple(cast("Sequence[object]", shape)) if isinstance(shape, list | tuple) else (None,)
    if not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
        raise CallerError(
            Code.INPUT_SHAPE, f"the shape of '{name}' is a tuple of numbers from 1 on, got {shape}"
        )
    return tuple(map(int, cast("Sequence[int]", sizes)))


def type_class(type: Any) -> type[np.generic]:
    return dtype_of(type.element_type).type


def load(fname: str | PathLike[str]) -> Symbol:
    """The symbol of a `symbol.json`. Raises ModelImportError with the place of what is wrong."""
    path = Path(fspath(fname))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelImportError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelImportError(Code.FILE_INVALID, f"{path.name}: no text: {error}") from error
    return load_json(text, path.name)


def load_json(json_str: str, where: str = "symbol") -> Symbol:
    """The symbol of a text. Raises ModelImportError as `load`."""
    graph = parse_symbol(json_str, where)
    check_compiled(graph, where=where)
    return Symbol(graph)


def var(name: str, shape: Sequence[int] | None = None, dtype: Any = None) -> Symbol:
    """A variable."""
    attrs: dict[str, str] = {}
    if shape is not None:
        attrs["__shape__"] = str(tuple(int(size) for size in shape))
    if dtype is not None:
        attrs["__dtype__"] = str(type_flag(np.dtype(dtype)))
    node = SymbolNode(VARIABLE, name, attrs=attrs)
    return Symbol(SymbolGraph([node], [Entry(0)], [0, 1], dict(VERSION)))


Variable = var
