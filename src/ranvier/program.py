"""Compile a model to a program, save it, load it, run it.

The path is `importers`, the pipeline that `--print-pipeline` prints, `neff.encode`; each step can
be run alone with `ranvier import`, `ranvier-opt` and `ranvier compile`.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any, Literal
from weakref import finalize

import numpy as np
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass
from xdsl.printer import Printer

from ranvier.backend.neuron.interpreter.runner import Runner
from ranvier.backend.neuron.limits import MACHINES
from ranvier.backend.neuron.neff.decode import Neff, load_neff
from ranvier.backend.neuron.neff.encode import write_neff
from ranvier.backend.neuron.program import Program as DeviceProgram
from ranvier.backend.neuron.simulator import simulate
from ranvier.casting import cast_mode, wants_fast_relayout
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.files import completed
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.materialize import in_memory
from ranvier.dialects.weights import write_safetensors
from ranvier.estimates import (
    StageCost,
    automatic_cores,
    pipeline_balance,
    profile_of,
    stage_costs,
    weight_elements,
    weights_not_finite,
    with_simulation,
)
from ranvier.importers.registry import import_model
from ranvier.passes.analysis.operators import (
    HostOp,
    OperatorCounts,
    check_types_known,
    count_operators,
    heavy_host_work,
    host_ops,
)
from ranvier.passes.apply_rules import checked_rules
from ranvier.passes.move_transposes import transposes_on_device
from ranvier.passes.pipelines import Placing, default_pipeline, parse_pipeline, run_passes
from ranvier.passes.placement import Rules
from ranvier.passes.target import load_target
from ranvier.restore import lower_or_restore

Shapes = Mapping[str, tuple[int, ...]]
Progress = Callable[[str], None]
"""Hears the name of each pass before it runs."""

LOG = logging.getLogger("ranvier")


@dataclass(frozen=True)
class Options:
    """How to compile. The defaults are those of `ranvier compile`."""

    target: str = "inf2"
    cores: int | Literal["auto"] = 1
    """NeuronCores of the pipeline; `auto` follows from the number of weights."""
    fast_math: tuple[str, ...] = ("all",)
    fp32_cast: str | None = None
    fallback: str = "host"
    minimum_size: int = 1
    saturate_infinity: bool = False
    rules: str = ""
    """The text of placement rules."""
    single_fusion_ratio_threshold: float = 1.0
    weigh_transfers: bool = False
    save_temps: Path | None = None
    part: bool = False
    """Whether it is a part of a model that is compiled, where rules may speak of other parts."""

    def for_module(self, module: ModuleOp) -> Options:
        """The same options with a number of cores."""
        if self.cores != "auto":
            return self
        most = load_target(self.target).max_cores
        return replace(self, cores=automatic_cores(weight_elements(module), most))

    def pipeline(self) -> str:
        """The passes as `ranvier-opt -p` takes them. Raises CallerError for a bad option."""
        target = load_target(self.target)
        if self.cores == "auto":
            raise CallerError(Code.OPTION_INVALID, "cores=auto needs a model to count weights of")
        if not 1 <= self.cores <= target.max_cores:
            raise CallerError(
                Code.OPTION_INVALID,
                f"{self.target} pipelines have 1 to {target.max_cores} cores, got {self.cores}",
            )
        return default_pipeline(
            self.target,
            cores=self.cores,
            mode=self.cast_mode,
            placing=self.placing,
            saturate_infinity=self.saturate_infinity,
            relayout="fast" if wants_fast_relayout(self.fast_math) else "exact",
        )

    @property
    def cast_mode(self) -> str:
        """The mode of `cast-bf16`."""
        f32 = MACHINES[self.target].pe_f32_passes is not None if self.target in MACHINES else True
        return cast_mode(self.fast_math, self.fp32_cast, f32)

    @property
    def placing(self) -> Placing:
        """The options of `apply-rules` and `segment`."""
        return Placing(
            self.rules,
            self.minimum_size,
            self.fallback,
            self.single_fusion_ratio_threshold,
            self.weigh_transfers,
            self.part,
        )

    def flags(self) -> list[str]:
        """The options that shape the program, in canonical form: part of the file."""
        return [
            f"--target={self.target}",
            f"--neuroncore-pipeline-cores={self.cores}",
            f"--fast-math={','.join(self.fast_math)}",
            *([f"--fp32-cast={self.fp32_cast}"] if self.fp32_cast else []),
            f"--fallback={self.fallback}",
            f"--minimum-size={self.minimum_size}",
            *(["--enable-saturate-infinity"] if self.saturate_infinity else []),
            *([f"--rules-sha256={sha256(self.rules.encode()).hexdigest()}"] if self.rules else []),
            *(
                [f"--single-fusion-ratio-threshold={self.single_fusion_ratio_threshold:g}"]
                if self.single_fusion_ratio_threshold != 1
                else []
            ),
            *(["--weigh-transfers"] if self.weigh_transfers else []),
        ]


@dataclass
class Compiled:
    """A module lowered to programs, and what became of the framework's ops."""

    module: ModuleOp
    options: Options
    operators: OperatorCounts
    host_ops: list[HostOp] = field(default_factory=list)
    heavy_host_work: list[tuple[str, int, float]] = field(default_factory=list)
    stages: list[StageCost] = field(default_factory=list)
    transposes: int = 0
    """Transposes of activations that are left in device segments."""

    @property
    def cores(self) -> int:
        """NeuronCores that were asked for."""
        return 1 if self.options.cores == "auto" else self.options.cores

    @property
    def balance(self) -> dict[str, float]:
        """Bottleneck, bound and gap of the pipeline."""
        return pipeline_balance(self.stages, self.cores)

    def write(self, path: Path) -> None:
        """Write the NEFF file, complete or not at all."""
        name = self.module.attributes.get("ranvier.name")
        write_neff(
            self.module,
            path,
            name=name.data if isinstance(name, StringAttr) else path.stem,
            flags=self.options.flags(),
            pipeline=self.options.pipeline(),
            requested_cores=self.cores,
            operators=vars(self.operators),
            host_ops=[asdict(op) for op in self.host_ops],
            stages=[stage.describe() for stage in self.stages],
            balance=self.balance,
        )


