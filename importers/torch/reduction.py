"""Reductions of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod

from xdsl.dialects.builtin import i1
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.semantics import normal_axes, normal_axis
from ranvier.importers.torch.call import Call, Handler, torch_op

REDUCTIONS: dict[str, type[TensorOp]] = {
    "amax": nn.ReduceMaxOp,
    "amin": nn.ReduceMinOp,
    "logsumexp": nn.ReduceLogSumExpOp,
    "mean": nn.ReduceMeanOp,
    "prod": nn.ReduceProdOp,
    "sum": nn.ReduceSumOp,
}
EXTREMES: dict[str, tuple[type[TensorOp], type[TensorOp], type[TensorOp]]] = {
    "max": (nn.ReduceMaxOp, nn.ArgMaxOp, nn.MaxOp),
    "min": (nn.ReduceMinOp, nn.ArgMinOp, nn.MinOp),
}
PLACES: dict[str, type[TensorOp]] = {"argmax": nn.ArgMaxOp, "argmin": nn.ArgMinOp}
RUNNING: dict[str, type[TensorOp]] = {"cumsum": nn.CumSumOp, "cumprod": nn.CumProdOp}
NORMS: dict[float, type[TensorOp]] = {1.0: nn.ReduceL1Op, 2.0: nn.ReduceL2Op}


def axes_of(call: Call, name: str = "dim") -> tuple[int, ...]:
    """The axes that are reduced: all where none are stated."""
    stated, rank = call.get(name, ()), call.rank()
    stated = stated if isinstance(stated, Sequence) else (stated,)
    if rank == 0:
        return ()
    return normal_axes(stated, rank) if stated else tuple(range(rank))


def reduced(call: Call, op: type[TensorOp], value: SSAValue, axes: Sequence[int]) -> SSAValue:
    keepdims = bool(call.get("keepdim", False))
    result = call.build(op(value, axes=tuple(axes), keepdims=keepdims))
    return call.reshape(result, call.result_shape)


def reduction(op: type[TensorOp]) -> Handler:
    """In the element type of the result: truth values and small integers sum as i64."""
    return lambda call: reduced(call, op, call.operand("self"), axes_of(call))


def extreme(name: str) -> Handler:
    """Of all elements, of two tensors, or with the places along one axis."""
    whole, place, pairwise = EXTREMES[name]

    def import_extreme(call: Call) -> Sequence[SSAValue]:
        if "other" in call.arguments:
            return [call.build(pairwise(call.operand("self"), call.operand("other")))]
        if "dim" not in call.arguments or call.rank() == 0:
            if "dim" in call.arguments:
                call.refuse("a scalar has no axis")
            return [reduced(call, whole, call.tensor(), range(call.rank()))]
        axis, keepdims = normal_axis(call["dim"], call.rank()), bool(call["keepdim"])
        where = place(call.tensor(), axis=axis, keepdims=keepdims, last=False)
        return [reduced(call, whole, call.tensor(), (axis,)), call.build(where)]

    return import_extreme


def place_of(op: type[TensorOp]) -> Handler:
    """Along an axis, or of all elements in row-major order."""

    def import_place(call: Call) -> SSAValue:
        value, axis = call.tensor(), call.get("dim")
        if axis is None or call.rank() == 0:
            value, axis = call.reshape(value, (prod(call.shape()),)), 0
        axis = normal_axis(axis, len(shape_of(value)))
        keepdims = bool(call["keepdim"])
        where = call.build(op(value, axis=axis, keepdims=keepdims, last=False))
        return call.reshape(where, call.result_shape)

    return import_place


def running(op: type[TensorOp]) -> Handler:
    def import_running(call: Call) -> SSAValue:
        if call.rank() == 0:
            return call.operand("self")
        axis = normal_axis(call["dim"], call.rank())
        return call.build(op(call.operand("self"), axis=axis, exclusive=False, reverse=False))

    return import_running


@torch_op("any", "all")
def import_any(call: Call) -> SSAValue:
    """The maximum or the minimum of truth values."""
    op = nn.ReduceMaxOp if call.op == "any" else nn.ReduceMinOp
    truth = reduced_truth(call, op)
    return call.cast(truth)


def reduced_truth(call: Call, op: type[TensorOp]) -> SSAValue:
    value, keepdims = call.cast(call.tensor(), i1), bool(call.get("keepdim", False))
    result = call.build(op(value, axes=axes_of(call), keepdims=keepdims))
    return call.reshape(result, call.result_shape)


@torch_op("linalg_vector_norm", "norm", "frobenius_norm")
def import_norm(call: Call) -> SSAValue:
    order = 2.0 if call.op == "frobenius_norm" else float(call.get("ord", call.get("p", 2)))
    value, axes = call.operand("self"), axes_of(call)
    if abs(order) == inf:
        op = nn.ReduceMaxOp if order > 0 else nn.ReduceMinOp
        return reduced(call, op, call.build(nn.AbsOp(value)), axes)
    if order == 0:
        counted = call.cast(call.cast(value, i1))
        return reduced(call, nn.ReduceSumOp, counted, axes)
    if order not in NORMS:
        call.refuse(f"a norm of order {order}")
    return reduced(call, NORMS[order], value, axes)


for name, reduce_op in REDUCTIONS.items():
    torch_op(name)(reduction(reduce_op))
for name in EXTREMES:
    torch_op(name)(extreme(name))
for name, place_op in PLACES.items():
    torch_op(name)(place_of(place_op))
for name, running_op in RUNNING.items():
    torch_op(name)(running(running_op))
