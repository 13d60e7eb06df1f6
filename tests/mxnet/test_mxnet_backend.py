"""Symbols that MXNet binds while the subgraph backend is enabled, against MXNet itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_samples import SAMPLES, Array, S, Sample, mx

import ranvier.mxnet
from ranvier.dialects.diagnostics import CallerError, CodedError
from ranvier.mxnet.neuron_op import live_states

OP = "_neuron_subgraph_op"
RANDOM = np.random.default_rng(9)
# Sums of up to some hundred products of about 1 in f32, in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(autouse=True)
def _backend() -> Iterator[None]:
    ranvier.mxnet.enable_subgraph_backend(fast_math=("none",))
    yield
    ranvier.mxnet.disable_subgraph_backend()


def operators(executor: Any) -> list[str]:
    """What is bound, without variables; `Custom` is ours where there is no library."""
    nodes = json.loads(executor._symbol.tojson())["nodes"]
    return [node["op"] for node in nodes if node["op"] != "null"]


def of_mxnet(symbol: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
    ranvier.mxnet.disable_subgraph_backend()
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", **shapes)
    ranvier.mxnet.enable_subgraph_backend(fast_math=("none",))
    return executor


def fill(executors: Sequence[Any]) -> None:
    """The same random values in the arrays of both; variances are positive."""
    for name, array in {**executors[0].arg_dict, **executors[0].aux_dict}.items():
        values = RANDOM.random(array.shape) + 0.1
        for executor in executors:
            {**executor.arg_dict, **executor.aux_dict}[name][:] = mx.nd.array(values)


def assert_same(ours: Any, theirs: Any) -> None:
    for mine, want in zip(ours.forward(), theirs.forward(), strict=True):
        assert mine.dtype == want.dtype
        np.testing.assert_allclose(mine.asnumpy(), want.asnumpy(), **CLOSE)


def network() -> Any:
    x = S.Convolution(S.var("data"), kernel=(3, 3), stride=(2, 1), num_filter=6, name="conv/a:0")
    x = S.Activation(S.BatchNorm(x, fix_gamma=False, name="norm"), act_type="relu")
    return S.Group([S.FullyConnected(x, num_hidden=5, name="fc"), x])


SHAPES = {"data": (2, 3, 9, 8)}


def test_a_whole_symbol_becomes_one_op() -> None:
    symbol = network()
    ours, theirs = symbol.simple_bind(mx.cpu(), **SHAPES), of_mxnet(symbol, SHAPES)
    assert operators(ours) == [OP]
    assert list(ours.arg_dict) == symbol.list_arguments()
    assert list(ours.aux_dict) == symbol.list_auxiliary_states()
    assert list(ours.output_dict) == symbol.list_outputs()
    fill((ours, theirs))
    assert_same(ours, theirs)


@pytest.mark.parametrize("sample", SAMPLES[::7], ids=lambda sample: sample.name)
def test_an_op_bound_with_its_arrays_computes_what_mxnet_computes(sample: Sample) -> None:
    results: list[list[Array]] = []
    for enabled in (True, False):
        if not enabled:
            ranvier.mxnet.disable_subgraph_backend()
        arrays = {k: mx.nd.array(v, dtype=v.dtype) for k, v in sample.arrays.items()}
        executor = sample.symbol.bind(
            mx.cpu(),
            [arrays[name] for name in sample.symbol.list_arguments()],
            aux_states=[arrays[name] for name in sample.symbol.list_auxiliary_states()],
        )
        assert (operators(executor) == [OP]) == enabled
        results.append([output.asnumpy() for output in executor.forward()])
    for mine, want in zip(*results, strict=True):
        assert mine.dtype == want.dtype
        np.testing.assert_allclose(mine, want, **CLOSE)


def test_half_floats_stay_half_floats() -> None:
    symbol = S.Activation(S.var("x") * 3, act_type="relu")
    executor = symbol.simple_bind(mx.cpu(), type_dict={"x": "float16"}, x=(2, 5))
    assert operators(executor) == [OP]
    values = RANDOM.standard_normal((2, 5)).astype(np.float16)
    (output,) = executor.forward(x=mx.nd.array(values, dtype="float16"))
    np.testing.assert_array_equal(output.asnumpy(), np.maximum(values * np.float16(3), 0))


def test_weights_may_come_and_change_after_the_bind(caplog: pytest.LogCaptureFixture) -> None:
    symbol = network()
    with caplog.at_level(logging.INFO, "ranvier"):
        ours, theirs = symbol.simple_bind(mx.cpu(), **SHAPES), of_mxnet(symbol, SHAPES)
        assert "compiling" not in caplog.text

        def compilations() -> int:
            count = sum(record.msg.startswith("compiling for") for record in caplog.records)
            caplog.clear()
            return count

        fill((ours, theirs))
        assert_same(ours, theirs)
        assert compilations() == 1
        ours.arg_dict["data"][:] = theirs.arg_dict["data"][:] = -0.5
        assert_same(ours, theirs)
        assert compilations() == 0
        weight = mx.nd.array(RANDOM.standard_normal((6, 3, 3, 3)))
        for executor in (ours, theirs):
            executor.copy_params_from({"conv/a:0_weight": weight})
        assert_same(ours, theirs)
        assert compilations() == 1
        ours.aux_dict["norm_moving_var"][:] = theirs.aux_dict["norm_moving_var"][:] = 2
        assert_same(ours, theirs)
        assert compilations() == 1
        ours.copy_params_from({"conv/a:0_weight": weight})  # written, and the same
        assert_same(ours, theirs)
        assert compilations() == 0


def test_weights_that_numpy_shares_may_be_written() -> None:
    """MXNet does not count these writes."""
    shared = RANDOM.standard_normal((40, 30)).astype(np.float32)
    written = shared[:]  # MXNet makes only the array itself read-only
    symbol = S.FullyConnected(S.var("data"), S.var("w"), num_hidden=40, no_bias=True)
    arrays = {"data": mx.nd.ones((2, 30)), "w": mx.nd.from_numpy(shared, zero_copy=True)}
    executor = symbol.bind(mx.cpu(), arrays)
    for factor in (1, 2):
        written *= factor
        (output,) = executor.forward()
        # Products with bf16: 30 terms of about 1, each to 8 bits.
        np.testing.assert_allclose(output.asnumpy()[0], shared.sum(1), rtol=0.02, atol=0.1)


def test_training_is_refused() -> None:
    executor = network().simple_bind(mx.cpu(), **SHAPES)
    with pytest.raises(CallerError, match="training is not supported"):
        executor.forward(is_train=True)


def test_a_module_predicts_and_does_not_fit() -> None:
    symbol = S.SoftmaxOutput(
        S.FullyConnected(S.var("data"), num_hidden=5, name="fc"), name="softmax"
    )
    images = RANDOM.random((10, 7)).astype(np.float32)
    data = mx.io.NDArrayIter(images, RANDOM.integers(0, 5, 10).astype(np.float32), batch_size=4)
    module = mx.mod.Module(symbol)
    module.bind(data.provide_data, data.provide_label, for_training=False)
    module.init_params()
    weights = {name: array.asnumpy() for name, array in module.get_params()[0].items()}
    logits = images @ weights["fc_weight"].T + weights["fc_bias"]
    exponents = np.exp(logits)
    want = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(module.predict(data).asnumpy(), want, **CLOSE)
    data.reset()
    with pytest.raises(CallerError, match="training is not supported"):
        mx.mod.Module(symbol).fit(data, num_epoch=1)


def test_an_executor_takes_another_shape() -> None:
    symbol = network()
    shapes = {"data": (1, *SHAPES["data"][1:])}
    bound = (symbol.simple_bind(mx.cpu(), **SHAPES), of_mxnet(symbol, SHAPES))
    fill(bound)
    ours, theirs = bound[0].reshape(**shapes), bound[1].reshape(**shapes)
    ours.arg_dict["data"][:] = theirs.arg_dict["data"][:] = 0.3
    assert_same(ours, theirs)


def test_states_of_a_recurrent_op_are_data(caplog: pytest.LogCaptureFixture) -> None:
    symbol = S.RNN(S.var("data"), state_size=4, num_layers=1, mode="lstm", name="lstm")
    arrays = {
        "data": mx.nd.array(RANDOM.standard_normal((3, 2, 5))),
        "lstm_parameters": mx.nd.array(RANDOM.standard_normal(4 * 4 * (5 + 4 + 2))),
        "lstm_state": mx.nd.zeros((1, 2, 4)),
        "lstm_state_cell": mx.nd.zeros((1, 2, 4)),
    }
    ours = symbol.bind(mx.cpu(), arrays)
    ranvier.mxnet.disable_subgraph_backend()
    theirs = symbol.bind(mx.cpu(), arrays)
    with caplog.at_level(logging.INFO, "ranvier"):
        for _ in range(3):
            arrays["lstm_state"][:] = mx.nd.array(RANDOM.standard_normal((1, 2, 4)))
            assert_same(ours, theirs)
    assert caplog.text.count("compiling for") == 1


def test_data_that_says_its_own_shape_is_no_constant(caplog: pytest.LogCaptureFixture) -> None:
    symbol = S.FullyConnected(S.var("image", shape=(2, 6)), num_hidden=3, name="fc")
    ours, theirs = symbol.simple_bind(mx.cpu()), of_mxnet(symbol, {})
    fill((ours, theirs))
    with caplog.at_level(logging.INFO, "ranvier"):
        for value in range(4):
            ours.arg_dict["image"][:] = theirs.arg_dict["image"][:] = value
            assert_same(ours, theirs)
    assert caplog.text.count("compiling for") == 2


def test_states_go_with_their_executors() -> None:
    symbol = S.var("x") * 2
    mx.nd.waitall()
    before = len(live_states())
    executors = [symbol.simple_bind(mx.cpu(), x=(2, 3)) for _ in range(3)]
    assert len(live_states()) >= before + 3 or operators(executors[0]) == ["Custom"]
    del executors
    mx.nd.waitall()
    assert len(live_states()) == before


def test_a_symbol_with_an_op_that_ranvier_lacks_stays_with_mxnet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    symbol = S.Correlation(S.var("x") * 2, S.var("y"), name="corr/1")
    ours = symbol.simple_bind(mx.cpu(), x=(1, 3, 8, 8), y=(1, 3, 8, 8))
    assert "Correlation" in operators(ours)
    assert "operators that stay with MXNet: Correlation 'corr/1'" in caplog.text
    theirs = of_mxnet(symbol, {"x": (1, 3, 8, 8), "y": (1, 3, 8, 8)})
    fill((ours, theirs))
    assert_same(ours, theirs)


def divided() -> Any:
    """Two outputs, and what ranvier has before and after an operator that it lacks."""
    x = S.Convolution(S.var("data"), kernel=(3, 3), num_filter=4, name="first")
    x = S.Activation(S.BatchNorm(x, fix_gamma=False, name="norm"), act_type="relu")
    y = S.Correlation(x, x * 2, pad_size=1, name="corr")
    y = S.BatchNorm(S.Convolution(y, kernel=(1, 1), num_filter=3, name="last"), name="late")
    return S.Group([S.SoftmaxOutput(S.FullyConnected(y, num_hidden=5), name="softmax"), x])


@pytest.mark.parametrize("how", ["simple", "dict", "list"])
def test_operators_that_ranvier_lacks_stay_between_the_others(how: str) -> None:
    symbol = divided()
    ours, theirs = symbol.simple_bind(mx.cpu(), **SHAPES), of_mxnet(symbol, SHAPES)
    fill((ours, theirs))
    if how == "dict":
        ours = symbol.bind(mx.cpu(), ours.arg_dict, aux_states=ours.aux_dict)
    if how == "list":
        ours = symbol.bind(mx.cpu(), ours.arg_arrays, aux_states=ours.aux_arrays)
    assert operators(ours) == [OP, "Correlation", OP]
    for kind in ("arg_dict", "aux_dict"):
        mine, want = getattr(ours, kind), getattr(theirs, kind)
        assert [(n, a.shape) for n, a in mine.items()] == [(n, a.shape) for n, a in want.items()]
    assert list(ours.output_dict) == symbol.list_outputs()
    assert_same(ours, theirs)
    ours.arg_dict["last_weight"][:] = theirs.arg_dict["last_weight"][:] = -0.2
    ours.aux_dict["norm_moving_var"][:] = theirs.aux_dict["norm_moving_var"][:] = 3
    assert_same(ours, theirs)


def test_a_module_gives_each_weight_of_a_divided_symbol_to_its_place() -> None:
    symbol = divided()
    theirs = of_mxnet(symbol, SHAPES)
    fill((theirs,))
    module = mx.mod.Module(symbol)
    module.bind([("data", SHAPES["data"])], [("softmax_label", (2,))], for_training=False)
    weights = {n: a for n, a in theirs.arg_dict.items() if n not in ("data", "softmax_label")}
    module.set_params(weights, theirs.aux_dict)
    module.forward(mx.io.DataBatch([theirs.arg_dict["data"]], [theirs.arg_dict["softmax_label"]]))
    for mine, want in zip(module.get_outputs(), theirs.forward(), strict=True):
        np.testing.assert_allclose(mine.asnumpy(), want.asnumpy(), **CLOSE)


def test_the_tutorials_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MXNET_SUBGRAPH_BACKEND", "1")
    executor = network().simple_bind(mx.cpu(), **SHAPES)
    assert operators(executor) == ["Convolution", "BatchNorm", "Activation", "FullyConnected"]
    assert os.environ["MXNET_SUBGRAPH_BACKEND"] == "1"


def test_other_backends_of_mxnet_see_the_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MXNET_SUBGRAPH_BACKEND")
    symbol = network()
    ours, theirs = symbol.simple_bind(mx.cpu(), **SHAPES), of_mxnet(symbol, SHAPES)
    fill((ours, theirs))
    assert_same(ours, theirs)


def test_mistakes_at_the_bind_are_mxnets_own() -> None:
    with pytest.raises(RuntimeError, match="cannot decide shapes"):
        network().simple_bind(mx.cpu())
    with pytest.raises(ValueError, match="conv/a:0_weight"):
        network().bind(mx.cpu(), {"data": mx.nd.zeros(SHAPES["data"])})
    executor = network().simple_bind(mx.cpu(), **SHAPES)
    with pytest.raises(ValueError, match="Shape not match"):
        executor.forward(data=mx.nd.zeros((1, 3, 9, 8)))
    with pytest.raises(TypeError, match="Unknown argument"):
        executor.forward(image=mx.nd.zeros(SHAPES["data"]))


@pytest.mark.parametrize("options", [{"target": "inf9"}, {"cores": 0}, {"fast_math": ("quick",)}])
def test_wrong_options_are_refused_when_it_is_enabled(options: dict[str, Any]) -> None:
    with pytest.raises(CodedError):
        ranvier.mxnet.enable_subgraph_backend(**options)


# -- The tutorial -----------------------------------------------------------------------------


def exported(name: str, size: int, folder: Path) -> tuple[Any, Any]:
    """A network of Gluon's zoo as files, with an image and what the network makes of it."""
    mx.random.seed(0)
    net = getattr(mx.gluon.model_zoo.vision, name)()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    image = mx.nd.array(RANDOM.standard_normal((1, 3, size, size)))
    output = net(image).asnumpy()
    net.export(str(folder / name))
    return image, output


