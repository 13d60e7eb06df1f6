"""How many products real models issue, how long their programs are, and what loops overlap."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from ranvier import Program as Compiled
from ranvier import compile
from ranvier.backend.neuron.interpreter.runner import launcher
from ranvier.backend.neuron.limits import INF2
from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.backend.neuron.program import Program
from ranvier.backend.neuron.simulator import simulate
from ranvier.backend.reference import Executor
from ranvier.dialects import nc, nn
from ranvier.dialects.nn.types import shape_of, tensor
from ranvier.importers.registry import import_model
from ranvier.passes.pipelines import default_pipeline, run_pipeline

sys.path.append(str(Path(__file__).parent / "models"))

import resnet50

Array = np.ndarray[Any, np.dtype[Any]]

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Filters of its 3x3 convolutions; 0 is a 2x2 pool."""

RESNET_MACS = 4_089_184_256
"""Published for ResNet-50."""
RESNET_ISSUES = 1950
"""53 convolutions tile by tile, two taps together where 64 channels leave room: 1,890 with five
issues for a 3x3 kernel of 64 channels, 21 more for each of three such layers with six. 1,970 issues
would be what one matmul per tap takes."""
VGG_CONVOLUTIONS, VGG_CLASSIFIER = 2846, 7552
"""Issues of VGG16 by the same count."""
LONGEST = 3000
"""Ops of a program of `nc`."""


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    resnet50.build_resnet50(path)
    return path


@cache
def vgg16(batch: int) -> ModuleOp:
    """Convolutions, pools and classifier of VGG16 with seeded weights."""
    net = Network(batch, 3, 224)
    for filters in VGG16:
        net.conv(filters) if filters else net.pool()
    for outputs in (4096, 4096, 1000):
        net.dense(outputs)
    return net.module()


class Network:
    """A chain of layers in `nn`."""

    def __init__(self, batch: int, channels: int, size: int) -> None:
        self.main = FuncOp("main", ([tensor((batch, channels, size, size), f32)], []))
        self.block = self.main.body.block
        self.weights: list[nn.WeightOp] = []
        self.value: SSAValue = self.block.args[0]

    def add(self, op: Any) -> SSAValue:
        self.block.add_op(op)
        self.value = op.results[0]
        return self.value

    def weight(self, *shape: int) -> SSAValue:
        x, name = self.value, f"w{len(self.weights)}"
        self.weights.append(nn.WeightOp(name, tensor(shape, f32), seed=len(self.weights)))
        loaded = self.add(nn.LoadWeightOp(name, tensor(shape, f32)))
        self.value = x
        return loaded

    def conv(self, filters: int) -> None:
        weight = self.weight(filters, shape_of(self.value)[1], 3, 3)
        window = {"strides": (1, 1), "padding": (1,) * 4, "dilations": (1, 1), "groups": 1}
        self.add(nn.ConvOp(self.value, weight, **window))
        self.add(nn.ReluOp(self.value))

    def pool(self) -> None:
        window = {"kernel": (2, 2), "strides": (2, 2), "padding": (0,) * 4, "dilations": (1, 1)}
        self.add(nn.MaxPoolOp(self.value, **window))

    def dense(self, outputs: int) -> None:
        batch, *rest = shape_of(self.value)
        inputs = int(np.prod(rest))
        if len(rest) > 1:
            self.add(nn.ReshapeOp(self.value, shape=(batch, inputs)))
        self.add(nn.MatmulOp(self.value, self.weight(inputs, outputs)))

    def module(self) -> ModuleOp:
        self.block.add_op(ReturnOp(self.value))
        types = [argument.type for argument in self.block.args]
        self.main.function_type = type(self.main.function_type).from_lists(types, [self.value.type])
        return ModuleOp([*self.weights, self.main])


def products(programs: Sequence[Program]) -> int:
    """Issues of matmuls over all turns of their loops."""
    return sum(
        prod(trips)
        for program in programs
        for core in program.cores
        for instruction, trips in core.instructions()
        if instruction.op is nc.MatmulOp
    )


def devices_of(program: Compiled) -> list[Program]:
    """What the machine runs of a compiled model."""
    return [it.program for it in program.neff.steps if isinstance(it.program, Program)]


def lowered(module: ModuleOp, skip: str = "") -> list[nc.ProgramOp]:
    """The programs of a module that is compiled in place."""
    run_pipeline(module, default_pipeline("inf2", 1, "all").replace(skip, ""))
    return [op for op in module.walk() if isinstance(op, nc.ProgramOp)]


def length(programs: Sequence[nc.ProgramOp]) -> int:
    return sum(1 for program in programs for _ in program.walk())


def makespan(programs: Sequence[nc.ProgramOp]) -> float:
    return sum(simulate(program_of(program), INF2).makespan_us for program in programs)


def test_resnet_issues_few_products(resnet_file: Path) -> None:
    shapes: Mapping[str, tuple[int, ...]] = {"x": (1, 3, 224, 224)}
    program = compile(resnet_file, shapes=shapes, fallback="error")
    image = resnet50.images(np.random.default_rng(1), 1, 224)
    program.run({"x": image})
    assert program.runner.counters.macs == RESNET_MACS
    assert products(devices_of(program)) <= RESNET_ISSUES


@pytest.mark.slow
def test_vgg_issues_few_products() -> None:
    program = compile(vgg16(1).clone(), fallback="error")
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    program.run({program.inputs[0].name: image})
    # 5 % for kernels of 64 channels in six issues instead of five
    assert products(devices_of(program)) <= 1.05 * VGG_CONVOLUTIONS + VGG_CLASSIFIER
    assert program.runner.counters.macs == 15_470_264_320  # published for VGG16


@pytest.mark.slow
def test_the_length_of_resnet_hardly_depends_on_its_batch(resnet_file: Path) -> None:
    one, eight = (
        import_model([resnet_file], shapes={"x": (batch, 3, 224, 224)}) for batch in (1, 8)
    )
    check_lengths(one, eight)


def test_the_length_of_vgg_hardly_depends_on_its_batch() -> None:
    check_lengths(vgg16(1).clone(), vgg16(8).clone())


def check_lengths(one: ModuleOp, eight: ModuleOp) -> None:
    """Of a batch of one and of eight; what is kept on chip and needs no copies is less of eight."""
    plain = [length(lowered(module.clone(), "keep-on-chip,")) for module in (one, eight)]
    # Small images share a tile where there are several, and then leave a remainder.
    assert plain[1] < 1.4 * plain[0]
    assert all(length(lowered(module)) <= LONGEST for module in (one, eight))


@pytest.mark.parametrize(("inputs", "outputs"), [(25088, 512), (4096, 4096)])
def test_loads_overlap_with_products(inputs: int, outputs: int) -> None:
    """The weights of a dense layer stream in a loop; half of a turn loads while half computes."""
    net = Network(1, inputs, 1)
    net.dense(outputs)
    module = net.module()
    alone = makespan(lowered(module.clone(), skip="double-buffer,"))
    assert makespan(lowered(module)) < 0.75 * alone


def test_doubled_loops_give_the_same_bits() -> None:
    net = Network(1, 2048 * 9, 1)
    net.dense(300)
    module = net.module()
    x = np.random.default_rng(3).standard_normal((1, 2048 * 9, 1, 1)).astype(np.float32)
    results: list[bytes] = []
    for skip in ("", "double-buffer,"):
        copy = module.clone()
        lowered(copy, skip)
        executor = Executor(copy, launch=launcher(copy, exact=True))
        (result,) = executor.run({name: x for name in executor.inputs}).values()
        results.append(result.tobytes())
    assert results[0] == results[1]
