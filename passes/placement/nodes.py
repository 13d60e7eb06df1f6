"""Placement rules asked about the nodes of a framework's graph.

A bridge leaves nodes in the framework's graph, so it must know them before they are merged with
others, and those that no op of `nn` stands for as well. Name and type of a node are all that is
known then: a rule that asks for no more is decided here, others by `apply-rules` on the op that the
node becomes. Between the two the last rule wins as well: a node is not decided here if a later rule
may speak of its op.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.errors import PassError
from ranvier.passes.placement.conditions import NodeSubject
from ranvier.passes.placement.parse import parse_rules
from ranvier.passes.placement.rule import HOST, NEURON, Index, Rule

LOG = logging.getLogger("ranvier")
Node = TypeVar("Node", bound=Hashable)


@dataclass
class Decided(Generic[Node]):
    """Nodes that rules place, whatever they become."""

    host: dict[Node, Reason] = field(default_factory=dict[Node, Reason])
    neuron: dict[Node, str] = field(default_factory=dict[Node, str])
    """With the rule."""


def decide(rules: str, nodes: Iterable[tuple[Node, str, str]]) -> Decided[Node]:
    """What the text of rules says of nodes with a name and a type each.

    Logs a rule that matches none.
    """
    parsed = parse_rules(rules)
    index, unused = Index(parsed), dict.fromkeys(parsed)
    decided: Decided[Node] = Decided()
    for node, name, kind in nodes if parsed else ():
        subject = NodeSubject(name, kind)
        held = [(rule, rule.matches(subject)) for rule in index.candidates(subject)]
        held = [(rule, match) for rule, match in held if match is not False]
        for rule, _ in held:
            unused.pop(rule, None)
        placing = [(rule, match) for rule, match in held if rule.verb in (HOST, NEURON)]
        if placing and placing[-1][1]:
            note(node, placing[-1][0], decided)
    for rule in unused:
        LOG.warning("%s matches no node: %s", rule.origin, rule.text()[:200])
    return decided


def note(node: Node, rule: Rule, decided: Decided[Node]) -> None:
    if rule.verb == HOST:
        decided.host[node] = Reason(Code.OP_RULE, rule.origin)
    else:
        decided.neuron[node] = rule.origin


def impossible(refused: str, target: str = "the machine") -> PassError:
    """`refused` says which rules, of which ops, and why these cannot run there."""
    return PassError(Code.RULE_IMPOSSIBLE, f"{target} cannot run what rules place on it: {refused}")
