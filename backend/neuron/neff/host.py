"""Host segments as data: ops of `nn` by name, with their attributes as text. No code.

`cpuNN/program.json` lists {op, operands, results {dtype, shape}, attributes}; operands are numbers
of values, the inputs first, then the results in order. Reading builds the `nn` ops again and
verifies them; only registered ops exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from math import prod
from typing import Any, cast

import ml_dtypes
import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, DenseIntOrFPElementsAttr
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import DiagnosticException, ParseError, VerifyException

from ranvier.backend.neuron.neff.documents import Document
from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.constant import dense
from ranvier.dialects.nn.types import Tensor, dtype_of, element_type_of, tensor

MAX_OPS = 1 << 16
MAX_TEXT = 1 << 20
"""Characters of one attribute."""
MAX_NESTING = 64
MAX_TENSOR_BYTES = 8 << 30
"""Of one value; larger declarations are refused before anything is allocated."""

_OPS: dict[str, type[Operation]] = {
    op.name: op for op in nn.OPS if not issubclass(op, nn.WeightOp | nn.YieldOp)
}
_DTYPES = {
    dtype.name: dtype
    for dtype in map(
        np.dtype,
        (
            np.float32, ml_dtypes.bfloat16, np.float16, np.float64,
            np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class TensorForm:
    """Element type and shape of a value."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def type(self) -> Tensor:
        """The tensor type. The dtype is one that a tensor of `nn` holds."""
        return tensor(self.shape, cast(Attribute, element_type_of(self.dtype)))

    def describe(self) -> dict[str, Any]:
        return {"dtype": self.dtype.name, "shape": list(self.shape)}


@dataclass(frozen=True)
class HostProgram:
    """A host segment: a block of `nn` ops, and which of its values are its results."""

    block: Block
    results: tuple[SSAValue, ...]

    @property
    def ops(self) -> Sequence[Operation]:
        return tuple(self.block.ops)

    def weights(self) -> list[str]:
        """Symbols of the weights that it loads, each once."""
        loads = (op.symbol for op in self.ops if isinstance(op, nn.LoadWeightOp))
        return list(dict.fromkeys(loads))

    def providers(self) -> set[str]:
        """Frameworks whose opaque ops it runs."""
        return {op.framework.data for op in self.ops if isinstance(op, nn.OpaqueOp)}


def form_of(value: SSAValue) -> TensorForm:
    """Element type and shape of a tensor value."""
    kind = cast(Tensor, value.type)
    return TensorForm(dtype_of(kind.element_type), kind.get_shape())


def host_program_of(
    ops: Sequence[Operation], inputs: Sequence[SSAValue], results: Sequence[SSAValue]
) -> HostProgram:
    """A host program with copies of the ops."""
    block = Block(arg_types=[value.type for value in inputs])
    values: dict[SSAValue, SSAValue] = dict(zip(inputs, block.args, strict=True))
    for op in ops:
        block.add_op(op.clone(values))
    return HostProgram(block, tuple(values[result] for result in results))


@dataclass
class _Numbers:
    """The numbers of values: inputs first, then results in order."""

    numbers: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])

    def add(self, values: Sequence[SSAValue]) -> None:
        for value in values:
            self.numbers[value] = len(self.numbers)


def describe_host(program: HostProgram) -> dict[str, Any]:
    """The object of `program.json`, without its weights' places."""
    numbers = _Numbers()
    numbers.add(program.block.args)
    ops: list[dict[str, Any]] = []
    for op in program.ops:
        if op.name not in _OPS:
            raise NeffProgramError(f"{op.name} has no place in a host segment")
        ops.append(
            {
                "op": op.name,
                "operands": [numbers.numbers[operand] for operand in op.operands],
                "results": [form_of(result).describe() for result in op.results],
                "attributes": {name: _describe(a) for name, a in sorted(op.properties.items())},
            }
        )
        numbers.add(op.results)
    return {
        "inputs": [form_of(value).describe() for value in program.block.args],
        "ops": ops,
        "results": [numbers.numbers[value] for value in program.results],
    }


