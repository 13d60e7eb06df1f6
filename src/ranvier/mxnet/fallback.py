"""`_neuron_subgraph_op` as an op of Python's, where the extension library cannot be built.

MXNet knows it as `Custom`. It is slower, and MXNet prints the text of an error instead of raising
it with its MXNetError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code, CodedError
from ranvier.importers.mxnet.params import DTYPES, type_flag
from ranvier.mxnet.neuron_op import counts, report, shapes, shapes_of, types
from ranvier.mxnet.node import OP, SUFFIX, Deferred, Interface
from ranvier.mxnet.states import Held, State, state_of


def register(mx: Any) -> None:
    """Make the op known to MXNet's `Custom`."""

    class SubgraphOp(mx.operator.CustomOp):
        def __init__(self, attrs: dict[str, str]) -> None:
            super().__init__()
            self.attrs = attrs
            self.state: State | None = None

        def forward(
            self, is_train: bool, req: Sequence[str], in_data: Any, out_data: Any, aux: Any
        ) -> None:
            try:
                if is_train:
                    raise training_error()
                self.state = self.state or state_of(self.attrs)
                operands = [Held(array.asnumpy()) for array in (*in_data, *aux)]
                for target, result in zip(out_data, self.state.run(operands), strict=True):
                    target[:] = mx.nd.array(result, dtype=result.dtype)
            except Exception as error:
                raise mx.MXNetError(report(error)) from None

        def backward(self, *arguments: object) -> None:
            raise mx.MXNetError(training_error().report())

    class SubgraphProperties(mx.operator.CustomOpProp):
        def __init__(self, **attrs: str) -> None:
            super().__init__(need_top_grad=False)
            self.attrs = attrs
            self.interface = Interface.parse(attrs, "subgraph")
            deferred = Deferred.parse(attrs)
            self.states = deferred.states if deferred else 0

        def list_arguments(self) -> list[str]:
            names = [form.name for form in self.interface.inputs]
            if "deferred" not in self.attrs:
                return [*names, SUFFIX]
            return names[: len(names) - self.states]

        def list_auxiliary_states(self) -> list[str]:
            names = [form.name for form in self.interface.inputs]
            return names[len(names) - self.states :]

        def list_outputs(self) -> list[str]:
            return [f"output{i}" for i in range(len(self.interface.outputs))]

        def infer_shape(self, in_shape: Any) -> Any:
            try:
                return self._split(shapes_of(shapes(self.attrs, flat(in_shape))))
            except CodedError as error:
                raise mx.MXNetError(error.report()) from None

        def infer_type(self, in_type: Any) -> Any:
            flags = [-1 if t is None else type_flag(np.dtype(t)) for t in in_type]
            try:
                return self._split([DTYPES[flag].type for flag in types(self.attrs, flags)])
            except CodedError as error:
                raise mx.MXNetError(error.report()) from None

        def _split(self, values: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
            """Of arguments, of outputs, of states."""
            inputs, _ = counts(self.attrs, ())
            arguments = inputs - self.states
            return values[:arguments], values[inputs:], values[arguments:inputs]

        def create_operator(self, ctx: Any, in_shapes: Any, in_dtypes: Any) -> Any:
            return SubgraphOp(self.attrs)

    mx.operator.register(OP)(SubgraphProperties)


def training_error() -> CallerError:
    return CallerError(
        Code.OPTION_INVALID,
        "training is not supported: a compiled subgraph has no gradient; pass is_train=False",
    )


def flat(shapes: Sequence[Sequence[int]]) -> list[int]:
    return [number for shape in shapes for number in (len(shape), *shape)]