def compile_module(
    module: ModuleOp, options: Options, *, progress: Progress | None = None
) -> Compiled:
    """Run the whole pipeline on an imported module, in place.

    Logs a warning for weights that are not finite, and for cores that the model cannot fill.
    """
    check_types_known(module)
    options = options.for_module(module)
    passes = parse_pipeline(options.pipeline())
    if names := weights_not_finite(module):
        LOG.warning("weights hold NaN or infinities: %s", ", ".join(names))
    compiled = Compiled(module, options, OperatorCounts(0, 0, 0, 0, 0))
    temps = _TempFiles(options.save_temps, module) if options.save_temps else None

    def after_each(done: ModulePass, module: ModuleOp) -> None:
        if done.name == "segment":
            compiled.operators = count_operators(module)
            compiled.host_ops = host_ops(module)
            compiled.heavy_host_work = heavy_host_work(module)
            compiled.transposes = transposes_on_device(module)
        if done.name == "partition-pipeline":
            compiled.stages = stage_costs(module, load_target(options.target))
        if temps is not None:
            temps.write(done.name, module)

    cut = next(i for i, step in enumerate(passes) if step.name == "segment")
    run_passes(module, passes[:cut], before_each=progress, after_each=after_each)
    compiled.module = lower_or_restore(
        module, passes[cut:], before_each=progress, after_each=after_each
    )
    compiled.stages = with_simulation(compiled.stages, compiled.module)
    warn_of_heavy_host_work(compiled)
    warn_of_idle_cores(compiled)
    return compiled


def warn_of_heavy_host_work(compiled: Compiled) -> None:
    """Say what part of the multiplications the host does, if it is a large one."""
    if heavy := compiled.heavy_host_work:
        text = ", ".join(f"{count} {name}, {share:.0%} of the MACs" for name, count, share in heavy)
        LOG.warning("heavy work stays on the host: %s", text.replace("%", " %"))


def warn_of_idle_cores(compiled: Compiled) -> None:
    """Say, in neuron-cc's words, that a pipeline has fewer stages than cores were asked for."""
    used = max((stage.core + 1 for stage in compiled.stages), default=0)
    if used and used < compiled.cores:
        LOG.warning(
            "The requested number of neuroncore-pipeline-cores (%d) may not be suitable for this "
            "network: %d are enough for it",
            compiled.cores,
            used,
        )


