"""`ranvier compile MODEL… -o F`: models to NEFF files, with the flags of neuron-cc."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranvier.casting import CASTS, KEYWORDS
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tools.arguments import add_model_arguments, read_model
from ranvier.tools.compile_flags import add_undocumented_flags, apply_undocumented_flags
from ranvier.tools.log import LOG, PROGRESS, dots

if TYPE_CHECKING:
    from ranvier.backend.neuron.neff.decode import Neff
    from ranvier.program import Compiled, Options

DEFAULT_OUTPUT = Path("out.neff")
NAMED = 3
"""Ops on the host that a warning names."""


def cores(text: str) -> int | str:
    """A number of NeuronCores, or `auto`."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number nor auto") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="NEFF file, or the folder of several (default: out.neff)",
    )
    add_placement_arguments(parser)
    add_cast_arguments(parser)
    parser.add_argument("--save-temps", type=Path, metavar="DIR", help="keep the IR of each pass")
    parser.add_argument("--print-pipeline", action="store_true", help="print the passes and exit")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_undocumented_flags(parser)


def add_placement_arguments(parser: argparse.ArgumentParser) -> None:
    """Where ops run."""
    parser.add_argument("--target", default="inf2", help="inf1 or inf2 (default: inf2)")
    parser.add_argument(
        "--neuroncore-pipeline-cores",
        "--num-neuroncores",
        dest="cores",
        type=cores,
        default=1,
        metavar="N|auto",
        help="NeuronCores of the pipeline; auto: 4 per 20 million weights (default: 1)",
    )
    parser.add_argument(
        "--rules", type=Path, metavar="FILE", help="placement rules (docs/rules.md)"
    )
    parser.add_argument(
        "--fallback",
        choices=("host", "error"),
        default="host",
        help="what becomes of an op that the target lacks (default: host)",
    )
    parser.add_argument(
        "--minimum-size", type=int, default=1, metavar="N", help="of a segment (default: 1)"
    )
    parser.add_argument(
        "--single-fusion-ratio-threshold",
        type=float,
        default=1.0,
        metavar="R",
        help="if one segment has more than this part of all ops, the others go to the host "
        "(default: 1, never)",
    )
    parser.add_argument(
        "--weigh-transfers",
        action="store_true",
        help="leave a segment on the host if moving its data takes longer than it saves",
    )


def add_cast_arguments(parser: argparse.ArgumentParser) -> None:
    """How precisely ops compute, and the form of the file."""
    parser.add_argument(
        "--fast-math",
        nargs="+",
        default=["all"],
        metavar="KEYWORD",
        help=f"{', '.join(KEYWORDS)} (default: all)",
    )
    parser.add_argument("--fp32-cast", choices=CASTS, help="beats the casts of --fast-math")
    parser.add_argument(
        "--enable-saturate-infinity",
        action="store_true",
        help="infinities on the target become the largest finite numbers, so that no NaN follows",
    )
    parser.add_argument(
        "--enable-fast-loading-neuron-binaries",
        action="store_true",
        help="accepted: NEFF files are never compressed",
    )
    parser.add_argument(
        "--enable-fast-context-switch",
        action="store_true",
        help="accepted: weights are mapped when a file is loaded",
    )


def run(arguments: argparse.Namespace) -> int:
    from ranvier.tools.output import print_json

    apply_undocumented_flags(arguments)
    check_flags(arguments)
    options = options_of(arguments)
    if arguments.print_pipeline:
        print_pipeline(arguments, options)
        return 0
    if len(arguments.models) > 1 and are_separate(arguments):
        reports = compile_several(arguments, options)
        if arguments.json:
            print_json({"models": reports})
        return 0
    report = compile_one(arguments, options, arguments.models, arguments.output)
    if arguments.json:
        print_json(report)
    return 0


def options_of(arguments: argparse.Namespace) -> Options:
    from ranvier.program import Options

    return Options(
        target=arguments.target,
        cores=arguments.cores,
        fast_math=tuple(arguments.fast_math),
        fp32_cast=arguments.fp32_cast,
        fallback=arguments.fallback,
        minimum_size=arguments.minimum_size,
        saturate_infinity=arguments.enable_saturate_infinity,
        rules=read_rules_of(arguments),
        single_fusion_ratio_threshold=arguments.single_fusion_ratio_threshold,
        weigh_transfers=arguments.weigh_transfers,
        save_temps=arguments.save_temps,
    )


def read_rules_of(arguments: argparse.Namespace) -> str:
    """The text of `--rules`, checked before the model is read. Raises PassError with the place."""
    if arguments.rules is None:
        return ""
    from ranvier.passes.apply_rules import checked_rules

    return checked_rules(arguments.rules)


