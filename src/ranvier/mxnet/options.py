"""The keywords of `compile`, which mix those of the bridge with flags of the compiler."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ranvier.compiler_arguments import options_of, words_of
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.builder import spelled
from ranvier.passes.placement import before_rules, names_on_host, names_on_neuron
from ranvier.program import Options

KEYWORDS = (
    "flags",
    "excl_node_names",
    "force_incl_node_names",
    "minimum_segment_size",
    "work_dir",
    "op_by_op_compiler_retry",
)
PIPELINE = "--pipeline"
"""Jobs may follow it in `flags`, so it comes last."""
DEFAULT_MINIMUM = 2


@dataclass(frozen=True)
class CompileArgs:
    """How to divide a symbol, and how to compile its parts."""

    options: Options
    excl_node_names: frozenset[str] = frozenset()
    force_incl_node_names: frozenset[str] = frozenset()
    """They beat `excl_node_names`."""
    minimum_segment_size: int = DEFAULT_MINIMUM
    work_dir: Path | None = None
    op_by_op_compiler_retry: bool = False

    @property
    def rules(self) -> str:
        """The rules of the names, and after them those of the flags."""
        excluded = names_on_host(self._spelled("excl_node_names"), "excl_node_names")
        forced = names_on_neuron(self._spelled("force_incl_node_names"), "force_incl_node_names")
        return before_rules([*excluded, *forced], self.options.rules)

    def _spelled(self, option: str) -> list[str]:
        return sorted(map(spelled, getattr(self, option)))

    @property
    def parts(self) -> Options:
        """The options under which a part is compiled, whose host ops are found out first."""
        return replace(self.options, fallback="host", minimum_size=1, part=True)

    def folder(self, node: str) -> Path | None:
        """Where the files of a compiled node are kept; None if they are not."""
        if self.work_dir is not None:
            return self.work_dir / node
        return Path(f".{node}") if os.environ.get("SUBGRAPH_INFO") == "1" else None


def compile_args_of(given: Mapping[str, Any]) -> CompileArgs:
    """Raises CallerError for an unknown keyword, and for a value that it does not take."""
    given = {**given, **_inner(given)}
    given.pop("compile_args", None)
    if unknown := [name for name in given if name not in KEYWORDS and not name.startswith("--")]:
        raise CallerError(
            Code.OPTION_INVALID,
            f"unknown compile argument '{unknown[0]}'; there are {', '.join(KEYWORDS)}, and flags "
            "of the compiler such as '--neuroncore-pipeline-cores'",
        )
    options = options_of(arguments_of(given), "compile_args")
    return CompileArgs(
        options,
        frozenset(_names(given, "excl_node_names")),
        frozenset(_names(given, "force_incl_node_names")),
        _number(given, "minimum_segment_size", max(DEFAULT_MINIMUM, options.minimum_size)),
        _folder(given.get("work_dir")),
        bool(_number(given, "op_by_op_compiler_retry", 0)),
    )


def _inner(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Some scripts pass `compile_args={…}` where others write `**{…}`."""
    inner = given.get("compile_args")
    if inner is not None and not isinstance(inner, Mapping):
        raise CallerError(Code.OPTION_INVALID, f"compile_args is a dictionary, got {inner!r}")
    return cast("Mapping[str, Any]", inner or {})


def arguments_of(given: Mapping[str, Any]) -> list[str]:
    """The compiler's arguments in `'--flag': value` and in `flags`."""
    arguments: list[str] = []
    named = [name for name in given if name.startswith("--")]
    for name in sorted(named, key=PIPELINE.__eq__):
        value = given[name]
        if value is False:
            continue
        arguments.append(name)
        if value is not None and value is not True:
            values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
            arguments += [word for each in values for word in words_of(str(each), name)]
    return arguments + _flags(given.get("flags") or ())


def _flags(flags: object) -> list[str]:
    """`flags`, a list whose strings may hold a flag and its value, or one string with commas."""
    listed = flags.split(",") if isinstance(flags, str) else flags
    if not isinstance(listed, Sequence) or not all(
        isinstance(flag, str) for flag in cast("Sequence[Any]", listed)
    ):
        raise CallerError(Code.OPTION_INVALID, f"flags is a list of strings, got {flags!r}")
    return [word for flag in cast("Sequence[str]", listed) for word in words_of(flag, "flags")]


def _names(given: Mapping[str, Any], key: str) -> Collection[str]:
    names = given.get(key) or ()
    if isinstance(names, str):
        return [name.strip() for name in names.split(",") if name.strip()]
    if not isinstance(names, Collection) or not all(
        isinstance(name, str) for name in cast("Collection[Any]", names)
    ):
        raise CallerError(Code.OPTION_INVALID, f"{key} is a list of node names, got {names!r}")
    return cast("Collection[str]", names)


def _folder(given: object) -> Path | None:
    if given is None or isinstance(given, str | os.PathLike):
        return None if given is None else Path(cast("str | os.PathLike[str]", given))
    raise CallerError(Code.OPTION_INVALID, f"work_dir is the path of a folder, got {given!r}")


def _number(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key, default)
    if not isinstance(value, int) or value < 0:
        raise CallerError(Code.OPTION_INVALID, f"{key} is a number from 0 on, got {value!r}")
    return int(value)
