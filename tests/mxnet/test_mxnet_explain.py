"""`ranvier explain` of symbols with ops that `nn` lacks, where MXNet says what they give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.importers.mxnet.params import write_params
from ranvier.mxnet.compat import import_mxnet

mx = import_mxnet()


def test_types_that_mxnet_infers_free_what_follows(tmp_path: Path) -> None:
    x = mx.sym.Variable("data")
    h = mx.sym.FullyConnected(x, num_hidden=16, name="dense")
    rao = mx.sym.khatri_rao(h, h, name="rao")
    mx.sym.tanh(mx.sym.sum(rao, axis=0, name="total"), name="y").save(
        str(tmp_path / "net-symbol.json")
    )
    params: dict[str, Any] = {
        "arg:dense_weight": np.ones((16, 8), np.float32),
        "arg:dense_bias": np.ones(16, np.float32),
    }
    write_params(tmp_path / "net-0000.params", params)
    words = ["explain", "net-symbol.json", "net-0000.params", "--shape", "data=2x8", "--json"]
    command = [sys.executable, "-m", "ranvier.tools", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(done.stdout)["ops"]}
    assert {name: row["placement"] for name, row in rows.items()} == {
        "dense": "neuron",
        "rao": "host",
        "total": "neuron",
        "y": "neuron",
    }
    assert rows["rao"]["reason"] == "nn has no khatri_rao"
    assert rows["rao"]["bytes_out"] == 4 * 16 * 4
