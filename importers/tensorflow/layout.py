"""Where channels and spatial dimensions stand. `nn` has channels second, TensorFlow mostly last."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.semantics import AutoPad, Window, automatic_padding
from ranvier.importers.tensorflow.node import Node
from ranvier.importers.tensorflow.shape import transpose

_LAYOUTS = {"NHWC": True, "NDHWC": True, "NCHW": False, "NCDHW": False}


@dataclass(frozen=True)
class Layout:
    """Of a tensor with channels; `last` says whether they are its last dimension."""

    rank: int
    last: bool

    def to_nn(self, node: Node, value: SSAValue) -> SSAValue:
        inner = range(1, self.rank - 1)
        return transpose(node, value, (0, self.rank - 1, *inner)) if self.last else value

    def from_nn(self, node: Node, value: SSAValue) -> SSAValue:
        return transpose(node, value, (0, *range(2, self.rank), 1)) if self.last else value

    def spatial(self, entries: Shape) -> Shape:
        """Of one entry per dimension, those of the spatial ones. Raises if others are not 1."""
        kept = entries[1:-1] if self.last else entries[2:]
        channel = entries[-1] if self.last else entries[1]
        if len(entries) != self.rank or (entries[0], channel) != (1, 1):
            raise VerifyException(
                f"rank {self.rank} takes as many entries, 1 for batch and channels, got "
                f"{list(entries)}"
            )
        return kept

    def sizes(self, shape: Shape) -> Shape:
        """The spatial part of a shape."""
        return shape[1:-1] if self.last else shape[2:]


def layout_of(node: Node, rank: int) -> Layout:
    name = node.attribute("data_format", "NHWC" if rank == 4 else "NDHWC")
    if name not in _LAYOUTS:
        raise VerifyException(f"layout {name} is not one of {', '.join(_LAYOUTS)}")
    return Layout(rank, _LAYOUTS[name])


def padding_of(node: Node, window: Window, layout: Layout) -> Shape:
    """All lows, then all highs."""
    name = node.attribute("padding", "VALID")
    if name == "EXPLICIT":
        pairs = node.ints("explicit_paddings")
        lows, highs = layout_pairs(pairs[::2], layout), layout_pairs(pairs[1::2], layout)
        return (*lows, *highs)
    if name not in ("SAME", "VALID"):
        raise VerifyException(f"padding {name} is not SAME, VALID or EXPLICIT")
    return automatic_padding(window, AutoPad.SAME_UPPER if name == "SAME" else AutoPad.VALID)


def layout_pairs(entries: Shape, layout: Layout) -> Shape:
    """The spatial part of paddings, which batch and channels do not have."""
    return layout.spatial(tuple(entry if entry else 0 for entry in _ones_outside(entries, layout)))


def _ones_outside(entries: Shape, layout: Layout) -> Shape:
    outside = (0, layout.rank - 1 if layout.last else 1)
    if any(entries[place] for place in outside):
        raise VerifyException(f"batch and channels are not padded, got {list(entries)}")
    return tuple(1 if place in outside else entry for place, entry in enumerate(entries))


def spatial_shape(node: Node, layout: Layout, position: int = 0) -> Shape:
    return layout.sizes(shape_of(node.operand(position)))
