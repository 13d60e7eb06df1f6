"""An example of each operator of MXNet that ranvier knows: shapes of its operands, attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Shape = tuple[int, ...]
IMAGE, MATRIX, SCALARS = (1, 3, 8, 8), (4, 6), (1,)


@dataclass(frozen=True)
class Example:
    """Operators under several names that take the same operands and attributes."""

    names: str
    shapes: Sequence[Shape]
    attrs: Mapping[str, str] = field(default_factory=dict[str, str])


def row(names: str, *shapes: Shape, **attrs: object) -> Example:
    return Example(names, shapes, {key: str(value) for key, value in attrs.items()})


COMPARED = "equal not_equal greater greater_equal lesser lesser_equal"
LOGICAL = "logical_and logical_or logical_xor"
BINARY = f"maximum minimum mod power {COMPARED} {LOGICAL}"
WITH_SCALARS = (
    f"plus minus rminus mul div rdiv mod rmod power rpower maximum minimum {COMPARED} {LOGICAL}"
)
OLD_SCALARS = "add sub rsub mul div rdiv pow rpow"

ELEMENTWISE = (
    row(
        "abs arccos arccosh arcsin arcsinh arctan arctanh ceil cos cosh erf exp floor hard_sigmoid "
        "log logical_not negative reciprocal relu rint rsqrt sigmoid sign sin sinh softsign sqrt "
        "square tan tanh _contrib_div_sqrt_dim _copy identity BlockGrad stop_gradient make_loss "
        "MakeLoss zeros_like ones_like shape_array Dropout",
        MATRIX,
    ),
    row(
        "elemwise_add elemwise_sub elemwise_mul elemwise_div _add _plus _sub _minus _mul _div "
        + " ".join(f"_{name}" for name in BINARY.split()),
        *(MATRIX, MATRIX),
    ),
    row(
        "broadcast_add broadcast_plus broadcast_sub broadcast_minus broadcast_mul broadcast_div "
        + " ".join(f"broadcast_{name}" for name in BINARY.split()),
        *(MATRIX, (4, 1)),
    ),
    row(" ".join(f"_{name}_scalar" for name in WITH_SCALARS.split()), MATRIX, scalar=2.5),
    row(" ".join(f"__{name}_scalar__" for name in OLD_SCALARS.split()), MATRIX, scalar=2.5),
    row("Activation", MATRIX, act_type="relu"),
    row("LeakyReLU", MATRIX, act_type="leaky", slope=0.1),
    row("clip", MATRIX, a_min=-1, a_max=1),
    row("Cast cast amp_cast", MATRIX, dtype="float16"),
    row("amp_multicast", MATRIX, MATRIX, num_outputs=2),
    row("add_n ElementWiseSum", MATRIX, MATRIX, num_args=2),
    row("where", MATRIX, MATRIX, MATRIX),
    row("LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput", MATRIX, MATRIX),
)
CONSTANT = (
    row("_zeros _ones", shape="(4, 6)", dtype="float32"),
    row("_zeros_without_dtype", shape="(4, 6)"),
    row("_full", shape="(4, 6)", dtype="float32", value=2.5),
    row("_arange", start=0, stop=6, dtype="float32"),
    row("_contrib_arange_like", MATRIX, axis=1),
)
CONTRACTION = (
    row(
        "Convolution Convolution_v1",
        *(IMAGE, (4, 3, 3, 3), (4,)),
        kernel="(3, 3)",
        pad="(1, 1)",
        num_filter=4,
    ),
    row(
        "Deconvolution",
        *(IMAGE, (3, 4, 3, 3), (4,)),
        kernel="(3, 3)",
        num_filter=4,
        no_bias=False,
    ),
    row("FullyConnected", MATRIX, (5, 6), (5,), num_hidden=5),
    row("dot", MATRIX, (6, 5)),
    row("batch_dot _linalg_gemm2 linalg_gemm2", (2, 4, 6), (2, 6, 5)),
    row("_contrib_interleaved_matmul_selfatt_qk", (5, 3, 24), heads=2),
    row("_contrib_interleaved_matmul_selfatt_valatt", (5, 3, 24), (6, 5, 5), heads=2),
    row("_contrib_interleaved_matmul_encdec_qk", (5, 3, 8), (7, 3, 16), heads=2),
    row("_contrib_interleaved_matmul_encdec_valatt", (7, 3, 16), (6, 5, 7), heads=2),
)
INDEXING = (
    row("take", (5, 6), (3,)),
    row("Embedding", (3, 2), (10, 4), input_dim=10, output_dim=4),
    row("batch_take pick", MATRIX, (4,)),
    row("gather_nd", MATRIX, (2, 3)),
    row("one_hot", (3,), depth=5),
    row("topk", MATRIX, k=3, ret_typ="value"),
    row("sort argsort", MATRIX),
    row("SequenceMask", (5, 3, 2), (3,), use_sequence_length=True),
)
NORMALIZATION = (
    row("BatchNorm BatchNorm_v1", IMAGE, (3,), (3,), (3,), (3,)),
    row("_contrib_SyncBatchNorm", IMAGE, (3,), (3,), (3,), (3,), key="shared"),
    row("InstanceNorm", IMAGE, (3,), (3,)),
    row("LayerNorm", MATRIX, (6,), (6,)),
    row("GroupNorm", (1, 4, 8, 8), (2,), (2,), num_groups=2),
    row("LRN", IMAGE, nsize=3),
    row("L2Normalization softmax log_softmax softmin SoftmaxActivation", MATRIX),
    row("SoftmaxOutput Softmax", MATRIX, (4,)),
)
POOLING = (
    row("Pooling Pooling_v1", IMAGE, kernel="(2, 2)", stride="(2, 2)", pool_type="max"),
    row("UpSampling", IMAGE, scale=2, sample_type="nearest", num_args=1),
)
RECURRENT = (
    row("RNN", (5, 2, 6), (192,), (1, 2, 4), (1, 2, 4), state_size=4, num_layers=1, mode="lstm"),
)
REDUCTION = (
    row("sum sum_axis mean max max_axis min min_axis prod norm argmax argmin", MATRIX, axis=1),
)
SHAPE = (
    row("Reshape reshape", (2, 3, 4), shape="(0, -1)"),
    row("Flatten flatten", (2, 3, 4)),
    row("expand_dims", MATRIX, axis=1),
    row("squeeze", (4, 1, 6), axis=1),
    row("reshape_like", MATRIX, (2, 12)),
    row("transpose", (2, 3, 4), axes="(2, 0, 1)"),
    row("SwapAxis swapaxes", (2, 3, 4), dim1=0, dim2=2),
    row("depth_to_space", (1, 8, 4, 4), block_size=2),
    row("space_to_depth", (1, 2, 4, 4), block_size=2),
    row("slice crop", MATRIX, begin="(1, 2)", end="(3, 6)"),
    row("slice_axis", MATRIX, axis=1, begin=2, end=5),
    row("slice_like", MATRIX, (2, 3)),
    row("reverse flip", MATRIX, axis="(1,)"),
    row("SliceChannel split", MATRIX, num_outputs=2, axis=1),
    row("_split_v2", MATRIX, indices="(0, 2)", axis=1),
    row("Concat concat", MATRIX, MATRIX, num_args=2, dim=1),
    row("_rnn_param_concat", (8,), (6,), num_args=2, dim=0),
    row("stack", MATRIX, MATRIX, num_args=2, axis=0),
    row("tile", MATRIX, reps="(2, 1)"),
    row("repeat", MATRIX, repeats=2, axis=1),
    row("broadcast_axis broadcast_axes", (4, 1), axis="(1,)", size="(6,)"),
    row("broadcast_to", (4, 1), shape="(4, 6)"),
    row("broadcast_like", (4, 1), MATRIX),
    row("Pad pad", IMAGE, mode="constant", pad_width="(0, 0, 0, 0, 1, 1, 2, 2)"),
)
EXAMPLES: Sequence[Example] = (
    *(*ELEMENTWISE, *CONSTANT, *CONTRACTION, *INDEXING, *NORMALIZATION),
    *(*POOLING, *RECURRENT, *REDUCTION, *SHAPE),
)
