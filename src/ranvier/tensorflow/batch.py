"""Run a program of one batch size on any other: cut dimension 0, pad the last piece."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array

if TYPE_CHECKING:
    from ranvier.program import Program

BATCH, NO_BATCH = 0, -1
"""Where the batch of an input or output is: its first dimension, or nowhere."""


def run_in_batches(
    program: Program,
    arrays: Sequence[Array],
    input_axes: Sequence[int],
    output_axes: Sequence[int],
) -> list[Array]:
    """Outputs of a program, in its order, on operands in its order.

    Without batch axes operands have the program's shapes. Raises CallerError for others, and for
    operands whose batches differ.
    """
    ports = program.inputs
    if len(arrays) != len(ports):
        raise CallerError(
            Code.INPUT_MISSING, f"the program has {len(ports)} inputs, got {len(arrays)}"
        )
    batched = [i for i, axis in enumerate(input_axes) if axis == BATCH]
    if not batched:
        return run_once(program, arrays)
    sizes = {i: ports[i].form.shape[0] for i in batched}
    ratios = {Fraction(len(arrays[i]) if arrays[i].ndim else 0, sizes[i]) for i in batched}
    if len(ratios) != 1:
        shapes = ", ".join(str(arrays[i].shape) for i in batched)
        raise CallerError(Code.INPUT_SHAPE, f"the batches of the inputs differ: {shapes}")
    ratio = ratios.pop()
    if ratio == 1:
        return run_once(program, arrays)
    runs = [
        run_once(program, [piece(a, sizes.get(i), n) for i, a in enumerate(arrays)])
        for n in range(max(1, -(-ratio.numerator // ratio.denominator)))
    ]
    return [
        joined([run[j] for run in runs], ratio) if axis == BATCH else runs[0][j]
        for j, axis in enumerate(output_axes)
    ]


def run_once(program: Program, arrays: Sequence[Array]) -> list[Array]:
    names = [port.name for port in program.inputs]
    return list(program.run(dict(zip(names, arrays, strict=True))).values())


def piece(array: Array, size: int | None, number: int) -> Array:
    """As many rows as the program takes; the last row repeats where there are not enough."""
    if size is None:
        return array
    rows = array[number * size : (number + 1) * size]
    if len(rows) == size:
        return rows
    last = rows[-1:] if len(rows) else np.zeros((1, *array.shape[1:]), array.dtype)
    return np.concatenate([rows, np.repeat(last, size - len(rows), 0)])


def joined(pieces: Sequence[Array], ratio: Fraction) -> Array:
    """The rows of all pieces that are not padding."""
    return np.concatenate(pieces)[: int(len(pieces[0]) * ratio)]
