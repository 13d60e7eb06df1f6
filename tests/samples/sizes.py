"""The samples of some families again at sizes around those of the machine.

128 partitions, 512 elements of an accumulator, batches, odd numbers and 1: dimensions that fill a
tile exactly, miss it by one, or leave a remainder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xdsl.dialects.builtin import f32, i1, i32

from samples import Sample, all_samples

SHAPES = (
    (1,),
    (127, 3),
    (128, 3),
    (129, 3),
    (3, 513),
    (513, 2),
    (8, 5, 7),
    (3, 7, 11),
)
REDUCED: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((1,), (0,)),
    ((127, 3), (0,)),
    ((3, 128), (1,)),
    ((129, 3), (0,)),
    ((129, 5), (1,)),
    ((513,), (0,)),
    ((8, 129, 3), (0, 2)),
    ((8, 3, 5, 7), (1, 2, 3)),
    ((3, 5, 7), (0, 1, 2)),
)
"""Shapes and the axes that are reduced: inside a partition, across partitions, all."""


IN_TURN = 4


def sized_samples() -> list[Sample]:
    """Every elementwise op and reduction that runs, at every size; of element types other than f32,
    i32 and truth values a few sizes in turn."""
    bases: dict[tuple[object, ...], Sample] = {}
    for sample in all_samples():
        family = sample.op.__module__.rpartition(".")[2]
        if sample.host == () and family.startswith(("elementwise", "reduction")):
            elements = tuple(operand.element for operand in sample.operands)
            bases.setdefault((sample.op, elements, sample.properties.get("to")), sample)
    found: dict[str, Sample] = {}
    for number, base in enumerate(bases.values()):
        sized = list(at_sizes(base))
        if base.operands[0].element not in (f32, i32, i1):
            sized = sized[number % IN_TURN :: IN_TURN]
        found |= {sample.id: sample for sample in sized}
    return list(found.values())


def at_sizes(sample: Sample) -> Iterable[Sample]:
    """A sample with other shapes; single numbers stay so."""
    if "axes" in sample.properties:
        for shape, axes in REDUCED:
            operands = tuple(replace(operand, shape=shape) for operand in sample.operands)
            properties = {**sample.properties, "axes": axes}
            yield replace(sample, operands=operands, properties=properties)
        return
    for shape in SHAPES:
        operands = tuple(
            operand if operand.constant and not operand.shape else replace(operand, shape=shape)
            for operand in sample.operands
        )
        properties = dict(sample.properties)
        if "axis" in properties:
            properties["axis"] = min(properties["axis"], len(shape) - 1)
        yield replace(sample, operands=operands, properties=properties)
