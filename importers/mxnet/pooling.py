"""Pools of MXNet, and the enlargement of images."""

from __future__ import annotations

from math import ceil, prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, dtype_of, is_float, shape_of
from ranvier.importers.mxnet.contraction import as_node, channels_first
from ranvier.importers.mxnet.node import Node, mx_op
from ranvier.importers.semantics import AutoPad, Window, automatic_padding


@mx_op("Pooling", "Pooling_v1")
def import_pooling(node: Node) -> SSAValue:
    operand = channels_first(node, node.operand(0))
    size = shape_of(operand)[2:]
    ones, zeros = (1,) * len(size), (0,) * len(size)
    if node.flag("global_pool"):
        window, pads = Window(size, size, ones, ones), zeros
    else:
        window = Window(size, node.ints("kernel"), node.ints("stride", ones), ones)
        pads = node.ints("pad", zeros)
    padding = (*pads, *highs(node, window, pads))
    result = pooled(node, operand, window, padding, pads)
    if node.text("pooling_convention", "valid") == "full":
        result = without_empty(node, result, empty_windows(window, pads))
    return as_node(node, result)


def without_empty(node: Node, result: SSAValue, empty: Array) -> SSAValue:
    """The result with MXNet's values for windows without elements."""
    kind, element = node.text("pool_type", "max"), node.element()
    if not empty.any() or kind not in ("max", "avg") or not is_float(element):
        return result
    value = float(np.finfo(dtype_of(element)).min) if kind == "max" else 0
    fill = node.constant(value, element)
    return node.build(nn.SelectOp(node.constant(empty), fill, result))


def empty_windows(window: Window, pads: Shape) -> Array:
    """Where a window has no element; the full convention has windows that begin behind the last."""
    empty: Array = np.zeros((), np.bool_)
    for size, pad, k, stride in zip(window.size, pads, window.kernel, window.strides, strict=True):
        count = ceil(max(size + 2 * pad - k, 0) / stride) + 1
        first = np.arange(count) * stride - pad
        alone = np.minimum(first + k, size) <= np.maximum(first, 0)
        empty = empty[..., None] | alone
    return empty


def highs(node: Node, window: Window, pads: Shape) -> Shape:
    """Padding after the operand by the pooling convention."""
    match convention := node.text("pooling_convention", "valid"):
        case "valid":
            return pads
        case "same":
            return automatic_padding(window, AutoPad.SAME_UPPER)[len(pads) :]
        case "full":
            return tuple(
                max(pad, (ceil((size + 2 * pad - k) / stride)) * stride + k - size - pad)
                for size, pad, k, stride in zip(
                    window.size, pads, window.kernel, window.strides, strict=True
                )
            )
        case _:
            node.unsupported(f"pooling_convention is valid, full or same, got {convention}")


def pooled(node: Node, operand: SSAValue, window: Window, padding: Shape, pads: Shape) -> SSAValue:
    kind, geometry = node.text("pool_type", "max"), geometry_of(window, padding)
    first_version = node.symbol.op == "Pooling_v1"
    if kind == "max":
        if first_version:  # it pads with zeros
            operand, geometry = with_elements(node, operand, geometry, pads)
        return node.build(nn.MaxPoolOp(operand, result_types=None, **geometry))
    p = node.integer("p_value") if kind == "lp" else 0
    if p == 2:
        return node.build(nn.LpPoolOp(operand, p=p, result_types=None, **geometry))
    counts = node.flag("count_include_pad", True)
    if p > 2:
        node.unsupported(f"p_value is 1 or 2, got {p}: MXNet sums signed powers")
    if kind == "sum" or p == 1:  # nor does it take absolute values
        mean = node.build(nn.AvgPoolOp(operand, count_padding=True, result_types=None, **geometry))
        taps = node.constant(prod(window.kernel), node.element())
        return node.build(nn.MulOp(mean, taps))
    if kind != "avg":
        node.unsupported(f"pool_type is max, avg, sum or lp, got {kind}")
    if counts and padding != (*pads, *pads) and not first_version:
        # Declared padding counts, what the convention adds does not, but in the first version.
        operand, geometry = with_elements(node, operand, geometry, pads)
        counts = False
    op: TensorOp = nn.AvgPoolOp(operand, count_padding=counts, result_types=None, **geometry)
    return node.build(op)


def geometry_of(window: Window, padding: Shape) -> dict[str, Shape]:
    return {
        "kernel": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "padding": padding,
    }


def with_elements(
    node: Node, operand: SSAValue, geometry: dict[str, Shape], pads: Shape
) -> tuple[SSAValue, dict[str, Shape]]:
    """Declared padding as elements that are zero; what the convention adds stays padding."""
    low, padding = (0, 0, *pads), geometry["padding"]
    operand = node.build(nn.PadOp(operand, low=low, high=low, mode="constant", value=0.0))
    extra = (high - pad for high, pad in zip(padding[len(pads) :], pads, strict=True))
    return operand, geometry | {"padding": (*(0,) * len(pads), *extra)}


@mx_op("UpSampling")
def import_up_sampling(node: Node) -> SSAValue:
    """Nearest neighbours by repetition, bilinear by a transposed convolution with given weights.

    Several operands come to the size of the first, nearest neighbours only.
    """
    scale, operand, shape = node.integer("scale"), node.operand(0), node.shape()
    if node.text("sample_type") == "bilinear":
        pad = ceil((scale - 1) / 2)
        return node.build(
            nn.ConvTransposeOp(
                *(operand, node.operand(1)),
                strides=(scale, scale),
                padding=(pad,) * 4,
                dilations=(1, 1),
                groups=shape[1],
            )
        )
    height = shape[2] * scale
    parts = [repeated(node, operand, height // shape_of(operand)[2]) for operand in node.operands]
    if len(parts) == 1:
        return parts[0]
    if node.text("multi_input_mode", "concat") == "concat":
        return node.build(nn.ConcatOp(*parts, axis=1))
    total = parts[0]
    for part in parts[1:]:
        total = node.build(nn.AddOp(total, part))
    return total


def repeated(node: Node, operand: SSAValue, scale: int) -> SSAValue:
    """Every element becomes a block: rows and columns are repeated."""
    shape = shape_of(operand)
    column = node.reshape(operand, (*shape[:3], 1, shape[3], 1))
    blocks = node.broadcast(column, (*shape[:3], scale, shape[3], scale))
    return node.reshape(blocks, (*shape[:2], shape[2] * scale, shape[3] * scale))
