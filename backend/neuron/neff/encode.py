"""From a lowered module to a compiled file: what `ranvier compile` writes.

The same module, flags and compiler give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import SSAValue
from xdsl.printer import Printer

from ranvier.backend.neuron.limits import MACHINES
from ranvier.backend.neuron.neff.container import Member, member_of, write_container
from ranvier.backend.neuron.neff.contents import (
    ALIGNMENT,
    Node,
    WeightTable,
    nodes_of,
    returned,
)
from ranvier.backend.neuron.neff.documents import dump_document
from ranvier.backend.neuron.neff.encode_program import encode_program as encode_program
from ranvier.backend.neuron.neff.encode_program import program_of as program_of
from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.backend.neuron.neff.header import MAX_CORES
from ranvier.backend.neuron.neff.host import describe_host, form_of
from ranvier.backend.neuron.program import CoreProgram, Program
from ranvier.backend.neuron.program_rules import verify_program
from ranvier.backend.neuron.simulator import metrics_of
from ranvier.backend.reference import input_names, main_of, output_names
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nc.sync import QUEUES
from ranvier.dialects.nn.materialize import Weights
from ranvier.passes.target import ATTRIBUTE, DEFAULT

VAR_TYPES = {"input": "input", "output": "output", "weight": "file"}
"""Published names of variable types, by kind of tensor."""


def write_neff(
    module: ModuleOp,
    path: Path,
    *,
    name: str,
    flags: Sequence[str] = (),
    pipeline: str = "",
    requested_cores: int = 1,
    operators: Mapping[str, int] | None = None,
    host_ops: Sequence[Mapping[str, str]] = (),
    stages: Sequence[Mapping[str, Any]] = (),
    balance: Mapping[str, float] | None = None,
    framework: str = "",
) -> None:
    """Write the programs, host segments and weights of a lowered module to a file.

    `operators` are counts of the framework's ops and `host_ops` those on the host; `stages` and
    `balance` say what each core of the pipeline costs. Raises NeffProgramError if the module is not
    lowered and allocated, CallerError if the file cannot be written.
    """
    _check_name(name)
    nodes = nodes_of(module)
    target = _target(module, nodes)
    programs = [node.program for node in nodes if node.program is not None]
    for program in programs:
        verify_program(program, MACHINES[target])
    table = WeightTable(Weights(module).array)
    files = {"neff.json": dump_document(_dataflow(module, nodes))}
    for node in nodes:
        files |= dict(_node_files(node, table))
    files["info.json"] = dump_document(_info(framework, operators or {}, host_ops))
    metrics = metrics_of(programs, MACHINES[target])
    metrics |= {"stages": list(stages), "pipeline": dict(balance or {})}
    files["metrics.json"] = dump_document(metrics)
    cores = [len(program.cores) for program in programs] or [1]
    manifest: dict[str, Any] = {
        "target": target,
        "cores": max(cores),
        "compiler": _compiler(flags, pipeline),
        "source": _source_hash(module),
        "aliases": table.aliases,
    }
    members: list[Member] = [member_of(name, data) for name, data in files.items()]
    header = _header(name, cores, requested_cores)
    write_container(path, [*members, *table.members()], manifest, header)


def _compiler(flags: Sequence[str], pipeline: str) -> dict[str, Any]:
    """What wrote the file, and how it was asked to."""
    return {
        "name": "ranvier",
        "version": version("ranvier"),
        "flags": list(flags),
        "pipeline": pipeline,
    }


def _info(
    framework: str, operators: Mapping[str, int], host_ops: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """What became of the framework's ops."""
    return {
        "tool_version": _tool(),
        "framework": framework,
        "operators": dict(operators),
        "host_ops": list(host_ops),
    }


def _check_name(name: str) -> None:
    if len(name.encode()) > 255 or not name.isprintable():
        raise CallerError(Code.OPTION_INVALID, f"{name[:40]!r} cannot be the name of a NEFF file")


def _tool() -> str:
    return f"ranvier/{version('ranvier')}"


def _header(name: str, cores: Sequence[int], requested: int) -> dict[str, Any]:
    """The fields of the header that do not follow from the archive. `cores` is by segment."""
    return {
        "build_version": _tool(),
        "name": name,
        "cores": max(cores),
        "requested_cores": requested,
        # The published reader takes the first entry for the whole file.
        "cores_per_segment": (max(cores), *cores[1:]),
    }


