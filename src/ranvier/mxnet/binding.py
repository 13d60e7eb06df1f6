"""What ranvier adds to MXNet's own functions: loading and binding of symbols with subgraphs.

`load` and `load_json` check compiled symbols and load the extension library for them. `bind` and
`simple_bind` give executors that refuse training, and ask the subgraph backend for a symbol of its
own where it is enabled. Symbols without subgraphs take the way that they always took.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.mxnet import needed_variables
from ranvier.importers.mxnet.parameters import RULES
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import SymbolNode, neuron_output_names
from ranvier.mxnet.compat import import_mxnet
from ranvier.mxnet.fallback import training_error
from ranvier.mxnet.node import OP, SUFFIX
from ranvier.mxnet.runtime import FALLBACK, for_mxnet, from_mxnet, in_use

Shapes = Mapping[str, tuple[int, ...]]
Backend = Callable[[Any, Shapes, Mapping[str, Any]], Any]
"""A symbol to bind in place of another, given shapes and types of its variables; or itself."""

_BACKEND: list[Backend] = []

SWITCH = "MXNET_SUBGRAPH_BACKEND"
OFF, ON = "1", "ranvier"
"""Values of the environment variable that MXNet itself does not know."""


def set_backend(backend: Backend | None) -> None:
    """Ask `backend` at each bind from now on."""
    _BACKEND[:] = [] if backend is None else [backend]


@cache
def attach() -> Any:
    """Import MXNet and extend it, once; gives the module. Raises ImportError without MXNet."""
    mx = import_mxnet()
    load, load_json = mx.symbol.load, mx.symbol.load_json

    @wraps(load)
    def checked_load(fname: Any) -> Any:
        if isinstance(fname, str) and (text := _text(fname)) is not None and OP in text:
            return load_json(for_mxnet(text, Path(fname).name))
        return load(fname)

    @wraps(load_json)
    def checked_load_json(json_str: Any) -> Any:
        return load_json(for_mxnet(json_str) if isinstance(json_str, str) else json_str)

    for module in (mx.symbol, mx.symbol.symbol):
        module.load, module.load_json = checked_load, checked_load_json
    _extend_binding(mx)
    _extend_writing(mx)
    _extend_naming(mx)
    _guard_inference(mx)
    return mx


def unchecked_load_json() -> Callable[[str], Any]:
    """MXNet's own `load_json`, for what ranvier itself has written."""
    return attach().symbol.load_json.__wrapped__


def _text(path: str) -> str | None:
    """None for what is no text file here: MXNet may know more places."""
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return None


def _extend_binding(mx: Any) -> None:
    symbol_class = mx.symbol.Symbol
    bind, simple_bind = symbol_class.bind, symbol_class.simple_bind

    @wraps(simple_bind)
    def extended_simple_bind(
        self: Any, ctx: Any, grad_req: Any = "write", type_dict: Any = None, **keywords: Any
    ) -> Any:
        shapes = {name: s for name, s in keywords.items() if isinstance(s, tuple)}
        symbol = _symbol_for(self, shapes, type_dict or {})
        neffs = _neff_names(symbol)
        types = {**dict.fromkeys(neffs, "uint8"), **(type_dict or {})} or None
        if neffs or symbol is not self:
            grad_req = "null"
        _require_sizes(symbol, [name for name in neffs if name not in shapes])
        _require_ranks(symbol, shapes)
        with switch_hidden():
            executor = simple_bind(symbol, ctx, grad_req, types, **keywords)
        return _finished(mx, executor, self, symbol)

    @wraps(bind)
    def extended_bind(
        self: Any, ctx: Any, args: Any, args_grad: Any = None, grad_req: Any = "write",
        aux_states: Any = None, **keywords: Any,
    ) -> Any:  # fmt: skip
        arguments, states = self.list_arguments(), self.list_auxiliary_states()
        arrays = {**_named(arguments, args), **_named(states, aux_states)}
        shapes = {name: array.shape for name, array in arrays.items()}
        types = {name: array.dtype for name, array in arrays.items()}
        symbol = self
        if set(shapes) >= {*arguments, *states}:
            symbol = _symbol_for(self, shapes, types)
        if symbol is not self or _neff_names(symbol):
            args_grad, grad_req = None, "null"
            args, aux_states = _named(arguments, args), _named(states, aux_states)
        with switch_hidden():
            executor = bind(symbol, ctx, args, args_grad, grad_req, aux_states, **keywords)
        return _finished(mx, executor, self, symbol)

    symbol_class.bind, symbol_class.simple_bind = extended_bind, extended_simple_bind


