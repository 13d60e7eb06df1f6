"""The container: layout, determinism, and what a damaged or hostile file leads to."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Array
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser

from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.machine import Budget
from ranvier.backend.neuron.interpreter.runner import Runner, launcher
from ranvier.backend.neuron.neff import errors
from ranvier.backend.neuron.neff.container import BLOCK, PAGE, ustar_header
from ranvier.backend.neuron.neff.decode import Neff, load_neff
from ranvier.backend.neuron.neff.encode import write_neff
from ranvier.backend.neuron.neff.header import sealed
from ranvier.backend.reference import Executor
from ranvier.dialects import graph, nc, nn
from ranvier.dialects.diagnostics import CallerError, Code

MODULE = """
nn.weight @w : tensor<128x64xbf16> seed 1
nn.weight @same : tensor<128x64xbf16> seed 1
nn.weight @h : tensor<4xf32> splat 2.0
func.func @main(%x: tensor<128x32xf32> {ranvier.name = "in:0"})
    -> (tensor<2x64x32xf32> {ranvier.name = "y"}, tensor<i1>) {
  %a = graph.segment "pre" on "host" (%b = %x : tensor<128x32xf32>) -> (tensor<128x32xf32>) {
    %c = nn.constant dense<0.5> : tensor<1x1xf32>
    %d = nn.add %b, %c : tensor<128x32xf32>, tensor<1x1xf32> -> tensor<128x32xf32>
    graph.yield %d : tensor<128x32xf32>
  }
  %y = graph.launch @seg0(%a) : (tensor<128x32xf32>) -> tensor<2x64x32xf32>
  %h = nn.load_weight @h : tensor<4xf32>
  %m = nn.reduce_max %h {axes = array<i64: 0>, keepdims = false} : tensor<4xf32> -> tensor<f32>
  %o = nn.greater %m, %m : tensor<f32>, tensor<f32> -> tensor<i1>
  func.return %y, %o : tensor<2x64x32xf32>, tensor<i1>
}
nc.program @seg0 on "inf2" { nc.core 0 {
  %x = nc.tensor input 0 : !nc.dram<4096xf32>
  %w = nc.tensor weight @w : !nc.dram<8192xbf16>
  %v = nc.tensor weight @same : !nc.dram<8192xbf16>
  %y = nc.tensor output 0 : !nc.dram<4096xf32>
  %t = nc.alloc at 0 : !nc.dram<4096xbf16>
  %xs = nc.alloc at 0 : !nc.sbuf<128x32xbf16>
  %ws = nc.alloc at 64 : !nc.sbuf<128x64xbf16>
  %ys = nc.alloc at 192 : !nc.sbuf<64x32xf32>
  %p = nc.alloc at 0 : !nc.psum<64x32xf32>
  nc.dma dst = %t[0][1:4096] src = %x[0][1:4096]
  nc.dma dst = %xs[0:128][0][1:32] src = %t[0][1:4096]
  nc.loop 2 {
    nc.dma dst = %ws[0:128][0 + i0*0][1:64] src = %w[0 + i0*0][1:8192]
    nc.dma dst = %ws[0:1][0 + i0*0][1:64] src = %v[0 + i0*0][1:64]
    nc.matmul dst = %p[0:64][0 + i0*0][1:32] stationary = %ws[0:128][0 + i0*0][1:64]
      moving = %xs[0:128][0 + i0*0][1:32] {first_at = array<i64>}
    nc.activation dst = %ys[0:64][0 + i0*0][1:32] src = %p[0:64][0 + i0*0][1:32]
      {func = "relu", scale = 1.0 : f64}
    nc.dma dst = %y[0 + i0*2048][1:2048] src = %ys[0:64][0 + i0*0][1:32]
  }
} }
"""
UNLOWERED = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %r = graph.segment "s" on "neuron" (%a = %x : tensor<4xf32>) -> (tensor<4xf32>) {
    graph.yield %a : tensor<4xf32>
  }
  func.return %r : tensor<4xf32>
}
"""
X = np.random.default_rng(0).standard_normal((128, 32)).astype(np.float32)
CAPS = Budget(10_000, 5.0, 1 << 26)


def parsed(text: str = MODULE) -> ModuleOp:
    context = Context()
    for dialect in (Builtin, Func, nn.NN, graph.GRAPH, nc.NC):
        context.load_dialect(dialect)
    module = Parser(context, text).parse_module()
    module.verify()
    return module


