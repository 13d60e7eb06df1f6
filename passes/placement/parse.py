"""From the text of rules to `Rule`s, by the grammar in `rules.lark`; every error has its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from ranvier.dialects.diagnostics import Code
from ranvier.passes.errors import PassError
from ranvier.passes.placement.conditions import (
    ANY,
    ESCAPED,
    TENSOR_FIELDS,
    Comparison,
    Condition,
    Field,
    Not,
    Place,
    Several,
    Value,
)
from ranvier.passes.placement.rule import Pattern, Rule
from ranvier.passes.placement.suggestions import did_you_mean

if TYPE_CHECKING:
    from lark import Lark, Token, Tree, UnexpectedInput

WORDS = {"true": True, "false": False, "none": None}
DTYPES = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "float64": "f64",
    **{f"int{width}": f"i{width}" for width in (8, 16, 32, 64)},
    "uint8": "ui8",
    "bool": "i1",
}
"""NumPy's names of element types, which rules may use too."""

MEANINGS = {
    "OP": "an op such as nn.softmax, or *",
    "FIELD": "name, dtype, shape, … or an attribute",
    "SIDE": "operand[0] or result[0]",
    "OPERATOR": "a comparison",
    "MEMBER": "in [...]",
    "INT": "a number",
    "SIGNED": "a number",
    "FLOAT": "a number",
    "EXTENTS": "a shape",
    "STRING": "a string",
    "WORD": "a word",
    "_END": "the end of the rule",
    "$END": "the end of the rule",
    "LPAR": "'('",
    "LSQB": "'['",
    "RSQB": "']'",
    "RPAR": "')'",
    "COMMA": "','",
    "DOT": "'.'",
    "ANY": "'?'",
}
"""What a user reads of a terminal; keywords read as themselves."""


