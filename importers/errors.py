"""The error of every importer."""

from __future__ import annotations

import re

from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.dialects.nn.types import NoSuchTensor

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ModelImportError(CodedError):
    """The file is wrong or unsupported.

    The text starts with the place: `model.onnx: node 'conv_3' (Conv, opset 13): …`. It is one
    line, whatever names a damaged file holds.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, _CONTROL.sub(lambda match: repr(match[0])[1:-1], text))


class NoSuchForm(VerifyException):
    """`nn` lacks this form of an op that it has."""


REASONS = {
    Code.OP_OPAQUE: Code.OP_OPAQUE,
    Code.SHAPE_UNKNOWN: Code.OP_OPAQUE,
    Code.MODEL_UNSUPPORTED: Code.OP_OPAQUE,
    Code.NODE_NOT_STATIC: Code.OP_OPERAND,
    Code.INPUT_UNKNOWN: Code.OP_ELEMENT_TYPE,
}
"""Errors about a node of a model that is right: what `nn` lacks, and the reason that this is."""


def reason_code(error: Exception) -> Code | None:
    """Why a node has no place in `nn`; None if the error says that the model is wrong."""
    if isinstance(error, NoSuchTensor) or isinstance(error.__cause__, NoSuchTensor):
        return Code.OP_ELEMENT_TYPE
    if isinstance(error, NoSuchForm):
        return Code.OP_OPAQUE
    return REASONS.get(error.code) if isinstance(error, ModelImportError) else None
