"""Each op of TensorFlow, imported and evaluated by reference, against TensorFlow itself.

Tolerances are those of f32 sums in another order. Shapes have odd sizes, groups and batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ranvier.backend.reference import Executor
from ranvier.importers.tensorflow import import_graph
from ranvier.tensorflow.functions import spec_of, trace_function

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(normal(*shape)) + np.float32(0.1)


X, Y = normal(3, 5, 7), normal(3, 5, 7)
IMAGE = normal(2, 9, 11, 6)
INTS = RNG.integers(-9, 9, (4, 5)).astype(np.int32)
STATISTICS = positive(6), normal(6), normal(6), positive(6)
raw = tf.raw_ops

UNARY = {
    name: getattr(tf.math, name)
    for name in (
        "abs ceil cos cosh erf erfc exp expm1 floor is_finite is_inf is_nan negative reciprocal "
        "rint sigmoid sign sin sinh softplus softsign square tan tanh"
    ).split()
} | {
    name: getattr(tf.nn, name) for name in ("elu", "relu", "relu6", "selu", "leaky_relu", "softmax")
}
POSITIVE = {name: getattr(tf.math, name) for name in ("log", "log1p", "rsqrt", "sqrt", "acosh")}
BINARY = {
    name: getattr(tf.math, name)
    for name in (
        "add subtract multiply divide divide_no_nan maximum minimum floordiv floormod "
        "squared_difference equal not_equal less less_equal greater greater_equal xdivy "
        "multiply_no_nan"
    ).split()
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    check(UNARY[name], X)


@pytest.mark.parametrize("name", POSITIVE)
def test_unary_of_positive_numbers(name: str) -> None:
    check(POSITIVE[name], positive(3, 5) + 1)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    check(BINARY[name], X, np.where(np.abs(Y) < 0.5, 0, Y) if "no_nan" in name else Y)


@pytest.mark.parametrize(
    "name", ["add", "multiply", "maximum", "floordiv", "floormod", "truncatediv"]
)
def test_integers(name: str) -> None:
    divisor = np.where(INTS[:1] == 0, 3, INTS[:1])
    check(getattr(tf.math, name, getattr(tf, name, tf.truncatediv)), INTS, divisor)


CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "cast": (lambda x: tf.cast(x * 3, tf.int32), (X,)),
    "clip": (lambda x: tf.clip_by_value(x, -0.5, 0.25), (X,)),
    "add_n": (lambda x, y: tf.add_n([x, y, x]), (X, Y)),
    "bias NCHW": (
        lambda x: raw.BiasAdd(value=x, bias=[1.0, 2.0, 3.0], data_format="NCHW"),
        (normal(2, 3, 4, 5),),
    ),
    "where": (lambda x, y: tf.where(x > 0, x, y), (X, Y)),
    "select rows": (
        lambda x, y: raw.Select(condition=[True, False, True], x=x, y=y),
        (X, Y),
    ),
    "xlogy": (lambda x: tf.math.xlogy(tf.nn.relu(x), tf.abs(x) + 1), (X,)),
    "matmul": (lambda x: tf.matmul(x[0], x[1], transpose_b=True), (X,)),
    "matmul of transposes": (
        lambda x: tf.matmul(x[0], x[2], True),
        (X,),
    ),
    "batch matmul": (lambda x, y: tf.matmul(x, y, transpose_a=True), (X, Y)),
    "adjoint": (lambda x, y: tf.linalg.matmul(x, y, adjoint_b=True), (X, Y)),
    "einsum": (lambda x, y: tf.einsum("abc,adc->abd", x, y), (X, Y)),
    "einsum ellipsis": (lambda x, y: tf.einsum("...bc,...dc->...bd", x, y), (X, Y)),
    "mean": (lambda x: tf.reduce_mean(x, [0, -1]), (X,)),
    "max kept": (lambda x: tf.reduce_max(x, 1, keepdims=True), (X,)),
    "min of all": (tf.reduce_min, (X,)),
    "prod": (lambda x: tf.reduce_prod(x, 2), (X,)),
    "norm": (lambda x: tf.norm(x, axis=1), (X,)),
    "all and any": (lambda x: (tf.reduce_all(x > 0, 1), tf.reduce_any(x > 1, 1)), (X,)),
    "logsumexp": (lambda x: tf.reduce_logsumexp(x, 1), (X,)),
    "arg": (lambda x: (tf.argmax(x, 1), tf.argmin(x, -1, tf.int32)), (X,)),
    "cumsum": (lambda x: tf.cumsum(x, 1, exclusive=True, reverse=True), (X,)),
    "cumprod": (lambda x: tf.math.cumprod(x, 2), (X,)),
    "l2 loss": (tf.nn.l2_loss, (X,)),
    "log softmax": (tf.nn.log_softmax, (X,)),
    "lrn": (lambda x: tf.nn.lrn(x, 2, 1.5, 0.3, 0.6), (IMAGE,)),
    "reshape": (lambda x: tf.reshape(x, [5, -1]), (X,)),
    "shape arithmetic": (lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [-1]], 0)), (X,)),
    "squeeze": (lambda x: tf.squeeze(x[:, :1], [1]), (X,)),
    "expand dims": (lambda x: tf.expand_dims(x, -2), (X,)),
    "transpose": (lambda x: tf.transpose(x, [2, 0, 1]), (X,)),
    "strided slice": (lambda x: x[::-1, 1:-1, tf.newaxis, ..., 3], (X,)),
    "slice": (lambda x: tf.slice(x, [1, 0, 2], [-1, 3, 4]), (X,)),
    "concat": (lambda x, y: tf.concat([x, y], -1), (X, Y)),
    "stack": (lambda x, y: tf.stack([x, y], 1), (X, Y)),
    "unstack": (lambda x: tf.unstack(x, axis=1), (X,)),
    "split": (lambda x: tf.split(x, 3, 0), (X,)),
    "split sizes": (lambda x: tf.split(x, [1, -1, 2], 2), (X,)),
    "pad": (lambda x: tf.pad(x, [[1, 0], [0, 2], [3, 1]], constant_values=0.5), (X,)),
    "reflect": (lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 1]], "REFLECT"), (X,)),
    "tile": (lambda x: tf.tile(x, [2, 1, 3]), (X,)),
    "broadcast": (lambda x: tf.broadcast_to(x[:1], [4, 5, 7]), (X,)),
    "reverse": (lambda x: tf.reverse(x, [0, -1]), (X,)),
    "roll": (lambda x: tf.roll(x, [1, -2], [0, 2]), (X,)),
    "band part": (lambda x: tf.linalg.band_part(x, 1, 0), (X,)),
    "space to depth": (lambda x: tf.nn.space_to_depth(x[:, :8, :10], 2), (IMAGE,)),
    "depth to space": (lambda x: tf.nn.depth_to_space(x[..., :4], 2), (IMAGE,)),
    "space to batch": (
        lambda x: tf.space_to_batch(x, [2, 3], [[1, 0], [0, 1]]),
        (normal(2, 5, 5, 3),),
    ),
    "batch to space": (
        lambda x: tf.batch_to_space(x, [2, 2], [[0, 1], [1, 0]]),
        (normal(8, 3, 4, 2),),
    ),
    "zeros and ones": (lambda x: tf.zeros_like(x) + 2 * tf.ones_like(x), (X,)),
    "range": (lambda x: x + tf.range(0.0, 7.0), (X,)),
    "linspace": (lambda x: x + tf.linspace(0.0, 1.0, 7), (X,)),
    "gather": (lambda x: tf.gather(x, [[3, 0], [1, 1]], axis=1), (X,)),
    "gather batch": (lambda x: tf.gather(x, [[0, 1], [2, 3], [4, 0]], batch_dims=1, axis=1), (X,)),
    "gather nd": (lambda x: tf.gather_nd(x, [[0, 1], [2, 4]]), (X,)),
    "one hot": (lambda x: tf.one_hot(tf.cast(x[0, 0] * 3, tf.int32), 4, 2.0, -1.0), (X,)),
    "top k": (lambda x: tf.math.top_k(x, 3), (X,)),
    "scatter nd": (lambda x: tf.scatter_nd([[1], [4], [1]], x, [6, 5, 7]), (X,)),
    "tensor scatter": (lambda x: tf.tensor_scatter_nd_update(x, [[1]], x[:1]), (X,)),
    "segment sum": (lambda x: tf.math.unsorted_segment_sum(x, [1, 0, 1], 3), (X,)),
    "bilinear": (lambda x: tf.image.resize(x, [14, 5]), (IMAGE,)),
    "bilinear corners": (
        lambda x: tf.compat.v1.image.resize_bilinear(x, [14, 5], align_corners=True),
        (IMAGE,),
    ),
    "bilinear old": (lambda x: tf.compat.v1.image.resize_bilinear(x, [18, 22]), (IMAGE,)),
    "nearest": (lambda x: tf.image.resize(x, [14, 5], "nearest"), (IMAGE,)),
    "nearest old": (
        lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [14, 5]),
        (IMAGE,),
    ),
    "batch norm": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            x, STATISTICS[0], STATISTICS[1], STATISTICS[2], STATISTICS[3], is_training=False
        )[0],
        (IMAGE,),
    ),
    "while": (
        lambda x: tf.while_loop(lambda i, v: i < 4, lambda i, v: (i + 1, v * 1.5 + x), (0, x))[1],
        (X,),
    ),
    "cond": (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x + 1, lambda: x - 1), (X,)),
    "tensor array": (lambda x: tf.map_fn(lambda row: row * 2, x), (X,)),
}


@pytest.mark.parametrize("name", CASES)
def test_op(name: str) -> None:
    function, operands = CASES[name]
    check(function, *operands)


def test_bicubic() -> None:
    """TensorFlow reads its kernel from a table of 1024 places per element."""
    check(lambda x: tf.image.resize(x, [14, 5], "bicubic"), IMAGE, atol=5e-3)


WINDOWS = [
    (size, kernel, stride, dilation, padding)
    for size in (9, 10)
    for kernel, stride, dilation in ((1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 3, 1), (3, 1, 2))
    for padding in ("SAME", "VALID")
]


@pytest.mark.parametrize(("size", "kernel", "stride", "dilation", "padding"), WINDOWS)
def test_convolution(size: int, kernel: int, stride: int, dilation: int, padding: str) -> None:
    x, w = normal(2, size, size + 1, 4), normal(kernel, kernel, 4, 6)
    check(lambda x: tf.nn.conv2d(x, w, stride, padding, dilations=dilation), x)
    w = normal(kernel, kernel, 4, 2)
    if dilation == 1:
        check(lambda x: tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], padding), x)
    if dilation == 1:
        for pool in (tf.nn.max_pool2d, tf.nn.avg_pool2d):
            check(lambda x, pool=pool: pool(x, kernel, stride, padding), x)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 3), (4, 2)])
def test_transposed_convolution(kernel: int, stride: int, padding: str) -> None:
    x, w = normal(2, 5, 6, 4), normal(kernel, kernel, 3, 4)
    for extra in (0, stride - 1):
        size = [n * stride if padding == "SAME" else (n - 1) * stride + kernel for n in (5, 6)]
        if padding == "SAME":
            size = [n - extra for n in size]
        check(lambda x, s=size: tf.nn.conv2d_transpose(x, w, [2, *s, 3], stride, padding), x)


def test_explicit_padding_groups_and_three_dimensions() -> None:
    pads, plain, grouped = [[0, 0], [1, 2], [0, 3], [0, 0]], normal(3, 3, 6, 4), normal(3, 3, 2, 9)
    check(lambda x: tf.nn.conv2d(x, plain, 2, pads), IMAGE)
    check(lambda x: tf.nn.conv2d(x, grouped, 1, "SAME"), IMAGE)
    volume, deep, narrow = normal(1, 5, 6, 7, 3), normal(2, 3, 2, 3, 4), normal(3, 7, 4)
    check(lambda x: tf.nn.conv3d(x, deep, [1, 1, 2, 1, 1], "SAME"), volume)
    check(lambda x: tf.nn.max_pool3d(x, 2, 2, "VALID"), volume)
    check(lambda x: tf.nn.conv1d(x, narrow, 2, "SAME"), X)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.int64, np.float64, np.bool_])
def test_element_types(dtype: type) -> None:
    x = (X * 3).astype(dtype)
    check(lambda x: tf.concat([x, tf.reverse(x, [0])], 0), x)


def test_empty_and_scalar_tensors() -> None:
    check(lambda x: tf.nn.relu(x) + 1.0, normal(0, 3))
    check(lambda x: tf.exp(x) * 2.0, np.float32(0.5))
    check(lambda x: tf.concat([x, x], 0), normal(0, 3))


def check(function: Callable[..., Any], *operands: Any, atol: float = 1e-5) -> None:
    """The importer's module gives what TensorFlow gives, in shape, type and value."""
    specs = [spec_of(operand) for operand in operands]
    traced = trace_function(lambda flat: function(*flat), specs)
    module = import_graph(traced.model("case"), {})
    module.verify()
    feeds = dict(zip(traced.inputs, operands, strict=True))
    found = list(Executor(module).run({k: np.asarray(v) for k, v in feeds.items()}).values())
    expected = tf.nest.flatten(function(*map(tf.constant, operands)))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        theirs = theirs.numpy()
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=atol)