def _extend_writing(mx: Any) -> None:
    """Without the library MXNet holds `Custom` nodes; files have the op that they stand for."""
    symbol_class = mx.symbol.Symbol
    tojson, save = symbol_class.tojson, symbol_class.save

    @wraps(tojson)
    def extended_tojson(self: Any, remove_amp_cast: bool = True) -> Any:
        text = tojson(self, remove_amp_cast)
        return from_mxnet(text) if in_use() == FALLBACK else text

    @wraps(save)
    def extended_save(self: Any, fname: Any, remove_amp_cast: bool = True) -> Any:
        if in_use() == FALLBACK and OP in (text := self.tojson(remove_amp_cast)):
            Path(fname).write_text(text)
        else:
            save(self, fname, remove_amp_cast)

    symbol_class.tojson, symbol_class.save = extended_tojson, extended_save


def _extend_naming(mx: Any) -> None:
    """Outputs of compiled nodes have their names in the original model."""
    symbol_class = mx.symbol.Symbol
    list_outputs = symbol_class.list_outputs

    @wraps(list_outputs)
    def extended(self: Any) -> Any:
        names = list_outputs(self)
        if not any(name.startswith(OP) for name in names):
            return names
        attributes = self.attr_dict()
        return [_original_name(name, attributes) for name in names]

    symbol_class.list_outputs = extended


def _original_name(name: str, attributes: Mapping[str, Mapping[str, str]]) -> str:
    """MXNet calls output 1 of a node `<node>_output1`, and its only one `<node>_output`."""
    node, separator, number = name.rpartition("_output")
    attrs = attributes.get(node, {})
    if not separator or "output_names" not in attrs:
        return name
    names = neuron_output_names(SymbolNode(OP, node, attrs=dict(attrs)))
    return names[int(number or 0)]


def _guard_inference(mx: Any) -> None:
    symbol_class = mx.symbol.Symbol
    infer = symbol_class._infer_shape_impl

    @wraps(infer)
    def guarded(self: Any, partial: bool, *positional: Any, **shapes: Any) -> Any:
        given = dict(zip(self.list_arguments(), positional, strict=False))
        _require_ranks(self, {**given, **shapes})
        return infer(self, partial, *positional, **shapes)

    symbol_class._infer_shape_impl = guarded


def _require_ranks(symbol: Any, shapes: Mapping[str, Any]) -> None:
    """Raises CallerError where a subgraph would read what nobody knows the rank of.

    MXNet 1.9.1 overruns a buffer then. What subgraphs read directly says its own shape.
    """
    if not _neff_names(symbol):
        return
    graph = parse_symbol(symbol.tojson())
    fed = [graph.nodes[e.node] for node in graph.nodes if node.op == OP for e in node.inputs]
    if all(node.is_variable or node.op == OP for node in fed):
        return
    inferred = {
        graph.nodes[entry.node].name
        for node in graph.nodes
        if node.op in RULES
        for entry in node.inputs[1:]
    }
    for node in needed_variables(graph):
        if node.name in inferred or "__shape__" in node.attrs or shapes.get(node.name):
            continue
        raise CallerError(
            Code.SHAPE_UNKNOWN, f"give the shape of '{node.name}': compiled subgraphs depend on it"
        )


