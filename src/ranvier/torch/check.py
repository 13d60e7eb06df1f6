"""Does what was traced compute what the model computes?

Three questions, each answered by running: whether the captured graph gives the outputs of the model
itself, whether each program gives those of its ops on the CPU, and whether samples of a batch are
independent of each other, so that a batch of any size may be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.backends import mha
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ranvier.dialects.diagnostics import CallerError, Code, CodedError
from ranvier.program import Options
from ranvier.torch.capturing import Call
from ranvier.torch.node import attribute_of, describe
from ranvier.torch.partition import Partition, Segment

TOLERANCE = 1e-5
"""Of a captured graph, relative to the largest element, as in `torch.jit.trace`."""

CASTS = {"none": 1e-3, "matmult-fp16": 5e-2, "all-fp16": 5e-2}
NARROW = 0.1
"""Of a program, as root mean square relative to that of the tensor: by mode of casts, and for those
to bf16. Deep networks lose a few hundredths, a wrong layout or bias costs about 1."""

TIMES_TORCH = 4
"""A program whose error is larger may have this multiple of what bf16 costs in PyTorch itself."""

BATCH_TOLERANCE = 1e-3
"""Of one sample in batches of two sizes, whose products are summed in other orders."""


class TraceMismatchError(CodedError, RuntimeError):
    """A checked trace differs from the model."""


class Recorder(Interpreter):
    """Runs a graph and keeps some of its values, by node name."""

    def __init__(self, module: GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n.name in self.wanted:
            self.kept[n.name] = result.clone() if isinstance(result, Tensor) else result
        return result


def run_graph(
    module: GraphModule, call: Call, wanted: Sequence[Node] = ()
) -> tuple[list[Any], dict[str, Tensor]]:
    """The leaves of what a captured graph returns, and the values of some of its nodes."""
    recorder = Recorder(module, {node.name for node in wanted})
    with torch.no_grad():
        results = recorder.run(*call.copy().leaves(), enable_io_processing=False)
    return list(pytree.tree_leaves(results)), recorder.kept


def run_model(model: Callable[..., Any], call: Call) -> Any:
    """What the model returns, on copies of the arguments.

    As it is captured: PyTorch's fast path of attention without gradients writes zeros for padded
    positions, which the path with gradients computes.
    """
    copy = call.copy()
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            return model(*copy.args, **copy.kwargs)
    finally:
        mha.set_fastpath_enabled(fast)


def leaf_names(value: Any) -> list[str]:
    """`output`, `output[1]`, `output['logits']`: one per leaf."""
    leaves, _ = pytree.tree_flatten_with_path(value)
    return [f"output{pytree.keystr(path)}" for path, _ in leaves]


def check_captured(module: GraphModule, call: Call, expected: Any, tolerance: float) -> None:
    """Compare with what the model returns. Raises TraceMismatchError that names the first output
    that differs."""
    actual, _ = run_graph(module, call)
    pairs = zip(leaf_names(expected), actual, pytree.tree_leaves(expected), strict=True)
    for name, got, wanted in pairs:
        if not isinstance(wanted, Tensor):
            continue
        if (difference := difference_of(got, wanted, tolerance)) is not None:
            raise TraceMismatchError(
                Code.TRACE_MISMATCH,
                f"{name} of the trace differs from the model's: {difference}; does the model draw "
                "random numbers, or keep state in Python?",
            )


def difference_of(actual: Tensor, expected: Tensor, tolerance: float) -> str | None:
    """How two tensors differ, None if they do not: by more than a share of the largest element."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return (
            f"{actual.dtype} of {list(actual.shape)} instead of {expected.dtype} of "
            f"{list(expected.shape)}"
        )
    if not expected.is_floating_point():
        wrong = int((actual != expected).sum())
        return f"{wrong} of {expected.numel()} elements" if wrong else None
    largest, scale = error_of(actual, expected, torch.Tensor.amax)
    if largest <= tolerance * max(scale, 1e-30):
        return None
    return f"by {largest:.3g} where the largest element is {scale:.3g}; tolerance {tolerance:g}"


def error_of(
    actual: Tensor, expected: Tensor, norm: Callable[[Tensor], Tensor]
) -> tuple[float, float]:
    """Norms of the difference and of what is expected; equal infinities and NaN differ by 0."""
    if not expected.numel():
        return 0.0, 0.0
    actual, expected = actual.double(), expected.double()
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    huge = (actual.abs() > 3e38) & (expected.abs() > 3e38) & (actual.sign() == expected.sign())
    difference = torch.where(same | huge, 0.0, actual - expected).abs()
    difference = difference.nan_to_num(nan=torch.inf)
    finite = torch.where(huge | ~expected.isfinite(), 0.0, expected).abs()
    return float(norm(difference)), float(norm(finite))


def rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


# -- Programs ---------------------------------------------------------------------------------


