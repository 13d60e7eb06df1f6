"""From a compiled file to what runs. The file is not trusted.

Checks, in this order, one error each: size, magic, header hash, version and features, manifest,
members, program hashes, weight hashes, programs, variables. Weights stay where they are mapped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.backend.neuron.limits import MACHINES
from ranvier.backend.neuron.neff.container import Place, check_hash, read_manifest, read_members
from ranvier.backend.neuron.neff.contents import ALIGNMENT
from ranvier.backend.neuron.neff.decode_program import decode_program as decode_program
from ranvier.backend.neuron.neff.documents import Document, load_document
from ranvier.backend.neuron.neff.errors import (
    NeffError,
    NeffManifestError,
    NeffProgramError,
    NeffWeightsError,
)
from ranvier.backend.neuron.neff.header import (
    FORMAT_MAJOR,
    HEADER_SIZE,
    VERSION_BASE,
    Header,
    unpack_header,
)
from ranvier.backend.neuron.neff.host import (
    HostProgram,
    TensorForm,
    form_of,
    read_form,
    read_host,
)
from ranvier.backend.neuron.program import CoreProgram, Program, TensorRecord
from ranvier.backend.neuron.program_rules import verify_program
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.types import element_dtype

HOST_OP = ("op", "name", "code", "reason", "location")
STAGE_TIMES = ("estimated_us", "simulated_us")

VALIDATE = "NEURON_RT_VALIDATE_HASH"
"""Environment variable: `false` skips the hashes of weights, and nothing else."""


@dataclass(frozen=True)
class Port:
    """An input or output of the whole file."""

    name: str
    form: TensorForm
    value: int
    """Number of the value that it is."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.form.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.form.dtype

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, **self.form.describe(), "bytes": self.form.nbytes}


@dataclass(frozen=True)
class Step:
    """One node of the dataflow: a program of the machine, or of the host."""

    name: str
    operands: tuple[int, ...]
    results: tuple[TensorForm, ...]
    program: Program | HostProgram
    weights: Mapping[str, Array]
    """Bytes in the mapped file; flat for a device program."""


@dataclass
class Neff:
    """A compiled file that has passed every check."""

    path: Path
    header: Header
    manifest: Document
    size: int
    sha256: str
    """Of the payload, in hexadecimal."""
    members: Mapping[str, Place]
    inputs: list[Port] = field(default_factory=list[Port])
    outputs: list[Port] = field(default_factory=list[Port])
    steps: list[Step] = field(default_factory=list[Step])
    providers: list[str] = field(default_factory=list[str])
    operators: dict[str, int] = field(default_factory=dict[str, int])
    host_ops: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def target(self) -> str:
        return self.manifest.text("target")

    @property
    def cores(self) -> int:
        return self.header.cores

    @property
    def flags(self) -> list[str]:
        return self.manifest.inner("compiler").texts("flags")

    @property
    def pipeline(self) -> dict[str, Any]:
        """Cores, simulated latency and interval, and how even the cut is; all in us."""
        return {"cores": self.cores, **self.metrics["simulated_us"], **self.metrics["pipeline"]}

    @property
    def stages(self) -> list[dict[str, Any]]:
        """What each core of each segment costs, estimated and simulated, in us."""
        return self.metrics["stages"]

    @property
    def simulated_us(self) -> float:
        """Simulated time from inputs to outputs, a documented-cost estimate."""
        return self.metrics["simulated_us"]["latency"]

    def describe(self) -> dict[str, Any]:
        """What the file holds, as `ranvier info --json` prints it."""
        weights = sum(p.size for name, p in self.members.items() if "/weights-" in name)
        programs = sum(p.size for name, p in self.members.items() if "/program." in name)
        return {
            "name": self.header.name,
            "compiler_version": self.header.build_version,
            "flags": self.flags,
            "format_version": f"{VERSION_BASE + FORMAT_MAJOR}.{self.header.format_minor}",
            "target": self.target,
            "cores": self.cores,
            "requested_cores": self.header.requested_cores,
            "sizes": {"file": self.size, "weights": weights, "programs": programs},
            "sha256": self.sha256,
            "uuid": self.header.uuid.hex(),
            "operators": self.operators,
            "host_ops": self.host_ops,
            "stages": self.stages,
            "pipeline": self.pipeline,
            "providers": self.providers,
            "inputs": [port.describe() for port in self.inputs],
            "outputs": [port.describe() for port in self.outputs],
            "metrics": self.metrics,
        }