@contextmanager
def switch_hidden() -> Generator[None]:
    """MXNet refuses to bind while its switch has a value that only ranvier knows."""
    value = os.environ.get(SWITCH, "")
    if value.lower() not in (OFF, ON):
        yield
        return
    os.environ[SWITCH] = "NONE"
    try:
        yield
    finally:
        os.environ[SWITCH] = value


def _symbol_for(symbol: Any, shapes: Shapes, types: Mapping[str, Any]) -> Any:
    return _BACKEND[0](symbol, shapes, types) if _BACKEND else symbol


def _named(names: Sequence[str], arrays: Any) -> dict[str, Any]:
    """Arrays by name, of a list in the order of the names or of a mapping."""
    if isinstance(arrays, Mapping):
        return {name: arrays[name] for name in names if name in arrays}
    return dict(zip(names, arrays or (), strict=False))


def _require_sizes(symbol: Any, neffs: Sequence[str]) -> None:
    """Raises CallerError for a NEFF whose size MXNet would have to invent."""
    attributes = symbol.attr_dict() if neffs else {}
    for name in neffs:
        if attributes.get(name, {}).get("__shape__", "(0,)") == "(0,)":
            raise CallerError(
                Code.SHAPE_UNKNOWN,
                f"the size of '{name}' is unknown: pass {name}=(size,), or `bind` with the arrays",
            )


def _neff_names(symbol: Any) -> list[str]:
    names = symbol.list_arguments()
    return [name for name in names if name.endswith(SUFFIX)]


def _finished(mx: Any, executor: Any, original: Any, bound: Any) -> Any:
    """The executor of a bound symbol; one with subgraphs refuses training."""
    if bound is not original or _neff_names(bound):
        executor.__class__ = _executor_class(mx)
        executor.original = original
        for kind, inner, outer in (
            ("arg_arrays", bound.list_arguments(), original.list_arguments()),
            ("aux_arrays", bound.list_auxiliary_states(), original.list_auxiliary_states()),
        ):
            arrays = dict(zip(inner, getattr(executor, kind), strict=True))
            setattr(executor, kind, [arrays[name] for name in outer])
        executor.grad_arrays = [None] * len(executor.arg_arrays)
    return executor


@cache
def _executor_class(mx: Any) -> Any:
    class SubgraphExecutor(mx.executor.Executor):
        """MXNet's executor, of a symbol with compiled subgraphs: it has no gradients."""

        original: Any = None
        """The symbol that the user has bound."""

        def forward(self, is_train: bool = False, **inputs: Array) -> Any:
            if is_train:
                raise training_error()
            return super().forward(is_train=False, **inputs)

        def backward(self, *arguments: Any, **keywords: Any) -> None:
            raise training_error()

        @property
        def arg_dict(self) -> dict[str, Any]:
            return dict(zip(self.original.list_arguments(), self.arg_arrays, strict=True))

        @property
        def aux_dict(self) -> dict[str, Any]:
            return dict(zip(self.original.list_auxiliary_states(), self.aux_arrays, strict=True))

        @property
        def grad_dict(self) -> dict[str, Any]:
            return dict(zip(self.original.list_arguments(), self.grad_arrays, strict=True))

        @property
        def output_dict(self) -> dict[str, Any]:
            return dict(zip(self.original.list_outputs(), self.outputs, strict=True))

        def reshape(
            self, partial_shaping: bool = False, allow_up_sizing: bool = False, **shapes: Any
        ) -> Any:
            """An executor for inputs of other shapes that shares what keeps its shape."""
            found, _, _ = self.original.infer_shape(**shapes)
            arguments = {
                name: old if old.shape == shape else mx.nd.zeros(shape, self._ctx, old.dtype)
                for (name, old), shape in zip(self.arg_dict.items(), found, strict=True)
            }
            return self.original.bind(self._ctx, arguments, aux_states=self.aux_dict)

    return SubgraphExecutor
