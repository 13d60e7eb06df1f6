"""Compile a Gluon block to one that has the new symbol and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn.types import dtype_of
from ranvier.mxnet import real
from ranvier.mxnet.compat import import_mxnet


def compile_block(block: Any, inputs: object, compile_args: Mapping[str, Any]) -> Any:
    """A SymbolBlock of the compiled symbol. `inputs` are the arguments of the block, in order.

    An argument that is a list of arrays takes a list; outputs are flat. Raises CallerError.
    """
    from ranvier.mxnet.compiling import compile, input_type

    mx = import_mxnet()
    if not isinstance(inputs, Mapping) or not inputs:
        raise CallerError(
            Code.INPUT_MISSING, "inputs is a dictionary of arrays, by argument of the block"
        )
    named: dict[str, Any] = {}
    arguments: list[Any] = []
    for name, value in inputs.items():
        listed = isinstance(value, list | tuple)
        parts = {f"{name}{i}": part for i, part in enumerate(value)} if listed else {name: value}
        variables = [mx.sym.var(part) for part in parts]
        arguments.append(variables if listed else variables[0])
        named |= parts
    outputs = block(*arguments)
    symbol = mx.sym.Group(flat(outputs)) if isinstance(outputs, list | tuple) else outputs
    args, aux = parameters(mx, block, symbol, inputs)
    new, new_args, new_aux = compile(symbol, args, aux, named, **compile_args)
    if not real.is_symbol(new):
        raise CallerError(
            Code.PROVIDER_MISSING, "this MXNet has no operator for compiled subgraphs of a block"
        )
    types = {name: input_type(name, array) for name, array in named.items()}
    variables = [mx.sym.var(n, dtype=dtype_of(type.element_type)) for n, type in types.items()]
    result = mx.gluon.SymbolBlock(new, variables)
    params = {**new_args, **new_aux}
    result.collect_params().load_dict(params, mx.cpu(), cast_dtype=True, dtype_source="saved")
    return result


def flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, list | tuple):
        return [each for part in outputs for each in flat(part)]
    return [outputs]


def parameters(
    mx: Any, block: Any, symbol: Any, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and auxiliary states; shapes that are not known yet follow from the inputs."""
    params = {parameter.name: parameter for parameter in block.collect_params().values()}
    try:
        for parameter in params.values():
            parameter.data()
    except mx.gluon.parameter.DeferredInitializationError:
        block(*inputs.values())
    except RuntimeError as error:
        raise CallerError(Code.INPUT_MISSING, f"the block is not initialized: {error}") from error

    def found(names: list[str]) -> dict[str, Any]:
        return {name: params[name].data() for name in names if name in params}

    return found(symbol.list_arguments()), found(symbol.list_auxiliary_states())
