"""The operators that `list-operators` prints, on the machine and in TensorFlow.

All examples are one graph and one program, without casts, so that only the order of sums and the
machine's polynomials differ: 2e-5 of the largest value. TensorFlow's bicubic kernel is a table of
1024 places per element, which is 2e-3 off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry  # no public name

from ranvier import compile
from ranvier.importers.tensorflow.node import HANDLERS
from ranvier.importers.tensorflow.protos import GraphDef
from ranvier.tools.support import operators_on
from ranvier.tools.tensorflow_operators import EXAMPLES, Fixed, add_example, operand_names

OF_SEVERAL_NODES = ("Enter", "RefEnter", "LoopCond", "NextIteration", "EmptyTensorList")


def test_each_operator_that_is_imported_has_an_example() -> None:
    parts = [n for n in HANDLERS if n.startswith(("TensorArray", "TensorList"))]
    assert HANDLERS.keys() - EXAMPLES.keys() == {*OF_SEVERAL_NODES, *parts}


@pytest.fixture(scope="module")
def graph() -> Any:
    built = GraphDef()
    for name in operators_on("TENSORFLOW", "inf2") or ():
        add_example(built, name, EXAMPLES[name])
    complete = tf.compat.v1.GraphDef.FromString(built.SerializeToString())
    add_types(complete)
    return complete


def test_listed_operators_compute_what_tensorflow_computes(graph: Any, tmp_path: Path) -> None:
    (tmp_path / "all.pb").write_bytes(graph.SerializeToString())
    feeds = {
        f"{place}:0": operand
        for name, example in EXAMPLES.items()
        for operand, place in zip(example.operands, operand_names(name), strict=False)
        if not isinstance(operand, Fixed) and any(node.name == place for node in graph.node)
    }
    feeds["Placeholder:0"] = np.arange(15, dtype=np.float32).reshape(3, 5)
    program = compile(tmp_path / "all.pb", fast_math=("none",), fallback="error")
    found = program.run(feeds)
    graph.node.remove(next(node for node in graph.node if node.name == "TopK"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph, name="")
        names = [name for name in found if not name.startswith("TopK:")]
        wanted = dict(zip(names, session.run(names, feeds), strict=True))
    order = np.argsort(-feeds["TopK/operand_0:0"])[..., :3]  # TensorFlow has no kernel of TopK
    wanted["TopK:0"] = np.take_along_axis(feeds["TopK/operand_0:0"], order, -1)
    wanted["TopK:1"] = order.astype(np.int32)
    assert {name.partition("/")[0].partition(":")[0] for name in found} == set(
        operators_on("TENSORFLOW", "inf2") or ()
    )
    wrong = [name for name in found if not close(name, found[name], wanted[name])]
    assert wrong == []


def close(name: str, found: np.ndarray, wanted: np.ndarray) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if found.dtype.kind in "biu":
        return np.array_equal(found, wanted)
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    limit = 2e-3 if name.startswith("ResizeBicubic") else 2e-5
    return bool(np.abs(found - wanted).max() <= limit * np.abs(wanted).max())


def add_types(graph: Any) -> None:
    """Add the attributes that follow from the types of operands, which TensorFlow insists on."""
    dtypes = {n.name: n.attr["dtype"].type for n in graph.node if "/operand_" in n.name}
    for node in graph.node:
        types = [dtypes[name] for name in node.input if name in dtypes]
        for argument in op_def_registry.get(node.op).input_arg:
            count = node.attr[argument.number_attr].i if argument.number_attr else 1
            if argument.type_attr and types:
                node.attr[argument.type_attr].type = types[0]
            types = types[count:]
