"""Element types of `nn`, and the base class that gives each op its syntax and its verifier.

One rule of syntax serves every op: operands, properties in braces, then the types. Where all
operands and the only result share one type it is written once.

    %r = nn.relu %x : tensor<4xf32>
    %r = nn.matmul %a, %b : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
    %r = nn.softmax %x {axis = 1 : i64} : tensor<4x8xf32>
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Self, TypeAlias, cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    NoneType,
    Signedness,
    TensorType,
    UnrankedTensorType,
    bf16,
    f16,
    f32,
    f64,
    i1,
    i8,
    i16,
    i32,
    i64,
)
from xdsl.ir import Attribute, Operation, OpResult, SSAValue, SSAValues
from xdsl.irdl import IRDLOperation
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import (
    Array,
    Permutable,
    ReferenceSemantics,
    Work,
    as_attribute,
    as_python,
)

Tensor: TypeAlias = TensorType[Attribute]

ui8 = IntegerType(8, Signedness.UNSIGNED)

UNKNOWN = UnrankedTensorType(NoneType())
"""The type of a result that nobody knows before the model runs; only `nn.opaque` has such."""

_DTYPES: dict[Attribute, np.dtype[Any]] = {
    f32: np.dtype(np.float32),
    bf16: np.dtype(ml_dtypes.bfloat16),
    f16: np.dtype(np.float16),
    f64: np.dtype(np.float64),
    i1: np.dtype(np.bool_),
    i8: np.dtype(np.int8),
    ui8: np.dtype(np.uint8),
    i16: np.dtype(np.int16),
    i32: np.dtype(np.int32),
    i64: np.dtype(np.int64),
}
_ELEMENT_TYPES = {dtype: element for element, dtype in _DTYPES.items()}

NARROW_FLOATS = (BFloat16Type, Float16Type)
FLOATS = (Float32Type, *NARROW_FLOATS, Float64Type)


class NoSuchTensor(VerifyException):
    """No tensor of `nn` holds elements of some type."""


def dtype_of(element: Attribute) -> np.dtype[Any]:
    """The NumPy type that stores an element type. Raises NoSuchTensor if there is none."""
    if (dtype := _DTYPES.get(element)) is None:
        raise NoSuchTensor(f"no tensor of nn holds {element}; one of {known_element_types()}")
    return dtype


def element_type_of(dtype: np.dtype[Any]) -> Attribute | None:
    """The element type that a NumPy type stores, or None."""
    return _ELEMENT_TYPES.get(dtype)


def known_element_types() -> str:
    return ", ".join(str(element) for element in _DTYPES)


@lru_cache(maxsize=4096)
def tensor(shape: tuple[int, ...], element: Attribute) -> Tensor:
    """The static tensor type, interned: building one costs 27 us."""
    return TensorType(element, shape)


def type_of(value: SSAValue) -> Tensor:
    """The tensor type of a value. Raises VerifyException for another type."""
    if not isinstance(value.type, TensorType):
        raise VerifyException(f"expected a tensor, got {value.type}")
    return cast(Tensor, value.type)


@lru_cache(maxsize=4096)
def _shape_of_type(type: Tensor) -> tuple[int, ...]:
    return type.get_shape()


def shape_of(value: SSAValue) -> tuple[int, ...]:
    return _shape_of_type(type_of(value))


def element_of(value: SSAValue) -> Attribute:
    return type_of(value).element_type


def size_of(value: SSAValue) -> int:
    """Number of elements."""
    return prod(shape_of(value))


def is_float(element: Attribute) -> bool:
    return isinstance(element, FLOATS)


def accumulates_into(operand: Attribute, result: Attribute) -> bool:
    """Whether a contraction of `operand` elements may have `result` elements: the same, or f32."""
    return result == operand or (isinstance(operand, NARROW_FLOATS) and result == f32)


class TensorOp(IRDLOperation, ReferenceSemantics):
    """An op on immutable static tensors. Built as `Op(*operands, property=value, …)`.

    Result types follow from operands and properties by `infer`; `result_types=` overrides them
    (a contraction of bf16 into f32), and the verifier compares them.
    """

    def __init__(
        self,
        *operands: SSAValue | Operation,
        result_types: Sequence[Tensor] | None = None,
        **properties: object,
    ) -> None:
        Operation.__init__(
            self,
            operands=[SSAValue.get(operand) for operand in operands],
            properties={
                name: as_attribute(value) for name, value in properties.items() if value is not None
            },
        )
        types = self.infer() if result_types is None else result_types
        self.results = SSAValues(OpResult(type, self, i) for i, type in enumerate(types))

    @abstractmethod
    def infer(self) -> Sequence[Tensor]:
        """Result types from operands and properties. Raises VerifyException, which says why not."""

    def element_types_agree(self, inferred: Attribute, declared: Attribute) -> bool:
        """Whether a result may be declared with another element type than inferred."""
        return inferred == declared

    def work(self) -> Work:
        return Work(elements=sum(size_of(result) for result in self.results))

    def get(self, name: str, default: Any = None) -> Any:
        """A property as a Python value, or the default where it is absent."""
        attribute = self.properties.get(name)
        return default if attribute is None else as_python(attribute)

    def rebuilt(self, *operands: SSAValue, result_types: Sequence[Tensor] | None = None) -> Self:
        """The same op on other operands, with result types inferred again."""
        return type(self)(*operands, result_types=result_types, **self.properties)

    def verify_(self) -> None:
        for value in (*self.operands, *self.results):
            shape = shape_of(value)
            if DYNAMIC_INDEX in shape:
                raise VerifyException(f"{self.name} has a dynamic dimension in {value.type}")
            dtype_of(element_of(value))
        inferred = self.infer()
        if len(inferred) != len(self.results):
            raise VerifyException(
                f"{self.name} has {len(inferred)} results, not {len(self.results)}"
            )
        for expected, result in zip(inferred, self.results, strict=True):
            if _shape_of_type(expected) != shape_of(result) or not self.element_types_agree(
                expected.element_type, element_of(result)
            ):
                raise VerifyException(f"{self.name} gives {expected}, declared as {result.type}")

    # -- Syntax -----------------------------------------------------------------------------

    def print(self, printer: Printer) -> None:
        if self.operands:
            printer.print_string(" ")
            printer.print_list(self.operands, printer.print_ssa_value)
        printer.print_op_attributes(dict(sorted(self.properties.items())) | self.attributes)
        printer.print_string(" : ")
        types = [value.type for value in (*self.operands, *self.results)]
        if len(self.results) == 1 and self.operands and len(set(types)) == 1:
            printer.print_attribute(types[0])
            return
        printer.print_list([operand.type for operand in self.operands], printer.print_attribute)
        printer.print_string(" -> " if self.operands else "-> ")
        printer.print_list([result.type for result in self.results], printer.print_attribute)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        unresolved = parser.parse_optional_undelimited_comma_separated_list(
            parser.parse_optional_unresolved_operand, parser.parse_unresolved_operand
        )
        unresolved = unresolved or []
        both = parser.parse_optional_attr_dict()
        names = cls.get_irdl_definition().properties
        parser.parse_punctuation(":")
        position = parser.pos
        types = (
            parser.parse_optional_undelimited_comma_separated_list(
                parser.parse_optional_type, parser.parse_type
            )
            or []
        )
        if parser.parse_optional_punctuation("->"):
            results = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
        else:
            if len(types) != 1:
                parser.raise_error("one type for all operands and the result, or `->`")
            results = types
            types = types * len(unresolved)
        operands = parser.resolve_operands(unresolved, types, position)
        return cls.create(
            operands=operands,
            result_types=results,
            properties={name: value for name, value in both.items() if name in names},
            attributes={name: value for name, value in both.items() if name not in names},
        )


class PointwiseOp(TensorOp, Permutable):
    """Every element of the result depends on one of each operand, which broadcast."""

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        return self.rebuilt(*operands)


def widened(array: Array) -> Array:
    """A narrow float array as f32; others unchanged."""
    if array.dtype in (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)):
        return array.astype(np.float32)
    return array
