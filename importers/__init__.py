"""Readers of framework models, one package per framework; each makes a module of `nn`."""

if not __name__.startswith("ranvier."):
    raise ImportError(
        "import ranvier.importers instead: the bare name makes a second copy of each class"
    )
