"""Homes in SBUF: where their elements lie, that no bit changes, and what it saves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples.machine import compiled, ran, ran_interleaved
from xdsl.dialects.builtin import ModuleOp, bf16, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from ranvier.backend.neuron.home_rows import Rows, Transfer, rows_of, split
from ranvier.backend.neuron.limits import INF2
from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.backend.neuron.simulator import simulate
from ranvier.dialects import nc, nn
from ranvier.dialects.nc.access import Access
from ranvier.dialects.nn.types import shape_of, tensor

WITHOUT = "keep-on-chip,"


def elements(access: Access, turns: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The offsets that a pattern walks, in order, by its definition."""
    offsets = np.array([access.start_at(turns)])
    for stride, count in access.dims:
        offsets = (offsets[:, None] + stride * np.arange(count)).reshape(-1)
    return offsets


@st.composite
def transfers(draw: st.DrawFn) -> tuple[Rows, Transfer]:
    """Rows, and some of their rows and columns in a loop that goes along either."""
    period = draw(st.sampled_from([1, 3, 64, 96, 128, 200, 256, 300]))
    width, periods = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    rows = Rows(width, period, periods * period)
    partitions = draw(st.integers(1, min(128, period)))
    first = draw(st.integers(0, rows.rows - partitions))
    column = draw(st.integers(0, width - 1))
    length = draw(st.integers(1, width - column))
    step = draw(st.sampled_from([0, 1, width, 128 * width, period * width, 64 * width]))
    trips = draw(st.integers(1, 3))
    last = first * width + column + step * (trips - 1) + (partitions - 1) * width + length
    if last > rows.rows * width:
        trips = 1
    access = Access(0, 0, first * width + column, (step,), ((width, partitions), (1, length)))
    return rows, Transfer(access, partitions, (trips,))


