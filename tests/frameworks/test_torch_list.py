"""Operators of the original's list that few models have: what each means, and that it runs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from imports import check, exported, ops_of, run, scripted, traced
from torch import Tensor, nn
from torch_models import EXACT, error

import ranvier.torch
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch import import_graph

# f32 sums in another order, and one rounding more where a row is scaled down.
F32 = 1e-5


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without what torch says of its own plans."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def on_the_machine(function: Callable[..., Any], *inputs: Tensor) -> None:
    """All of a function runs on the machine, and gives what eager torch does."""
    traced = ranvier.torch.trace(
        function, inputs, compiler_args=EXACT, fallback=False, minimum_segment_size=1
    )
    assert error(traced(*inputs), function(*inputs)) < F32


# -- Searches ---------------------------------------------------------------------------------

EDGES = torch.tensor([-1.0, 0.0, 0.0, 0.5, 2.0])
VALUES = torch.tensor([[-3.0, -1.0, 0.0], [0.25, 2.0, torch.nan], [-torch.inf, torch.inf, 0.5]])


@pytest.mark.parametrize("way", [exported, traced])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("out_int32", [False, True])
def test_buckets_count_the_edges_in_front(way: Any, right: bool, out_int32: bool) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return (
            torch.bucketize(x, EDGES, right=right, out_int32=out_int32),
            torch.searchsorted(EDGES, x, side="right" if right else "left", out_int32=out_int32),
            torch.searchsorted(EDGES, x[0, 0] * 0, right=right),
            torch.bucketize(1.5, x[0] * 1, right=right),
        )

    imported = way(function, [VALUES])
    check(imported, function, [VALUES])
    assert "nn.opaque" not in ops_of(imported.module)


def test_a_search_per_row_and_in_the_order_of_a_sorter() -> None:
    rows = torch.randn(4, 7)
    order = rows.argsort(1)

    def function(rows: Tensor, order: Tensor, x: Tensor) -> Tensor:
        return torch.searchsorted(rows, x, sorter=order)

    given = [rows, order, torch.randn(4, 3)]
    imported = exported(function, given)
    check(imported, function, given)
    assert "nn.opaque" not in ops_of(imported.module)


@pytest.mark.parametrize("right", [False, True])
def test_buckets_run_on_the_machine(right: bool) -> None:
    on_the_machine(lambda x: torch.bucketize(x, EDGES, right=right), torch.randn(4, 9))
    on_the_machine(
        lambda x: torch.bucketize(x, torch.tensor([2, 4, 7]), right=right), torch.arange(9)
    )


# -- Sizes and numbers ------------------------------------------------------------------------


class ScaledBySize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch._shape_as_tensor(x)[-1] + torch._shape_as_tensor(x).sum()


def test_a_shape_as_a_tensor_is_a_constant() -> None:
    x, model = torch.randn(2, 3), ScaledBySize().eval()
    for script in (torch.jit.script(model), torch.jit.trace(model, x)):
        check(import_graph(script, [x]), model, [x])
        on_the_machine(script.eval(), x)
    on_the_machine(model, x)


NUMBERS = {
    "prim::ImplicitTensorToNum": [
        "%d : int = prim::Constant[value=3]()", "%s : Tensor = prim::NumToTensor(%d)"
    ],
    "aten::dimension_value": [
        "%d : int = prim::Constant[value=0]()", "%s : int = aten::size(%x, %d)"
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_old_names_of_numbers(name: str) -> None:
    """No PyTorch that loads here makes them, so that their graphs are written down."""
    lines = [*NUMBERS[name], f"%n : int = {name}(%s)", "%y : Tensor = aten::mul(%x, %n)"]
    body = "".join(f"  {line}\n" for line in lines)
    graph = torch._C.parse_ir(f"graph(%x : Tensor):\n{body}  return (%y)")
    script = torch._C._create_function_from_graph("forward", graph)
    x = torch.randn(3, 2)
    check(import_graph(script, [x]), lambda x: 3 * x, [x])
    declared = {schema.name for schema in torch._C._jit_get_all_schemas()}
    assert name not in declared


# -- Values -----------------------------------------------------------------------------------


def of_a_dict(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    held = {"first": x, "second": 2 * x}
    held["third"] = x + 1
    held.update({"second": x - 1})
    total = torch.zeros_like(x)
    for value in held.values():
        total = total + value
    for key in held.keys():
        if key == "third":
            total = total * held[key]
    for _, value in held.items():
        total = total + 3 * value
    taken = held.pop("first")
    if "first" not in held and len(held) == 2:
        taken = taken * 5
    total = total + held.get("fourth", x)
    return total, taken, torch.cat(list(held.values()))


def of_a_list(x: Tensor) -> Tensor:
    held = [x, x + 1] * 2
    held[1] = 3 * x
    held.reverse()
    del held[0]
    other = held.copy()
    held.clear()
    return torch.cat(other + held)


@pytest.mark.parametrize("function", [of_a_dict, of_a_list])
def test_scripts_keep_tensors_in_dicts_and_lists(function: Callable[[Tensor], Any]) -> None:
    x = torch.randn(2, 3)
    check(scripted(function, [x]), function, [x])
    on_the_machine(torch.jit.script(function), x)


def test_a_key_that_a_dict_lacks_is_named_with_its_line() -> None:
    def function(x: Tensor) -> Tensor:
        held = {"first": x}
        return held["second"]

    with pytest.raises(ModelImportError, match=r"test_torch_list\.py:\d+\): KeyError: 'second'"):
        scripted(function, [torch.randn(2)])


def test_values_of_sparse_tensors_are_as_many_as_the_data_has() -> None:
    def function(x: Tensor) -> Tensor:
        return 2 * x.to_sparse().values()

    with pytest.raises(RuntimeError, match=r"aten::values.*test_torch_list\.py:\d+.*sparse"):
        ranvier.torch.trace(function, torch.eye(2))


# -- Tables whose rows are scaled down --------------------------------------------------------


class Scaled(nn.Module):
    """Two look-ups in one table, of rows in common."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4, max_norm=0.5, norm_type=norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.table(x) * 2 + self.table(y)


