"""Run NARROW ops, and in modes `all*` FOLLOW ops, on narrow operands.

Before: `%r = nn.matmul %a, %b : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>`
After:  the same product on implicit `nn.cast`s of `%a` and `%b` to bf16, still into f32; a FOLLOW
        op has a narrow result, which is cast back to f32 for whoever reads it as f32.

Reads only `HasPrecision`; it names no op. Only f32 values are cast, so bf16 and f16 models stay as
they are, and the signature keeps its types. Constants are cast where they are read, which
`fold-constants` folds; their finite numbers stay finite, as masks hold the smallest f32, and 0
times infinity is NaN. `segment` unwinds the casts around ops that stay on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f16, f32
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import WIDE, HasPrecision, Precision
from ranvier.dialects.nn.types import Tensor, TensorOp, element_of, shape_of, tensor, type_of
from ranvier.passes.analysis.dataflow import constant_ops, remove_dead_ops, tensor_blocks
from ranvier.passes.errors import PassError
from ranvier.passes.rewriting.marks import keeps_f32, mark_keep

ONLY_PRODUCTS = frozenset({Precision.NARROW})
EVERYTHING = frozenset({Precision.NARROW, Precision.FOLLOW})

MODES: dict[str, tuple[Attribute, frozenset[Precision]]] = {
    "all": (bf16, EVERYTHING),
    "all-fp16": (f16, EVERYTHING),
    "matmult": (bf16, ONLY_PRODUCTS),
    "matmult-bf16": (bf16, ONLY_PRODUCTS),
    "matmult-fp16": (f16, ONLY_PRODUCTS),
    "none": (f32, frozenset()),
}
"""The narrow type of each mode, and the policies that it casts. `matmult` differs from
`matmult-bf16` in how a target transposes, not in casts."""


@dataclass(frozen=True)
class CastBf16Pass(ModulePass):
    """Cast the operands of ops that tolerate it to bf16 or f16; products accumulate in f32."""

    name = "cast-bf16"

    mode: str = "all"
    """One of all, matmult, matmult-bf16, matmult-fp16, all-fp16, none."""

    keep: tuple[str, ...] = ()
    """Names of ops that stay in f32 whatever their policy, as "nn.softmax"."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        cast_bf16(op, mode=self.mode, keep=self.keep)


def cast_bf16(module: ModuleOp, *, mode: str = "all", keep: Sequence[str] = ()) -> None:
    """Insert implicit casts by each op's policy. Raises PassError for an unknown mode."""
    if mode not in MODES:
        raise PassError(
            Code.OPTION_INVALID, f"unknown mode '{mode}' of cast-bf16; one of {', '.join(MODES)}"
        )
    narrow, policies = MODES[mode]
    for block in tensor_blocks(module):
        parent = block.parent_op()
        if not (isinstance(parent, graph.SegmentOp) and parent.on_host):
            Caster(narrow, policies, frozenset(keep)).run(block)


class Caster:
    """Casts the ops of one block in order, and knows each value's narrow twin."""

    def __init__(
        self, narrow: Attribute, policies: frozenset[Precision], keep: frozenset[str]
    ) -> None:
        self._narrow = narrow
        self._policies = policies
        self._keep = keep
        self._twins: dict[SSAValue, SSAValue] = {}
        self._constants: set[Operation] = set()

    def run(self, block: Block) -> None:
        self._constants = constant_ops(block.ops)
        for op in list(block.ops):
            policy = op.get_trait(HasPrecision)
            if policy is None or not isinstance(op, TensorOp) or op in self._constants:
                continue
            if policy.precision not in self._policies:
                continue
            if op.name in self._keep:
                mark_keep(op)
            if keeps_f32(op):
                continue
            if WIDE in op.attributes:
                continue
            if policy.precision is Precision.NARROW:
                self._narrow_product(op, policy.narrowed)
            else:
                self._follow(op)
        remove_dead_ops(block)

    def _narrow_product(self, op: TensorOp, narrowed: Sequence[int]) -> None:
        """Cast the product's operands; sum and result keep their type."""
        operands = list(op.operands)
        if not any(element_of(operands[i]) == f32 for i in narrowed):
            return
        for i in narrowed:
            operands[i] = self._twin(op, operands[i])
        types = [type_of(result) for result in op.results]
        self._replace(op, op.rebuilt(*operands, result_types=types))

    def _follow(self, op: TensorOp) -> None:
        """Cast every f32 operand; f32 results become narrow and are cast back."""
        if not any(element_of(operand) == f32 for operand in op.operands):
            return
        types = [
            tensor(shape_of(result), self._narrow) if element_of(result) == f32 else type_of(result)
            for result in op.results
        ]
        operands = [self._twin(op, operand) for operand in op.operands]
        self._replace(op, op.rebuilt(*operands, result_types=types))

    def _replace(self, op: TensorOp, new: TensorOp) -> None:
        block = op.parent
        assert block is not None
        new.attributes |= op.attributes
        new.location = op.location
        block.insert_op_before(new, op)
        for old, result in zip(op.results, new.results, strict=True):
            result.name_hint = old.name_hint
            value: SSAValue = result
            if result.type != old.type:
                value = self._cast_before(op, result, type_of(old)).result
                self._twins[value] = result
            old.replace_all_uses_with(value)
        op.detach()
        op.erase()

    def _twin(self, op: TensorOp, value: SSAValue) -> SSAValue:
        """The narrow form of an f32 value; other values as they are."""
        if element_of(value) != f32:
            return value
        if value not in self._twins:
            saturate = value.owner in self._constants
            narrow = nn.CastOp(value, self._narrow, implicit=True, saturate=saturate)
            self._twins[value] = self._insert_before(op, narrow).result
        return self._twins[value]

    def _cast_before(self, op: TensorOp, value: SSAValue, type: Tensor) -> nn.CastOp:
        return self._insert_before(op, nn.CastOp(value, type.element_type, implicit=True))

    def _insert_before(self, op: TensorOp, cast: nn.CastOp) -> nn.CastOp:
        block = op.parent
        assert block is not None
        cast.location = op.location
        cast.result.name_hint = cast.operand.name_hint
        block.insert_op_before(cast, op)
        return cast
