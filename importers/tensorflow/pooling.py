"""Pools of TensorFlow over windows; padding never counts."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import element_of, is_float
from ranvier.importers.semantics import Window
from ranvier.importers.tensorflow.layout import layout_of, padding_of, spatial_shape
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op


@tf_op("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D")
def import_pool(node: Node) -> SSAValue:
    return pooled(node, node.ints("ksize"), node.ints("strides"))


@tf_op("MaxPoolV2")
def import_pool_of_operands(node: Node) -> SSAValue:
    return pooled(node, node.constant_ints(1), node.constant_ints(2))


def pooled(node: Node, kernel: Shape, strides: Shape) -> SSAValue:
    layout, rank = layout_of(node, node.rank()), node.rank() - 2
    if not is_float(element_of(node.operand(0))):
        raise NotInNn
    size = spatial_shape(node, layout)
    window = Window(size, layout.spatial(kernel), layout.spatial(strides), (1,) * rank)
    maximum = node.op_type.startswith("Max")
    op = (nn.MaxPoolOp if maximum else nn.AvgPoolOp)(
        layout.to_nn(node, node.operand(0)),
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        padding=padding_of(node, window, layout),
        count_padding=None if maximum else False,
    )
    return layout.from_nn(node, node.build(op))
