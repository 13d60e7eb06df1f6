"""Constants, weights, and ops that only a framework understands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self, cast

import numpy as np
from xdsl.dialects.builtin import (
    I64,
    BytesAttr,
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    TensorType,
    f64,
    i64,
)
from xdsl.ir import Attribute, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, ConstantSource, Work
from ranvier.dialects.nn.types import (
    NoSuchTensor,
    Tensor,
    TensorOp,
    dtype_of,
    element_type_of,
    is_float,
    tensor,
)
from ranvier.dialects.weights import STORE, Registered

DENSE_LIMIT = 1024
"""Constants up to so many bytes stay in the IR; larger ones are weights."""


@irdl_op_definition
class ConstantOp(TensorOp):
    """A small constant, `nn.constant dense<…> : tensor<…>`."""

    name = "nn.constant"
    value = prop_def(DenseIntOrFPElementsAttr)
    result = result_def()

    traits = traits_def(Pure(), ConstantSource())

    def __init__(self, value: DenseIntOrFPElementsAttr | Array) -> None:
        if not isinstance(value, DenseIntOrFPElementsAttr):
            value = dense(value)
        super().__init__(value=value)

    def infer(self) -> Sequence[Tensor]:
        return (cast(Tensor, self.value.type),)

    def array(self) -> Array:
        """The value, read-only."""
        type = cast(Tensor, self.value.type)
        dtype = dtype_of(type.element_type)
        flat = np.frombuffer(self.value.data.data, np.uint8 if dtype == np.bool_ else dtype)
        return (flat != 0 if dtype == np.bool_ else flat).reshape(type.get_shape())

    def evaluate(self, *operands: Array) -> Array:
        return self.array()

    def work(self) -> Work:
        return Work()

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        array = self.array()
        if (
            is_float(cast(Tensor, self.value.type).element_type)
            and not np.isfinite(array.astype(np.float64)).all()
        ):
            # The parser reads hexadecimal elements as numbers, so only whole buffers survive.
            printer.print_string(f'dense<"0x{self.value.data.data.hex().upper()}"> : ')
            printer.print_attribute(self.value.type)
        else:
            printer.print_attribute(self.value)
        if self.attributes:
            printer.print_op_attributes(self.attributes)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        value = parser.parse_attribute()
        if not isinstance(value, DenseIntOrFPElementsAttr):
            parser.raise_error("nn.constant takes dense<…> of a tensor")
        return cls.create(
            result_types=[value.type],
            properties={"value": value},
            attributes=parser.parse_optional_attr_dict(),
        )


def dense(array: Array) -> DenseIntOrFPElementsAttr:
    """A dense attribute with the array's bytes. Raises VerifyException for other dtypes."""
    element = element_type_of(array.dtype)
    if element is None:
        raise NoSuchTensor(f"no tensor of nn holds {array.dtype}")
    type: Any = tensor(array.shape, element)
    if array.dtype == np.bool_:
        array = array * np.uint8(0xFF)  # as the parser has it: i1 is a number of one bit and a sign
    return DenseIntOrFPElementsAttr(type, BytesAttr(np.ascontiguousarray(array).tobytes()))


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends the body of an `nn.weight`."""

    name = "nn.yield"
    values = var_operand_def()
    traits = traits_def(IsTerminator())
    assembly_format = "$values attr-dict `:` type($values)"

    def __init__(self, *values: SSAValue) -> None:
        super().__init__(operands=[values])


@irdl_op_definition
class WeightOp(IRDLOperation):
    """A named constant tensor of the model, with its source in place of its bytes.

    nn.weight @w : tensor<64x3x7x7xf32> from "net.safetensors" key "conv1.weight" sha256 "…"
    nn.weight @m : tensor<64xf32> sha256 "…"          // an array of this process
    nn.weight @ones : tensor<64xf32> splat 1.0
    nn.weight @r : tensor<128x128xbf16> seed 7        // normal(0, 1/sqrt(fan_in)), Philox
    nn.weight @f : tensor<64xf32> { %0 = nn.load_weight @m : tensor<64xf32> … nn.yield … }
    """

    name = "nn.weight"
    sym_name = prop_def(SymbolNameConstraint())
    type = prop_def(TensorType)
    file = opt_prop_def(StringAttr)
    key = opt_prop_def(StringAttr)
    sha256 = opt_prop_def(StringAttr)
    splat = opt_prop_def(FloatAttr)
    seed = opt_prop_def(IntegerAttr)
    body = region_def()

    traits = traits_def(SymbolOpInterface(), IsolatedFromAbove())

    def __init__(
        self,
        name: str,
        type: Attribute,
        *,
        file: str | None = None,
        key: str | None = None,
        array: Registered | None = None,
        splat: float | None = None,
        seed: int | None = None,
        body: Region | None = None,
    ) -> None:
        texts = {"file": file, "key": key, "sha256": None if array is None else array.identity}
        properties: dict[str, Attribute | None] = {
            "sym_name": StringAttr(name),
            "type": type,
            "splat": None if splat is None else FloatAttr(splat, f64),
            "seed": None if seed is None else IntegerAttr(seed, i64),
        }
        properties |= {k: None if v is None else StringAttr(v) for k, v in texts.items()}
        super().__init__(properties=properties, regions=[body or Region()])

    def __post_init__(self) -> None:
        super().__post_init__()
        # An op that is built, cloned or parsed while the array lives keeps it alive.
        self._array = None if self.sha256 is None else STORE.registered(self.sha256.data)

    @property
    def symbol(self) -> str:
        return self.sym_name.data

    @property
    def tensor_type(self) -> Tensor:
        return self.type

    def verify_(self) -> None:
        sources = [self.file or self.sha256, self.splat, self.seed, self.body.blocks.first]
        if sum(source is not None for source in sources) != 1:
            raise VerifyException(
                f"@{self.symbol} needs one of: from … key …, sha256, splat, seed, a body"
            )
        if (self.file is None) != (self.key is None):
            raise VerifyException(f"@{self.symbol}: `from` and `key` go together")
        dtype_of(self.tensor_type.element_type)
        if (block := self.body.blocks.first) is not None:
            end = block.last_op
            if not isinstance(end, YieldOp) or [v.type for v in end.values] != [self.type]:
                raise VerifyException(f"the body of @{self.symbol} yields one {self.type}")

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_symbol_name(self.symbol)
        printer.print_string(" : ")
        printer.print_attribute(self.type)
        if self.file is not None and self.key is not None:
            printer.print_string(f" from {json.dumps(self.file.data, ensure_ascii=False)}")
            printer.print_string(f" key {json.dumps(self.key.data, ensure_ascii=False)}")
        if self.sha256 is not None:
            printer.print_string(f' sha256 "{self.sha256.data}"')
        if self.splat is not None:
            printer.print_string(f" splat {self.splat.value.data!r}")
        if self.seed is not None:
            printer.print_string(f" seed {self.seed.value.data}")
        if self.attributes:
            printer.print_op_attributes(self.attributes, print_keyword=True)
        if self.body.blocks:
            printer.print_string(" ")
            printer.print_region(self.body)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        name = parser.parse_symbol_name()
        parser.parse_punctuation(":")
        properties: dict[str, Attribute] = {"sym_name": name, "type": parser.parse_type()}
        if parser.parse_optional_keyword("from"):
            properties["file"] = StringAttr(parser.parse_str_literal())
            parser.parse_keyword("key")
            properties["key"] = StringAttr(parser.parse_str_literal())
        if parser.parse_optional_keyword("sha256"):
            properties["sha256"] = StringAttr(parser.parse_str_literal())
        if parser.parse_optional_keyword("splat"):
            properties["splat"] = FloatAttr(float(parser.parse_number()), f64)
        if parser.parse_optional_keyword("seed"):
            properties["seed"] = IntegerAttr(parser.parse_integer(), i64)
        attributes = parser.parse_optional_attr_dict_with_keyword()
        region = parser.parse_optional_region() or Region()
        return cls.create(
            properties=properties,
            attributes={} if attributes is None else attributes.data,
            regions=[region],
        )


@irdl_op_definition
class LoadWeightOp(IRDLOperation):
    """The tensor of an `nn.weight`. Not verified by look-up: that is quadratic."""

    name = "nn.load_weight"
    weight = prop_def(SymbolRefAttr)
    result = result_def()

    traits = traits_def(Pure(), ConstantSource())
    assembly_format = "$weight attr-dict `:` type($result)"

    def __init__(self, name: str, type: Attribute) -> None:
        super().__init__(properties={"weight": SymbolRefAttr(name)}, result_types=[type])

    @property
    def symbol(self) -> str:
        return self.weight.root_reference.data


@irdl_op_definition
class OpaqueOp(IRDLOperation):
    """A framework's op that `nn` has no definition for: it runs on the host, by its provider.

    %r = nn.opaque "onnx" "Det" version 22 (%x) {…} : (tensor<2x2xf32>) -> tensor<f32>
    """

    name = "nn.opaque"
    framework = prop_def(StringAttr)
    op_type = prop_def(StringAttr)
    version = prop_def(IntegerAttr[I64])
    settings = prop_def(DictionaryAttr)
    inputs = var_operand_def()
    outputs = var_result_def()

    traits = traits_def(Pure())
    assembly_format = (
        "$framework $op_type `version` $version `(` $inputs `)` `settings` $settings attr-dict `:` "
        "functional-type($inputs, $outputs)"
    )

    def __init__(
        self,
        framework: str,
        op_type: str,
        version: int,
        settings: dict[str, Attribute],
        inputs: Sequence[SSAValue | Operation],
        result_types: Sequence[Attribute],
    ) -> None:
        super().__init__(
            operands=[inputs],
            result_types=[result_types],
            properties={
                "framework": StringAttr(framework),
                "op_type": StringAttr(op_type),
                "version": IntegerAttr(version, i64),
                "settings": DictionaryAttr(settings),
            },
        )
