"""What the arguments of `compile` and `trace` ask of the compiler and of the placement of ops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranvier.compiler_arguments import options_of, words_of
from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.importers.tensorflow.graph import tensor_named
from ranvier.importers.tensorflow.protos import Message
from ranvier.program import Options

DEFAULT_MINIMUM = 2


@dataclass(frozen=True)
class Placement:
    """Which nodes may go to the machine, beside what it lacks."""

    supported_op_types: Collection[str] | None = None
    no_fuse_ops: frozenset[str] = frozenset()
    force_fuse_ops: frozenset[str] = frozenset()
    """Names of nodes."""
    wanted: Callable[[Any], bool] | None = None
    """The `subgraph_builder_function`, of a node; false keeps it in TensorFlow."""
    minimum_segment_size: int | None = None

    def __post_init__(self) -> None:
        size = self.minimum_segment_size
        if not isinstance(size, int | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CallerError(
                Code.OPTION_INVALID, f"minimum_segment_size is a number, got {size!r}"
            )

    def why_host(self, node: Message) -> Reason | None:
        """Why the caller keeps a node in TensorFlow, or None. The only place where options count.

        `force_fuse_ops` overrides the others, not what the machine lacks.
        """
        if node.name in self.force_fuse_ops:
            return None
        if node.name in self.no_fuse_ops:
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


def node_names(ops: Iterable[Any] | str | None) -> frozenset[str]:
    """Nodes given by name, by the name of a result, or as operations or tensors.

    Raises CallerError for what is no list.
    """
    listed = [ops] if isinstance(ops, str) else ops or ()
    if not isinstance(listed, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CallerError(Code.OPTION_INVALID, f"nodes are a list of names, got {ops!r}")
    return frozenset(tensor_named(str(getattr(op, "name", op))).node for op in listed)


@dataclass(frozen=True)
class Compilation:
    """How to compile each subgraph."""

    options: Options
    workdir: Path | None = None
    timeout: float | None = None
    dynamic_batch_size: bool = False


def split_tags(tags: Iterable[str] | str | None) -> list[str] | None:
    """Tags in a list, or in a string with commas between."""
    if tags is None:
        return None
    return [tag.strip() for tag in (tags.split(",") if isinstance(tags, str) else tags)]


def compilation_of(
    compiler_args: Sequence[str] | str | None,
    *,
    workdir: object = None,
    timeout: float | None = None,
    dynamic_batch_size: bool = False,
) -> Compilation:
    """Makes the work directory. Raises CallerError for that, and for unknown arguments."""
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CallerError(Code.OPTION_INVALID, f"compiler_timeout is above 0 s, got {timeout}")
    options = options_of(words_of(compiler_args))
    folder = None if workdir is None else Path(str(workdir))
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error
    return Compilation(options, folder, timeout, dynamic_batch_size)
