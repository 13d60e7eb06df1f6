"""`python -m ranvier.torch.worker graph_def.mlir --output graph_def.neff …`: compile one segment.

The process that `compiler_timeout` may kill. It takes the arguments of `ranvier compile`, an `nn`
module as text with its weights beside it, and needs no framework.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.universe import Universe

from ranvier.dialects.diagnostics import CodedError
from ranvier.dialects.weights import STORE


def read_module(path: Path) -> ModuleOp:
    """The module in a file of IR, whose weights are beside it."""
    context = Context()
    for name, factory in Universe.get_multiverse().all_dialects.items():
        context.register_dialect(name, factory)
    STORE.directory = path.parent
    return Parser(context, path.read_text(), str(path)).parse_module()


def main(arguments: Sequence[str]) -> int:
    """Exit status 0, or 1 with a line on stderr; another one for a rule that cannot be obeyed."""
    from ranvier.compiler_arguments import options_of
    from ranvier.placement import is_disobeyed
    from ranvier.torch.compiler import DISOBEYED, compile_to

    path, option, output, *rest = arguments
    if option != "--output":
        print(f"expected --output, got {option}", file=sys.stderr)
        return 2
    temporary = Path(output).with_suffix(f".{os.getpid()}.tmp")
    try:
        compile_to(read_module(Path(path)), options_of(rest), temporary)
        os.replace(temporary, output)
    except CodedError as error:
        disobeyed = is_disobeyed(error)
        print(error if disobeyed else error.report(), file=sys.stderr)
        return DISOBEYED if disobeyed else 1
    finally:
        temporary.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
