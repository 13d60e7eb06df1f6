"""Tensors that a call makes of numbers alone. Others of the kind PyTorch itself evaluates."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.importers.torch.call import Call, torch_op


# Memory that is not initialised may hold anything, so zeros.
@torch_op("zeros", "zeros_like", "new_zeros", "zero", "_efficientzerotensor")
@torch_op("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")
@torch_op("empty_permuted")
def import_zeros(call: Call) -> SSAValue:
    return call.filled(0)


@torch_op("ones", "ones_like", "new_ones")
def import_ones(call: Call) -> SSAValue:
    return call.filled(1)


@torch_op("full", "full_like", "new_full")
def import_full(call: Call) -> SSAValue:
    return call.broadcast(call.operand("fill_value"), call.result_shape)


@torch_op("fill")
def import_fill(call: Call) -> SSAValue:
    return call.broadcast(call.operand("value"), call.result_shape)


@torch_op("scalar_tensor")
def import_scalar_tensor(call: Call) -> SSAValue:
    return call.operand("s")


@torch_op("_shape_as_tensor")
def import_shape_as_tensor(call: Call) -> SSAValue:
    return call.constant(np.array(call.shape(), np.int64))


@torch_op("eye")
def import_eye(call: Call) -> SSAValue:
    rows, columns = call.result_shape
    if prod((rows, columns)) > 1 << 24:
        call.refuse(f"an identity of {rows}x{columns} is too large to write down")
    return call.cast(call.constant(np.eye(rows, columns, dtype=np.float32)))
