"""Chains of elementwise ops on one tile: computed on chip, only the last result is stored.

A chain starts at a tile that another lowering made (a PSUM group, a loaded operand) and follows
single uses. Every op rounds to its declared type: a chain has the bits of its ops run one by one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeAlias, TypeVar

from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute, Block, Operation, SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context, machine_element, scalar_of
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip, Ref
from ranvier.backend.neuron.lowering.registry import Lowering, lowerings
from ranvier.backend.neuron.lowering.views import Region, View, load, store
from ranvier.dialects import nc, nn
from ranvier.dialects.nn.types import element_of, shape_of

MAX_SCRATCH = 4
"""Tiles that an op may need beside its operands and still join a chain that another op started."""

Project: TypeAlias = Callable[[View], View | None]
"""Sees a view of a result's shape in the iteration space of a lowering, if strides can say it."""


@dataclass(frozen=True)
class Immediate:
    """A number known to the compiler."""

    value: float


@dataclass(frozen=True)
class PerPartition:
    """One element for each partition, `[P, 1]`."""

    tile: OnChip


Operand: TypeAlias = OnChip | PerPartition | Immediate

OpT = TypeVar("OpT", bound=Operation)


class PointwiseLowering(Lowering[OpT], Generic[OpT]):
    """An elementwise op: it may join a chain, and starts one where it cannot."""

    @abstractmethod
    def apply(self, op: OpT, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        """Emit the op on one tile. At least one operand is a full tile."""

    def scratch(self, op: OpT, machine: Machine) -> int:
        """How many tiles of 4 bytes an element it needs at once, beside operands and result."""
        return MAX_SCRATCH

    def lower(self, op: OpT, context: Context) -> None:
        from ranvier.backend.neuron.lowering.elementwise import lower_pointwise

        lower_pointwise(op, context)


@dataclass(frozen=True)
class Running:
    """Stands for the tile that the chain computes."""


Source: TypeAlias = Running | Immediate | View


@dataclass(frozen=True)
class Step:
    """One op of a chain, with the sources of its operands in the chain's space."""

    op: Operation
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Chain:
    """Ops on one tile, and where the last result goes."""

    steps: tuple[Step, ...]
    destination: View

    @property
    def views(self) -> list[View]:
        """Every view in device memory that the chain touches."""
        read = [
            source for step in self.steps for source in step.sources if isinstance(source, View)
        ]
        return [*read, self.destination]

    def with_views(self, seen: Mapping[int, View]) -> Chain:
        """The same chain on other forms of its views, by identity of the old ones."""
        steps = [
            replace(step, sources=tuple(seen.get(id(source), source) for source in step.sources))
            for step in self.steps
        ]
        return Chain(tuple(steps), seen[id(self.destination)])


def chain_from(
    value: SSAValue,
    context: Context,
    project: Project,
    order: Sequence[int] | None = None,
) -> Chain:
    """The chain that starts at a computed value. Its ops count as done; its end has a home, with
    dimensions in `order`."""
    steps: list[Step] = []
    while (step := _next_step(value, context, project)) is not None:
        steps.append(step)
        context.done.add(step.op)
        value = step.op.results[0]
    destination = project(context.define(value, order))
    if destination is None:
        raise AssertionError("a new home fits every space")
    return Chain(tuple(steps), destination)


def _next_step(value: SSAValue, context: Context, project: Project) -> Step | None:
    """The only user of a value, if it is elementwise over the same shape and ready to run."""
    users = {use.operation for use in value.uses}
    if len(users) != 1:
        return None
    op = users.pop()
    lowering = lowerings().get(type(op))
    if not isinstance(lowering, PointwiseLowering) or op.parent is not _block_of(value):
        return None
    if shape_of(op.results[0]) != shape_of(value):
        return None
    if lowering.scratch(op, context.machine) > MAX_SCRATCH:
        return None
    sources = sources_of(op, context, project, running=value)
    return None if sources is None else Step(op, sources)


def _block_of(value: SSAValue) -> Block | None:
    return value.owner if isinstance(value.owner, Block) else value.owner.parent


def sources_of(
    op: Operation, context: Context, project: Project, running: SSAValue | None = None
) -> tuple[Source, ...] | None:
    """Where the operands of an op come from, or None if one is not ready or does not fit."""
    sources: list[Source] = []
    for operand in op.operands:
        if operand is running:
            sources.append(Running())
        elif (number := scalar_of(operand)) is not None:
            sources.append(Immediate(number))
        elif not context.is_available(operand):
            return None
        else:
            view = project(context.view(operand).broadcast(shape_of(op.results[0])))
            if view is None:
                return None
            sources.append(view)
    return tuple(sources)


def fetch(e: Emitter, region: Region, source: Source, running: OnChip | None) -> Operand:
    """Bring an operand of a step on chip."""
    match source:
        case Running():
            assert running is not None
            return running
        case Immediate():
            return source
        case View():
            if all(source.strides[d] == 0 or region.sizes[d] == 1 for d in region.free):
                narrow = Region(region.starts, region.sizes, region.partition, ())
                return PerPartition(load(e, narrow, source))
            return load(e, region, source)


def run_chain(e: Emitter, region: Region, tile: OnChip, chain: Chain) -> None:
    """Apply the steps to a tile in SBUF and store the result."""
    location = e.location
    for step in chain.steps:
        tile = run_step(e, region, tile, step)
    e.location = location
    store(e, region, chain.destination, tile)


def run_step(e: Emitter, region: Region, tile: OnChip | None, step: Step) -> OnChip:
    """Apply one step and return its result's tile."""
    e.location = step.op.location
    operands = [fetch(e, region, source, tile) for source in step.sources]
    result = machine_element(element_of(step.op.results[0]))
    out = e.sbuf(region.partitions, region.width, result)
    lowering = lowerings()[type(step.op)]
    assert isinstance(lowering, PointwiseLowering)
    lowering.apply(step.op, e, operands, out)
    return out


def evict(
    e: Emitter,
    region: Region,
    psum: OnChip,
    chain: Chain,
    *,
    element: Attribute,
    bias: Ref | None = None,
) -> None:
    """Take a finished sum out of its bank: bias, then the chain. Casts and a relu come at no cost.

    `element` is the type of the contraction's result. Rounding and relu commute, so
    `relu(cast(x))` is one activation that rounds on store.
    """
    steps = list(chain.steps)
    func = "copy"
    while steps:
        op = steps[0].op
        if isinstance(op, nn.CastOp) and _rounds_once(element, op.to):
            element = op.to
        elif isinstance(op, nn.ReluOp) and func == "copy":
            func = "relu"
        else:
            break
        e.location = op.location
        steps.pop(0)
    tile = e.sbuf(psum.partitions, psum.width, element)
    views: dict[str, Ref] = {"dst": tile.ref(), "src": psum.ref()}
    if bias is not None:
        views["bias"] = bias
    e.emit(nc.ActivationOp, fields={"func": func, "scale": 1.0}, **views)
    run_chain(e, region, tile, Chain(tuple(steps), chain.destination))


def rounded_chain(chain: Chain, element: Attribute) -> tuple[Attribute, Chain]:
    """The type in which to store what is computed in f32, and the chain without casts to it."""
    steps = list(chain.steps)
    while steps and isinstance(op := steps[0].op, nn.CastOp) and _rounds_once(element, op.to):
        element = op.to
        steps.pop(0)
    return element, Chain(tuple(steps), chain.destination)


def _rounds_once(source: Attribute, to: Attribute) -> bool:
    """Whether storing an f32 sum as `to` is the same as storing it as `source` and casting."""
    return to == source or (source == f32 and to in (bf16, f16))