def load_neff(path: Path | str, *, copy: bool = False) -> Neff:
    """Open and check a file. With `copy` it is read into memory instead of mapped.

    Raises CallerError if there is no such file, and the NeffError of the first check that fails.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not size or copy:
            whole = np.fromfile(path, np.uint8)
        else:
            whole = np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise CallerError(Code.FILE_MISSING, f"{path}: {error.strerror or error}") from error
    return read_neff(whole, path)


def read_neff(whole: Array, path: Path) -> Neff:
    """Check a file that is in memory; `path` names it in errors. Its bytes stay where they are.

    Raises the NeffError of the first check that fails.
    """
    whole = whole.view()
    whole.flags.writeable = False
    try:
        return _Loader(path, whole).load()
    except NeffError as error:
        raise type(error)(f"{path}: {error}") from error


class _Loader:
    def __init__(self, path: Path, whole: Array) -> None:
        self.path = path
        self.whole = whole
        self.data = memoryview(whole.data)
        self.ranges: dict[tuple[str, int, int], set[str]] = {}
        """Symbols of weights by file, offset and end."""

    def load(self) -> Neff:
        header = unpack_header(bytes(self.data[:HEADER_SIZE]), len(self.data))
        manifest = read_manifest(self.data, header)
        _check_manifest(manifest, header)
        self.members = read_members(self.data, header, manifest)
        for name, place in self.members.items():
            if "/weights-" not in name:
                check_hash(self.data, place, NeffProgramError)
        if os.environ.get(VALIDATE, "").lower() != "false":
            self._check_weights(header)
        neff = Neff(
            self.path,
            header,
            manifest,
            len(self.data),
            header.payload_sha256.hex(),
            self.members,
        )
        self._fill(neff)
        self._check_ranges(manifest.inner("aliases"))
        return neff

    def _check_ranges(self, aliases: Document) -> None:
        """Weights share bytes only where the manifest says that one is another's alias."""
        ranges = sorted(self.ranges)
        for (file, _, end), (next_file, start, _) in pairwise(ranges):
            if file == next_file and start < end:
                raise NeffWeightsError(f"{file}: two weights overlap at {start}")
        for symbols in self.ranges.values():
            if len({aliases.value.get(symbol, symbol) for symbol in symbols}) > 1:
                raise NeffWeightsError(f"{', '.join(sorted(symbols))} share their bytes")

    def _check_weights(self, header: Header) -> None:
        for name, place in self.members.items():
            if "/weights-" in name:
                check_hash(self.data, place, NeffWeightsError)
        if hashlib.sha256(self.data[HEADER_SIZE:]).digest() != header.payload_sha256:
            raise NeffWeightsError("the payload does not match its hash")

    def _document(self, name: str) -> Document:
        return load_document(bytes(self._bytes(name)), name, NeffProgramError)

    def _bytes(self, name: str) -> memoryview:
        if (place := self.members.get(name)) is None:
            raise NeffProgramError(f"the file has no {name}")
        return self.data[place.offset : place.offset + place.size]

    def _fill(self, neff: Neff) -> None:
        graph = self._document("neff.json")
        values: list[TensorForm] = []
        for entry in graph.list("inputs"):
            neff.inputs.append(Port(entry.text("name"), read_form(entry), len(values)))
            values.append(neff.inputs[-1].form)
        for entry in graph.list("nodes"):
            step = self._step(entry, values, neff.target)
            neff.steps.append(step)
            values.extend(step.results)
        for entry in graph.list("outputs"):
            port = Port(entry.text("name"), read_form(entry), entry.integer("value"))
            if port.value >= len(values) or values[port.value] != port.form:
                raise entry.fail(f"output '{port.name}' is no value of its type")
            neff.outputs.append(port)
        neff.providers = graph.texts("providers")
        info = self._document("info.json")
        operators = info.inner("operators")
        neff.operators = {key: operators.integer(key) for key in operators.value}
        neff.host_ops = [{key: op.text(key) for key in HOST_OP} for op in info.list("host_ops")]
        metrics = self._document("metrics.json")
        times = metrics.inner("simulated_us")
        if any(type(times.value.get(key)) not in (int, float) for key in ("latency", "interval")):
            raise times.fail("no times")
        metrics.inner("pipeline")
        for stage in metrics.list("stages"):
            stage.text("segment")
            stage.integer("core")
            if any(type(stage.value.get(key)) not in (int, float) for key in STAGE_TIMES):
                raise stage.fail("no times")
        neff.metrics = dict(metrics.value)

    def _step(self, entry: Document, values: list[TensorForm], target: str) -> Step:
        operands = entry.integers("operands", high=len(values) - 1)
        forms = tuple(values[operand] for operand in operands)
        results = tuple(read_form(result) for result in entry.list("results"))
        folders = entry.texts("folders")
        if entry.text("kind") == "host" and len(folders) == 1:
            return self._host_step(entry, folders[0], operands, forms, results)
        if entry.text("kind") != "neuron" or not folders:
            raise entry.fail(f"no node of kind {entry.text('kind')!r} in {folders}")
        return self._device_step(entry, folders, operands, forms, results, target)

    def _host_step(
        self,
        entry: Document,
        folder: str,
        operands: tuple[int, ...],
        forms: tuple[TensorForm, ...],
        results: tuple[TensorForm, ...],
    ) -> Step:
        document = self._document(f"{folder}/program.json")
        host = read_host(document)
        taken = [value.type for value in host.block.args]
        made = [value.type for value in host.results]
        if taken != [form.type for form in forms] or made != [form.type for form in results]:
            raise entry.fail(f"{folder} has operands or results of other types")
        places = document.inner("weights")
        weights: dict[str, Array] = {}
        for op in host.block.ops:
            if isinstance(op, nn.LoadWeightOp):
                form = form_of(op.result)
                area = self._weight(places, op.symbol, form.nbytes)
                weights[op.symbol] = area.view(form.dtype).reshape(form.shape)
        return Step(entry.text("name"), operands, results, host, weights)

    def _device_step(
        self,
        entry: Document,
        folders: list[str],
        operands: tuple[int, ...],
        forms: tuple[TensorForm, ...],
        results: tuple[TensorForm, ...],
        target: str,
    ) -> Step:
        cores: list[CoreProgram] = []
        weights: dict[str, Array] = {}
        for folder in folders:
            program = decode_program(self._bytes(f"{folder}/program.bin"))
            if program.target != target or len(program.cores) != 1:
                raise entry.fail(f"{folder} is for {len(program.cores)} cores of {program.target}")
            cores.extend(program.cores)
            weights |= self._variables(folder, program.cores[0])
        program = Program(target, tuple(cores))
        verify_program(program, MACHINES[target])
        _check_ports(entry, program, forms, results)
        return Step(entry.text("name"), operands, results, program, weights)

    def _variables(self, folder: str, core: CoreProgram) -> dict[str, Array]:
        """The weights of a core, by the variables of its `def.json`."""
        variables = self._document(f"{folder}/def.json").inner("var")
        weights: dict[str, Array] = {}
        for tensor in core.tensors:
            if isinstance(tensor.source, str):
                area = self._weight(variables, f"@{tensor.source}", tensor.nbytes)
                weights[tensor.source] = area.view(element_dtype(tensor.element))
            elif variables.inner(f"{tensor.kind}{tensor.source}").integer("size") != tensor.nbytes:
                raise variables.fail(f"{tensor.kind}{tensor.source} is of another size")
        return weights

    def _weight(self, table: Document, name: str, size: int) -> Array:
        """The bytes of a weight, read-only, in the mapped file."""
        entry = table.inner(name)
        place = self.members.get(entry.text("file_name"))
        offset = entry.integer("offset")
        if (
            place is None
            or "/weights-" not in place.name
            or offset % ALIGNMENT
            or entry.integer("size") != size
            or offset + size > place.size
        ):
            raise NeffWeightsError(f"{entry.where}: {size} bytes at {offset} of {place}")
        symbol = name.removeprefix("@")
        self.ranges.setdefault((place.name, offset, offset + size), set()).add(symbol)
        start = place.offset + offset
        return np.asarray(self.whole[start : start + size])


