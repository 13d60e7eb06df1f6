"""The error of every importer."""

from __future__ import annotations

from ranvier.dialects.diagnostics import CodedError


class ModelImportError(CodedError):
    """The file is wrong or unsupported.

    The text starts with the place: `model.onnx: node 'conv_3' (Conv, opset 13): …`.
    """