class Tied(nn.Module):
    """The product with the table sees which rows earlier calls have scaled down."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4, max_norm=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x) @ self.table.weight.t()


LOOKED_UP = [torch.tensor(each) for each in ([1, 3, 3], [2, 3, 0], [1, 5, 8])]


@pytest.mark.parametrize("norm", [1.0, 2.0, torch.inf])
def test_rows_are_scaled_down_as_they_are_looked_up(norm: float) -> None:
    model = Scaled(norm).eval()
    before = model.table.weight.detach().clone()
    traced = ranvier.torch.trace(
        model, (LOOKED_UP[0], LOOKED_UP[1]), compiler_args=EXACT, fallback=False
    )
    assert torch.equal(model.table.weight, before)
    assert not dict(traced.named_parameters())
    for x, y in zip(LOOKED_UP, LOOKED_UP[1:] + LOOKED_UP[:1]):
        assert error(traced(x, y), model(x, y)) < F32


def test_rows_of_a_table_with_other_readers_stay_scaled(tmp_path: Path) -> None:
    model = Tied().eval()
    eager = copy.deepcopy(model)
    traced = ranvier.torch.trace(model, LOOKED_UP[0], compiler_args=EXACT)
    traced.save(tmp_path / "tied.pt")
    loaded, again = torch.jit.load(tmp_path / "tied.pt"), copy.deepcopy(eager)
    for x in LOOKED_UP:
        assert error(traced(x), eager(x)) < F32
        assert error(loaded(x), again(x)) < F32


def test_an_exported_table_has_its_new_rows_as_a_result() -> None:
    model = nn.Embedding(9, 4, max_norm=0.5).eval()
    (x, *_), eager = LOOKED_UP, copy.deepcopy(model)
    exported = torch.export.export(model, (x,), strict=False)
    imported = ranvier.importers.torch.import_program(exported)
    rows, table = run(imported, [x])
    assert "nn.opaque" not in ops_of(imported.module)
    assert error(torch.from_numpy(rows), eager(x)) < F32
    assert error(torch.from_numpy(table), eager.weight.detach()) < F32
