"""Segmentation inside another compiler: a pass of its own, a target of its own, any dialect.

A package announces the pass to xDSL's tools with the entry point group `xdsl.universe`:

    [project.entry-points."xdsl.universe"]
    toy = "toy_compiler:UNIVERSE"

    xdsl-opt model.mlir -p 'toy-segment{rules="toy.rules"}'
"""

from dataclasses import dataclass
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass
from xdsl.universe import Universe

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.segment import segment


class ToyTarget:
    """An accelerator for `tosa` that multiplies matrices and adds, of rank 3 at most."""

    name = "toy"
    weight_capacity = 1 << 20
    max_cores = 1

    def why_unsupported(self, op: Operation) -> Reason | None:
        if op.name not in ("tosa.matmul", "tosa.add", "tosa.clamp"):
            return Reason(Code.OP_NO_LOWERING, f"{self.name} has no unit for {op.name}")
        rank = max(len(value.type.get_shape()) for value in op.operands)
        return Reason(Code.OP_RANK, f"rank 3 at most, got {rank}") if rank > 3 else None

    def cost(self, op: Operation) -> float:
        return 1e-6

    def pipeline(self, cores: int) -> str:
        return "toy-segment"


@dataclass(frozen=True)
class ToySegmentPass(ModulePass):
    """Group the ops of @main for the toy and for the host."""

    name = "toy-segment"
    rules: str = ""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        segment(op, ToyTarget(), rules=Path(self.rules) if self.rules else None)


UNIVERSE = Universe(all_passes={"toy-segment": lambda: ToySegmentPass})