def _describe(attribute: Attribute) -> str | dict[str, Any]:
    if isinstance(attribute, DenseIntOrFPElementsAttr):
        kind = cast(Tensor, attribute.type)
        form = TensorForm(dtype_of(kind.element_type), kind.get_shape())
        return {**form.describe(), "hex": attribute.data.data.hex()}
    text = StringIO()
    Printer(text).print_attribute(attribute)
    return text.getvalue()


def read_form(document: Document) -> TensorForm:
    """Raises the document's error for an unknown type, or a tensor that is too large."""
    name = document.text("dtype")
    if name not in _DTYPES:
        raise document.fail(f"no tensor holds {name!r}")
    form = TensorForm(_DTYPES[name], document.integers("shape", high=2**40))
    if form.nbytes > MAX_TENSOR_BYTES:
        raise document.fail(f"{form.nbytes} bytes exceed {MAX_TENSOR_BYTES}")
    return form


def read_host(document: Document) -> HostProgram:
    """The program in the object. Raises NeffProgramError for what cannot be one."""
    block = Block(arg_types=[read_form(entry).type for entry in document.list("inputs")])
    values: list[SSAValue] = list(block.args)
    entries = document.list("ops")
    if len(entries) > MAX_OPS:
        raise document.fail(f"{len(entries)} ops exceed {MAX_OPS}")
    for entry in entries:
        op = _read_op(entry, values)
        block.add_op(op)
        values.extend(op.results)
    results = _pick(document, "results", values)
    return HostProgram(block, tuple(results))


def _pick(document: Document, key: str, values: Sequence[SSAValue]) -> list[SSAValue]:
    return [values[index] for index in document.integers(key, high=len(values) - 1)]


def _read_op(entry: Document, values: Sequence[SSAValue]) -> Operation:
    name = entry.text("op")
    if (kind := _OPS.get(name)) is None:
        raise entry.fail(f"no op {name!r}")
    attributes = entry.inner("attributes")
    op = kind.create(
        operands=_pick(entry, "operands", values),
        result_types=[read_form(result).type for result in entry.list("results")],
        properties={key: _read_attribute(attributes, key) for key in attributes.value},
    )
    try:
        op.verify()
    except (VerifyException, DiagnosticException, ValueError, TypeError) as error:
        raise entry.fail(f"{name}: {error}") from error
    return op


def _read_attribute(document: Document, key: str) -> Attribute:
    if isinstance(document.value[key], dict):
        return _read_dense(document.inner(key))
    text = document.text(key)
    if len(text) > MAX_TEXT or _nesting(text) > MAX_NESTING:
        raise document.fail(f"'{key}' is too long or nests too deep")
    context = Context()
    context.load_dialect(Builtin)
    try:
        return Parser(context, text).parse_attribute()
    except (ParseError, VerifyException, DiagnosticException, ValueError) as error:
        raise document.fail(f"'{key}' is no attribute: {text[:80]!r}") from error


def _read_dense(document: Document) -> Attribute:
    form, text = read_form(document), document.text("hex")
    if len(text) != 2 * form.nbytes:
        raise document.fail(f"{len(text)} digits do not hold {form.nbytes} bytes")
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise document.fail("the bytes are not hexadecimal") from error
    return dense(np.frombuffer(data, form.dtype).reshape(form.shape))


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "<[({") - (character in ">])}")
        deepest = max(deepest, depth)
    return deepest


def run_host(
    program: HostProgram, inputs: Sequence[Array], weights: Callable[[str], Array]
) -> list[Array]:
    """The results of a host program, by the reference semantics of its ops.

    Raises CallerError if the provider of an opaque op is not installed.
    """
    from ranvier.backend.reference import evaluate, load_provider

    values: dict[SSAValue, Array] = dict(zip(program.block.args, inputs, strict=True))
    for op in program.block.ops:
        operands = [values[operand] for operand in op.operands]
        if isinstance(op, nn.LoadWeightOp):
            results: Sequence[Array] = (weights(op.symbol),)
        elif isinstance(op, nn.OpaqueOp):
            provider = load_provider(op.framework.data)
            settings: Mapping[str, Any] = op.settings.data
            results = provider(op.op_type.data, op.version.value.data, settings, operands)
        else:
            results = evaluate(op, operands)
        values.update(zip(op.results, results, strict=True))
    return [values[result] for result in program.results]
