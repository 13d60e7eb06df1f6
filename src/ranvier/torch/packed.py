"""Packed sequences as padded ones, while a model is captured.

A packed sequence has as many rows as its sequences have steps, which depends on data. Padded to the
longest that the input can hold, with the lengths beside it, it has a static shape. LSTM and GRU on
it run all steps and keep a state where a sequence has ended, which gives the packed results.

What uses a packed sequence in another way is refused in the original's words.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from ranvier.dialects.diagnostics import Code, CodedError

MESSAGE = (
    'Operator "aten::{op}" consuming a PackedSequence input can only be supported when its '
    'corresponding PackedSequence output is unused or unpacked using "aten::_pad_packed_input". '
    'Found usage by "{user}"'
)


class PackedSequenceError(CodedError, RuntimeError):
    """A packed sequence is used outside of recurrent layers and padding."""


class Padded:
    """Stands for the data of a packed sequence: steps first, with the length of each sequence."""

    def __init__(self, data: Tensor, lengths: Tensor, made_by: str = "lstm") -> None:
        self.padded = data
        self.lengths = lengths
        self.made_by = made_by

    def refuse(self, user: str) -> NoReturn:
        raise PackedSequenceError(
            Code.MODEL_UNSUPPORTED, MESSAGE.format(op=self.made_by, user=user)
        )

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> NoReturn:
        leaves = pytree.tree_leaves((args, kwargs))
        padded = next(leaf for leaf in leaves if isinstance(leaf, Padded))
        padded.refuse(f"aten::{function.__name__}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse(f"aten::{name}")

    def __getitem__(self, index: object) -> NoReturn:
        self.refuse("aten::select")


@contextmanager
def packed_sequences_as_padded(module: nn.Module) -> Generator[None]:
    """Within, packing keeps padded tensors. Not for two threads at once."""
    functions = SimpleNamespace(_pack_padded_sequence=_pack, _pad_packed_sequence=_pad)
    hook = module.register_forward_hook(_refuse_returned)
    with (
        patch.object(rnn, "_VF", functions),
        patch.object(nn.LSTM, "forward", _recurrent(nn.LSTM)),
        patch.object(nn.GRU, "forward", _recurrent(nn.GRU)),
    ):
        try:
            yield
        finally:
            hook.remove()


def _refuse_returned(module: nn.Module, inputs: object, outputs: object) -> None:
    for leaf in pytree.tree_leaves(outputs):
        padded = leaf.data if isinstance(leaf, PackedSequence) else leaf
        if isinstance(padded, Padded):
            padded.refuse("prim::Return")


def _pack(data: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Any, Tensor]:
    """In place of `aten::_pack_padded_sequence`; the lengths stand for the batch sizes."""
    steps = data.transpose(0, 1) if batch_first else data
    return Padded(steps, lengths), lengths


def _pad(
    data: Any, batch_sizes: Tensor, batch_first: bool, value: float, total: int
) -> tuple[Tensor, Tensor]:
    """In place of `aten::_pad_packed_sequence`: rows past a sequence's end hold `value`."""
    padded = cast(Padded, data)
    steps = padded.padded
    running = _running(steps, padded.lengths)
    filled = torch.where(running.unsqueeze(-1), steps, torch.full((), value, dtype=steps.dtype))
    return (filled.transpose(0, 1) if batch_first else filled), padded.lengths


def _running(steps: Tensor, lengths: Tensor) -> Tensor:
    """`steps x batch`: whether a sequence still runs."""
    return torch.arange(steps.shape[0]).unsqueeze(1) < lengths.unsqueeze(0)


def _recurrent(kind: type[nn.LSTM] | type[nn.GRU]) -> Callable[..., Any]:
    """A `forward` that takes padded sequences too."""
    original = kind.forward

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence) or not isinstance(input.data, Padded):
            return cast(Any, original)(self, input, hx)
        return _run_padded(self, input, hx)

    return forward


def _run_padded(layer: nn.RNNBase, packed: PackedSequence, hx: Any) -> tuple[Any, Any]:
    """What an LSTM or GRU gives for a packed sequence."""
    padded = cast(Padded, cast(object, packed.data))
    is_lstm = layer.mode == "LSTM"
    directions = 2 if layer.bidirectional else 1
    steps, running = padded.padded, _running(padded.padded, padded.lengths).unsqueeze(-1)
    count = layer.num_layers * directions
    initial = _initial(layer, packed, hx, steps, count)
    finals: list[tuple[Tensor, ...]] = []
    for level in range(layer.num_layers):
        outputs: list[Tensor] = []
        for direction in range(directions):
            index = level * directions + direction
            states = tuple(state[index] for state in initial)
            weights = _weights(layer, level, direction)
            output, final = _run_layer(
                steps, running, states, weights, reverse=bool(direction), lstm=is_lstm
            )
            outputs.append(output)
            finals.append(final)
        steps = torch.cat(outputs, -1) if directions == 2 else outputs[0]
    states = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    if packed.unsorted_indices is not None:
        states = [state.index_select(1, packed.unsorted_indices) for state in states]
    kind = "lstm" if is_lstm else "gru"
    result: Any = Padded(steps, padded.lengths, kind)
    data = PackedSequence(
        result, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    )
    return data, tuple(states) if is_lstm else states[0]


def _initial(
    layer: nn.RNNBase, packed: PackedSequence, hx: Any, steps: Tensor, count: int
) -> list[Tensor]:
    """States before the first step, one row per layer and direction."""
    if hx is None:
        sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
        wanted = sizes if layer.mode == "LSTM" else sizes[:1]
        return [torch.zeros(count, steps.shape[1], size, dtype=steps.dtype) for size in wanted]
    states = list(hx) if isinstance(hx, tuple | list) else [hx]
    if packed.sorted_indices is not None:
        states = [state.index_select(1, packed.sorted_indices) for state in states]
    return states


def _weights(layer: nn.RNNBase, level: int, direction: int) -> list[Tensor | None]:
    """Weights of inputs and state, then their biases and the projection, None where absent."""
    suffix = f"_l{level}" + ("_reverse" if direction else "")
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [getattr(layer, name + suffix, None) for name in names]


def _run_layer(
    steps: Tensor,
    running: Tensor,
    states: tuple[Tensor, ...],
    weights: list[Tensor | None],
    *,
    reverse: bool,
    lstm: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One direction of one layer; the state of a sequence stays where it does not run."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    of_inputs = nn.functional.linear(steps, cast(Tensor, w_ih), b_ih)
    outputs: dict[int, Tensor] = {}
    order = range(steps.shape[0])
    for t in reversed(order) if reverse else order:
        of_state = nn.functional.linear(states[0], cast(Tensor, w_hh), b_hh)
        step = _lstm_step if lstm else _gru_step
        new = step(of_inputs[t], of_state, states)
        if w_hr is not None:
            new = (nn.functional.linear(new[0], w_hr), *new[1:])
        states = tuple(torch.where(running[t], n, old) for n, old in zip(new, states, strict=True))
        outputs[t] = states[0]
    return torch.stack([outputs[t] for t in order]), states


def _lstm_step(x: Tensor, h: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru_step(x: Tensor, h: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    r_x, z_x, n_x = x.chunk(3, -1)
    r_h, z_h, n_h = h.chunk(3, -1)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = (n_x + r * n_h).tanh()
    return (n + z * (states[0] - n),)
