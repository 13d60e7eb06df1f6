"""The bytes of weights: files, splats, seeds, and bodies evaluated in double precision.

A body rounds once, to the type of its weight. f32 products depend on thread count and processor;
these do not. A body with an op that jumps, such as a cast to integers, is the exception: a model
that was written for f32 means the side of the jump that f32 falls on, so there every op rounds.
"""

from __future__ import annotations

import hashlib
from io import StringIO
from math import prod, sqrt
from typing import cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.printer import Printer

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array, ReferenceSemantics, Work
from ranvier.dialects.nn.constant import LoadWeightOp, WeightOp, YieldOp
from ranvier.dialects.nn.elementwise import FmodOp, ModOp
from ranvier.dialects.nn.elementwise_math import CeilOp, FloorOp, RoundOp, SignOp
from ranvier.dialects.nn.types import dtype_of, element_of, is_float, widened
from ranvier.dialects.weights import STORE

_FLOATS = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.float32))


class Weights:
    """The weights of a module by symbol; each is computed once."""

    def __init__(self, module: ModuleOp) -> None:
        self.ops = {op.symbol: op for op in module.body.block.ops if isinstance(op, WeightOp)}
        self._arrays: dict[str, Array] = {}
        self._identities: dict[str, str] = {}

    def op(self, name: str) -> WeightOp:
        """The definition of a weight. Raises CallerError if the module has none of that name."""
        if (op := self.ops.get(name)) is None:
            raise CallerError(Code.WEIGHT_MISSING, f"no weight @{name} in the module")
        return op

    def array(self, name: str) -> Array:
        """The tensor, read-only. Raises CallerError if its bytes are missing or of another type."""
        if name not in self._arrays:
            op = self.op(name)
            array = self._compute(op)
            shape, dtype = op.tensor_type.get_shape(), dtype_of(op.tensor_type.element_type)
            if array.shape != shape or array.dtype != dtype:
                raise CallerError(
                    Code.WEIGHT_INVALID,
                    f"@{name} is {op.type}, its source holds {array.dtype} of {array.shape}",
                )
            array = array.view()
            array.flags.writeable = False
            self._arrays[name] = array
        return self._arrays[name]

    def identity(self, name: str) -> str:
        """SHA-256 of the stored bytes, or of the body's text and its inputs' identities."""
        if name not in self._identities:
            op = self.op(name)
            if op.sha256 is not None:
                self._identities[name] = op.sha256.data
            else:
                text = StringIO()
                Printer(text).print_op(op)
                digest = hashlib.sha256(text.getvalue().encode())
                for inner in op.body.walk():
                    if isinstance(inner, LoadWeightOp):
                        digest.update(self.identity(inner.symbol).encode())
                self._identities[name] = digest.hexdigest()
        return self._identities[name]

    def _compute(self, op: WeightOp) -> Array:
        shape, dtype = op.tensor_type.get_shape(), dtype_of(op.tensor_type.element_type)
        if op.file is not None and op.key is not None:
            return STORE.read(op.file.data, op.key.data)
        if op.sha256 is not None:
            if (array := in_memory(op)) is None:
                raise CallerError(
                    Code.WEIGHT_MISSING,
                    f"@{op.symbol} names an array that this process does not have, or no longer, "
                    f"sha256 {op.sha256.data}",
                )
            return array
        if op.splat is not None:
            return np.full(shape, op.splat.value.data, np.float64).astype(dtype)
        if op.seed is not None:
            return _seeded(op.seed.value.data, shape).astype(dtype)
        return self._evaluate(cast(Block, op.body.blocks.first))

    def _evaluate(self, block: Block) -> Array:
        values: dict[SSAValue, Array] = {}
        doubled = not any(map(jumps, block.ops))
        for op in block.ops:
            if isinstance(op, YieldOp):
                result = values[op.values[0]]
                return result.astype(
                    dtype_of(cast(WeightOp, block.parent_op()).tensor_type.element_type)
                )
            if isinstance(op, LoadWeightOp):
                values[op.result] = self.array(op.symbol)
                continue
            if not isinstance(op, ReferenceSemantics):
                raise CallerError(Code.WEIGHT_INVALID, f"{op.name} cannot stand in a weight's body")
            operands = [values[operand] for operand in op.operands]
            if not doubled:
                operands = [widened(array) for array in operands]
            elif op.work() != Work():  # pure movement is exact in any type
                operands = [_double(array) for array in operands]
            with np.errstate(all="ignore"):
                outcome = op.evaluate(*operands)
            array = np.asarray(outcome[0] if isinstance(outcome, tuple) else outcome)
            result = op.results[0]
            values[result] = array if doubled else array.astype(dtype_of(element_of(result)))
        raise CallerError(Code.WEIGHT_INVALID, "the body of a weight ends without nn.yield")


def jumps(op: Operation) -> bool:
    """Whether the smallest change of a float operand may change a result by much."""
    floats = any(is_float(element_of(operand)) for operand in op.operands)
    steps = isinstance(op, FloorOp | CeilOp | RoundOp | SignOp | ModOp | FmodOp)
    return floats and (steps or not all(is_float(element_of(result)) for result in op.results))


def in_memory(op: WeightOp) -> Array | None:
    """The array of this process that a weight names, or None.

    Equal bytes have one identity whatever type they were registered under, so they are viewed as
    the type of the weight if they have its size.
    """
    known = None if op.sha256 is None else STORE.registered(op.sha256.data)
    if known is None:
        return None
    array = known.array
    shape, dtype = op.tensor_type.get_shape(), dtype_of(op.tensor_type.element_type)
    if array.nbytes != prod(shape) * dtype.itemsize:
        return array
    return array.reshape(-1).view(dtype).reshape(shape)


def _double(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype in _FLOATS else array


def _seeded(seed: int, shape: tuple[int, ...]) -> Array:
    """Normal values of deviation `1/sqrt(fan_in)`, where the first dimension fans out."""
    fan_in = prod(shape[1:]) or 1
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal(shape) / sqrt(fan_in)
