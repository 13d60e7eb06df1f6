"""Each identity of `legalize` keeps the meaning, and applies only where it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp, NameLoc, NoneAttr, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.reference import Executor
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import element_type_of, tensor, type_of
from ranvier.passes.analysis.dataflow import constant_ops, main_block
from ranvier.passes.legalize import DECOMPOSITIONS, legalize
from ranvier.passes.legalize.decomposition import AnyDecomposition

Array = np.ndarray


@dataclass(frozen=True)
class ToyTarget:
    """Lacks some ops, and has all others."""

    lacks: tuple[type[Operation], ...]
    name: str = "toy"
    weight_capacity: int = 1 << 20
    max_cores: int = 4

    def why_unsupported(self, op: Operation) -> Reason | None:
        if isinstance(op, self.lacks):
            return Reason(Code.OP_NO_LOWERING, f"no instruction computes {op.name}")
        return None

    def cost(self, op: Operation) -> float:
        return 1.0

    def pipeline(self, cores: int) -> str:
        return ""


def module_of(build: Callable[..., Operation], arrays: Sequence[Array]) -> ModuleOp:
    types = [tensor(a.shape, element_type_of(a.dtype)) for a in arrays]
    main = FuncOp("main", (types, []))
    block = main.body.block
    op = build(*block.args)
    op.location = NameLoc(StringAttr("it"), NoneAttr())
    for operand in op.operands:
        if isinstance(operand.owner, Operation):
            block.add_op(operand.owner)
    block.add_ops([op, ReturnOp(op.results[0])])
    main.function_type = type(main.function_type).from_lists(types, [op.results[0].type])
    return ModuleOp([main])


def run(module: ModuleOp, arrays: Sequence[Array]) -> Array:
    executor = Executor(module)
    return executor.run(dict(zip(executor.inputs, arrays, strict=True)))["result0"]


def floats(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def constant(values: object, dtype: type = np.float32) -> SSAValue:
    return nn.ConstantOp(np.array(values, dtype)).result


X = floats(2, 6)
POSITIVE = np.abs(X) + 0.5
IMAGE = floats(2, 4, 7, 7)
WINDOW = {"strides": (2, 1), "padding": (1, 0, 2, 1), "dilations": (1, 1)}
VOLUME_WINDOW = {
    "strides": (2, 1, 2),
    "padding": (1, 0, 1, 0, 1, 0),
    "dilations": (2, 1, 1),
}
VOLUME = {**VOLUME_WINDOW, "padding": (1, 0, 1, 0, 0, 0)}
COUNT = {"count_padding": False}
POOL = {"kernel": (3, 2), **WINDOW}
WHOLE = {"kernel": (7, 7), "strides": (1, 1), "padding": (0,) * 4, "dilations": (1, 1)}
LINE = {"strides": (2,), "padding": (1, 2), "dilations": (1,)}
REDUCE = {"axes": (0, 1), "keepdims": True}
PAD = {"low": (3, -1), "high": (1, 2), "value": 0.0}

MATRICES = (floats(7, 7), floats(7))

Sample = tuple[Callable[..., Operation], tuple[Array, ...]]
SAMPLES: dict[str, Sample] = {
    "relu": (nn.ReluOp, (X,)),
    "relu of integers": (nn.ReluOp, (np.arange(-2, 3),)),
    "clamp": (lambda x: nn.ClampOp(x, low=-0.5, high=0.5), (X,)),
    "clamp above": (lambda x: nn.ClampOp(x, high=0.5), (X,)),
    "silu": (nn.SiluOp, (X,)),
    "sigmoid": (nn.SigmoidOp, (X,)),
    "tanh": (nn.TanhOp, (X,)),
    "hard_sigmoid": (lambda x: nn.HardSigmoidOp(x, alpha=0.2, beta=0.5), (X,)),
    "hard_swish": (nn.HardSwishOp, (X * 4,)),
    "softplus": (nn.SoftplusOp, (X * 100,)),
    "gelu": (lambda x: nn.GeluOp(x, approximate="none"), (X,)),
    "gelu tanh": (lambda x: nn.GeluOp(x, approximate="tanh"), (X,)),
    "leaky_relu": (lambda x: nn.LeakyReluOp(x, alpha=-2.0), (X,)),
    "elu": (lambda x: nn.EluOp(x, alpha=0.7), (X,)),
    "neg": (nn.NegOp, (X,)),
    "abs": (nn.AbsOp, (X,)),
    "sub": (nn.SubOp, (X, floats(6))),
    "min": (nn.MinOp, (X, floats(6))),
    "div": (nn.DivOp, (X, POSITIVE)),
    "reciprocal": (nn.ReciprocalOp, (POSITIVE,)),
    "rsqrt": (nn.RsqrtOp, (POSITIVE,)),
    "rsqrt of bf16": (nn.RsqrtOp, (POSITIVE.astype(ml_dtypes.bfloat16),)),
    "ceil": (nn.CeilOp, (X * 3,)),
    "floor": (nn.FloorOp, (X * 3,)),
    "cos": (nn.CosOp, (X,)),
    "greater": (nn.GreaterOp, (X, floats(6))),
    "less_equal": (nn.LessEqualOp, (X, X)),
    **{
        f"pow {c}": (lambda x, c=c: nn.PowOp(x, constant(c)), (POSITIVE,))
        for c in (1, 2, 3, 4, 0.5, -0.5, -1, -2)
    },
    "reduce_mean": (lambda x: nn.ReduceMeanOp(x, **REDUCE), (X,)),
    "reduce_min": (lambda x: nn.ReduceMinOp(x, axes=(1,), keepdims=False), (X,)),
    **{
        name: (lambda x, op=op: op(x, axes=(0, 1), keepdims=False), (X,))
        for name, op in {
            "reduce_l1": nn.ReduceL1Op,
            "reduce_l2": nn.ReduceL2Op,
            "reduce_sum_square": nn.ReduceSumSquareOp,
            "reduce_log_sum_exp": nn.ReduceLogSumExpOp,
        }.items()
    },
    "tan": (nn.TanOp, (X,)),
    "cosh": (nn.CoshOp, (X,)),
    "prelu": (nn.PReluOp, (X, floats(6))),
    "sign": (nn.SignOp, (np.array([-2, 0, 3, np.nan], np.float32),)),
    "xor": (nn.XorOp, (X > 0, X > 1)),
    "is_nan": (nn.IsNanOp, (np.array([1, np.nan, np.inf], np.float32),)),
    **{
        f"is_inf {signs}": (
            lambda x, signs=signs: nn.IsInfOp(x, negative=signs[0], positive=signs[1]),
            (np.array([1, np.nan, np.inf, -np.inf], np.float32),),
        )
        for signs in ((True, True), (False, True), (True, False))
    },
    "hardmax": (lambda x: nn.HardmaxOp(x, axis=1), (np.round(X),)),
    **{
        f"scan {op.name} {exclusive} {reverse}": (
            lambda x, op=op, e=exclusive, r=reverse: op(x, axis=1, exclusive=e, reverse=r),
            (np.arange(-7, 7, dtype=np.int32).reshape(2, 7),),
        )
        for op in (nn.CumSumOp, nn.CumProdOp)
        for exclusive, reverse in ((False, False), (True, True), (True, False))
    },
    "trilu": (lambda x: nn.TriluOp(x, upper=True, diagonal=-2), (IMAGE,)),
    "trilu lower": (lambda x: nn.TriluOp(x, upper=False, diagonal=1), (X,)),
    "log_softmax": (lambda x: nn.LogSoftmaxOp(x, axis=0), (X * 30,)),
    "layer_norm": (lambda *v: nn.LayerNormOp(*v, axis=2, epsilon=1e-3), (IMAGE, *MATRICES)),
    "layer_norm plain": (lambda *v: nn.LayerNormOp(*v, axis=1, epsilon=1e-3), (X, floats(6))),
    "rms_norm": (lambda *v: nn.RmsNormOp(*v, axis=1, epsilon=1e-3), (X, floats(6))),
    "group_norm": (
        lambda *v: nn.GroupNormOp(*v, groups=2, epsilon=1e-3),
        (IMAGE, floats(4), POSITIVE[0, :4]),
    ),
    **{
        f"lp_normalize {p}": (
            lambda x, p=p: nn.LpNormalizeOp(x, axis=1, p=p),
            (X * np.float32([[1], [0]]),),
        )
        for p in (1, 2)
    },
    "lrn": (lambda x: nn.LrnOp(x, size=4, alpha=0.5, beta=0.75, bias=2.0), (IMAGE,)),
    **{
        f"resize {mode} {coordinates}": (
            lambda x, mode=mode, coordinates=coordinates: nn.ResizeOp(
                x,
                shape=(2, 4, 14, 21),
                scales=(1.0, 1.0, 2.0, 3.0),
                mode=mode,
                coordinates=coordinates,
                rounding="floor",
            ),
            (IMAGE,),
        )
        for mode, coordinates in (
            ("nearest", "asymmetric"),
            ("linear", "half_pixel"),
            ("linear", "align_corners"),
            ("cubic", "half_pixel"),
        )
    },
    **{f"lp_pool {p}": (lambda x, p=p: nn.LpPoolOp(x, p=p, **POOL), (IMAGE,)) for p in (1, 2, 3)},
    **{
        f"grid_sample {mode} {padding} {align}": (
            lambda x, grid, mode=mode, padding=padding, align=align: nn.GridSampleOp(
                x, grid, mode=mode, padding=padding, align_corners=align
            ),
            (IMAGE, floats(2, 3, 5, 2) * 1.2),
        )
        for mode, padding, align in (
            ("linear", "zeros", False),
            ("nearest", "border", True),
            ("cubic", "reflection", False),
            ("linear", "reflection", True),
        )
    },
    "softmax": (lambda x: nn.SoftmaxOp(x, axis=0), (X,)),
    "batch_norm": (
        lambda *v: nn.BatchNormOp(*v, epsilon=1e-5),
        (IMAGE, *(floats(4),) * 3, POSITIVE[0, :4]),
    ),
    "gemm": (
        lambda *v: nn.GemmOp(*v, alpha=0.5, beta=2.0, transpose_lhs=True, transpose_rhs=True),
        (floats(3, 2), floats(4, 3), floats(4)),
    ),
    "gemm plain": (
        lambda *v: nn.GemmOp(*v, alpha=1.0, beta=1.0, transpose_lhs=False, transpose_rhs=False),
        (floats(2, 3), floats(3, 4)),
    ),
    "einsum": (
        lambda *v: nn.EinsumOp(*v, equation="iij,jk,k->ik"),
        (floats(3, 3, 4), floats(4, 5), floats(5)),
    ),
    "gather": (
        lambda x: nn.GatherOp(x, constant([[4, 5, -6], [0, 2, 4]], np.int64), axis=1),
        (X,),
    ),
    **{
        f"pad {mode}": (lambda x, mode=mode: nn.PadOp(x, mode=mode, **PAD), (floats(4, 5),))
        for mode in ("reflect", "edge", "wrap")
    },
}

# Ops that a target has in some forms only: the form that it lacks, and what to rewrite it to.
FORMS: dict[str, tuple[Sample, Callable[[Operation], bool]]] = {
    "matmul of vectors": (
        (nn.MatmulOp, (floats(3), floats(2, 3, 4))),
        lambda op: len(type_of(op.operands[0]).get_shape()) < 2,
    ),
    "matmul with a column": (
        (nn.MatmulOp, (floats(2, 3, 4), floats(4))),
        lambda op: len(type_of(op.operands[1]).get_shape()) < 2,
    ),
    "matmul of rows": (
        (nn.MatmulOp, (floats(2, 5, 3), floats(3, 4))),
        lambda op: len(type_of(op.operands[0]).get_shape()) > 2,
    ),
    "matmul of batches": (
        (nn.MatmulOp, (floats(2, 1, 5, 3), floats(3, 3, 4))),
        lambda op: (
            len(type_of(op.operands[0]).get_shape()) > 3
            or type_of(op.operands[0]).get_shape()[0] != type_of(op.operands[1]).get_shape()[0]
        ),
    ),
    "conv of a line": (
        (lambda *v: nn.ConvOp(*v, groups=1, **LINE), (floats(2, 4, 9), floats(6, 4, 3), floats(6))),
        lambda op: len(type_of(op.operands[0]).get_shape()) == 3,
    ),
    "conv of a volume": (
        (
            lambda *v: nn.ConvOp(*v, groups=2, **VOLUME),
            (floats(2, 4, 5, 4, 3), floats(6, 2, 2, 2, 1), floats(6)),
        ),
        lambda op: len(type_of(op.operands[0]).get_shape()) == 5,
    ),
    **{
        f"conv_transpose of a volume {places}": (
            (
                lambda *v, places=places: nn.ConvTransposeOp(*v, groups=2, **{**VOLUME, **places}),
                (floats(2, 4, 3, 4, 3), floats(4, 3, 2, 2, 1), floats(6)),
            ),
            lambda op: len(type_of(op.operands[0]).get_shape()) == 5,
        )
        for places in (
            {"strides": (1, 1, 1)},
            {"strides": (2, 1, 2), "dilations": (1, 1, 1)},
            {"strides": (3, 1, 2), "padding": (1, 0, 0, -2, 0, 0)},
        )
    },
    "conv with padding": (
        (lambda *v: nn.ConvOp(*v, groups=2, **WINDOW), (IMAGE, floats(6, 2, 3, 3), floats(6))),
        lambda op: any(op.get("padding")),
    ),
    "conv with groups": (
        (lambda *v: nn.ConvOp(*v, groups=2, **WINDOW), (IMAGE, floats(6, 2, 3, 3), floats(6))),
        lambda op: op.get("groups") > 1,
    ),
    "max_pool of a line": (
        (lambda x: nn.MaxPoolOp(x, kernel=(3,), **LINE), (floats(2, 4, 9),)),
        lambda op: len(type_of(op.operands[0]).get_shape()) == 3,
    ),
    **{
        f"{op.name} axis by axis, rank {x.ndim}": (
            (lambda x, op=op, where=where: op(x, **where), (x,)),
            lambda op, rank=x.ndim: len(op.get("kernel")) == rank - 2 and min(op.get("kernel")) > 1,
        )
        for op, x, where in (
            (nn.MaxPoolOp, floats(2, 4, 7, 7), {"kernel": (3, 2), **WINDOW}),
            (nn.MaxPoolOp, floats(2, 3, 5, 4, 6), {"kernel": (2, 3, 2), **VOLUME_WINDOW}),
            (nn.AvgPoolOp, floats(2, 3, 5, 4, 6), {"kernel": (2, 3, 2), **VOLUME_WINDOW, **COUNT}),
        )
    },
    "max_pool with padding": (
        (lambda x: nn.MaxPoolOp(x, **POOL), (IMAGE,)),
        lambda op: any(op.get("padding")),
    ),
    "avg_pool with padding": (
        (lambda x: nn.AvgPoolOp(x, count_padding=True, **POOL), (IMAGE,)),
        lambda op: any(op.get("padding")),
    ),
    "avg_pool that counts inside taps": (
        (lambda x: nn.AvgPoolOp(x, count_padding=False, **POOL), (IMAGE,)),
        lambda op: not op.get("count_padding"),
    ),
    "global avg_pool": (
        (lambda x: nn.AvgPoolOp(x, count_padding=False, **WHOLE), (IMAGE,)),
        lambda op: True,
    ),
    "global max_pool": (
        (lambda x: nn.MaxPoolOp(x, **WHOLE), (IMAGE,)),
        lambda op: True,
    ),
    "reduce axis by axis": (
        (lambda x: nn.ReduceMeanOp(x, axes=(1, 3), keepdims=False), (IMAGE,)),
        lambda op: len(op.get("axes")) > 1,
    ),
    "reduce of another axis": (
        (lambda x: nn.ReduceSumOp(x, axes=(0, 2), keepdims=True), (IMAGE,)),
        lambda op: op.get("axes") != (len(type_of(op.operands[0]).get_shape()) - 1,),
    ),
}


@dataclass(frozen=True)
class FormTarget(ToyTarget):
    """Lacks one form of one op."""

    lacks_form: Callable[[Operation], bool] = lambda op: False

    def why_unsupported(self, op: Operation) -> Reason | None:
        if isinstance(op, self.lacks) and self.lacks_form(op):
            return Reason(Code.OP_ATTRIBUTE, "not in this form")
        return None


def check(sample: Sample, target_for: Callable[[Operation], ToyTarget]) -> list[Operation]:
    build, arrays = sample
    module = module_of(build, arrays)
    expected = run(module, arrays)
    target = target_for(next(op for op in main_block(module).ops if op.location == LOCATION))
    legalize(module, target)
    module.verify()
    ops = [op for op in main_block(module).ops if not isinstance(op, ReturnOp)]
    folded = constant_ops(ops)  # never run on the target
    assert all(target.why_unsupported(op) is None for op in ops if op not in folded)
    actual = run(module, arrays)
    assert actual.dtype == expected.dtype
    narrow = actual.dtype == ml_dtypes.bfloat16
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), *(2 * [0.01 if narrow else 2e-5])
    )
    assert all(op.location == LOCATION for op in ops if not isinstance(op, nn.ConstantOp))
    return ops


LOCATION = NameLoc(StringAttr("it"), NoneAttr())


@pytest.mark.parametrize("name", SAMPLES)
def test_an_identity_keeps_the_meaning(name):
    ops = check(SAMPLES[name], lambda op: ToyTarget((type(op),)))
    assert ops or name == "pow 1"


@pytest.mark.parametrize("name", FORMS)
def test_a_form_becomes_another_form(name):
    sample, lacks_form = FORMS[name]
    check(sample, lambda op: FormTarget((type(op),), lacks_form=lacks_form))


def test_every_identity_has_a_sample():
    entered: set[AnyDecomposition] = set()
    for build, arrays in [*SAMPLES.values(), *(sample for sample, _ in FORMS.values())]:
        op = next(o for o in main_block(module_of(build, arrays)).ops if o.location == LOCATION)
        entered |= {d for d in DECOMPOSITIONS if type(op) in d.op_types}
    assert {type(d).__name__ for d in set(DECOMPOSITIONS) - entered} == set()


def test_identities_follow_each_other():
    """silu needs sigmoid, which needs reciprocal, which needs a division."""
    lacks = (nn.SiluOp, nn.SigmoidOp, nn.ReciprocalOp, nn.NegOp)
    ops = check(SAMPLES["silu"], lambda op: ToyTarget(lacks))
    assert [op.name for op in ops if not isinstance(op, nn.ConstantOp)] == [
        "nn.mul", "nn.exp", "nn.add", "nn.div", "nn.mul",
    ]  # fmt: skip


def test_an_op_that_stays_on_the_host_stays_whole():
    build, arrays = SAMPLES["gelu"]
    module = module_of(build, arrays)
    legalize(module, ToyTarget((nn.GeluOp, nn.ErfOp)))
    assert [op.name for op in main_block(module).ops] == ["nn.gelu", "func.return"]


def test_division_and_reciprocal_do_not_chase_each_other():
    build, arrays = SAMPLES["div"]
    module = module_of(build, arrays)
    legalize(module, ToyTarget((nn.DivOp, nn.ReciprocalOp)))
    assert [op.name for op in main_block(module).ops] == ["nn.div", "func.return"]


def test_a_supported_op_stays():
    build, arrays = SAMPLES["silu"]
    module = module_of(build, arrays)
    legalize(module, ToyTarget(()))
    assert [op.name for op in main_block(module).ops] == ["nn.silu", "func.return"]
    assert module.attributes["ranvier.target"] == StringAttr("toy")


def test_statistics_that_are_constants_ask_nothing_of_the_target():
    """The square root of a constant variance is folded, not run."""
    statistics = [constant([1.0, 2.0]) for _ in range(4)]
    module = module_of(lambda x: nn.BatchNormOp(x, *statistics, epsilon=0.1), (floats(3, 2),))
    legalize(module, ToyTarget((nn.BatchNormOp, nn.SqrtOp, nn.DivOp)))
    assert not any(isinstance(op, nn.BatchNormOp) for op in main_block(module).ops)
