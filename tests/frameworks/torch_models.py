"""Small models of PyTorch for the tests of its bridge, and how far outputs are apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


class Net(nn.Module):
    """The module of the reference page."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Selects(nn.Module):
    """Work for the machine around a selection whose size depends on data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 4)
        self.tail = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        places = (x > 0.1).nonzero()
        chosen = x[places[:, 0], places[:, 1]]
        pooled = chosen.reshape(-1, 2, 4).sum(0) / 100
        ones = torch.zeros(places.shape[0]) + 1
        return self.head(x), (torch.relu(self.tail(pooled.flatten())), ones.sum())


class Bessel(nn.Module):
    """A special function, which the machine lacks, between two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x) * 2)
        x = torch.special.bessel_j0(x)
        return torch.tanh(self.second(x) * 2)


def classifier() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)]
    return nn.Sequential(*layers).eval()


EXACT = ["--fast-math", "none"]
"""Compiler arguments without casts, so that tolerances are those of f32 sums."""


def error(actual: Any, expected: Any) -> float:
    """The largest difference of any leaf over the largest element of that leaf."""
    pairs = zip(pytree.tree_leaves(actual), pytree.tree_leaves(expected), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
