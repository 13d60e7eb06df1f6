"""How many instructions BERT-base takes: a bound on issues, and a text independent of the batch."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest
from samples.machine import compiled
from xdsl.dialects.builtin import FunctionType, ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.dialects import nn
from ranvier.dialects.interfaces import ReferenceSemantics
from ranvier.dialects.nn.types import TensorOp, shape_of, tensor

LAYERS, WIDTH, HEADS, INNER = 12, 768, 12, 3072
ISSUES = 4100
"""Products and transposes of BERT-base with 128 tokens by the array; 4,032 is the packed count of a
weight-stationary lowering that tiles by 128 x 512."""
TEXT = 3000


class Bert:
    """The encoder as its paper has it; weights are seeded and never needed."""

    def __init__(self, batch: int, tokens: int) -> None:
        self.batch, self.tokens = batch, tokens
        self.main = FuncOp("main", ([tensor((batch, tokens, WIDTH), f32)], []))
        self.block = self.main.body.block
        self.weights: list[Operation] = []

    def add(self, op: TensorOp) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def weight(self, *shape: int) -> SSAValue:
        name = f"w{len(self.weights)}"
        self.weights.append(nn.WeightOp(name, tensor(shape, f32), seed=len(self.weights)))
        return self.add(nn.LoadWeightOp(name, tensor(shape, f32)))

    def linear(self, x: SSAValue, outputs: int) -> SSAValue:
        product = self.add(nn.MatmulOp(x, self.weight(shape_of(x)[-1], outputs)))
        return self.add(nn.AddOp(product, self.weight(outputs)))

    def heads(self, x: SSAValue, *permutation: int) -> SSAValue:
        shape = (self.batch, self.tokens, HEADS, WIDTH // HEADS)
        split = self.add(nn.ReshapeOp(self.linear(x, WIDTH), shape=shape))
        return self.add(nn.TransposeOp(split, permutation=permutation))

    def attention(self, x: SSAValue) -> SSAValue:
        q, k, v = (self.heads(x, *order) for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)))
        scale = self.add(nn.ConstantOp(np.array(8, np.float32)))
        scores = self.add(nn.DivOp(self.add(nn.MatmulOp(q, k)), scale))
        mixed = self.add(nn.MatmulOp(self.add(nn.SoftmaxOp(scores, axis=3)), v))
        back = self.add(nn.TransposeOp(mixed, permutation=(0, 2, 1, 3)))
        return self.linear(self.add(nn.ReshapeOp(back, shape=shape_of(x))), WIDTH)

    def normalized(self, x: SSAValue, y: SSAValue) -> SSAValue:
        total = self.add(nn.AddOp(x, y))
        factors = self.weight(WIDTH), self.weight(WIDTH)
        return self.add(nn.LayerNormOp(total, *factors, axis=2, epsilon=1e-12))

    def module(self) -> ModuleOp:
        x: SSAValue = self.block.args[0]
        for _ in range(LAYERS):
            x = self.normalized(x, self.attention(x))
            inner = self.add(nn.GeluOp(self.linear(x, INNER), approximate="none"))
            x = self.normalized(x, self.linear(inner, WIDTH))
        self.block.add_op(ReturnOp(x))
        self.main.function_type = FunctionType.from_lists(
            list(self.main.function_type.inputs), [x.type]
        )
        return ModuleOp([*self.weights, self.main])


def counted(batch: int, target: str, *, skip: str = "") -> tuple[int, Counter[str], int]:
    """Ops of the program's text, issues by instruction, and multiply-accumulates of the model."""
    module = Bert(batch, 128).module()
    macs = sum(op.work().macs for op in module.walk() if isinstance(op, ReferenceSemantics))
    it = compiled(module, target, "all", skip=skip)
    assert not it.refusals
    issues = Counter[str]()
    for program in it.programs:
        for core in program_of(program).cores:
            for instruction, trips in core.instructions():
                issues[instruction.op.name] += prod(trips)
    return sum(1 for program in it.programs for _ in program.walk()), issues, macs


@pytest.mark.parametrize("target", ["inf2", pytest.param("inf1", marks=pytest.mark.slow)])
def test_bert_base_is_short_whatever_the_batch(target: str) -> None:
    text, issues, macs = counted(1, target)
    assert macs == 12 * (4 * 128 * 768**2 + 2 * 128 * 768 * 3072 + 2 * 128 * 128 * 768)
    # The array of inf1 is half as wide.
    assert issues["nc.matmul"] + issues["nc.transpose"] <= ISSUES * (2 if target == "inf1" else 1)
    larger, _, more = counted(8, target)
    assert more == 8 * macs
    assert max(text, larger) <= TEXT
    # What is kept on chip and needs no copies is less of a large batch.
    one, eight = (counted(batch, target, skip="keep-on-chip,")[0] for batch in (1, 8))
    assert eight <= 1.1 * one
