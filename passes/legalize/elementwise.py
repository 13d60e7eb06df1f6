"""Elementwise ops by simpler ones."""

from __future__ import annotations

from math import inf, pi, sqrt

from xdsl.dialects.builtin import i1
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.elementwise import CompareOp
from ranvier.dialects.nn.types import element_of, is_float
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    constant_scalar,
)

# -- Activations ------------------------------------------------------------------------------


class DecomposeRelu(Decomposition[nn.ReluOp]):
    """`relu(x) -> max(x, 0)`"""

    def decompose(self, op: nn.ReluOp, emit: Emitter) -> SSAValue:
        return emit(nn.MaxOp(op.operand, emit.scalar(0, op.operand)))


class DecomposeClamp(Decomposition[nn.ClampOp]):
    """`clamp(x, low, high) -> min(max(x, low), high)`"""

    def decompose(self, op: nn.ClampOp, emit: Emitter) -> SSAValue:
        value: SSAValue = op.operand
        if (low := op.get("low")) is not None:
            value = emit(nn.MaxOp(value, emit.scalar(low, value)))
        if (high := op.get("high")) is not None:
            value = emit(nn.MinOp(value, emit.scalar(high, value)))
        return value


class DecomposeSilu(Decomposition[nn.SiluOp]):
    """`silu(x) -> x * sigmoid(x)`"""

    def decompose(self, op: nn.SiluOp, emit: Emitter) -> SSAValue:
        return emit(nn.MulOp(op.operand, emit(nn.SigmoidOp(op.operand))))


class DecomposeSigmoid(Decomposition[nn.SigmoidOp]):
    """`sigmoid(x) -> 1 / (1 + exp(-x))`"""

    def decompose(self, op: nn.SigmoidOp, emit: Emitter) -> SSAValue:
        decayed = emit(nn.ExpOp(emit(nn.NegOp(op.operand))))
        return emit(nn.ReciprocalOp(emit(nn.AddOp(decayed, emit.scalar(1, decayed)))))


class DecomposeTanh(Decomposition[nn.TanhOp]):
    """`tanh(x) -> 2 * sigmoid(2 * x) - 1`"""

    def decompose(self, op: nn.TanhOp, emit: Emitter) -> SSAValue:
        x = op.operand
        gate = emit(nn.SigmoidOp(emit(nn.MulOp(x, emit.scalar(2, x)))))
        return emit(nn.SubOp(emit(nn.MulOp(gate, emit.scalar(2, x))), emit.scalar(1, x)))


class DecomposeHardSigmoid(Decomposition[nn.HardSigmoidOp]):
    """`hard_sigmoid(x) -> clamp(alpha * x + beta, 0, 1)`"""

    def decompose(self, op: nn.HardSigmoidOp, emit: Emitter) -> SSAValue:
        scaled = emit(nn.MulOp(op.operand, emit.scalar(op.get("alpha"), op.operand)))
        shifted = emit(nn.AddOp(scaled, emit.scalar(op.get("beta"), scaled)))
        return emit(nn.ClampOp(shifted, low=0.0, high=1.0))


class DecomposeHardSwish(Decomposition[nn.HardSwishOp]):
    """`hard_swish(x) -> x * clamp(x / 6 + 1/2, 0, 1)`"""

    def decompose(self, op: nn.HardSwishOp, emit: Emitter) -> SSAValue:
        scaled = emit(nn.MulOp(op.operand, emit.scalar(1 / 6, op.operand)))
        shifted = emit(nn.AddOp(scaled, emit.scalar(0.5, scaled)))
        return emit(nn.MulOp(op.operand, emit(nn.ClampOp(shifted, low=0.0, high=1.0))))


