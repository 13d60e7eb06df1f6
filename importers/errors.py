"""The error of every importer."""

from __future__ import annotations

import re

from ranvier.dialects.diagnostics import Code, CodedError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ModelImportError(CodedError):
    """The file is wrong or unsupported.

    The text starts with the place: `model.onnx: node 'conv_3' (Conv, opset 13): …`. It is one
    line, whatever names a damaged file holds.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, _CONTROL.sub(lambda match: repr(match[0])[1:-1], text))
