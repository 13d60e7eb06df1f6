"""Named pipelines as strings, and how to run one in this process.

A pipeline is the text that `ranvier-opt -p` takes, so that a user can print, edit and run it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.universe import Universe

from ranvier.dialects.diagnostics import Code
from ranvier.passes.errors import PassError
from ranvier.passes.target import load_target

BeforeEach: TypeAlias = Callable[[str], None]
AfterEach: TypeAlias = Callable[[ModulePass, ModuleOp], None]

CLEAN = (
    "fold-constants,simplify-shapes,move-transposes,simplify-shapes,fold-batch-norm,fold-constants"
)
"""Make an imported module small; no target is needed."""


ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    **{chr(code): f"\\{name}" for name, code in zip("ntrvf", (10, 9, 13, 11, 12), strict=True)},
}
"""How xDSL's pipeline syntax writes what it does not take as it is."""


@dataclass(frozen=True)
class Placing:
    """How ops are placed: the options of `apply-rules` and `segment`."""

    rules: str = ""
    """The text of placement rules."""
    minimum_size: int = 1
    fallback: str = "host"
    single_fusion_ratio_threshold: float = 1.0
    weigh_transfers: bool = False
    part: bool = False
    """Whether the module is a part of a model, where rules may speak of other parts."""

    def rules_pass(self) -> str:
        """`apply-rules` and a comma, if there are rules."""
        part = " part=true" if self.part else ""
        return f"apply-rules{{text={quoted(self.rules)}{part}}}," if self.rules.strip() else ""

    def segment_options(self) -> str:
        options = f"minimum-size={self.minimum_size} fallback={self.fallback}"
        if self.single_fusion_ratio_threshold != 1:
            options += f" single-fusion-ratio-threshold={self.single_fusion_ratio_threshold:g}"
        return options + (" weigh-transfers=true" if self.weigh_transfers else "")


def legal_pipeline(target: str, mode: str, keep: tuple[str, ...], placing: Placing) -> str:
    """From an imported module to one that can be segmented: what there is to place."""
    kept = f" keep={','.join(quoted(name) for name in keep)}" if keep else ""
    return (
        f"{CLEAN},{placing.rules_pass()}legalize{{target={target}}},merge-products,"
        f"cast-bf16{{mode={mode}{kept}}},simplify-shapes"
    )


def placement_pipeline(
    target: str,
    mode: str = "all",
    *,
    keep: tuple[str, ...] = (),
    placing: Placing | None = None,
    saturate_infinity: bool = False,
) -> str:
    """From an imported module to segments: what runs on the target, and why the rest does not.

    Constants are folded after `segment`, not before, so that the casts of constants which host ops
    read can still be taken away.
    """
    placing = placing or Placing()
    saturate = "saturate-infinity," if saturate_infinity else ""
    legal = legal_pipeline(target, mode, keep, placing)
    return f"{legal},segment{{{placing.segment_options()}}},{saturate}fold-constants"


def default_pipeline(
    target: str,
    cores: int = 1,
    mode: str = "all",
    *,
    keep: tuple[str, ...] = (),
    placing: Placing | None = None,
    saturate_infinity: bool = False,
    relayout: str = "fast",
) -> str:
    """From an imported module to a program for `cores` NeuronCores; the target says how it lowers.

    Raises PassError for a target that is not installed.
    """
    placement = placement_pipeline(
        target, mode, keep=keep, placing=placing, saturate_infinity=saturate_infinity
    )
    lowering = load_target(target).pipeline(cores)
    if relayout != "fast":
        lowering = lowering.replace("lower-nn-to-nc", f"lower-nn-to-nc{{relayout={relayout}}}")
    return f"{placement},partition-pipeline{{cores={cores}}},{lowering}"


def quoted(text: str) -> str:
    """An option value with dots or blanks, as xDSL's pipeline syntax wants it."""
    return '"' + "".join(ESCAPES.get(character, character) for character in text) + '"'


@cache
def installed_passes() -> dict[str, Callable[[], type[ModulePass]]]:
    """Every pass that the installed universes offer."""
    return Universe.get_multiverse().all_passes


def parse_pipeline(pipeline: str) -> tuple[ModulePass, ...]:
    """The passes of a pipeline. Raises PassError for unknown passes and options."""
    try:
        return PassPipeline.parse_spec(installed_passes(), pipeline).passes
    except ValueError as error:
        raise PassError(Code.OPTION_INVALID, f"pipeline '{pipeline}': {error}") from error


def run_pipeline(
    module: ModuleOp,
    pipeline: str,
    ctx: Context | None = None,
    *,
    after_each: AfterEach | None = None,
    verify: bool = False,
) -> None:
    """Apply a pipeline in place. `after_each` sees every pass and what it left."""
    run_passes(module, parse_pipeline(pipeline), ctx, after_each=after_each, verify=verify)


def run_passes(
    module: ModuleOp,
    passes: Iterable[ModulePass],
    ctx: Context | None = None,
    *,
    before_each: BeforeEach | None = None,
    after_each: AfterEach | None = None,
    verify: bool = False,
) -> None:
    """As `run_pipeline`, with passes that are parsed. `before_each` hears the name of each."""
    ctx = ctx or Context()
    for step in passes:
        if before_each is not None:
            before_each(step.name)
        step.apply(ctx, module)
        if verify:
            module.verify()
        if after_each is not None:
            after_each(step, module)
