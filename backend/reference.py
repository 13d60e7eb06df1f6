"""Run a module on NumPy: `nn` ops, and `graph` regions one by one.

This is the oracle of every pass. Narrow floats are widened to f32 before an op and its results are
rounded to their declared types after it. A value is dropped after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias

import numpy as np
from xdsl.dialects.builtin import BytesAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.traits import IsTerminator

from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array, ReferenceSemantics
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.shapes import format_shape
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of, widened

IO_NAME = "ranvier.name"
"""Attribute of an argument or result of @main: its name in the framework."""

Launch: TypeAlias = Callable[[str, Sequence[Array]], Sequence[Array]]
Observer: TypeAlias = Callable[[Operation, Sequence[Array]], None]


class Provider(Protocol):
    """Runs the ops of a framework that `nn` has no definition for."""

    def __call__(
        self, op: str, version: int, attributes: Mapping[str, Any], arrays: Sequence[Array]
    ) -> Sequence[Array]: ...


def load_provider(framework: str) -> Provider:
    """The installed provider of a framework's opaque ops. Raises CallerError if there is none."""
    for entry in entry_points(group="ranvier.opaque"):
        if entry.name == framework.lower():
            return entry.load()
    raise CallerError(Code.PROVIDER_MISSING, f"no provider runs opaque ops of {framework}")


def main_of(module: ModuleOp) -> FuncOp:
    """The one entry point. Raises CallerError if the module has none."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise CallerError(Code.FILE_INVALID, "the module has no func.func @main")


def io_names(attributes: Sequence[DictionaryAttr] | None, count: int, prefix: str) -> list[str]:
    """Framework names of arguments or results; `prefix0`, `prefix1`, … where there are none."""
    names: list[str] = []
    for index in range(count):
        match attributes[index].data.get(IO_NAME) if attributes else None:
            case StringAttr(data=name):
                names.append(name)
            case BytesAttr(data=name):  # what the parser makes of escaped non-ASCII text
                names.append(name.decode())
            case _:
                names.append(f"{prefix}{index}")
    return names


def input_names(main: FuncOp) -> list[str]:
    attributes = main.arg_attrs.data if main.arg_attrs else None
    return io_names(attributes, len(main.args), "arg")


def output_names(main: FuncOp) -> list[str]:
    attributes = main.res_attrs.data if main.res_attrs else None
    return io_names(attributes, len(main.function_type.outputs), "result")


class Executor:
    """Runs `@main` of a module. `launch` runs a device program; `observe` sees every result."""

    def __init__(
        self, module: ModuleOp, *, launch: Launch | None = None, observe: Observer | None = None
    ) -> None:
        self.main = main_of(module)
        self.inputs = input_names(self.main)
        self.outputs = output_names(self.main)
        self._weights = Weights(module)
        self._launch = launch
        self._observe = observe

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises CallerError for missing, unknown or unfitting inputs."""
        arrays = [
            check_input(name, argument, inputs.get(name))
            for name, argument in zip(self.inputs, self.main.args, strict=True)
        ]
        if unknown := sorted(set(inputs) - set(self.inputs)):
            raise CallerError(
                Code.INPUT_UNKNOWN, f"no input '{unknown[0]}'; inputs: {', '.join(self.inputs)}"
            )
        results = self.run_block(self.main.body.block, arrays)
        return dict(zip(self.outputs, results, strict=True))

    def run_block(self, block: Block, arguments: Sequence[Array]) -> Sequence[Array]:
        """Run the ops of a block and return what its terminator passes on."""
        values: dict[SSAValue, Array] = dict(zip(block.args, arguments, strict=True))
        last_use = {operand: op for op in block.ops for operand in op.operands}
        for op in block.ops:
            operands = [values[operand] for operand in op.operands]
            if op.has_trait(IsTerminator) or isinstance(op, ReturnOp):
                return operands
            results = self.run_op(op, operands)
            if self._observe is not None:
                self._observe(op, results)
            values.update(zip(op.results, results, strict=True))
            for operand in op.operands:
                if last_use[operand] is op:
                    values.pop(operand, None)
        raise CallerError(Code.FILE_INVALID, "a block ends without a terminator")

    def run_op(self, op: Operation, operands: Sequence[Array]) -> Sequence[Array]:
        """Execute one op."""
        match op:
            case nn.LoadWeightOp():
                return (self._weights.array(op.symbol),)
            case nn.OpaqueOp():
                provider = load_provider(op.framework.data)
                version = op.version.value.data
                return provider(op.op_type.data, version, op.settings.data, operands)
            case graph.SegmentOp() | graph.StageOp():
                return self.run_block(op.block, operands)
            case graph.TransferOp():
                return operands
            case graph.LaunchOp() if self._launch is not None:
                return self._launch(op.symbol, operands)
            case _ if isinstance(op, ReferenceSemantics):
                return evaluate(op, operands)
            case _:
                raise CallerError(Code.OP_UNREGISTERED, f"{op.name} has no reference semantics")


def evaluate(op: Operation, operands: Sequence[Array]) -> Sequence[Array]:
    """An op's meaning on arrays, in its declared types. The op has reference semantics."""
    assert isinstance(op, ReferenceSemantics)
    with np.errstate(all="ignore"):
        outcome = op.evaluate(*(widened(operand) for operand in operands))
        results = outcome if isinstance(outcome, tuple) else (outcome,)
        return [
            np.asarray(array).astype(dtype_of(element_of(result)), copy=False)
            for array, result in zip(results, op.results, strict=True)
        ]


def check_input(name: str, argument: SSAValue, array: Array | None) -> Array:
    """The array of an input. Raises CallerError if it is missing or does not fit."""
    shape, dtype = shape_of(argument), dtype_of(element_of(argument))
    if array is None:
        raise CallerError(
            Code.INPUT_MISSING, f"input '{name}' ({dtype} {format_shape(shape)}) is missing"
        )
    if array.dtype != dtype:
        raise CallerError(Code.INPUT_TYPE, f"input '{name}' is {dtype}, got {array.dtype}")
    if array.shape != shape:
        raise CallerError(
            Code.INPUT_SHAPE,
            f"input '{name}' is {format_shape(shape)}, got {format_shape(array.shape)}",
        )
    return array
