"""What the arguments of `compile` and `trace` ask of the compiler and of the placement of ops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ranvier.compiler_arguments import options_of, words_of
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.builder import spelled
from ranvier.importers.tensorflow.graph import tensor_named
from ranvier.importers.tensorflow.protos import Message
from ranvier.passes.placement import (
    before_rules,
    names_on_host,
    nodes_chosen,
    types_supported,
)
from ranvier.program import Options

DEFAULT_MINIMUM = 2
NO_WORK = ("Placeholder", "Identity", "IdentityN", "ReadVariableOp", "NoOp", "NeuronOp", "Const")
"""Types of nodes that compute nothing."""


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

    def rules(self, nodes: Iterable[Message], rules: str) -> str:
        """The placement rules that the options are for these nodes, and after them the user's.

        `force_fuse_ops` overrides the other options, not what the machine lacks.
        """
        working = [node for node in nodes if node.op not in NO_WORK]
        permitted = frozenset(map(spelled, self.force_fuse_ops))
        own: list[str] = []
        if self.wanted is not None:
            named = [(spelled(node.name), node) for node in working]
            own += nodes_chosen(named, self.wanted, "subgraph_builder_function")
        if self.supported_op_types is not None:
            types = {node.op for node in working}
            option = "supported_op_types"
            own += types_supported(self.supported_op_types, types, option, but=permitted)
        kept = sorted(map(spelled, self.no_fuse_ops))
        own += names_on_host(kept, "no_fuse_ops", but=permitted)
        return before_rules(own, rules)

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
    options = replace(options_of(words_of(compiler_args)), part=True)
    folder = None if workdir is None else Path(str(workdir))
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error
    return Compilation(options, folder, timeout, dynamic_batch_size)
