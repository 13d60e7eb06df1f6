"""Which operators of PyTorch run on a target, by the samples that PyTorch tests them with.

The samples are those of `torch.testing`'s database of operators, and a few of our own for what that
has no samples of. Each is a module of one call. It is imported as an exported program and as
TorchScript, which have other names for some operators; if it needs no host, then none of the
operators in its graph does.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree
from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import CodedError
from ranvier.importers.torch import import_graph, import_program
from ranvier.importers.torch.graph import STRUCTURAL
from ranvier.importers.torch.model import Imported
from ranvier.passes.analysis.dataflow import is_constant_source, main_block
from ranvier.passes.analysis.locations import framework_ops, framework_type
from ranvier.passes.target import Target
from ranvier.tools.support import Entry, Support, host_reasons_on

DTYPES = (torch.float32, torch.int32, torch.int64, torch.bool)
"""The first that an operator takes is that of its samples."""
TRIED = 4
"""Samples of an operator, until one needs no host."""
ATEN: Any = torch.ops.aten
APART = ("jiterator", "partial_views")
"""Compiles for GPUs alone; reads beyond its tensor."""

Call: TypeAlias = Callable[..., Any]
Form: TypeAlias = tuple[set[str], Callable[[], Imported]]
"""The operators of a graph, and its import."""


class OneCall(torch.nn.Module):
    """Calls a function with the tensors that it is given in their places among its arguments."""

    def __init__(self, function: Call, leaves: Sequence[Any], structure: Any) -> None:
        super().__init__()
        self.function = function
        self.leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.structure = structure

    def forward(self, *tensors: Tensor) -> Any:
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.structure)
        return self.function(*args, **kwargs)


Script: TypeAlias = "torch.jit.ScriptFunction[Any, Any]"
Sample: TypeAlias = "tuple[OneCall | Script, tuple[Tensor, ...]]"
"""A module of one call, or a script, and the tensors that it is called with."""


def one_call(function: Call, arguments: tuple[Any, Any]) -> Sample:
    """The module of a call with positional and named arguments, and its tensors."""
    leaves, structure = pytree.tree_flatten(arguments)
    inputs = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    module = OneCall(function, leaves, structure)
    return module.eval(), inputs


# -- Samples ----------------------------------------------------------------------------------


def databank(dtypes: Sequence[torch.dtype] = DTYPES) -> list[tuple[Any, torch.dtype]]:
    """The operators of PyTorch's database with the first element type that they take."""
    return [
        (op, next(dtype for dtype in dtypes if dtype in op.dtypes))
        for op in op_db
        if any(dtype in op.dtypes for dtype in dtypes)
        and not any(word in f"{op.name}.{op.variant_test_name}" for word in APART)
    ]


