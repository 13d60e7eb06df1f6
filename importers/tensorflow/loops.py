"""Loops of graphs without functions: Enter, Merge, Switch, NextIteration and Exit nodes."""

from __future__ import annotations

from dataclasses import dataclass

from ranvier.importers.tensorflow.graph import Nodes, Tensor, attribute
from ranvier.importers.tensorflow.protos import Message


@dataclass(frozen=True)
class Variable:
    """One value that a loop carries: the nodes that hold it from one iteration to the next."""

    merge: Tensor
    switch: Tensor
    start: Tensor
    """What enters the loop."""
    after: Tensor
    """What an iteration leaves for the next one."""
    exits: tuple[Tensor, ...]


@dataclass(frozen=True)
class Loop:
    name: str
    condition: Tensor
    variables: tuple[Variable, ...]
    invariants: tuple[tuple[Tensor, Tensor], ...]
    """Enter nodes that hold one value in all iterations, and those values."""

    def starts(self) -> list[Tensor]:
        """All that the loop reads from outside."""
        return [v.start for v in self.variables] + [value for _, value in self.invariants]


def loops_of(nodes: Nodes) -> dict[str, Loop]:
    """Loops by the names of their Exit nodes."""
    switches: dict[str, list[Message]] = {}
    exits: dict[Tensor, list[Tensor]] = {}
    enters: dict[bytes, list[Message]] = {}
    conditions: list[Message] = []
    for node in nodes.by_name.values():
        if node.op == "Switch":
            switches.setdefault(nodes.data_inputs(node)[1].node, []).append(node)
        elif node.op == "Exit":
            exits.setdefault(nodes.data_inputs(node)[0], []).append(Tensor(node.name, 0))
        elif node.op == "Enter" and attribute(node, "is_constant").b:
            enters.setdefault(attribute(node, "frame_name").s, []).append(node)
        elif node.op == "LoopCond":
            conditions.append(node)
    found: dict[str, Loop] = {}
    for node in conditions:
        own = switches.get(node.name, [])
        variables = tuple(variable_of(nodes, switch, exits) for switch in own)
        frames = {frame_of(nodes, switch) for switch in own}
        invariants = [enter for frame in frames for enter in enters.get(frame, ())]
        loop = Loop(
            node.name,
            nodes.data_inputs(node)[0],
            variables,
            tuple((Tensor(enter.name, 0), nodes.data_inputs(enter)[0]) for enter in invariants),
        )
        found |= {end.node: loop for variable in variables for end in variable.exits}
    return found


def variable_of(nodes: Nodes, switch: Message, exits: dict[Tensor, list[Tensor]]) -> Variable:
    merge = nodes.data_inputs(switch)[0]
    enter, after = enter_and_next(nodes, switch)
    return Variable(
        merge,
        Tensor(switch.name, 1),
        nodes.data_inputs(enter)[0],
        nodes.data_inputs(after)[0],
        tuple(exits.get(Tensor(switch.name, 0), ())),
    )


def enter_and_next(nodes: Nodes, switch: Message) -> tuple[Message, Message]:
    merge = nodes.node(nodes.data_inputs(switch)[0].node, switch.name)
    sources = [nodes.node(tensor.node, merge.name) for tensor in nodes.data_inputs(merge)]
    enter, after = sorted(sources, key=lambda node: node.op != "Enter")[:2]
    return enter, after


def frame_of(nodes: Nodes, switch: Message) -> bytes:
    return attribute(enter_and_next(nodes, switch)[0], "frame_name").s


def nodes_in_frames(nodes: Nodes) -> set[str]:
    """The nodes that run once per iteration of some loop, as far as data say."""
    readers: dict[str, list[str]] = {}
    for node in nodes.by_name.values():
        for tensor in nodes.data_inputs(node):
            readers.setdefault(tensor.node, []).append(node.name)
    pending = [node.name for node in nodes.by_name.values() if node.op in ("Enter", "RefEnter")]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in found and nodes.by_name[name].op not in ("Exit", "RefExit"):
            found.add(name)
            pending += readers.get(name, ())
    return found