class DecomposeSoftplus(Decomposition[nn.SoftplusOp]):
    """`softplus(x) -> max(x, 0) + log(1 + exp(-|x|))`, which never overflows"""

    def decompose(self, op: nn.SoftplusOp, emit: Emitter) -> SSAValue:
        decayed = emit(nn.ExpOp(emit(nn.NegOp(emit(nn.AbsOp(op.operand))))))
        tail = emit(nn.LogOp(emit(nn.AddOp(decayed, emit.scalar(1, decayed)))))
        return emit(nn.AddOp(emit(nn.ReluOp(op.operand)), tail))


class DecomposeGelu(Decomposition[nn.GeluOp]):
    """`gelu(x) -> x / 2 * (1 + erf(x / sqrt(2)))`, with `approximate = "tanh"`
    `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))`
    """

    def decompose(self, op: nn.GeluOp, emit: Emitter) -> SSAValue:
        x = op.operand
        if op.approximate.data == "tanh":
            cube = emit(nn.MulOp(emit(nn.MulOp(x, x)), x))
            argument = emit(nn.AddOp(x, emit(nn.MulOp(cube, emit.scalar(0.044715, x)))))
            argument = emit(nn.MulOp(argument, emit.scalar(sqrt(2 / pi), x)))
            gate = emit(nn.TanhOp(argument))
        else:
            gate = emit(nn.ErfOp(emit(nn.MulOp(x, emit.scalar(1 / sqrt(2), x)))))
        half = emit(nn.MulOp(x, emit.scalar(0.5, x)))
        return emit(nn.MulOp(half, emit(nn.AddOp(gate, emit.scalar(1, x)))))


class DecomposeLeakyRelu(Decomposition[nn.LeakyReluOp]):
    """`leaky_relu(x) -> max(x, 0) + alpha * min(x, 0)`"""

    def decompose(self, op: nn.LeakyReluOp, emit: Emitter) -> SSAValue:
        negative = emit(nn.MinOp(op.operand, emit.scalar(0, op.operand)))
        slope = emit(nn.MulOp(negative, emit.scalar(op.get("alpha"), negative)))
        return emit(nn.AddOp(emit(nn.ReluOp(op.operand)), slope))


class DecomposeElu(Decomposition[nn.EluOp]):
    """`elu(x) -> max(x, 0) + alpha * (exp(min(x, 0)) - 1)`"""

    def decompose(self, op: nn.EluOp, emit: Emitter) -> SSAValue:
        power = emit(nn.ExpOp(emit(nn.MinOp(op.operand, emit.scalar(0, op.operand)))))
        tail = emit(nn.SubOp(power, emit.scalar(1, power)))
        slope = emit(nn.MulOp(tail, emit.scalar(op.get("alpha"), tail)))
        return emit(nn.AddOp(emit(nn.ReluOp(op.operand)), slope))


# -- Arithmetic -------------------------------------------------------------------------------


class DecomposeNeg(Decomposition[nn.NegOp]):
    """`-x -> x * -1`"""

    def decompose(self, op: nn.NegOp, emit: Emitter) -> SSAValue:
        return emit(nn.MulOp(op.operand, emit.scalar(-1, op.operand)))


class DecomposeAbs(Decomposition[nn.AbsOp]):
    """`|x| -> max(x, -x)`"""

    def decompose(self, op: nn.AbsOp, emit: Emitter) -> SSAValue:
        return emit(nn.MaxOp(op.operand, emit(nn.NegOp(op.operand))))


class DecomposeSub(Decomposition[nn.SubOp]):
    """`x - y -> x + (-y)`"""

    def decompose(self, op: nn.SubOp, emit: Emitter) -> SSAValue:
        return emit(nn.AddOp(op.lhs, emit(nn.NegOp(op.rhs))))


class DecomposeMin(Decomposition[nn.MinOp]):
    """`min(x, y) -> -max(-x, -y)`"""

    def decompose(self, op: nn.MinOp, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.lhs)):
            return None
        larger = emit(nn.MaxOp(emit(nn.NegOp(op.lhs)), emit(nn.NegOp(op.rhs))))
        return emit(nn.NegOp(larger))


