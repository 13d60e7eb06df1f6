"""Models of the zoo as ONNX files and compiled programs, each made once."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import zoo
from measures import relative_error

import ranvier

Array = np.ndarray[Any, np.dtype[Any]]


class Models:
    """The zoo: ONNX files by both exporters of torch, their programs, and what to expect."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cache
    def file(self, name: str, exporter: str) -> Path:
        path = self._folder / f"{name}.{exporter}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own exporters
            zoo.export(name, path, exporter)
        return path

    @cache
    def program(self, name: str, exporter: str, fast_math: str = "all") -> ranvier.Program:
        """Compiled for one core; an op that would run on the host is an error."""
        path = self.file(name, exporter)
        return ranvier.compile(path, fast_math=(fast_math,), fallback="error")

    @cache
    def expected(self, name: str, exporter: str, seed: int) -> Array:
        session = onnxruntime.InferenceSession(self.file(name, exporter))
        return session.run(None, self.inputs(name, seed))[0]

    def inputs(self, name: str, seed: int) -> dict[str, Array]:
        return {key: value.numpy() for key, value in zoo.ZOO[name].inputs(seed).items()}

    @cache
    def bf16_error(self, name: str) -> float:
        """What bf16 costs this model in torch itself: the most of three inputs, which differ."""
        torch.manual_seed(0)
        zoo.declare_torchvision()
        module = zoo.ZOO[name].build().eval()
        given = [tuple(zoo.ZOO[name].inputs(seed).values()) for seed in (1, 2, 3)]
        with torch.no_grad():
            exact = [module(*inputs).numpy() for inputs in given]
            narrow = module.bfloat16()
            rounded = [narrow(*map(to_bf16, inputs)).float().numpy() for inputs in given]
        return max(map(relative_error, rounded, exact))


def to_bf16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16() if x.is_floating_point() else x
