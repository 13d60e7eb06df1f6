"""The state of lowering one stage: where each tensor lives, and the weights that are derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp, i1, i32, i64
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.emitter import Emitter
from ranvier.backend.neuron.lowering.relayout import Relayout, copy_relaid
from ranvier.backend.neuron.lowering.views import View, copy_view
from ranvier.dialects import nc, nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.structure import WEIGHT
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.types import Tensor, TensorOp, element_of, shape_of, size_of, tensor

WeightBuilder = Callable[[SSAValue], Sequence[TensorOp]]


def machine_element(element: Attribute) -> Attribute:
    """How the machine holds an element type: truth values are bytes, i64 at its edge is i32."""
    held: dict[Attribute, Attribute] = {i1: ui8, i64: i32}
    return held.get(element, element)


class WeightTable:
    """The weights of a module; makes the derived ones, each once, with readable unique names."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        own = [op for op in module.body.block.ops if isinstance(op, nn.WeightOp)]
        self._names = {op.symbol for op in own}
        self._last = own[-1] if own else None
        self._derived: dict[tuple[object, ...], str] = {}

    def constant(self, op: nn.ConstantOp) -> str:
        """The symbol of a weight with a constant's value."""
        return self._make(
            ("constant", op.value), "constant", op.result.type, lambda: [nn.ConstantOp(op.value)]
        )

    def splat(self, value: float, type: Tensor) -> str:
        """The symbol of a weight that holds one number everywhere."""
        key = ("splat", value, type)
        if key not in self._derived:
            name = self._unique("splat")
            self._add(nn.WeightOp(name, type, splat=value))
            self._derived[key] = name
        return self._derived[key]

    def derived(
        self, name: str, source: Tensor, suffix: str, build: WeightBuilder, key: str = ""
    ) -> str:
        """The symbol of `build`'s last result, computed from the weight `name`.

        `suffix` and `key` tell the form: one source has one weight for each.
        """
        probe = nn.LoadWeightOp(name, source)
        ops = [probe, *build(probe.result)]
        type = ops[-1].results[0].type
        return self._make((name, suffix, key), f"{name}.{suffix}", type, lambda: ops)

    def _make(
        self,
        key: tuple[object, ...],
        name: str,
        type: Attribute,
        ops: Callable[[], Sequence[Operation]],
    ) -> str:
        if key not in self._derived:
            body = list(ops())
            unique = self._unique(name)
            block = Block([*body, nn.YieldOp(body[-1].results[0])])
            self._add(nn.WeightOp(unique, type, body=Region(block)))
            self._derived[key] = unique
        return self._derived[key]

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}.{count}", count + 1
        self._names.add(unique)
        return unique

    def _add(self, weight: nn.WeightOp) -> None:
        """Derived weights stand after the module's own, in the order of their making."""
        block = self._module.body.block
        if self._last is not None:
            block.insert_op_after(weight, self._last)
        elif block.first_op is not None:
            block.insert_op_before(weight, block.first_op)
        else:
            block.add_op(weight)
        self._last = weight


