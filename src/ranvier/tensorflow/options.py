"""What the arguments of `compile` and `trace` ask of the compiler and of the placement of ops."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier.compiler_arguments import options_of
from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.importers.tensorflow.protos import Message
from ranvier.program import Options

DEFAULT_MINIMUM = 2


@dataclass(frozen=True)
class Placement:
    """Which nodes may go to the machine, beside what it lacks."""

    supported_op_types: Collection[str] | None = None
    no_fuse_ops: Collection[str] = ()
    force_fuse_ops: Collection[str] = ()
    """Names of nodes or of their results."""
    wanted: Callable[[Any], bool] | None = None
    """The `subgraph_builder_function`, of a node; false keeps it in TensorFlow."""
    minimum_segment_size: int | None = None

    def why_host(self, node: Message) -> Reason | None:
        """Why the caller keeps a node in TensorFlow, or None. The only place where options count.

        `force_fuse_ops` overrides the others, not what the machine lacks.
        """
        if named(node, self.force_fuse_ops):
            return None
        if named(node, self.no_fuse_ops):
            return Reason(Code.OP_RULE, "no_fuse_ops names it")
        if self.supported_op_types is not None and node.op not in self.supported_op_types:
            return Reason(Code.OP_RULE, f"supported_op_types lacks {node.op}")
        if self.wanted is not None and not self.wanted(node):
            return Reason(Code.OP_RULE, "subgraph_builder_function does not want it")
        return None

    def minimum(self, ops: int) -> int:
        """The smallest subgraph that is compiled, of a model of so many ops."""
        if self.minimum_segment_size is not None:
            return self.minimum_segment_size
        return min(DEFAULT_MINIMUM, max(1, ops))


def named(node: Message, names: Collection[str]) -> bool:
    return any(name.rpartition(":")[0] == node.name or name == node.name for name in names)


@dataclass(frozen=True)
class Compilation:
    """How to compile each subgraph."""

    options: Options
    workdir: Path | None = None
    timeout: float | None = None
    dynamic_batch_size: bool = False


def compilation_of(
    compiler_args: Sequence[str] | str | None,
    *,
    workdir: object = None,
    timeout: float | None = None,
    dynamic_batch_size: bool = False,
) -> Compilation:
    """Raises CallerError for arguments that the compiler does not know."""
    if isinstance(compiler_args, str):
        compiler_args = shlex.split(compiler_args)
    if timeout is not None and timeout <= 0:
        raise CallerError(Code.OPTION_INVALID, f"compiler_timeout is above 0 s, got {timeout}")
    options = options_of([str(argument) for argument in compiler_args or ()])
    return Compilation(
        options, None if workdir is None else Path(str(workdir)), timeout, dynamic_batch_size
    )
