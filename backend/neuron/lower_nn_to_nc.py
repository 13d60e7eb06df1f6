"""Turn each device segment into a program of `nc`, one core for each stage.

Before: `%r = graph.segment "seg0" on "neuron" (%a = %x : …) -> (…) { … }`
After:  `%r = graph.launch @seg0(%x) : …` and `nc.program @seg0 on "inf2" { nc.core 0 { … } }`

Host segments stay as they are. Buffers have no addresses yet: that is left to `allocate`. Constant
expressions must be folded into weights, which this pass does first.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context as XdslContext
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from ranvier.backend.neuron.limits import MACHINES, Machine
from ranvier.backend.neuron.lowering.context import Context, WeightTable, machine_element
from ranvier.backend.neuron.lowering.emitter import ZERO, Emitter, Ref
from ranvier.backend.neuron.lowering.registry import lowerings, why_unsupported
from ranvier.backend.neuron.lowering.relayout import Relayout
from ranvier.backend.neuron.lowering.views import View
from ranvier.dialects import graph, nc
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import ConstantSource
from ranvier.dialects.nc.structure import INPUT, OUTPUT
from ranvier.dialects.nn.types import element_of, shape_of, size_of
from ranvier.passes.errors import PassError
from ranvier.passes.fold_constants import fold_constants, remove_unused_weights
from ranvier.passes.target import target_of


@dataclass(frozen=True)
class LowerNnToNcPass(ModulePass):
    """Lower device segments to programs of the machine."""

    name = "lower-nn-to-nc"

    target: str | None = None
    """Target to lower for; the module's own, or inf2, if absent."""

    relayout: str = "fast"
    """`fast` transposes by the array where that is faster, `exact` moves bytes."""

    def apply(self, ctx: XdslContext, op: ModuleOp) -> None:
        target = target_of(op, self.target)
        if (machine := MACHINES.get(target.name)) is None:
            raise PassFailedException(f"{target.name} is no target of {', '.join(MACHINES)}")
        if self.relayout not in (relayouts := [each.value for each in Relayout]):
            raise PassError(
                Code.OPTION_INVALID,
                f"relayout of lower-nn-to-nc is {' or '.join(relayouts)}, got '{self.relayout}'",
            )
        lower_nn_to_nc(op, machine, Relayout(self.relayout))


def lower_nn_to_nc(module: ModuleOp, machine: Machine, relayout: Relayout = Relayout.FAST) -> None:
    """Lower every device segment of the module. Raises PassFailedException for an op it lacks."""
    fold_constants(module)
    weights = WeightTable(module)
    segments = [op for op in module.walk() if isinstance(op, graph.SegmentOp) and not op.on_host]
    for segment in segments:
        program = _SegmentLowering(segment, machine, weights, relayout).lower()
        module.body.block.add_op(program)
        launch = graph.LaunchOp(program.symbol, segment.inputs, segment.outputs.types)
        launch.location = segment.location
        block = segment.parent
        assert block is not None
        block.insert_op_before(launch, segment)
        for old, new in zip(segment.outputs, launch.outputs, strict=True):
            old.replace_all_uses_with(new)
        segment.detach()
        segment.erase()
    remove_unused_weights(module)


@dataclass(frozen=True)
class Output:
    """A result of the segment: the value that it is, and its place."""

    value: SSAValue
    view: View


