"""What the tests of placement rules in the bridges share: a network, and what became of it.

`x @ ONE`, a tanh, `@ TWO`, a softmax; the first two in a module or scope `encoder`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.backend.neuron.neff.decode import Neff, load_neff

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((4, 8)).astype(np.float32)
ONE = RANDOM.standard_normal((8, 8)).astype(np.float32) / 3
TWO = RANDOM.standard_normal((8, 8)).astype(np.float32) / 3
# Operands and results are rounded to bf16, 2**-9 each, a few times in a row.
BF16 = 1e-2
# f32 sums of 8 products in another order.
F32 = 1e-5


def error(found: Any) -> float:
    """The largest difference from the network in f64."""
    hidden = np.tanh(X.astype(np.float64) @ ONE) @ TWO
    powers = np.exp(hidden - hidden.max(1, keepdims=True))
    wanted = powers / powers.sum(1, keepdims=True)
    return float(np.abs(np.asarray(found) - wanted).max())


def products_by_core(neff: Neff) -> dict[int, int]:
    """Issues of the array on each core: one for each product of a small model."""
    found: Counter[int] = Counter()
    for step in neff.steps:
        for core, body in enumerate(getattr(step.program, "cores", ())):
            for instruction, trips in body.instructions():
                if instruction.op.name == "nc.matmul":
                    found[core] += int(np.prod(trips))
    return dict(found)


def products_in(folder: Path) -> dict[int, int]:
    """Those of the one NEFF that a work directory has."""
    (path,) = folder.rglob("*.neff")
    return products_by_core(load_neff(path))


def write(folder: Path, rules: str) -> str:
    """The path of a file of rules."""
    path = folder / "placement.rules"
    path.write_text(rules)
    return str(path)
