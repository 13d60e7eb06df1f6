"""Normalizations and softmax of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.tensorflow.elementwise import cast
from ranvier.importers.tensorflow.layout import Layout, layout_of
from ranvier.importers.tensorflow.node import Handler, Node, tf_op


def over_last(op: type[TensorOp]) -> Handler:
    return lambda node: node.build(op(node.operand(0), axis=node.rank() - 1))


tf_op("Softmax")(over_last(nn.SoftmaxOp))
tf_op("LogSoftmax")(over_last(nn.LogSoftmaxOp))


@tf_op("SoftmaxCrossEntropyWithLogits")
def import_softmax_cross_entropy(node: Node) -> Sequence[SSAValue]:
    """Of logits and probabilities `p`, `-sum(p * log_softmax(x))` and its gradient in `x`."""
    logits, labels = node.operand(0), node.operand(1)
    axis = node.rank() - 1
    product = nn.MulOp(labels, node.build(nn.LogSoftmaxOp(logits, axis=axis)))
    total = node.build(nn.ReduceSumOp(node.build(product), axes=(axis,), keepdims=False))
    softmax = node.build(nn.SoftmaxOp(logits, axis=axis))
    return [node.build(nn.NegOp(total)), node.build(nn.SubOp(softmax, labels))]


@tf_op("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def import_batch_norm(node: Node) -> Sequence[SSAValue]:
    """Of 16-bit floats, statistics are f32, and so is the arithmetic."""
    if node.attribute("is_training", True):
        node.fail(Code.MODEL_UNSUPPORTED, "training mode is on; export the model for inference")
    layout, own = layout_of(node, node.rank()), node.element()
    statistics = [node.operand(position) for position in range(1, 5)]
    x = cast(node, layout.to_nn(node, node.operand(0)), node.element(1))
    epsilon = float(node.attribute("epsilon", 1e-4))
    result = node.build(nn.BatchNormOp(x, *statistics, epsilon=epsilon))
    y = layout.from_nn(node, cast(node, result, own))
    mean, variance = statistics[2:]
    return [y, mean, variance, mean, variance, mean]


@tf_op("LRN")
def import_lrn(node: Node) -> SSAValue:
    """TensorFlow gives half a window, and does not divide `alpha` by its size."""
    layout, radius = Layout(node.rank(), last=True), int(node.attribute("depth_radius", 5))
    size = 2 * radius + 1
    result = nn.LrnOp(
        layout.to_nn(node, node.operand(0)),
        size=size,
        alpha=float(node.attribute("alpha", 1.0)) * size,
        beta=float(node.attribute("beta", 0.5)),
        bias=float(node.attribute("bias", 1.0)),
    )
    return layout.from_nn(node, node.build(result))
