"""The one list of codes: every error and every reason of ranvier has its place here.

A code's number never changes its meaning; `docs/errors.md` is generated from this enum.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Code(Enum):
    """Stable code, and what the user can do about it."""

    FILE_MISSING = ("RV0101", "check the path")
    FILE_INVALID = ("RV0102", "export or copy the model again; the file is damaged or no model")
    FILE_UNWRITABLE = ("RV0103", "choose another output path or mend its permissions")
    SHAPE_UNKNOWN = ("RV0104", "give each dimension a number, `--shape NAME=1x3x224x224`")
    SHAPE_MISMATCH = ("RV0105", "give the shapes that the model declares")
    MODEL_UNSUPPORTED = ("RV0106", "export the model with one of the versions that the text names")
    NODE_INVALID = ("RV0107", "mend the node, or export the model again")
    NODE_NOT_STATIC = ("RV0108", "make the operand a constant of the model")
    INPUT_UNKNOWN = ("RV0109", "use one of the listed input names")
    INPUT_MISSING = ("RV0110", "pass every input that the program lists")
    INPUT_TYPE = ("RV0111", "pass an array of the declared element type")
    INPUT_SHAPE = ("RV0112", "pass an array of the declared shape, or compile for another one")
    INPUT_RANGE = ("RV0113", "pass values that the compiled integer type holds")
    OPTION_INVALID = ("RV0114", "see `--help` of the command")
    TARGET_UNKNOWN = ("RV0115", "name an installed target")
    TARGET_CONFLICT = ("RV0116", "use one target for the whole pipeline")
    WEIGHT_MISSING = (
        "RV0117",
        "keep the weights file beside the IR, or name its folder with `--weights`",
    )
    WEIGHT_INVALID = ("RV0118", "write the weights file again")
    MODEL_EMPTY = ("RV0119", "export a model with at least one output")
    FALLBACK_FORBIDDEN = ("RV0120", "allow host execution, or change the listed ops")
    PROVIDER_MISSING = ("RV0121", "install the package or the compiler that the text names")
    RULE_INVALID = ("RV0122", "mend the rule; `docs/rules.md` describes the language")
    RULE_IMPOSSIBLE = ("RV0123", "change the rule, or the op that it places")
    SEGMENT_FAILED = ("RV0124", "report it with the reproducer, or allow host execution")
    TRACE_MISMATCH = ("RV0125", "relax `check_tolerance`, or make the model deterministic")

    OP_NO_LOWERING = ("RV0201", "the target has no instruction sequence for this op")
    OP_ELEMENT_TYPE = ("RV0202", "the target lacks this element type for this op")
    OP_RANK = ("RV0203", "the lowering takes other ranks")
    OP_ATTRIBUTE = ("RV0204", "the lowering takes other attribute values")
    OP_OPAQUE = ("RV0205", "ranvier has no definition of this framework op; its provider runs it")
    OP_SIZE = ("RV0206", "the op does not fit the machine")
    OP_OPERAND = ("RV0207", "the operand must be a constant")
    OP_RULE = ("RV0208", "a placement rule keeps the op on the host")
    OP_SEGMENT_TOO_SMALL = ("RV0209", "lower `minimum-size`")
    OP_EMPTY = ("RV0210", "a tensor without elements needs no machine")
    OP_UNREGISTERED = ("RV0211", "the op is of a dialect that the target does not know")

    OP_COMPILE_FAILED = ("RV0212", "report it with the reproducer that was written")
    OP_TRANSFER = ("RV0213", "compile without `weigh-transfers`")
    OP_NOT_LARGEST = ("RV0214", "raise `single-fusion-ratio-threshold`")

    NEFF_SIZE = ("RV0301", "copy the file again; it is truncated or has trailing bytes")
    NEFF_MAGIC = ("RV0302", "the file was not written by ranvier; only such files run here")
    NEFF_HEADER = ("RV0303", "copy the file again; its header is damaged")
    NEFF_VERSION = ("RV0304", "compile the model again with this version")
    NEFF_MANIFEST = ("RV0305", "copy the file again; its manifest is damaged")
    NEFF_MEMBER = ("RV0306", "copy the file again; its members disagree with its manifest")
    NEFF_PROGRAM = ("RV0307", "compile the model again; the program breaks a rule of the machine")
    NEFF_WEIGHTS = ("RV0308", "copy the file again; its weights are damaged")

    MACHINE_FAULT = (
        "RV0401",
        "report it with the reproducer; a program must not break these rules",
    )
    MACHINE_CAPACITY = ("RV0402", "reduce the batch or the image size")
    INTERNAL = ("RV0901", "report it with the reproducer that was written")

    def __init__(self, number: str, advice: str) -> None:
        self.number = number
        self.advice = advice


@dataclass(frozen=True)
class Reason:
    """Why an op does not run on a target: a code, and a text with the value that was refused."""

    code: Code
    text: str

    def __str__(self) -> str:
        return f"{self.code.number}: {self.text}"


class CodedError(Exception):
    """An error with a code, for a user. `str()` is one line: what, the values, where."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code

    def report(self) -> str:
        """The line that a command prints: text, advice, code."""
        return f"{self} ({self.code.advice}) [{self.code.number}]"


class CallerError(CodedError, ValueError):
    """The caller's arguments are wrong: a value, a name, a path."""
