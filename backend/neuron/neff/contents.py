"""What goes into a file, from a module: nodes with their dataflow, programs, and weights' places.

A node is a launch of a device program or a run of host ops. Values are numbered: the inputs of
`@main` first, then the results of each node in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ranvier.backend.neuron.neff.container import Member
from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.backend.neuron.neff.host import HostProgram, host_program_of
from ranvier.backend.neuron.program import Program
from ranvier.backend.reference import main_of
from ranvier.dialects import graph, nc
from ranvier.dialects.interfaces import Array

ALIGNMENT = 64
"""Of weights in their file, bytes."""
SHARD_BYTES = 4 << 30


@dataclass
class Node:
    """One step of `@main`: either a device program or a host program."""

    operands: tuple[SSAValue, ...]
    results: tuple[SSAValue, ...]
    program: Program | None = None
    host: HostProgram | None = None
    label: str = ""
    folders: list[str] = field(default_factory=list[str])
    """`sgNN` for each core, or one `cpuNN`."""


def nodes_of(module: ModuleOp) -> list[Node]:
    """The nodes of `@main`. Raises NeffProgramError for a device segment that is not lowered."""
    main = main_of(module)
    programs = {op.symbol: op for op in module.body.block.ops if isinstance(op, nc.ProgramOp)}
    nodes: list[Node] = []
    loose: list[Operation] = []
    for op in main.body.block.ops:
        if not isinstance(op, graph.LaunchOp | graph.SegmentOp | ReturnOp):
            loose.append(op)
            continue
        if loose:
            nodes.append(_loose_node(loose, main.body.block))
            loose = []
        if isinstance(op, graph.LaunchOp):
            nodes.append(_launch_node(op, programs))
        elif isinstance(op, graph.SegmentOp):
            nodes.append(_segment_node(op))
    _name_folders(nodes)
    return nodes


def _launch_node(op: graph.LaunchOp, programs: dict[str, nc.ProgramOp]) -> Node:
    if (program := programs.get(op.symbol)) is None:
        raise NeffProgramError(f"no program @{op.symbol} in the module")
    return Node(tuple(op.inputs), tuple(op.outputs), program_of(program), label=op.symbol)


def _segment_node(op: graph.SegmentOp) -> Node:
    if not op.on_host:
        raise NeffProgramError(
            f"segment '{op.label.data}' is not lowered; run the pass `lower-nn-to-nc` first"
        )
    body = [inner for inner in op.block.ops if not isinstance(inner, graph.YieldOp)]
    host = host_program_of(body, op.block.args, op.yielded)
    return Node(tuple(op.inputs), tuple(op.outputs), host=host, label=op.label.data)


def _loose_node(ops: Sequence[Operation], block: Block) -> Node:
    """Ops of `@main` outside any segment, as one host segment."""
    inside = set(ops)
    made = {result for op in ops for result in op.results}
    needed = dict.fromkeys(v for op in ops for v in op.operands if v not in made)
    outside = {use.operation for value in made for use in value.uses} - inside
    results = tuple(
        result
        for op in ops
        for result in op.results
        if any(use.operation in outside for use in result.uses)
    )
    return Node(tuple(needed), results, host=host_program_of(ops, tuple(needed), results))


def _name_folders(nodes: Sequence[Node]) -> None:
    cores = hosts = 0
    for node in nodes:
        if node.program is not None:
            node.folders = [f"sg{cores + i:02}" for i in range(len(node.program.cores))]
            cores += len(node.program.cores)
        else:
            node.folders = [f"cpu{hosts:02}"]
            hosts += 1


def returned(main: FuncOp) -> tuple[SSAValue, ...]:
    """The results of `@main`."""
    end = main.body.block.last_op
    return tuple(end.operands) if isinstance(end, ReturnOp) else ()


@dataclass(frozen=True)
class WeightPlace:
    """Where the bytes of a weight are: a file of the archive, and an offset in it."""

    file: str
    offset: int
    size: int


@dataclass
class Shard:
    """A weight file that grows: symbols in order, each with the offset of its bytes."""

    name: str
    symbols: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    size: int = 0


class WeightTable:
    """Places of weights. Equal bytes are stored once: later symbols are aliases of the first."""

    def __init__(self, array: Callable[[str], Array]) -> None:
        self.array = array
        self.places: dict[str, WeightPlace] = {}
        self.aliases: dict[str, str] = {}
        self._shards: dict[str, list[Shard]] = {}
        self._symbols: dict[tuple[int, bytes], str] = {}

    def add(self, folder: str, symbol: str) -> None:
        """Give a weight a place in the folder of its first user."""
        if symbol in self.places:
            return
        data = data_of(self.array(symbol))
        identity = (len(data), hashlib.sha256(data).digest())
        if (first := self._symbols.setdefault(identity, symbol)) != symbol:
            self.aliases[symbol] = first
            self.places[symbol] = self.places[first]
            return
        shard = self._shard(folder, len(data))
        offset = shard.size + -shard.size % ALIGNMENT
        shard.symbols.append((symbol, offset))
        shard.size = offset + len(data)
        self.places[symbol] = WeightPlace(shard.name, offset, len(data))

    def _shard(self, folder: str, size: int) -> Shard:
        shards = self._shards.setdefault(folder, [])
        if not shards or (shards[-1].size and shards[-1].size + size > SHARD_BYTES):
            shards.append(Shard(f"{folder}/weights-{len(shards):05}.bin"))
        return shards[-1]

    def members(self) -> Iterator[Member]:
        """The weight files. Bytes are asked for one tensor at a time, when they are written."""
        for shards in self._shards.values():
            for shard in shards:
                yield Member(shard.name, shard.size, self._chunks(shard), page_aligned=True)

    def _chunks(self, shard: Shard) -> Callable[[], Iterator[bytes | memoryview]]:
        def chunks() -> Iterator[bytes | memoryview]:
            position = 0
            for symbol, offset in shard.symbols:
                yield bytes(offset - position)
                data = data_of(self.array(symbol))
                yield data
                position = offset + len(data)

        return chunks


def data_of(array: Array) -> memoryview:
    """The row-major bytes of an array."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