@given(transfers())
def test_elements_are_where_their_rows_are(drawn: tuple[Rows, Transfer]) -> None:
    rows, transfer = drawn
    placed = rows.place(transfer)
    found = None
    for turn in range(transfer.trips[0]):
        flat = elements(transfer.access, (turn,)).reshape(transfer.partitions, -1)
        row, column = flat // rows.width, flat % rows.width
        inside = row % rows.period
        partition = inside % 128
        offset = (row // rows.period * rows.blocks + inside // 128) * rows.width + column
        # One partition for each row of the transfer, in order, and the same in every turn.
        one_each = (partition == partition[:1, :1] + np.arange(len(flat))[:, None]).all()
        found = partition[0, 0] if found is None else found
        if placed is None:
            continue
        assert one_each
        assert partition[0, 0] == found == placed.partition
        assert (offset == elements(placed, (turn,))).all()
        assert placed.partition + placed.partitions <= rows.partitions
        assert offset.max() < rows.length


@pytest.mark.parametrize(
    ("dims", "partitions", "expected"),
    [
        (((1, 200704),), 64, (3136, ((1, 3136),))),
        (((3136, 64), (56, 28), (1, 28)), 64, (3136, ((56, 28), (1, 28)))),
        (((640, 8), (10, 8), (1, 10)), 64, None),
        (((80, 8), (10, 8), (1, 10)), 64, (10, ((1, 10),))),
        (((7, 5),), 1, (0, ((7, 5),))),
        (((7, 10),), 4, None),
    ],
)
def test_which_elements_go_to_a_partition(
    dims: tuple[tuple[int, int], ...], partitions: int, expected: object
) -> None:
    assert split(dims, partitions) == expected


def test_rows_of_a_batch_go_round_with_the_channels() -> None:
    image = Transfer(Access(0, 0, 0, (640,), ((10, 64), (1, 10))), 64, (4,))
    assert rows_of(2560, [image]) == Rows(10, 64, 256)
    block = replace(image, access=replace(image.access, steps=(1280,)), trips=(2,))
    assert rows_of(2560, [block]) == Rows(10, 256, 256)
    assert rows_of(2560, [image, replace(image, partitions=32)]) is None


class Net:
    """Layers of a residual network in `nn`."""

    def __init__(self, batch: int, channels: int, size: int) -> None:
        self.main = FuncOp("main", ([tensor((batch, channels, size, size), f32)], []))
        self.block = self.main.body.block
        self.weights: list[nn.WeightOp] = []
        self.x: SSAValue = self.block.args[0]

    def add(self, op: Any) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def conv(self, x: SSAValue, filters: int, kernel: int, stride: int = 1) -> SSAValue:
        type = tensor((filters, shape_of(x)[1], kernel, kernel), f32)
        name = f"w{len(self.weights)}"
        self.weights.append(nn.WeightOp(name, type, seed=len(self.weights)))
        weight = self.add(nn.LoadWeightOp(name, type))
        side = kernel // 2
        window = {"strides": (stride,) * 2, "padding": (side,) * 4, "dilations": (1, 1)}
        return self.add(nn.ConvOp(x, weight, groups=1, **window))

    def bottleneck(self, inner: int, outer: int, stride: int) -> None:
        x = self.add(nn.ReluOp(self.conv(self.x, inner, 1)))
        x = self.add(nn.ReluOp(self.conv(x, inner, 3, stride)))
        short = self.conv(self.x, outer, 1, stride)
        self.x = self.add(nn.ReluOp(self.add(nn.AddOp(self.conv(x, outer, 1), short))))

    def module(self) -> ModuleOp:
        self.block.add_op(ReturnOp(self.x))
        types = [argument.type for argument in self.block.args]
        self.main.function_type = type(self.main.function_type).from_lists(types, [self.x.type])
        return ModuleOp([*self.weights, self.main])


def residual(batch: int, size: int = 14) -> ModuleOp:
    net = Net(batch, 64, size)
    net.bottleneck(64, 256, 1)
    net.bottleneck(96, 320, 2)
    return net.module()


def buffers(module: ModuleOp, kind: type[nc.types.BufferType]) -> int:
    """Buffers of a memory in a compiled module."""
    allocs = [op for op in module.walk() if isinstance(op, nc.AllocOp)]
    return sum(isinstance(op.type, kind) for op in allocs)


@pytest.mark.parametrize("mode", ["all", "none"])
@pytest.mark.parametrize("batch", [1, 8])
def test_no_bit_changes(batch: int, mode: str) -> None:
    x = np.random.default_rng(batch).standard_normal((batch, 64, 14, 14)).astype(np.float32)
    kept = compiled(residual(batch), "inf2", mode).module
    plain = compiled(residual(batch), "inf2", mode, skip=WITHOUT).module
    assert buffers(kept, nc.DramType) < buffers(plain, nc.DramType)
    (name,) = (argument.name_hint or "arg0" for argument in [_main(kept).body.block.args[0]])
    (expected,) = ran(plain, {name: x}, exact=True)
    assert np.isfinite(expected).all()
    assert expected.std() > 0.01
    for exact in (True, False):
        (actual,) = ran(kept, {name: x}, exact=exact)
        assert actual.tobytes() == ran(plain, {name: x}, exact=exact)[0].tobytes()
    for seed in range(3):
        assert ran_interleaved(kept, {name: x}, seed)[0].tobytes() == expected.tobytes()


def _main(module: ModuleOp) -> FuncOp:
    return next(op for op in module.body.block.ops if isinstance(op, FuncOp))


def test_most_activations_do_not_leave_the_chip() -> None:
    weights = sum(
        int(np.prod(shape_of(op.result))) * 2
        for op in residual(1).walk()
        if isinstance(op, nn.LoadWeightOp)
    )
    kept, before = (
        sum(simulate(program_of(op), INF2).dma.bytes for op in module.walk() if is_program(op))
        for module in (
            compiled(residual(1), "inf2", "all").module,
            compiled(residual(1), "inf2", "all", skip=WITHOUT).module,
        )
    )
    # The input, the output, and what 3x3 kernels read with padding are still moved.
    assert kept - weights < 0.5 * (before - weights)


def is_program(op: object) -> bool:
    return isinstance(op, nc.ProgramOp)


def test_what_does_not_fit_stays_in_dram() -> None:
    """A home of 128 x 112 x 112 bf16 is 25 KiB a partition; many at once exceed half of SBUF."""
    net = Net(1, 64, 112)
    values = [net.conv(net.x, 128, 1) for _ in range(6)]
    for value in values:
        net.x = value
        values[0] = net.add(nn.AddOp(values[0], net.add(nn.ReluOp(value))))
    net.x = values[0]
    module = compiled(net.module(), "inf2", "all").module
    kept = [op.type for op in module.walk() if isinstance(op, nc.AllocOp)]
    assert any(type == nc.DramType.of((128 * 112 * 112,), bf16) for type in kept)
