"""Build the `nn` module of a model, whatever its framework.

A module has one `func.func @main`; framework names of inputs and outputs stay on it as
`ranvier.name`. Constants up to `nn.constant.DENSE_LIMIT` bytes are `nn.constant`, larger ones
`nn.weight`s whose bytes are in the process-wide store. `constant_of` answers what a value is if
the model fixes it, without changing the module: shape arithmetic is emitted like any other op,
read through `constant_of` where a shape is needed, and removed by `finish` once nothing uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import (
    UNKNOWN_LOC,
    ArrayAttr,
    DictionaryAttr,
    LocationAttr,
    ModuleOp,
    NameLoc,
    StringAttr,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, Array, reason_attribute
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.materialize import in_memory
from ranvier.dialects.nn.types import (
    UNKNOWN,
    Tensor,
    TensorOp,
    dtype_of,
    element_of,
    size_of,
    tensor,
    widened,
)
from ranvier.dialects.weights import STORE
from ranvier.importers.semantics import element_type

FOLD_LIMIT = 1 << 20
"""`constant_of` evaluates no tensor of more bytes than this."""

IO_NAME = "ranvier.name"


class ModuleBuilder:
    """Appends ops to `@main`, in order, and keeps weights beside it."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self.block = Block(arg_types=list(inputs.values()))
        self.inputs = dict(zip(inputs, self.block.args, strict=True))
        for name, argument in self.inputs.items():
            argument.location = named(name)
            hint(argument, name)
        self._weights: dict[str, nn.WeightOp] = {}
        self._loads: dict[tuple[str, Tensor], SSAValue] = {}
        self._known: dict[SSAValue, Array | None] = {}
        self._origins: dict[SSAValue, tuple[Code, str]] = {}
        """Of values whose type is not known: why, and the node that is to blame."""

    def append(self, op: Operation, location: LocationAttr = UNKNOWN_LOC) -> SSAValue:
        """Append an op of one result and return that; for others use `op.results`."""
        op.location = location
        self.block.add_op(op)
        return op.results[0]

    def constant(self, array: Array, name: str, location: LocationAttr | None = None) -> SSAValue:
        """A constant of the model. Raises VerifyException for an element type that `nn` lacks."""
        element = element_type(array.dtype)
        location = named(name) if location is None else location
        if array.nbytes <= DENSE_LIMIT:
            value = self.append(nn.ConstantOp(array), location)
            hint(value, name)
            return value
        known, type = STORE.register(array), tensor(array.shape, element)
        if (loaded := self._loads.get((known.identity, type))) is None:
            symbol = self._unused_symbol(name)
            self._weights[symbol] = nn.WeightOp(symbol, type, array=known)
            loaded = self.append(nn.LoadWeightOp(symbol, type), location)
            hint(loaded, name)
            self._loads[known.identity, type] = loaded
        return loaded

    def _unused_symbol(self, name: str) -> str:
        symbol, count = name, 0
        while symbol in self._weights or symbol in ("", "main"):
            count += 1
            symbol = f"{name or 'weight'}.{count}"
        return symbol

    def constant_of(self, value: SSAValue) -> Array | None:
        """The value if the model fixes it, read-only; None if it depends on an input or is large.

        Walks the defining ops with a stack of its own: models have chains of thousands of ops.
        """
        pending = [value]
        while pending:
            current = pending[-1]
            missing = [
                operand
                for operand in self._foldable_operands(current)
                if operand not in self._known
            ]
            if missing and current not in self._known:
                pending.extend(missing)
                continue
            pending.pop()
            if current not in self._known:
                self._known[current] = self._evaluate(current)
        return self._known[value]

    def _foldable_operands(self, value: SSAValue) -> Sequence[SSAValue]:
        """Operands to know before `value`; none where it cannot be constant anyway."""
        owner = value.owner
        if not isinstance(owner, TensorOp):
            return ()
        nbytes = size_of(value) * dtype_of(element_of(value)).itemsize
        return owner.operands if nbytes <= FOLD_LIMIT else ()

    def _evaluate(self, value: SSAValue) -> Array | None:
        match value.owner:
            case nn.ConstantOp() as op:
                return op.array()
            case nn.LoadWeightOp() as op:
                return in_memory(self._weights[op.symbol])
            case TensorOp() as op if operands := self._foldable_operands(value):
                arrays = [self._known[operand] for operand in operands]
                known = [widened(array) for array in arrays if array is not None]
                if len(known) < len(arrays):
                    return None
                with np.errstate(all="ignore"):
                    result = op.evaluate(*known)
                if isinstance(result, tuple):
                    result = result[op.results.index(value)]
                return np.asarray(result).astype(dtype_of(element_of(value)), copy=False)
            case _:
                return None

    # -- What nn lacks ------------------------------------------------------------------------

    def is_blocked(self, values: Iterable[SSAValue | None]) -> bool:
        """Whether the type of any value is not known, so that no op of `nn` can read it."""
        return any(value in self._origins for value in values)

    def keep(self, op: nn.OpaqueOp, reason: Reason, called: str, location: LocationAttr) -> None:
        """Append an op that stays with its framework, for a reason.

        What reads results of an unknown type has another: the op that they come from, `called` so.
        """
        origin = next((self._origins[v] for v in op.inputs if v in self._origins), None)
        if origin is not None:
            text = f"it reads what {origin[1]} gives, whose type is not known"
            reason = Reason(origin[0], text)
        op.attributes[REASON] = reason_attribute(reason)
        self.append(op, location)
        for result in op.results:
            if result.type == UNKNOWN:
                self._origins[result] = origin or (reason.code, called)

    def mark(self) -> Operation | None:
        """The place to `roll_back` to."""
        return self.block.last_op

    def roll_back(self, mark: Operation | None) -> None:
        """Forget all that was appended after a mark; nothing before it may read that."""
        while (op := self.block.last_op) is not mark and op is not None:
            op.detach()
            op.erase(safe_erase=False)  # an op that failed to build may still read it
        self._loads = {
            key: value
            for key, value in self._loads.items()
            if isinstance(value.owner, Operation) and value.owner.parent is self.block
        }

    def finish(self, outputs: Mapping[str, SSAValue], attributes: Mapping[str, str]) -> ModuleOp:
        """The module that returns `outputs`, without ops and weights that they do not need."""
        self.block.add_op(ReturnOp(*outputs.values()))
        self._remove_dead_ops()
        main = FuncOp(
            "main",
            (self.block.arg_types, [value.type for value in outputs.values()]),
            Region(self.block),
            arg_attrs=io_attributes(self.inputs),
            res_attrs=io_attributes(outputs),
        )
        loaded = {op.symbol for op in self.block.ops if isinstance(op, nn.LoadWeightOp)}
        weights = [weight for symbol, weight in self._weights.items() if symbol in loaded]
        return ModuleOp(
            [*weights, main],
            {name: StringAttr(value) for name, value in attributes.items()},
        )

    def _remove_dead_ops(self) -> None:
        for op in reversed(tuple(self.block.ops)):
            if op.results and not any(result.uses for result in op.results):
                op.detach()
                op.erase()


def io_attributes(values: Mapping[str, SSAValue]) -> ArrayAttr[DictionaryAttr]:
    """One `{ranvier.name = "…"}` per input or output, whatever characters the name has."""
    return ArrayAttr([DictionaryAttr({IO_NAME: StringAttr(name)}) for name in values])


def named(name: str, place: LocationAttr = UNKNOWN_LOC) -> NameLoc:
    """`loc("<name>"(<place>))`; without a place for what the framework names but is no op of it."""
    return NameLoc(StringAttr(spelled(name)), place)


def spelled(name: str) -> str:
    """A name as locations have it, and rules.

    xDSL prints other characters than ASCII in a form that its parser takes for bytes, and refuses
    in a location, so a location spells them as Python does: `caf\\xe9`.
    """
    return name.encode("ascii", "backslashreplace").decode()


def hint(value: SSAValue, name: str) -> None:
    """Print the value under its framework name where that is an SSA name."""
    if SSAValue.is_valid_name(name):
        value.name_hint = name
