"""Diagonals of matrices, chosen by a constant mask."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.tensorflow.elementwise import number
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op
from ranvier.importers.tensorflow.shape import padded, reshape


@tf_op("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def import_matrix_diag(node: Node) -> SSAValue:
    """Vectors become the main diagonals of square matrices."""
    if len(node.inputs) > 1 and (node.scalar(1), node.scalar(2), node.scalar(3)) != (0, -1, -1):
        raise NotInNn
    value, size = node.operand(0), node.shape()[-1]
    rest = node.operand(4) if len(node.inputs) > 1 else number(node, 0, value)
    return on_diagonal(node, value, rest, size, size)


@tf_op("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def import_matrix_set_diag(node: Node) -> SSAValue:
    if len(node.inputs) > 2 and node.constant(2).any():
        raise NotInNn
    return on_diagonal(node, node.operand(1), node.operand(0), *node.shape()[-2:])


def on_diagonal(node: Node, value: SSAValue, rest: SSAValue, rows: int, columns: int) -> SSAValue:
    """`value` on the main diagonals of matrices, `rest` elsewhere."""
    shape = shape_of(value)
    column = reshape(node, value, (*shape, 1))
    if missing := rows - shape[-1]:
        zeros = [0] * (len(shape) + 1)
        column = padded(node, column, zeros, [*zeros[:-2], missing, 0], 0.0)
    mask = node.build_constant(np.eye(rows, columns, dtype=np.bool_))
    return node.build(nn.SelectOp(mask, column, rest))