class DecomposeDiv(Decomposition[nn.DivOp]):
    """`x / y -> x * (1 / y)`, for floats"""

    def decompose(self, op: nn.DivOp, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.lhs)):
            return None
        return emit(nn.MulOp(op.lhs, emit(nn.ReciprocalOp(op.rhs))))


class DecomposeReciprocal(Decomposition[nn.ReciprocalOp]):
    """`1 / x`, spelled as a division"""

    def decompose(self, op: nn.ReciprocalOp, emit: Emitter) -> SSAValue:
        return emit(nn.DivOp(emit.scalar(1, op.operand), op.operand))


class DecomposeRsqrt(Decomposition[nn.RsqrtOp]):
    """`rsqrt(x) -> 1 / sqrt(x)`"""

    def decompose(self, op: nn.RsqrtOp, emit: Emitter) -> SSAValue:
        return emit(nn.ReciprocalOp(emit(nn.SqrtOp(op.operand))))


class DecomposePow(Decomposition[nn.PowOp]):
    """`x ** c -> sqrt(x), x * x, x * x * x, …` for a constant `c` of a few halves and integers"""

    def decompose(self, op: nn.PowOp, emit: Emitter) -> SSAValue | None:
        x, exponent = op.lhs, constant_scalar(op.rhs)
        if x.type != op.result.type or not is_float(element_of(x)):
            return None
        match exponent:
            case 1:
                return x
            case 2:
                return emit(nn.MulOp(x, x))
            case 3:
                return emit(nn.MulOp(emit(nn.MulOp(x, x)), x))
            case 4:
                square = emit(nn.MulOp(x, x))
                return emit(nn.MulOp(square, square))
            case 0.5:
                return emit(nn.SqrtOp(x))
            case -0.5:
                return emit(nn.RsqrtOp(x))
            case -1:
                return emit(nn.ReciprocalOp(x))
            case -2:
                return emit(nn.ReciprocalOp(emit(nn.MulOp(x, x))))
            case _:
                return None


class DecomposeCeil(Decomposition[nn.CeilOp]):
    """`ceil(x) -> -floor(-x)`"""

    def decompose(self, op: nn.CeilOp, emit: Emitter) -> SSAValue:
        return emit(nn.NegOp(emit(nn.FloorOp(emit(nn.NegOp(op.operand))))))


class DecomposeFloor(Decomposition[nn.FloorOp]):
    """`floor(x) -> -ceil(-x)`"""

    def decompose(self, op: nn.FloorOp, emit: Emitter) -> SSAValue:
        return emit(nn.NegOp(emit(nn.CeilOp(emit(nn.NegOp(op.operand))))))


class DecomposeCos(Decomposition[nn.CosOp]):
    """`cos(x) -> sin(x + pi / 2)`"""

    def decompose(self, op: nn.CosOp, emit: Emitter) -> SSAValue:
        return emit(nn.SinOp(emit(nn.AddOp(op.operand, emit.scalar(pi / 2, op.operand)))))


class DecomposeTan(Decomposition[nn.TanOp]):
    """`tan(x) -> sin(x) / cos(x)`"""

    def decompose(self, op: nn.TanOp, emit: Emitter) -> SSAValue:
        return emit(nn.DivOp(emit(nn.SinOp(op.operand)), emit(nn.CosOp(op.operand))))


class DecomposeCosh(Decomposition[nn.CoshOp]):
    """`cosh(x) -> (exp(x) + exp(-x)) / 2`"""

    def decompose(self, op: nn.CoshOp, emit: Emitter) -> SSAValue:
        decayed = emit(nn.ExpOp(emit(nn.NegOp(op.operand))))
        total = emit(nn.AddOp(emit(nn.ExpOp(op.operand)), decayed))
        return emit(nn.MulOp(total, emit.scalar(0.5, total)))


