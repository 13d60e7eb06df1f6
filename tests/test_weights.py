"""Arrays of this process live as long as something can ask for them, and no longer."""

from __future__ import annotations

import gc
import os
from io import StringIO
from pathlib import Path
from weakref import ref

import numpy as np
import pytest
from memory import MODEL, growth
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, f64
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.universe import Universe

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.types import tensor
from ranvier.dialects.weights import STORE, Registered, WeightStore, sha256_of, write_safetensors


def numbers(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((8, 50)).astype(np.float32)


def module_of(array: Array) -> ModuleOp:
    weight = nn.WeightOp("w", tensor(array.shape, f32), array=STORE.register(array))
    return ModuleOp([weight])


def parsed(text: str) -> ModuleOp:
    context = Context()
    for name, factory in Universe.get_multiverse().all_dialects.items():
        context.register_dialect(name, factory)
    return Parser(context, text).parse_module()


def generic(module: ModuleOp) -> str:
    text = StringIO()
    Printer(text, print_generic_format=True).print_op(module)
    return text.getvalue()


def known(array: Array) -> Registered | None:
    gc.collect()  # a module is a cycle
    return STORE.registered(sha256_of(array))


def test_an_array_dies_with_the_last_module_that_names_it() -> None:
    values = numbers(1)
    module = module_of(values)
    first, alive = numbers(1), ref(values)
    del values
    copy, from_text, from_generic = module.clone(), parsed(str(module)), parsed(generic(module))
    for each in (module, copy, from_text, from_generic):
        np.testing.assert_array_equal(Weights(each).array("w"), first)
    del module
    assert known(first) is not None
    del each, copy
    assert known(first) is not None
    del from_text
    np.testing.assert_array_equal(Weights(from_generic).array("w"), first)
    del from_generic
    assert known(first) is None
    assert alive() is None


def test_an_owner_keeps_an_array_without_a_module() -> None:
    owner = STORE.register(numbers(2))
    assert known(numbers(2)) is owner
    del owner
    assert known(numbers(2)) is None


def test_an_array_that_is_gone_is_an_error_and_never_other_bytes() -> None:
    text = str(module_of(numbers(3)))
    assert known(numbers(3)) is None
    again = parsed(text)
    with pytest.raises(CallerError, match="does not have, or no longer") as caught:
        Weights(again).array("w")
    assert caught.value.code is Code.WEIGHT_MISSING
    owner = STORE.register(numbers(3))
    np.testing.assert_array_equal(Weights(again).array("w"), owner.array)


def test_equal_bytes_share_one_array_whatever_their_type() -> None:
    first = module_of(numbers(4))
    one, other = STORE.register(numbers(4)), STORE.register(numbers(4).view(np.float64))
    assert one is other
    second = ModuleOp([nn.WeightOp("w", tensor((8, 25), f64), array=other)])
    assert np.shares_memory(Weights(first).array("w"), Weights(second).array("w"))


def test_what_an_owner_writes_into_shared_memory_is_not_taken_for_the_old_bytes() -> None:
    """A framework's weights share memory with it, and it may train them further."""
    trained = numbers(5)
    module = module_of(trained)
    assert np.shares_memory(Weights(module).array("w"), trained)
    trained += 1
    fresh = module_of(numbers(5))
    np.testing.assert_array_equal(Weights(fresh).array("w"), numbers(5))
    np.testing.assert_array_equal(Weights(module).array("w"), numbers(5))


def test_text_and_equality_do_not_see_whether_the_array_lives() -> None:
    module = module_of(numbers(6))
    text, digest = str(module), sha256_of(numbers(6))
    assert text == f'builtin.module {{\n  nn.weight @w : tensor<8x50xf32> sha256 "{digest}"\n}}'
    from_text = parsed(text)
    assert module.is_structurally_equivalent(from_text)
    del module, from_text
    assert known(numbers(6)) is None
    assert str(parsed(text)) == text


def test_the_number_of_mapped_files_is_bounded(tmp_path: Path) -> None:
    store = WeightStore()
    store.directory = tmp_path
    for number in range(100):
        write_safetensors(tmp_path / f"{number}.safetensors", {"w": numbers(number)})
    before = len(os.listdir("/dev/fd"))
    arrays = [store.read("0.safetensors", "w")]
    for number in range(1, 100):
        store.read(f"{number}.safetensors", "w")
    assert len(os.listdir("/dev/fd")) - before < 80
    np.testing.assert_array_equal(arrays[0], numbers(0))
    np.testing.assert_array_equal(store.read("0.safetensors", "w"), numbers(0))


COMPILE = """
from onnx import TensorProto, helper, numpy_helper, save
import ranvier

def compile_one(weight):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, len(weight)]) for n in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), "model.onnx")
    ranvier.compile("model.onnx")
"""


def test_compiling_many_models_takes_the_memory_of_few(tmp_path: Path) -> None:
    """Cycles are collected when the bytes of weights have doubled, so that may be a model late;
    one that is kept for each would add four."""
    assert growth(COMPILE, tmp_path) < MODEL
