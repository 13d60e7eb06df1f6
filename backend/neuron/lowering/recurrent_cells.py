"""What a recurrent cell computes at one step, on tiles of hidden units x sequences.

States and gates are in f32; the state is rounded to the type of the weights where it is multiplied.
Tiles hold `chunks x sequences` elements per partition, the gates one after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import (
    Affine,
    Emitter,
    OnChip,
    Ref,
    first_at,
    merged,
)
from ranvier.backend.neuron.lowering.recurrent_activation import apply_activation
from ranvier.backend.neuron.lowering.recurrent_state import Hidden, Weights
from ranvier.backend.neuron.lowering.tile_math import TileMath
from ranvier.dialects import nc
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nn.recurrent import RecurrentOp


@dataclass(frozen=True)
class Turn:
    """One step of a block: the inputs' share of its gates, where its output goes, who goes on."""

    share: OnChip
    out: OnChip
    mask: OnChip | None
    start: Affine
    """Elements of the steps before it, for one chunk."""
    width: int
    """Elements of all steps of the block, for one chunk."""


class Cell(ABC):
    """Emits the steps of one direction."""

    def __init__(self, op: RecurrentOp, direction: int, hidden: Hidden, e: Emitter) -> None:
        self.op, self.hidden, self.e = op, hidden, e
        self.functions = op.functions(direction)
        self.limit: float | None = op.get("clip")

    def prepare(
        self, weights: Weights, biases: tuple[OnChip, OnChip], peepholes: OnChip | None
    ) -> None:
        """What all sequences share. The biases of inputs and state are one where they can."""
        self.weights, self.peepholes = weights, peepholes
        for_inputs, self.for_state = biases
        self.bias = self.e.sbuf(for_inputs.partitions, for_inputs.width, f32)
        joined = self.joined_biases() * self.hidden.chunks
        self._add(self.bias.columns(0, joined), *(b.columns(0, joined) for b in biases))
        if rest := for_inputs.width - joined:
            source = for_inputs.columns(joined, rest)
            self.e.emit(nc.CopyOp, dst=self.bias.columns(joined, rest).ref(), src=source.ref())

    def joined_biases(self) -> int:
        """Gates whose two biases are added at once."""
        return self.op.GATES

    def start(self, states: Sequence[OnChip], sequences: int, narrow: Attribute) -> None:
        """Begin with some sequences from these states."""
        self.states, self.sequences = states, sequences
        self.width = self.hidden.chunks * sequences
        self.moving = states[0]
        if narrow != f32:
            self.moving = self.e.sbuf(self.hidden.rows, self.width, narrow)
            self._copy(self.moving, states[0])

    def add_biases(self, share: OnChip, inner: int) -> None:
        """Add them to the inputs' share of some steps."""
        bias = self.bias.ref(0, ((1, self.bias.width), (0, inner)))
        fields: dict[str, object] = {"op": "add"}
        e = self.e
        e.emit(nc.TensorTensorOp, fields=fields, dst=share.ref(), lhs=share.ref(), rhs=bias)

    @abstractmethod
    def step(self, turn: Turn) -> None:
        """Emit one step."""

    # -- Parts of a step ------------------------------------------------------------------------

    def tile(self, gates: int = 1) -> OnChip:
        return self.e.sbuf(self.hidden.rows, gates * self.width, f32)

    def share(self, turn: Turn, first: int, gates: int) -> Ref:
        """The inputs' share of some gates of this step."""
        chunks = self.hidden.chunks
        dims = merged([(turn.width, gates * chunks), (1, self.sequences)])
        return turn.share.ref(turn.start + first * chunks * turn.width, dims)

    def products(self, moving: OnChip, first: int, gates: int) -> Iterator[tuple[OnChip, int, int]]:
        """`r h` of some gates: sums in PSUM with the first gate and the gates of each."""
        per_bank = max(1, MAX_MOVING // self.width)
        for gate in range(first, first + gates, per_bank):
            count = min(per_bank, first + gates - gate)
            psum = self.e.psum(self.hidden.rows, count * self.width, f32)
            for g in self.e.tiles(count, 1):
                for piece in self.hidden.pieces:
                    for chunk in self.e.tiles(piece.count, 1):
                        at = chunk.start + piece.first
                        self._sum(moving, psum, g.start, gate, at, piece.rows)
            yield psum, gate, count

    def _sum(
        self, moving: OnChip, psum: OnChip, g: Affine, first: int, chunk: Affine, rows: int
    ) -> None:
        """One chunk of one gate, over all chunks of the state."""
        hidden, sequences = self.hidden, self.sequences
        column = (g + first) * hidden.size + chunk * hidden.rows
        tile, start, columns = self.weights.of(column, rows)
        into = psum.rows(0, rows, g * self.width + chunk * sequences, ((1, sequences),))
        for piece in hidden.pieces:
            for k in self.e.tiles(piece.count, 1):
                at = k.start + piece.first
                begins = first_at(k) if piece.first == 0 else None
                self.e.emit(
                    nc.MatmulOp,
                    fields={"first_at": begins},
                    dst=into,
                    stationary=tile.rows(0, piece.rows, at * columns + start, ((1, rows),)),
                    moving=moving.rows(0, piece.rows, at * sequences, ((1, sequences),)),
                )

    def gates(self, turn: Turn, first: int, count: int, moving: OnChip | None = None) -> OnChip:
        """`w x + r h + b` of some gates."""
        total = self.tile(count)
        for psum, gate, some in self.products(moving or self.moving, first, count):
            part = total.columns((gate - first) * self.width, some * self.width)
            self.e.emit(
                nc.TensorTensorOp,
                fields={"op": "add"},
                dst=part.ref(),
                lhs=psum.ref(),
                rhs=self.share(turn, gate, some),
            )
        return total

    def activate(self, which: int, tile: OnChip) -> None:
        """Clip a tile and apply an activation of the cell to it."""
        if self.limit is not None:
            TileMath(self.e, tile).scalar(
                tile, ("max", -self.limit), ("min", self.limit), into=tile
            )
        apply_activation(self.e, self.functions[which], tile, tile)

    def finish(self, turn: Turn, found: Sequence[OnChip]) -> None:
        """Take new states: into the output, the next step, and where sequences go on."""
        dims = merged([(turn.width, self.hidden.chunks), (1, self.sequences)])
        out = turn.out.ref(turn.start, dims)
        if turn.mask is None:
            self.e.emit(nc.CopyOp, dst=out, src=found[0].ref())
        else:
            going = turn.mask.ref(turn.start, ((0, self.hidden.chunks), (1, self.sequences)))
            for target, state in [
                (out, found[0]),
                *((old.ref(), new) for old, new in zip(self.states, found, strict=True)),
            ]:
                self.e.emit(nc.CopyPredicatedOp, dst=target, src=state.ref(), predicate=going)
        if self.moving is not self.states[0]:
            self._copy(self.moving, self.states[0])

    def targets(self, turn: Turn) -> Sequence[OnChip]:
        """Where new states are computed: in place unless some sequences keep theirs."""
        return self.states if turn.mask is None else [self.tile() for _ in self.states]

    def _copy(self, out: OnChip, src: OnChip) -> None:
        self.e.emit(nc.CopyOp, dst=out.ref(), src=src.ref())

    def _add(self, out: OnChip, lhs: OnChip, rhs: OnChip) -> None:
        self.arithmetic("add", out, lhs, rhs)

    def arithmetic(self, op: str, out: OnChip, lhs: OnChip, rhs: OnChip) -> None:
        fields: dict[str, object] = {"op": op}
        self.e.emit(nc.TensorTensorOp, fields=fields, dst=out.ref(), lhs=lhs.ref(), rhs=rhs.ref())


class RnnCell(Cell):
    """`h' = f(w x + r h + b)`"""

    def step(self, turn: Turn) -> None:
        total = self.gates(turn, 0, 1)
        self.activate(0, total)
        if turn.mask is None:
            self._copy(self.states[0], total)
        self.finish(turn, [total])


class LstmCell(Cell):
    """`c' = f * c + i * g`, `h' = o * h(c')`, gates in the order i, o, f, g."""

    def step(self, turn: Turn) -> None:
        width, (_, c) = self.width, self.states
        total = self.gates(turn, 0, 4)
        i, o, f, g = (total.columns(gate * width, width) for gate in range(4))
        coupled = bool(self.op.get("input_forget"))
        if self.peepholes is None and not coupled:
            self.activate(0, total.columns(0, 3 * width))
        else:
            self._peep(0, i, c)
            self.activate(0, i)
            if coupled:
                TileMath(self.e, i).scalar(i, ("mult", -1), ("add", 1), into=f)
            else:
                self._peep(2, f, c)
                self.activate(0, f)
        self.activate(1, g)
        h_new, c_new = self.targets(turn)
        self.arithmetic("mult", i, i, g)
        self.arithmetic("mult", f, f, c)
        self.arithmetic("add", c_new, f, i)
        if self.peepholes is not None or coupled:
            self._peep(1, o, c_new)
            self.activate(0, o)
        apply_activation(self.e, self.functions[2], g, c_new)
        self.arithmetic("mult", h_new, o, g)
        self.finish(turn, [h_new, c_new])

    def _peep(self, gate: int, total: OnChip, c: OnChip) -> None:
        """Add a multiple of the cell's state to a gate."""
        if self.peepholes is None:
            return
        factor = self.peepholes.columns(gate * self.hidden.chunks, self.hidden.chunks)
        by_sequence = factor.ref(0, ((1, factor.width), (0, self.sequences)))
        seen = self.tile()
        fields: dict[str, object] = {"op": "mult"}
        self.e.emit(nc.TensorTensorOp, fields=fields, dst=seen.ref(), lhs=c.ref(), rhs=by_sequence)
        self._add(total, total, seen)


class GruCell(Cell):
    """`h' = n + z * (h - n)`, gates in the order z, r, n."""

    def joined_biases(self) -> int:
        return 2 if self.op.get("reset_after") else 3

    def step(self, turn: Turn) -> None:
        width, (h,) = self.width, self.states
        both = self.gates(turn, 0, 2)
        self.activate(0, both)
        z, reset = both.columns(0, width), both.columns(width, width)
        n = (
            self._candidate_after(turn, reset)
            if self.op.get("reset_after")
            else self._candidate(turn, reset)
        )
        self.activate(1, n)
        (h_new,) = self.targets(turn)
        difference = self.tile()
        self.arithmetic("subtract", difference, h, n)
        self.arithmetic("mult", difference, z, difference)
        self.arithmetic("add", h_new, n, difference)
        self.finish(turn, [h_new])

    def _candidate(self, turn: Turn, reset: OnChip) -> OnChip:
        """`w x + r (reset * h) + b`"""
        kept = self.e.sbuf(self.hidden.rows, self.width, self.moving.element)
        self.arithmetic("mult", kept, reset, self.states[0])
        return self.gates(turn, 2, 1, kept)

    def _candidate_after(self, turn: Turn, reset: OnChip) -> OnChip:
        """`w x + b + reset * (r h + b)`"""
        chunks = self.hidden.chunks
        bias = self.for_state.columns(2 * chunks, chunks)
        n = self.tile()
        for psum, _, _ in self.products(self.moving, 2, 1):
            self.e.emit(
                nc.TensorTensorOp,
                fields={"op": "add"},
                dst=n.ref(),
                lhs=psum.ref(),
                rhs=bias.ref(0, ((1, chunks), (0, self.sequences))),
            )
        self.arithmetic("mult", n, reset, n)
        fields: dict[str, object] = {"op": "add"}
        share = self.share(turn, 2, 1)
        self.e.emit(nc.TensorTensorOp, fields=fields, dst=n.ref(), lhs=n.ref(), rhs=share)
        return n
