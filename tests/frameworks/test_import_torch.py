"""The importer of PyTorch: both ways in, shared memory, types, names, and what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from imports import Function, check, exported, ops_of, run, scripted, traced
from torch import Tensor

from ranvier.backend.reference import Executor
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.weights import STORE
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch import import_graph, import_nodes, import_program, known_ops
from ranvier.importers.torch.opaque import run_opaque
from ranvier.importers.torch.types import array_of
from ranvier.passes.analysis.locations import framework_name, framework_ops, framework_type


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without what torch says of its own plans."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


BOTH = pytest.mark.parametrize("way", [exported, traced])


# -- Shared memory ----------------------------------------------------------------------------


def rows_first(x: Tensor) -> Tensor:
    y = x.clone()
    view = y.t()[1:, ::2]
    y[0].zero_()
    view.add_(10)
    y.mul_(2)
    return torch.cat([y.flatten(), view.flatten()])


def through_chains(x: Tensor) -> Tensor:
    y = x * 1
    y.view(2, 2, 4)[:, 1].transpose(0, 1).copy_(torch.ones(4, 2))
    return y


def backwards(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1::3] = y[:, :1]
    y[2, 1:] += y[1, :-1]
    return y


def of_an_input(x: Tensor) -> Tensor:
    x[1].add_(1)
    return x.relu_()


def views_of_views(x: Tensor) -> tuple[Tensor, ...]:
    y = x + 1
    one, two = y.split(2)
    three, four = y.unbind(1)[:2]
    two.fill_(7)
    four.sub_(three)
    return one, two, three, four, y.expand(2, 4, 4)


def masked(x: Tensor) -> Tensor:
    y = x.clone()
    y[y > 0] = 0
    y[torch.tensor([0, 2]), torch.tensor([1, 1])] = 5.0
    y.index_put_((torch.tensor([3, 3]),), torch.ones(4), accumulate=True)
    return y.masked_fill_(y < -1, -1)


def kept_types(x: Tensor) -> Tensor:
    y = x.to(torch.int32)
    y += 3
    return y.copy_(x)


SHARING = [
    rows_first, through_chains, backwards, of_an_input, views_of_views, masked, kept_types
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("function", SHARING)
def test_writes_to_shared_memory_are_undone(way: Function, function: Function) -> None:
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    check(way(function, [x]), function, [x])


def test_a_copy_shares_nothing() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        flat, other = x.t().reshape(-1), x.t().contiguous()
        flat.add_(1)
        return other, flat

    x = torch.randn(3, 4)
    for way in (exported, traced):
        check(way(function, [x]), function, [x])


def test_a_write_through_a_broadcast_is_refused() -> None:
    def function(x: Tensor) -> Tensor:
        view = x.expand(2, 3)
        view[0].add_(1)
        return view

    with pytest.raises(ModelImportError, match=r"add_.*writes to a tensor") as caught:
        traced(function, [torch.ones(1, 3).clone()])
    assert caught.value.code is Code.MODEL_UNSUPPORTED


class Counter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(3))
        self.calls: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_buffers_that_a_model_changes_are_results() -> None:
    x = torch.ones(3)
    for imported in (
        import_program(torch.export.export(Counter(), (x,))),
        import_graph(torch.jit.script(Counter()), [x]),
    ):
        ((mutation),) = imported.mutations
        assert (mutation.target, mutation.is_input) == ("calls", False)
        result, calls = run(imported, [x])
        np.testing.assert_array_equal(result, np.ones(3))
        np.testing.assert_array_equal(calls, np.ones(3))


def test_batch_norm_in_training_mode_changes_its_statistics() -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(4, 3, 5), torch.nn.BatchNorm1d(3).train()
    with pytest.raises(ModelImportError, match="call eval"):
        import_graph(torch.jit.script(layer), [x])
    imported = import_program(torch.export.export(layer, (x,)))
    targets = [mutation.target for mutation in imported.mutations]
    assert sorted(targets) == ["num_batches_tracked", "running_mean", "running_var"]
    if "nn.opaque" not in ops_of(imported.module):
        result, *changed = run(imported, [x])
        np.testing.assert_allclose(result, layer(x).detach().numpy(), rtol=1e-4, atol=1e-5)
        for target, value in zip(targets, changed, strict=True):
            np.testing.assert_allclose(value, layer.state_dict()[target].numpy(), rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_norm_without_statistics_takes_those_of_its_operand(batch: int) -> None:
    """As convolutions standardise their weights."""
    torch.manual_seed(0)
    x, scale = torch.randn(batch, 3, 5), torch.randn(3)

    def function(x: Tensor) -> Tensor:
        return torch.nn.functional.batch_norm(x, None, None, weight=scale, training=True)

    imported = traced(function, [x])
    assert "nn.opaque" not in ops_of(imported.module)
    np.testing.assert_allclose(run(imported, [x])[0], function(x).numpy(), rtol=1e-5, atol=1e-6)
    # What decompositions make of it.
    bias, legit = torch.ones(3), torch.ops.aten._native_batch_norm_legit.no_stats
    imported = traced(lambda x: legit(x, scale, bias, True, 0.1, 1e-5)[0], [x])
    assert "nn.opaque" not in ops_of(imported.module)
    np.testing.assert_allclose(run(imported, [x])[0], function(x).numpy() + 1, rtol=1e-5, atol=1e-6)


# -- Types ------------------------------------------------------------------------------------

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)


@pytest.mark.parametrize("other", [2, 1.5, True])
@pytest.mark.parametrize("dtype", [*TYPES, torch.bool])
def test_numbers_are_promoted_as_torch_does(dtype: torch.dtype, other: float) -> None:
    def function(x: Tensor) -> list[Tensor]:
        results = [x + other, x * other, x > other, x / other, torch.where(x > 0, x, other)]
        return results if other is True else [*results, x == other, torch.clamp(x + other, max=3)]

    x = torch.arange(6).reshape(2, 3).to(dtype)
    imported = exported(function, [x])
    for result, expected in zip(run(imported, [x]), function(x), strict=True):
        assert result.dtype == array_of(expected).dtype
        # bf16 keeps 8 bits, and numbers are rounded to it before, not after
        np.testing.assert_allclose(result.astype(np.float64), expected.double().numpy(), rtol=2**-7)


@pytest.mark.parametrize("second", TYPES)
@pytest.mark.parametrize("first", TYPES)
def test_tensors_are_promoted_as_torch_does(first: torch.dtype, second: torch.dtype) -> None:
    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        return [x + y, x * y[0, 0], x <= y, torch.maximum(x, y), torch.cat([x, y]), x.sum(0)]

    x, y = torch.ones(2, 3, dtype=first), torch.full((2, 3), 2, dtype=second)
    for result, expected in zip(run(exported(function, [x, y]), [x, y]), function(x, y)):
        np.testing.assert_array_equal(result, array_of(expected))
        assert result.dtype == array_of(expected).dtype


@BOTH
def test_structures_and_fixed_values_are_kept(way: Function) -> None:
    def function(x: Tensor) -> tuple[Any, ...]:
        values, places = torch.topk(x, 2)
        return (values, (places, x), torch.max(x, 1)[1], x.split([1, 3], 1)[0])

    x = torch.randn(3, 4)
    check(way(function, [x]), function, [x])


def test_numbers_and_none_are_returned_as_they_are() -> None:
    def function(x: Tensor) -> dict[str, Any]:
        return {"x": x, "n": x.shape[0], "nothing": None}

    imported = exported(function, [torch.ones(3, 2)])
    assert [(o.name, o.constant) for o in imported.outputs] == [
        ("inputs_0", None), (None, 3), (None, None)
    ]  # fmt: skip


# -- Scripts ----------------------------------------------------------------------------------


def test_scripts_run_what_shapes_decide() -> None:
    def function(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        parts = [y]
        if x.size(0) > 2 and x.dim() == 2:
            y = y + x.size(1)
        for step in range(3):
            y = y.relu() * (step + 1)
            parts.append(y)
        while len(parts) < 6:
            parts.append(x)
        parts = parts[1:]
        parts += [x, y]
        parts.pop()
        return torch.cat(parts, 1), y[:, -1]

    given = [torch.randn(3, 4), torch.randn(3, 4)]
    check(scripted(function, given), function, given)


def test_a_branch_on_values_is_refused_with_its_line() -> None:
    def function(x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return x
        return -x

    with pytest.raises(ModelImportError, match=r"test_import_torch\.py:\d+.*value of a tensor"):
        scripted(function, [torch.ones(2)])


def test_a_branch_on_what_is_not_in_nn_is_refused() -> None:
    def function(x: Tensor) -> Tensor:
        if bool(torch.nonzero(x).sum() > 0):
            return x
        return -x

    with pytest.raises(ModelImportError, match="which is not in nn"):
        scripted(function, [torch.ones(2)])


@pytest.mark.parametrize("freeze", [False, True])
def test_modules_of_modules(freeze: bool) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True)
    ).eval()
    x = torch.randn(2, 3, 5, 5)
    script = torch.jit.script(layers)
    check(import_graph(torch.jit.freeze(script) if freeze else script, [x]), layers, [x])


# -- Layers -----------------------------------------------------------------------------------

RECURRENT = [
    torch.nn.LSTM(3, 4, 2, bidirectional=True),
    torch.nn.LSTM(3, 4, bias=False, batch_first=True),
    torch.nn.GRU(3, 4, 2, bidirectional=True, batch_first=True),
    torch.nn.RNN(3, 4, nonlinearity="relu"),
]


@pytest.mark.parametrize("layer", RECURRENT)
def test_recurrent_layers_stay_whole(layer: torch.nn.Module) -> None:
    x = torch.randn(5, 2, 3)
    check(imported := exported(layer.eval(), [x]), layer, [x])
    assert any(name in ops_of(imported.module) for name in ("nn.lstm", "nn.gru", "nn.rnn"))


@pytest.mark.parametrize("kind", ["bool", "float", "empty row", "causal", "groups"])
def test_attention_with_masks(kind: str) -> None:
    def function(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v,
            None if kind in ("causal", "groups") else mask,
            is_causal=kind == "causal",
            enable_gqa=kind == "groups",
        )  # fmt: skip

    torch.manual_seed(0)
    heads = 2 if kind == "groups" else 4
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, heads, 6, 8), torch.randn(2, heads, 6, 8)
    mask = torch.rand(5, 6) > 0.4
    mask[:, 0] = True
    if kind == "empty row":
        mask[2] = False
    if kind == "float":
        mask = torch.where(mask, torch.randn(5, 6), -torch.inf)
        mask[3] = -torch.inf
    check(exported(function, [q, k, v, mask]), function, [q, k, v, mask])


# -- Names, weights, opaque ops ---------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(32, 64, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).relu()


def test_locations_name_module_op_and_line() -> None:
    x = torch.randn(2, 32)
    for imported in (
        import_program(torch.export.export(Net(), (x,))),
        import_graph(torch.jit.trace(Net(), (x,)), [x]),
    ):
        found = [op for op in imported.module.walk() if op.name in ("nn.gemm", "nn.relu")]
        parts = [part for op in found for part in framework_ops(op)]
        assert {framework_type(part) for part in parts} == {"aten::linear", "aten::relu"}
        linear = next(part for part in parts if framework_type(part) == "aten::linear")
        assert framework_name(linear).startswith("inner.0/")
        assert imported.nodes[framework_name(linear)] in framework_name(linear)
        assert 'test_import_torch.py":' in str(linear)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_share_memory_and_keep_their_names(dtype: torch.dtype) -> None:
    net = Net(dtype)
    imported = import_program(torch.export.export(net, (torch.randn(2, 32, dtype=dtype),)))
    weights = {op.symbol: op for op in imported.module.walk() if isinstance(op, nn.WeightOp)}
    assert set(weights) == {"inner.0.weight"}
    known = STORE.registered(str(weights["inner.0.weight"].sha256.data))
    assert known is not None
    array = known.array
    expected = {torch.bfloat16: ml_dtypes.bfloat16, torch.float16: np.float16}
    assert array.dtype == expected.get(dtype, np.float32)
    assert array.ctypes.data == net.inner[0].weight.data_ptr()


def test_what_nn_lacks_is_opaque_and_runs_as_in_torch() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.qr(x * 2)

    x = torch.randn(4, 3)
    imported = exported(function, [x])
    (op,) = [op for op in imported.module.walk() if isinstance(op, nn.OpaqueOp)]
    assert (op.framework.data, op.op_type.data) == ("PYTORCH", "aten::linalg_qr")
    results = run_opaque(op.op_type.data, op.version.value.data, op.settings.data, [array_of(x)])
    for result, expected in zip(results, torch.linalg.qr(x), strict=True):
        np.testing.assert_allclose(result, expected.numpy(), rtol=1e-6)


def test_composite_ops_are_imported_by_their_definition() -> None:
    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        return [
            torch.log1p(x * 1e-6), torch.expm1(x * 1e-6), torch.log2(x.abs() + 1), x.var(1),
            torch.nn.functional.cosine_similarity(x, y), torch.einsum("ab,cb->ac", x, y),
            torch.nn.functional.cross_entropy(x, y), torch.nn.functional.adaptive_avg_pool1d(x, 3),
        ]  # fmt: skip

    given = [torch.randn(4, 5), torch.randn(4, 5)]
    check(imported := exported(function, given), function, given)
    assert "nn.opaque" not in ops_of(imported.module)


def test_a_cubic_sample_over_a_border_stays_with_torch() -> None:
    def function(x: Tensor, grid: Tensor) -> Tensor:
        return torch.nn.functional.grid_sample(
            x, grid, "bicubic", padding_mode="border", align_corners=False
        )

    imported = exported(function, [torch.rand(1, 2, 5, 5), torch.rand(1, 3, 3, 2) * 3 - 1.5])
    assert "nn.opaque" in ops_of(imported.module)


def test_an_operand_that_is_written_to_need_not_come_first() -> None:
    imported = exported(lambda x: (x * 2).polygamma_(1) + 1, [torch.rand(4) + 1])
    assert ops_of(imported.module).count("nn.opaque") == 1


# -- What no module holds ---------------------------------------------------------------------


def test_shapes_that_depend_on_values_are_foreign() -> None:
    class Picks(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nonzero(x * 2).sum() + x.sum()

    x = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    imported = import_program(torch.export.export(Picks(), (x,)))
    assert {"nonzero", "sum_1"} < set(imported.foreign)
    assert "aten.nonzero" in imported.foreign["nonzero"].text
    arrays = Executor(imported.module).run({"x": x.numpy(), "sum_1": np.array(4)})
    assert float(arrays[str(imported.outputs[0].name)]) == 10
    assert any(np.array_equal(array, x.numpy() * 2) for array in arrays.values())


def test_lists_of_unknown_shapes_are_foreign_in_scripts() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        parts = torch.split(x[x > 0], 2)
        values, counts = torch.unique(x, return_counts=True)
        return parts[0] + 1, values * counts

    imported = import_graph(torch.jit.script(function), [torch.ones(4)])
    assert all(output.foreign in imported.foreign for output in imported.outputs)


def test_dynamic_dimensions_are_refused_by_name() -> None:
    dynamic = torch.export.Dim("batch")
    program = torch.export.export(Net(), (torch.randn(4, 32),), dynamic_shapes=({0: dynamic},))
    with pytest.raises(ModelImportError, match="dimension 0 of input 'x' is dynamic") as caught:
        import_program(program)
    assert caught.value.code is Code.SHAPE_UNKNOWN


def test_complex_inputs_are_refused() -> None:
    with pytest.raises(ModelImportError, match="'inputs_0' is a tensor of torch"):
        exported(lambda x: x * 2, [torch.ones(2, dtype=torch.complex64)])


def test_complex_values_inside_stay_with_torch() -> None:
    imported = exported(lambda x: torch.fft.rfft(x + 1).abs() * 2, [torch.randn(8)])
    assert list(imported.foreign) == ["fft_rfft", "abs_1"]


def test_control_flow_on_values_is_refused() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))

    with pytest.raises(ModelImportError, match="control flow that depends on values"):
        exported(function, [torch.ones(2)])


def test_parts_of_a_graph_are_modules_too() -> None:
    program = torch.export.export(Net().eval(), (x := torch.randn(2, 32),))
    nodes = {node.name: node for node in program.module().graph.nodes}
    linear, relu = nodes["linear"], nodes["relu"]
    weights = [node for node in nodes.values() if node.op == "get_attr"]
    first = import_nodes([*weights, linear], inputs=[nodes["x"]], outputs=[linear], state={})
    second = import_nodes([relu], inputs=[linear], outputs=[relu], state={})
    (middle,) = Executor(first.module).run({"x": x.numpy()}).values()
    (result,) = Executor(second.module).run({"linear": middle}).values()
    np.testing.assert_allclose(result, program.module()(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_every_handler_is_of_an_op_that_torch_has() -> None:
    missing = [op for op in known_ops() if not hasattr(torch.ops.aten, op.removeprefix("aten::"))]
    assert missing == []
