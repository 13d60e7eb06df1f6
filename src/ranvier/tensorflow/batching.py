"""Whether a program of one batch size may run any batch in pieces.

A subgraph is imported for two batch sizes. What differs between the two is the batch, and each op
must keep its samples apart: then any cut of the batch gives the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.reference import main_of
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array, ConstantSource, ints
from ranvier.dialects.nn.contraction import ContractionOp
from ranvier.dialects.nn.elementwise import BinaryOp, UnaryOp
from ranvier.dialects.nn.pooling import PoolOp
from ranvier.dialects.nn.reduction import ArgOp, CumulativeOp, ReduceOp
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of, type_of
from ranvier.importers.tensorflow import import_graph
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.importers.tensorflow.importer import GraphImporter
from ranvier.importers.tensorflow.model import InputTypes, Model
from ranvier.passes.analysis.locations import describe
from ranvier.program import Shapes
from ranvier.tensorflow.batch import BATCH, NO_BATCH
from ranvier.tensorflow.partition import Subgraph
from ranvier.tensorflow.placed import Placed
from ranvier.tensorflow.subgraph import model_of_subgraph

ALONG_AXIS = (ArgOp, CumulativeOp, nn.SoftmaxOp, nn.LogSoftmaxOp, nn.HardmaxOp, nn.TopKOp)
CHANNELS_SECOND = (PoolOp, nn.BatchNormOp, nn.GroupNormOp, nn.LrnOp)
ELEMENTWISE = (UnaryOp, BinaryOp, nn.SelectOp, nn.CastOp, nn.TransposeOp, nn.BroadcastOp)


@dataclass
class Batches:
    """A model placed under the compiled batch, and its types under twice that."""

    model: Model
    small: Placed
    large: Placed

    def fixed(self) -> Mapping[str, Array]:
        """The values that are the same under both batches."""
        return {
            name: value
            for name, value in self.small.constants.items()
            if name in self.large.constants and np.array_equal(value, self.large.constants[name])
        }

    def axes_of(self, subgraph: Subgraph) -> tuple[list[int], list[int]]:
        """Batch axes of a subgraph's inputs and outputs. Raises CallerError if samples mix."""
        inputs, outputs = self._axes(subgraph.inputs), self._axes(subgraph.outputs)
        if NO_BATCH in outputs:
            refuse(f"'{list(subgraph.outputs)[outputs.index(NO_BATCH)]}' has no batch")
        check_samples_stay_apart(
            self._module(subgraph, self.small), self._module(subgraph, self.large)
        )
        return inputs, outputs

    def _module(self, subgraph: Subgraph, placed: Placed) -> ModuleOp:
        return import_graph(model_of_subgraph(self.model.flat, subgraph, placed), {})

    def _axes(self, tensors: Iterable[Tensor]) -> list[int]:
        axes: list[int] = []
        for tensor in tensors:
            if tensor not in self.large.types:
                refuse(f"'{tensor}' has no static shape under another batch")
            shapes = [placed.types[tensor].get_shape() for placed in (self.small, self.large)]
            axis = batch_axis(*shapes)
            if axis not in (None, BATCH):
                refuse(f"'{tensor}' has its batch along axis {axis}, not along 0")
            axes.append(NO_BATCH if axis is None else BATCH)
        return axes


def refuse(text: str) -> None:
    raise CallerError(Code.OPTION_INVALID, f"dynamic_batch_size: {text}")


def batches_of(model: Model, shapes: Shapes, placed: Placed) -> Batches:
    """All inputs share the batch, their dimension 0."""
    doubled = {name: (2 * shape[0], *shape[1:]) for name, shape in shapes.items() if shape}
    importer = GraphImporter(
        model.flat, InputTypes(model, doubled).resolve(tolerant=True), tolerant=True
    )
    importer.evaluate(importer.root, model.outputs.values())
    large = Placed(placed.kinds)
    for tensor, value in importer.root.values.items():
        if isinstance(value, SSAValue):
            large.types[tensor] = type_of(value)
            if tensor.node in placed.constants and tensor.position == 0:
                known = importer.builder.constant_of(value)
                large.constants |= {} if known is None else {tensor.node: known}
    return Batches(model, placed, large)


