"""Models of sequences: every op on the machine, outputs, and the products that they need."""

from __future__ import annotations

import pytest
from exported import Models
from measures import multiply_accumulates, relative_error

# torch's own bf16 is the yardstick: it rounds in other places, up to twice its error is rounding.
TIMES_TORCH = 2
FILES = [
    ("lstm_lm", "ts"),
    ("lstm_lm", "dynamo"),
    ("gru_lm", "ts"),
    ("gru_lm", "dynamo"),
    ("gru_lm_b8", "ts"),
    ("bert_base", "ts"),
    ("bert_base_s512", "dynamo"),
    ("distilbert", "dynamo"),
    ("gpt2", "dynamo"),
    ("t5_encoder", "ts"),
    ("whisper_encoder", "ts"),
    ("whisper_encoder", "dynamo"),
    ("swin_t", "dynamo"),
    ("vit_b_16", "dynamo"),
]
QUICK = ("lstm_lm", "gru_lm")
MODELS = [
    pytest.param(*file, id="-".join(file), marks=[] if file[0] in QUICK else [pytest.mark.slow])
    for file in FILES
]


@pytest.mark.parametrize(("name", "exporter"), MODELS)
def test_a_sequence_model_runs_on_the_machine_alone(
    models: Models, name: str, exporter: str
) -> None:
    program = models.program(name, exporter)
    assert program.operators["host"] == 0
    (other,) = program.run(models.inputs(name, 2)).values()
    (actual,) = program.run(models.inputs(name, 1)).values()
    expected = models.expected(name, exporter, 1)
    assert actual.shape == expected.shape
    assert relative_error(other, actual) > 0.1  # ten times what rounding does
    assert relative_error(actual, expected) < TIMES_TORCH * models.bf16_error(name)
    work = multiply_accumulates(models.file(name, exporter), models.inputs(name, 1))
    assert program.runner.counters.macs == work
