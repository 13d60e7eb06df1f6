"""Every operator's samples, compiled as symbols with parameters, against MXNet."""

from __future__ import annotations

import numpy as np
import pytest
from mxnet_samples import SAMPLES, Sample, mx

import ranvier.mxnet
from ranvier.mxnet import NDArray, sym


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_compiled_symbol_computes_what_mxnet_computes(sample: Sample) -> None:
    """The first variable is the input, the others are parameters."""
    arguments, states = sample.symbol.list_arguments(), sample.symbol.list_auxiliary_states()
    inputs = {arguments[0]: sample.arrays[arguments[0]]}
    symbol, args, aux = ranvier.mxnet.compile(
        sym.load_json(sample.symbol.tojson()),
        {name: NDArray(sample.arrays[name]) for name in arguments[1:]},
        {name: NDArray(sample.arrays[name]) for name in states},
        inputs,
        **{"--fast-math": "none"},
    )
    assert symbol.list_outputs() == sample.symbol.list_outputs()
    executor = symbol.bind(args={**args, **inputs}, aux_states=aux)
    arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in sample.arrays.items()}
    theirs = sample.symbol.bind(
        mx.cpu(),
        {name: arrays[name] for name in arguments},
        aux_states={name: arrays[name] for name in states},
    )
    for mine, wanted in zip(executor.forward(), theirs.forward(), strict=True):
        assert (mine.shape, mine.dtype) == (wanted.shape, wanted.dtype)
        # Both compute in f32, in other orders: sums of up to some hundred terms of about 1.
        np.testing.assert_allclose(mine.asnumpy(), wanted.asnumpy(), rtol=1e-4, atol=1e-5)
