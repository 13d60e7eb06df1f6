"""Compile segments to NEFFs, here or in a process of its own that can be killed.

With a work directory each segment has a folder in it, by its number: `graph_def.mlir` with
`graph_def.safetensors`, `graph_def.neff` and `graph_def.neuron-cc.log`.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.printer import Printer

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.passes.analysis.operators import HostOp
from ranvier.placement import is_disobeyed
from ranvier.program import Options, compile_module, externalize_weights
from ranvier.torch.options import Compilation
from ranvier.torch.partition import LOG, Segment

STEM = "graph_def"
DISOBEYED = 3
"""Exit status of the worker if a rule cannot be obeyed."""


class SegmentError(subprocess.SubprocessError):
    """The compiler failed on a segment."""


def compile_segment(segment: Segment, number: int, compilation: Compilation) -> Tensor:
    """The NEFF of a segment.

    Raises TimeoutExpired, CodedError for a rule that cannot be obeyed, and SegmentError for all
    other failures.
    """
    name = f"_NeuronGraph${number}"
    with folder_of(number, compilation.workdir) as folder:
        log = folder / f"{STEM}.neuron-cc.log"
        kept = f"; log file is at {log}" if compilation.workdir is not None else ""
        LOG.info("Compiling function %s with neuron-cc%s", name, kept)
        command = command_line(folder, compilation)
        LOG.info("Compiling with command line: '%s'", shlex.join(command))
        compiled = _compile_apart if compilation.timeout is not None else _compile_here
        with logged_to(log):
            try:
                compiled(segment, folder, compilation)
            except (subprocess.TimeoutExpired, SegmentError):
                raise
            except Exception as error:
                if is_disobeyed(error):
                    raise
                logging.getLogger("ranvier").exception("%s", error)
                raise SegmentError(failure(command, error)) from error
        LOG.info("Compiler status PASS")
        LOG.info("Compile command returned: 0")
        return torch.from_numpy(np.fromfile(folder / f"{STEM}.neff", np.uint8))


def failure(command: Sequence[str], error: object) -> str:
    return f"neuron-cc failed with the following command line call:\n{shlex.join(command)}\n{error}"


def command_line(folder: Path, compilation: Compilation) -> list[str]:
    """The process that compiles a folder; it replays the job where the folder is kept."""
    arguments = [str(folder / f"{STEM}.mlir"), "--output", str(folder / f"{STEM}.neff")]
    return [sys.executable, "-m", "ranvier.torch.worker", *arguments, *compilation.arguments]


@contextmanager
def folder_of(number: int, workdir: Path | None) -> Generator[Path]:
    """A folder for the files of a segment; temporary without a work directory."""
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="ranvier-") as name:
            yield Path(name)
        return
    folder = (workdir / str(number)).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error
    yield folder


@contextmanager
def logged_to(path: Path) -> Generator[None]:
    """The compiler's messages in a file."""
    handler = logging.FileHandler(path, delay=False)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ranvier")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _compile_here(segment: Segment, folder: Path, compilation: Compilation) -> None:
    module, _ = segment.import_module(STEM)
    if compilation.workdir is not None:
        write_module(module, folder)
    compile_to(module, compilation.options, folder / f"{STEM}.neff")


def compile_to(module: ModuleOp, options: Options, path: Path) -> None:
    """Compile and write. Raises CallerError if an op would run on the host."""
    options = replace(options, part=True)
    compiled = compile_module(module, options, progress=logging.getLogger("ranvier").debug)
    if compiled.host_ops:
        listed = ", ".join(map(described, compiled.host_ops))
        raise CallerError(Code.FALLBACK_FORBIDDEN, f"ops of the segment need the host: {listed}")
    compiled.write(path)


def described(op: HostOp) -> str:
    return f"{op.op} '{op.name}' ({op.reason})"


def write_module(module: ModuleOp, folder: Path) -> None:
    """The module as text, its weights beside it."""
    copy = module.clone()
    weights = f"{STEM}.safetensors"
    externalize_weights(copy, folder / weights, weights)
    text = StringIO()
    Printer(text, print_debuginfo=True).print_op(copy)
    (folder / f"{STEM}.mlir").write_text(text.getvalue() + "\n")


# -- In a process of its own ------------------------------------------------------------------


def _compile_apart(segment: Segment, folder: Path, compilation: Compilation) -> None:
    """Run the worker; it and what it has started die when the time is over."""
    module, _ = segment.import_module(STEM)
    write_module(module, folder)
    command = command_line(folder, compilation)
    errors = folder / "stderr.txt"
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            status = process.wait(compilation.timeout)
        except BaseException:  # an interrupt must not leave the worker either
            kill(process)
            for unfinished in (errors, folder / f"{STEM}.neff", *folder.glob(f"{STEM}.*.tmp")):
                unfinished.unlink(missing_ok=True)
            raise
    text = errors.read_text(errors="replace").strip()
    errors.unlink()
    if text:
        logging.getLogger("ranvier").info("%s", text)
    if status == DISOBEYED:
        raise CallerError(Code.RULE_IMPOSSIBLE, text)
    if status:
        raise SegmentError(failure(command, text.splitlines()[-1] if text else status))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, and wait for it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
