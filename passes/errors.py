"""The error of a pass: it has a code for users, and xDSL's tools know it as a failed pass."""

from __future__ import annotations

from xdsl.utils.exceptions import PassFailedException

from ranvier.dialects.diagnostics import CodedError


class PassError(CodedError, PassFailedException):
    """A pass cannot do what its options or the module ask for."""
