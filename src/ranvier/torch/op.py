"""The operators of compiled models.

`neff::execute(Tensor[] inputs, Tensor neff, *, str signature) -> Tensor[]` runs a program;
`signature` says what a call returns, for tensors without data. `neff::write` ends a call that
changes an input. Importing this module registers them; TorchScript files and exported programs that
hold them load only after that.
"""

from __future__ import annotations

import torch

from ranvier.torch.runtime import execute, execute_meta, write, write_meta

SCHEMAS = (
    'execute(Tensor[] inputs, Tensor neff, *, str signature="") -> Tensor[]',
    "write(Tensor(a!) target, Tensor value, Tensor[] others) -> ()",
)

LIBRARY = torch.library.Library("neff", "DEF")
for schema in SCHEMAS:
    LIBRARY.define(schema)
LIBRARY.impl("execute", execute, "CPU")
LIBRARY.impl("execute", execute_meta, "Meta")
LIBRARY.impl("write", write, "CPU")
LIBRARY.impl("write", write_meta, "Meta")