def write(path: Path) -> bytes:
    flags, operators = ["--target=inf2"], {"before": 3, "after": 2}
    write_neff(parsed(), path, name="net", flags=flags, operators=operators, requested_cores=1)
    return path.read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("neff") / "net.neff")


def load(path: Path, data: bytes) -> Neff:
    path.write_bytes(data)
    return load_neff(path)


def run(neff: Neff) -> dict[str, Array]:
    return Runner(neff, budget=CAPS).run({"in:0": X})


def test_a_file_runs_as_its_module_does(tmp_path: Path, data: bytes) -> None:
    actual = run(load(tmp_path / "f.neff", data))
    module = parsed()
    expected = Executor(module, launch=launcher(module)).run({"in:0": X})
    assert list(actual) == list(expected) == ["y", "result1"]
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)
    weight = nn_weight().astype(np.float32)
    narrow = (X + np.float32(0.5)).astype(nn_weight().dtype).astype(np.float32)
    np.testing.assert_allclose(actual["y"][1], np.maximum(weight.T @ narrow, 0), atol=1e-4)


def nn_weight() -> Array:
    from ranvier.dialects.nn.materialize import Weights

    return Weights(parsed()).array("w")


def test_the_same_module_gives_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    assert write(tmp_path / "other-name.neff") == data
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}; from pathlib import Path; "
        "import test_neff_file; test_neff_file.write(Path('c.neff'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "c.neff").read_bytes() == data


def test_the_payload_is_a_tar_with_aligned_weights(data: bytes) -> None:
    archive = tarfile.open(fileobj=BytesIO(data[1024:]))
    members = archive.getmembers()
    names = [member.name for member in members if not member.name.startswith(".align")]
    assert names[0] == "manifest.json"
    assert names[1:] == sorted(names[1:])
    assert {"neff.json", "info.json", "metrics.json", "cpu00/program.json"} <= set(names)
    assert all(m.isreg() and (m.mtime, m.uid, m.gid, m.mode) == (0, 0, 0, 0o644) for m in members)
    weights = [member for member in members if "/weights-" in member.name]
    assert {(member.offset_data + 1024) % PAGE for member in weights} == {0}
    assert sum(member.size for member in weights) == 128 * 64 * 2 + 16
    manifest = json.loads(data[1536 : 1536 + members[0].size])
    assert manifest["aliases"] == {"same": "w"}


def test_published_readers_find_the_core_counts(data: bytes) -> None:
    cores, nodes = struct.unpack("168xI304xI64B", data[:544])[0], data[480:544]
    assert (cores, max(nodes)) == (1, 1)
    assert struct.unpack_from("<QQQQQ", data) == (1, 1024, len(data) - 1024, 1001, 0)
    assert data[172:204] == hashlib.sha256(data[1024:]).digest()
    assert data[220:224] == b"net\0"


def test_info_describes_the_file(tmp_path: Path, data: bytes) -> None:
    neff = load(tmp_path / "f.neff", data)
    report = neff.describe()
    assert (report["name"], report["target"], report["cores"]) == ("net", "inf2", 1)
    assert report["operators"] == {"before": 3, "after": 2}
    assert [port["name"] for port in report["inputs"]] == ["in:0"]
    assert neff.simulated_us > 0


def test_weights_are_not_copied(tmp_path: Path, data: bytes) -> None:
    neff = load(tmp_path / "f.neff", data)
    (step,) = [step for step in neff.steps if step.name == "seg0"]
    assert not step.weights["w"].flags.owndata
    assert not step.weights["w"].flags.writeable
    assert np.shares_memory(step.weights["w"], step.weights["same"])


@pytest.mark.parametrize(("name", "message"), [("x" * 256, "name"), ("a\nb", "name")])
def test_names_that_do_not_fit_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CallerError, match=message):
        write_neff(parsed(), tmp_path / "f.neff", name=name)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as caught:
        write_neff(parsed(), tmp_path / "missing" / "f.neff", name="net")
    assert caught.value.code == Code.FILE_UNWRITABLE
    unlowered = parsed(UNLOWERED)
    with pytest.raises(errors.NeffProgramError, match="lower-nn-to-nc"):
        write_neff(unlowered, tmp_path / "f.neff", name="net")
    assert not list(tmp_path.iterdir())


