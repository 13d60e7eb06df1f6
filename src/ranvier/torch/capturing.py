"""From a model to a graph of aten ops without side effects.

Modules, bound methods, functions and ScriptModules all go through `torch.export`, and in-place ops
are undone, so that whatever follows sees one kind of graph. Composite ops stay whole.
"""

from __future__ import annotations

import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.fx import Graph, GraphModule, proxy
from torch.jit._recursive import wrap_cpp_module
from torch.utils import _pytree as pytree

from ranvier.dialects.diagnostics import CallerError, Code, CodedError
from ranvier.torch.node import describe, schema_of, source_of
from ranvier.torch.packed import packed_sequences_as_padded
from ranvier.torch.renormed import drop_writes_of_scaled_rows

_TORCH = Path(torch.__file__).parent
_OURS = Path(__file__).parent
_CAPTURING = threading.Lock()
_OF_SCRIPT = re.compile(
    r"TorchScript interpreter.*"
    r'File "(?P<file>[^"\n]+)", line (?P<line>\d+), in .*?'
    r"^\w+Error: ((?P<kind>GuardOnDataDependentSymNode): )?(?P<text>.+)",
    re.DOTALL | re.MULTILINE,
)
"""An error inside a script: the innermost line, what was raised and why."""
_OF_OUTPUT = re.compile(r"Found <class '(?:.*\.)?(?P<kind>\w+)'> in output")
"""An error about an object that the model returns."""

CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size")
"""Ops that only check what export has assumed."""

OF_SPARSE = ("values", "_values", "indices", "_indices", "crow_indices", "col_indices")
"""Parts of sparse tensors: as many elements as the data has, where export assumes none."""


class CaptureError(CodedError, RuntimeError):
    """The model has no one graph of static ops: what stands in the way, and where."""


