"""What an op stands for: PyTorch's own kernels of composite ops and decompositions, and a few more.

An op that has no handler and that is defined by others is imported by its definition; all of that
carries the location of the one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, log, prod, sqrt
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ranvier.importers.torch.call import HANDLERS
from ranvier.importers.torch.schema import schema_of, short_name

aten: Any = torch.ops.aten

# PyTorch's own, beside those that lead to its core ops.
FURTHER = (aten._adaptive_avg_pool2d, aten.addmv, aten.dist, aten.native_batch_norm)


@dataclass(frozen=True)
class Definition:
    """A graph of calls that an op stands for, with the op's tensors as inputs, in order."""

    module: GraphModule
    inputs: Sequence[Node]
    calls: Sequence[Node]
    outputs: Sequence[Node | None]

    def constant(self, node: Node) -> Tensor:
        """The tensor of a `get_attr` node."""
        return getattr(self.module, str(node.target))


# -- Definitions that PyTorch has in its documentation only -----------------------------------


def log2(x: Tensor) -> Tensor:
    return torch.log(x) * (1 / log(2))


def log10(x: Tensor) -> Tensor:
    return torch.log(x) * (1 / log(10))


def exp2(x: Tensor) -> Tensor:
    return torch.exp(x * log(2))


def log1p(x: Tensor) -> Tensor:
    """`log(u) * x / (u - 1)` of `u = 1 + x`, which takes back what rounding did to `u`."""
    u = 1 + x
    exact = (u == 1) | torch.isinf(u)
    return torch.where(u == 1, x, torch.log(u) * torch.where(exact, 1, x / (u - 1)))


def expm1(x: Tensor) -> Tensor:
    """`2 t / (1 - t)` of `t = tanh(x / 2)` near 0, where `exp(x) - 1` would lose digits."""
    t = torch.tanh(x / 2)
    return torch.where(torch.abs(x) < 0.5, 2 * t / (1 - t), torch.exp(x) - 1)


def log_sigmoid(x: Tensor) -> Tensor:
    """`min(x, 0) - log(1 + exp(-|x|))`"""
    return torch.clamp(x, max=0) - torch.nn.functional.softplus(-torch.abs(x))


def var_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    axes = list(dim) if dim else list(range(x.dim()))
    count = prod(x.shape[axis] for axis in axes)
    centre = torch.mean(x, axes, keepdim=True)
    total = torch.sum(torch.square(x - centre), axes, keepdim=keepdim)
    divisor = max(0, count - (1 if correction is None else correction))
    return total / divisor, centre if keepdim else torch.mean(x, axes)


