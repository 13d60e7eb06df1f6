"""ONNX models import into `nn` with their meaning, names and places."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper
from onnx_models import (
    POSITIVE,
    X,
    check,
    externalise,
    imported,
    model,
    node,
    symbolic,
)
from xdsl.context import Context
from xdsl.dialects.builtin import (
    Builtin,
    DenseArrayBase,
    FileLineColLoc,
    IntAttr,
    NameLoc,
    StringAttr,
    i64,
)
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.printer import Printer

from ranvier.backend.reference import Executor
from ranvier.dialects import nn

ONE_TO_ONE = {
    "nn.abs": node("Abs", "x"),
    "nn.ceil": node("Ceil", "x"),
    "nn.cos": node("Cos", "x"),
    "nn.elu": node("Elu", "x", alpha=0.7),
    "nn.erf": node("Erf", "x"),
    "nn.exp": node("Exp", "x"),
    "nn.floor": node("Floor", "x"),
    "nn.hard_sigmoid": node("HardSigmoid", "x", alpha=0.3),
    "nn.hard_swish": node("HardSwish", "x"),
    "nn.leaky_relu": node("LeakyRelu", "x"),
    "nn.log": node("Log", "p"),
    "nn.neg": node("Neg", "x"),
    "nn.reciprocal": node("Reciprocal", "p"),
    "nn.relu": node("Relu", "x"),
    "nn.sigmoid": node("Sigmoid", "x"),
    "nn.sin": node("Sin", "x"),
    "nn.softplus": node("Softplus", "x"),
    "nn.sqrt": node("Sqrt", "p"),
    "nn.tanh": node("Tanh", "x"),
    "nn.add": node("Sum", "x p"),
    "nn.sub": node("Sub", "x p"),
    "nn.mul": node("Mul", "x p"),
    "nn.div": node("Div", "x p"),
    "nn.pow": node("Pow", "p x"),
    "nn.max": node("Max", "x p"),
    "nn.min": node("Min", "x p"),
    "nn.greater": node("Greater", "x p"),
    "nn.greater_equal": node("GreaterOrEqual", "x p"),
    "nn.less": node("Less", "x p"),
    "nn.less_equal": node("LessOrEqual", "x p"),
    "nn.equal": node("Equal", "x x"),
    "nn.cast": node("Cast", "x", to=TensorProto.INT32),
    "nn.reduce_sum": node("ReduceSum", "x"),
    "nn.reduce_mean": node("ReduceMean", "x", axes=[-1], keepdims=0),
    "nn.reduce_max": node("GlobalMaxPool", "x"),
    "nn.reduce_min": node("ReduceMin", "x", axes=[1]),
    "nn.softmax": node("Softmax", "x"),
    "nn.matmul": node("MatMul", "x p"),
    "nn.max_pool": node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "nn.avg_pool": node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 0, 1]),
    "nn.transpose": node("Transpose", "x"),
    "nn.reshape": node("Flatten", "x", axis=-2),
    "nn.concat": node("Concat", "x p", axis=-1),
}


@pytest.mark.parametrize("name", ONE_TO_ONE)
def test_a_node_becomes_one_op(name: str, tmp_path: Path) -> None:
    used = {key: {"x": X, "p": POSITIVE}[key] for key in dict.fromkeys(ONE_TO_ONE[name].input)}
    assert check(model([ONE_TO_ONE[name]], used), used, tmp_path) == [name]


INT_MAX = np.iinfo(np.int64).max

# Node, constants, opset
FORMS: dict[str, tuple[NodeProto, dict[str, Any], int]] = {
    "clip-6": (node("Clip", "x", min=-0.5), {}, 10),
    "clip-11": (node("Clip", "x _ high"), {"high": np.float32(0.25)}, 17),
    "squeeze-11": (node("Squeeze", "x"), {}, 11),
    "unsqueeze-11": (node("Unsqueeze", "x", axes=[0, -1]), {}, 11),
    "unsqueeze-13": (node("Unsqueeze", "x a"), {"a": np.array([0, -1])}, 13),
    "reduce-sum-11": (node("ReduceSum", "x", axes=[1, -1], keepdims=0), {}, 11),
    "reduce-sum-13": (node("ReduceSum", "x a"), {"a": np.array([-2])}, 13),
    "reduce-mean-18": (node("ReduceMean", "x a"), {"a": np.array([0, 3])}, 18),
    "reduce-noop": (
        node("ReduceSum", "x a", noop_with_empty_axes=1),
        {"a": np.array([], np.int64)},
        13,
    ),
    "pad-2": (node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=2.0), {}, 10),
    "pad-reflect": (
        node("Pad", "x p", mode="reflect"),
        {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4])},
        13,
    ),
    "pad-axes": (
        node("Pad", "x p v a"),
        {"p": np.array([1, 2]), "v": np.float32(5), "a": np.array([-1])},
        18,
    ),
    "slice-9": (node("Slice", "x", starts=[1, -3], ends=[1000, -1], axes=[1, 2]), {}, 9),
    "slice-backwards": (
        node("Slice", "x s e a t"),
        {
            "s": np.array([INT_MAX, 5]),
            "e": np.array([-INT_MAX, 0]),
            "a": np.array([-1, 2]),
            "t": np.array([-2, -1]),
        },
        13,
    ),
    "slice-empty": (node("Slice", "x s e"), {"s": np.array([5]), "e": np.array([2])}, 13),
    "reshape": (node("Reshape", "x s"), {"s": np.array([0, -1, 9])}, 13),
    "expand": (node("Expand", "x s"), {"s": np.array([3, 1, 1, 1, 6])}, 13),
    "tile": (node("Tile", "x r"), {"r": np.array([1, 2, 1, 3])}, 13),
    "gather": (node("Gather", "x i", axis=-1), {"i": np.array([[0, -1], [2, 3]])}, 13),
    "depth-to-space": (node("DepthToSpace", "x", blocksize=2, mode="CRD"), {}, 13),
    "softmax-13": (node("Softmax", "x", axis=1), {}, 13),
    "conv-same": (
        node("Conv", "x w b", auto_pad="SAME_UPPER", strides=[2, 2], group=2),
        {"w": X[:, :2, :3, :3], "b": X[0, 0, 0, :2]},
        17,
    ),
    "conv-lower": (
        node("Conv", "x w", auto_pad="SAME_LOWER", dilations=[2, 1]),
        {"w": X[:, :, :2, :2]},
        17,
    ),
    "gelu": (node("Gelu", "x", approximate="tanh"), {}, 20),
    "cast-like": (node("CastLike", "x i"), {"i": np.array([1], np.int64)}, 19),
    "where": (node("Where", "c x v"), {"c": X[0, 0] > 0, "v": np.float32(0)}, 17),
    "pool-ceil-padding": (
        node(
            "AveragePool",
            "x",
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 0, 1, 0],
            ceil_mode=1,
            count_include_pad=1,
        ),
        {},
        19,
    ),
    "batch-norm": (
        node("BatchNormalization", "x s b m v", epsilon=1e-3),
        {key: POSITIVE[0, :, 0, i] for i, key in enumerate("sbmv")},
        15,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_an_op_keeps_its_meaning(name: str, tmp_path: Path) -> None:
    proto, constants, opset = FORMS[name]
    ops = check(model([proto], {"x": X}, opset=opset, constants=constants), {"x": X}, tmp_path)
    assert "nn.opaque" not in ops


def test_softmax_before_opset_13_takes_all_dimensions_from_its_axis_on(tmp_path: Path) -> None:
    module = imported(model([node("Softmax", "x", axis=2)], {"x": X}, opset=11), tmp_path)
    powers = np.exp(X - X.max((2, 3), keepdims=True))
    expected = powers / powers.sum((2, 3), keepdims=True)
    np.testing.assert_allclose(Executor(module).run({"x": X})["y"], expected, rtol=1e-5)


def test_gemm_transposes_and_scales(tmp_path: Path) -> None:
    inputs = {"a": X[0, 0, :4, :3], "b": X[0, 1, :5, :4]}
    proto = node("Gemm", "a b c", transA=1, transB=1, alpha=0.5, beta=2.0)
    constants = {"c": X[0, 2, 0, :5]}
    assert "nn.gemm" in check(model([proto], inputs, constants=constants), inputs, tmp_path)


def test_split_gives_one_slice_per_part(tmp_path: Path) -> None:
    proto = node("Split", "x", "a b c", axis=-1, num_outputs=3)
    whole = X[..., :5]
    ops = check(model([proto], {"x": whole}, opset=18, outputs="abc"), {"x": whole}, tmp_path)
    assert ops == ["nn.slice"] * 3


def test_shape_arithmetic_folds_away(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "r"),
        node("Dropout", "r", "d"),
        node("Identity", "d"),
    ]
    constants = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1, 3])}
    proto = model(nodes, {"x": X}, constants=constants)
    assert check(proto, {"x": X}, tmp_path) == ["nn.reshape"]


def test_scalars_and_empty_tensors_work(tmp_path: Path) -> None:
    inputs = {"x": np.float32(3).reshape(()), "e": np.zeros((0, 3), np.float32)}
    nodes = [node("Neg", "x"), node("Concat", "e e", "z", axis=0)]
    check(model(nodes, inputs, outputs="yz"), inputs, tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.int64])
def test_initializers_of_each_element_type(dtype: Any, tmp_path: Path) -> None:
    inputs = {"x": np.ones(3, dtype)}
    proto = model([node("Add", "x w")], inputs, constants={"w": np.array([1, 2, 3], dtype)})
    check(proto, inputs, tmp_path)


def test_unknown_ops_stay_onnx_nodes(tmp_path: Path) -> None:
    """Operands that they leave out keep their places."""
    values = {"x": X[0, 0, :3, :3], "s": X[:, 0, :2].reshape(1, -1, 1)}
    nodes = [
        node("STFT", "s step _ length", "spectrum"),
        node("Det", "x", "d"),
        node("Relu", "d"),
    ]
    constants = {"step": np.array(2), "length": np.array(4)}
    proto = model(nodes, values, constants=constants, outputs=["y", "spectrum"])
    assert check(proto, values, tmp_path).count("nn.opaque") == 2


def test_results_that_a_node_leaves_out_keep_their_places(tmp_path: Path) -> None:
    last = node("Scramble", "x", "_ y")
    last.domain = "somebody"
    proto = model([last], {"x": X[0]})
    proto.opset_import.append(helper.make_opsetid("somebody", 1))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT32, [7]))
    (op,) = (op for op in imported(proto, tmp_path).walk() if isinstance(op, nn.OpaqueOp))
    assert op.settings is not None
    assert [str(type) for type in op.result_types] == ["tensor<7xi32>"]
    assert op.settings.data["ranvier.results"] == DenseArrayBase.from_list(i64, [1])


def test_names_types_and_places_survive_text(tmp_path: Path) -> None:
    weight = np.ones((32, 32), np.float32)
    proto = model(
        [helper.make_node("MatMul", ["in/x:0", 'w "1"/é'], ["out put"], name="é")],
        {"in/x:0": weight},
        constants={'w "1"/é': weight},
        outputs=["out put"],
    )
    module = imported(proto, tmp_path)
    context = Context()
    for dialect in (Builtin, Func, nn.NN):
        context.load_dialect(dialect)
    text = StringIO()
    Printer(text, print_debuginfo=True).print_op(module)
    again = Parser(context, text.getvalue()).parse_module()
    assert again.is_structurally_equivalent(module)
    assert list(Executor(again).run({"in/x:0": weight})) == ["out put"]
    matmul = next(op for op in again.walk() if op.name == "nn.matmul")
    assert isinstance(matmul.location, NameLoc)
    assert matmul.location.desc.data == r"\xe9"
    place = FileLineColLoc(StringAttr("MatMul"), IntAttr(17), IntAttr(0))
    assert matmul.location.location == place


def test_equal_weights_share_a_symbol(tmp_path: Path) -> None:
    weight = np.ones((32, 32), np.float32)
    nodes = [node("MatMul", "x v", "h"), node("MatMul", "h w")]
    module = imported(model(nodes, {"x": weight}, constants={"v": weight, "w": weight}), tmp_path)
    assert [op.name for op in module.body.block.ops] == ["nn.weight", "func.func"]


def test_equal_bytes_of_different_types_are_told_apart(tmp_path: Path) -> None:
    constants = {"f": np.zeros((2, 256), np.float32), "i": np.zeros(256, np.int64)}
    inputs = {"x": np.ones((2, 256), np.float32), "n": np.ones(256, np.int64)}
    nodes = [node("Add", "x f"), node("Add", "n i", "z")]
    check(model(nodes, inputs, constants=constants, outputs="yz"), inputs, tmp_path)


def test_external_data_are_mapped(tmp_path: Path) -> None:
    weight = X[0, 0]
    proto = model([node("MatMul", "x w")], {"x": weight}, constants={"w": weight})
    (tmp_path / "w.bin").write_bytes(b"...." + weight.tobytes())
    externalise(proto.graph.initializer[0], location="w.bin", offset="4")
    results = Executor(imported(proto, tmp_path)).run({"x": weight})
    np.testing.assert_allclose(results["y"], weight @ weight, rtol=1e-5, atol=1e-6)


def test_a_symbol_that_one_input_resolves_holds_for_all(tmp_path: Path) -> None:
    proto = symbolic(a=["batch", 3], b=["batch", 3])
    results = Executor(imported(proto, tmp_path, a=(2, 3))).run(
        {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 3), np.float32)}
    )
    assert results["y"].shape == (2, 3)
