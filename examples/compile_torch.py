"""Compile modules of PyTorch for a NeuronCore, save them, and run them beside PyTorch.

The one change to a script for torch-neuron is its import. `Gated` uses an op that the machine
lacks: it stays an op of PyTorch between two programs, and the explanation says so.

    python examples/compile_torch.py --output-dir compiled
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import ranvier.torch


class Network(nn.Module):
    """A small image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, stride=2, padding=1, groups=2),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).softmax(-1)


class Gated(nn.Module):
    """Dense layers around a special function."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.special.bessel_j0(torch.tanh(self.first(x)))
        return torch.tanh(self.second(gate * x))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile modules of PyTorch.")
    parser.add_argument("--output-dir", type=Path, default=Path("compiled"), metavar="DIR")
    folder: Path = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    models = {
        "network": (Network().eval(), torch.rand(4, 3, 32, 32)),
        "gated": (Gated().eval(), torch.rand(4, 64)),
    }
    for name, (model, example) in models.items():
        print(f"{name}\n{ranvier.torch.explain(model, example)}")
        traced = torch.neuron.trace(model, example, dynamic_batch_size=True)
        path = folder / f"{name}.pt"
        traced.save(path)
        loaded = torch.jit.load(path)
        batch = torch.rand(7, *example.shape[1:])
        with torch.no_grad():
            difference = (loaded(batch) - model(batch)).abs().max().item()
        print(f"a batch of 7 differs from fp32 by {difference:.4f} at most: {path}\n")


if __name__ == "__main__":
    main()
