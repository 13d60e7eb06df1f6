"""The IR: `nn` (what a model means), `graph` (who runs what), `nc` (what the machine does)."""

if not __name__.startswith("ranvier."):
    raise ImportError(
        "import ranvier.dialects instead: the bare name makes a second copy of each class"
    )