@dataclass(frozen=True)
class Call:
    """Arguments of one call of the model."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in self.leaves() if isinstance(leaf, Tensor)]

    def leaves(self) -> list[Any]:
        return pytree.tree_leaves((self.args, dict(self.kwargs)))

    def map(self, change: Callable[[Tensor], Tensor]) -> Call:
        args, kwargs = pytree.tree_map_only(Tensor, change, (self.args, dict(self.kwargs)))
        return Call(args, kwargs)

    def copy(self) -> Call:
        """The same values in memory of their own: a model may write to its inputs."""
        return self.map(lambda tensor: tensor.detach().clone())


class Wrapped(nn.Module):
    """A module whose `forward` is some other function; `owner` keeps that one's parameters.

    Without an owner, tensors of the function are constants of the graph.
    """

    def __init__(self, function: Callable[..., Any], owner: nn.Module | None = None) -> None:
        super().__init__()
        self.owner = owner
        self.function = (function,)  # in a tuple, so that it is no submodule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function[0](*args, **kwargs)


def call_of(example_inputs: object, example_kwargs: Mapping[str, Any] | None = None) -> Call:
    """The example call. A tensor alone, and a list, stand for a tuple."""
    if isinstance(example_inputs, Tensor):
        args: tuple[Any, ...] = (example_inputs,)
    elif isinstance(example_inputs, tuple | list):
        args = tuple(example_inputs)
    elif example_inputs is None and example_kwargs:
        args = ()
    else:
        raise CallerError(
            Code.INPUT_TYPE,
            "example_inputs is a tensor, or a tuple or list of them, got "
            f"{type(example_inputs).__name__}",
        )
    call = Call(args, dict(example_kwargs or {}))
    for index, leaf in enumerate(call.leaves()):
        if not isinstance(leaf, Tensor):
            raise CallerError(
                Code.INPUT_TYPE,
                f"example input {index} is of type {type(leaf).__name__}: inputs are tensors, make "
                "others arguments of a wrapper",
            )
    if not call.tensors():
        raise CallerError(Code.INPUT_MISSING, "example_inputs holds no tensor")
    check_device("example input", dict(enumerate(call.tensors())))
    return call


def check_device(what: str, tensors: Mapping[Any, Tensor]) -> None:
    """Raises CallerError for a tensor that is not on the CPU."""
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu":
            raise CallerError(
                Code.INPUT_TYPE, f"{what} {name} is on {tensor.device}; move it to the CPU"
            )
        if tensor.layout != torch.strided:
            raise CallerError(Code.INPUT_TYPE, f"{what} {name} is {tensor.layout}, not strided")


def owner_of(model: object) -> nn.Module | None:
    """The module that a model is, or whose method it is."""
    if isinstance(model, nn.Module):
        return model
    owner = getattr(model, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def check_model(model: Callable[..., Any]) -> None:
    """Raises CallerError for what cannot be called, and for parameters that are not on the CPU."""
    if not callable(model):
        raise CallerError(
            Code.INPUT_TYPE, f"a model is a module or a function, got {type(model).__name__}"
        )
    if (owner := owner_of(model)) is not None:
        tensors = {**dict(owner.named_parameters()), **dict(owner.named_buffers())}
        check_device("parameter", tensors)


def module_of(model: Callable[..., Any]) -> nn.Module:
    """A module that export takes."""
    owner = owner_of(model)
    if isinstance(model, torch.jit.ScriptModule):
        # Under export a call of a scripted class ends at its Python method; this has no class.
        return Wrapped(wrap_cpp_module(getattr(model, "_c")).forward)
    if owner is not None and any(isinstance(m, torch.jit.ScriptModule) for m in owner.modules()):
        return Wrapped(model)  # whose parameters are no `nn.Parameter`s once they were loaded
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, MethodType) and owner is not None and model.__name__ == "forward":
        return owner
    return Wrapped(model, owner)


class WithoutGraphs:
    """A stream without the graph so far, which export prints when it meets values of tensors."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        is_graph = text.lstrip().startswith("def forward(self, arg0_1")
        return len(text) if is_graph else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def capture(model: Callable[..., Any], call: Call) -> GraphModule:
    """The model's graph for these shapes, with weights as attributes.

    Raises CaptureError if there is none, whatever the model itself raises, and CallerError.
    """
    check_model(model)
    module = module_of(model)
    call = call.copy()  # inputs of one memory would be captured as such
    with _CAPTURING, ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stream: Any = WithoutGraphs(sys.stderr)
        stack.enter_context(redirect_stderr(stream))
        stack.enter_context(torch.no_grad())
        stack.enter_context(packed_sequences_as_padded(module))
        stack.enter_context(shapes_as_constants())
        stack.enter_context(lines_of_function(module))
        try:
            exported = torch.export.export(module, call.args, dict(call.kwargs), strict=False)
            captured: Any = exported.run_decompositions({}).module(check_guards=False)
        except CodedError:
            raise
        except Exception as error:
            raise _explained(error) from error
    refuse_what_is_not_static(captured.graph)
    drop_writes_of_scaled_rows(captured)
    order_equals(captured.graph)
    captured.graph.eliminate_dead_code()
    # A module of its own drops the hooks that check constraints; programs check their inputs.
    return GraphModule(captured, captured.graph)


def order_equals(graph: Graph) -> None:
    """Let sorts keep the order of equal elements, as the machine does: PyTorch leaves it open, and
    what two devices make of it could not be compared."""
    aten: Any = torch.ops.aten
    stable = {aten.sort.default: aten.sort.stable, aten.argsort.default: aten.argsort.stable}
    for node in graph.nodes:
        if node.target in stable:
            given = dict(zip(("dim", "descending"), node.args[1:], strict=False))
            node.args, node.kwargs = node.args[:1], {"stable": True, **given, **node.kwargs}
            node.target = stable[node.target]


def refuse_what_is_not_static(graph: Graph) -> None:
    """Erase checks of what export has assumed. Raises CaptureError for what depends on values."""
    for node in reversed(graph.nodes):
        schema = schema_of(node)
        name = "" if schema is None else schema.name.partition("::")[2]
        if name in CHECKS:
            graph.erase_node(node)
        elif name in OF_SPARSE:
            raise CaptureError(
                Code.NODE_NOT_STATIC,
                f"{describe(node)} is of a sparse tensor: how many elements it has depends on the "
                "values of tensors, and a program is static",
            )
        elif isinstance(node.target, HigherOrderOperator):
            raise CaptureError(
                Code.NODE_NOT_STATIC,
                f"{source_of(node)}: {node.target.name()} chooses what to run by the values of "
                "tensors, and a program is static; compute all of it and choose with torch.where",
            )


@contextmanager
def lines_of_function(module: nn.Module) -> Generator[None]:
    """Let ops of a function keep its lines: export keeps those of methods called `forward`."""
    function: Any = module.function[0] if isinstance(module, Wrapped) else None
    function = getattr(function, "func", function)  # of functools.partial
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    anchors: set[tuple[str, str]] = getattr(proxy, "_STACK_TRACE_ANCHORS", set())
    added = {(code.co_filename, code.co_name)} - anchors if code is not None else set()
    anchors |= added
    try:
        yield
    finally:
        anchors -= added


@contextmanager
def shapes_as_constants() -> Generator[None]:
    """Let `_shape_as_tensor` give a constant: its kernel reads memory, which export has none of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced
        library: Any = torch.library.Library("aten", "IMPL")
        library.impl(
            "_shape_as_tensor", lambda x: torch.tensor(list(x.shape)), "CompositeImplicitAutograd"
        )
    try:
        yield
    finally:
        library._destroy()


def _explained(error: Exception) -> Exception:
    """An error of ours for one of export's; the model's own errors are passed on."""
    kind, text = type(error).__name__, str(error).strip()
    if scripted := _OF_SCRIPT.search(text):
        kind, text = scripted["kind"] or kind, scripted["text"]
    where = f"{scripted['file']}:{scripted['line']}: " if scripted else _place(error)
    first = text.split("\n", 1)[0]
    if kind == "GuardOnDataDependentSymNode":
        return CaptureError(
            Code.NODE_NOT_STATIC,
            f"{where}control flow or a size depends on the values of tensors, and a program is "
            f"static: {first}",
        )
    if returned := _OF_OUTPUT.search(text):
        return CaptureError(
            Code.MODEL_UNSUPPORTED,
            f"the model returns a {returned['kind']}, and what is traced returns tensors, and "
            "tuples, lists and dicts of them; models of transformers leave their cache out with "
            "use_cache=False in the config",
        )
    exporters = type(error).__module__.startswith(
        ("torch._dynamo", "torch._export", "torch.export")
    )
    if exporters or not _raised_by_model(error):
        return CaptureError(Code.MODEL_UNSUPPORTED, f"{where}the model cannot be traced: {first}")
    return error


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [f for f in frames if not Path(f.filename).is_relative_to(_TORCH)]


def _raised_by_model(error: Exception) -> bool:
    """Whether the innermost frame is neither of torch nor of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    last = Path(frames[-1].filename) if frames else _TORCH
    return not last.is_relative_to(_TORCH) and not last.is_relative_to(_OURS)


def _place(error: Exception) -> str:
    """`model.py:12: ` of the user's code, as far as it is known."""
    frames = [f for f in _user_frames(error) if not Path(f.filename).is_relative_to(_OURS)]
    frames = [f for f in frames if f.name in ("forward",)] or frames[-1:]
    return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
