"""Which operators of the frameworks run on the targets, found by placing examples of them.

A framework takes part with a module `ranvier.tools.<framework>_operators` that has a function
`support(targets)`; it gives its examples to `Support.add`. What is found is kept in
`operators.json`, which `list-operators` and `docs/ops.md` show, because finding it takes a minute:
`python -m ranvier.tools.support > docs/ops.md` writes both anew, and a test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ranvier.passes.target import Target

TARGETS = ("inf2", "inf1")
FRAMEWORKS = ("ONNX", "PYTORCH", "TENSORFLOW", "MXNET", "XLA")
FILE = "operators.json"
LONGEST = 110
"""Characters of a cell in the table."""


@dataclass
class Entry:
    """An operator: the ops that it imports as, and per target why it needs the host, or None."""

    ops: list[str] = field(default_factory=list[str])
    why_host: dict[str, str | None] = field(default_factory=dict[str, "str | None"])

    def add(self, target: str, reason: str | None) -> None:
        """One example that runs is enough; else the first reason stands."""
        if reason is None or target not in self.why_host:
            self.why_host[target] = reason


@dataclass
class Support:
    """Entries of a framework's operators, and of the ops of `nn`."""

    operators: dict[str, Entry] = field(default_factory=dict[str, Entry])
    ops: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def add(
        self, operator: str, module: ModuleOp | str, targets: Sequence[Target], *, constant: bool
    ) -> None:
        """Place one example of an operator on each target.

        `module` is its import, or why that failed. Of an example of constants alone, the ops are
        what runs, not what is left when they are folded.
        """
        entry = self.operators.setdefault(operator, Entry())
        if isinstance(module, str):
            for target in targets:
                entry.add(target.name, module)
            return
        names = op_names(module)
        for target in targets:
            if entry.why_host.get(target.name, "") is None:
                continue
            reasons = host_reasons_on(target, module.clone(), constant=constant)
            entry.add(target.name, next(iter(reasons.values()), None))
            entry.ops = entry.ops if entry.ops and reasons else names
            for name in names:
                if name in reasons or not reasons:
                    self.ops.setdefault(name, Entry()).add(target.name, reasons.get(name))

    def prove_ops(self) -> None:
        """Enter the ops of the operators that run."""
        for entry in self.operators.values():
            for target, reason in entry.why_host.items():
                for op in entry.ops if reason is None else ():
                    self.ops.setdefault(op, Entry()).add(target, None)


def op_names(module: ModuleOp) -> list[str]:
    """The ops of an imported module that are no constants."""
    from ranvier.passes.analysis.dataflow import is_constant_source, main_block

    block = main_block(module)
    ops = [] if block is None else [op for op in block.ops if op is not block.last_op]
    return sorted({op.name for op in ops if not is_constant_source(op)})


def host_reasons_on(target: Target, module: ModuleOp, *, constant: bool) -> dict[str, str]:
    """By op, why a module needs the host on a target; empty if it does not."""
    from xdsl.utils.exceptions import PassFailedException

    from ranvier.dialects.diagnostics import CodedError
    from ranvier.dialects.interfaces import ReferenceSemantics
    from ranvier.passes.analysis.dataflow import constant_ops, main_block
    from ranvier.passes.analysis.operators import live_ops, reason_of, segments_of
    from ranvier.passes.pipelines import placement_pipeline, run_pipeline

    block = main_block(module)
    if constant and block is not None:
        reasons = {
            op.name: str(reason)
            for op in constant_ops(block.ops)
            if isinstance(op, ReferenceSemantics) and op.operands
            if (reason := target.why_unsupported(op)) is not None
        }
        if reasons:
            return reasons
    try:
        run_pipeline(module, placement_pipeline(target.name))
    except CodedError as error:
        return {"": f"{error.code.number}: {error}"}
    except PassFailedException as error:
        return {"": str(error)}
    return {
        op.name: str(reason)
        for segment in segments_of(module)
        if segment.on_host
        for op in live_ops(segment)
        if (reason := reason_of(op)) is not None
    }


# -- What is kept ------------------------------------------------------------------------------


