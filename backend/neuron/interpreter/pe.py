"""The tensor engine: products into PSUM, in f32.

Inside one issue the sum over K is one BLAS product; issues into the same accumulator add in order.
"""

from __future__ import annotations

import numpy as np

from ranvier.backend.neuron.interpreter.core import CoreState, Issue
from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.layout import align, shape_of
from ranvier.backend.neuron.interpreter.values import OUT, matrix
from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.types import PARTITIONS


class Sums:
    """Which words of a destination the PE was the last to write."""

    def __init__(self, state: CoreState, operand: Operand, where: str) -> None:
        self.words = state.words(operand)
        self.where = where

    def begin(self) -> None:
        """Note that the PE wrote the words."""
        self.words()[...] = True

    def go_on(self) -> None:
        """Raises MachineFault if another engine wrote some of them since."""
        if not self.words().all():
            raise MachineFault(f"{self.where} adds to PSUM that the PE was not the last to write")


class Accumulator:
    """The destination of a product: starts a sum, or adds to one that the PE has written."""

    def __init__(self, state: CoreState, operand: Operand, where: str) -> None:
        self.sums = Sums(state, operand, where)
        row, *free = state.layout(operand)
        aligned = align(tuple(free))
        assert aligned is not None  # one layout nests with itself
        layout = (row, *aligned[0])
        self.fetch = state.fetch(operand, layout)
        self.product = state.workspace(OUT, (operand.access.partitions, operand.access.free_size))
        self.shaped = self.product.reshape(shape_of(layout))
        self.plain = len(layout) == 2

    def start(self, lhs: Array, rhs: Array) -> None:
        """`dst = lhs @ rhs`"""
        if self.plain:
            np.matmul(lhs, rhs, out=self.fetch())
        else:
            np.matmul(lhs, rhs, out=self.product)
            np.copyto(self.fetch(), self.shaped)
        self.sums.begin()

    def add(self, lhs: Array, rhs: Array) -> None:
        """`dst += lhs @ rhs`. Raises MachineFault if the PE was not the last to write there."""
        self.sums.go_on()
        np.matmul(lhs, rhs, out=self.product)
        target = self.fetch()
        np.add(target, self.shaped, out=target)


def bind_matmul(state: CoreState, instruction: Instruction) -> Issue:
    """`dst (+)= stationary^T . moving`"""
    stationary = matrix(state, instruction.operands["stationary"], 0)
    moving = matrix(state, instruction.operands["moving"], 1)
    dst = Accumulator(state, instruction.operands["dst"], f"core {state.index}: nc.matmul")
    first_at: tuple[int, ...] | None = instruction.fields.get("first_at")
    turns = state.turns
    if first_at is None:
        return lambda: dst.add(stationary().T, moving())
    if not first_at:
        return lambda: dst.start(stationary().T, moving())

    def issue() -> None:
        step = dst.add if any(turns[depth] for depth in first_at) else dst.start
        step(stationary().T, moving())

    return issue


def bind_transpose(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = src^T`, as a product with the identity: NaN and infinities spread over their row."""
    source = instruction.operands["src"]
    fetch = matrix(state, source, 0)
    identity = np.eye(PARTITIONS, dtype=np.float32)[
        : source.access.partitions, : source.access.partitions
    ]
    dst = Accumulator(state, instruction.operands["dst"], f"core {state.index}: nc.transpose")
    return lambda: dst.start(fetch().T, identity)
