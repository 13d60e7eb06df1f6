"""One sample as a module: inputs are arguments of `@main`, constants stand as a model's do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.universe import Universe

from ranvier.dialects import nn
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.types import TensorOp, element_of, is_float, shape_of, tensor
from ranvier.dialects.weights import STORE
from samples import Array, Sample


@dataclass(frozen=True)
class Case:
    """A sample with values: the same constants for every seed, other inputs for each."""

    sample: Sample
    rounded: bool = False
    """Whether f32 values are rounded to what bf16 holds."""

    def arrays(self, seed: int) -> list[Array]:
        """The operands in order."""
        return [
            operand.draw(
                np.random.default_rng((number, 0 if operand.constant else seed)),
                rounded=self.rounded,
            )
            for number, operand in enumerate(self.sample.operands)
        ]

    def inputs(self, seed: int) -> dict[str, Array]:
        """What the module takes."""
        pairs = zip(self.sample.operands, self.arrays(seed), strict=True)
        given = [array for operand, array in pairs if not operand.constant]
        return {f"arg{i}": array for i, array in enumerate(given)}

    def expected(self, seed: int) -> list[Array]:
        """What the oracle says of each result."""
        widened = [
            array.astype(np.float64) if is_float(operand.element) else array
            for operand, array in zip(self.sample.operands, self.arrays(seed), strict=True)
        ]
        with np.errstate(all="ignore"):
            results = self.sample.oracle(*widened, **self.sample.properties)
        return [np.asarray(x) for x in (results if isinstance(results, tuple) else (results,))]

    def module(self) -> ModuleOp:
        """`@main` with the sample's op."""
        inputs = [operand for operand in self.sample.operands if not operand.constant]
        types = [tensor(operand.shape, operand.element) for operand in inputs]
        main = FuncOp("main", (types, []))
        block, weights = main.body.block, list[Operation]()
        values: list[SSAValue] = []
        arguments = iter(block.args)
        for number, (operand, array) in enumerate(
            zip(self.sample.operands, self.arrays(0), strict=True)
        ):
            if not operand.constant:
                values.append(next(arguments))
                continue
            constant: Operation = nn.ConstantOp(array)
            if array.nbytes > DENSE_LIMIT:
                kind = tensor(array.shape, operand.element)
                weights.append(nn.WeightOp(f"w{number}", kind, array=STORE.register(array)))
                constant = nn.LoadWeightOp(f"w{number}", kind)
            block.add_op(constant)
            values.append(constant.results[0])
        op = self.op(values)
        block.add_ops([op, ReturnOp(*op.results)])
        types = [result.type for result in op.results]
        main.function_type = FunctionType.from_lists(list(main.function_type.inputs), types)
        return ModuleOp([*weights, main])

    def op(self, values: list[SSAValue]) -> TensorOp:
        """The op on some values."""
        op = self.sample.op(*values, **self.sample.properties)
        if self.sample.result is None:
            return op
        types = [tensor(shape_of(op.results[0]), self.sample.result)]
        op.drop_all_references()
        return self.sample.op(*values, result_types=types, **self.sample.properties)


def the_op(module: ModuleOp, sample: Sample) -> TensorOp:
    """The sample's op in its module, before any pass."""
    return next(op for op in reversed(list(module.walk())) if isinstance(op, sample.op))


@lru_cache(maxsize=1)
def everything() -> Context:
    """A context with all dialects and passes."""
    ctx = Context()
    for name, factory in Universe.get_multiverse().all_dialects.items():
        ctx.register_dialect(name, factory)
    return ctx


def result_elements(module: ModuleOp) -> list[Attribute]:
    """The declared element types of `@main`'s results."""
    main = next(op for op in module.body.block.ops if isinstance(op, FuncOp))
    end = main.body.block.last_op
    assert end is not None
    return [element_of(value) for value in end.operands]