@cache
def grammar() -> Lark:
    from lark import Lark

    text = files("ranvier.passes.placement").joinpath("rules.lark").read_text()
    return Lark(text, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse_rules(text: str, source: str = "rules") -> list[Rule]:
    """The rules of a text, in order. Raises PassError with source, line and column."""
    from lark import UnexpectedInput

    if not text.strip():  # without the time that reading the grammar takes
        return []
    try:
        tree = grammar().parse(text + "\n")
    except UnexpectedInput as error:
        raise PassError(Code.RULE_INVALID, _unexpected(error, text, source)) from error
    return [_Reader(source).rule(cast("Tree[Any]", child)) for child in tree.children]


def _unexpected(error: UnexpectedInput, text: str, source: str) -> str:
    from lark import UnexpectedCharacters, UnexpectedToken

    lines = text.split("\n")
    line, column = max(error.line, 1), max(error.column, 1)
    if line > len(lines):
        line, column = len(lines), len(lines[-1]) + 1
    terminals: set[str] = set()
    if isinstance(error, UnexpectedToken):
        terminals = set(error.accepts or error.expected)
        ends = error.token.type in ("_END", "$END")
        got = "the end of the rule" if ends else f"'{error.token}'"
    elif isinstance(error, UnexpectedCharacters):
        terminals = error.allowed or set()
        got = repr(error.char)
    else:
        got = "the end"
    wanted = sorted({MEANINGS.get(name, name.lower()) for name in terminals})
    expected = f"; expected {', '.join(wanted)}" if wanted else ""
    meant = _meant(lines[line - 1], column - 1) if "OPERATOR" in terminals else ""
    return f"{Place(source, line, column)}: unexpected {got}{expected}{meant}"


def _meant(line: str, at: int) -> str:
    """What to write for a framework's op, where its name stands as if it were one of the IR."""
    before = re.search(r"[\w.]+(?=\s*$)", line[:at])
    after = re.match(r":[\w:.]*", line[at:])
    name = (before[0] if before else "") + (after[0] if after else "")
    return f'; ops of a framework are chosen by framework_op == "{name}"' if name else ""


class _Reader:
    """Turns the parse tree of one rule into its record."""

    def __init__(self, source: str) -> None:
        self._source = source

    def rule(self, tree: Tree[Any]) -> Rule:
        verb, subject, *reason = (cast("Tree[Any]", child) for child in tree.children)
        patterns: tuple[Pattern, ...] = ()
        condition: Condition | None = None
        for child in subject.children:
            if child.data == "ops":
                patterns = tuple(Pattern(str(name), self._place(name)) for name in child.children)
            else:
                condition = self.condition(child)
        return Rule(
            verb=verb.data,
            place=Place(self._source, tree.meta.line, tree.meta.column),
            patterns=patterns,
            condition=condition,
            core=int(str(verb.children[0])) if verb.data == "core" else None,
            because=self.string(reason[0].children[0]) if reason else "",
        )

    def condition(self, tree: Tree[Any]) -> Condition:
        match tree.data:
            case "either" | "both":
                word = "or" if tree.data == "either" else "and"
                return Several(word, tuple(self.condition(child) for child in tree.children))
            case "negation":
                return Not(self.condition(tree.children[0]))
            case _:
                return self.comparison(tree)

    def comparison(self, tree: Tree[Any]) -> Condition:
        field, operator = self.field(tree.children[0]), str(tree.children[1])
        token = tree.children[2]
        value = self.value(token, field)
        if operator in ("~", "!~"):
            self._check_pattern(value, token)
        elif operator not in ("==", "!=", "in") and not isinstance(value, int | float):
            self._fail(token, f"{operator} compares numbers, got {token}")
        return Comparison(field, operator, value)

    def _check_pattern(self, value: Value, token: Any) -> None:
        if not isinstance(value, str) or token.type != "STRING":
            self._fail(token, "a regular expression is a string in quotes")
        try:
            re.compile(value)
        except re.error as error:
            self._fail(token, f"bad regular expression {token}: {error}")

    def field(self, tree: Tree[Any]) -> Field:
        tokens = cast("Sequence[Token]", tree.children)
        place = self._place(tokens[0])
        if len(tokens) == 1:
            return Field(str(tokens[0]), place)
        path = str(tokens[2])
        if path not in TENSOR_FIELDS:
            near = did_you_mean(path, TENSOR_FIELDS)
            self._fail(tokens[2], f"a tensor has no '{path}'{near}")
        return Field(path, place, str(tokens[0]), int(tokens[1]))

    def value(self, node: Any, field: Field) -> Value:
        """A literal; words and NumPy names of element types in their canonical form."""
        if not hasattr(node, "type"):
            return tuple(self.value(child, field) for child in node.children)
        match node.type:
            case "STRING":
                return self.string(node)
            case "EXTENTS":
                return tuple(ANY if part == "?" else int(part) for part in node.split("x"))
            case "SIGNED":
                return int(node)
            case "FLOAT":
                return float(node)
            case "ANY":
                return ANY
            case _:
                word = str(node)
                if field.path == "dtype":
                    return self._dtype(word, node)
                return WORDS.get(word, word)

    def _dtype(self, word: str, token: Any) -> str:
        name = DTYPES.get(word, word)
        if not re.fullmatch(r"(bf16|tf32|f\d\w*|[su]?i\d+|index|complex\w*)", name):
            near = did_you_mean(name, sorted({*DTYPES, *DTYPES.values()}))
            self._fail(token, f"no element type '{word}'{near}")
        return name

    def string(self, token: Any) -> str:
        """The text of a literal; backslashes that begin none of the escapes stay."""
        escapes = {spelled: chr(code) for code, spelled in ESCAPED.items()}
        return re.sub(r'\\["\\nr]', lambda match: escapes[match[0]], str(token)[1:-1])

    def _place(self, token: Any) -> Place:
        return Place(self._source, token.line, token.column)

    def _fail(self, token: Any, text: str) -> None:
        at = token if hasattr(token, "line") else token.meta
        raise PassError(Code.RULE_INVALID, f"{Place(self._source, at.line, at.column)}: {text}")
