"""Write on each op of `@main` what placement rules say of it.

Before: `%r = nn.softmax %x {axis = 1 : i64} : …`, and the rule `host nn.softmax`
After:  `%r = nn.softmax %x {axis = 1 : i64, ranvier.placement = ["host", "rule line 1"]} : …`

Runs on the cleaned import, whose ops are those that users know; `legalize` keeps an op of the host
whole, and what an op becomes inherits its marks. `cast-bf16`, `segment` and `partition-pipeline`
read them. Constants run nowhere, so rules do not match them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, UnregisteredOp
from xdsl.ir import Operation
from xdsl.irdl import IRDLOperation
from xdsl.passes import ModulePass
from xdsl.traits import ConstantLike

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import ConstantSource
from ranvier.passes.analysis.dataflow import constant_ops, main_block
from ranvier.passes.analysis.locations import op_name
from ranvier.passes.errors import PassError
from ranvier.passes.placement import Rules, read_rules, rules_text, source_of
from ranvier.passes.placement.conditions import Field, OpSubject
from ranvier.passes.placement.parse import parse_rules
from ranvier.passes.placement.rule import CORE, KEEP, Index, Pattern, Rule
from ranvier.passes.placement.suggestions import did_you_mean
from ranvier.passes.rewriting.marks import mark_core, mark_keep, mark_placement

LOG = logging.getLogger("ranvier")


@dataclass(frozen=True)
class ApplyRulesPass(ModulePass):
    """Mark ops with where placement rules put them."""

    name = "apply-rules"

    text: str = ""
    """The rules, separated by `\\n` or `;`."""

    file: str = ""
    """A file of rules, read after `text`."""

    function: str = "main"
    """The function whose ops are marked."""

    part: bool = False
    """Of a model that is compiled in parts: a rule that matches nothing here is no warning."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for rules in (self.text, Path(self.file) if self.file else None):
            apply_rules(op, rules, ctx=ctx, function=self.function, part=self.part)


def apply_rules(
    module: ModuleOp,
    rules: Rules | None,
    *,
    ctx: Context | None = None,
    function: str = "main",
    part: bool = False,
) -> None:
    """Mark the ops of a function. Later rules win; one that matches nothing is logged, unless the
    function is only a part of the model.

    `ctx` knows the ops of other dialects by name. Raises PassError for a wrong rule, with its
    line and column.
    """
    parsed, block = read_rules(rules), main_block(module, function)
    if not parsed or block is None:
        return
    constants = constant_ops(block.ops)
    ops = [op for op in block.ops if op not in constants and op is not block.last_op]
    vocabulary = Vocabulary({type(op) for op in ops}, {*ops}, ctx)
    for rule in parsed:
        vocabulary.check(rule)
    index = Index(parsed)
    used: set[Rule] = set()
    for op in ops:
        subject = OpSubject(op)
        for rule in index.candidates(subject):
            if rule.matches(subject):
                used.add(rule)
                mark(op, rule)
    for rule in parsed:
        if rule not in used and not part:
            LOG.warning("%s matches no op: %s", rule.origin, rule.text()[:200])


def checked_rules(rules: Rules | None) -> str:
    """The text of rules for a model in `nn`. Raises PassError where they are wrong by themselves.

    Errors name the file, which `apply_rules` no longer knows if it is given the text.
    """
    vocabulary = Vocabulary(set(), set(), None)
    text = rules_text(rules)  # once, since a pipe gives it once
    for rule in parse_rules(text, source_of(rules)):
        vocabulary.check(rule)
    return text


def mark(op: Operation, rule: Rule) -> None:
    if rule.verb == CORE and rule.core is not None:
        mark_core(op, rule.core)
    elif rule.verb == KEEP:
        mark_keep(op)
    else:
        mark_placement(op, rule.verb, rule.origin)


class Vocabulary:
    """The names of ops and attributes that rules may use: of `nn`, and of the module's dialects."""

    def __init__(
        self,
        classes: AbstractSet[type[Operation]],
        ops: AbstractSet[Operation],
        ctx: Context | None,
    ) -> None:
        self._ctx = ctx
        known = {*nn.OPS, *(c for c in classes if not issubclass(c, UnregisteredOp))}
        self._classes: Mapping[str, type[Operation]] = {c.name: c for c in known}
        self._names = {*self._classes, *(op_name(op) for op in ops)}
        self._attributes = {name for op in ops for name in (*op.attributes, *op.properties)} | {
            name for c in known for name in attributes_of(c)
        }

    def check(self, rule: Rule) -> None:
        """Raises PassError for an unknown op or attribute, and for ops that run nowhere."""
        for pattern in rule.patterns:
            self._check_op(pattern)
        for field in rule.condition.fields() if rule.condition is not None else ():
            if field.is_attribute:
                self._check_attribute(field, rule)

    def _check_op(self, pattern: Pattern) -> None:
        if any(pattern.matches(name) for name in self._names):
            if pattern.is_exact and self._is_constant(pattern.text):
                _fail(
                    pattern.place,
                    f"{pattern.text} is a constant, which runs nowhere: it is "
                    "copied to where it is read",
                )
            return
        known = self._ctx is not None and self._ctx.get_optional_op(pattern.text) is not None
        dialect = pattern.text.split(".")[0]
        if known or (dialect not in {name.split(".")[0] for name in self._names}):
            return
        near = did_you_mean(pattern.text, sorted(self._names))
        _fail(pattern.place, f"no op '{pattern.text}'{near}")

    def _is_constant(self, name: str) -> bool:
        op = self._classes.get(name)
        return op is not None and (op.has_trait(ConstantSource) or op.has_trait(ConstantLike))

    def _check_attribute(self, field: Field, rule: Rule) -> None:
        known = self._attributes_for(rule)
        if known is not None and field.attribute not in known:
            subject = ", ".join(pattern.text for pattern in rule.patterns)
            owner = f"{subject} has no attribute" if subject else "no op has an attribute"
            fields = ["name", "framework_op", "position", "dtype", "rank", "shape", "size", "bytes"]
            near = did_you_mean(field.attribute, [*sorted(known), *fields])
            _fail(field.place, f"{owner} '{field.attribute}'{near}")

    def _attributes_for(self, rule: Rule) -> set[str] | None:
        """The attributes of the ops that a rule names; None where they are not known."""
        if not rule.patterns:
            return self._attributes
        known: set[str] = set()
        for pattern in rule.patterns:
            matching = [c for name, c in self._classes.items() if pattern.matches(name)]
            if not matching:
                return None
            known |= {name for c in matching for name in attributes_of(c)}
        return known


def attributes_of(op: type[Operation]) -> set[str]:
    """Names of the properties and attributes that an op class declares."""
    if not issubclass(op, IRDLOperation):
        return set()
    definition = op.get_irdl_definition()
    return {*definition.properties, *definition.attributes}


def _fail(place: object, text: str) -> None:
    raise PassError(Code.RULE_INVALID, f"{place}: {text}")
