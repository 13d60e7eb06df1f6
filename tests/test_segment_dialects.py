"""`segment` on what is not of `nn`: regions, effects, tokens, dialects that nobody registered."""

from __future__ import annotations

import pytest
from test_segment import ToyTarget, segments_of
from xdsl.context import Context
from xdsl.dialects import get_all_dialects
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.parser import Parser

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.analysis.locations import op_name
from ranvier.passes.errors import PassError
from ranvier.passes.segment import segment


def parsed(text: str) -> ModuleOp:
    ctx = Context(allow_unregistered=True)
    for name, factory in get_all_dialects().items():
        ctx.register_dialect(name, factory)
    return Parser(ctx, text).parse_module()


def test_regions_and_effects_of_other_dialects():
    """An op that captures values keeps them; ops with effects keep their order."""
    text = """
    func.func @main(%p: i1, %x: f32, %m: memref<f32>) -> f32 {
      %a = arith.addf %x, %x : f32
      memref.store %a, %m[] : memref<f32>
      %b = "scf.if"(%p) ({
        %c = arith.mulf %a, %x : f32
        scf.yield %c : f32
      }, {
        scf.yield %x : f32
      }) : (i1) -> f32
      %d = memref.load %m[] : memref<f32>
      %e = arith.addf %b, %d : f32
      func.return %e : f32
    }
    """
    module = parsed(text)

    class Adder(ToyTarget):
        def why_unsupported(self, op: Operation) -> Reason | None:
            return None if op.name == "arith.addf" else Reason(Code.OP_NO_LOWERING, "no unit")

    segment(module, Adder())
    module.verify()
    order = [op.name for op in module.walk()]
    assert order.index("memref.store") < order.index("memref.load")
    assert [part.label.data for part in segments_of(module)] == ["seg0", "host0", "seg1"]
    branch = next(op for op in module.walk() if op.name == "scf.if")
    assert len(branch.parent_op().inputs) == 4  # p, x, a and m


UNREGISTERED = """
func.func @main(%t: !my.token, %x: tensor<4xf32>) -> (!my.token, tensor<4xf32>) {
  %k = "my.const"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
  %a, %b = "my.split"(%x, %k) : (tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>)
  %t1 = "host.send"(%t, %a) : (!my.token, tensor<4xf32>) -> !my.token
  %t2, %r = "host.receive"(%t1) : (!my.token) -> (!my.token, tensor<4xf32>)
  %u = "my.loop"(%r, %b) ({
  ^bb0(%q: tensor<4xf32>):
    %w = "my.add"(%q, %k) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    "my.yield"(%w, %a) : (tensor<4xf32>, tensor<4xf32>) -> ()
  }) {kind = "while"} : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  func.return %t2, %u : !my.token, tensor<4xf32>
}
"""


class Mine(ToyTarget):
    def why_unsupported(self, op: Operation) -> Reason | None:
        mine = op_name(op).startswith("my.")
        return None if mine else Reason(Code.OP_NO_LOWERING, "no unit")


def test_ops_of_dialects_that_nobody_registered():
    """Rules and reasons know them by name; regions, tokens and constants are as of any dialect."""

    def placed(rules: str) -> list[tuple[str, list[str]]]:
        module = parsed(UNREGISTERED)
        segment(module, Mine(), rules=rules)
        module.verify()
        return [
            (part.label.data, [op_name(op) for op in part.block.ops][:-1])
            for part in segments_of(module)
        ]

    assert placed("") == [
        ("seg0", ["my.const", "my.split"]),
        ("host0", ["host.send", "host.receive"]),
        ("seg1", ["my.const", "my.loop"]),
    ]
    assert placed('host my.loop where kind == "while" and operand[0].shape == [4]') == [
        ("seg0", ["my.const", "my.split"]),
        ("host0", ["host.send", "host.receive", "my.const", "my.loop"]),
    ]
    for rules, text in (
        ("host my.lop", "no op 'my.lop'; did you mean 'my.loop'"),
        ("neuron host.send", "rule line 1: host.send: no unit"),
    ):
        with pytest.raises(PassError, match=text):
            placed(rules)