def drawn(op: Any, dtype: torch.dtype, count: int) -> list[Any]:
    """The first samples of an operator, from a fixed seed; none if it needs a GPU."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        # All of them: a generator that is left halfway switches modes of torch when it dies.
        return list(op.sample_inputs("cpu", dtype))[:count]
    except RuntimeError:
        return []


def spread(samples: Sequence[Any], count: int) -> list[tuple[int, Any]]:
    """At most `count` of the samples, with their places."""
    total = len(samples)
    places = sorted({total * place // count for place in range(count)}) if total else []
    return [(place, samples[place]) for place in places]


def in_place(function: Call) -> Call:
    """The call on a copy of its first operand: models write to values that they have made."""
    return lambda first, *args, **kwargs: function(first * 1, *args, **kwargs)


def calls() -> Iterator[list[Sample]]:
    """Samples of one operator after another."""
    for op, dtype in databank():
        yield from calls_of(op, dtype)
    yield from ([one_call(function, (args, {}))] for function, args in own())
    scripts: list[Script] = [torch.jit.script(of_a_dict), *written()]
    for script in scripts:
        sample: Sample = (script, (torch.rand(2, 3),))
        yield [sample]


def calls_of(op: Any, dtype: torch.dtype) -> Iterator[list[Sample]]:
    """Samples of an operator of the database, then of the one that writes to its operand."""
    samples = [sample for _, sample in spread(drawn(op, dtype, 20), TRIED)]
    arguments = [((sample.input, *sample.args), sample.kwargs) for sample in samples]
    yield [one_call(op.op, each) for each in arguments]
    if op.inplace_variant is not None:
        yield [one_call(in_place(op.inplace_variant), each) for each in arguments]


def own() -> Iterator[tuple[Call, tuple[Any, ...]]]:
    """Calls of operators that the database has in training only, or not at all."""
    x = torch.rand(2, 3, 4)
    for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        yield kind(4, 5, batch_first=True).eval(), (x,)
    yield torch.nn.RNN(4, 5, nonlinearity="relu").eval(), (x,)
    yield torch.nn.BatchNorm1d(3).eval(), (x,)
    yield torch.nn.InstanceNorm1d(3).eval(), (x,)
    for drop in (torch.dropout, torch.feature_dropout, torch.alpha_dropout):
        yield drop, (x, 0.5, False)
    yield torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 4)).eval(), (x,)
    yield torch.nn.Embedding(5, 4).eval(), (torch.tensor([[1, 3]]),)
    yield torch.nn.Embedding(5, 4, max_norm=0.5).eval(), (torch.tensor([[1, 3]]),)
    yield lambda i: torch.nn.functional.one_hot(i, 5), (torch.tensor([1, 3]),)
    yield lambda x: torch.nn.functional.conv2d(x, x[:1], padding="same"), (torch.rand(1, 2, 5, 5),)
    yield lambda x: x.reshape(x.size(0) * x.size(1), -1) / x.size(2), (x,)
    yield lambda x: torch.zeros(x.shape[1:], dtype=x.dtype) + x.numel() * x, (x,)
    yield lambda x: x + torch.arange(x.size(-1)).type_as(x), (x,)
    yield lambda x: x[0] + torch.eye(3, 4) + torch.full((3, 4), 2.0) + torch.ones_like(x[0]), (x,)
    yield lambda x: x @ torch.ones(4, 4).detach().t(), (x,)
    yield meshed, (x,)
    yield lambda x: {"double": 2 * x}, (x,)
    yield lambda x: x & 3, (torch.arange(4, dtype=torch.int32),)
    yield lambda x: x + ATEN._shape_as_tensor(x)[0], (x,)
    yield lambda x: torch.clip(x, 0.2, 0.5), (x,)
    yield lambda x: torch.searchsorted(x[0, 0], x), (x,)
    yield lambda x: torch.relu_(2 * x), (x,)
    yield lambda x: torch.nn.functional.hardtanh_(2 * x), (x,)
    image = torch.rand(1, 2, 6, 6)
    yield lambda x: ATEN.norm.ScalarOpt_dim(x, 2, [1], False), (x,)
    yield lambda x: ATEN.frobenius_norm.dim(x, [1], False), (x,)
    yield lambda x: ATEN.max_pool2d_with_indices(x, [2, 2])[0], (image,)
    yield lambda x: ATEN.max_pool3d_with_indices(x, [1, 2, 2])[0], (torch.rand(1, 2, 3, 4, 4),)
    yield lambda x: ATEN.reflection_pad2d(x, [1, 1, 1, 1]), (image,)
    yield lambda x: ATEN.upsample_nearest2d(x, [12, 12]), (image,)


def meshed(x: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(x[0, 0], x[0, 1], indexing="ij")
    return torch.stack([rows, columns]).sum(0)


def of_a_dict(x: Tensor) -> Tensor:
    total = x
    for value in {"half": x / 2, "double": 2 * x}.values():
        total = total + value
    return total


def written() -> Iterator[Script]:
    """Graphs of operators that no PyTorch makes any more."""
    native: Any = vars(torch)["_C"]
    for number in ("prim::ImplicitTensorToNum(%t)", "aten::dimension_value(%c)"):
        graph = native.parse_ir(f"""graph(%x : Tensor):
            %c : int = prim::Constant[value=3]()
            %t : Tensor = prim::NumToTensor(%c)
            %n : int = {number}
            %y : Tensor = aten::mul(%x, %n)
            return (%y)""")
        yield native._create_function_from_graph("forward", graph)


# -- Graphs -----------------------------------------------------------------------------------


def forms(module: OneCall | Script, inputs: tuple[Tensor, ...]) -> Iterator[Form]:
    """The graphs of a call, as far as PyTorch makes them."""
    if not isinstance(module, OneCall):
        graph: Any = module.inlined_graph
        yield {node.kind() for node in graph.nodes()}, lambda: import_graph(module, inputs)
        return
    try:
        exported = torch.export.export(module, inputs, strict=False)
        targets = [node.target for node in exported.graph.nodes]
        kinds = {op.name().partition(".")[0] for op in targets if isinstance(op, OpOverload)}
        yield kinds, lambda: import_program(exported)
    except Exception:  # torch's own, of many kinds
        pass
    try:
        script: Any = torch.jit.trace(module, inputs, check_trace=False, strict=False)
        kinds = {node.kind() for node in script.inlined_graph.nodes()}
        yield kinds, lambda: import_graph(script, inputs)
    except Exception:
        pass


def imported(make: Callable[[], Imported]) -> Imported | str:
    try:
        result = make()
    except CodedError as error:
        return f"{error.code.number}: {error}"
    reasons = [f"{reason.code.number}: {reason.text}" for reason in result.foreign.values()]
    return reasons[0] if reasons else result


def support(targets: Sequence[Target]) -> Support:
    """What becomes of each operator in the graphs of the samples."""
    found = Support()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about what it will remove
        for samples in calls():
            add_first(found, samples, targets)
    found.prove_ops()
    return found


def add_first(found: Support, samples: Sequence[Sample], targets: Sequence[Target]) -> None:
    """Place samples of one operator until one needs no host."""
    for module, inputs in samples:
        done = True
        for kinds, make in forms(module, inputs):
            if not all(is_known(found, kind, targets) for kind in kinds):
                add(found, kinds, imported(make), targets)
            done = done and all(is_known(found, kind, targets) for kind in kinds)
        if done:
            return


def is_known(found: Support, kind: str, targets: Sequence[Target]) -> bool:
    entry = found.operators.get(kind, Entry())
    return all(entry.why_host.get(target.name, "") is None for target in targets)


def add(found: Support, kinds: set[str], result: Imported | str, targets: Sequence[Target]) -> None:
    """Enter what became of a graph; why it needs a host is said of the one operator in it."""
    single = [kind for kind in kinds if kind not in STRUCTURAL]
    names = {} if isinstance(result, str) else ops_by_operator(result.module)
    for target in targets:
        if isinstance(result, str):
            reason: str | None = result
        else:
            reasons = host_reasons_on(target, result.module.clone(), constant=False)
            reason = next(iter(reasons.values()), None)
        if reason is not None and len(single) != 1:
            continue
        for kind in kinds if reason is None else single:
            entry = found.operators.setdefault(kind, Entry())
            known = entry.why_host.get(target.name, "") is None
            if not known and not (entry.ops and reason):
                entry.ops = sorted(names.get(kind) or names.get(kind.removesuffix("_")) or ())
            entry.add(target.name, reason)


def ops_by_operator(module: ModuleOp) -> dict[str, set[str]]:
    """The ops of `nn` that calls of an operator have become."""
    names: dict[str, set[str]] = {}
    block = main_block(module)
    for op in [] if block is None else list(block.ops)[:-1]:
        if not is_constant_source(op):
            for location in framework_ops(op):
                names.setdefault(framework_type(location), set()).add(op.name)
    return names