def _check_manifest(manifest: Document, header: Header) -> None:
    if manifest.text("target") not in MACHINES:
        raise manifest.fail(f"no target {manifest.text('target')!r}; {', '.join(MACHINES)}")
    if manifest.integer("cores") != header.cores:
        raise NeffManifestError(f"{manifest.value['cores']} cores, the header says {header.cores}")
    compiler = manifest.inner("compiler")
    compiler.text("version")
    compiler.texts("flags")


def _check_ports(
    entry: Document,
    program: Program,
    forms: tuple[TensorForm, ...],
    results: tuple[TensorForm, ...],
) -> None:
    """Tensors of a program are those of its operands and results; every result is written."""
    outputs = program.outputs()
    if sorted(outputs) != list(range(len(results))):
        raise entry.fail(f"{len(results)} results, the program writes {sorted(outputs)}")
    for kind, tensors, given in (("input", program.inputs(), forms), ("output", outputs, results)):
        for number, tensor in tensors.items():
            if number >= len(given) or not _same(tensor, given[number]):
                raise entry.fail(f"{kind} {number} of the program is of another type")


def _same(tensor: TensorRecord, form: TensorForm) -> bool:
    """Truth values are bytes on the machine, and i64 tensors at its edge are i32."""
    held = {np.dtype(np.bool_): np.dtype(np.uint8), np.dtype(np.int64): np.dtype(np.int32)}
    dtype = held.get(form.dtype, form.dtype)
    count = form.nbytes // form.dtype.itemsize
    return element_dtype(tensor.element) == dtype and tensor.length == max(1, count)
