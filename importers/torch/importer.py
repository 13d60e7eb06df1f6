"""Import calls of PyTorch's ops one by one, whichever graph they come from.

Every call runs on fake tensors first: that gives result types, and tells by their memory which
results are views. An op that writes to its operand is its counterpart that does not, and a write.
What has no handler is imported by PyTorch's own definition of it, else it becomes `nn.opaque`. What
no tensor of `nn` holds belongs to the framework: the call is *foreign*.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, Array, reason_attribute
from ranvier.importers.torch.call import HANDLERS, Call, NotInNn, check_types
from ranvier.importers.torch.definition import definition_of
from ranvier.importers.torch.inner import Inner
from ranvier.importers.torch.leaving import Leaving
from ranvier.importers.torch.opaque import import_opaque
from ranvier.importers.torch.schema import (
    WITHOUT_EFFECT,
    apply,
    base_name,
    bound,
    counterpart,
    leaves,
    matching,
    overload_name,
    schema_of,
    short_name,
    writes,
)
from ranvier.importers.torch.types import Place, array_of, tensor_of, tensor_type
from ranvier.importers.torch.unknown import NoSuchOp, check_is_known
from ranvier.importers.torch.variable import (
    Foreign,
    NotFunctional,
    SharedMemory,
    Variable,
    fakes,
    storage_of,
)

LOG = logging.getLogger("ranvier")

REFUSALS = (RuntimeError, ValueError, IndexError)
"""What PyTorch raises for operands that do not fit; those that need values are kinds of their own.
"""
RANDOM = torch.Tag.nondeterministic_seeded

ON_FAKES: dict[str, Callable[..., Any]] = {
    "aten::_shape_as_tensor": lambda x: torch.empty(x.dim(), dtype=torch.int64),
}
"""What ops give for fake tensors whose kernels would read memory."""


class OpImporter(Leaving):
    """Adds calls to the module, one by one."""

    # -- Calls --------------------------------------------------------------------------------

    def call(
        self, op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], place: Place
    ) -> Any:
        """The results of a call, in its structure: variables, foreign values, Python values.

        Raises ModelImportError for what would give wrong results.
        """
        if op.name() in WITHOUT_EFFECT:
            return None
        given = self.taken_in(bound(op, args, kwargs))
        if outside := [leaf for leaf in leaves(given) if isinstance(leaf, Foreign)]:
            reason = f"it reads '{outside[0].name}', which is not in nn"
            result = self.guessed(op, given) if self.untyped else None
            return self.leave(op, given, place, Reason(Code.OP_OPAQUE, reason), result)
        written = [arg.name for arg in schema_of(op).arguments if writes(arg)]
        if not written:
            return self.results(op, given, place)
        target = given[written[0]]
        pure = counterpart(op)
        first = schema_of(op).arguments[0].name
        if pure is None or written != [first] or not isinstance(target, Variable):
            raise self.unshared(op, place)
        (result,) = leaves(self.results(pure, matching(pure, op, given), place))
        return self.assign(target, result, op, place)

    def assign(self, target: Variable, result: Any, op: OpOverload, place: Place) -> Variable:
        """Write the result of an op to its operand, in the operand's own type."""
        if not isinstance(result, Variable) or result.fake.shape != target.fake.shape:
            raise self.unshared(op, place)
        call = Call(op.name(), "", {}, {}, target.fake, self.builder, place.location(base_name(op)))
        try:
            value = call.cast(result.read(self.appender(place)))
            target.write(value, self.appender(place), call.constant)
        except SharedMemory:
            raise self.unshared(op, place) from None
        return target

    def results(self, op: OpOverload, given: Mapping[str, Any], place: Place) -> Any:
        """The results of an op that writes nothing."""
        values = [leaf for leaf in leaves(given) if isinstance(leaf, Variable)]
        if not values and (known := self.evaluated(op, given, [], place)) is not None:
            return known
        try:
            result = self.run_fake(op, given)
        except Exception as error:  # ops raise what they like where they need values
            constants = self.constants(values)
            if constants is not None:
                if (known := self.evaluated(op, given, constants, place)) is not None:
                    return known
            if self.untyped and type(error) in REFUSALS:
                text = f"'{place.name}' ({base_name(op)}): PyTorch refuses it: {first_line(error)}"
                raise self.error(Code.NODE_INVALID, text) from error
            known = isinstance(error, NoSuchOp)
            reason = "" if known else "its result is not known without values: "
            reason += first_line(error)
            return self.leave(op, given, place, Reason(Code.OP_OPAQUE, reason))
        flat, structure = pytree.tree_flatten(result)
        tensors = [leaf for leaf in flat if isinstance(leaf, torch.Tensor)]
        if any(tensor_type(leaf) is None for leaf in tensors):
            reason = f"no tensor of nn holds its result of {tensors[0].dtype}"
            return self.leave(op, given, place, Reason(Code.OP_ELEMENT_TYPE, reason), result)
        if not tensors:
            return result
        try:
            built = iter(self.build(op, given, result, tensors, place))
        except NotInNn as error:
            return self.leave(op, given, place, Reason(Code.OP_OPAQUE, str(error)), result)
        wrapped = [
            self.variable(next(built), leaf, values, place)
            if isinstance(leaf, torch.Tensor)
            else leaf
            for leaf in flat
        ]
        return pytree.tree_unflatten(wrapped, structure)

    def variable(
        self,
        value: SSAValue | None,
        fake: torch.Tensor,
        operands: Sequence[Variable],
        place: Place,
    ) -> Variable | Foreign:
        """A result; it is a view of the operand whose memory it shares."""
        if value is None:
            return Foreign(place.name, None)
        storage = storage_of(fake)
        source = next((each for each in operands if each.storage() == storage), None)
        if source is not None and fake is source.fake:
            return source
        return Variable(value, fake, source)

    def build(
        self,
        op: OpOverload,
        given: Mapping[str, Any],
        result: Any,
        tensors: Sequence[torch.Tensor],
        place: Place,
    ) -> Sequence[SSAValue | None]:
        """The results as SSA values: by a handler, by PyTorch's definition, or opaque.

        Raises NotInNn for arguments that no IR holds.
        """
        location = place.location(base_name(op))
        arguments = self.read(given, place)
        call = Call(
            short_name(op),
            overload_name(op),
            arguments,
            fakes(given),
            result,
            self.builder,
            location,
        )
        self.places[place.name] = place.node
        mark, whys = self.builder.mark(), list[str]()
        for attempt in (self.handled, self.defined):
            try:
                values = attempt(op, call, given, place)
                check_types(values, tensors, place.unused)
                return values
            except (NotInNn, VerifyException, SharedMemory) as error:
                self.builder.roll_back(mark)
                whys.append(str(error))
                LOG.debug("%s: %s: %s", place.name, op, error)
        results = import_opaque(op, call, tensors)
        if has_handler(op, call) and results:
            text = f"nn has no such form of {base_name(op)}: {whys[0]}"
            reason = reason_attribute(Reason(Code.OP_OPAQUE, text))
            cast(Operation, results[0].owner).attributes[REASON] = reason
        return results

    def handled(
        self, op: OpOverload, call: Call, given: Mapping[str, Any], place: Place
    ) -> Sequence[SSAValue | None]:
        if not has_handler(op, call):
            raise NotInNn("it has no handler")
        values = HANDLERS[call.op](call)
        return [values] if isinstance(values, SSAValue) else values

    def defined(
        self, op: OpOverload, call: Call, given: Mapping[str, Any], place: Place
    ) -> Sequence[SSAValue | None]:
        """The results by PyTorch's definition of the op, if all of that is in `nn`."""
        definition = definition_of(op, fakes(given), self.mode)
        if definition is None or RANDOM in op.tags:
            raise NotInNn("PyTorch has no definition of it")
        values = [leaf for leaf in leaves(given) if isinstance(leaf, Variable)]
        inner = Inner(self, definition, place, call)
        return [
            leaf.read(self.appender(place)) if isinstance(leaf, Variable) else None
            for leaf in inner.run(values)
        ]

    # -- What the model fixes -----------------------------------------------------------------

    def constants(self, values: Sequence[Variable]) -> list[Array] | None:
        """The arrays of tensors if the model fixes all of them."""
        arrays = [self.builder.constant_of(value.read(self.builder.append)) for value in values]
        known = [array for array in arrays if array is not None]
        return known if len(known) == len(arrays) else None

    def evaluated(
        self,
        op: OpOverload,
        given: Mapping[str, Any],
        constants: Sequence[Array],
        place: Place,
    ) -> Any:
        """What PyTorch computes for operands that the model fixes; None for random numbers.

        Results that a handler makes without their bytes, such as zeros, are left to it.
        """
        if RANDOM in op.tags or (not constants and short_name(op) in HANDLERS):
            return None
        arrays = iter(constants)
        real = {
            name: pytree.tree_map(
                lambda leaf: tensor_of(next(arrays)) if isinstance(leaf, Variable) else leaf, value
            )
            for name, value in given.items()
        }
        with torch.no_grad():
            results = apply(op, real)
        location = place.location(base_name(op))

        def constant(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            value = self.builder.constant(array_of(leaf), place.node, location)
            return Variable(value, self.fake(leaf))

        leaves_ = [leaf for leaf in leaves(results) if isinstance(leaf, torch.Tensor)]
        if any(tensor_type(leaf) is None for leaf in leaves_):
            return None
        return pytree.tree_map(constant, results)

    # -- Small parts --------------------------------------------------------------------------

    def run_fake(self, op: OpOverload, given: Mapping[str, Any]) -> Any:
        check_is_known(op.name())
        with self.mode, torch.no_grad():
            if (on_fakes := ON_FAKES.get(op.name())) is not None:
                return on_fakes(*fakes(given).values())
            return apply(op, fakes(given))

    def guessed(self, op: OpOverload, given: Mapping[str, Any]) -> Any:
        """The types of an op's results where PyTorch knows those of foreign values; else None."""
        known = {
            name: pytree.tree_map(lambda leaf: leaf.fake if isinstance(leaf, Foreign) else leaf, v)
            for name, v in given.items()
        }
        try:
            return self.run_fake(op, known)
        except Exception as error:  # ops raise what they like where they lack a value
            LOG.debug("%s: %s", op, error)
            return None

    def unshared(self, op: OpOverload, place: Place) -> NotFunctional:
        return NotFunctional(
            Code.MODEL_UNSUPPORTED,
            f"{self.model}: '{place.name}' ({base_name(op)}) writes to a tensor in a way that has "
            "no counterpart without a write; use an op that returns a new tensor",
        )


def has_handler(op: OpOverload, call: Call) -> bool:
    return op.namespace == "aten" and call.op in HANDLERS


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