class Context:
    """Homes of the values of one stage, and the emitter of its core."""

    def __init__(
        self, emitter: Emitter, machine: Machine, weights: WeightTable, relayout: Relayout
    ) -> None:
        self.e = emitter
        self.machine = machine
        self.relayout = relayout
        self.weights = weights
        self.done: set[Operation] = set()
        """Ops that were emitted as part of another."""
        self._views: dict[SSAValue, View] = {}
        self._outputs: dict[SSAValue, View] = {}
        self._tensors: dict[str, SSAValue] = {}

    def output(self, value: SSAValue, view: View) -> None:
        """Let the op that computes `value` write it to `view` directly."""
        self._outputs.setdefault(value, view)

    def alias(self, value: SSAValue, view: View) -> None:
        """`value` is these elements of an existing home."""
        self._views[value] = view

    def define(self, value: SSAValue, order: Sequence[int] | None = None) -> View:
        """A home for a value that is computed now; dimensions in `order`, outermost first, unless
        it is an output."""
        if (view := self._outputs.get(value)) is None:
            buffer = self.e.dram(max(1, size_of(value)), machine_element(element_of(value)))
            view = View.ordered(buffer, shape_of(value), order)
        self._views[value] = view
        return view

    def is_available(self, value: SSAValue) -> bool:
        """Whether the value's home holds it at this point, or it is a constant."""
        return value in self._views or isinstance(value.owner, nn.LoadWeightOp | nn.ConstantOp)

    def view(self, value: SSAValue) -> View:
        """The tensor in device memory."""
        if value not in self._views:
            match value.owner:
                case nn.LoadWeightOp() as owner:
                    symbol = owner.symbol
                case nn.ConstantOp() as owner:
                    symbol = self.weights.constant(owner)
                case _:
                    raise AssertionError(f"{value} is used before it is computed")
            self._views[value] = self.weight(symbol, shape_of(value), element_of(value))
        return self._views[value]

    def weight(self, symbol: str, shape: Sequence[int], element: Attribute) -> View:
        """The tensor of a weight symbol."""
        if symbol not in self._tensors:
            length = int(np.prod(shape, dtype=np.int64))
            op = nc.TensorOp(WEIGHT, symbol, nc.DramType.of((length,), machine_element(element)))
            op.location = self.e.location
            self.e.declare(op)
            self._tensors[symbol] = op.buffer
        return View.whole(self._tensors[symbol], shape)

    def derived_weight(self, value: SSAValue, suffix: str, build: WeightBuilder) -> View:
        """A constant operand in another form, computed when the file is written."""
        match value.owner:
            case nn.LoadWeightOp() as owner:
                symbol = owner.symbol
            case nn.ConstantOp() as owner:
                symbol = self.weights.constant(owner)
            case _:
                raise AssertionError(f"{value} is no folded constant")
        source = tensor(shape_of(value), element_of(value))
        name = self.weights.derived(symbol, source, suffix, build)
        probe = build(nn.LoadWeightOp(symbol, source).result)[-1].results[0]
        return self.weight(name, shape_of(probe), element_of(probe))

    def ones_weight(self, type: Tensor, key: str, build: WeightBuilder) -> View:
        """A weight computed from a tensor of ones, for tables that only shapes determine."""
        name = self.weights.splat(1.0, type)
        derived = self.weights.derived(name, type, "table", build, key)
        probe = build(nn.LoadWeightOp(name, type).result)[-1].results[0]
        return self.weight(derived, shape_of(probe), element_of(probe))

    def move(self, dst: View, src: View) -> None:
        """Copy inside DRAM; a transpose goes through the array where it may and that is faster."""
        fast = self.relayout is Relayout.FAST
        if not (fast and copy_relaid(self.e, dst, src, self.machine)):
            copy_view(self.e, dst, src)

    def copied(self, view: View) -> View:
        """A row-major copy of a view."""
        home = View.whole(self.e.dram(max(1, view.size), view.element), view.shape)
        self.move(home, view)
        return home

    def splat(self, value: float, element: Attribute) -> View:
        """One element in DRAM that holds a number."""
        from ranvier.dialects.nn.types import dtype_of

        array: Array = np.full((1,), value, np.float64).astype(dtype_of(element))
        return self.weight(self.weights.constant(nn.ConstantOp(array)), (1,), element)


def scalar_of(value: SSAValue) -> float | None:
    """The number that a constant holds in every element, if an instruction's f32 can say it."""
    if not isinstance(value.owner, nn.ConstantOp):
        return None
    array = value.owner.array()
    if array.size == 0:
        return None
    first = array.reshape(-1)[0]
    same = array.size == 1 or bool((array == first).all())
    exact = array.dtype.kind != "i" or float(np.float32(first)) == float(first)
    return float(first) if same and exact else None
