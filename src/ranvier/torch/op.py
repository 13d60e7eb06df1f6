"""The operator `neff::execute(Tensor[] inputs, Tensor neff, *, str signature) -> Tensor[]`.

Importing this module registers it; TorchScript files and exported programs that hold it load only
after that. `signature` says what a call returns, for tensors without data.
"""

from __future__ import annotations

import torch

from ranvier.torch.runtime import execute, execute_meta

SCHEMA = 'execute(Tensor[] inputs, Tensor neff, *, str signature="") -> Tensor[]'

LIBRARY = torch.library.Library("neff", "DEF")
LIBRARY.define(SCHEMA)
LIBRARY.impl("execute", execute, "CPU")
LIBRARY.impl("execute", execute_meta, "Meta")
