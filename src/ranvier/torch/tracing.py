"""`trace`: a model in, a TorchScript module with compiled programs in it out."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.torch.assemble import assemble, record
from ranvier.torch.capturing import Call, call_of, capture, owner_of
from ranvier.torch.check import (
    TOLERANCE,
    check_batch,
    check_captured,
    check_programs,
    run_graph,
    run_model,
    why_batch_is_fixed,
)
from ranvier.torch.compiler import SegmentError, compile_segment
from ranvier.torch.options import Compilation, Optimization, Predicate, Rules, compilation_of
from ranvier.torch.partition import LOG, Partition, partition
from ranvier.torch.report import log_compiled, log_partition
from ranvier.torch.runtime import ELIGIBLE, OFF, ON


@dataclass(frozen=True)
class Checks:
    """How the result is compared with the model."""

    enabled: bool = True
    inputs: Sequence[Call] = ()
    tolerance: float | None = None


@dataclass(frozen=True)
class Traced:
    """A graph with programs in it, before it is recorded."""

    module: GraphModule
    partition: Partition
    values: dict[str, Tensor]
    """Of the captured graph on the example: what programs take and give, by node name."""

    @property
    def replayed(self) -> dict[str, list[Tensor]]:
        """The outputs of each program on the example."""
        return {
            f"neff_{number}": [self.values[node.name] for node in segment.outputs]
            for number, segment in enumerate(self.partition.segments)
        }


def trace(
    model: Callable[..., Any],
    example_inputs: Any,
    *,
    compiler_args: Sequence[str] | str | None = None,
    compiler_timeout: float | None = None,
    compiler_workdir: object = None,
    subgraph_builder_function: Predicate | None = None,
    minimum_segment_size: int = 2,
    single_fusion_ratio_threshold: float = 0.6,
    fallback: bool = True,
    dynamic_batch_size: bool = False,
    optimizations: Sequence[Optimization] | None = None,
    separate_weights: bool = False,
    skip_compiler: bool = False,
    allow_no_ops_on_neuron: bool = False,
    check_trace: bool = True,
    check_inputs: Sequence[Any] | None = None,
    check_tolerance: float | None = None,
    example_kwarg_inputs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Compile a model for the shapes of its example inputs, as `torch_neuron.trace` did.

    `model` is a module in eval mode, its `forward`, a function or a ScriptModule; a module in
    training mode is returned unchanged. What the machine lacks stays in the result as ops of
    PyTorch. `separate_weights` has no effect: a NEFF of ranvier has no size limit. Other keywords
    go to `torch.jit.trace`, `strict=False` for results in dicts among them.

    Raises UnsupportedOperatorError (an AttributeError) with `fallback=False`,
    `subprocess.TimeoutExpired`, RuntimeError if nothing can be compiled, TraceMismatchError if the
    result differs from the model, CaptureError if the model is not static, and CallerError.
    """
    owner = owner_of(model)
    if owner is not None and owner.training:
        LOG.warning(
            "the model is in training mode and is returned unchanged; call eval() before tracing"
        )
        return model
    rules = Rules(
        minimum_segment_size, single_fusion_ratio_threshold, fallback, subgraph_builder_function
    )
    rules.check()
    compilation = compilation_of(compiler_args, compiler_timeout, compiler_workdir)
    call = call_of(example_inputs, example_kwarg_inputs)
    checks = Checks(check_trace, [call_of(each) for each in check_inputs or ()], check_tolerance)
    half = wants_half(optimizations or ())
    if half:
        model, narrow = half_of(model), call.map(to_half)
        checks = Checks(check_trace, [each.map(to_half) for each in checks.inputs], check_tolerance)
    else:
        narrow = call
    traced = build(
        model,
        narrow,
        rules,
        compilation,
        checks,
        dynamic=dynamic_batch_size,
        half=half,
        compiles=not skip_compiler,
        may_be_empty=allow_no_ops_on_neuron or skip_compiler,
    )
    return record(traced.module, call, traced.replayed, settings)


