"""Which operators of TensorFlow run on a target, by an example of each.

An example is one node: operands that are inputs of the model, others that it fixes, and attributes
beside those that follow from the operands' types. Nodes that only make sense together, those of
loops, branches and lists of tensors, are in no list; a model has them unrolled. A test runs all
examples in TensorFlow and on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ranvier.dialects.diagnostics import CodedError
from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow import import_graph
from ranvier.importers.tensorflow.model import model_of_graph
from ranvier.importers.tensorflow.protos import GraphDef, Message
from ranvier.importers.tensorflow.tensors import code_of_dtype, proto_of_array
from ranvier.passes.target import Target
from ranvier.tools.support import Support


class Fixed(NamedTuple):
    """An operand that is a constant of the model."""

    array: Array


Operand = Array | Fixed


class Example(NamedTuple):
    """One node: what it reads, and its attributes."""

    operands: Sequence[Operand]
    attributes: Mapping[str, Any] = {}


_RNG = np.random.default_rng(0)


SOURCES = ("Const", "Placeholder", "PlaceholderWithDefault")


def normal(*shape: int) -> Array:
    return _RNG.standard_normal(shape).astype(np.float32)


def fixed(value: Any, dtype: Any = np.int32) -> Fixed:
    return Fixed(np.asarray(value, dtype))


def weight(*shape: int) -> Fixed:
    return Fixed(normal(*shape))


X, Y = normal(3, 5, 7), normal(3, 5, 7)
POSITIVE = np.abs(X) + np.float32(0.5)
UNIT = np.tanh(X) * np.float32(0.9)
IMAGE, VOLUME = normal(2, 8, 9, 4), normal(1, 4, 5, 6, 3)
COLOURS = _RNG.uniform(0, 1, (2, 4, 5, 3)).astype(np.float32)
INTS, DIVISORS = (_RNG.integers(1, 9, (4, 5)).astype(np.int32) for _ in range(2))
P, Q = X > 0, Y > 0
STATISTICS = [weight(4), weight(4), weight(4), Fixed(np.abs(normal(4)) + np.float32(0.5))]
ROWS = fixed([2, 0, 1])
F32, I32, I64, BF16 = (np.dtype(t) for t in (np.float32, np.int32, np.int64, ml_dtypes.bfloat16))
WINDOW = {"strides": [1, 2, 2, 1], "padding": "SAME"}
POOL = {"ksize": [1, 2, 3, 1], **WINDOW}
CUBE = {"strides": [1, 1, 2, 1, 1], "padding": "SAME"}

UNARY = {
    "Abs Asinh Atan Ceil Cos Cosh Elu Erf Erfc Exp Expm1 Floor Identity IsFinite "
    "IsInf IsNan L2Loss LeakyRelu Neg OnesLike PreventGradient Rank Relu Relu6 Rint Round Selu "
    "Shape Sigmoid Sign Sin Sinh Size Snapshot Softplus Softsign Square StopGradient Tan Tanh "
    "ZerosLike": X,
    "Inv Log Log1p Reciprocal Rsqrt Sqrt": POSITIVE,
    "Acos Asin Atanh": UNIT,
    "Acosh": POSITIVE + 1,
    "LogSoftmax Softmax": X[0],
    "Invert": INTS,
    "LogicalNot": P,
}
BINARY = {
    "Add AddV2 Equal Greater GreaterEqual Less LessEqual Maximum Minimum Mul MulNoNan NotEqual "
    "SquaredDifference Sub": (X, Y),
    "Div DivNoNan FloorDiv FloorMod Mod RealDiv TruncateMod Xdivy": (X, POSITIVE),
    "Pow Xlogy": (POSITIVE, UNIT + 1),
    "BitwiseAnd BitwiseOr BitwiseXor LeftShift RightShift TruncateDiv": (INTS, DIVISORS),
    "LogicalAnd LogicalOr": (P, Q),
}
REDUCTIONS = {
    "EuclideanNorm Max Mean Min Prod Sum": X,
    "All Any": P,
}
OTHERS: dict[str, Example] = {
    "AccumulateNV2": Example([X, Y], {"N": 2, "shape": (3, 5, 7)}),
    "AddN": Example([X, Y], {"N": 2}),
    "AdjustContrastv2": Example([COLOURS, fixed(1.5, F32)]),
    "AdjustSaturation": Example([COLOURS, fixed(1.5, F32)]),
    "ArgMax": Example([X, fixed(1)], {"output_type": I32}),
    "ArgMin": Example([X, fixed(2)], {"output_type": I32}),
    "AvgPool": Example([IMAGE], POOL),
    "AvgPool3D": Example([VOLUME], {"ksize": [1, 2, 2, 2, 1], **CUBE}),
    "BatchMatMul": Example([X, Y], {"adj_y": True}),
    "BatchMatMulV2": Example([X, Y], {"adj_x": True}),
    "BatchMatMulV3": Example([X, Y], {"adj_y": True, "Tout": F32}),
    "BatchToSpaceND": Example([normal(8, 3, 4, 2), fixed([2, 2]), fixed([[0, 1], [1, 0]])]),
    "BiasAdd": Example([X, weight(7)]),
    "BiasAddV1": Example([X, weight(7)]),
    "BroadcastArgs": Example([fixed([3, 1]), fixed([5])]),
    "BroadcastTo": Example([X, fixed([2, 3, 5, 7])]),
    "Cast": Example([X], {"DstT": BF16}),
    "CheckNumerics": Example([X], {"message": "not finite"}),
    "Cholesky": Example([X[0, :, :5]]),
    "ClipByValue": Example([X, fixed(-0.5, F32), fixed(0.5, F32)]),
    "Concat": Example([fixed(1), X, Y], {"N": 2}),
    "ConcatV2": Example([X, Y, fixed(-1)], {"N": 2}),
    "Const": Example([]),
    "Conv2D": Example([IMAGE, weight(3, 3, 4, 6)], WINDOW),
    "Conv2DBackpropInput": Example(
        [fixed([2, 8, 9, 3]), weight(3, 3, 3, 6), normal(2, 4, 5, 6)], WINDOW
    ),
    "Conv3D": Example([VOLUME, weight(2, 3, 2, 3, 4)], CUBE),
    "Conv3DBackpropInputV2": Example(
        [fixed([1, 4, 9, 6, 3]), weight(2, 3, 2, 3, 4), normal(1, 4, 5, 6, 4)], CUBE
    ),
    "CropAndResize": Example(
        [IMAGE, fixed([[0.1, 0, 0.8, 1]], F32), fixed([1]), fixed([3, 4])],
    ),
    "Cumprod": Example([X, fixed(2)]),
    "Cumsum": Example([X, fixed(1)], {"exclusive": True, "reverse": True}),
    "DepthToSpace": Example([IMAGE], {"block_size": 2}),
    "DepthwiseConv2dNative": Example(
        [IMAGE, weight(3, 3, 4, 2)], WINDOW | {"strides": [1, 1, 1, 1]}
    ),
    "Einsum": Example([X, Y], {"N": 2, "equation": "abc,adc->abd"}),
    "EnsureShape": Example([X], {"shape": (3, 5, 7)}),
    "ExpandDims": Example([X, fixed(1)]),
    "Fill": Example([fixed([2, 3]), normal()]),
    "FusedBatchNorm": Example([IMAGE, *STATISTICS], {"is_training": False}),
    "FusedBatchNormV2": Example([IMAGE, *STATISTICS], {"is_training": False}),
    "FusedBatchNormV3": Example([IMAGE, *STATISTICS], {"is_training": False}),
    "Gather": Example([X, ROWS]),
    "GatherNd": Example([X, fixed([[0, 1], [2, 4]])]),
    "GatherV2": Example([X, fixed([4, 0]), fixed(1)]),
    "HSVToRGB": Example([COLOURS]),
    "IdentityN": Example([X, INTS]),
    "InvertPermutation": Example([ROWS]),
    "LRN": Example([IMAGE], {"depth_radius": 1}),
    "LinSpace": Example([fixed(0, F32), fixed(1, F32), fixed(5)]),
    "MatMul": Example([X[0], Y[0]], {"transpose_b": True}),
    "MatrixBandPart": Example([X, fixed(1), fixed(0)]),
    "MatrixDiag": Example([X]),
    "MatrixDiagV2": Example([X, fixed(0), fixed(-1), fixed(-1), fixed(0, F32)]),
    "MatrixDiagV3": Example([X, fixed(0), fixed(-1), fixed(-1), fixed(0, F32)]),
    "MatrixSetDiag": Example([X, normal(3, 5)]),
    "MatrixSetDiagV2": Example([X, normal(3, 5), fixed(0)]),
    "MatrixSetDiagV3": Example([X, normal(3, 5), fixed(0)]),
    "MatrixTriangularSolve": Example([X[0, :, :5], Y[0]]),
    "MaxPool": Example([IMAGE], POOL),
    "MaxPool3D": Example([VOLUME], {"ksize": [1, 2, 2, 2, 1], **CUBE}),
    "MaxPoolV2": Example([IMAGE, fixed([1, 2, 2, 1]), fixed([1, 2, 2, 1])], {"padding": "SAME"}),
    "MirrorPad": Example([X, fixed([[0, 0], [1, 2], [3, 1]])], {"mode": "REFLECT"}),
    "OneHot": Example([INTS, fixed(9), fixed(2, F32), fixed(-1, F32)]),
    "Pack": Example([X, Y], {"N": 2, "axis": 1}),
    "Pad": Example([X, fixed([[1, 0], [0, 2], [3, 1]])]),
    "PadV2": Example([X, fixed([[1, 0], [0, 2], [3, 1]]), fixed(0.5, F32)]),
    "Placeholder": Example([], {"dtype": F32, "shape": (3, 5)}),
    "PlaceholderWithDefault": Example([fixed(X, F32)], {"shape": (3, 5, 7), "dtype": F32}),
    "RGBToHSV": Example([COLOURS]),
    "RandomUniform": Example([fixed([2, 3])], {"dtype": F32}),
    "Range": Example([fixed(1), fixed(9), fixed(3)]),
    "Reshape": Example([X, fixed([7, -1])]),
    "ResizeBicubic": Example([IMAGE, fixed([5, 12])], {"half_pixel_centers": True}),
    "ResizeBilinear": Example([IMAGE, fixed([5, 12])], {"half_pixel_centers": True}),
    "ResizeNearestNeighbor": Example([IMAGE, fixed([5, 12])], {"half_pixel_centers": True}),
    "ReverseSequence": Example([X, fixed([2, 5, 1])], {"seq_dim": 1, "batch_dim": 0}),
    "ReverseV2": Example([X, fixed([0, 2])]),
    "Roll": Example([X, fixed([1, -2]), fixed([0, 2])]),
    "ScatterNd": Example([fixed([[1], [4], [1]]), X, fixed([6, 5, 7])]),
    "Select": Example([P, X, Y]),
    "SelectV2": Example([P, X, Y]),
    "ShapeN": Example([X, Y], {"N": 2}),
    "Slice": Example([X, fixed([1, 0, 2]), fixed([-1, 3, 4])]),
    "SoftmaxCrossEntropyWithLogits": Example([X[0], np.abs(Y[0])]),
    "SpaceToBatchND": Example([normal(2, 5, 5, 3), fixed([2, 3]), fixed([[1, 0], [0, 1]])]),
    "SpaceToDepth": Example([normal(1, 4, 6, 3)], {"block_size": 2}),
    "Split": Example([fixed(1), normal(2, 6)], {"num_split": 3}),
    "SplitV": Example([X, fixed([1, 4, 2]), fixed(2)], {"num_split": 3}),
    "Squeeze": Example([X[:1]], {"squeeze_dims": [0]}),
    "StridedSlice": Example(
        [X, fixed([0, 1, 3]), fixed([3, 5, 4]), fixed([2, 1, 1])], {"shrink_axis_mask": 4}
    ),
    "TensorScatterAdd": Example([X, fixed([[1]]), Y[:1]]),
    "TensorScatterMax": Example([X, fixed([[1]]), Y[:1]]),
    "TensorScatterMin": Example([X, fixed([[1]]), Y[:1]]),
    "TensorScatterUpdate": Example([X, fixed([[1]]), Y[:1]]),
    "Tile": Example([X, fixed([2, 1, 3])]),
    "TopK": Example([X], {"k": 3}),
    "TopKV2": Example([X, fixed(3)]),
    "Transpose": Example([X, fixed([2, 0, 1])]),
    "Unpack": Example([X], {"num": 3}),
    "UnsortedSegmentSum": Example([X, fixed([1, 0, 1]), fixed(3)]),
}
EXAMPLES: dict[str, Example] = {
    **{name: Example([operand]) for names, operand in UNARY.items() for name in names.split()},
    **{name: Example(pair) for names, pair in BINARY.items() for name in names.split()},
    **{
        name: Example([operand, fixed([1])], {"keep_dims": True})
        for names, operand in REDUCTIONS.items()
        for name in names.split()
    },
    **OTHERS,
}


def support(targets: Sequence[Target]) -> Support:
    """What becomes of each operator that has an example."""
    found = Support()
    for name, example in sorted(EXAMPLES.items()):
        graph = GraphDef()
        add_example(graph, name, example)
        try:
            module = import_graph(model_of_graph(graph, "example.pb", ""), {}, untyped=True)
        except CodedError as error:
            module = f"{error.code.number}: {error}"
        found.add(name, module, targets, constant=False)
    return found


def add_example(graph: Message, op: str, example: Example) -> Message:
    """Add a node of an op, named as it, and its operands. Returns the node."""
    inputs: list[str] = []
    for operand, name in zip(example.operands, operand_names(op), strict=False):
        array = operand.array if isinstance(operand, Fixed) else operand
        source = graph.node.add(
            name=name, op="Const" if isinstance(operand, Fixed) else "Placeholder"
        )
        source.attr["dtype"].type = code_of_dtype(array.dtype)
        if isinstance(operand, Fixed):
            source.attr["value"].tensor.CopyFrom(proto_of_array(array))
        else:
            set_attribute(source.attr["shape"], array.shape)
        inputs.append(name)
    node = graph.node.add(name=op, op=op, input=inputs)
    if op == "Const":
        node.attr["dtype"].type = code_of_dtype(X.dtype)
        node.attr["value"].tensor.CopyFrom(proto_of_array(X))
    if op == "IdentityN":
        node.attr["T"].list.type.extend(code_of_dtype(array.dtype) for array in (X, INTS))
    for name, value in example.attributes.items():
        set_attribute(node.attr[name], value)
    if op in SOURCES:  # a graph is what reads something
        graph.node.add(name=f"{op}/read", op="Identity", input=[op]).attr["T"].type = 1
    return node


def operand_names(op: str) -> Iterator[str]:
    return (f"{op}/operand_{place}" for place in range(64))


def set_attribute(attribute: Message, value: Any) -> None:
    """A tuple is a shape, a list numbers, a dtype an element type."""
    match value:
        case bool():
            attribute.b = value
        case int():
            attribute.i = value
        case str():
            attribute.s = value.encode()
        case np.dtype():
            attribute.type = code_of_dtype(value)
        case list():
            attribute.list.i.extend(value)
        case _:
            attribute.shape.SetInParent()
            for size in value:
                attribute.shape.dim.add(size=size)
