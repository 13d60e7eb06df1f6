"""Which operators of ONNX run on a target, by the examples that ONNX itself defines them with.

The examples are the node tests in the `onnx` package. Their operands are all inputs, where models
mostly have constants for shapes, axes and weights; so each is tried as it stands, with f32 where
it has integers or f64 and ONNX allows f32, with all but its first operand constant, and with all
operands constant if the import alone turns it into ops that the target has.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import PassFailedException

from ranvier.backend.reference import main_of
from ranvier.dialects.diagnostics import CodedError
from ranvier.dialects.interfaces import ReferenceSemantics
from ranvier.importers.registry import import_model
from ranvier.passes.analysis.dataflow import constant_ops
from ranvier.passes.pipelines import Placing, placement_pipeline, run_pipeline
from ranvier.passes.target import Target

REPLACED = (TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE)
"""Element types that ONNX's examples have where models mostly have f32."""


def operators(target: Target) -> list[str]:
    """The operators of ONNX's default domain that need no host in some form, sorted."""
    return sorted(forms_on(target))


def forms_on(target: Target) -> dict[str, ModelProto]:
    """A form that needs no host of each operator that has one."""
    found: dict[str, ModelProto] = {}
    with TemporaryDirectory(prefix="ranvier-") as folder:
        path = Path(folder) / "example.onnx"
        for name, model, inputs in examples():
            if name not in found and (form := form_on(target, model, inputs, path)) is not None:
                found[name] = form
    return found


def examples() -> Iterator[tuple[str, ModelProto, list[Any]]]:
    """Operator, model of one node and operand values of every example."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # some examples divide by zero on purpose
        cases = collect_testcases(None)
    for case in cases:
        if case.model is None or not case.data_sets or len(case.model.graph.node) != 1:
            continue
        node: NodeProto = case.model.graph.node[0]
        if node.domain in ("", "ai.onnx"):
            yield node.op_type, case.model, list(case.data_sets[0][0])


def form_on(target: Target, model: ModelProto, inputs: list[Any], path: Path) -> ModelProto | None:
    """The first form of an example that needs no host, or None. `path` is written to."""
    floats = with_floats(model)
    for constant, form in (
        (False, model),
        (False, floats),
        (False, with_constants(model, inputs, first=1)),
        (False, floats and with_constants(floats, inputs, first=1)),
        (True, with_constants(model, inputs, first=0)),
    ):
        if form is not None:
            path.write_bytes(form.SerializeToString())
            if runs_on(target, path, constant=constant):
                return form
    return None


def with_floats(model: ModelProto) -> ModelProto | None:
    """The model on f32 in place of integers and f64; None where that changes nothing."""
    node = model.graph.node[0]
    schema = defs.get_schema(node.op_type, model.opset_import[0].version, node.domain)
    form = ModelProto()
    form.CopyFrom(model)
    changed = False
    for info, operand in zip(form.graph.input, schema.inputs, strict=False):
        tensor = info.type.tensor_type
        if tensor.elem_type in REPLACED and "tensor(float)" in operand.types:
            tensor.elem_type = TensorProto.FLOAT
            changed = True
    return form if changed else None


def with_constants(model: ModelProto, inputs: list[Any], *, first: int) -> ModelProto | None:
    """The model with operands from `first` on as constants; None if that changes nothing."""
    fixed = list(zip(model.graph.input, inputs, strict=False))[first:]
    if not fixed or not all(isinstance(array, np.ndarray | np.generic) for _, array in fixed):
        return None
    form = ModelProto()
    form.CopyFrom(model)
    del form.graph.input[first:]
    for info, array in fixed:
        values = np.asarray(array)
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            values = values.astype(np.float32)  # `with_floats` declared it so
        form.graph.initializer.append(numpy_helper.from_array(values, info.name))
    return form


def runs_on(target: Target, path: Path, *, constant: bool) -> bool:
    """Whether a model compiles without the host. A constant one must import into what runs."""
    try:
        module = import_model([path], framework="ONNX")
        if constant and not all_supported(module, target):
            return False
        run_pipeline(module, placement_pipeline(target.name, placing=Placing(fallback="error")))
    except (CodedError, PassFailedException):
        return False
    return True


def all_supported(module: ModuleOp, target: Target) -> bool:
    """Whether the target would run each op of a model of constants, if it were not folded."""
    ops = main_of(module).body.block.ops
    return all(
        target.why_unsupported(op) is None
        for op in constant_ops(ops)
        if isinstance(op, ReferenceSemantics) and op.operands
    )