def check_flags(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be done, and say in the log what goes without saying here."""
    if arguments.enable_fast_loading_neuron_binaries:
        LOG.info("--enable-fast-loading-neuron-binaries: a NEFF of ranvier is never compressed")
    if arguments.enable_fast_context_switch:
        LOG.info("--enable-fast-context-switch: weights are mapped, not copied, at each load")


def print_pipeline(arguments: argparse.Namespace, options: Options) -> None:
    """The passes; `auto` needs the model, to count its weights."""
    if options.cores == "auto":
        options = options.for_module(read_model(arguments, arguments.models))
    print(options.pipeline())


# -- Several models ---------------------------------------------------------------------------


def are_separate(arguments: argparse.Namespace) -> bool:
    """Whether each file is a model of its own: an ONNX model is one file."""
    from ranvier.importers.registry import recognise

    frameworks = {
        arguments.framework or (recognise(path) if path.exists() else "ONNX")
        for path in arguments.models
    }
    return frameworks == {"ONNX"}


def compile_several(arguments: argparse.Namespace, options: Options) -> list[dict[str, Any]]:
    """Compile one file after the other into a folder; stops at the first error."""
    outputs = outputs_in(arguments.output, arguments.models)
    reports: list[dict[str, Any]] = []
    for number, (model, output) in enumerate(zip(arguments.models, outputs, strict=True), 1):
        stream = sys.stderr if arguments.json else sys.stdout
        print(f"[{number}/{len(outputs)}] {model} -> {output}", file=stream, flush=True)
        reports.append(compile_one(arguments, options, [model], output))
    return reports


def outputs_in(folder: Path, models: Sequence[Path]) -> list[Path]:
    """A NEFF file per model, named as the model. Raises CallerError if two would be one."""
    if folder == DEFAULT_OUTPUT or (folder.exists() and not folder.is_dir()):
        raise CallerError(
            Code.OPTION_INVALID, f"{len(models)} models need a folder: -o DIR, got {folder}"
        )
    stems = [model.stem for model in models]
    if double := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise CallerError(
            Code.OPTION_INVALID, f"two models are named '{double}': compile them one by one"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error
    return [folder / f"{stem}.neff" for stem in stems]


# -- One model --------------------------------------------------------------------------------


def compile_one(
    arguments: argparse.Namespace, options: Options, models: Sequence[Path], output: Path
) -> dict[str, Any]:
    """Compile a model to a file, and report on it unless an object or a status is asked for."""
    from ranvier.program import compile_module
    from ranvier.tools.internal_error import Reproducer
    from ranvier.tools.output import steps

    check_output(output)
    started = time.perf_counter()
    silent = arguments.verbose == PROGRESS
    with dots(json=arguments.json, shown=silent), steps(models[0].name, shown=not silent) as step:
        step("import")
        module = read_model(arguments, models)
        resolved = options.for_module(module)
        arguments.reproducer = Reproducer(module.clone(), resolved.pipeline())
        compiled = compile_module(module, resolved, progress=step)
        step("write")
        compiled.write(output)
    report = report_of(output, compiled, time.perf_counter() - started)
    if not arguments.json and not silent:
        print_report(report)
    return report


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written before the work starts."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: no folder {folder}")
    if path.is_dir():
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: is a folder")


def report_of(path: Path, compiled: Compiled, seconds: float) -> dict[str, Any]:
    """The object of `--json`. See the command reference."""
    from ranvier.backend.neuron.neff.decode import load_neff

    neff = load_neff(path)
    report: dict[str, Any] = {
        "neff": str(path),
        "sha256": neff.sha256,
        "seconds": round(seconds, 3),
        "target": compiled.options.target,
        "cores": neff.cores,
        "operators": asdict(compiled.operators),
        "host_ops": [asdict(op) for op in compiled.host_ops],
        "stages": neff.stages,
        "transposes": {"ops": compiled.transposes, "on_array": array_transposes(neff)},
        "bytes": path.stat().st_size,
        "simulated_us": neff.simulated_us,
    }
    if compiled.cores > 1:
        report["pipeline"] = neff.pipeline
    return report


def array_transposes(neff: Neff) -> int:
    """Issues of the array's transpose in one inference."""
    from ranvier.backend.neuron.program import Program
    from ranvier.dialects import nc

    programs = [step.program for step in neff.steps if isinstance(step.program, Program)]
    return sum(
        prod(trips)
        for program in programs
        for core in program.cores
        for instruction, trips in core.instructions()
        if instruction.op is nc.TransposeOp
    )


def warn_of_host_ops(ops: Sequence[Mapping[str, str]]) -> None:
    """One line for each reason, with the first ops that it holds for."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for op in ops:
        kept = by_reason.setdefault((op["reason"], op["code"]), [])
        kept.append(f"{op['op']} '{op['name']}'")
    for (reason, code), names in by_reason.items():
        more = (
            f" and {rest} more (see `ranvier explain`)" if (rest := len(names) - NAMED) > 0 else ""
        )
        LOG.warning("on the host: %s%s: %s [%s]", ", ".join(names[:NAMED]), more, reason, code)


def print_report(report: dict[str, Any]) -> None:
    """The same for a person: operator counts in the originals' wording."""
    from ranvier.tools.output import format_bytes, format_us

    counts = report["operators"]
    print(f"Number of operations in original model: {counts['before']}")
    print(f"Number of operations in compiled model: {counts['after']}")
    print(f"Number of Neuron subgraphs in compiled model: {counts['segments']}")
    print(f"Number of operations placed on Neuron runtime: {counts['on_neuron']}")
    warn_of_host_ops(report["host_ops"])
    if pipeline := report.get("pipeline"):
        print(
            f"Pipeline: slowest stage {format_us(pipeline['bottleneck_us'])}, at best "
            f"{format_us(pipeline['bound_us'])}"
        )
    cores = "1 NeuronCore" if report["cores"] == 1 else f"{report['cores']} NeuronCores"
    print(
        f"{report['neff']}: {format_bytes(report['bytes'])}, {cores} of "
        f"{report['target']}, {format_us(report['simulated_us'])} simulated, compiled in "
        f"{report['seconds']:.1f} s"
    )