def check_zoo(name: str, size: int, folder: Path) -> Any:
    image, want = exported(name, size, folder)
    symbol, args, aux = mx.model.load_checkpoint(str(folder / name), 0)
    ranvier.mxnet.enable_subgraph_backend()
    model = symbol.simple_bind(ctx=mx.cpu(), data=image.shape, grad_req="null")
    model.copy_params_from(args, aux)
    assert operators(model) == [OP]
    (output,) = model.forward(data=image, is_train=False)
    # bf16 keeps 8 bits, and errors of layers add up: a hundredth or two of the largest logit.
    np.testing.assert_allclose(output.asnumpy(), want, atol=0.03 * np.abs(want).max())
    return model, image


def test_a_small_residual_network_runs_the_tutorials_loop(tmp_path: Path) -> None:
    model, input_data = check_zoo("resnet18_v2", 64, tmp_path)
    dry_run, num_batches, start_time = 1, 3, 0.0
    for i in range(dry_run + num_batches):
        if i == dry_run:
            start_time = time.time()
        outputs = model.forward(data=input_data, is_train=False)
        for output in outputs:
            output.wait_to_read()
    assert time.time() - start_time > 0


@pytest.mark.slow
def test_resnet_50_v2_is_one_op(tmp_path: Path) -> None:
    check_zoo("resnet50_v2", 224, tmp_path)


TUTORIAL = """
import ranvier.mxnet
import mxnet as mx
x = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
model = x.simple_bind(ctx=mx.cpu(), data=(2, 4), grad_req="null")
model.copy_params_from({"fc_weight": mx.nd.ones((3, 4)), "fc_bias": mx.nd.ones(3)})
print(type(model).__name__, model.forward(data=mx.nd.ones((2, 4)))[0].asnumpy().tolist())
"""


@pytest.mark.parametrize(
    ("switch", "executor"), [("ranvier", "SubgraphExecutor"), ("1", "Executor"), ("", "Executor")]
)
def test_the_environment_decides_in_a_fresh_process(switch: str, executor: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TUTORIAL],
        env={**os.environ, "MXNET_SUBGRAPH_BACKEND": switch},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[-2] == f"{executor} {[[5.0] * 3] * 2}"
