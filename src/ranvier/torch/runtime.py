"""NEFF files in tensors: loaded once, run on simulated NeuronCores.

The bytes of a NEFF are a uint8 tensor of the framework's module. What is loaded from them hangs on
that very tensor, so that it lives as long, and finding it costs one attribute.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from ranvier.backend.neuron.interpreter.runner import Runner
from ranvier.backend.neuron.neff.decode import Neff, Port, read_neff
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.torch.cores import Placement, Replicas, cuts_batches, default_placement

LOADED = "_ranvier"
"""Attribute of a NEFF's tensor: what is loaded from it."""

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "bool": torch.bool,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
}
"""By the names that a NEFF has for them."""

OFF, ELIGIBLE, ON = "off", "eligible", "on"
"""Whether calls may have another batch size than the program: never, if a caller asks, always."""

_LOADING = threading.Lock()


@dataclass(frozen=True)
class Signature:
    """What a call returns, and whether its batch is cut: the text that goes with a NEFF."""

    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    batch: str = OFF

    def text(self) -> str:
        outputs = [[dtype, list(shape)] for dtype, shape in self.outputs]
        return json.dumps({"outputs": outputs, "batch": self.batch}, separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Signature:
        """Raises CallerError for a text that is none."""
        try:
            value: dict[str, Any] = json.loads(text)
            outputs = tuple(
                (str(dtype), tuple(int(size) for size in shape))
                for dtype, shape in value["outputs"]
            )
            if value["batch"] not in (OFF, ELIGIBLE, ON) or any(
                d not in DTYPES for d, _ in outputs
            ):
                raise ValueError(text)
            return Signature(outputs, value["batch"])
        except (ValueError, KeyError, TypeError) as error:
            raise CallerError(Code.FILE_INVALID, f"no signature of a NEFF: {text[:80]}") from error


def execute(inputs: list[Tensor], neff: Tensor, *, signature: str = "") -> list[Tensor]:
    """Run a NEFF. Raises CallerError for inputs that do not fit it, NeffError for a damaged one."""
    loaded: Loaded | Replay | None = getattr(neff, LOADED, None)
    if loaded is None:
        loaded = load(neff)
    return loaded.run(inputs, signature)


def execute_meta(inputs: list[Tensor], neff: Tensor, *, signature: str = "") -> list[Tensor]:
    """Outputs without data. Raises CallerError without a signature: shapes stand only there."""
    if not neff.is_meta:  # else the outputs would be memory that nothing has written to
        raise CallerError(Code.INPUT_TYPE, "inputs are on meta, the program is on the CPU")
    first = next((x for x in inputs if x.dim()), neff)
    parsed = Signature.parse(signature)
    cut = parsed.batch == ON and inputs and first.dim()
    return [
        neff.new_empty(
            (first.shape[0], *shape[1:]) if cut and shape else shape, dtype=DTYPES[dtype]
        )
        for dtype, shape in parsed.outputs
    ]


def write(target: Tensor, value: Tensor, others: list[Tensor]) -> None:
    """Set an input to its new value.

    Raises CallerError if another input has memory of it: the model was compiled for inputs that
    have none in common.
    """
    first, end = extent(target)
    for other in others:
        low, high = extent(other)
        if low < end and first < high:
            raise CallerError(
                Code.INPUT_TYPE,
                "two inputs share memory, and the model writes to one of them; clone one",
            )
    target.copy_(value)


def write_meta(target: Tensor, value: Tensor, others: list[Tensor]) -> None:
    """Nothing to write."""


def extent(tensor: Tensor) -> tuple[int, int]:
    """Where the elements of a tensor begin and end in memory; nowhere if it has none."""
    if not tensor.numel():
        return 0, 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    elements = 1 + sum((size - 1) * stride for size, stride in steps)
    first = tensor.data_ptr()
    return first, first + elements * tensor.element_size()


def load(neff: Tensor) -> Loaded:
    """Load a NEFF where it is, once, on the cores that placement says."""
    with _LOADING:
        loaded: Loaded | None = getattr(neff, LOADED, None)
        if loaded is None:
            loaded = Loaded(neff)
            setattr(neff, LOADED, loaded)
        return loaded


class Replay:
    """Stands for a loaded NEFF while a graph is recorded: outputs that are known already."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = outputs

    def run(self, inputs: Sequence[Tensor], signature: str) -> list[Tensor]:
        return [output.clone() for output in self._outputs]


class Loaded:
    """A NEFF that is ready to run, with one machine per core that it has run on."""

    def __init__(self, neff: Tensor) -> None:
        if neff.dtype != torch.uint8 or neff.dim() != 1 or neff.device.type != "cpu":
            raise CallerError(
                Code.INPUT_TYPE,
                f"a NEFF is bytes on the CPU, got {neff.dtype} of {list(neff.shape)} on "
                f"{neff.device}",
            )
        self.neff: Neff = read_neff(neff.detach().contiguous().numpy(), Path("neff"))
        self.place(default_placement())
        self._fits = [(DTYPES[p.dtype.name], torch.Size(p.shape)) for p in self.neff.inputs]
        self._machines: dict[int, tuple[threading.Lock, Runner]] = {}
        self._lock = threading.Lock()

    def place(self, placement: Placement) -> None:
        """Run on other cores from now on. Raises ValueError if they are too few."""
        self.replicas: Replicas = placement.replicas(self.neff.cores)

    @property
    def batch_size(self) -> int | None:
        """Dimension 0 of all inputs and outputs, if they share it."""
        ports = [*self.neff.inputs, *self.neff.outputs]
        sizes = {port.shape[0] if port.shape else None for port in ports}
        return next(iter(sizes)) if len(sizes) == 1 else None

    def run(self, inputs: Sequence[Tensor], signature: str) -> list[Tensor]:
        """Raises CallerError for inputs of other types and shapes."""
        fits = len(inputs) == len(self._fits)
        for tensor, (dtype, shape) in zip(inputs, self._fits, strict=False):
            fits = fits and tensor.dtype is dtype and tensor.shape == shape
        if not fits:
            return self._run_unfitting(inputs, signature)
        arrays = [array_of(tensor) for tensor in inputs]
        outputs = self._execute(arrays)
        return [
            tensor_of(output, port, arrays)
            for output, port in zip(outputs, self.neff.outputs, strict=True)
        ]

    def _execute(self, arrays: Sequence[Array]) -> list[Array]:
        core = self.replicas.next()
        machine = self._machines.get(core)
        if machine is None:
            with self._lock:
                machine = self._machines.setdefault(core, (threading.Lock(), Runner(self.neff)))
        with machine[0]:
            return machine[1].execute(arrays)

    def _run_unfitting(self, inputs: Sequence[Tensor], signature: str) -> list[Tensor]:
        batch = Signature.parse(signature).batch if signature else OFF
        if (batch == ON or (batch == ELIGIBLE and cuts_batches())) and self.batch_size:
            return self._run_cut(inputs, self.batch_size)
        self._refuse(inputs, 0)
        raise AssertionError("the inputs fit")

    def _run_cut(self, inputs: Sequence[Tensor], size: int) -> list[Tensor]:
        """Cut dimension 0 into batches of the program's size; the last is filled up."""
        self._refuse(inputs, 1)
        total = inputs[0].shape[0]
        if any(tensor.shape[0] != total for tensor in inputs):
            sizes = ", ".join(str(tensor.shape[0]) for tensor in inputs)
            raise CallerError(Code.INPUT_SHAPE, f"dimension 0 of the inputs differs: {sizes}")
        if not total:
            return [
                torch.empty((0, *port.shape[1:]), dtype=DTYPES[port.dtype.name])
                for port in self.neff.outputs
            ]
        pieces = [
            self.run([filled(tensor[start : start + size], size) for tensor in inputs], "")
            for start in range(0, total, size)
        ]
        return [torch.cat(parts)[:total] for parts in zip(*pieces, strict=True)]

    def _refuse(self, inputs: Sequence[Tensor], skipped: int) -> None:
        """Raise CallerError for the first input that does not fit, `skipped` dimensions aside."""
        ports = self.neff.inputs
        if len(inputs) != len(ports):
            raise CallerError(
                Code.INPUT_MISSING, f"the NEFF takes {len(ports)} inputs, got {len(inputs)}"
            )
        for tensor, port, (dtype, shape) in zip(inputs, ports, self._fits, strict=True):
            if tensor.device.type != "cpu":
                raise CallerError(
                    Code.INPUT_TYPE, f"input '{port.name}' is on {tensor.device}, not on the CPU"
                )
            if tensor.dtype is not dtype:
                raise CallerError(
                    Code.INPUT_TYPE, f"input '{port.name}' is {dtype}, got {tensor.dtype}"
                )
            if tensor.dim() != len(shape) or tensor.shape[skipped:] != shape[skipped:]:
                raise CallerError(
                    Code.INPUT_SHAPE,
                    f"input '{port.name}' is compiled for {list(shape)}, got {list(tensor.shape)}",
                )


def filled(tensor: Tensor, size: int) -> Tensor:
    """A batch with its last sample repeated up to a size."""
    missing = size - tensor.shape[0]
    return torch.cat([tensor, *[tensor[-1:]] * missing]) if missing else tensor


def array_of(tensor: Tensor) -> Array:
    """A tensor's memory as an array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def tensor_of(array: Array, port: Port, inputs: Sequence[Array]) -> Tensor:
    """An output as a tensor of its own memory."""
    if not array.flags.writeable or any(np.may_share_memory(array, other) for other in inputs):
        array = array.copy()
    if port.dtype == ml_dtypes.bfloat16:
        flat = torch.from_numpy(array.reshape(-1).view(np.int16))
        return flat.view(torch.bfloat16).reshape(array.shape)
    return torch.from_numpy(array)


def loaded_of(module: torch.nn.Module) -> list[Loaded]:
    """The NEFFs in a module that has been traced or loaded, each loaded once."""
    found: list[Loaded] = []
    for name, tensor in module.named_buffers():
        if name.rpartition(".")[2].startswith("neff_") and tensor.dtype == torch.uint8:
            found.append(getattr(tensor, LOADED, None) or load(tensor))
    return found
