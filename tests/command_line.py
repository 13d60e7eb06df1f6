"""What tests of the command line share: the command as a process, and models of a few nodes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]

RANVIER = [sys.executable, "-m", "ranvier.tools"]


def ranvier(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RANVIER, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def model_of(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Array],
    constants: dict[str, Array] | None = None,
    outputs: Sequence[str] = ("y",),
) -> ModelProto:
    element = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, element(a.dtype), a.shape) for n, a in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


X = np.random.default_rng(0).standard_normal((4, 8), np.float32)
W = np.random.default_rng(1).standard_normal((8, 8), np.float32)
