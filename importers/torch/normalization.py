"""Normalizations and softmax of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import TensorOp, element_of, tensor
from ranvier.importers.batch_norm import import_own_statistics
from ranvier.importers.semantics import normal_axis
from ranvier.importers.torch.call import Call, Handler, torch_op
from ranvier.importers.torch.variable import NotFunctional


def factor(call: Call, name: str, neutral: float, shape: tuple[int, ...]) -> SSAValue:
    """An operand in the element type of the input, or one of neutral elements."""
    element = element_of(call.tensor("input"))
    value = call.optional(name)
    return call.filled(neutral, tensor(shape, element)) if value is None else call.cast(value)


@torch_op("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
@torch_op("_batch_norm_no_update", "_native_batch_norm_legit")
def import_batch_norm(call: Call) -> list[SSAValue | None]:
    if call.get("training", False) and call.has("running_mean"):
        # PyTorch does not declare it, and what it makes of the op in an export does.
        raise NotFunctional(
            Code.MODEL_UNSUPPORTED,
            "batch_norm in training mode updates its running statistics; call eval() first",
        )
    channels = call.shape("input")[1:2]
    names = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    factors = [factor(call, name, neutral, channels) for name, neutral in names.items()]
    epsilon = float(call["eps"] if "eps" in call.arguments else call["epsilon"])
    x, (scale, bias, *statistics) = call.tensor("input"), factors
    if call.has("running_mean"):
        result = call.build(nn.BatchNormOp(x, scale, bias, *statistics, epsilon=epsilon))
    else:
        result = import_own_statistics(call.build, x, scale, bias, epsilon)
    return [result, *others(call)]


def others(call: Call) -> list[None]:
    """The results beside the first, which are for gradients."""
    return [] if not isinstance(call.result, Sequence) else [None] * (len(call.result) - 1)


@torch_op("layer_norm", "native_layer_norm")
def import_layer_norm(call: Call) -> list[SSAValue | None]:
    shape = tuple(call["normalized_shape"])
    scale = factor(call, "weight", 1.0, shape)
    bias = [factor(call, "bias", 0.0, shape)] if call.has("bias") else []
    axis, epsilon = call.rank("input") - len(shape), float(call["eps"])
    operands = (call.tensor("input"), scale, *bias)
    return [call.build(nn.LayerNormOp(*operands, axis=axis, epsilon=epsilon)), *others(call)]


@torch_op("rms_norm")
def import_rms_norm(call: Call) -> SSAValue:
    shape = tuple(call["normalized_shape"])
    epsilon = call.get("eps", 2.0**-23 if element_of(call.tensor("input")) == f32 else None)
    if epsilon is None:
        call.refuse("epsilon is that of the element type")
    scale, axis = factor(call, "weight", 1.0, shape), call.rank("input") - len(shape)
    return call.build(nn.RmsNormOp(call.tensor("input"), scale, axis=axis, epsilon=float(epsilon)))


@torch_op("group_norm", "native_group_norm")
def import_group_norm(call: Call) -> list[SSAValue | None]:
    groups = int(call["num_groups"] if "num_groups" in call.arguments else call["group"])
    return [grouped(call, groups, "input"), *others(call)]


@torch_op("instance_norm")
def import_instance_norm(call: Call) -> SSAValue:
    if not call["use_input_stats"]:
        call.refuse("it takes running statistics")
    return grouped(call, call.shape("input")[1], "input")


def grouped(call: Call, groups: int, name: str) -> SSAValue:
    channels = call.shape(name)[1:2]
    scale, bias = factor(call, "weight", 1.0, channels), factor(call, "bias", 0.0, channels)
    epsilon = float(call["eps"])
    operands = (call.tensor(name), scale, bias)
    return call.build(nn.GroupNormOp(*operands, groups=groups, epsilon=epsilon))


def along_axis(op: type[TensorOp]) -> Handler:
    """In the element type of the result, which may be stated."""

    def import_softmax(call: Call) -> SSAValue:
        value, rank = call.operand("self"), call.rank()
        if rank == 0:
            row = call.build(op(call.reshape(value, (1,)), axis=0))
            return call.reshape(row, ())
        return call.build(op(value, axis=normal_axis(call["dim"], rank)))

    return import_softmax


torch_op("softmax", "_softmax")(along_axis(nn.SoftmaxOp))
torch_op("log_softmax", "_log_softmax")(along_axis(nn.LogSoftmaxOp))
