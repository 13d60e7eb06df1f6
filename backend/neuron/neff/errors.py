"""What is wrong with a compiled file: one error for each step of the loader's checks.

Source: facts on the file format, section 6. `exit_status` is what a command returns for the error;
10 is the published status of a file of an unsupported version.
"""

from __future__ import annotations

from typing import ClassVar

from ranvier.dialects.diagnostics import Code, CodedError


class NeffError(CodedError, ValueError):
    """A compiled file, or the program in it, cannot be used."""

    CODE: ClassVar[Code] = Code.NEFF_PROGRAM
    exit_status: ClassVar[int] = 1

    def __init__(self, text: str) -> None:
        super().__init__(self.CODE, text)


class NeffSizeError(NeffError):
    """The file is truncated or has trailing bytes."""

    CODE = Code.NEFF_SIZE


class NeffMagicError(NeffError):
    """The file was not written by ranvier."""

    CODE = Code.NEFF_MAGIC


class NeffHeaderError(NeffError):
    """The header does not match its hash, or holds a value that no writer gives."""

    CODE = Code.NEFF_HEADER


class NeffVersionError(NeffError):
    """The file is of another format version, or needs a feature that is not known here."""

    CODE = Code.NEFF_VERSION
    exit_status = 10


class NeffManifestError(NeffError):
    """The manifest is out of bounds, does not match its hash, or is not a manifest."""

    CODE = Code.NEFF_MANIFEST


class NeffMemberError(NeffError):
    """The members of the archive are not those that the manifest lists."""

    CODE = Code.NEFF_MEMBER


class NeffProgramError(NeffError):
    """A program does not match its hash, cannot be read, or breaks a rule of the machine."""

    CODE = Code.NEFF_PROGRAM


class NeffWeightsError(NeffError):
    """Weights do not match their hash, or are not where the variable table says."""

    CODE = Code.NEFF_WEIGHTS
