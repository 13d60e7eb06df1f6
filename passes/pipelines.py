"""Named pipelines as strings, and how to run one in this process.

A pipeline is the text that `ranvier-opt -p` takes, so that a user can print, edit and run it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.universe import Universe

from ranvier.dialects.diagnostics import Code
from ranvier.passes.errors import PassError

AfterEach: TypeAlias = Callable[[ModulePass, ModuleOp], None]

CLEAN = (
    "fold-constants,simplify-shapes,move-transposes,simplify-shapes,fold-batch-norm,fold-constants"
)
"""Make an imported module small; no target is needed."""


def lowering_pipeline(relayout: str = "fast") -> str:
    """From stages to engine programs with addresses."""
    options = "" if relayout == "fast" else f"{{relayout={relayout}}}"
    return f"lower-nn-to-nc{options},double-buffer,allocate,schedule"


def placement_pipeline(
    target: str,
    mode: str = "all",
    *,
    keep: tuple[str, ...] = (),
    minimum_size: int = 1,
    fallback: str = "host",
    saturate_infinity: bool = False,
) -> str:
    """From an imported module to segments: what runs on the target, and why the rest does not.

    Constants are folded after `segment`, not before, so that the casts of constants which host ops
    read can still be taken away.
    """
    saturate = "saturate-infinity," if saturate_infinity else ""
    kept = f" keep={','.join(quoted(name) for name in keep)}" if keep else ""
    return (
        f"{CLEAN},legalize{{target={target}}},cast-bf16{{mode={mode}{kept}}},simplify-shapes,"
        f"segment{{minimum-size={minimum_size} fallback={fallback}}},{saturate}fold-constants"
    )


def default_pipeline(
    target: str,
    cores: int = 1,
    mode: str = "all",
    *,
    keep: tuple[str, ...] = (),
    minimum_size: int = 1,
    fallback: str = "host",
    saturate_infinity: bool = False,
    relayout: str = "fast",
) -> str:
    """From an imported module to a scheduled program for `cores` NeuronCores."""
    placement = placement_pipeline(
        target,
        mode,
        keep=keep,
        minimum_size=minimum_size,
        fallback=fallback,
        saturate_infinity=saturate_infinity,
    )
    return f"{placement},partition-pipeline{{cores={cores}}},{lowering_pipeline(relayout)}"


def quoted(text: str) -> str:
    """An option value with dots or blanks, as xDSL's pipeline syntax wants it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


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
    ctx = ctx or Context()
    for step in parse_pipeline(pipeline):
        step.apply(ctx, module)
        if verify:
            module.verify()
        if after_each is not None:
            after_each(step, module)
