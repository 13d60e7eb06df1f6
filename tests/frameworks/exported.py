"""Models of the zoo as ONNX files, each made once, and as compiled programs.

Only the last programs are kept, so tests of a file should come model by model.
"""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import zoo
from measures import relative_error
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import ranvier

Array = np.ndarray[Any, np.dtype[Any]]


KEPT = 4
"""Programs that are kept: those of one model. With its machine one takes some 0.5 GB."""


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

    @lru_cache(maxsize=KEPT)
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
        module = zoo.ZOO[name].build().eval()
        given = [tuple(zoo.ZOO[name].inputs(seed).values()) for seed in (1, 2, 3)]
        with torch.no_grad():
            exact = [module(*inputs).numpy() for inputs in given]
            module.bfloat16().float()
            with Bf16():
                rounded = [module(*map(to_bf16, inputs)).numpy() for inputs in given]
        return max(map(relative_error, rounded, exact))


class Bf16(TorchDispatchMode):
    """Every op rounds its results to bf16 and computes in f32, as torch does in bf16.

    Where a processor has no bf16, convolutions in that type take torch minutes.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if args and out is args[0]:  # in place
            return out.copy_(to_bf16(out))
        return tree_map(to_bf16, out)


class Bf16Products(TorchDispatchMode):
    """Matrix products round their operands to bf16; sums and all other ops are in f32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            args = map(to_bf16, args)
        elif func is torch.ops.aten.addmm.default:
            args = (args[0], *map(to_bf16, args[1:]))
        return func(*args, **(kwargs or {}))


def to_bf16(x: Any) -> Any:
    """The value rounded, in f32; what is no float as it is."""
    rounds = isinstance(x, torch.Tensor) and x.dtype == torch.float32
    return x.bfloat16().float() if rounds else x
