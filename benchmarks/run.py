"""`python benchmarks/run.py`: ranvier beside onnxruntime, in turn, as ratios of one run.

The machine runs on its compiled kernels where there is a C compiler; `RANVIER_KERNELS=numpy`
measures it without. Times of a shared computer are noisy; ratios of paired runs are less so.
Nothing here is a test.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from ranvier.tools.blas import choose_kernels

THREADS = 2
"""Of each side."""

os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)
choose_kernels()

# BLAS reads its environment when NumPy loads it, so these imports must come after.
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import ranvier  # noqa: E402
from ranvier.backend.neuron.interpreter.kernels import provider  # noqa: E402

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "models"), str(ROOT / "examples")]

# Models of tests and examples are no part of the package: the lines above find them.
import resnet50  # noqa: E402
import transcribe  # noqa: E402

ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of each, and the median of the ratios, round by round."""
    rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    ratios = [mine / other for mine, other in rounds]
    return median(r[0] for r in rounds), median(r[1] for r in rounds), median(ratios)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    # Its idle threads would go on spinning on the processors that ours are timed on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options)


def measure(table: Table, path: Path, inputs: dict[str, np.ndarray]) -> None:
    """Compile against opening a session, run against run."""
    shapes = {name: array.shape for name, array in inputs.items()}
    rows = {
        "compile": (lambda: ranvier.compile(path, shapes=shapes), lambda: session(path)),
    }
    program, peer = ranvier.compile(path, shapes=shapes), session(path)
    for exact in (False, True):  # binds the programs
        program.run(inputs, exact=exact)
    rows["run"] = (lambda: program.run(inputs), lambda: peer.run(None, inputs))
    rows["run, issue by issue"] = (
        lambda: program.run(inputs, exact=True),
        lambda: peer.run(None, inputs),
    )
    for what, (ours, theirs) in rows.items():
        mine, other, ratio = paired(ours, theirs)
        table.add_row(path.stem, what, f"{mine * 1000:.0f}", f"{other * 1000:.0f}", f"{ratio:.2f}")


def framework_models(folder: Path) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Models that torch exports, with inputs; none where it is not installed."""
    if find_spec("torch") is None:
        print("torch is not installed: its models are left out")
        return
    import zoo

    for name in ("mobilenet_v2", "minilm", "bert_base"):
        path = folder / f"{name}.onnx"
        zoo.export(name, path, "dynamo")
        yield path, {key: value.numpy() for key, value in zoo.ZOO[name].inputs(1).items()}


def main() -> None:
    print(f"kernels: {provider()}")
    table = Table("model", "step", "ranvier, ms", "onnxruntime f32, ms", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        resnet50.build_resnet50(path)
        measure(table, path, {"x": resnet50.images(np.random.default_rng(1), 1, 224)})
        for model, inputs in framework_models(Path(folder)):
            measure(table, model, inputs)
    sound = transcribe.play([60, 69, 76])
    measure(table, transcribe.model_file(), {"serving_default_input_2:0": sound})
    Console().print(table)


if __name__ == "__main__":
    main()
