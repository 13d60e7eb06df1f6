"""Attention of PyTorch: its definition, with the masks that its documentation describes."""

from __future__ import annotations

import numpy as np
import torch
from xdsl.dialects.builtin import i1
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import element_of, shape_of
from ranvier.importers.torch.call import Call, torch_op


@torch_op("scaled_dot_product_attention")
def import_attention(call: Call) -> SSAValue:
    """`softmax(q * scale . k' + mask) . v`"""
    if call["dropout_p"] or call.rank("query") < 2:
        call.refuse(f"a dropout of {call['dropout_p']} is random")
    query, key, value = call.tensor("query"), heads(call, "key"), heads(call, "value")
    rank, width = len(shape_of(key)), call.shape("query")[-1]
    scale = call.get("scale", width**-0.5)
    swapped = call.transpose(key, (*range(rank - 2), rank - 1, rank - 2))
    scaled = call.build(nn.MulOp(query, call.scalar(scale)))
    scores = call.build(nn.MatmulOp(scaled, swapped))
    return call.build(nn.MatmulOp(weights(call, scores), value))


def heads(call: Call, name: str) -> SSAValue:
    """Keys or values, each head repeated for its group of queries if `enable_gqa`."""
    value, shape, queries = call.tensor(name), call.shape(name), call.shape("query")
    if not call.get("enable_gqa", False) or shape[-3] == queries[-3]:
        return value
    times = queries[-3] // shape[-3]
    apart = call.reshape(value, (*shape[:-2], 1, *shape[-2:]))
    spread = call.broadcast(apart, (*shape[:-2], times, *shape[-2:]))
    return call.reshape(spread, (*shape[:-3], queries[-3], *shape[-2:]))


def weights(call: Call, scores: SSAValue) -> SSAValue:
    """The softmax of the scores that the mask leaves; 0 in a row of which it leaves none."""
    mask, axis = mask_of(call, scores), len(shape_of(scores)) - 1
    if mask is None:
        return call.build(nn.SoftmaxOp(scores, axis=axis))
    lowest = call.scalar(float(torch.finfo(call.result.dtype).min))
    if element_of(mask) == i1:
        scores, kept = call.build(nn.SelectOp(mask, scores, lowest)), mask
    else:
        scores = call.build(nn.AddOp(scores, mask))
        if leaves_something(call, mask):
            return call.build(nn.SoftmaxOp(scores, axis=axis))
        kept = call.build(nn.GreaterEqualOp(scores, lowest))
        scores = call.build(nn.MaxOp(scores, lowest))
    shares = call.build(nn.SoftmaxOp(scores, axis=axis))
    known = call.builder.constant_of(kept)
    if known is not None and known.any(-1).all():
        return shares
    return call.build(nn.SelectOp(kept, shares, call.scalar(0)))


def mask_of(call: Call, scores: SSAValue) -> SSAValue | None:
    if call["is_causal"]:
        queries, keys = shape_of(scores)[-2:]
        return call.constant(np.tri(queries, keys, dtype=np.bool_))
    mask = call.optional("attn_mask")
    return mask if mask is None or element_of(mask) == i1 else call.cast(mask)


def leaves_something(call: Call, mask: SSAValue) -> bool:
    """Whether the model fixes an added mask that is finite somewhere in every row."""
    known = call.builder.constant_of(mask)
    return known is not None and bool(np.isfinite(known.astype(np.float32)).any(-1).all())
