"""Elementwise ops of MXNet. Comparisons give the element type of their operands, not bool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from xdsl.dialects.builtin import i1
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of
from ranvier.importers.mxnet.node import HANDLERS, Handler, Node, enter_rows, mx_op

ROWS: dict[str, type[TensorOp]] = {
    "abs": nn.AbsOp,
    "arccos": nn.AcosOp,
    "arccosh": nn.AcoshOp,
    "arcsin": nn.AsinOp,
    "arcsinh": nn.AsinhOp,
    "arctan": nn.AtanOp,
    "arctanh": nn.AtanhOp,
    "ceil": nn.CeilOp,
    "cos": nn.CosOp,
    "cosh": nn.CoshOp,
    "erf": nn.ErfOp,
    "exp": nn.ExpOp,
    "floor": nn.FloorOp,
    "log": nn.LogOp,
    "negative": nn.NegOp,
    "reciprocal": nn.ReciprocalOp,
    "relu": nn.ReluOp,
    "rsqrt": nn.RsqrtOp,
    "sigmoid": nn.SigmoidOp,
    "sign": nn.SignOp,
    "sin": nn.SinOp,
    "sinh": nn.SinhOp,
    "sqrt": nn.SqrtOp,
    "tan": nn.TanOp,
    "tanh": nn.TanhOp,
}
enter_rows(ROWS)

ARITHMETIC: dict[str, type[TensorOp]] = {
    "add": nn.AddOp,
    "plus": nn.AddOp,
    "sub": nn.SubOp,
    "minus": nn.SubOp,
    "mul": nn.MulOp,
    "div": nn.DivOp,
    "pow": nn.PowOp,
    "power": nn.PowOp,
    "maximum": nn.MaxOp,
    "minimum": nn.MinOp,
}
COMPARISONS: dict[str, type[TensorOp]] = {
    "equal": nn.EqualOp,
    "greater": nn.GreaterOp,
    "greater_equal": nn.GreaterEqualOp,
    "lesser": nn.LessOp,
    "lesser_equal": nn.LessEqualOp,
}
LOGIC: dict[str, type[TensorOp]] = {
    "logical_and": nn.AndOp,
    "logical_or": nn.OrOp,
    "logical_xor": nn.XorOp,
}

Binary = Callable[[Node, SSAValue, SSAValue], SSAValue]


def arithmetic(op: type[TensorOp]) -> Binary:
    return lambda node, lhs, rhs: node.build(op(lhs, rhs))


def modulo(node: Node, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
    """The remainder of 0 is 0."""
    rest, zero = node.build(nn.ModOp(lhs, rhs)), node.constant(0, element_of(rhs))
    return node.build(nn.SelectOp(node.build(nn.EqualOp(rhs, zero)), zero, rest))


def comparison(op: type[TensorOp], *, negated: bool = False) -> Binary:
    def compare(node: Node, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        found = node.build(op(lhs, rhs))
        if negated:
            found = node.build(nn.NotOp(found))
        return node.cast(found, element_of(lhs))

    return compare


def logic(op: type[TensorOp]) -> Binary:
    def combine(node: Node, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        return node.cast(node.build(op(truth(node, lhs), truth(node, rhs))), element_of(lhs))

    return combine


def truth(node: Node, value: SSAValue) -> SSAValue:
    """Whether elements differ from 0."""
    if element_of(value) == i1:
        return value
    zero = node.constant(0, element_of(value))
    return node.build(nn.NotOp(node.build(nn.EqualOp(value, zero))))


def of_tensors(binary: Binary) -> Handler:
    return lambda node: binary(node, node.operand(0), node.operand(1))


def of_scalar(binary: Binary, *, reverse: bool = False) -> Handler:
    def handler(node: Node) -> SSAValue:
        value, scalar = node.operand(0), node.constant(node.number("scalar"), node.element())
        return binary(node, scalar, value) if reverse else binary(node, value, scalar)

    return handler


def enter_binaries() -> None:
    """Each binary op has names for equal shapes, broadcasting, and a scalar on either side."""
    binaries = {name: arithmetic(op) for name, op in ARITHMETIC.items()}
    binaries |= {name: comparison(op) for name, op in COMPARISONS.items()}
    binaries["mod"] = modulo
    binaries["not_equal"] = comparison(nn.EqualOp, negated=True)
    binaries |= {name: logic(op) for name, op in LOGIC.items()}
    for name, binary in binaries.items():
        for spelling in (f"broadcast_{name}", f"elemwise_{name}", f"_{name}"):
            HANDLERS[spelling] = of_tensors(binary)
        for spelling in (f"_{name}_scalar", f"__{name}_scalar__"):
            HANDLERS[spelling] = of_scalar(binary)
        for spelling in (f"_r{name}_scalar", f"__r{name}_scalar__"):
            HANDLERS[spelling] = of_scalar(binary, reverse=True)


enter_binaries()


# -- Activations ------------------------------------------------------------------------------

ACTIVATIONS: dict[str, type[TensorOp]] = {
    "relu": nn.ReluOp,
    "sigmoid": nn.SigmoidOp,
    "tanh": nn.TanhOp,
    "softrelu": nn.SoftplusOp,
}
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@mx_op("Activation")
def import_activation(node: Node) -> SSAValue:
    kind = node.text("act_type")
    if kind == "softsign":
        return softsign(node)
    if kind not in ACTIVATIONS:
        node.unsupported(f"act_type is softsign or one of {', '.join(ACTIVATIONS)}, got {kind}")
    return node.build(ACTIVATIONS[kind](node.operand(0)))


@mx_op("softsign")
def import_softsign(node: Node) -> SSAValue:
    return softsign(node)


def softsign(node: Node) -> SSAValue:
    value = node.operand(0)
    size = node.build(nn.AddOp(node.build(nn.AbsOp(value)), node.constant(1, node.element())))
    return node.build(nn.DivOp(value, size))


@mx_op("LeakyReLU")
def import_leaky_relu(node: Node) -> SSAValue:
    kind, value, slope = node.text("act_type", "leaky"), node.operand(0), node.number("slope", 0.25)
    match kind:
        case "leaky":
            return node.build(nn.LeakyReluOp(value, alpha=slope))
        case "rrelu":
            mean = (node.number("lower_bound", 0.125) + node.number("upper_bound", 0.334)) / 2
            return node.build(nn.LeakyReluOp(value, alpha=mean))
        case "elu":
            return node.build(nn.EluOp(value, alpha=slope))
        case "selu":
            elu = node.build(nn.EluOp(value, alpha=SELU_ALPHA))
            return node.build(nn.MulOp(elu, node.constant(SELU_SCALE, node.element())))
        case "gelu":
            return node.build(nn.GeluOp(value, approximate="none"))
        case "prelu":
            return node.build(nn.PReluOp(value, per_channel(node, node.operand(1), value)))
        case _:
            node.unsupported(f"act_type {kind} is not known")


def per_channel(node: Node, slope: SSAValue, value: SSAValue) -> SSAValue:
    """A slope per channel stands before the spatial dimensions."""
    return node.reshape(slope, (*shape_of(slope), *(1,) * max(0, len(shape_of(value)) - 2)))


@mx_op("hard_sigmoid")
def import_hard_sigmoid(node: Node) -> SSAValue:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return node.build(nn.HardSigmoidOp(node.operand(0), alpha=alpha, beta=beta))


@mx_op("clip")
def import_clip(node: Node) -> SSAValue:
    low, high = node.number("a_min"), node.number("a_max")
    return node.build(nn.ClampOp(node.operand(0), low=low, high=high))


# -- Others -----------------------------------------------------------------------------------


@mx_op("square")
def import_square(node: Node) -> SSAValue:
    return node.build(nn.MulOp(node.operand(0), node.operand(0)))


@mx_op("_contrib_div_sqrt_dim")
def import_div_sqrt_dim(node: Node) -> SSAValue:
    root = node.constant(sqrt(node.shape()[-1]), node.element())
    return node.build(nn.DivOp(node.operand(0), root))


@mx_op("rint")
def import_rint(node: Node) -> SSAValue:
    """The nearest integer; of two, the lower one."""
    return node.build(nn.RoundOp(node.operand(0), halves="down"))


@mx_op("logical_not")
def import_logical_not(node: Node) -> SSAValue:
    found = node.build(nn.NotOp(truth(node, node.operand(0))))
    return node.cast(found, node.element())


@mx_op("where")
def import_where(node: Node) -> SSAValue:
    """A condition of rank 1 chooses whole rows."""
    condition, shape = truth(node, node.operand(0)), node.shape(1)
    if len(node.shape()) == 1 < len(shape):
        condition = node.reshape(condition, (*node.shape(), *(1,) * (len(shape) - 1)))
    return node.build(nn.SelectOp(condition, node.operand(1), node.operand(2)))


@mx_op("add_n", "ElementWiseSum")
def import_add_n(node: Node) -> SSAValue:
    total = node.operand(0)
    for operand in node.operands[1:]:
        total = node.build(nn.AddOp(total, operand))
    return total


@mx_op("Cast", "cast", "amp_cast")
def import_cast(node: Node) -> SSAValue:
    return node.cast(node.operand(0), node.dtype())


@mx_op("amp_multicast")
def import_amp_multicast(node: Node) -> Sequence[SSAValue]:
    """All operands in the widest of their types, or in the narrowest."""
    elements = [element_of(operand) for operand in node.operands]
    choose = min if node.flag("cast_narrow") else max
    chosen = choose(elements, key=lambda element: np.dtype(dtype_of(element)).itemsize)
    return [node.cast(operand, chosen) for operand in node.operands]


@mx_op("_copy", "identity", "BlockGrad", "stop_gradient", "make_loss", "MakeLoss")
def import_identity(node: Node) -> SSAValue:
    return node.operand(0)


@mx_op("Dropout")
def import_dropout(node: Node) -> SSAValue:
    if node.text("mode", "training") == "always":
        node.unsupported("dropout with mode 'always' is random at inference too")
    return node.operand(0)


@mx_op("LinearRegressionOutput", "MAERegressionOutput")
def import_regression_output(node: Node) -> SSAValue:
    return node.operand(0)


@mx_op("LogisticRegressionOutput")
def import_logistic_output(node: Node) -> SSAValue:
    return node.build(nn.SigmoidOp(node.operand(0)))
