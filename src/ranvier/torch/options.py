"""What the keywords of `trace` ask of the compiler and of the placement of ops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ranvier.compiler_arguments import options_of, words_of
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.passes.placement import nodes_chosen
from ranvier.program import Options
from ranvier.torch.node import GraphNode


class Optimization(Enum):
    """Passes that `trace` runs if they are among its `optimizations`."""

    FLOAT32_TO_FLOAT16 = "float32_to_float16"
    """Weights, inputs and outputs of f32 become f16; calls may still pass f32."""


Predicate = Callable[[GraphNode], bool]


@dataclass(frozen=True)
class Rules:
    """Which ops may go to the machine, beside what it lacks."""

    minimum_segment_size: int = 2
    single_fusion_ratio_threshold: float = 0.6
    fallback: bool = True
    wanted: Predicate | None = None
    """The `subgraph_builder_function`: false keeps an op on the host."""

    def of_nodes(self, nodes: Iterable[tuple[str, GraphNode]]) -> list[str]:
        """The placement rules that the options are, for nodes by name."""
        if self.wanted is None:
            return []
        return nodes_chosen(nodes, self.wanted, "subgraph_builder_function")

    def check(self) -> None:
        """Raises CallerError for values out of their range."""
        if self.minimum_segment_size < 0:
            raise CallerError(
                Code.OPTION_INVALID,
                f"minimum_segment_size is 0 or more, got {self.minimum_segment_size}",
            )
        if not 0 <= self.single_fusion_ratio_threshold <= 1:
            raise CallerError(
                Code.OPTION_INVALID,
                "single_fusion_ratio_threshold is from 0 to 1, got "
                f"{self.single_fusion_ratio_threshold}",
            )
        if self.wanted is not None and not callable(self.wanted):
            raise CallerError(Code.OPTION_INVALID, "subgraph_builder_function is not a function")


@dataclass(frozen=True)
class Compilation:
    """How to compile each segment."""

    arguments: tuple[str, ...] = ()
    timeout: float | None = None
    workdir: Path | None = None

    @property
    def options(self) -> Options:
        return options_of(self.arguments)


def compilation_of(
    compiler_args: Sequence[str] | str | None, timeout: float | None, workdir: object
) -> Compilation:
    """Raises CallerError for arguments that the compiler does not know."""
    if timeout is not None and timeout <= 0:
        raise CallerError(Code.OPTION_INVALID, f"compiler_timeout is above 0 s, got {timeout}")
    compilation = Compilation(
        tuple(words_of(compiler_args)),
        timeout,
        None if workdir is None else Path(str(workdir)),
    )
    options_of(compilation.arguments)  # raises for what the compiler does not know
    return compilation
