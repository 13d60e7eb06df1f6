"""What stock xDSL tools find of ranvier: names, and getters that import on first use.

Every xDSL tool imports this module when it starts, so it imports nothing of ours itself.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from xdsl.universe import Universe

DIALECTS = {
    "nn": "ranvier.dialects.nn:NN",
    "graph": "ranvier.dialects.graph:GRAPH",
    "nc": "ranvier.dialects.nc:NC",
}

PASSES = {
    "fold-constants": "ranvier.passes.fold_constants:FoldConstantsPass",
    "simplify-shapes": "ranvier.passes.simplify_shapes:SimplifyShapesPass",
    "move-transposes": "ranvier.passes.move_transposes:MoveTransposesPass",
    "fold-batch-norm": "ranvier.passes.fold_batch_norm:FoldBatchNormPass",
    "apply-rules": "ranvier.passes.apply_rules:ApplyRulesPass",
    "legalize": "ranvier.passes.legalize:LegalizePass",
    "merge-products": "ranvier.passes.merge_products:MergeProductsPass",
    "cast-bf16": "ranvier.passes.cast_bf16:CastBf16Pass",
    "segment": "ranvier.passes.segment:SegmentPass",
    "saturate-infinity": "ranvier.passes.saturate_infinity:SaturateInfinityPass",
    "partition-pipeline": "ranvier.passes.partition_pipeline:PartitionPipelinePass",
    "lower-nn-to-nc": "ranvier.backend.neuron.lower_nn_to_nc:LowerNnToNcPass",
    "keep-on-chip": "ranvier.backend.neuron.keep_on_chip:KeepOnChipPass",
    "double-buffer": "ranvier.backend.neuron.double_buffer:DoubleBufferPass",
    "allocate": "ranvier.backend.neuron.allocate:AllocatePass",
    "schedule": "ranvier.backend.neuron.schedule:SchedulePass",
}


def getter(place: str) -> Callable[[], Any]:
    """A function that imports `module:name` when it is called."""
    module, _, name = place.partition(":")
    return lambda: getattr(import_module(module), name)


UNIVERSE = Universe(
    all_dialects={name: getter(place) for name, place in DIALECTS.items()},
    all_passes={name: getter(place) for name, place in PASSES.items()},
)