def wants_half(optimizations: Sequence[Optimization]) -> bool:
    for each in optimizations:
        if each is not Optimization.FLOAT32_TO_FLOAT16:
            raise CallerError(
                Code.OPTION_INVALID,
                f"optimizations are of {Optimization.FLOAT32_TO_FLOAT16}, got {each!r}",
            )
    return bool(optimizations)


def to_half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def half_of(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model with weights of f16; functions have none."""
    owner = owner_of(model)
    if owner is None:
        return model
    narrow = copy.deepcopy(owner).half()
    return narrow if model is owner else getattr(narrow, getattr(model, "__name__", "forward"))


def build(
    model: Callable[..., Any],
    call: Call,
    rules: Rules,
    compilation: Compilation,
    checks: Checks,
    *,
    dynamic: bool = False,
    half: bool = False,
    compiles: bool = True,
    may_be_empty: bool = False,
) -> Traced:
    """Capture, place, compile, check and assemble."""
    run_model(model, call)  # an error of the model is its own
    captured = capture(model, call)
    if checks.enabled:
        for each in checks.inputs or [call]:
            check_captured(model, captured, each, checks.tolerance or TOLERANCE)
    found = partition(captured, rules, compilation.options)
    log_partition(found)
    if not compiles:
        LOG.info("The neuron partitioner created %d sub-graphs", len(found.segments))
        found = Partition(captured, [], {}, found.constants, found.levels)
        return Traced(assemble(found, [], half=half), found, {})
    attempted = len(found.segments)
    found, neffs = compile_all(found, rules, compilation)
    log_compiled(found, attempted)
    if not neffs:
        report_nothing(may_be_empty)
    edges = {n for segment in found.segments for n in (*segment.inputs, *segment.outputs)}
    _, values = run_graph(captured, call, list(edges))
    if checks.enabled:
        check_programs(found, neffs, values, compilation.options, checks.tolerance)
    batch = batch_state(model, call, found, dynamic=dynamic, looks=checks.enabled)
    return Traced(assemble(found, neffs, batch=batch, half=half), found, values)


def report_nothing(allowed: bool) -> None:
    if not allowed:
        raise RuntimeError(
            "No operations were successfully partitioned and compiled to neuron for this model - "
            "aborting trace!"
        )
    LOG.warning("No operator is placed on Neuron runtime; returning a CPU trace")


def compile_all(
    found: Partition, rules: Rules, compilation: Compilation
) -> tuple[Partition, list[Tensor]]:
    """The NEFF of each segment; a segment that cannot be compiled goes to the host, loudly."""
    neffs: list[Tensor] = []
    for number, segment in enumerate(found.segments):
        try:
            neffs.append(compile_segment(segment, number, compilation))
        except subprocess.TimeoutExpired:
            raise
        except SegmentError as error:
            if not rules.fallback:
                raise
            LOG.warning(
                "torch.neuron.trace failed on _NeuronGraph$%d; falling back to native python "
                "function call",
                number,
            )
            LOG.error("%s", error, exc_info=error)
            reason = Reason(Code.INTERNAL, f"the compiler failed: {str(error).splitlines()[-1]}")
            found = found.host_only(segment, reason)
    return found, neffs


def batch_state(
    model: Callable[..., Any], call: Call, found: Partition, *, dynamic: bool, looks: bool
) -> str:
    """Whether batches may be cut. Raises CallerError if they must and cannot."""
    if not dynamic and (not looks or found.reasons or len(found.segments) != 1):
        return OFF
    reason = why_batch_is_fixed(model, call)
    if not dynamic:
        return OFF if reason else ELIGIBLE
    if reason:
        raise CallerError(Code.OPTION_INVALID, f"dynamic_batch_size: {reason}")
    check_batch(found, call.tensors()[0].shape[0])
    return ON

