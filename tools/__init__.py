"""Command line tools."""

if not __name__.startswith("ranvier."):
    raise ImportError(
        "import ranvier.tools instead: the bare name makes a second copy of each class"
    )
