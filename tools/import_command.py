"""`ranvier import MODEL [-o F.mlir]`: the model as `nn` IR, its weights beside it."""

from __future__ import annotations

import argparse
import sys
from io import StringIO
from pathlib import Path

from ranvier.program import externalize_weights
from ranvier.tools.arguments import add_model_arguments, read_model
from ranvier.tools.output import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="F.mlir", help="default: stdout")


def run(arguments: argparse.Namespace) -> int:
    from xdsl.printer import Printer

    module = read_model(arguments, arguments.models, untyped=True)
    # Without an output file the weights stand beside the model, named so that the text can be
    # piped into a tool that starts anywhere.
    beside = arguments.output or arguments.models[0].absolute()
    weights = beside.with_suffix(".safetensors")
    reference = weights.name if arguments.output else str(weights)
    externalize_weights(module, weights, reference)
    text = StringIO()
    Printer(text, print_debuginfo=True).print_op(module)
    text.write("\n")
    if arguments.output is None:
        sys.stdout.write(text.getvalue())
    else:
        write_text(arguments.output, text.getvalue())
    return 0