def check_programs(
    partition: Partition,
    neffs: Sequence[Tensor],
    values: Mapping[str, Tensor],
    options: Options,
    tolerance: float | None,
) -> None:
    """Run each program on what its ops read. Raises TraceMismatchError for the first wrong value.

    `values` are those of the captured graph, by node name.
    """
    mode = options.cast_mode
    limit = max(CASTS.get(mode, NARROW), tolerance or 0.0)
    for segment, neff in zip(partition.segments, neffs, strict=True):
        inputs = [values[node.name] for node in segment.inputs]
        outputs: list[Tensor] = torch.ops.neff.execute(inputs, neff)
        for node, actual in zip(segment.outputs, outputs, strict=True):
            expected = values[node.name]
            if not expected.is_floating_point() and mode != "none":
                continue  # a rounded operand may move an index or a comparison
            error, scale = error_of(actual, expected, rms)
            narrow = expected.dtype in (torch.bfloat16, torch.float16)
            allowed = max(limit, NARROW if narrow else 0.0) * max(scale, 1e-30)
            if error > allowed and error > TIMES_TORCH * bf16_error(
                partition, segment, node, values
            ):
                raise TraceMismatchError(
                    Code.TRACE_MISMATCH,
                    f"the program differs from the CPU in the result of {describe(node)}: root "
                    f"mean square {error:.3g} of {scale:.3g}, tolerance {limit:g} with casts "
                    f"'{mode}'; a more exact mode is compiler_args=['--fast-math', 'none']",
                )


def bf16_error(
    partition: Partition, segment: Segment, wanted: Node, values: Mapping[str, Tensor]
) -> float:
    """What bf16 costs a value in PyTorch itself, as root mean square; 0 if it cannot say."""
    env: dict[Node, Any] = {node: narrow(values[node.name]) for node in segment.inputs}
    try:
        with torch.no_grad():
            for node in segment.nodes:
                if node.op == "get_attr":
                    env[node] = narrow(attribute_of(partition.module, node))
                else:
                    function: Any = node.target
                    args, kwargs = map_arg((node.args, node.kwargs), env.__getitem__)
                    env[node] = pytree.tree_map_only(Tensor, narrow, function(*args, **kwargs))
        return error_of(env[wanted], values[wanted.name], rms)[0]
    except (RuntimeError, TypeError, KeyError):  # not every op takes bf16 on the CPU
        return 0.0


def narrow(tensor: Any) -> Any:
    is_wide = isinstance(tensor, Tensor) and tensor.dtype == torch.float32
    return tensor.bfloat16() if is_wide else tensor


# -- Batches ----------------------------------------------------------------------------------


def why_batch_is_fixed(model: Callable[..., Any], call: Call) -> str | None:
    """Why dimension 0 cannot be cut, None if it can: samples do not affect each other.

    Found by running the model on the example beside other samples of the same kind.
    """
    sizes = {tensor.shape[0] if tensor.dim() else None for tensor in call.tensors()}
    if len(sizes) != 1 or None in sizes:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in call.tensors())
        return f"the inputs share no dimension 0: {shapes}"
    (size,) = sizes
    assert size is not None
    other = call.map(other_sample)
    both = Call(
        *pytree.tree_map(
            lambda a, b: torch.cat([a, b]) if isinstance(a, Tensor) else a,
            (call.args, dict(call.kwargs)),
            (other.args, dict(other.kwargs)),
        )
    )
    try:
        results = [run_model(model, each) for each in (call, other, both)]
    except Exception as error:  # whatever the model raises for another batch
        return f"the model does not take a batch of {2 * size}: {str(error).splitlines()[0]}"
    names = leaf_names(results[0])
    leaves = [pytree.tree_leaves(result) for result in results]
    if len({len(each) for each in leaves}) > 1:
        return "the structure of the outputs depends on the batch"
    for name, first, second, whole in zip(names, *leaves, strict=True):
        if not isinstance(first, Tensor) or not first.dim() or first.shape[0] != size:
            return f"{name} has no batch of {size} in dimension 0"
        if whole.shape[0] != 2 * size:
            return f"{name} has {whole.shape[0]} samples for a batch of {2 * size}"
        for part, alone in ((whole[:size], first), (whole[size:], second)):
            if difference_of(part, alone, BATCH_TOLERANCE) is not None:
                return f"samples of {name} depend on the other samples of a batch"
    return None


def other_sample(tensor: Tensor) -> Tensor:
    """A tensor of the same kind and other values, from those of the tensor itself."""
    flipped = tensor.flip(tuple(range(1, tensor.dim())) or (0,))
    if tensor.is_floating_point() and torch.equal(flipped, tensor):
        return tensor * 0.5
    return flipped


def check_batch(partition: Partition, batch: int) -> None:
    """Raises CallerError if the batch is not dimension 0 of all that a program takes and gives."""
    for segment in partition.segments:
        for node in (*segment.inputs, *segment.outputs):
            shape = node.meta["val"].shape
            if not shape or shape[0] != batch:
                raise CallerError(
                    Code.OPTION_INVALID,
                    f"dynamic_batch_size: {describe(node)} is between segments and has the shape "
                    f"{list(shape)}, without the batch of {batch} in dimension 0",
                )