def batch_axis(small: Shape, large: Shape) -> int | None:
    """The dimension that doubles; None if all stay. Raises CallerError for any other change."""
    differing = [d for d, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    if len(differing) > 1:
        refuse(f"a tensor of {list(small)} has the batch in {len(differing)} dimensions")
    if any(large[d] != 2 * small[d] for d in differing):
        refuse(f"a tensor of {list(small)} is one of {list(large)} with twice the batch")
    return differing[0] if differing else None


def check_samples_stay_apart(small: ModuleOp, large: ModuleOp) -> None:
    """Raises CallerError that names the first op which mixes samples."""
    ops, others = (list(main_of(module).body.block.ops) for module in (small, large))
    if len(ops) != len(others):
        refuse("the number of ops depends on the batch")
    axes: dict[SSAValue, int | None] = {}
    pairs = zip(main_of(small).args, main_of(large).args, strict=True)
    axes |= {a: batch_axis(shape_of(a), shape_of(b)) for a, b in pairs}
    for op, other in zip(ops, others, strict=True):
        if isinstance(op, ReturnOp):
            return
        pairs = zip(op.results, other.results, strict=True)
        axes |= {a: batch_axis(shape_of(a), shape_of(b)) for a, b in pairs}
        read = [axes[operand] for operand in op.operands]
        if not op.has_trait(ConstantSource) and not keeps_apart(op, read, axes[op.results[0]]):
            refuse(f"{describe(op)} mixes the samples of a batch")


def keeps_apart(op: Operation, read: list[int | None], made: int | None) -> bool:
    """Whether each sample of the results is made of that of the operands; None has no batch."""
    if all(axis is None for axis in read):
        return True  # repeats a constant, if anything
    if made is None:
        return False
    match op:
        case _ if isinstance(op, ELEMENTWISE):
            return True
        case _ if isinstance(op, ALONG_AXIS):
            return int(op.get("axis")) != read[0]
        case _ if isinstance(op, CHANNELS_SECOND):
            return read[0] == 0 and read[1:] == [None] * len(read[1:])
        case nn.ConvOp() | nn.ConvTransposeOp():
            return read[0] == 0 and read[1:] == [None] * len(read[1:])
        case nn.MatmulOp():
            return matmul_keeps_apart(op, read)
        case nn.GemmOp():
            return read[0] == int(bool(op.get("transpose_lhs"))) and read[1] is None
        case ReduceOp():
            return read[0] not in ints(op.axes)
        case nn.LayerNormOp() | nn.RmsNormOp():
            return read[0] is not None and read[0] < int(op.get("axis"))
        case nn.ReshapeOp():
            return reshape_keeps_apart(op, read[0], made)
        case nn.ConcatOp():
            return op.get("axis") not in read and len(set(read)) == 1
        case nn.SliceOp():
            axis = read[0]
            whole = axis is not None and ints(op.sizes)[axis] == shape_of(op.operand)[axis]
            return axis is not None and whole and ints(op.steps)[axis] == 1
        case nn.PadOp():
            return read[0] is not None and not (ints(op.low)[read[0]] or ints(op.high)[read[0]])
        case nn.GatherOp():
            return read[0] != op.get("axis") and None in read
        case nn.LstmOp() | nn.GruOp() | nn.RnnOp():
            return read[0] == 1
        case nn.ResizeOp():
            return read[0] is not None and shape_of(op.operand)[read[0]] == ints(op.shape)[read[0]]
        case _:
            return False


def matmul_keeps_apart(op: ContractionOp, read: list[int | None]) -> bool:
    """The batch is no contracted dimension, and that of two operands is the same one."""
    ranks = [len(shape_of(operand)) for operand in op.operands]
    from_end = [None if a is None else rank - a for a, rank in zip(read, ranks, strict=True)]
    lhs, rhs = from_end
    if lhs is not None and rhs is not None:
        return lhs == rhs > 2
    return lhs != 1 and (rhs != 2 or ranks[1] == 1) and not (rhs == 1 and ranks[1] == 1)


def reshape_keeps_apart(op: nn.ReshapeOp, read: int | None, made: int) -> bool:
    """As much stands before the batch as before, in the same order."""
    if read is None:
        return False
    given, shape = shape_of(op.operand), shape_of(op.result)
    return prod(given[:read]) == prod(shape[:made])