# -- Damage ---------------------------------------------------------------------------------------


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def resealed(data: bytes) -> bytes:
    """The file of an attacker who knows the layout: every hash is right again."""
    payload = hashlib.sha256(data[1024:]).digest()
    digest = bytearray(hashlib.sha256(b"ranvier-uuid" + payload).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    offset, size = struct.unpack_from("<QQ", data, 576)
    header = bytearray(data[:1024])
    header[172:204] = payload
    header[204:220] = digest
    header[592:624] = hashlib.sha256(data[offset : offset + size]).digest()
    return sealed(bytes(header)) + data[1024:]


def rewritten(data: bytes, change: Any) -> bytes:
    """The file with a changed manifest of the same size."""
    offset, size = struct.unpack_from("<QQ", data, 576)
    manifest = json.loads(data[offset : offset + size])
    change(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    assert len(text) <= size
    return resealed(patched(data, offset, text.ljust(size)))


@pytest.mark.parametrize(("damage", "error"), [
    (lambda d: d[:1000], errors.NeffSizeError),
    (lambda d: d[:-1], errors.NeffSizeError),
    (lambda d: d + b"\0", errors.NeffSizeError),
    (lambda d: patched(d, 8, struct.pack("<Q", 2048)), errors.NeffSizeError),
    (lambda d: patched(d, 16, struct.pack("<Q", 2**64 - 1)), errors.NeffSizeError),
    (lambda d: patched(d, 556, b"X"), errors.NeffMagicError),
    (lambda d: patched(d, 168, b"\2"), errors.NeffHeaderError),
    (lambda d: patched(d, 1023, b"\1"), errors.NeffHeaderError),
    (lambda d: sealed(patched(d, 1023, b"\1")[:1024]) + d[1024:], errors.NeffHeaderError),
    (lambda d: sealed(patched(d, 168, b"\x41")[:1024]) + d[1024:], errors.NeffHeaderError),
    (lambda d: sealed(patched(d, 220, b"\n")[:1024]) + d[1024:], errors.NeffHeaderError),
    (lambda d: sealed(patched(d, 568, b"\2")[:1024]) + d[1024:], errors.NeffVersionError),
    (lambda d: sealed(patched(d, 544, b"\1")[:1024]) + d[1024:], errors.NeffVersionError),
    (lambda d: sealed(patched(d, 24, b"\0")[:1024]) + d[1024:], errors.NeffHeaderError),
    (lambda d: sealed(patched(d, 584, b"\xff" * 8)[:1024]) + d[1024:], errors.NeffManifestError),
    (lambda d: patched(d, 1540, b"?"), errors.NeffManifestError),
    (lambda d: resealed(patched(d, 1536, b"[")), errors.NeffManifestError),
    (lambda d: resealed(patched(d, 1024, b"x")), errors.NeffMemberError),
    (lambda d: patched(d, d.index(b"RVPROGRM"), b"X"), errors.NeffProgramError),
    (lambda d: patched(d, len(d) - 3000, b"X" * 8), errors.NeffWeightsError),
])  # fmt: skip
def test_each_check_has_its_error(tmp_path: Path, data: bytes, damage: Any, error: type) -> None:
    with pytest.raises(errors.NeffError) as caught:
        load(tmp_path / "f.neff", damage(data))
    assert type(caught.value) is error
    assert caught.value.exit_status == (10 if error is errors.NeffVersionError else 1)


def test_a_version_mismatch_reads_as_the_runtimes(tmp_path: Path, data: bytes) -> None:
    other = patched(patched(data, 568, b"\2"), 24, struct.pack("<Q", 1002))
    with pytest.raises(errors.NeffVersionError) as caught:
        load(tmp_path / "f.neff", sealed(other[:1024]) + other[1024:])
    text = "NEFF version mismatch supported: 1001.0 received: 1002.0"
    assert str(caught.value).endswith(text)


def test_a_file_for_hardware_is_named_as_such(tmp_path: Path) -> None:
    real = bytearray(1024) + b"gzip"
    struct.pack_into("<QQQQQ", real, 0, 2, 1024, 4, 2, 0)
    with pytest.raises(errors.NeffMagicError, match=r"version 2, NEFF version 2\.0"):
        load(tmp_path / "f.neff", bytes(real))


def members(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return manifest["members"]


CHANGES: list[Any] = [
    lambda m: m.update(target="inf9"),
    lambda m: m.update(cores=2),
    lambda m: m.update(schema="other"),
    lambda m: m.update(format=[1, 1]),
    lambda m: m.update(format="1.0"),
    lambda m: m.update(aliases={}),
    lambda m: m.update(aliases=[]),
    lambda m: m.pop("compiler"),
    lambda m: members(m).pop(),
    lambda m: members(m).append(members(m)[0]),
    lambda m: members(m)[0].update(offset=0),
    lambda m: members(m)[0].update(size=-1),
    lambda m: members(m)[0].update(size=2**60),
    lambda m: members(m)[0].update(path="../x"),
    lambda m: members(m)[0].update(path="/etc/passwd"),
    lambda m: members(m)[0].update(path="a.so"),
    lambda m: members(m)[0].update(sha256=0),
    lambda m: members(m)[-1].update(sha256="0" * 64),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_lies_is_refused(tmp_path: Path, data: bytes, change: Any) -> None:
    with pytest.raises(errors.NeffError):
        load(tmp_path / "f.neff", rewritten(data, change))


def test_unknown_manifest_keys_are_ignored(tmp_path: Path, data: bytes) -> None:
    assert load(tmp_path / "f.neff", rewritten(data, lambda m: m.update(new=1))).cores == 1


def outcome(path: Path, data: bytes) -> dict[str, Array] | None:
    """What a file computes; None if it is refused with a typed error."""
    try:
        return run(load(path, data))
    except (errors.NeffError, MachineFault, CallerError):
        return None


def test_random_damage_is_refused(tmp_path: Path, data: bytes) -> None:
    generator = random.Random(3)
    expected = run(load(tmp_path / "f.neff", data))
    for _ in range(300):
        position = generator.randrange(len(data))
        changed = patched(data, position, bytes([generator.randrange(256)]))
        actual = outcome(tmp_path / "f.neff", changed)
        assert (actual is None) == (changed != data)
        if actual is not None:
            np.testing.assert_array_equal(actual["y"], expected["y"])


def with_member(data: bytes, name: str, change: Any) -> bytes:
    """The file with a changed member of the same size, and right hashes."""
    archive = tarfile.open(fileobj=BytesIO(data[1024:]))
    info = archive.getmember(name)
    start = 1024 + info.offset_data
    new = change(data[start : start + info.size])
    assert len(new) == info.size
    digest = hashlib.sha256(new).hexdigest()

    def update(manifest: dict[str, Any]) -> None:
        (entry,) = [entry for entry in members(manifest) if entry["path"] == name]
        entry["sha256"] = digest

    return rewritten(patched(data, start, new), update)


@pytest.mark.parametrize("name", [
    "neff.json", "info.json", "metrics.json",
    "sg00/def.json", "sg00/program.bin", "cpu00/program.json", "cpu01/program.json",
])  # fmt: skip
def test_members_that_lie_are_refused_or_harmless(tmp_path: Path, data: bytes, name: str) -> None:
    generator = random.Random(name)

    def change(member: bytes) -> bytes:
        position = generator.randrange(len(member))
        value = generator.choice(b'0129-[]{},:"ax\xff\0')
        return patched(member, position, bytes([value]))

    for _ in range(60):
        outcome(tmp_path / "f.neff", with_member(data, name, change))


def test_deep_or_doubled_json_is_refused(tmp_path: Path, data: bytes) -> None:
    def deep(member: bytes) -> bytes:
        half = len(member) // 2
        return (b"[" * half + b"]" * half).ljust(len(member))

    for name in ("neff.json", "sg00/def.json"):
        with pytest.raises(errors.NeffProgramError):
            load(tmp_path / "f.neff", with_member(data, name, deep))
    doubled = with_member(data, "info.json", lambda d: b'{"a":1,"a":1}'.ljust(len(d)))
    with pytest.raises(errors.NeffProgramError, match="twice"):
        load(tmp_path / "f.neff", doubled)


def test_hash_checks_of_weights_can_be_skipped(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = patched(data, len(data) - 3000, b"X" * 8)
    monkeypatch.setenv("NEURON_RT_VALIDATE_HASH", "false")
    assert load(tmp_path / "f.neff", changed).cores == 1
    with pytest.raises(errors.NeffProgramError):
        load(tmp_path / "f.neff", patched(data, data.index(b"RVPROGRM"), b"X"))


def test_a_missing_file_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as caught:
        load_neff(tmp_path / "none.neff")
    assert caught.value.code == Code.FILE_MISSING


def test_tar_headers_are_those_of_tarfile() -> None:
    info = tarfile.TarInfo("sg00/program.bin")
    info.size = 12345
    ours, theirs = ustar_header(info.name, info.size), info.tobuf(tarfile.USTAR_FORMAT)
    assert tarfile.TarInfo.frombuf(ours, "ascii", "strict").size == info.size
    assert len(ours) == BLOCK == len(theirs)
