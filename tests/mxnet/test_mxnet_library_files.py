"""The library is built once, when it is needed; fresh processes load compiled models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_symbols import CLOSE, NEFF, OP, W, X, expected, layer, needs_compiler, neff_of, whole
from mxnet_samples import Array, mx

import ranvier.mxnet.binding
from ranvier.backend.shared_library import NoLibrary, compiler
from ranvier.mxnet import library


@pytest.fixture(scope="module")
def neff(tmp_path_factory: pytest.TempPathFactory) -> Array:
    return neff_of(layer(), {"w": W}, {"data": X}, tmp_path_factory.mktemp("neff") / "a.neff")


@pytest.fixture
def content() -> dict[str, Any]:
    return whole(layer(), {"data": X}, expected())


# -- Building ---------------------------------------------------------------------------------

INCLUDE = Path(mx.__file__).parent / "include"


def fake_compiler(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_compiler
def test_the_library_is_built_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = compiler(".cc")[0]
    log = tmp_path / "calls"
    counting = fake_compiler(tmp_path / "c++", f'echo call >> {log}\nexec {real} "$@"')
    monkeypatch.setenv("CXX", counting)
    path = library.built(INCLUDE)
    assert library.built(INCLUDE) == path
    assert log.read_text().split() == ["call"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_compiler_that_fails_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "CXX", fake_compiler(tmp_path / "c++", "echo 'x.cc:1: error: no' >&2; exit 1")
    )
    with pytest.raises(NoLibrary, match="error: no"):
        library.built(INCLUDE)
    assert list(cache.rglob("*.so")) == []


def test_a_compiler_that_writes_no_library_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "c++", "exit 0"))
    with pytest.raises(NoLibrary):
        library.built(INCLUDE)
    assert list(cache.rglob("*.so")) == []


def test_no_compiler_and_no_header_say_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoLibrary, match=r"lib_api\.h"):
        library.built(cache)
    monkeypatch.setenv("CXX", "/nonexistent/c++ -O3")
    with pytest.raises(NoLibrary, match="/nonexistent/c"):
        library.built(INCLUDE)


# -- Other processes --------------------------------------------------------------------------


@pytest.fixture
def checkpoint(content: dict[str, Any], neff: Array, tmp_path: Path) -> Path:
    """A compiled model as MXNet's files; its input is in them too."""
    (tmp_path / "net-symbol.json").write_text(json.dumps(content))
    arrays = {f"arg:{NEFF}": mx.nd.array(neff, dtype="uint8"), "arg:data": mx.nd.array(X)}
    mx.nd.save(str(tmp_path / "net-0000.params"), arrays)
    return tmp_path


def python(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOAD = """
import numpy as np
import ranvier.mxnet
import mxnet as mx
symbol, args, aux = mx.model.load_checkpoint("net", 0)
outputs = symbol.bind(mx.cpu(), args, aux_states=aux).forward()
np.save("output", outputs[1].asnumpy())
symbol.save("again-symbol.json")
print(ranvier.mxnet.runtime.load_library())
outputs = symbol.bind(mx.cpu(), args).forward()  # nobody waits for these
"""


@needs_compiler
def test_a_checkpoint_runs_in_a_fresh_process(checkpoint: Path) -> None:
    assert python(LOAD, checkpoint).split()[-1] == "native"
    np.testing.assert_allclose(np.load(checkpoint / "output.npy"), X @ W.T, **CLOSE)


def test_a_checkpoint_runs_without_a_compiler(checkpoint: Path, content: dict[str, Any]) -> None:
    assert python(LOAD, checkpoint, CXX="/nonexistent").split()[-1] == "fallback"
    np.testing.assert_allclose(np.load(checkpoint / "output.npy"), X @ W.T, **CLOSE)
    again = json.loads((checkpoint / "again-symbol.json").read_text())["nodes"][-1]
    assert (again["op"], again["attrs"]) == (OP, content["nodes"][-1]["attrs"])
    assert len(again["subgraphs"]) == 1


def test_nothing_is_built_before_it_is_needed(tmp_path: Path) -> None:
    code = """
import ranvier.mxnet
import mxnet as mx
x = mx.sym.load_json((mx.sym.var("x") * 2).tojson())
print(x.bind(mx.cpu(), {"x": mx.nd.ones(1)}).forward()[0].asnumpy())
"""
    assert python(code, tmp_path).split()[-1] == "[2.]"
    assert not (tmp_path / "cache").exists()


def test_the_package_is_extended_once() -> None:
    assert ranvier.mxnet.binding.attach() is mx
    assert mx.symbol.load is mx.sym.load
