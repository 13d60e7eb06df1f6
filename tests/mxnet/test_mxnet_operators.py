"""What `list-operators --framework MXNET` prints runs on the machine as it does in MXNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mxnet_samples import mx

import ranvier
from ranvier.dialects.nn.types import tensor
from ranvier.importers.mxnet import import_symbol, needed_variables
from ranvier.importers.mxnet.symbol import print_symbol
from ranvier.importers.semantics import element_type
from ranvier.tools.mxnet_examples import EXAMPLES, Example
from ranvier.tools.mxnet_operators import symbol
from ranvier.tools.support import operators_on

BY_NAME = {name: example for example in EXAMPLES for name in example.names.split()}
LISTED = operators_on("MXNET", "inf2") or []
INDICES = ("take", "Embedding", "batch_take", "pick", "gather_nd", "one_hot", "SequenceMask")
CONSTANT = ("gather_nd", "batch_take")
"""Their indices are constants of the model, or the host reads them."""


def values(name: str, example: Example) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    arrays = [random.uniform(0.1, 0.9, shape).astype(np.float32) for shape in example.shapes]
    if name == "arccosh":
        arrays = [array + 1 for array in arrays]
    if name in INDICES:
        last = len(arrays) - 1 if name not in ("Embedding", "one_hot") else 0
        arrays[last] = np.floor(arrays[last] * 3)
    if name == "batch_take":
        arrays[1] = arrays[1].astype(np.int32)
    return arrays


def test_every_example_is_an_operator_that_is_listed() -> None:
    assert sorted(BY_NAME) == LISTED


# MXNet 1.9 has no operators with underscores on both sides, which are the documentation's old
# spellings, and does not run one alone whose element type its readers decide.
ALONE = [n for n in LISTED if not n.startswith("__") and n != "_zeros_without_dtype"]


@pytest.mark.parametrize("name", ALONE)
def test_an_operator_computes_what_mxnet_computes(name: str) -> None:
    example = BY_NAME[name]
    graph = symbol(name, example)
    theirs = mx.sym.load_json(print_symbol(graph))
    arrays = {f"x{i}": array for i, array in enumerate(values(name, example))}
    bound = theirs.bind(
        mx.cpu(),
        {n: mx.nd.array(arrays[n], dtype=arrays[n].dtype) for n in theirs.list_arguments()},
        aux_states={n: mx.nd.array(arrays[n]) for n in theirs.list_auxiliary_states()},
    )
    expected = [output.asnumpy() for output in bound.forward(is_train=False)]
    read = [node.name for node in needed_variables(graph)]
    fixed = read[1:] if name in CONSTANT else []
    types = {
        n: tensor(arrays[n].shape, element_type(arrays[n].dtype)) for n in read if n not in fixed
    }
    module = import_symbol(graph, {n: arrays[n] for n in fixed}, types)
    program = ranvier.compile(module, fast_math=("none",))
    outputs = program.run({n: arrays[n] for n in types})
    if types:
        assert not program.host_ops
    for mine, wanted in zip(outputs.values(), expected, strict=True):
        # f32 on both sides, sums in other orders; activations of the machine are tables.
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)
