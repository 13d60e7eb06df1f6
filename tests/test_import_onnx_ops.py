"""Ops of ONNX that become one op of `nn`, or the definition that ONNX gives of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto
from onnx_models import POSITIVE, Array, X, check, imported, model, node, ops_of

from ranvier.backend.reference import Executor

ROW, MATRIX = X[0, 0, 0], X[0, 0]
ODD = np.array([0, 1, np.nan, np.inf, -np.inf], np.float32)
PLACES = np.array([[0, 3, 1, 2, 0, 1]])
COUNTS = np.arange(24, dtype=np.int64).reshape(4, 6) - 7
STEPS = X[0, :, :, :3]  # 4 steps, batch 6, 3 inputs
GATES = np.linspace(-1, 1, 4 * 5 * 5, dtype=np.float32).reshape(1, 20, 5)


def layer(gates: int, directions: int = 1) -> dict[str, Array]:
    """Weights of a recurrent layer of 3 inputs and a state of 5."""
    rows = GATES[:, : 5 * gates].repeat(directions, 0)
    bias = np.concatenate([rows[..., 0], rows[..., 1]], 1)
    return {"w": rows[..., :3], "r": rows, "b": bias, "h": X[:directions, 0, :, :5]}


# Name of the one op that computes: node, its inputs, constants, opset
ONE_OP: dict[str, list[tuple[NodeProto, dict[str, Array], dict[str, Any], int]]] = {
    "nn.sign": [(node("Sign", "x"), {"x": X}, {}, 17)],
    "nn.round": [(node("Round", "x"), {"x": X * 4}, {}, 17)],
    "nn.tan": [(node("Tan", "x"), {"x": X}, {}, 17)],
    "nn.asin": [(node("Asin", "x"), {"x": np.tanh(X)}, {}, 17)],
    "nn.acosh": [(node("Acosh", "x"), {"x": POSITIVE + 1}, {}, 17)],
    "nn.is_nan": [(node("IsNaN", "x"), {"x": ODD}, {}, 17)],
    "nn.is_inf": [(node("IsInf", "x", detect_negative=0), {"x": ODD}, {}, 17)],
    "nn.prelu": [
        (node("PRelu", "x s"), {"x": X}, {"s": POSITIVE[0]}, 17),
        (node("PRelu", "x s"), {"x": X}, {"s": X[0, :, 0, :1, None]}, 17),
    ],
    "nn.mod": [(node("Mod", "x d"), {"x": COUNTS, "d": COUNTS + 30}, {}, 17)],
    "nn.fmod": [(node("Mod", "x d", fmod=1), {"x": X, "d": POSITIVE}, {}, 17)],
    "nn.xor": [(node("Xor", "x d"), {"x": X > 0, "d": X > 1}, {}, 17)],
    "nn.reduce_prod": [(node("ReduceProd", "x", axes=[1]), {"x": X}, {}, 17)],
    "nn.reduce_l1": [(node("ReduceL1", "x", axes=[-1], keepdims=0), {"x": X}, {}, 17)],
    "nn.reduce_l2": [(node("ReduceL2", "x a"), {"x": X}, {"a": np.array([1, 2])}, 18)],
    "nn.reduce_sum_square": [(node("ReduceSumSquare", "x"), {"x": X}, {}, 18)],
    "nn.reduce_log_sum_exp": [(node("ReduceLogSumExp", "x"), {"x": X}, {}, 18)],
    "nn.gather": [
        (node("Compress", "x c", axis=-1), {"x": MATRIX}, {"c": np.array([True, False, True])}, 17),
    ],
    "nn.tensor_scatter": [
        (node("TensorScatter", "x u", axis=-1), {"x": MATRIX, "u": MATRIX[:, :2]}, {}, 24),
        (
            node("TensorScatter", "x u s", mode="circular"),
            {"x": X, "u": X[:, :, :3], "s": np.array([5, -2])},
            {},
            24,
        ),
    ],
    "nn.arg_max": [(node("ArgMax", "x", axis=-1, keepdims=0), {"x": X}, {}, 17)],
    "nn.arg_min": [(node("ArgMin", "x", axis=1, select_last_index=1), {"x": X // 1}, {}, 17)],
    "nn.cum_sum": [
        (node("CumSum", "x a", exclusive=1, reverse=1), {"x": X}, {"a": np.array(-2)}, 17)
    ],
    "nn.log_softmax": [(node("LogSoftmax", "x", axis=1), {"x": X}, {}, 17)],
    "nn.layer_norm": [
        (node("LayerNormalization", "x s b", axis=-2), {"x": X}, {"s": MATRIX, "b": MATRIX}, 17),
        (node("LayerNormalization", "x s"), {"x": X}, {"s": ROW}, 17),
    ],
    "nn.rms_norm": [(node("RMSNormalization", "x s"), {"x": X}, {"s": ROW}, 23)],
    "nn.group_norm": [
        (node("InstanceNormalization", "x s b"), {"x": X}, {"s": ROW[:4], "b": ROW[:4]}, 17),
        (
            node("GroupNormalization", "x s b", num_groups=2),
            {"x": X},
            {"s": ROW[:4], "b": ROW[:4]},
            21,
        ),
        *(
            (
                node("BatchNormalization", "x s b s s", training_mode=1),
                {"x": x},
                {"s": POSITIVE[0, 0, 0, :4], "b": ROW[:4]},
                15,
            )
            for x in (X, X[:1])
        ),
    ],
    "nn.lrn": [(node("LRN", "x", size=3, alpha=0.2), {"x": X[:, 1:3]}, {}, 17)],
    "nn.lp_normalize": [(node("LpNormalization", "x", axis=1, p=1), {"x": POSITIVE}, {}, 17)],
    "nn.conv_transpose": [
        (
            node("ConvTranspose", "x w b", strides=[2, 3], output_padding=[1, 0]),
            {"x": X},
            {"w": X[0, :, :3, None, :3].repeat(2, 2), "b": ROW[:3]},
            17,
        ),
        (
            node("ConvTranspose", "x w", pads=[1, 0, 0, 1], dilations=[2, 1]),
            {"x": X},
            {"w": X[0][:, :2, :, None]},
            17,
        ),
        (
            node("ConvTranspose", "x w", auto_pad="SAME_UPPER", strides=[2, 2]),
            {"x": X},
            {"w": X[0][:, :, :3, None].repeat(3, 3)},
            17,
        ),
    ],
    "nn.matmul": [
        (node("Einsum", "x d", equation="bhqd,bhkd->bhqk"), {"x": X, "d": POSITIVE}, {}, 17),
        (node("Einsum", "x d", equation="nchw,oc->nohw"), {"x": X, "d": MATRIX[:3, :4]}, {}, 17),
        (node("Einsum", "x d", equation="...ij,jk"), {"x": X, "d": MATRIX}, {}, 17),
    ],
    "nn.einsum": [
        (node("Einsum", "x d", equation="ii,ij->j"), {"x": MATRIX, "d": MATRIX}, {}, 17),
        (node("Einsum", "x", equation="ab i i -> i"), {"x": X}, {}, 17),
        (node("Einsum", "x", equation="...i->i..."), {"x": X}, {}, 17),
        (node("Einsum", "x d", equation="...ij,...jk"), {"x": X, "d": POSITIVE[:1, 1:2]}, {}, 17),
        (
            node("Einsum", "x d r", equation="bcij,bcij,j->bc"),
            {"x": X, "d": POSITIVE, "r": ROW},
            {},
            17,
        ),
    ],
    "nn.lp_pool": [(node("LpPool", "x", kernel_shape=[2, 2], p=3), {"x": X}, {}, 18)],
    "nn.trilu": [(node("Trilu", "x k", upper=0), {"x": X}, {"k": np.array(1)}, 17)],
    "nn.gather_elements": [
        (node("GatherElements", "x i", axis=-2), {"x": MATRIX, "i": PLACES}, {}, 17)
    ],
    "nn.gather_nd": [
        (node("GatherND", "x i"), {"x": X, "i": np.array([[1, 3], [0, -1]])}, {}, 17),
        (node("GatherND", "x i", batch_dims=1), {"x": X, "i": np.array([[1], [3]])}, {}, 17),
    ],
    "nn.scatter_elements": [
        (
            node("ScatterElements", "x i u", axis=0, reduction="add"),
            {"x": MATRIX, "i": PLACES, "u": POSITIVE[0, 0, :1]},
            {},
            18,
        )
    ],
    "nn.scatter_nd": [
        (
            node("ScatterND", "x i u"),
            {"x": X, "i": np.array([[1, 0]]), "u": POSITIVE[0, :1]},
            {},
            17,
        )
    ],
    "nn.top_k": [
        (node("TopK", "x k", "y places", axis=1), {"x": X}, {"k": np.array([2])}, 17),
        (node("TopK", "x k", "y places", largest=0), {"x": X}, {"k": np.array([6])}, 17),
    ],
    "nn.resize": [
        (
            node("Resize", "x _ s", mode="cubic", coordinate_transformation_mode=mode),
            {"x": X},
            {"s": np.array([1, 1, 1.5, 2], np.float32)},
            18,
        )
        for mode in ("half_pixel", "align_corners", "asymmetric")
    ]
    + [
        (
            node("Resize", "x _ _ n", mode="linear", antialias=1),
            {"x": X},
            {"n": np.array([2, 4, 4, 3])},
            18,
        ),
        (
            node("Resize", "x _ _ n", nearest_mode="ceil", axes=[3]),
            {"x": X},
            {"n": np.array([8])},
            18,
        ),
    ],
    "nn.grid_sample": [
        (
            node("GridSample", "x g", padding_mode=padding, align_corners=1),
            {"x": X, "g": X[:, :3, :4, :2]},
            {},
            20,
        )
        for padding in ("zeros", "border", "reflection")
    ],
    "nn.lstm": [
        (
            node("LSTM", "x w r b _ h c", "y", hidden_size=5),
            {"x": STEPS},
            layer(4) | {"c": X[:1, 1, :, :5]},
            17,
        ),
        (
            node("LSTM", "x w r", "_ y", hidden_size=5, direction="bidirectional"),
            {"x": STEPS},
            layer(4, 2),
            17,
        ),
    ],
    "nn.gru": [
        (
            node("GRU", "x w r b", "y", hidden_size=5, linear_before_reset=flag),
            {"x": STEPS},
            layer(3),
            17,
        )
        for flag in (0, 1)
    ],
    "nn.rnn": [(node("RNN", "x w r", "y last", hidden_size=5), {"x": STEPS}, layer(1), 17)],
}
CASES = [
    pytest.param(name, *form, id=f"{name}-{number}")
    for name, forms in ONE_OP.items()
    for number, form in enumerate(forms)
]
MOVEMENT = ("nn.constant", "nn.load_weight", "nn.reshape", "nn.transpose", "nn.broadcast")


@pytest.mark.parametrize(("name", "proto", "inputs", "constants", "opset"), CASES)
def test_a_node_becomes_one_op_that_computes(
    name: str,
    proto: NodeProto,
    inputs: dict[str, Array],
    constants: dict[str, Any],
    opset: int,
    tmp_path: Path,
) -> None:
    used = {key: value for key, value in constants.items() if key in proto.input}
    outputs = [output for output in proto.output if output]
    graph = model([proto], inputs, constants=used, opset=opset, outputs=outputs)
    ops = check(graph, inputs, tmp_path)
    assert [op for op in ops if op not in MOVEMENT] == [name]


DEFINED: dict[str, tuple[NodeProto, int]] = {
    "nn.softmax": (node("Attention", "x x x", q_num_heads=2, kv_num_heads=2), 23),
    "nn.softplus": (node("Mish", "x"), 18),
    "nn.exp": (node("Selu", "x"), 22),
    "nn.less": (node("Shrink", "x", lambd=0.4, bias=0.1), 17),
}


@pytest.mark.parametrize("name", DEFINED)
def test_what_nn_lacks_is_imported_by_its_definition(name: str, tmp_path: Path) -> None:
    proto, opset = DEFINED[name]
    rows = X[:, 0]
    ops = check(model([proto], {"x": rows}, opset=opset), {"x": rows}, tmp_path)
    assert name in ops
    assert "nn.opaque" not in ops


def test_a_definition_that_is_not_all_nn_leaves_no_trace(tmp_path: Path) -> None:
    proto = node("Bernoulli", "x", seed=1.0)
    assert ops_of(imported(model([proto], {"x": X}), tmp_path)) == ["nn.opaque"]


def test_batch_norm_in_training_mode_gives_running_statistics(tmp_path: Path) -> None:
    proto = node("BatchNormalization", "x s b m v", "y mean var", training_mode=1, momentum=0.7)
    names = dict(zip("sbmv", (POSITIVE[0, 0, 0, :4], *X[0, :3, 0, :4]), strict=True))
    outputs = ["y", "mean", "var"]
    graph = model([proto], {"x": X}, constants=names, opset=15, outputs=outputs)
    assert "nn.opaque" not in check(graph, {"x": X}, tmp_path)


def test_operands_of_old_opsets_broadcast_by_attribute(tmp_path: Path) -> None:
    proto = node("Add", "x b", broadcast=1, axis=1)
    graph = model([proto], {"x": X}, opset=6, constants={"b": ROW[:4]})
    results = Executor(imported(graph, tmp_path)).run({"x": X})
    np.testing.assert_allclose(results["y"], X + ROW[:4, None, None], rtol=1e-6)


@pytest.mark.parametrize(
    "indices",
    [np.arange(4 * 150).reshape(4, 150) * 2, np.zeros((4, 100), np.int64) + 7],
    ids=["strided", "repeated"],
)
def test_evenly_spaced_indices_are_slices(indices: Array, tmp_path: Path) -> None:
    table = np.arange(2 * 1300 * 3, dtype=np.float32).reshape(2, 1300, 3)
    graph = model([node("Gather", "x i", axis=1)], {"x": table}, constants={"i": indices})
    ops = check(graph, {"x": table}, tmp_path)
    assert "nn.gather" not in ops
    assert "nn.slice" in ops
