"""The subgraph backend: a symbol that MXNet binds becomes one op that ranvier runs.

As with MXNet's other backends nothing in a script changes. Weights may arrive after the bind, so
the op is compiled when it first runs, and again when the weights have changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code, CodedError
from ranvier.importers.mxnet.params import DTYPES
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import (
    Entry,
    SymbolGraph,
    SymbolNode,
    output_offsets,
)
from ranvier.mxnet.binding import OFF, ON, SWITCH, Shapes, attach, set_backend, unchecked_load_json
from ranvier.mxnet.deferring import deferred_graph
from ranvier.mxnet.node import OP, Deferred, Form, Interface
from ranvier.mxnet.runtime import adapted, load_library
from ranvier.mxnet.states import weights_of
from ranvier.program import Options

LOG = logging.getLogger("ranvier")


def enable_subgraph_backend(
    *,
    target: str = "inf2",
    cores: int | Literal["auto"] = 1,
    fast_math: Sequence[str] = ("all",),
) -> None:
    """Send each symbol that is bound from now on to ranvier, with these options of `compile`.

    `MXNET_SUBGRAPH_BACKEND=1` in the environment turns it off. Operators that ranvier lacks stay
    with MXNet, with a warning. Raises CallerError or PassError for bad options,
    ImportError without MXNet.
    """
    options = {"target": target, "cores": cores, "fast_math": list(fast_math)}
    if cores != "auto":
        Options(target, cores, tuple(fast_math)).pipeline()
    mx = attach()
    load_library()

    def backend(symbol: Any, shapes: Shapes, types: Mapping[str, Any]) -> Any:
        if os.environ.get(SWITCH) == OFF:
            return symbol
        try:
            text = replaced(symbol, shapes, types, options)
        except CodedError as reason:
            LOG.warning("the symbol stays with MXNet: %s", reason.report())
            return symbol
        except mx.MXNetError:  # the bind that follows raises it, or has a way around it
            return symbol
        if text is None:
            return symbol
        bound = unchecked_load_json()(text)
        kept = set(bound.list_inputs()) == set(symbol.list_inputs())
        return bound if kept else symbol

    set_backend(backend)


def disable_subgraph_backend() -> None:
    """Bind symbols as MXNet does."""
    set_backend(None)


def enable_from_environment() -> None:
    """Enable the backend if the environment asks for it."""
    if os.environ.get(SWITCH, "").lower() == ON:
        enable_subgraph_backend()


def replaced(
    symbol: Any, shapes: Shapes, types: Mapping[str, Any], options: dict[str, Any]
) -> str | None:
    """The text of a symbol with deferred nodes in place of another symbol.

    None if there is nothing to run, or not enough known: MXNet's own bind says what is missing.
    Raises ModelImportError for an operator whose results nobody knows.
    """
    graph = parse_symbol(symbol.tojson())
    if all(node.is_variable or node.op == OP for node in graph.nodes):
        return None
    forms = _forms(symbol, shapes, types)
    if forms is None:
        return None
    interface, states = forms
    names = [form.name for form in interface.inputs]
    constants = _constants(graph, names, shapes, states)
    found = deferred_graph(graph, interface, constants, states, options)
    if found is None:
        return None
    if sum(not node.is_variable for node in found.nodes) == 1:
        deferred = Deferred(graph, frozenset(constants), states, options)
        return _one_node(graph, interface, deferred)
    return adapted(found)


def _forms(symbol: Any, shapes: Shapes, types: Mapping[str, Any]) -> tuple[Interface, int] | None:
    """Inputs and outputs as MXNet infers them, and how many inputs are auxiliary states."""
    arguments, states = symbol.list_arguments(), symbol.list_auxiliary_states()
    given = {name: shape for name, shape in shapes.items() if name in {*arguments, *states}}
    argument_shapes, output_shapes, state_shapes = symbol.infer_shape_partial(**given)
    if any(not shape or min(shape) < 1 for shape in (*argument_shapes, *state_shapes)):
        return None
    stated = {name: attrs.get("__dtype__", "0") for name, attrs in symbol.attr_dict().items()}
    shaped = {name for name, attrs in symbol.attr_dict().items() if "__shape__" in attrs}
    # What nobody says is f32, as it is when MXNet binds.
    decided = {
        name: types.get(name, DTYPES[int(stated.get(name, "0"))].type)
        for name in arguments
        if name in (given or shaped) or name in types
    }
    argument_types, output_types, state_types = symbol.infer_type(**decided)
    if argument_types is None:
        return None
    inputs = _zipped(
        [*arguments, *states], [*argument_shapes, *state_shapes], [*argument_types, *state_types]
    )
    outputs = _zipped(symbol.list_outputs(), output_shapes, output_types)
    return Interface(inputs, outputs), len(states)


def _zipped(names: Sequence[str], shapes: Sequence[Any], types: Sequence[Any]) -> tuple[Form, ...]:
    for name, dtype in zip(names, types, strict=True):
        if dtype is None or np.dtype(dtype) not in DTYPES:
            raise CallerError(Code.INPUT_TYPE, f"'{name}' has the element type {dtype}")
    return tuple(
        Form(name, tuple(shape), np.dtype(dtype))
        for name, shape, dtype in zip(names, shapes, types, strict=True)
    )


def _constants(graph: SymbolGraph, names: Sequence[str], given: Shapes, states: int) -> set[str]:
    """Inputs that are weights: auxiliary states, what is read as one, what nobody gives a shape."""
    weights = weights_of(graph)
    return {
        name
        for position, name in enumerate(names)
        if position >= len(names) - states or name not in given or name in weights
    }


def _one_node(graph: SymbolGraph, interface: Interface, deferred: Deferred) -> str:
    variables = {node.name: node for node in graph.nodes if node.is_variable}
    nodes = [variables[form.name] for form in interface.inputs]
    attrs = {**interface.attributes(), **deferred.attributes()}
    entries = [Entry(position) for position in range(len(nodes))]
    nodes.append(SymbolNode(OP, f"{OP}0", entries, attrs))
    heads = [Entry(len(nodes) - 1, output) for output in range(len(interface.outputs))]
    whole = SymbolGraph(nodes, heads, [], dict(graph.attrs))
    whole.row_ptr = output_offsets(whole)
    return adapted(whole)
