"""`compile(sym, args, aux, inputs)`, on symbols of MXNet's or of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor, tensor
from ranvier.importers.mxnet import needed_variables
from ranvier.importers.mxnet.compiled import check_compiled
from ranvier.importers.mxnet.symbol import SymbolGraph
from ranvier.importers.semantics import element_type
from ranvier.mxnet import real
from ranvier.mxnet.compiler import LOG, CompiledModel, Compiler
from ranvier.mxnet.executor import array_of
from ranvier.mxnet.ndarray import NDArray
from ranvier.mxnet.options import compile_args_of
from ranvier.mxnet.placing import Model
from ranvier.mxnet.report import log_counts
from ranvier.mxnet.symbol import Symbol, load_json


def compile(
    obj: Any,
    args: Mapping[str, Any] | None = None,
    aux: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    **compile_args: Any,
) -> Any:
    """Compile what the machine has of a symbol, or of a Gluon block.

    `args` and `aux` are the parameters by name, `inputs` an array for each input. `compile_args`
    are flags of the compiler, as `'--flag': value` or strings in `flags`, and of the bridge:
    `excl_node_names` and `force_incl_node_names`, names of operators that must not or must be
    compiled, unless placement rules in the flags (`--rules`) say otherwise; `minimum_segment_size`,
    operators of a subgraph that is (2); `work_dir`, which keeps the files of each subgraph, as
    `SUBGRAPH_INFO=1` does; `op_by_op_compiler_retry`, to find the operators that make a subgraph
    fail.

    Returns the new symbol, its parameters and its auxiliary states, of the kind that were given; a
    block for a block. Raises CallerError and ModelImportError that say what is wrong.
    """
    arguments = compile_args_of(compile_args)
    if real.is_block(obj):
        from ranvier.mxnet.gluon import compile_block

        return compile_block(obj, inputs, compile_args)
    args, aux = by_name(args, "args"), by_name(aux, "aux")
    symbol = light_symbol(obj)
    model = model_of(symbol, args, aux, inputs)
    compiled = Compiler(model, arguments).run()
    log_counts(model, compiled)
    return result(obj, symbol, args, aux, compiled)


def by_name(arrays: object, kind: str) -> dict[str, Any]:
    """The parameters of a kind. Raises CallerError for what is no mapping."""
    if arrays is None:
        return {}
    if not isinstance(arrays, Mapping):
        raise CallerError(
            Code.OPTION_INVALID,
            f"{kind} is a dictionary of arrays by name, got {type(arrays).__name__}",
        )
    return dict(cast("Mapping[str, Any]", arrays))


def light_symbol(obj: Any) -> Symbol:
    """The symbol as one of ours. Raises CallerError for what is none."""
    if isinstance(obj, Symbol):
        return obj
    if not real.is_symbol(obj):
        raise CallerError(
            Code.OPTION_INVALID,
            f"compile takes a Symbol or a HybridBlock, got {type(obj).__name__}",
        )
    return load_json(obj.tojson())


def model_of(
    symbol: Symbol, args: Mapping[str, Any], aux: Mapping[str, Any], inputs: object
) -> Model:
    """The symbol with its arrays, checked. Raises CallerError that names what does not fit."""
    graph = symbol.graph
    if not isinstance(inputs, Mapping) or not inputs:
        raise CallerError(
            Code.INPUT_MISSING,
            "inputs is a dictionary with an array for each input of the model, got "
            f"{type(inputs).__name__}",
        )
    known = set(symbol.list_inputs())
    kinds = {"inputs": inputs, "args": args, "aux": aux}
    for kind, arrays in kinds.items():
        if unknown := sorted(set(map(str, arrays)) - known):
            raise CallerError(
                Code.INPUT_UNKNOWN,
                f"{kind} has '{unknown[0]}', which is no variable of the symbol; it has: "
                f"{', '.join(symbol.list_inputs())}",
            )
    params = {
        name: array_of(value, name) for name, value in {**args, **aux}.items() if name not in inputs
    }
    types = {name: input_type(name, value) for name, value in inputs.items()}
    check_complete(graph, params, types)
    check_compiled(graph, params)
    return Model(graph, params, types, real.foreign(graph, params, types))


def input_type(name: str, value: Any) -> Tensor:
    """The type of an input; NumPy's f64 is f32, as in `mx.nd.array`."""
    array = array_of(value, name)
    dtype = array.dtype
    if dtype == np.float64 and not hasattr(value, "asnumpy"):
        dtype = np.dtype(np.float32)
    return tensor(array.shape, element_type(dtype))


def check_complete(
    graph: SymbolGraph, params: Mapping[str, Array], inputs: Mapping[str, Tensor]
) -> None:
    for node in needed_variables(graph):
        if node.name not in params and node.name not in inputs:
            raise CallerError(
                Code.INPUT_MISSING,
                f"variable '{node.name}' is in none of args, aux and inputs; given are "
                f"{len(params)} parameters and the inputs {', '.join(inputs)}",
            )


def result(
    obj: Any, symbol: Symbol, args: dict[str, Any], aux: dict[str, Any], compiled: CompiledModel
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Symbol and parameters of the kind that was given, without those that programs hold."""
    new = Symbol(compiled.graph)
    names = set(new.list_inputs())
    kept = ({n: a for n, a in arrays.items() if n in names} for arrays in (args, aux))
    new_args, new_aux = kept
    if real.is_symbol(obj):
        if (theirs := real.symbol(compiled.graph)) is not None:
            programs = {name: real.array(a) for name, a in compiled.programs.items()}
            return theirs, new_args | programs, new_aux
        LOG.warning(
            "mxnet does not know the operator of compiled subgraphs; the result is ranvier's"
        )
    programs = {name: NDArray(array) for name, array in compiled.programs.items()}
    return new, new_args | programs, new_aux
