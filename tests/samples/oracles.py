"""Oracles that families share: the reference evaluator of ONNX, and margins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from samples import Array

OPSET = 22
TYPES = {
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
}


def by_onnx(op_type: str, *arrays: Array | None, outputs: int = 1, **attributes: Any) -> Any:
    """What one node of ONNX gives, floats in f64; a tuple of several results. None is absent."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(arrays)]
    given = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    signature = tuple((name, array.dtype, array.shape) for name, array in given.items())
    model = _model(op_type, tuple(names), signature, outputs, tuple(attributes.items()))
    results = ReferenceEvaluator(model).run(None, given)
    return results[0] if outputs == 1 else tuple(results)


@lru_cache
def _model(
    op_type: str,
    names: tuple[str, ...],
    signature: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...],
    outputs: int,
    attributes: tuple[tuple[str, Any], ...],
) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, dtype, shape in signature
    ]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, **dict(attributes))
    declared = [helper.make_tensor_value_info(y, TensorProto.UNDEFINED, None) for y in results]
    graph = helper.make_graph([node], "one_node", inputs, declared)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def framed(x: Array, low: Sequence[int], high: Sequence[int], fill: float = 0.0) -> Array:
    """`x` with margins of `fill` around its last dimensions; negative ones cut it."""
    skipped = x.ndim - len(low)
    shape = [s + lo + hi for s, lo, hi in zip(x.shape[skipped:], low, high, strict=True)]
    result = np.full((*x.shape[:skipped], *shape), fill, x.dtype)
    into = tuple(slice(max(lo, 0), s - max(hi, 0)) for s, lo, hi in zip(shape, low, high))
    out = tuple(
        slice(max(-lo, 0), s - max(-hi, 0)) for s, lo, hi in zip(x.shape[skipped:], low, high)
    )
    result[(..., *into)] = x[(..., *out)]
    return result
