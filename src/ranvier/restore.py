"""Lower a placed module; a segment that cannot be lowered goes back to the host, loudly.

The guard of a lowering, `why_unsupported`, should have refused such a segment, so this is a bug of
ours: each one leaves a reproducer, and the ops say why they are on the host.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, reason_attribute
from ranvier.passes.analysis.operators import segments_of
from ranvier.passes.errors import PassError
from ranvier.passes.pipelines import AfterEach, BeforeEach, run_passes
from ranvier.passes.segment import SegmentPass, segment_names
from ranvier.tools.internal_error import REPRODUCER, Reproducer

LOG = logging.getLogger("ranvier")

MOST_ATTEMPTS = 8


@dataclass(frozen=True)
class Failure:
    """A segment that cannot be lowered, alone in its module."""

    label: str
    error: Exception
    module: ModuleOp
    pipeline: str
    """The passes that failed."""

    @property
    def text(self) -> str:
        return str(self.error).strip().split("\n")[0] or type(self.error).__name__

    def write_reproducer(self) -> Path:
        path = Path(tempfile.mkdtemp(prefix="ranvier-segment-")) / REPRODUCER
        path.write_text(Reproducer(self.module, self.pipeline).text())
        return path


def lower_or_restore(
    module: ModuleOp,
    passes: Sequence[ModulePass],
    before_each: BeforeEach | None = None,
    after_each: AfterEach | None = None,
) -> ModuleOp:
    """Run the passes from `segment` on, on the module or, after a failure, on a copy of it.

    Raises PassError if the options forbid the
    host, and what the lowering raised if no segment is to blame.
    """
    segment = next(step for step in passes if isinstance(step, SegmentPass))
    last = next(i for i, step in enumerate(passes) if step.name == "partition-pipeline")
    placing, lowering = passes[: last + 1], passes[last + 1 :]
    legal = module.clone()
    for attempt in range(MOST_ATTEMPTS):
        run_passes(module, placing, before_each=before_each, after_each=after_each)
        try:
            run_passes(module, lowering, before_each=before_each, after_each=after_each)
            return module
        except Exception:  # whatever a lowering did not foresee
            failures = failing_segments(legal, placing, lowering)
            if not failures or attempt == MOST_ATTEMPTS - 1:
                raise
            report(failures, segment.fallback)
            leave_on_host(legal, segment, failures)
            module = legal.clone()
    raise AssertionError("the last attempt returns or raises")


def failing_segments(
    legal: ModuleOp, placing: Sequence[ModulePass], lowering: Sequence[ModulePass]
) -> list[Failure]:
    """The device segments that fail to lower when they are the only one."""
    placed = legal.clone()
    run_passes(placed, placing)
    failures: list[Failure] = []
    pipeline = ",".join(str(step.pipeline_pass_spec()) for step in lowering)
    for segment in segments_of(placed):
        if segment.on_host:
            continue
        label = segment.label.data
        alone = only_segment(placed, label)
        try:
            run_passes(alone, lowering)
        except Exception as error:  # as above
            failures.append(Failure(label, error, only_segment(placed, label), pipeline))
    return failures


def only_segment(placed: ModuleOp, label: str) -> ModuleOp:
    """A copy in which the other device segments are on the host."""
    copy = placed.clone()
    for segment in segments_of(copy):
        if segment.label.data != label:
            segment.properties["placement"] = StringAttr(graph.HOST)
    return copy


def report(failures: Sequence[Failure], fallback: str) -> None:
    """Say which segments failed, and where the reproducers are; refuse if the host is forbidden."""
    for failure in failures:
        LOG.warning(
            "segment %s failed to lower (%s: %s); reproducer: %s",
            failure.label,
            type(failure.error).__name__,
            failure.text,
            failure.write_reproducer(),
        )
    if fallback == "error":
        listed = "; ".join(f"{failure.label}: {failure.text}" for failure in failures)
        raise PassError(
            Code.SEGMENT_FAILED, f"fallback=error forbids the host, but segments fail: {listed}"
        )
    LOG.warning("%d segments go back to the host; the rest is compiled again", len(failures))


def leave_on_host(legal: ModuleOp, segment: SegmentPass, failures: Sequence[Failure]) -> None:
    """Give the ops of failed segments the reason that keeps them on the host."""
    plan = segment.plan(Context(), legal)
    assert plan is not None
    members = plan.segments()
    reasons = {
        failure.label: Reason(
            Code.OP_COMPILE_FAILED, f"its segment failed to lower: {failure.text}"
        )
        for failure in failures
    }
    for label, ops in zip(segment_names(list(members)), members.values(), strict=True):
        if label in reasons:
            for op in ops:
                op.attributes[REASON] = reason_attribute(reasons[label])
