"""Channels first or last is one network: equal results, and transposes only where they must be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper
from onnx_models import Array, model
from samples.machine import compiled, ran
from xdsl.dialects.builtin import FunctionType, ModuleOp, bf16, f16, f32, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from ranvier.backend.reference import Executor
from ranvier.dialects import nc, nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, shape_of, size_of, tensor, type_of
from ranvier.importers.registry import import_model
from ranvier.passes.move_transposes import move_transposes, moves
from ranvier.passes.pipelines import CLEAN, default_pipeline, run_pipeline
from ranvier.passes.simplify_shapes import simplify_shapes
from ranvier.program import Options


class Writer:
    """Writes a residual network whose tensors lie channels first or last between convolutions."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.random = np.random.default_rng(3)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Any] = {}

    def weights(self, *shape: int) -> Array:
        values = self.random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return values.astype(np.float32)

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def spatial(self, op_type: str, x: str, *others: str, **attributes: Any) -> str:
        """An op that ONNX has channels first only."""
        if self.last:
            x = self.add("Transpose", x, perm=[0, 3, 1, 2])
        x = self.add(op_type, x, *others, **attributes)
        return self.add("Transpose", x, perm=[0, 2, 3, 1]) if self.last else x

    def per_channel(self, array: Array) -> str:
        return self.constant(array if self.last else array[:, None, None])

    def block(self, x: str, inputs: int, outputs: int, stride: int) -> str:
        """Convolution, an unfused batch norm, relu, twice; a shortcut."""
        shortcut = x
        for size, step in ((inputs, stride), (outputs, 1)):
            w = self.constant(self.weights(outputs, size, 3, 3))
            x = self.spatial("Conv", x, w, pads=[1] * 4, strides=[step] * 2)
            x = self.add("Mul", x, self.per_channel(self.weights(outputs) + 1))
            x = self.add("Add", x, self.per_channel(self.weights(outputs)))
            x = self.add("Relu", x)
        if inputs != outputs:
            w = self.constant(self.weights(outputs, inputs, 1, 1))
            shortcut = self.spatial("Conv", shortcut, w, strides=[stride] * 2)
        return self.add("Add", x, shortcut)

    def network(self) -> str:
        x = self.block("x", 3, 16, 1)
        x = self.spatial("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = self.block(x, 16, 24, 2)
        halves = [self.add("Sigmoid", x), self.add("Tanh", x)]
        x = self.add("Concat", *halves, axis=3 if self.last else 1)
        x = self.block(x, 48, 48, 1)
        axes = [1, 2] if self.last else [2, 3]
        x = self.add("ReduceMean", x, axes=axes, keepdims=0)
        x = self.add("MatMul", x, self.constant(self.weights(48, 10)))
        self.nodes[-1].output[0] = "y"
        return x


def network(folder: Path, image: Array, *, last: bool) -> Path:
    writer = Writer(last=last)
    writer.network()
    proto = model(writer.nodes, {"x": image}, constants=writer.constants)
    path = folder / f"{last}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def moving(module: ModuleOp) -> list[nn.TransposeOp]:
    """Transposes of activations that change the order of elements."""
    constants = (nn.ConstantOp, nn.LoadWeightOp)
    return [
        op
        for op in module.walk()
        if isinstance(op, nn.TransposeOp)
        and not isinstance(op.operand.owner, constants)
        and moves(shape_of(op.operand), [int(d) for d in op.permutation.iter_values()])
    ]


def test_a_network_channels_last_is_that_of_channels_first(tmp_path: Path) -> None:
    """Of its 18 transposes the one of the input is left, and the bits are the same."""
    image = np.random.default_rng(0).standard_normal((2, 3, 20, 24)).astype(np.float32)
    first = import_model([network(tmp_path, image, last=False)])
    turned = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    last = import_model([network(tmp_path, turned, last=True)])
    assert len(moving(last)) == 18
    run_pipeline(last, CLEAN)
    assert len(moving(last)) == 1
    (expected,) = ran(compiled(first, "inf2", "all").module, {"x": image})
    (actual,) = ran(compiled(last, "inf2", "all").module, {"x": turned})
    assert np.abs(expected).std() > 0.01
    assert actual.tobytes() == expected.tobytes()


PERMUTATIONS = list(itertools.permutations(range(3)))


def drawn_op(draw: st.DrawFn, x: SSAValue, values: list[SSAValue]) -> TensorOp:
    """An op on a tensor of rank 3, and perhaps on another of its shape."""
    shape, axis = shape_of(x), draw(st.integers(0, 2))
    alike = [value for value in values if shape_of(value) == shape]
    match draw(st.integers(0, 8)):
        case 0 | 1 | 2:
            return nn.TransposeOp(x, permutation=draw(st.sampled_from(PERMUTATIONS)))
        case 3:
            return nn.AddOp(x, draw(st.sampled_from(alike)))
        case 4:
            return nn.SubOp(nn.ConstantOp(np.arange(shape[2], dtype=np.float32)), x)
        case 5:
            return nn.ReduceSumOp(x, axes=(axis,), keepdims=draw(st.booleans()))
        case 6:
            return nn.ConcatOp(x, draw(st.sampled_from(alike)), axis=axis)
        case 7:
            low, high = ([int(d == axis) * n for d in range(3)] for n in (1, 2))
            return nn.PadOp(x, low=low, high=high, mode="constant", value=0.5)
        case _:
            starts = [int(d == axis) * (shape[d] - 1) for d in range(3)]
            steps = [-1 if d == axis else 1 for d in range(3)]
            return nn.SliceOp(x, starts=starts, sizes=shape, steps=steps)


@st.composite
def programs(draw: st.DrawFn) -> ModuleOp:
    """Ops that can be computed in any layout, between transposes."""
    main = FuncOp("main", ([tensor((2, 3, 4), f32)], []))
    block = main.body.block
    values: list[SSAValue] = [block.args[0]]
    for _ in range(draw(st.integers(2, 14))):
        x = draw(st.sampled_from([value for value in values if len(shape_of(value)) == 3]))
        op = drawn_op(draw, x, values)
        block.add_ops([*(v.owner for v in op.operands if isinstance(v.owner, nn.ConstantOp)), op])
        values.append(op.results[0])
    unread = [value for value in values if not value.uses]
    block.add_op(ReturnOp(*unread))
    types = [type_of(value) for value in unread]
    main.function_type = FunctionType.from_lists(list(main.function_type.inputs), types)
    return ModuleOp([main])


def moved_elements(module: ModuleOp) -> int:
    return sum(size_of(op.result) for op in moving(module))


@settings(max_examples=60)
@given(programs())
def test_layouts_keep_every_bit_and_never_move_more(module: ModuleOp) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    simplify_shapes(module)
    before = moved_elements(module)
    expected = list(Executor(module).run({"arg0": x}).values())
    move_transposes(module)
    module.verify()
    simplify_shapes(module)
    module.verify()
    assert moved_elements(module) <= before
    for actual, wanted in zip(Executor(module).run({"arg0": x}).values(), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)  # sums go in another order


# -- How the machine transposes ---------------------------------------------------------------


def product_with_odd_values(dtype: str) -> tuple[ModuleOp, dict[str, Array]]:
    """`x . w` where the array wants `x` transposed, and some rows of `x` are not finite."""
    element = {"f32": f32, "bf16": bf16, "f16": f16}[dtype]
    main = FuncOp("main", ([tensor((200, 300), element), tensor((300, 70), element)], []))
    x, w = main.body.block.args
    op = nn.MatmulOp(x, w, result_types=[tensor((200, 70), f32)])
    main.body.block.add_ops([op, ReturnOp(op.result)])
    main.function_type = FunctionType.from_lists(list(main.function_type.inputs), [op.result.type])
    random = np.random.default_rng(0)
    array = random.standard_normal((200, 300))
    array[5, 7], array[131, 299] = np.nan, np.inf
    values = {"arg0": array, "arg1": random.standard_normal((300, 70))}
    narrow = {name: value.astype(dtype_of(element)) for name, value in values.items()}
    return ModuleOp([main]), narrow


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_exact_relayout_keeps_what_is_not_finite_in_its_row(dtype: str) -> None:
    """By the array it spreads, as the hardware's documentation says; finite values are exact."""
    expected: Array | None = None
    for relayout in ("exact", "fast"):
        module, inputs = product_with_odd_values(dtype)
        run_pipeline(module, default_pipeline("inf2", mode="none", relayout=relayout))
        by_array = any(isinstance(op, nc.TransposeOp) for op in module.walk())
        assert by_array == (relayout == "fast")
        (result,) = ran(module, inputs)
        odd = sorted(set(np.nonzero(~np.isfinite(result))[0]))
        if relayout == "exact":
            assert odd == [5, 131]
            expected = result
        else:
            assert set(odd) > {5, 131}
        # Without those two elements both are equal to the last bit.
        inputs["arg0"][5, 7] = inputs["arg0"][131, 299] = 0
        (finite,) = ran(module, inputs)
        assert np.isfinite(finite).all()
        if expected is not None and relayout == "exact":
            exact = finite
        else:
            assert finite.tobytes() == exact.tobytes()


def test_the_option_reaches_the_pipeline() -> None:
    assert "relayout" not in Options().pipeline()
    for keywords in (
        ("none",),
        ("all", "no-fast-relayout"),
        ("fp32-cast-matmult", "no-fast-relayout"),
    ):
        assert "lower-nn-to-nc{relayout=exact}" in Options(fast_math=keywords).pipeline()


def turned(shape: tuple[int, ...], permutation: tuple[int, ...], dtype: str) -> ModuleOp:
    """A transpose that is a result, and one whose reshape is one."""
    element = {"f32": f32, "bf16": bf16, "f16": f16, "i32": i32}[dtype]
    main = FuncOp("main", ([tensor(shape, element)], []))
    first = nn.TransposeOp(main.body.block.args[0], permutation=permutation)
    flat = nn.ReshapeOp(first, shape=(size_of(first.result),))
    main.body.block.add_ops([first, flat, ReturnOp(first.result, flat.result)])
    types = [first.result.type, flat.result.type]
    main.function_type = FunctionType.from_lists(list(main.function_type.inputs), types)
    return ModuleOp([main])


@pytest.mark.parametrize("relayout", ["fast", "exact"])
@pytest.mark.parametrize(
    ("shape", "permutation", "dtype"),
    [
        ((200, 300), (1, 0), "bf16"),
        ((129, 1), (1, 0), "f32"),
        ((3, 130, 5, 64), (0, 3, 1, 2), "f16"),
        ((2, 65, 7, 9), (0, 2, 3, 1), "f32"),
        ((5, 4, 3, 2, 6), (4, 0, 3, 1, 2), "bf16"),
        ((257, 1030), (1, 0), "f32"),
        ((40, 50), (1, 0), "i32"),
    ],
)
def test_a_transpose_moves_every_element(
    shape: tuple[int, ...], permutation: tuple[int, ...], dtype: str, relayout: str
) -> None:
    module = turned(shape, permutation, dtype)
    run_pipeline(module, default_pipeline("inf2", mode="none", relayout=relayout))
    by_array = any(isinstance(op, nc.TransposeOp) for op in module.walk())
    assert not by_array or (relayout == "fast" and dtype != "i32")
    assert by_array or relayout == "exact" or dtype == "i32" or 1 in shape or shape[-1] < 10
    kind = {"f32": np.float32, "bf16": ml_dtypes.bfloat16, "f16": np.float16, "i32": np.int32}
    x = (np.random.default_rng(0).standard_normal(shape) * 100).astype(kind[dtype])
    wanted = x.transpose(permutation)
    first, flat = ran(module, {"arg0": x})
    assert first.tobytes() == wanted.tobytes()
    assert flat.tobytes() == wanted.tobytes()


def test_an_exact_transpose_keeps_the_payloads_of_nans() -> None:
    module = turned((256, 384), (1, 0), "bf16")
    run_pipeline(module, default_pipeline("inf2", mode="none", relayout="exact"))
    bits = np.random.default_rng(0).integers(0, 1 << 16, (256, 384)).astype(np.uint16)
    bits[::7] |= 0x7F81  # NaNs of many payloads, signalling ones among them
    first, _ = ran(module, {"arg0": bits.view(ml_dtypes.bfloat16)})
    assert first.view(np.uint16).tobytes() == bits.T.tobytes()