class DecomposePRelu(Decomposition[nn.PReluOp]):
    """`prelu(x, slope) -> max(x, 0) + slope * min(x, 0)`"""

    def decompose(self, op: nn.PReluOp, emit: Emitter) -> SSAValue:
        negative = emit(nn.MinOp(op.lhs, emit.scalar(0, op.lhs)))
        return emit(nn.AddOp(emit(nn.ReluOp(op.lhs)), emit(nn.MulOp(negative, op.rhs))))


class DecomposeSign(Decomposition[nn.SignOp]):
    """`sign(x) -> select(x > 0, 1, select(x < 0, -1, x))`"""

    def decompose(self, op: nn.SignOp, emit: Emitter) -> SSAValue:
        x, zero = op.operand, emit.scalar(0, op.operand)
        below = emit(nn.SelectOp(emit(nn.LessOp(x, zero)), emit.scalar(-1, x), x))
        return emit(nn.SelectOp(emit(nn.GreaterOp(x, zero)), emit.scalar(1, x), below))


class DecomposeXor(Decomposition[nn.XorOp]):
    """`x ^ y -> (x | y) & !(x & y)`, for truth values"""

    def decompose(self, op: nn.XorOp, emit: Emitter) -> SSAValue | None:
        if element_of(op.lhs) != i1:
            return None
        both = emit(nn.NotOp(emit(nn.AndOp(op.lhs, op.rhs))))
        return emit(nn.AndOp(emit(nn.OrOp(op.lhs, op.rhs)), both))


class DecomposeIsNan(Decomposition[nn.IsNanOp]):
    """`is_nan(x) -> !(x == x)`"""

    def decompose(self, op: nn.IsNanOp, emit: Emitter) -> SSAValue:
        return emit(nn.NotOp(emit(nn.EqualOp(op.operand, op.operand))))


class DecomposeIsInf(Decomposition[nn.IsInfOp]):
    """`is_inf(x) -> |x| == inf`, or `x == inf` or `x == -inf` for one sign"""

    def decompose(self, op: nn.IsInfOp, emit: Emitter) -> SSAValue | None:
        x, signs = op.operand, (op.get("negative"), op.get("positive"))
        if not any(signs):
            return None
        operand = emit(nn.AbsOp(x)) if all(signs) else x
        return emit(nn.EqualOp(operand, emit.scalar(inf if signs[1] else -inf, x)))


# -- Comparisons ------------------------------------------------------------------------------

MIRRORED: dict[type[CompareOp], type[CompareOp]] = {
    nn.GreaterOp: nn.LessOp,
    nn.GreaterEqualOp: nn.LessEqualOp,
    nn.LessOp: nn.GreaterOp,
    nn.LessEqualOp: nn.GreaterEqualOp,
}


class MirrorComparison(
    Decomposition[nn.GreaterOp | nn.GreaterEqualOp | nn.LessOp | nn.LessEqualOp]
):
    """`x > y -> y < x`, and so on"""

    def decompose(self, op: CompareOp, emit: Emitter) -> SSAValue:
        return emit(MIRRORED[type(op)](op.rhs, op.lhs))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    DecomposeRelu(),
    DecomposeClamp(),
    DecomposeSilu(),
    DecomposeSigmoid(),
    DecomposeTanh(),
    DecomposeHardSigmoid(),
    DecomposeHardSwish(),
    DecomposeSoftplus(),
    DecomposeGelu(),
    DecomposeLeakyRelu(),
    DecomposeElu(),
    DecomposeNeg(),
    DecomposeAbs(),
    DecomposeSub(),
    DecomposeMin(),
    DecomposeDiv(),
    DecomposeReciprocal(),
    DecomposeRsqrt(),
    DecomposePow(),
    DecomposeCeil(),
    DecomposeFloor(),
    DecomposeCos(),
    DecomposeTan(),
    DecomposeCosh(),
    DecomposePRelu(),
    DecomposeSign(),
    DecomposeXor(),
    DecomposeIsNan(),
    DecomposeIsInf(),
    MirrorComparison(),
)
