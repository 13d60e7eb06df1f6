"""PyTorch's own samples of its ops, each as a module of one call, and what becomes of them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

import ranvier
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch import Imported, import_program
from ranvier.importers.torch.types import array_of
from ranvier.tools.pytorch_operators import OneCall, databank, drawn, one_call, spread

OPS = [op for op, _ in databank([torch.float32])]
SAMPLES = 20
"""Of one op at most."""

# f32 sums in another order, and elementary functions that round differently in their last digits.
RTOL, ATOL = 2e-4, 1e-5


@dataclass(frozen=True)
class Sample:
    """One call of an op: the module, its inputs, and what eager PyTorch gives."""

    op: str
    index: int
    module: OneCall
    inputs: tuple[torch.Tensor, ...]

    def eager(self, seed: int, relative: float = 0.0) -> list[Any]:
        """The leaves of the result, with every float of the inputs moved by a relative amount."""
        torch.manual_seed(seed)
        inputs = [
            tensor * (1 + relative) if tensor.is_floating_point() and relative else tensor.clone()
            for tensor in self.inputs
        ]
        with torch.no_grad():
            return pytree.tree_leaves(self.module(*inputs))


@dataclass
class Tally:
    """Outcomes of samples, by op.

    `machine`: all of it runs there, `host`: some runs on the host, `wrong`: other numbers than
    PyTorch's, or an error that should not be. Beside those, which were tried: `empty`, which has
    nothing to run, `not in nn`, `random`, `not exported` by PyTorch itself, `refused` with a code.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        try:
            outcome, text = outcome_of(sample, self.reasons), ""
        except Exception as error:  # a bug, which the other samples are not to hide
            outcome, text = "wrong", f": {type(error).__name__}: {error}"
        self.outcomes.setdefault(sample.op, Counter())[outcome] += 1
        if outcome == "wrong":
            self.wrong.append(f"{sample.op}[{sample.index}]{text}")

    @property
    def samples(self) -> Counter[str]:
        return sum(self.outcomes.values(), Counter())

    def tried(self) -> dict[str, Counter[str]]:
        """Ops with a sample that is all `nn`."""
        return {
            op: counts
            for op, counts in self.outcomes.items()
            if counts["machine"] + counts["host"] + counts["wrong"]
        }

    def on_machine(self) -> list[str]:
        """Ops of whose tried samples more run wholly on the machine than not."""
        return [
            op
            for op, counts in self.tried().items()
            if counts["machine"] > counts["host"] + counts["wrong"]
        ]

    def lines(self) -> Iterator[str]:
        tried, machine = self.tried(), self.on_machine()
        wrong = sum(bool(counts["wrong"]) for counts in tried.values())
        yield (
            f"OpInfo: {len(tried)} ops tried, {len(machine)} on the machine, "
            f"{len(tried) - len(machine)} on the host, {wrong} wrong"
        )
        yield "samples: " + ", ".join(f"{n} {outcome}" for outcome, n in self.samples.most_common())
        yield "on the host: " + ", ".join(sorted(tried.keys() - set(machine)))
        yield from (f"wrong: {sample}" for sample in self.wrong)
        for reason, count in self.reasons.most_common(20):
            yield f"{count:5} {reason}"


def name_of(op: Any) -> str:
    """The op's name in the database: `nn.functional.pad.reflect`."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def samples_of(op: Any, count: int = SAMPLES) -> Iterator[Sample]:
    """Some of the first samples of an op in fp32, drawn with a fixed seed."""
    for index, sample in spread(drawn(op, torch.float32, SAMPLES), count):
        module, inputs = one_call(op.op, ((sample.input, *sample.args), sample.kwargs))
        yield Sample(name_of(op), index, module, inputs)


def tally(ops: Sequence[Any], count: int = SAMPLES) -> Tally:
    result = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about what it will remove
        for op in ops:
            for sample in samples_of(op, count):
                result.add(sample)
    return result


def outcome_of(sample: Sample, reasons: Counter[str]) -> str:
    if "empty" in sample.op:
        return "random"  # memory that nothing has written to
    expected = sample.eager(0)
    if not all(map(agree, sample.eager(1), expected)):
        return "random"
    try:
        exported = torch.export.export(sample.module, sample.inputs, strict=False)
    except Exception:  # torch's own, of many kinds
        return "not exported"
    try:
        imported = import_program(exported)
    except ModelImportError:
        return "refused"
    if imported.foreign or any(isinstance(op, nn.OpaqueOp) for op in imported.module.walk()):
        return "not in nn"
    program = ranvier.compile(imported.module, fast_math=("none",))
    actual = results(program, imported, sample.inputs)
    if not all(map(agree, actual, expected)) and not all(
        # Near a pole, by as much as the rounding of the inputs moves eager.
        map(agree, actual, expected, sample.eager(0, 2**-22))
    ):
        return "wrong"
    if program.host_ops and {op.code for op in program.host_ops} == {Code.OP_EMPTY.number}:
        return "empty"
    reasons.update({f"{op.op}: {op.reason}" for op in program.host_ops})
    return "host" if program.operators["host"] else "machine"


def results(
    program: ranvier.Program, imported: Imported, inputs: Sequence[torch.Tensor]
) -> list[Any]:
    """The leaves of the results of a compiled call."""
    feeds = {
        name: array_of(tensor)
        for name, tensor in zip(imported.inputs, inputs, strict=True)
        if name is not None
    }
    arrays = program.run(feeds)
    return [
        output.constant if output.name is None else arrays[output.name]
        for output in imported.outputs
    ]


def agree(result: Any, expected: Any, moved: Any = None) -> bool:
    """Equal types and shapes; floats equal to rounding, relative to the largest of them.

    `moved` is what else they may be, and anything between.
    """
    if not isinstance(expected, torch.Tensor):
        return bool(result == expected or (result != result and expected != expected))
    if expected.dtype.is_complex or expected.layout is not torch.strided:
        return True  # nothing of nn is compared with it
    array = array_of(expected)
    other = array_of(result) if isinstance(result, torch.Tensor) else result
    if other.shape != array.shape or other.dtype != array.dtype:
        return False
    if not expected.dtype.is_floating_point:
        return bool(np.array_equal(other, array))
    wide, wide_other = array.astype(np.float64), other.astype(np.float64)
    scale = np.abs(wide[np.isfinite(wide)]).max(initial=1.0)
    slack = 0.0 if moved is None else np.abs(array_of(moved).astype(np.float64) - wide)
    return bool(np.isclose(wide_other, wide, RTOL, ATOL * scale + slack, equal_nan=True).all())