class _SegmentLowering:
    """One segment: its stages become cores that hand tensors on."""

    def __init__(
        self,
        segment: graph.SegmentOp,
        machine: Machine,
        weights: WeightTable,
        relayout: Relayout,
    ) -> None:
        self.segment = segment
        self.machine = machine
        self.relayout = relayout
        self.weights = weights
        stages = [op for op in segment.block.ops if isinstance(op, graph.StageOp)]
        self.groups: list[graph.GroupOp] = [*stages] or [segment]
        transfers = [op for op in segment.block.ops if isinstance(op, graph.TransferOp)]
        self.tags: dict[SSAValue, int] = {
            transfer.result: tag for tag, transfer in enumerate(transfers)
        }
        self.transfers = transfers

    def lower(self) -> nc.ProgramOp:
        cores = [self._core(index, group) for index, group in enumerate(self.groups)]
        program = nc.ProgramOp(self.segment.label.data, self.machine.name, cores)
        program.location = self.segment.location
        return program

    def _core(self, index: int, group: graph.GroupOp) -> nc.CoreOp:
        core = nc.CoreOp(index)
        emitter = Emitter(core, self.machine)
        context = Context(emitter, self.machine, self.weights, self.relayout)
        for argument, operand in zip(group.block.args, self._operands(group), strict=True):
            self._bring(context, argument, operand)
        outputs = self._declare_outputs(context, group)
        for op in list(group.block.ops):
            if not isinstance(op, graph.YieldOp):
                self._lower_op(context, op)
        self._hand_on(context, group, outputs)
        return core

    def _operands(self, group: graph.GroupOp) -> list[SSAValue]:
        """What the arguments of a group stand for, in terms of the segment's body."""
        return list(self.segment.block.args if group is self.segment else group.inputs)

    def _bring(self, context: Context, argument: SSAValue, operand: SSAValue) -> None:
        """Give an argument a home: a program input, or a tensor that another core sends."""
        if not argument.uses:
            return
        e, shape = context.e, shape_of(argument)
        kind = nc.DramType.of((max(1, size_of(argument)),), machine_element(element_of(argument)))
        if isinstance(operand, BlockArgument):
            tensor = nc.TensorOp(INPUT, operand.index, kind)
            e.add(tensor)
            context.alias(argument, View.whole(tensor.buffer, shape))
            return
        transfer = operand.owner
        if not isinstance(transfer, graph.TransferOp):
            raise PassFailedException(
                f"a stage takes {operand.type} from another stage without graph.transfer"
            )
        buffer = e.dram(size_of(argument), machine_element(element_of(argument)))
        view = View.whole(buffer, shape)
        e.emit(
            nc.ReceiveOp,
            fields={"peer": transfer.source.value.data, "tag": self.tags[operand]},
            dst=_all_of(view),
        )
        context.alias(argument, view)

    def _declare_outputs(self, context: Context, group: graph.GroupOp) -> list[Output]:
        """An op that computes a result of the segment writes it to its output directly."""
        outputs: list[Output] = []
        inner = results_of(group)
        for position, value in enumerate(self.segment.yielded):
            value = value if group is self.segment else inner.get(value)
            if value is None:
                continue
            type = nc.DramType.of((max(1, size_of(value)),), machine_element(element_of(value)))
            tensor = nc.TensorOp(OUTPUT, position, type)
            context.e.add(tensor)
            outputs.append(Output(value, View.whole(tensor.buffer, shape_of(value))))
            context.output(value, outputs[-1].view)
        return outputs

    def _lower_op(self, context: Context, op: Operation) -> None:
        if op in context.done or op.has_trait(ConstantSource):
            return
        if (reason := why_unsupported(op, self.machine)) is not None:
            raise PassFailedException(f"{op.name} does not run on {self.machine.name}: {reason}")
        context.e.location = op.location
        lowerings()[type(op)].lower(op, context)

    def _hand_on(self, context: Context, group: graph.GroupOp, outputs: list[Output]) -> None:
        """Copy what is not in its output yet, and send what later cores take."""
        for output in outputs:
            view = context.view(output.value)
            if view != output.view:
                context.move(output.view, view)
        inner = results_of(group)
        for transfer in self.transfers:
            if transfer.operand not in inner:
                continue
            view = context.view(inner[transfer.operand])
            if not view.contiguous:
                home = View.whole(context.e.dram(view.size, view.element), view.shape)
                context.move(home, view)
                view = home
            context.e.emit(
                nc.SendOp,
                fields={"peer": transfer.destination.value.data, "tag": self.tags[transfer.result]},
                src=_all_of(view),
            )


def results_of(group: graph.GroupOp) -> dict[SSAValue, SSAValue]:
    """The value inside a group that each of its results is."""
    return {outer: inner for outer, inner in zip(group.outputs, group.yielded, strict=True)}


def _all_of(view: View) -> Ref:
    """A whole contiguous tensor as one operand."""
    return Ref(view.buffer, ZERO, ((1, view.size),))
