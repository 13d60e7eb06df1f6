"""`trace` and `export`: a model in, a module of PyTorch with compiled programs in it out."""

from __future__ import annotations

import copy
import subprocess
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule

from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.torch.assemble import assemble, record
from ranvier.torch.capturing import Call, call_of, capture, check_model, owner_of
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
class Settings:
    """The keywords of `trace`, with the defaults of the original."""

    compiler_args: Sequence[str] | str | None = None
    """Arguments of `ranvier compile`, those of neuron-cc among them, for all segments."""
    compiler_timeout: float | None = None
    """Seconds for each segment; then its process is killed: `subprocess.TimeoutExpired`."""
    compiler_workdir: object = None
    """Keeps `<number>/graph_def.neff`, `.mlir` and `.neuron-cc.log` of each segment."""
    subgraph_builder_function: Predicate | None = None
    """Says of a node whether it may be compiled, from its `name` and `type_string`.

    Placement rules of `compiler_args` (`--rules`) win over it.
    """
    minimum_segment_size: int = 2
    """Smaller segments stay on the host, unless one is the whole graph."""
    single_fusion_ratio_threshold: float = 0.6
    """A segment with a larger share of all operators is the only one; 1.0 compiles all."""
    fallback: bool = True
    """False makes an operator that the machine lacks an AttributeError."""
    dynamic_batch_size: bool = False
    """Calls may have another size of dimension 0, which is cut and filled up."""
    optimizations: Sequence[Optimization] = ()
    separate_weights: bool = False
    """Without effect: a NEFF of ranvier has no limit of size."""
    skip_compiler: bool = False
    """Only log what would be compiled; the result runs on the host."""
    allow_no_ops_on_neuron: bool = False
    check_trace: bool = True
    """Compare the result with the model on the example, or on `check_inputs`."""
    check_inputs: Sequence[Any] | None = None
    check_tolerance: float | None = None
    """1e-5 for the graph; of a program, what its casts cost, unless this is more."""
    example_kwarg_inputs: Mapping[str, Any] | None = None

    @property
    def rules(self) -> Rules:
        rules = Rules(
            self.minimum_segment_size,
            self.single_fusion_ratio_threshold,
            self.fallback,
            self.subgraph_builder_function,
        )
        rules.check()
        return rules

    @property
    def compilation(self) -> Compilation:
        return compilation_of(self.compiler_args, self.compiler_timeout, self.compiler_workdir)

    @property
    def half(self) -> bool:
        """Whether f32 becomes f16. Raises CallerError for optimizations that do not exist."""
        for each in self.optimizations or ():
            if each is not Optimization.FLOAT32_TO_FLOAT16:
                raise CallerError(
                    Code.OPTION_INVALID,
                    f"optimizations are of {Optimization.FLOAT32_TO_FLOAT16}, got {each!r}",
                )
        return bool(self.optimizations)


