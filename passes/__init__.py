"""Rewrites from an imported model to one that is placed, cast and cut for a target."""

if not __name__.startswith("ranvier."):
    raise ImportError(
        "import ranvier.passes instead: the bare name makes a second copy of each class"
    )
