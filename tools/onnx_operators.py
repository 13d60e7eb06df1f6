"""Which operators of ONNX run on a target, by the examples that ONNX itself defines them with.

The examples are the node tests in the `onnx` package. Their operands are all inputs, where models
mostly have constants for shapes, axes and weights; so each is tried as it stands, with f32 where
it has integers or f64 and ONNX allows f32, with all but its first operand constant, and with all
operands constant if the import alone turns it into ops that the target has.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import CodedError
from ranvier.importers.registry import import_model
from ranvier.passes.target import Target
from ranvier.tools.support import Support, host_reasons_on

REPLACED = (TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE)
"""Element types that ONNX's examples have where models mostly have f32."""


def support(targets: Sequence[Target]) -> Support:
    """What becomes of each operator of ONNX's default domain, and of the ops that it imports as."""
    found = Support()
    for name, _, module, constant in forms():
        found.add(name, module, targets, constant=constant)
    return found


def forms_on(target: Target) -> dict[str, ModelProto]:
    """A form that needs no host of each operator that has one."""
    found: dict[str, ModelProto] = {}
    for name, form, module, constant in forms():
        if name not in found and not isinstance(module, str):
            if not host_reasons_on(target, module, constant=constant):
                found[name] = form
    return found


def forms() -> Iterator[tuple[str, ModelProto, ModuleOp | str, bool]]:
    """Operator, model and its module, or why it has none, of each form of each example.

    The last says whether all operands are constant.
    """
    with TemporaryDirectory(prefix="ranvier-") as folder:
        path = Path(folder) / "example.onnx"
        for name, model, inputs in examples():
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
                    yield name, form, imported(path), constant


def imported(path: Path) -> ModuleOp | str:
    try:
        return import_model([path], framework="ONNX", untyped=True)
    except CodedError as error:
        return f"{error.code.number}: {error}"


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
