"""What would become of a model's operators, without compiling it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from ranvier.compiler_arguments import options_of, words_of
from ranvier.torch.capturing import CaptureError, call_of, capture
from ranvier.torch.node import bytes_of, name_of, source_of, type_of
from ranvier.torch.options import Rules
from ranvier.torch.partition import Partition, partition
from ranvier.torch.report import compiled_nodes, percent, types

EVERYTHING = Rules(minimum_segment_size=0, single_fusion_ratio_threshold=1.0)
"""Rules that keep nothing on the host that the machine has."""


def placed(
    model: Callable[..., Any],
    example_inputs: Any,
    rules: Rules,
    kwargs: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Partition:
    options = options_of(arguments)
    return partition(capture(model, call_of(example_inputs, kwargs)), rules, options)


def analyze_model(
    model: Callable[..., Any],
    example_inputs: Any,
    *,
    example_kwarg_inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Print and return which operators the machine has, with these shapes and arguments.

    Raises NotImplementedError for control flow that depends on data.
    """
    try:
        found = placed(model, example_inputs, EVERYTHING, example_kwarg_inputs)
    except CaptureError as error:
        raise NotImplementedError(str(error)) from error
    every, compiled = types(found.operators), types(compiled_nodes(found))
    missing = types(found.reasons)
    supported = {kind for kind in every if kind not in missing}
    calls = [node for node in found.module.graph.nodes if node.op == "call_function"]
    hosted = [node for node in calls if node in found.reasons]
    print("\nThe following operations are currently supported:")
    print("\n".join(sorted(supported)))
    if missing:
        print("\nThe following operations are currently not supported:")
        for node, reason in found.reasons.items():
            print(f"{type_of(node)}, {source_of(node)}: {reason.text} [{reason.code.number}]")
    lines = (
        ("all operations (including primitives)", len(calls) - len(hosted), len(calls)),
        ("arithmetic operations", compiled.total(), every.total()),
    )
    for what, part, whole in lines:
        print(f"{percent(part, whole):.2f}% of {what} ({part} of {whole}) are supported")
    return {
        "percent_supported": percent(compiled.total(), every.total()),
        "supported_count": compiled.total(),
        "total_count": every.total(),
        "supported_operators": supported,
        "unsupported_operators": sorted(missing),
        "operators": sorted(every),
        "operator_count": dict(every),
    }


@dataclass(frozen=True)
class Explanation:
    """Where each operator of a model would run, with the keys of `ranvier explain --json`."""

    ops: list[dict[str, Any]]
    segments: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"ops": self.ops, "segments": self.segments}

    def __str__(self) -> str:
        lines = [
            f"{segment['name']} on {segment['placement']}: {len(segment['ops'])} operators, "
            f"{segment['bytes_in']} bytes in, {segment['bytes_out']} bytes out"
            for segment in self.segments
        ]
        for op in self.ops:
            if op["placement"] == "host":
                lines.append(
                    f"{op['framework_op']} '{op['name']}' {op['location']}: {op['reason']} "
                    f"[{op['code']}]"
                )
        return "\n".join(lines)


def explain(
    model: Callable[..., Any],
    example_inputs: Any,
    *,
    minimum_segment_size: int = 2,
    single_fusion_ratio_threshold: float = 0.6,
    subgraph_builder_function: Callable[..., bool] | None = None,
    example_kwarg_inputs: Mapping[str, Any] | None = None,
    compiler_args: Sequence[str] | str | None = None,
) -> Explanation:
    """Say where `trace` would run each operator, and why those on the host are there."""
    rules = Rules(
        minimum_segment_size, single_fusion_ratio_threshold, True, subgraph_builder_function
    )
    rules.check()
    found = placed(model, example_inputs, rules, example_kwarg_inputs, words_of(compiler_args))
    owners = {
        node: f"seg{number}"
        for number, segment in enumerate(found.segments)
        for node in segment.nodes
    }
    ops = [describe_op(node, found, owners.get(node)) for node in found.operators]
    segments = [
        {
            "name": f"seg{number}",
            "placement": "neuron",
            "ops": [name_of(node) for node in segment.operators if node not in found.constants],
            "bytes_in": sum(map(bytes_of, segment.inputs)),
            "bytes_out": sum(map(bytes_of, segment.outputs)),
        }
        for number, segment in enumerate(found.segments)
    ]
    return Explanation(ops, segments)


def describe_op(node: Node, found: Partition, segment: str | None) -> dict[str, Any]:
    reason = found.reasons.get(node)
    return {
        "name": name_of(node),
        "op": str(node.target),
        "framework_op": type_of(node),
        "placement": "neuron" if segment else "host",
        "segment": segment or "host",
        "code": reason.code.number if reason else "",
        "reason": reason.text if reason else "",
        "location": source_of(node),
    }


def get_supported_operations() -> list[str]:
    """Operators of PyTorch that have a definition here; shapes and types may still refuse one."""
    from ranvier.importers.torch import known_ops

    return known_ops()
