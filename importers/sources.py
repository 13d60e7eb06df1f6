"""The line of a model's source that an op comes from, where an exporter of PyTorch recorded it."""

from __future__ import annotations

import re

from xdsl.dialects.builtin import FileLineColLoc, IntAttr, StringAttr

_TRACED = re.compile(r"^(\S[^\n]*)\((\d+)\): ", re.MULTILINE)
"""A frame of `torch.jit.trace`, innermost first."""
_EXPORTED = re.compile(r'^\s*File "([^"\n]+)", line (\d+)', re.MULTILINE)
"""A frame of a Python traceback, innermost last."""
_SERIALIZED = re.compile(r'^Serialized\s+File "([^"\n]+)", line (\d+)', re.MULTILINE)
"""The line of TorchScript that a file holds instead of Python."""
_OF_TORCH = re.compile(r"[/\\](site|dist)-packages[/\\]torch[/\\]")


def source_line(trace: str) -> FileLineColLoc | None:
    """`loc("model.py":12:0)`: the innermost frame of a trace that is not PyTorch's own."""
    frames = _TRACED.findall(trace) or _EXPORTED.findall(trace)[::-1] or _SERIALIZED.findall(trace)
    frames = [frame for frame in frames if not frame[0].startswith("<")]  # code without a file
    own = [frame for frame in frames if not _OF_TORCH.search(frame[0])]
    for file, line in (own or frames)[:1]:
        text = file.encode("ascii", "backslashreplace").decode()
        return FileLineColLoc(StringAttr(text), IntAttr(int(line)), IntAttr(0))
    return None
