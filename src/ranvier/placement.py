"""How a bridge lets the compiler place what it imports."""

from __future__ import annotations

from dataclasses import replace

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.passes.analysis.dataflow import main_block
from ranvier.passes.analysis.locations import framework_name, framework_ops
from ranvier.passes.apply_rules import ApplyRulesPass
from ranvier.passes.pipelines import placement_pipeline, run_pipeline
from ranvier.passes.rewriting.marks import placement_of
from ranvier.program import Options


def is_disobeyed(error: BaseException | None) -> bool:
    """Whether compiling failed at a rule of the user, which is theirs to change."""
    return isinstance(error, CodedError) and error.code is Code.RULE_IMPOSSIBLE


def place_ops(module: ModuleOp, options: Options, rules: str) -> dict[str, str]:
    """Run the passes that place ops, under rules of options and of the user.

    Returns the framework ops that must be on the machine, by name, with the rule that says so.
    Raises PassError for one that cannot. What the machine lacks is otherwise no error.
    """
    forced: dict[str, str] = {}

    def note(step: ModulePass, module: ModuleOp) -> None:
        block = main_block(module)
        if not isinstance(step, ApplyRulesPass) or block is None:
            return
        for op in block.ops:
            side, rule = placement_of(op) or ("", "")
            if side == graph.NEURON:
                forced.update((framework_name(part), rule) for part in framework_ops(op))

    placing = replace(options.placing, rules=rules, fallback="host", part=True)
    pipeline = placement_pipeline(options.target, options.cast_mode, placing=placing)
    run_pipeline(module, pipeline, after_each=note)
    return forced