def _target(module: ModuleOp, nodes: Sequence[Node]) -> str:
    """The one target of all programs; the module's own where there are none."""
    targets = {node.program.target for node in nodes if node.program is not None}
    stated = module.attributes.get(ATTRIBUTE)
    if not targets:
        targets = {stated.data if isinstance(stated, StringAttr) else DEFAULT}
    if len(targets) > 1 or not targets <= MACHINES.keys():
        raise NeffProgramError(
            f"programs for {', '.join(sorted(targets))}; one of {', '.join(MACHINES)}"
        )
    if max((len(n.program.cores) for n in nodes if n.program is not None), default=1) > MAX_CORES:
        raise NeffProgramError(f"a segment has more than {MAX_CORES} cores")
    return targets.pop()


def _source_hash(module: ModuleOp) -> str:
    """SHA-256 of the module as text, without weights: their text may hold a path."""
    digest = hashlib.sha256()
    for op in module.body.block.ops:
        if not isinstance(op, nn.WeightOp):
            text = StringIO()
            Printer(text).print_op(op)
            digest.update(text.getvalue().encode())
    return digest.hexdigest()


def _dataflow(module: ModuleOp, nodes: Sequence[Node]) -> dict[str, Any]:
    """`neff.json`: inputs, nodes and outputs, joined by numbered values."""
    main = main_of(module)
    numbers: dict[SSAValue, int] = {}

    def number(values: Sequence[SSAValue]) -> None:
        for value in values:
            numbers[value] = len(numbers)

    number(main.args)
    entries: list[dict[str, Any]] = []
    for node in nodes:
        entries.append(
            {
                "kind": "host" if node.program is None else "neuron",
                "name": node.label,
                "folders": node.folders,
                "operands": [numbers[value] for value in node.operands],
                "results": [form_of(value).describe() for value in node.results],
            }
        )
        number(node.results)
    results = returned(main)
    providers = sorted({p for node in nodes if node.host for p in node.host.providers()})
    return {
        "inputs": [
            _port(name, value) for name, value in zip(input_names(main), main.args, strict=True)
        ],
        "outputs": [
            {**_port(name, value), "value": numbers[value]}
            for name, value in zip(output_names(main), results, strict=True)
        ],
        "nodes": entries,
        "providers": providers,
    }


def _port(name: str, value: SSAValue) -> dict[str, Any]:
    form = form_of(value)
    return {
        "name": name,
        **form.describe(),
        "layout": "row-major",
        "bytes": form.nbytes,
        "batch_axis": 0 if form.shape else None,
    }


def _node_files(node: Node, table: WeightTable) -> Iterator[tuple[str, bytes]]:
    """The files of a node; its weights go into the table."""
    if node.host is not None:
        (folder,) = node.folders
        for symbol in node.host.weights():
            table.add(folder, symbol)
        places = {symbol: _file_var(table, symbol) for symbol in node.host.weights()}
        yield (
            f"{folder}/program.json",
            dump_document({**describe_host(node.host), "weights": places}),
        )
    if node.program is not None:
        for index, (folder, core) in enumerate(zip(node.folders, node.program.cores, strict=True)):
            alone = Program(node.program.target, (core,))
            yield f"{folder}/program.bin", encode_program(alone)
            yield f"{folder}/def.json", dump_document(_definition(folder, index, core, table))


def _definition(folder: str, index: int, core: CoreProgram, table: WeightTable) -> dict[str, Any]:
    """`def.json`: the variables of a core by the published type names, and its queues."""
    variables: dict[str, dict[str, Any]] = {}
    for tensor in core.tensors:
        if isinstance(tensor.source, str):
            table.add(folder, tensor.source)
            name, entry = f"@{tensor.source}", _file_var(table, tensor.source)
        else:
            name, entry = f"{tensor.kind}{tensor.source}", {"size": tensor.nbytes}
        variables[name] = {"type": VAR_TYPES[tensor.kind], "var_id": len(variables), **entry}
    if core.scratch_bytes:
        variables["scratch"] = {
            "type": "tmp-buf",
            "var_id": len(variables),
            "size": core.scratch_bytes,
        }
    streams = {instruction.stream for instruction, _ in core.instructions()}
    queues = [f"q{i}" for i in range(QUEUES) if f"q{i}" in streams]
    return {
        "name": folder,
        "core": index,
        "program": "program.bin",
        "var": variables,
        "dma_queue": {queue: {"type": "data", "num_queues": 1} for queue in queues},
    }


def _file_var(table: WeightTable, symbol: str) -> dict[str, Any]:
    place = table.places[symbol]
    return {
        "size": place.size,
        "alignment": ALIGNMENT,
        "file_name": place.file,
        "offset": place.offset,
    }
