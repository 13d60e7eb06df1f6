"""What stops the machine."""

from __future__ import annotations

from ranvier.dialects.diagnostics import Code, CodedError


class MachineFault(CodedError):
    """A program did what the machine leaves undefined, or used up its budget."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.MACHINE_FAULT, text)