def var(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:  # fmt: skip
    return var_mean(x, dim, correction=correction, keepdim=keepdim)[0]


def addbmm(
    x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    product = torch.sum(torch.bmm(batch1, batch2), 0) * alpha
    return product + x * beta if beta else product


def bucketize(
    x: Tensor | float, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    return searchsorted(boundaries, x, out_int32=out_int32, right=right)


def searchsorted(
    edges: Tensor, x: Tensor | float, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The number of edges in front of each value; a NaN stands behind all of them."""
    if sorter is not None:
        edges = torch.gather(edges, -1, sorter)
    if isinstance(x, Tensor):
        edges = edges if edges.dim() == 1 else torch.unsqueeze(edges, -2)
        x = torch.unsqueeze(x, -1)
    after = edges > x if right or side == "right" else edges >= x
    count = torch.int32 if out_int32 else torch.int64
    return torch.sum(torch.logical_not(after), -1, dtype=count)


def embedding_renorm(w: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """The table with the rows that are looked up scaled down; a row of several look-ups is equal
    in all of them."""
    places = torch.reshape(indices, (-1,))
    rows = torch.renorm(torch.index_select(w, 0, places), norm_type, 0, max_norm)
    return torch.index_put(w, (places,), rows)


def native_attention(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_head: int,
    qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor,
    mask: Tensor | None = None, need_weights: bool = True, average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What `nn.MultiheadAttention` runs without gradients; a mask is True where nothing is read."""
    batch, heads = query.shape[0], (num_head, embed_dim // num_head)
    weights, biases = torch.chunk(qkv_weight, 3), torch.chunk(qkv_bias, 3)
    q, k, v = (
        torch.reshape(torch.nn.functional.linear(x, w, b), (batch, x.shape[1], *heads)).transpose(
            1, 2
        )
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    scores = torch.matmul(q / sqrt(heads[1]), k.transpose(2, 3))
    if mask is not None:
        of_keys = mask_type == 1 and mask.dim() == 2
        reads = mask[:, None, None, :] if of_keys else mask
        scores = torch.masked_fill(scores, reads, -inf)
    shares = torch.softmax(scores, -1)
    joined = torch.reshape(torch.matmul(shares, v).transpose(1, 2), query.shape)
    result = torch.nn.functional.linear(joined, proj_weight, proj_bias)
    if not need_weights:
        return result, result.new_zeros(0)
    return result, torch.mean(shares, 1) if average_attn_weights else shares


def encoder_layer(
    x: Tensor, embed_dim: int, num_heads: int, qkv_weight: Tensor, qkv_bias: Tensor,
    proj_weight: Tensor, proj_bias: Tensor, use_gelu: bool, norm_first: bool, eps: float,
    norm_weight_1: Tensor, norm_bias_1: Tensor, norm_weight_2: Tensor, norm_bias_2: Tensor,
    ffn_weight_1: Tensor, ffn_bias_1: Tensor, ffn_weight_2: Tensor, ffn_bias_2: Tensor,
    mask: Tensor | None = None, mask_type: int | None = None,
) -> Tensor:  # fmt: skip
    """What `nn.TransformerEncoderLayer` runs without gradients."""
    linear, norm = torch.nn.functional.linear, torch.nn.functional.layer_norm

    def attended(x: Tensor) -> Tensor:
        weights = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        settings = (mask, False, True, mask_type)
        return native_attention(x, x, x, embed_dim, num_heads, *weights, *settings)[0]

    def fed(x: Tensor) -> Tensor:
        hidden = linear(x, ffn_weight_1, ffn_bias_1)
        hidden = torch.nn.functional.gelu(hidden) if use_gelu else torch.relu(hidden)
        return linear(hidden, ffn_weight_2, ffn_bias_2)

    for step, weight, bias in (
        (attended, norm_weight_1, norm_bias_1),
        (fed, norm_weight_2, norm_bias_2),
    ):
        if norm_first:
            x = x + step(norm(x, (embed_dim,), weight, bias, eps))
        else:
            x = norm(x + step(x), (embed_dim,), weight, bias, eps)
    return x


OWN: dict[Any, Callable[..., Any]] = {
    aten._native_multi_head_attention.default: native_attention,
    aten._transformer_encoder_layer_fwd.default: encoder_layer,
    aten.addbmm.default: addbmm,
    aten.bucketize.Scalar: bucketize,
    aten.bucketize.Tensor: bucketize,
    aten.embedding_renorm.default: embedding_renorm,
    aten.exp2.default: exp2,
    aten.expm1.default: expm1,
    aten.log10.default: log10,
    aten.log1p.default: log1p,
    aten.log2.default: log2,
    aten.log_sigmoid_forward.default: lambda x: (log_sigmoid(x), x),
    aten.searchsorted.Scalar: searchsorted,
    aten.searchsorted.Tensor: searchsorted,
    aten.var.correction: var,
    aten.var_mean.correction: var_mean,
}


# -- Definitions as graphs --------------------------------------------------------------------


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """Definitions of the ops that have no handler, or one for a part of their forms."""
    core: dict[Any, Any] = {
        op: definition
        for op, definition in core_aten_decompositions().items()
        if short_name(op) not in HANDLERS
    }
    return core | get_decompositions(FURTHER) | OWN


def definition_of(
    op: OpOverload, arguments: Mapping[str, Any], mode: FakeTensorMode
) -> Definition | None:
    """The definition of an op for fake arguments; None if it is defined by itself."""
    flat, structure = pytree.tree_flatten(dict(arguments))
    places = [i for i, leaf in enumerate(flat) if isinstance(leaf, Tensor)]

    def run(*tensors: Tensor) -> list[Any]:
        filled = list(flat)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        given: dict[str, Any] = pytree.tree_unflatten(filled, structure)
        args = [given.pop(arg.name) for arg in schema_of(op).arguments if not arg.kwarg_only]
        return pytree.tree_leaves(op(*args, **given))

    try:
        with mode, torch.no_grad():
            traced = make_fx(run, decomposition_table=decompositions())(
                *(flat[place] for place in places)
            )
    except Exception:  # whatever a decomposition raises on fake tensors
        return None
    nodes = list(traced.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    calls = [node for node in nodes if node.op in ("call_function", "get_attr")]
    if any(node.target is op for node in calls):
        return None
    (outputs,) = nodes[-1].args
    return Definition(traced, inputs, calls, [o if isinstance(o, Node) else None for o in outputs])
