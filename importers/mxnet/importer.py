"""One pass over the nodes of an MXNet symbol that its outputs need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import NoReturn, TypeAlias

import numpy as np
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import (
    UNKNOWN,
    Tensor,
    dtype_of,
    element_of,
    shape_of,
    type_of,
)
from ranvier.importers.builder import ModuleBuilder
from ranvier.importers.errors import ModelImportError, reason_code
from ranvier.importers.mxnet.node import HANDLERS, Node
from ranvier.importers.mxnet.parameters import parameter_dtype, parameter_shape
from ranvier.importers.mxnet.symbol import LOSSES, Entry, SymbolGraph, SymbolNode, output_name

Foreign: TypeAlias = Callable[[int], Sequence[Tensor] | None]
"""Types of the results of a node that `nn` lacks, by the node's index; None where unknown."""

MOST_NAMED = 20
"""Nodes that one error message lists."""
IDENTITIES = ("_copy", "identity", "BlockGrad", "stop_gradient", "Dropout")
"""Ops that give what they read."""


class GraphImporter:
    """A symbol, its parameters, and the values that it has defined so far.

    With `guess`, variables that are neither get the shapes that their readers ask for, filled with
    zeros: that is shape inference. Nodes in `outside` stay with MXNet, whatever `nn` has: no pass
    merges them with others. With `untyped`, so do nodes that `nn` lacks and those that read them,
    where nobody knows their types.
    """

    def __init__(
        self,
        graph: SymbolGraph,
        params: Mapping[str, Array],
        builder: ModuleBuilder,
        where: str,
        *,
        foreign: Foreign | None = None,
        outside: Collection[int] = (),
        guess: bool = False,
        untyped: bool = False,
    ) -> None:
        self.graph = graph
        self.params = params
        self.builder = builder
        self.where = where
        self.foreign = foreign
        self.outside = outside
        self.guess = guess
        self.untyped = untyped
        self.results: dict[int, Sequence[SSAValue]] = {}

    def run(self) -> dict[str, SSAValue]:
        """The outputs by their MXNet names. One that is listed twice comes once."""
        needed = self.graph.needed()
        for index, node in enumerate(self.graph.nodes):
            if index in needed and not node.is_variable:
                self.results[index] = self.import_node(index, node)
        outputs: dict[str, SSAValue] = {}
        for head in dict.fromkeys(self.graph.heads):
            name = output_name(self.graph, head)
            if name in outputs:
                self.fail(Code.NODE_INVALID, f"two outputs are called '{name}'")
            outputs[name] = self.value(head, f"output '{name}'")
        return outputs

    def import_node(self, index: int, symbol: SymbolNode) -> Sequence[SSAValue]:
        entries = symbol.inputs[:1] if symbol.op in LOSSES else symbol.inputs
        if self.guess:
            self.guess_parameters(symbol)
        operands = [self.value(entry, f"node '{symbol.name}' ({symbol.op})") for entry in entries]
        node = Node(symbol, index, operands, self.builder, self.where)
        mark = self.builder.mark()
        if self.builder.is_blocked(operands):
            return operands[:1] if symbol.op in IDENTITIES else self.unknown(node, index, None)
        try:
            if (handler := HANDLERS.get(symbol.op)) is None:
                node.fail(Code.OP_OPAQUE, f"nn has no {self.more_foreign(index) or symbol.op}")
            results = handler(node)
        except (ModelImportError, VerifyException) as error:
            self.builder.roll_back(mark)
            if (types := self.foreign(index) if self.foreign else None) is not None:
                return self.opaque(node, types, error)
            if self.untyped and reason_code(error) is not None:
                return self.unknown(node, index, error)
            if isinstance(error, ModelImportError):
                raise
            raise node.error(Code.NODE_INVALID, str(error)) from error
        values = [results] if isinstance(results, SSAValue) else results
        if index not in self.outside:
            return values
        types = [type_of(value) for value in values]
        self.builder.roll_back(mark)
        return self.opaque(node, types)

    def more_foreign(self, index: int) -> str:
        """The other nodes that nn has no op for, for an error that tells of all; or nothing."""
        needed = () if self.foreign or self.untyped else self.graph.needed()
        others = [
            f"'{node.name}' ({node.op})"
            for number, node in enumerate(self.graph.nodes)
            if number in needed and number > index and not node.is_variable
            if node.op not in HANDLERS
        ]
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        return f"such op, nor for {', '.join(others[:MOST_NAMED])}{more}" if others else ""

    def opaque(
        self, node: Node, types: Sequence[Tensor], error: Exception | None = None
    ) -> Sequence[SSAValue]:
        """A node of which only the types are known: it stays with MXNet."""
        op = nn.OpaqueOp("MXNET", node.symbol.op, 0, {}, node.operands, types)
        if self.untyped and error is not None:
            self.builder.keep(op, self.reason(node.symbol, error), "", node.location)
        else:
            self.builder.append(op, node.location)
        return op.results

    def unknown(self, node: Node, index: int, error: Exception | None) -> Sequence[SSAValue]:
        """A node that stays with MXNet, of which not even the types are known."""
        symbol = node.symbol
        types = [UNKNOWN] * self._counts.get(index, 1)
        op = nn.OpaqueOp("MXNET", symbol.op, 0, {}, node.operands, types)
        reason = self.reason(symbol, error)
        known = "not known without MXNet" if self.foreign is None else "not known to MXNet either"
        reason = Reason(reason.code, f"{reason.text}; the type of its result is {known}")
        self.builder.keep(op, reason, f"'{symbol.name}' ({symbol.op})", node.location)
        return op.results

    @cached_property
    def _counts(self) -> dict[int, int]:
        """How many results of each node are read."""
        counts: dict[int, int] = {}
        for entry in (*self.graph.heads, *(e for each in self.graph.nodes for e in each.inputs)):
            counts[entry.node] = max(counts.get(entry.node, 0), entry.output + 1)
        return counts

    def reason(self, symbol: SymbolNode, error: Exception | None) -> Reason:
        """The error without what says where it is."""
        code = None if error is None else reason_code(error)
        return Reason(
            code or Code.OP_OPAQUE,
            str(error).removeprefix(f"{self.where}: node '{symbol.name}' ({symbol.op}): "),
        )

    def value(self, entry: Entry, reader: str) -> SSAValue:
        symbol = self.graph.nodes[entry.node]
        if symbol.is_variable and entry.node not in self.results:
            self.results[entry.node] = [self.variable(symbol)]
        results = self.results[entry.node]
        if entry.output >= len(results):
            self.fail(
                Code.MODEL_UNSUPPORTED,
                f"{reader} reads output {entry.output} of '{symbol.name}' ({symbol.op}), which has "
                f"{len(results)} at inference",
            )
        return results[entry.output]

    def variable(self, symbol: SymbolNode) -> SSAValue:
        if symbol.name in self.builder.inputs:
            return self.builder.inputs[symbol.name]
        if (array := self.params.get(symbol.name)) is None:
            if self.guess:
                self.fail(
                    Code.SHAPE_UNKNOWN,
                    f"the shape of variable '{symbol.name}' is not given and follows from nothing",
                )
            self.fail(
                Code.INPUT_MISSING, f"variable '{symbol.name}' is neither a parameter nor an input"
            )
        try:
            return self.builder.constant(array, symbol.name)
        except VerifyException as error:
            raise ModelImportError(
                Code.MODEL_UNSUPPORTED, f"{self.where}: parameter '{symbol.name}': {error}"
            ) from error

    def guess_parameters(self, symbol: SymbolNode) -> None:
        """Zeros of the right shape for the variables of a node that nobody gives."""
        for position, entry in enumerate(symbol.inputs):
            variable = self.graph.nodes[entry.node]
            known = variable.name in self.builder.inputs or variable.name in self.params
            if not variable.is_variable or known or entry.node in self.results or position == 0:
                continue
            operand = self.value(symbol.inputs[0], variable.name)
            shape = parameter_shape(symbol, position, shape_of(operand), self.where)
            if shape is not None:
                dtype = parameter_dtype(symbol, dtype_of(element_of(operand)))
                zero = self.builder.constant(np.zeros((), dtype), variable.name)
                filled = nn.BroadcastOp(zero, shape=shape)
                self.results[entry.node] = [self.builder.append(filled)]

    def fail(self, code: Code, text: str) -> NoReturn:
        raise ModelImportError(code, f"{self.where}: {text}")


def types_of(results: Mapping[int, Sequence[SSAValue]]) -> dict[Entry, Tensor]:
    """The type of every result that was imported."""
    return {
        Entry(index, output): type_of(value)
        for index, values in results.items()
        for output, value in enumerate(values)
    }
