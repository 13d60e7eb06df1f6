"""Oracles that families share: the reference evaluator of ONNX, and margins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from samples import Array

OPSET = 22
TYPES = {np.dtype(np.float64): TensorProto.DOUBLE, np.dtype(np.int64): TensorProto.INT64}


def by_onnx(op_type: str, *arrays: Array, **attributes: Any) -> Array:
    """What one node of ONNX gives, in f64."""
    signature = tuple((array.dtype, array.shape) for array in arrays)
    return _evaluator(op_type, signature, tuple(attributes.items())).run(
        None, {f"x{i}": array for i, array in enumerate(arrays)}
    )[0]


@lru_cache
def _evaluator(
    op_type: str,
    signature: tuple[tuple[np.dtype[Any], tuple[int, ...]], ...],
    attributes: tuple[tuple[str, Any], ...],
) -> ReferenceEvaluator:
    inputs = [
        helper.make_tensor_value_info(f"x{i}", TYPES[dtype], shape)
        for i, (dtype, shape) in enumerate(signature)
    ]
    node = helper.make_node(op_type, [x.name for x in inputs], ["y"], **dict(attributes))
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    graph = helper.make_graph([node], "one_node", inputs, [output])
    return ReferenceEvaluator(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    )


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
