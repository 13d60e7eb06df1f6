"""Models as both exporters of torch write them, compiled and run, against onnxruntime."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from exported import Models
from measures import multiply_accumulates, relative_error, resampling_products, worst_error

EXPORTERS = ("ts", "dynamo")
VISION = (
    "resnet50",
    "vgg16",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "densenet121",
    "inception_v3",
    "inception_v3_normalized",
    "convnext_tiny",
    "unet",
    "unet_bilinear",
)
NAMES = ("efficientnet_lite0", "minilm", "mobilenet_v2", "distilbert", "bert_base", *VISION)
SLOW = {("bert_base", "ts"), ("distilbert", "ts"), *product(VISION, EXPORTERS)}
MODELS = [
    pytest.param(
        name,
        exporter,
        id=f"{name}-{exporter}",
        marks=[pytest.mark.slow] if (name, exporter) in SLOW else [],
    )
    for name in NAMES
    for exporter in EXPORTERS
]
# By the scope the tests of one model follow each other, and few programs are kept at a time.
each_model = pytest.mark.parametrize(("name", "exporter"), MODELS, scope="module")

# torch's own bf16 is the yardstick. We round in other places, so that up to twice its error is
# rounding; a wrong layout, a missing bias or a swapped head costs about 1.
TIMES_TORCH = 2
# f32 sums of up to 3072 products in another order, through up to 94 layers; a value that bf16 had
# touched would err by 4e-3
F32_WORST = 2e-4


@each_model
def test_outputs_follow_onnxruntime(models: Models, name: str, exporter: str) -> None:
    program = models.program(name, exporter)
    for seed in (1, 2):
        (actual,) = program.run(models.inputs(name, seed)).values()
        expected = models.expected(name, exporter, seed)
        assert actual.shape == expected.shape
        assert relative_error(actual, expected) < TIMES_TORCH * models.bf16_error(name)


@each_model
def test_different_inputs_give_different_outputs(models: Models, name: str, exporter: str) -> None:
    """A program that ignores its input would pass only where the model nearly does, too."""
    program = models.program(name, exporter)
    (first,), (second,) = (program.run(models.inputs(name, seed)).values() for seed in (1, 2))
    assert relative_error(first, second) > 0.2


@each_model
def test_without_casts_outputs_are_exact_to_rounding(
    models: Models, name: str, exporter: str
) -> None:
    program = models.program(name, exporter, "none")
    (actual,) = program.run(models.inputs(name, 1)).values()
    assert worst_error(actual, models.expected(name, exporter, 1)) < F32_WORST


@each_model
def test_every_op_runs_on_the_machine(models: Models, name: str, exporter: str) -> None:
    counts = models.program(name, exporter).operators
    assert counts["before"] == counts["on_neuron"] + counts["host"]
    assert (counts["host"], counts["segments"], counts["after"]) == (0, 1, 1)


@each_model
def test_the_machine_counts_the_macs_of_the_model(models: Models, name: str, exporter: str) -> None:
    inputs = models.inputs(name, 1)
    program = models.program(name, exporter)
    program.run(inputs)
    path = models.file(name, exporter)
    work = multiply_accumulates(path, inputs) + resampling_products(path, inputs)
    assert program.runner.counters.macs == work


def test_macs_of_mobilenet_are_the_published_ones(models: Models) -> None:
    path, inputs = models.file("mobilenet_v2", "ts"), models.inputs("mobilenet_v2", 1)
    assert multiply_accumulates(path, inputs) == pytest.approx(300.8e6, rel=1e-3)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if (n, "ts") in SLOW else []) for n in NAMES],
    scope="module",
)
def test_files_of_both_exporters_give_equal_outputs(models: Models, name: str) -> None:
    inputs = models.inputs(name, 3)
    (one,), (other,) = (models.program(name, e, "none").run(inputs).values() for e in EXPORTERS)
    assert one.dtype == other.dtype == np.float32
    assert worst_error(one, other) < F32_WORST
