"""Fold expressions over constants into constants and weights.

Before: `%s = nn.mul %w, %k` of an `nn.load_weight` and an `nn.constant`, used by `nn.conv`.
After:  `%s = nn.load_weight @w.mul`, where `nn.weight @w.mul` has the product as its body; or a
        small `nn.constant`, if the expression is small and has small constants only.

No byte of a weight is read: bodies are evaluated when somebody needs them, in double precision.
Weights that nothing loads are removed. Broadcasting and layout of what is left are not its matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, SymbolRefAttr
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array, ReferenceSemantics
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.types import dtype_of, element_of, type_of, widened
from ranvier.passes.analysis.dataflow import (
    bytes_of,
    constant_ops,
    expression,
    is_constant_source,
    remove_dead_ops,
    tensor_blocks,
)

Key: TypeAlias = tuple[object, ...]
"""An expression without the names of its values: equal keys compute equal tensors."""


@dataclass(frozen=True)
class FoldConstantsPass(ModulePass):
    """Fold expressions over constants into small constants and derived weights."""

    name = "fold-constants"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        fold_constants(op)


def fold_constants(module: ModuleOp) -> None:
    """Fold every maximal constant expression of every function, segment and stage."""
    weights = DerivedWeights(module)
    for block in tensor_blocks(module):
        constants = constant_ops(block.ops)
        for op in block.ops:
            if op in constants and not is_constant_source(op) and _is_read(op, constants):
                _fold(op, weights)
        remove_dead_ops(block)
    remove_unused_weights(module)


def remove_unused_weights(module: ModuleOp) -> None:
    """Erase the weights that neither a function, a program nor a live weight refers to."""
    weights: dict[str, nn.WeightOp] = {}
    others: list[Operation] = []
    for op in module.body.block.ops:
        if isinstance(op, nn.WeightOp):
            weights[op.symbol] = op
        else:
            others.append(op)
    live: set[str] = set()
    pending = others
    while pending:
        symbols = {s for op in pending for inner in op.walk() for s in _symbols_of(inner)}
        fresh = sorted((symbols & weights.keys()) - live)
        live |= symbols
        pending = [weights[symbol] for symbol in fresh]
    for symbol, op in weights.items():
        if symbol not in live:
            op.detach()
            op.erase()


def _symbols_of(op: Operation) -> list[str]:
    attributes: Sequence[Attribute] = (*op.properties.values(), *op.attributes.values())
    return [a.root_reference.data for a in attributes if isinstance(a, SymbolRefAttr)]


def _is_read(op: Operation, constants: set[Operation]) -> bool:
    return any(use.operation not in constants for use in op.results[0].uses)


def _fold(op: Operation, weights: DerivedWeights) -> None:
    """Put a constant source in place of the expression that ends with `op`."""
    ops = expression(op.results[0])
    small = bytes_of(type_of(op.results[0])) <= DENSE_LIMIT
    if small and all(isinstance(o, nn.ConstantOp) for o in ops if is_constant_source(o)):
        source: Operation = nn.ConstantOp(evaluate_expression(ops))
    else:
        source = nn.LoadWeightOp(weights.symbol_of(ops), op.results[0].type)
    source.location = op.location
    source.results[0].name_hint = op.results[0].name_hint
    block = op.parent
    assert block is not None
    block.insert_op_before(source, op)
    op.results[0].replace_all_uses_with(source.results[0])


def evaluate_expression(ops: Sequence[Operation]) -> Array:
    """The value of the last op, each op computed as the reference executor computes it."""
    values: dict[SSAValue, Array] = {}
    for op in ops:
        assert isinstance(op, ReferenceSemantics)
        result = op.results[0]
        with np.errstate(all="ignore"):
            outcome = op.evaluate(*(widened(values[operand]) for operand in op.operands))
        array = outcome[0] if isinstance(outcome, tuple) else outcome
        values[result] = np.asarray(array).astype(dtype_of(element_of(result)), copy=False)
    return values[ops[-1].results[0]]


class DerivedWeights:
    """Weights with bodies, one per distinct expression, with readable unique symbols."""

    def __init__(self, module: ModuleOp) -> None:
        self._block = module.body.block
        self._symbols: set[str] = set()
        self._by_key: dict[Key, str] = {}
        self._derived: dict[str, nn.WeightOp] = {}
        self._last: nn.WeightOp | None = None
        for op in self._block.ops:
            if isinstance(symbol := op.get_attr_or_prop("sym_name"), Attribute):
                self._symbols.add(str(getattr(symbol, "data", "")))
            if isinstance(op, nn.WeightOp):
                self._last = op
                if op.body.blocks:
                    self._derived[op.symbol] = op
                    self._by_key[expression_key(list(op.body.block.ops)[:-1])] = op.symbol

    def symbol_of(self, ops: Sequence[Operation]) -> str:
        """The symbol of the weight that the expression computes; a new weight if need be."""
        body = self._body_of(ops)
        inner = list(body.block.ops)[:-1]
        key = expression_key(inner)
        if key not in self._by_key:
            loads = (op.symbol for op in inner if isinstance(op, nn.LoadWeightOp))
            name = self._unused(f"{next(loads, 'constant')}.{ops[-1].name.removeprefix('nn.')}")
            weight = nn.WeightOp(name, ops[-1].results[0].type, body=body)
            self._insert(weight)
            self._by_key[key] = name
            self._derived[name] = weight
        return self._by_key[key]

    def _body_of(self, ops: Sequence[Operation]) -> Region:
        """Copies of the ops and a yield. A load of a derived weight becomes that weight's body,
        so that no chain of weights rounds more than once.
        """
        block = Block()
        values: dict[SSAValue, SSAValue] = {}
        for op in ops:
            if isinstance(op, nn.LoadWeightOp) and op.symbol in self._derived:
                *inner, end = self._derived[op.symbol].body.block.ops
                block.add_ops([o.clone(values) for o in inner])
                values[op.result] = values[end.operands[0]]
            else:
                block.add_op(op.clone(values))
        block.add_op(nn.YieldOp(values[ops[-1].results[0]]))
        return Region(block)

    def _unused(self, stem: str) -> str:
        name, count = stem, 0
        while name in self._symbols:
            count += 1
            name = f"{stem}.{count}"
        self._symbols.add(name)
        return name

    def _insert(self, weight: nn.WeightOp) -> None:
        if self._last is not None:
            self._block.insert_op_after(weight, self._last)
        elif self._block.first_op is not None:
            self._block.insert_op_before(weight, self._block.first_op)
        self._last = weight


def expression_key(ops: Sequence[Operation]) -> Key:
    """What an expression computes, without names and locations."""
    number: dict[SSAValue, int] = {}
    key: list[object] = []
    for op in ops:
        properties = tuple((name, op.properties[name]) for name in sorted(op.properties))
        operands = tuple(number[operand] for operand in op.operands)
        key.append((op.name, operands, properties, tuple(r.type for r in op.results)))
        number[op.results[0]] = len(number)
    return tuple(key)