@dataclass(frozen=True)
class Traced:
    """A graph with programs in it, before it is recorded."""

    module: GraphModule
    call: Call
    partition: Partition
    values: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Of the captured graph on the example: what programs take and give, by node name."""

    @property
    def replayed(self) -> dict[str, list[Tensor]]:
        """The outputs of each program on the example."""
        return {
            f"neff_{number}": [self.values[node.name] for node in segment.outputs]
            for number, segment in enumerate(self.partition.segments)
        }


def trace(model: Callable[..., Any], example_inputs: Any = None, **keywords: Any) -> Any:
    """Compile a model for the shapes of its example inputs, as `torch_neuron.trace` did.

    `model` is a module in eval mode, its `forward`, a function or a ScriptModule; a module in
    training mode is returned unchanged. What the machine lacks stays in the result, a ScriptModule,
    as ops of PyTorch. The keywords are those of `Settings`; others go to `torch.jit.trace`,
    `strict=False` for results in dicts among them.

    Raises UnsupportedOperatorError (an AttributeError) with `fallback=False`,
    `subprocess.TimeoutExpired`, RuntimeError if nothing can be compiled, TraceMismatchError if the
    result differs from the model, CaptureError if the model is not static, and CallerError.
    """
    if is_training(model):
        return model
    known = {each.name for each in fields(Settings)}
    settings = Settings(**{name: keywords[name] for name in keywords.keys() & known})
    rest = {name: value for name, value in keywords.items() if name not in known}
    with state_kept(model):
        traced = traced_of(model, example_inputs, settings)
        return record(traced.module, traced.call, traced.replayed, rest)


def export(
    model: Callable[..., Any], example_inputs: Any = None, **keywords: Any
) -> ExportedProgram:
    """As `trace`, to an exported program: `torch.export.save` writes it to a `.pt2` file.

    Raises as `trace` does, and CallerError for a module in training mode.
    """
    if is_training(model):
        raise CallerError(Code.OPTION_INVALID, "the model is in training mode; call eval() before")
    with state_kept(model), warnings.catch_warnings():
        traced = traced_of(model, example_inputs, Settings(**keywords))
        warnings.simplefilter("ignore")
        call = traced.call.copy()
        return torch.export.export(traced.module, call.args, dict(call.kwargs), strict=False)


@contextmanager
def state_kept(model: Callable[..., Any]) -> Generator[None]:
    """Undo what running the examples does to the buffers and tables of a model.

    Raises CallerError for a model that cannot be run.
    """
    check_model(model)
    owner = owner_of(model)
    kept = [] if owner is None else [*owner.buffers(), *scaled_tables(owner)]
    before = [tensor.detach().clone() for tensor in kept]
    try:
        yield
    finally:
        for tensor, old in zip(kept, before, strict=True):
            if not torch.equal(tensor, old):
                tensor.detach().copy_(old)


def scaled_tables(owner: torch.nn.Module) -> list[Tensor]:
    """The tables of embeddings whose rows a look-up scales down in place."""
    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    return [m.weight for m in owner.modules() if isinstance(m, kinds) and m.max_norm is not None]


def is_training(model: Callable[..., Any]) -> bool:
    owner = owner_of(model)
    if owner is None or not getattr(owner, "training", False):  # which frozen scripts lack
        return False
    LOG.warning(
        "the model is in training mode and is returned unchanged; call eval() before tracing"
    )
    return True


def traced_of(model: Callable[..., Any], example_inputs: Any, settings: Settings) -> Traced:
    """The graph with programs in it, checked."""
    call = call_of(example_inputs, settings.example_kwarg_inputs)
    checked = [call_of(each) for each in settings.check_inputs or ()]
    if not settings.half:
        return build(model, call, call, checked, settings)
    narrow = [each.map(to_half) for each in checked]
    return build(half_of(model), call, call.map(to_half), narrow, settings)


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
    outer: Call,
    call: Call,
    checked: Sequence[Call],
    settings: Settings,
) -> Traced:
    """Capture, place, compile, check and assemble. `outer` is what the result is called with."""
    rules, compilation, half = settings.rules, settings.compilation, settings.half
    expected = fresh(model, call)  # an error of the model is its own
    captured = capture(model, call)
    if settings.check_trace:
        tolerance = settings.check_tolerance or TOLERANCE
        pairs = [(each, fresh(model, each)) for each in checked] or [(call, expected)]
        for each, wanted in pairs:
            with state_kept(model):  # which the graph shares
                check_captured(captured, each, wanted, tolerance)
    found = partition(captured, rules, compilation.options)
    log_partition(found)
    if settings.skip_compiler:
        LOG.info("The neuron partitioner created %d sub-graphs", len(found.segments))
        found = Partition(captured, [], {}, found.constants, levels=found.levels)
        return Traced(assemble(found, [], half=half), outer, found)
    attempted = len(found.segments)
    found, neffs = compile_all(found, rules, compilation)
    log_compiled(found, attempted)
    if not neffs and not captured.graph.find_nodes(
        op="call_function", target=torch.ops.neff.execute.default
    ):
        report_nothing(settings.allow_no_ops_on_neuron)
    edges = {n for segment in found.segments for n in (*segment.inputs, *segment.outputs)}
    _, values = run_graph(captured, call, list(edges))
    if settings.check_trace:
        check_programs(found, neffs, values, compilation.options, settings.check_tolerance)
    batch = batch_state(model, call, found, settings)
    return Traced(assemble(found, neffs, batch=batch, half=half), outer, found, values)


def fresh(model: Callable[..., Any], call: Call) -> Any:
    """What the model returns from the state that it has now, and keeps."""
    with state_kept(model):
        return run_model(model, call)


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


def batch_state(model: Callable[..., Any], call: Call, found: Partition, settings: Settings) -> str:
    """Whether batches may be cut. Raises CallerError if they must and cannot."""
    if not settings.dynamic_batch_size:
        whole = settings.check_trace and not found.reasons and len(found.segments) == 1
        return ELIGIBLE if whole and why_batch_is_fixed(model, call) is None else OFF
    if reason := why_batch_is_fixed(model, call):
        raise CallerError(Code.OPTION_INVALID, f"dynamic_batch_size: {reason}")
    check_batch(found, call.tensors()[0].shape[0])
    return ON
