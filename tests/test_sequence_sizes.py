"""Products, recurrent layers and rows at the sizes where tiles end: 1, odd, 127 to 129, 513; batch
8; vocabularies and long contractions; attention as models have it.

Every op with every size in every place that matters, on both machines. A few drawn from a seed run
always, the others where slow tests do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, model, node
from samples import Operand, Sample
from samples.contraction import einsum, gemm, matmul
from samples.machine import compiled, ran
from samples.modules import Case, result_elements
from samples.normalization import group_norm, layer_norm, lp_normalize, rms_norm, rows
from samples.oracles import by_onnx
from samples.recurrent import layer
from test_conformance import FIRST, assert_all_close
from xdsl.dialects.builtin import bf16, f16

from ranvier.dialects import nn
from ranvier.importers.registry import import_model

SIZES = (1, 3, 127, 128, 129, 513)
ALWAYS = 24


def products() -> Iterator[Sample]:
    """Rows, columns and contracted dimensions of every size; batches on either side."""
    for i, size in enumerate(SIZES):
        other = SIZES[-1 - i]
        yield matmul((size, other), (other, 5))
        yield matmul((5, size), (size, other), constant=True)
        yield matmul((other, 33), (33, size), bf16)
        yield matmul((8, size, 7), (8, 7, other))
        yield matmul((8, 1, size), (size, other), constant=True)
        yield matmul((2, 1, 3, size), (1, 4, size, 2), f16)
        yield matmul((size,), (size, 3))
        yield matmul((3, 2, size), (size,))
        for transpose in ((True, False), (False, True), (True, True)):
            yield gemm((size,), transpose=transpose, sizes=(5, other, size), alpha=0.5)
        yield einsum("bhqd,bkhd->bhqk", (2, 3, size, 8), (2, 5, 3, 8))
        yield einsum("bii,bij->bj", (2, size, size), (2, size, 3))
        yield einsum("abc,cd,db->ad", (3, 2, size), (size, 4), (4, 2))


def large_products() -> Iterator[Sample]:
    """Vocabularies of 30 and 50 thousand words, and as many products in a sum."""
    yield matmul((8, 768), (768, 30522), constant=True)
    yield matmul((1, 3, 64), (64, 50257), constant=True)
    yield matmul((35, 200), (200, 10001), constant=True)
    yield matmul((3, 30001), (30001, 5), constant=True)
    yield matmul((1, 30000), (30000, 129))
    yield matmul((129, 4099), (4099, 1), constant=True)
    yield matmul((8, 12, 128, 64), (8, 12, 64, 128))
    yield matmul((1, 2, 1024, 64), (1, 2, 64, 1024))


def layers() -> Iterator[Sample]:
    """Hidden units, inputs and batches of every size, many steps, each cell."""
    for i, size in enumerate(SIZES):
        other = SIZES[-1 - i]
        yield layer(nn.LstmOp, "forward", (3, 2, other, size))
        yield layer(nn.LstmOp, "bidirectional", (2, 8, 5, size), lengths=(2, 1, 0, 2, 1, 2, 2, 1))
        yield layer(nn.GruOp, "reverse", (3, 1, 5, size), reset_after=True)
        yield layer(nn.GruOp, "forward", (2, 8, other, size), reset_after=False)
        yield layer(nn.RnnOp, "bidirectional", (3, size, 4, 7))
        yield layer(nn.LstmOp, "forward", (2, 3, 5, size), peepholes=True, clip=0.5)
        yield layer(nn.LstmOp, "forward", (size, 1, 4, 5))
        yield layer(nn.GruOp, "bidirectional", (size, 8, 3, 6), reset_after=True, element=bf16)
        yield layer(nn.RnnOp, "reverse", (2, 3, size, 9), constant=False)


def over_rows() -> Iterator[Sample]:
    """Rows of every size, and as many of them, along every axis."""
    for i, size in enumerate(SIZES):
        other = SIZES[-1 - i]
        yield rows(other, size + 1, axis=1)
        yield rows(2, size + 1, 3, axis=1, element=bf16)
        yield rows(size + 1, 8, axis=0)
        for op, name in ((nn.LogSoftmaxOp, "LogSoftmax"), (nn.HardmaxOp, "Hardmax")):
            yield Sample(
                op,
                (Operand((8, size + 1, 2)),),
                lambda x, axis, name=name: by_onnx(name, x, axis=axis),
                {"axis": 1},
            )
        yield layer_norm(other, size, axis=1, epsilon=1e-2)
        yield layer_norm(8, 3, size, axis=1, element=f16, epsilon=1e-2)
        yield rms_norm(size, other, axis=1, epsilon=1e-2)
        yield rms_norm(2, 3, size, axis=1, epsilon=1e-2)
        yield group_norm(8, 2 * size, 3, groups=2, epsilon=1e-2)
        yield group_norm(1, size, 5, 7, groups=size, epsilon=1e-2)
        yield lp_normalize(other, size, axis=1, p=2)
        yield lp_normalize(size, 3, axis=0, p=1)


SAMPLES = [
    sample
    for family in (products, large_products, layers, over_rows)
    for sample in family()
    if sample.op is not nn.LayerNormOp or sample.operands[0].shape[-1] > 1
]
CHOSEN = set(random.Random(5).sample(range(len(SAMPLES)), ALWAYS))
CASES = [
    pytest.param(sample, id=sample.id, marks=[] if i in CHOSEN else [pytest.mark.slow])
    for i, sample in enumerate(SAMPLES)
]


@pytest.mark.parametrize(("target", "mode"), [("inf2", "none"), ("inf2", "all"), ("inf1", "all")])
@pytest.mark.parametrize("sample", CASES)
def test_every_size_runs_on_the_machine(sample: Sample, target: str, mode: str) -> None:
    case = Case(sample, rounded=mode == "all")
    it = compiled(case.module(), target, mode)
    assert not it.refusals
    actual = ran(it.module, case.inputs(FIRST))
    assert_all_close(actual, case.expected(FIRST), result_elements(it.module), it.narrow)


# -- Attention --------------------------------------------------------------------------------

MASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": 1},
    "added": {"mask": "float"},
    "chosen": {"mask": "bool"},
    "soft cap": {"softcap": 2.0, "scale": 0.2},
}
QUICK = [(mask, 33) for mask in MASKS] + [("causal", 128)]
ATTENTION = [
    pytest.param(mask, tokens, heads, marks=[] if (mask, tokens) in QUICK else [pytest.mark.slow])
    for mask in MASKS
    for tokens in (33, 128, 512, 1024)
    for heads in ((2, 2), (4, 2), (3, 1))
]


@pytest.mark.parametrize(("mask", "tokens", "heads"), ATTENTION)
def test_attention_is_what_onnx_defines(
    mask: str, tokens: int, heads: tuple[int, int], tmp_path: Path
) -> None:
    """Heads of queries, and fewer of keys and values, which several queries share."""
    random, settings = np.random.default_rng(tokens), dict(MASKS[mask])
    shapes = [(2, count, tokens, 16) for count in (heads[0], heads[1], heads[1])]
    inputs: dict[str, Array] = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in zip("qkv", shapes, strict=True)
    }
    match settings.pop("mask", None):
        case "float":
            inputs["m"] = random.standard_normal((tokens, tokens)).astype(np.float32)
        case "bool":
            inputs["m"] = (random.random((2, 1, tokens, tokens)) < 0.7) | np.eye(tokens, dtype=bool)
        case _:
            pass
    proto = model([node("Attention", " ".join(inputs), **settings)], inputs, opset=23)
    path = tmp_path / "attention.onnx"
    path.write_bytes(proto.SerializeToString())
    (expected,) = ReferenceEvaluator(proto).run(None, inputs)
    exact = compiled(import_model([path]), "inf2", "none")
    assert not exact.refusals
    np.testing.assert_allclose(ran(exact.module, inputs)[0], expected, rtol=1e-4, atol=1e-5)
    for target in ("inf2", "inf1"):
        it = compiled(import_model([path]), target, "all")
        assert not it.refusals
        # Scores of about 4 have errors of 2 ** -7 in bf16, and so their exponentials.
        np.testing.assert_allclose(ran(it.module, inputs)[0], expected, rtol=0, atol=4e-2)
