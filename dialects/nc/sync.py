"""Semaphores. Each instruction stream counts the instructions it has completed; others wait for it.

A stream is an engine, or a DMA queue (`q0` … `q15`). The count of a stream is its semaphore: it
never falls, so one wait names a producer and a value. In a loop the value moves with the turns.

    wait(pe >= 12 + i0*3, q0 >= 4)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import Data
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

QUEUES = 16
"""DMA queues of a core."""
ENGINES = ("pe", "act", "dve", "pool", "sp")
STREAMS = (*ENGINES, *(f"q{index}" for index in range(QUEUES)))


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not start before `stream` has completed this many instructions."""

    stream: str
    count: int
    steps: tuple[int, ...]

    def count_at(self, turns: Sequence[int]) -> int:
        return self.count + sum(s * turn for s, turn in zip(self.steps, turns, strict=True))

    def __str__(self) -> str:
        steps = "".join(f" + i{depth}*{step}" for depth, step in enumerate(self.steps))
        return f"{self.stream} >= {self.count}{steps}"


def parse_wait(parser: AttrParser) -> Wait:
    stream = parser.parse_keyword_in(STREAMS)
    parser.parse_punctuation(">")
    parser.parse_punctuation("=")
    count = parser.parse_integer()
    steps: list[int] = []
    while parser.parse_optional_punctuation("+"):
        parser.parse_keyword(f"i{len(steps)}")
        parser.parse_punctuation("*")
        steps.append(parser.parse_integer())
    return Wait(stream, count, tuple(steps))


@irdl_attr_definition
class WaitsAttr(Data[tuple[Wait, ...]]):
    """What an instruction waits for."""

    name = "nc.waits"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple[Wait, ...]:
        delimiter = parser.Delimiter.ANGLE
        return tuple(parser.parse_comma_separated_list(delimiter, lambda: parse_wait(parser)))

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(", ".join(map(str, self.data)))
