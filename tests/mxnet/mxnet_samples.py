"""Symbols of MXNet's operators with inputs: each runs in MXNet and as `nn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.mxnet.compat import import_mxnet

Array = np.ndarray[Any, np.dtype[Any]]
mx = import_mxnet()
S = mx.sym
RANDOM = np.random.default_rng(0)
a, y = S.var("x"), S.var("y")
w, b, g, i = S.var("w"), S.var("b"), S.var("g"), S.var("i")


@dataclass(frozen=True)
class Sample:
    """A symbol and the values of its variables."""

    name: str
    symbol: Any
    arrays: dict[str, Array]


SAMPLES: list[Sample] = []


def add(name: str, symbol: Any, **arrays: Any) -> None:
    SAMPLES.append(Sample(name, symbol, {key: np.asarray(value) for key, value in arrays.items()}))


def r(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def p(*shape: int) -> Array:
    """Positive."""
    return (RANDOM.random(shape) + 0.1).astype(np.float32)


def f(values: Any) -> Array:
    return np.array(values, np.float32)


# -- Elementwise ------------------------------------------------------------------------------

UNARY = (
    "abs arctan ceil cos cosh erf exp floor negative relu rint sigmoid sign sin sinh square tan "
    "tanh softsign zeros_like ones_like logical_not identity BlockGrad Flatten"
)
POSITIVE = "arccos arcsin sqrt rsqrt log reciprocal"
for name in UNARY.split():
    add(name, getattr(S, name)(a), x=r(2, 3, 4))
add("rint of halves", S.rint(a), x=f([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.4, 8388609]))
for name in POSITIVE.split():
    add(name, getattr(S, name)(a), x=p(2, 3, 4) * f(0.8))
BINARY = (
    "add sub mul div mod power maximum minimum equal not_equal greater greater_equal lesser "
    "lesser_equal logical_and logical_or logical_xor"
)
for name in BINARY.split():
    left = p(2, 3, 1) if name == "power" else np.round(r(2, 3, 1) * 2)
    add(
        f"broadcast_{name}",
        getattr(S, f"broadcast_{name}")(a, y),
        x=left,
        y=np.round(r(1, 3, 4) * 2),
    )
SCALARS = {
    "plus": a + 2,
    "minus": a - 2,
    "rminus": 2 - a,
    "times": a * 3,
    "div": a / 3,
    "rdiv": 3 / a,
    "power": a**2,
    "rpower": 2**a,
    "mod": a % 2,
    "rmod": 3 % a,
    "equal": a == 1,
    "unequal": a != 1,
    "less": a < 1,
    "less_equal": a <= 1,
    "greater": a > 1,
    "greater_equal": a >= 1,
    "maximum": S.maximum(a, 0.5),
    "minimum": S.minimum(a, 0.5),
    "negative": -a,
}
for name, symbol in SCALARS.items():
    add(f"scalar {name}", symbol, x=p(3, 4) + f(0.5))
add("integers", S.var("x", dtype="int32") + 2, x=np.arange(6, dtype=np.int32))
for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
    add(f"Activation {kind}", S.Activation(a, act_type=kind), x=r(3, 4))
for kind in ("leaky", "elu", "selu", "gelu"):
    add(f"LeakyReLU {kind}", S.LeakyReLU(a, act_type=kind, slope=0.3), x=r(3, 4))
add("LeakyReLU prelu", S.LeakyReLU(a, g, act_type="prelu"), x=r(2, 3, 4, 5), g=p(3))
add("hard_sigmoid", S.hard_sigmoid(a), x=r(2, 9) * 3)
add("clip", S.clip(a, -0.5, 0.7), x=r(2, 9))
add("Cast", S.Cast(a, dtype="int32"), x=r(2, 9) * 3)
add("where", S.where(S.var("c"), a, y), c=np.round(r(2, 3)), x=r(2, 3), y=r(2, 3))
add("where of rows", S.where(S.var("c"), a, y), c=f([1, 0]), x=r(2, 3), y=r(2, 3))
add("add_n", S.add_n(a, y, a), x=r(2, 3), y=r(2, 3))
add("div_sqrt_dim", S.contrib.div_sqrt_dim(a), x=r(2, 3))

# -- Contractions -----------------------------------------------------------------------------

add(
    "Convolution in groups",
    S.Convolution(
        *(a, w, b),
        kernel=(3, 3),
        stride=(2, 1),
        pad=(1, 2),
        dilate=(1, 2),
        num_filter=6,
        num_group=3,
    ),
    x=r(2, 3, 9, 11),
    w=r(6, 1, 3, 3),
    b=r(6),
)
add(
    "Convolution 1-D",
    S.Convolution(a, w, kernel=(3,), num_filter=6, no_bias=True),
    x=r(2, 3, 9),
    w=r(6, 3, 3),
)
add(
    "Convolution 3-D",
    S.Convolution(a, w, kernel=(3, 2, 1), num_filter=6, no_bias=True),
    x=r(2, 3, 9, 5, 4),
    w=r(6, 3, 3, 2, 1),
)
add(
    "Deconvolution",
    S.Deconvolution(
        *(a, w, b),
        kernel=(3, 3),
        stride=(2, 2),
        pad=(1, 1),
        adj=(1, 0),
        num_filter=4,
        no_bias=False,
    ),
    x=r(2, 3, 5, 6),
    w=r(3, 4, 3, 3),
    b=r(4),
)
add("FullyConnected", S.FullyConnected(a, w, b, num_hidden=7), x=r(2, 3, 4), w=r(7, 12), b=r(7))
add(
    "FullyConnected of rows",
    S.FullyConnected(a, w, num_hidden=7, flatten=False, no_bias=True),
    x=r(2, 3, 4),
    w=r(7, 4),
)
add("dot", S.dot(a, y), x=r(2, 3, 4), y=r(4, 5))
add("dot transposed", S.dot(a, y, transpose_a=True, transpose_b=True), x=r(4, 3), y=r(5, 4))
add("batch_dot left", S.batch_dot(a, y, transpose_a=True), x=r(2, 4, 3), y=r(2, 4, 5))
add("batch_dot right", S.batch_dot(a, y, transpose_b=True), x=r(2, 4, 3), y=r(2, 5, 3))
SELF, ENCDEC = "interleaved_matmul_selfatt", "interleaved_matmul_encdec"
mix = getattr(S.contrib, f"{SELF}_valatt")
add(f"{SELF}_qk", getattr(S.contrib, f"{SELF}_qk")(a, heads=2), x=r(5, 3, 24))
add(
    f"{SELF}_valatt",
    getattr(S.contrib, f"{SELF}_valatt")(a, y, heads=2),
    x=r(5, 3, 24),
    y=r(6, 5, 5),
)
add(f"{ENCDEC}_qk", getattr(S.contrib, f"{ENCDEC}_qk")(a, y, heads=2), x=r(5, 3, 8), y=r(7, 3, 16))
add(
    f"{ENCDEC}_valatt",
    getattr(S.contrib, f"{ENCDEC}_valatt")(a, y, heads=2),
    x=r(7, 3, 16),
    y=r(6, 5, 7),
)

# -- Pools ------------------------------------------------------------------------------------

for kind in ("max", "avg", "sum", "lp"):
    for convention in ("valid", "full"):
        for counts in (True, False):
            add(
                f"Pooling {kind} {convention} {counts}",
                S.Pooling(
                    a,
                    kernel=(3, 3),
                    stride=(2, 2),
                    pad=(1, 1),
                    pool_type=kind,
                    pooling_convention=convention,
                    count_include_pad=counts,
                    p_value=2,
                ),
                x=r(2, 3, 10, 13),
            )
    add(
        f"Pooling {kind} of all",
        S.Pooling(a, global_pool=True, pool_type=kind, kernel=(1, 1), p_value=2),
        x=r(2, 3, 5, 6),
    )
for kind in ("max", "avg", "sum"):
    for convention in ("valid", "full"):
        add(
            f"Pooling_v1 {kind} {convention}",
            S.Pooling_v1(
                *(a,), kernel=(3, 2), stride=(2, 3), pad=(1, 1),
                pool_type=kind, pooling_convention=convention,
            ),
            x=r(2, 3, 8, 9) - 1,
        )  # fmt: skip
for kind in ("max", "avg"):
    add(
        f"Pooling {kind} of empty windows",
        S.Pooling(a, kernel=(1, 2), stride=(3, 3), pool_type=kind, pooling_convention="full"),
        x=r(2, 3, 6, 4),
    )
add(
    "Pooling lp of first powers",
    S.Pooling(a, kernel=(2, 2), pool_type="lp", p_value=1),
    x=r(2, 3, 6, 4),
)
for mode in ("concat", "sum"):
    add(
        f"UpSampling of two, {mode}",
        S.UpSampling(a, y, scale=2, sample_type="nearest", num_args=2, multi_input_mode=mode),
        x=r(1, 2, 4, 3),
        y=r(1, 2, 8, 6),
    )
add("UpSampling nearest", S.UpSampling(a, scale=3, sample_type="nearest"), x=r(2, 3, 4, 5))
add(
    "UpSampling bilinear",
    S.UpSampling(a, w, scale=2, sample_type="bilinear", num_filter=3, num_args=2),
    x=r(2, 3, 4, 5),
    w=p(3, 1, 4, 4),
)

# -- Normalizations ---------------------------------------------------------------------------

m, v = S.var("m"), S.var("v")
add(
    "BatchNorm",
    S.BatchNorm(a, g, b, m, v, fix_gamma=False),
    **{"x": r(2, 3, 4, 5), "g": p(3), "b": r(3), "m": r(3), "v": p(3)},
)
add(
    "BatchNorm of the last axis, gamma fixed",
    S.BatchNorm(a, g, b, m, v, axis=3, eps=1e-5),
    **{"x": r(2, 3, 4, 5), "g": p(5), "b": r(5), "m": r(5), "v": p(5)},
)
add("LayerNorm", S.LayerNorm(a, g, b), x=r(2, 3, 5), g=p(5), b=r(5))
add("LayerNorm of channels", S.LayerNorm(a, g, b, axis=1), x=r(2, 3, 5), g=p(3), b=r(3))
add("InstanceNorm", S.InstanceNorm(a, g, b), x=r(2, 3, 4, 5), g=p(3), b=r(3))
add("GroupNorm", S.GroupNorm(a, g, b, num_groups=2), x=r(2, 4, 3, 3), g=p(2), b=r(2))
add("LRN", S.LRN(a, nsize=3), x=r(2, 5, 3, 3))
for mode in ("instance", "channel", "spatial"):
    add(f"L2Normalization {mode}", S.L2Normalization(a, mode=mode), x=r(2, 3, 4, 5))
add("softmax", S.softmax(a, axis=1, temperature=2.0), x=r(2, 3, 4))
lengths = np.array([[4, 1, 0], [2, 3, 4]], np.int32)
add(
    "softmax of lengths",
    S.softmax(a, S.var("lengths", dtype="int32"), use_length=True),
    x=r(2, 3, 4),
    lengths=lengths,
)
add("log_softmax", S.log_softmax(a), x=r(2, 3, 4))
add("softmin", S.softmin(a), x=r(2, 3, 4))
add("SoftmaxActivation", S.SoftmaxActivation(a), x=r(3, 4))
add("SoftmaxActivation channel", S.SoftmaxActivation(a, mode="channel"), x=r(2, 3, 4, 5))
add("SoftmaxOutput", S.SoftmaxOutput(a, S.var("l")), x=r(3, 4), l=f([0, 0, 0]))
add(
    "SoftmaxOutput multi",
    S.SoftmaxOutput(a, S.var("l"), multi_output=True),
    x=r(3, 4, 5),
    l=np.zeros((3, 5), np.float32),
)
add(
    "SequenceMask",
    S.SequenceMask(a, S.var("l"), use_sequence_length=True, value=-1),
    x=r(5, 3, 2),
    l=f([1, 5, 3]),
)
add(
    "SequenceMask batch first",
    S.SequenceMask(a, S.var("l"), use_sequence_length=True, axis=1),
    x=r(3, 5, 2),
    l=f([1, 5, 3]),
)

# -- Reductions -------------------------------------------------------------------------------

for name in ("sum", "mean", "max", "min", "prod"):
    op = getattr(S, name)
    add(name, op(a), x=r(2, 3, 4))
    add(f"{name} of axes", op(a, axis=(1, 2)), x=r(2, 3, 4))
    add(f"{name} kept", op(a, axis=-1, keepdims=True), x=r(2, 3, 4))
    add(f"{name} of others", op(a, axis=1, exclude=True), x=r(2, 3, 4))
add("norm", S.norm(a), x=r(2, 3, 4))
add("norm 1", S.norm(a, ord=1, axis=1), x=r(2, 3, 4))
add("argmax", S.argmax(a, axis=1), x=r(2, 3, 4))
add("argmin", S.argmin(a, axis=1, keepdims=True), x=r(2, 3, 4))
add("argmax of all", S.argmax(a), x=r(2, 3, 4))

# -- Shapes -----------------------------------------------------------------------------------

for shape in (
    (0, -1),
    (-2,),
    (0, -3, 0),
    (-4, 1, -1, -2),
    (0, -4, -1, 3, -2),
    (-3, -3),
    (6, -1),
    (-1, 0),
):
    add(f"Reshape {shape}", S.Reshape(a, shape=shape), x=r(2, 3, 4, 5))
add("Reshape reversed", S.Reshape(a, shape=(-1, 0), reverse=True), x=r(2, 3, 4, 5))
add("expand_dims", S.expand_dims(a, axis=-2), x=r(2, 3))
add("squeeze", S.squeeze(a), x=r(1, 3, 1))
add("squeeze one", S.squeeze(a, axis=2), x=r(1, 3, 1))
add("transpose", S.transpose(a), x=r(2, 3, 4))
add("transpose axes", S.transpose(a, axes=(0, 2, 1, 3)), x=r(2, 3, 4, 5))
add("SwapAxis", S.SwapAxis(a, dim1=1, dim2=3), x=r(2, 3, 4, 5))
add("depth_to_space", S.depth_to_space(a, 2), x=r(2, 8, 3, 4))
add("space_to_depth", S.space_to_depth(a, 2), x=r(2, 3, 4, 6))
add("reshape_like", S.reshape_like(a, y), x=r(2, 6), y=r(3, 4))
add("slice", S.slice(a, begin=(0, None, 1), end=(2, 2, None), step=(1, 1, 2)), x=r(2, 3, 4, 5))
add("slice back", S.slice(a, begin=(None, 2), end=(None, None), step=(None, -1)), x=r(2, 3, 4))
add("slice_axis", S.slice_axis(a, axis=-1, begin=1, end=None), x=r(2, 3))
add("slice_axis negative", S.slice_axis(a, axis=1, begin=-2, end=-1), x=r(2, 3))
add("slice_like", S.slice_like(a, y, axes=(2, 3)), x=r(2, 3, 4, 5), y=r(1, 1, 2, 3))
add("reverse", S.reverse(a, axis=(1, 2)), x=r(2, 3, 4))
add("split", S.split(a, num_outputs=2, axis=2), x=r(2, 3, 4))
add("SliceChannel", S.SliceChannel(a, num_outputs=3, squeeze_axis=True), x=r(2, 3, 4))
add("concat", S.concat(a, y, dim=2), x=r(2, 3, 4), y=r(2, 3, 1))
add("stack", S.stack(a, y, axis=1), x=r(2, 3), y=r(2, 3))
add("tile", S.tile(a, reps=(2, 1, 3)), x=r(2, 3))
add("tile one", S.tile(a, reps=(2,)), x=r(2, 3))
add("repeat", S.repeat(a, repeats=2, axis=1), x=r(2, 3, 4))
add("repeat flat", S.repeat(a, repeats=2), x=r(2, 3))
add("broadcast_axis", S.broadcast_axis(a, axis=(0, 2), size=(2, 3)), x=r(1, 4, 1))
add("broadcast_to", S.broadcast_to(a, shape=(2, 0, 3)), x=r(1, 4, 1))
add("broadcast_like", S.broadcast_like(a, y), x=r(1, 4), y=r(3, 4))
for mode in ("constant", "edge", "reflect"):
    add(
        f"Pad {mode}",
        S.Pad(a, mode=mode, pad_width=(0, 0, 0, 0, 1, 2, 2, 1), constant_value=1.5),
        x=r(2, 3, 4, 5),
    )
add("arange_like", S.contrib.arange_like(a, axis=1), x=r(3, 7))
add("arange_like all", S.contrib.arange_like(a, start=1, step=2), x=r(3, 7))
add("constants", a + S.zeros((2, 3)) + S.ones((2, 3)) * S.full((2, 3), 4.5), x=r(2, 3))
add("arange", a + S.arange(2, 20, 3, repeat=2), x=r(12))

# -- Indices ----------------------------------------------------------------------------------

add("take", S.take(a, i), x=r(5, 3), i=f([[0, 4, 9], [-1, 2, 1]]))
add("take wrapped", S.take(a, i, axis=1, mode="wrap"), x=r(5, 3), i=f([0, 4, -1]))
add("Embedding", S.Embedding(i, w, input_dim=10, output_dim=4), i=f([[1, 9], [3, 0]]), w=r(10, 4))
add("pick", S.pick(a, i, axis=1), x=r(3, 4), i=f([0, 3, 1]))
add("gather_nd", S.gather_nd(a, i), x=r(3, 4, 2), i=f([[0, 2, 1], [1, 3, 0]]))
add("one_hot of negatives", S.one_hot(i, depth=3, off_value=-1), i=f([-1, 0, 3, -4]))
add("one_hot", S.one_hot(i, depth=5), i=f([0, 4, 2]))
for kind in ("value", "indices", "both"):
    add(f"topk {kind}", S.topk(a, k=3, ret_typ=kind), x=r(4, 9))
add("topk ascending", S.topk(a, k=2, axis=0, is_ascend=True, ret_typ="both"), x=r(4, 9))
add("sort", S.sort(a, is_ascend=False), x=r(4, 9))
add("argsort", S.argsort(a), x=r(4, 9))

# -- Recurrent layers -------------------------------------------------------------------------

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
for mode, gates in (("rnn_relu", 1), ("rnn_tanh", 1), ("lstm", 4), ("gru", 3)):
    for layers, directions in ((1, 1), (2, 2)):
        widths = [INPUTS, *[HIDDEN * directions] * (layers - 1)]
        count = sum(directions * gates * HIDDEN * (width + HIDDEN + 2) for width in widths)
        names = {"state": "h"} | ({"state_cell": "c"} if mode == "lstm" else {})
        states = {name: S.var(variable) for name, variable in names.items()}
        add(
            f"RNN {mode} of {layers} layers",
            S.RNN(
                *(a, w),
                state_size=HIDDEN,
                num_layers=layers,
                bidirectional=directions == 2,
                mode=mode,
                state_outputs=True,
                name="layer",
                **states,
            ),
            x=r(STEPS, BATCH, INPUTS),
            w=r(count) * f(0.3),
            **{variable: r(layers * directions, BATCH, HIDDEN) for variable in names.values()},
        )
