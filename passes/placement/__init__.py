"""Placement rules: where a user wants ops to run, and in which precision.

A rule is a line, `host nn.softmax where axis != -1`; `rules.lark` has the grammar and examples.
`host` and `neuron` place an op, `core N` chooses its NeuronCore in a pipeline, `keep f32` keeps
`cast-bf16` from it. The three are independent. Of several rules of one kind that match an op, the
last wins, so that an exception is written below what it is an exception from. A comparison with an
attribute that an op lacks is false, except with `none`; `~` matches the whole text; `?` in a shape
is any dimension; `shape`, `dtype`, `rank`, `size` (elements) and `bytes` are of the first result,
or of `operand[1].shape`.

The options of the frameworks become rules: each shape of option has a function here. In a bridge
they and the rules of the user are one list. Those of the user come last, so they win over options.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.passes.placement.conditions import quoted
from ranvier.passes.placement.parse import parse_rules
from ranvier.passes.placement.rule import HOST, NEURON, Rule

Rules: TypeAlias = "str | Path | Sequence[str]"
"""The text of rules, a file of them, or the text of each rule."""

Node = TypeVar("Node")

MAX_RULES_BYTES = 64 << 20
"""A rule per op of a model of some hundred thousand ops."""


def rules_text(rules: Rules | None) -> str:
    """The text of rules in any form. Raises CallerError for a file that cannot be read."""
    if rules is None:
        return ""
    if isinstance(rules, Path):
        return _read(rules)
    return rules if isinstance(rules, str) else "\n".join(rules)


def read_rules(rules: Rules | None) -> list[Rule]:
    """The rules, in order. Raises PassError with file, line and column for a wrong one."""
    return parse_rules(rules_text(rules), source_of(rules))


def source_of(rules: Rules | None) -> str:
    """What errors call the rules."""
    return str(rules) if isinstance(rules, Path) else "rules"


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_RULES_BYTES:
            raise CallerError(
                Code.RULE_INVALID, f"{path}: more than {MAX_RULES_BYTES >> 20} MiB of rules"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CallerError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CallerError(Code.RULE_INVALID, f"{path}: not UTF-8 text: {error}") from error


# -- Options of the frameworks ------------------------------------------------------------------


def before_rules(options: Iterable[str], rules: str) -> str:
    """The rules of options and those of a user in one text.

    The user's are read last, so that they win, and keep their lines: all rules of options are on
    the first line.
    """
    return "; ".join([*options, rules])


def names_on_host(
    names: Iterable[str], option: str, *, but: Collection[str] = frozenset()
) -> list[str]:
    """Rules for node names that must not be compiled.

    TensorFlow's `no_fuse_ops`, MXNet's `excl_node_names`. `option` is what the reason says. `but`
    are names that TensorFlow's `force_fuse_ops` permits: it overrides the other options, and is no
    error for what the machine lacks.
    """
    return _by_name(HOST, [name for name in names if name not in but], option)


def names_on_neuron(names: Iterable[str], option: str) -> list[str]:
    """Rules for node names that must be compiled: MXNet's `force_incl_node_names`."""
    return _by_name(NEURON, names, option)


def nodes_chosen(
    nodes: Iterable[tuple[str, Node]], chosen: Callable[[Node], bool], option: str
) -> list[str]:
    """Rules from a callback that says of each node whether it may be compiled.

    PyTorch's and TensorFlow's `subgraph_builder_function`, which keeps a node on the host by a
    false answer; a true one permits and does not force. `nodes` are names with what the callback
    takes; it is called once for each.
    """
    return _by_name(HOST, [name for name, node in nodes if not chosen(node)], option)


def types_supported(
    supported: Iterable[str],
    present: Iterable[str],
    option: str,
    *,
    but: Collection[str] = frozenset(),
) -> list[str]:
    """Rules for TensorFlow's `supported_op_types`: op types off the list are on the host.

    `but` are names of nodes that `force_fuse_ops` permits.
    """
    others = sorted(set(present) - set(supported))
    permitted = f"and not name in {_list(sorted(but))} " if but else ""
    rule = f"{HOST} where framework_op in {_list(others)} {permitted}because {quoted(option)}"
    return [rule] if others else []


def _by_name(verb: str, names: Iterable[str], option: str) -> list[str]:
    unique = list(dict.fromkeys(names))
    return [f"{verb} where name in {_list(unique)} because {quoted(option)}"] if unique else []


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, values))}]"
