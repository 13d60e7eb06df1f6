"""`analyze_model`: what of a function the machine runs, without compiling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ranvier.program import Options
from ranvier.tensorflow.functions import spec_of, trace_function
from ranvier.tensorflow.inference import types_of
from ranvier.tensorflow.model import operands_of
from ranvier.tensorflow.options import NO_WORK, Placement
from ranvier.tensorflow.partition import Kind
from ranvier.tensorflow.placing import place


def analyze_model(func: Callable[..., Any], example_inputs: Any) -> dict[str, Any]:
    """Print and return which operators of a function are supported, as `trace` would place them.

    The dictionary has `percent_supported`, `supported_count`, `total_count`,
    `supported_operators`, `unsupported_operators`, `operators` and `operator_count`. An operator
    is unsupported if any of its uses is.
    """
    specs = tf.nest.map_structure(spec_of, operands_of(example_inputs))

    def call(values: Sequence[Any]) -> Any:
        own, named = tf.nest.pack_sequence_as(specs, values)
        return func(*own, **named)

    model = trace_function(call, tf.nest.flatten(specs)).model(getattr(func, "name", "function"))
    placed = place(model, {}, Options(), Placement(), types_of)
    ops = {name: node.op for name, node in model.flat.nodes.items() if node.op not in NO_WORK}
    host = [name for name in ops if placed.kinds[name] is Kind.HOST]
    unsupported = {ops[name] for name in host}
    supported, total = len(ops) - len(host), len(ops)
    percent = 100 * supported / total if total else 100.0
    print(f"{percent:.2f}% of all operations ({supported} of {total}) are supported")
    for name in host:
        print(f"  {ops[name]} '{name}': {placed.reasons[name].text}")
    return {
        "percent_supported": percent,
        "supported_count": supported,
        "total_count": total,
        "supported_operators": set(ops.values()) - unsupported,
        "unsupported_operators": sorted(unsupported),
        "operators": sorted(set(ops.values())),
        "operator_count": dict(Counter(ops.values())),
    }