def derive() -> dict[str, Any]:
    """Everything that `operators.json` holds, from the examples of each framework that has some."""
    from ranvier.passes.target import load_target

    targets = [load_target(name) for name in TARGETS]
    frameworks: dict[str, dict[str, Any]] = {}
    ops: dict[str, Entry] = {}
    for framework in FRAMEWORKS:
        name = f"ranvier.tools.{framework.lower()}_operators"
        if find_spec(name) is None:
            continue
        try:
            found: Support = import_module(name).support(targets)
        except ModuleNotFoundError:  # of the framework, without which what is kept stands
            found = kept(framework)
        frameworks[framework] = {
            operator: {"ops": entry.ops, **entry.why_host}
            for operator, entry in sorted(found.operators.items())
        }
        for op, entry in found.ops.items():
            for target, reason in entry.why_host.items():
                ops.setdefault(op, Entry()).add(target, reason)
    return {
        "frameworks": frameworks,
        "ops": {name: entry.why_host for name, entry in sorted(ops.items())},
    }


def kept(framework: str) -> Support:
    """What `operators.json` holds of a framework, which gives what ops run, not why others do not.

    So must the module of a framework that has to be installed.
    """
    found = Support()
    for operator, entry in known()["frameworks"].get(framework, {}).items():
        why_host = {target: entry[target] for target in TARGETS if target in entry}
        found.operators[operator] = Entry(entry["ops"], why_host)
    found.prove_ops()
    return found


def known() -> dict[str, Any]:
    """What `operators.json` holds."""
    return json.loads(files("ranvier.tools").joinpath(FILE).read_text(encoding="utf-8"))


def operators_on(framework: str, target: str) -> list[str] | None:
    """The operators of a framework that run on a target, sorted; None if nothing is known of it."""
    entries = known()["frameworks"].get(framework)
    if entries is None:
        return None
    return sorted(name for name, entry in entries.items() if entry.get(target, "") is None)


def as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def render(found: dict[str, Any]) -> str:
    """`docs/ops.md`: the ops of `nn`, then each framework's operators."""
    from ranvier.dialects import nn

    frameworks = {n: found["frameworks"][n] for n in FRAMEWORKS if n in found["frameworks"]}
    lines = [
        "# Operators",
        "",
        "Generated by `python -m ranvier.tools.support > docs/ops.md`; a test compares. An op is "
        "on the machine if an example of it compiles without the host; others of its kind, with "
        "other types or attributes, may not, and `ranvier explain` says why. Every op of `nn` runs "
        "on the host too, `nn.opaque` through its framework's package.",
        "",
        "## Ops of nn",
        "",
        *table_head(["op", *frameworks, *TARGETS]),
    ]
    for name in sorted(op.name for op in nn.OPS):
        if name in NOT_COMPUTED:
            continue
        names = [
            shortened(", ".join(o for o, entry in entries.items() if name in entry["ops"]))
            for entries in frameworks.values()
        ]
        lines.append(row([f"`{name}`", *names, *statuses(found["ops"].get(name))]))
    for framework, entries in frameworks.items():
        lines += ["", f"## {framework}", "", *table_head(["operator", "ops of nn", *TARGETS])]
        for name, entry in entries.items():
            ops = ", ".join(f"`{op}`" for op in entry["ops"])
            lines.append(row([name, ops, *statuses(entry)]))
    return "\n".join(lines) + "\n"


NOT_COMPUTED = ("nn.constant", "nn.load_weight", "nn.weight", "nn.yield")


def table_head(columns: Sequence[str]) -> list[str]:
    return [row(columns), "|" + "---|" * len(columns)]


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def statuses(entry: dict[str, str | None] | None) -> list[str]:
    """Per target `machine`, or why the host."""
    texts: list[str] = []
    for target in TARGETS:
        reason = "no example" if entry is None or target not in entry else entry[target]
        texts.append("machine" if reason is None else shortened(" ".join(reason.split())))
    return texts


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def main() -> None:
    """Write `operators.json` beside this module and print `docs/ops.md`."""
    found = derive()
    Path(__file__).with_name(FILE).write_text(as_json(found), encoding="utf-8")
    sys.stdout.write(render(found))


if __name__ == "__main__":
    main()
