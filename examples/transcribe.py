"""Compile a trained music transcription network for a NeuronCore, and play it a chord.

The network is basic-pitch (Apache-2.0), as ONNX inside its wheel. Notes are synthesised, heard by
the compiled program on the reference machine, and drawn as a piano roll.

    python examples/transcribe.py --notes C4 A4 E5
"""

from __future__ import annotations

import argparse
import re
import time
from importlib.metadata import files
from pathlib import Path

import numpy as np

import ranvier

SAMPLE_RATE = 22050
WINDOW = 43844
"""Samples that the network hears at once: two seconds."""
FRAMES_PER_SECOND = 86
LOWEST_KEY = 21
"""MIDI number of A0, the first of the network's 88 keys."""
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def model_file() -> Path:
    """The ONNX file in the installed basic-pitch package."""
    for file in files("basic-pitch") or []:
        if file.name == "nmp.onnx":
            return Path(str(file.locate()))
    raise SystemExit("basic-pitch is not installed: pip install --no-deps basic-pitch==0.4.0")


def midi_number(name: str) -> int:
    """`A4` is 69."""
    match = re.fullmatch(r"([A-G]#?)(\d)", name)
    if match is None:
        raise SystemExit(f"no note '{name}': a letter, perhaps #, and an octave, as in C#4")
    return 12 * (int(match[2]) + 1) + NAMES.index(match[1])


def note_name(number: int) -> str:
    return f"{NAMES[number % 12]}{number // 12 - 1}"


def play(notes: list[int]) -> np.ndarray:
    """The notes together: five decaying harmonics each, as `[1, 43844, 1]` of f32."""
    t = np.arange(WINDOW) / SAMPLE_RATE
    sound = np.zeros(WINDOW)
    for note in notes:
        pitch = 440.0 * 2 ** ((note - 69) / 12)
        for harmonic in range(1, 6):
            decay = np.exp(-1.5 * t * harmonic)
            sound += np.sin(2 * np.pi * pitch * harmonic * t) * decay / harmonic
    sound *= 0.3 / np.abs(sound).max()
    return sound.astype(np.float32).reshape(1, WINDOW, 1)


def hear(activations: np.ndarray, threshold: float = 0.5) -> list[tuple[int, float]]:
    """(MIDI number, strength) of every key that sounds for a tenth of a second or more."""
    sounding = activations > threshold
    lasting = sounding.sum(0) >= FRAMES_PER_SECOND // 10
    return [
        (LOWEST_KEY + int(key), float(activations[sounding[:, key], key].mean()))
        for key in np.flatnonzero(lasting)
    ]


def draw(activations: np.ndarray, heard: list[tuple[int, float]], path: Path) -> None:
    """The piano roll: time to the right, keys upward, the notes heard named at the side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    seconds = len(activations) / FRAMES_PER_SECOND
    extent = (0.0, seconds, LOWEST_KEY - 0.5, LOWEST_KEY + activations.shape[1] - 0.5)
    image = axes.imshow(activations.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    image.set_clim(0, 1)
    axes.set_yticks([note for note, _ in heard], [note_name(note) for note, _ in heard])
    axes.set_ylim(min([n for n, _ in heard] or [60]) - 12, max([n for n, _ in heard] or [72]) + 12)
    axes.set_xlabel("time, seconds")
    axes.set_title("Notes heard by the compiled network")
    figure.colorbar(image, ax=axes, label="note activation")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notes", nargs="+", default=["C4", "A4", "E5"], help="as in C4 A4 E5")
    parser.add_argument("--output-dir", type=Path, default=Path("demo-output"))
    arguments = parser.parse_args()
    notes = sorted(midi_number(name) for name in arguments.notes)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    neff = arguments.output_dir / "basic_pitch.neff"

    started = time.perf_counter()
    program = ranvier.compile(model_file(), shapes={"serving_default_input_2:0": (1, WINDOW, 1)})
    program.save(neff)
    compiled = time.perf_counter()
    counts = program.operators
    print(f"Number of operations in original model: {counts['before']}")
    print(f"Number of operations in compiled model: {counts['after']}")
    print(f"Number of Neuron subgraphs in compiled model: {counts['segments']}")
    print(f"Number of operations placed on Neuron runtime: {counts['on_neuron']}")

    outputs = ranvier.load(neff).run({"serving_default_input_2:0": play(notes)})
    ran = time.perf_counter()
    activations = outputs["StatefulPartitionedCall:1"][0]
    heard = hear(activations)
    picture = arguments.output_dir / "piano_roll.png"
    draw(activations, heard, picture)

    print(f"Compiled in {compiled - started:.1f} s: {neff}, {neff.stat().st_size / 1024:.0f} KiB")
    print(
        f"Ran in {ran - compiled:.1f} s on this computer; a NeuronCore would take "
        f"{program.neff.simulated_us / 1000:.2f} ms by the documented-cost estimate"
    )
    print(f"Played: {' '.join(f'{note_name(n)}({n})' for n in notes)}")
    print(f"Heard:  {' '.join(f'{note_name(n)}({n}) {strength:.2f}' for n, strength in heard)}")
    print(f"Picture: {picture}")


if __name__ == "__main__":
    main()
