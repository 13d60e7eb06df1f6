"""`python -m ranvier.tools`: the `ranvier` command."""

from ranvier.tools.cli import main

main()