class _TempFiles:
    """`--save-temps`: the module after each pass, complete as text, weights once."""

    def __init__(self, directory: Path, module: ModuleOp) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CallerError(Code.FILE_UNWRITABLE, f"{directory}: {error.strerror}") from error
        self._directory = directory
        self._count = 0
        weights = directory / "weights.safetensors"
        externalize_weights(module, weights, str(weights.absolute()))
        self.write("import", module)

    def write(self, name: str, module: ModuleOp) -> None:
        text = StringIO()
        Printer(text, print_debuginfo=True).print_op(module)
        reference = str((self._directory / "weights.safetensors").absolute())
        path = self._directory / f"{self._count:02d}-{name}.mlir"
        path.write_text(
            text.getvalue().replace(f'from "{reference}"', 'from "weights.safetensors"') + "\n"
        )
        self._count += 1


def externalize_weights(module: ModuleOp, path: Path, reference: str) -> None:
    """Write arrays of this process to a safetensors file and refer to it as `reference`."""
    arrays: dict[str, Array] = {}
    for op in module.body.block.ops:
        if isinstance(op, nn.WeightOp) and op.sha256 is not None and op.file is None:
            array = in_memory(op)
            if array is not None:
                arrays[op.symbol] = array
                op.properties["file"] = StringAttr(reference)
                op.properties["key"] = StringAttr(op.symbol)
    if arrays:
        write_safetensors(path, arrays)


class Program:
    """A compiled model in a NEFF file, ready to run."""

    def __init__(self, path: Path, *, owned: bool = False) -> None:
        self.neff: Neff = load_neff(path)
        self._path = path
        self._runner: Runner | None = None
        if owned:  # a temporary file of ours
            finalize(self, path.unlink, missing_ok=True)

    @property
    def inputs(self) -> Sequence[Any]:
        """Name, shape and dtype of each input."""
        return self.neff.inputs

    @property
    def outputs(self) -> Sequence[Any]:
        """Name, shape and dtype of each output."""
        return self.neff.outputs

    @property
    def operators(self) -> Mapping[str, int]:
        """Counts of the framework's ops: before, after, on_neuron, host, segments."""
        return self.neff.operators

    @property
    def host_ops(self) -> Sequence[HostOp]:
        """The framework's ops that run on the host, and why."""
        return [HostOp(**op) for op in self.neff.host_ops]

    def profile(self) -> dict[str, Any]:
        """The simulated timeline of one inference, with the keys of `ranvier profile --json`."""
        machine = MACHINES[self.neff.target]
        programs = [step.program for step in self.neff.steps]
        devices = [program for program in programs if isinstance(program, DeviceProgram)]
        return profile_of([simulate(program, machine) for program in devices], machine)

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            self._runner = Runner(self.neff)
        return self._runner

    def run(self, inputs: Mapping[str, Array], *, exact: bool = False) -> dict[str, Array]:
        """Outputs by name. Raises CallerError for missing, unknown or unfitting inputs.

        `exact` issues every instruction by itself, as the machine is defined; otherwise a loop of
        matrix products may run as one, which can change the last bit of an f32 sum.
        """
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        return self.runner.run(arrays, exact=exact)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Copy the NEFF file to `path`, complete or not at all."""
        with completed(Path(path)) as temporary:
            shutil.copyfile(self._path, temporary)


def compile(
    model: str | os.PathLike[str] | ModuleOp,
    *,
    shapes: Shapes | None = None,
    target: str = "inf2",
    cores: int | Literal["auto"] = 1,
    fast_math: Sequence[str] = ("all",),
    rules: Rules | None = None,
    fallback: str = "host",
    saturate_infinity: bool = False,
) -> Program:
    """Compile a model file, or an `nn` module in place, to a program.

    `shapes` gives static shapes by input name; `cores="auto"` takes as many as the weights call
    for; `rules` are placement rules, as text or as a file's path; `fallback="error"` refuses host
    ops; with `saturate_infinity` ops on the target compute the largest finite numbers in place of
    infinities. Raises ModelImportError, CallerError or
    PassFailedException with what is wrong and what would do.
    """
    module = model if isinstance(model, ModuleOp) else import_model([Path(model)], shapes=shapes)
    options = Options(
        target,
        cores,
        tuple(fast_math),
        fallback=fallback,
        saturate_infinity=saturate_infinity,
        rules=checked_rules(rules),
    )
    handle, name = tempfile.mkstemp(prefix="ranvier-", suffix=".neff")
    os.close(handle)
    path = Path(name)
    try:
        compile_module(module, options).write(path)
        return Program(path, owned=True)
    except BaseException:  # an interrupt must not leave the temporary file either
        path.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> Program:
    """A program from a NEFF file. Raises a NeffError that says what is wrong with it."""
    return Program(Path(path))
