"""What a module under construction shares with the model: inputs, weights, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from xdsl.ir import SSAValue

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.importers.builder import ModuleBuilder, hint
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch.model import Imported, Mutation, Output
from ranvier.importers.torch.types import array_of, tensor_type
from ranvier.importers.torch.variable import Foreign, Variable


class ModelState:
    """The module under construction, its arguments, weights and results."""

    def __init__(self, model: str, *, untyped: bool = False) -> None:
        self.model = model
        self.untyped = untyped
        """Whether calls that are not in nn have a place in the module, and results of no type."""
        self.builder = ModuleBuilder({})
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.foreign: dict[str, Reason] = {}
        self.places: dict[str, str] = {}
        self._results: dict[str, SSAValue] = {}
        self._arguments: dict[str, Variable] = {}
        self._states: dict[object, Variable | Foreign] = {}
        self._kept: list[torch.Tensor] = []  # places of dead tensors would be used again

    # -- Values from outside ------------------------------------------------------------------

    def argument(self, name: str, fake: torch.Tensor) -> Variable:
        """A further argument of `@main`."""
        type = tensor_type(fake)
        if type is None:
            raise self.error(
                Code.INPUT_TYPE,
                f"input '{name}' is a tensor of {fake.dtype}, {list(fake.shape)}, {fake.layout}; "
                "dense tensors of static shape and real numbers are compiled",
            )
        value = self.builder.block.insert_arg(type, len(self.builder.block.args))
        self.builder.inputs[name] = value
        hint(value, name)
        variable = Variable(value, fake)
        self._arguments[name] = variable
        return variable

    def fake(self, tensor: torch.Tensor) -> torch.Tensor:
        """A fake tensor of the importer's own, with the type and the strides of a tensor."""
        if tensor_type(tensor) is None:
            return tensor
        with self.mode, torch.no_grad():
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)

    def state(self, tensor: torch.Tensor, name: str) -> Variable | Foreign:
        """A parameter, a buffer or a constant: one variable however often it is named."""
        place: tuple[object, ...] = (id(tensor),)
        if tensor.layout is torch.strided:  # others have no one memory
            first = tensor.data_ptr() or id(tensor)
            place = (first, tensor.shape, tensor.stride(), tensor.dtype)
        if (known := self._states.get(place)) is None:
            known = self._states[place] = self.new_state(tensor, name)
            self._kept.append(tensor)
        return known

    def new_state(self, tensor: torch.Tensor, name: str) -> Variable | Foreign:
        with self.mode, torch.no_grad():
            fake = self.mode.from_tensor(tensor.detach())
        if tensor_type(fake) is None or tensor.device.type != "cpu":
            self.foreign[name] = Reason(
                Code.OP_ELEMENT_TYPE,
                f"no tensor of nn holds {tensor.dtype} ({tensor.layout}, on {tensor.device})",
            )
            return Foreign(name, fake)
        value = self.builder.constant(array_of(tensor), name)
        return Variable(value, fake)

    def also_result(self, value: SSAValue) -> None:
        """What a foreign call reads is a result too, under the name of the value."""
        if value not in self._results.values():
            self._results[value.name_hint or f"value_{len(self._results)}"] = value

    # -- Results of the model -----------------------------------------------------------------

    def output(self, name: str, value: Any) -> Output:
        """A leaf of what the model returns; a tensor becomes the result `name` of `@main`."""
        if isinstance(value, Foreign) and value.value is not None:
            self._results[name] = value.value
            return Output(name)
        if isinstance(value, Foreign):
            return Output(None, foreign=value.name)
        if not isinstance(value, Variable):
            return Output(None, value)
        self._results[name] = value.read(self.builder.append)
        return Output(name)

    def mutation(self, name: str, value: Any, target: str, *, is_input: bool) -> Mutation:
        """The new value of a buffer or an input. Raises ModelImportError if it is foreign."""
        if self.output(name, value).name is None:
            raise self.error(
                Code.MODEL_UNSUPPORTED, f"'{target}' is set to a value that is not in nn"
            )
        return Mutation(name, target, is_input)

    def finish(
        self,
        inputs: Sequence[str | None],
        outputs: Sequence[Output],
        mutations: Sequence[Mutation] = (),
    ) -> Imported:
        attributes = {"ranvier.framework": "PYTORCH", "ranvier.name": self.model}
        module = self.builder.finish(self._results, attributes)
        return Imported(
            module, tuple(inputs), tuple(outputs), tuple(mutations), self.foreign, self.places
        )

    def error(self, code: Code, text: str) -> ModelImportError:
        return ModelImportError(code, f"{self.model}: {text}")
