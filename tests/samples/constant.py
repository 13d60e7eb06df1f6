"""Constants: their bytes."""

import ml_dtypes
import numpy as np

from ranvier.dialects import nn
from samples import Array, Sample


def value_of(*, value: Array) -> Array:
    return value.astype(np.float64) if value.dtype == ml_dtypes.bfloat16 else value


NOT_FINITE = Sample(
    nn.ConstantOp, (), value_of, {"value": np.array([np.inf, -np.inf, np.nan, 1e-42], np.float32)}
)

SAMPLES = [
    NOT_FINITE,
    *(
        Sample(nn.ConstantOp, (), value_of, {"value": value})
        for value in (
            np.array(2.5, np.float32),
            np.arange(12, dtype=np.float32).reshape(3, 1, 4) / 7,
            np.array([1.0, -0.5, 3.25], ml_dtypes.bfloat16),
            np.array([[7, -8], [0, 9]], np.int64),
            np.array([True, False, True]),
            np.zeros((0, 3), np.float32),
        )
    ),
]
