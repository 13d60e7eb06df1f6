"""What executes a module: the reference executor and the hardware targets."""

if not __name__.startswith("ranvier."):
    raise ImportError(
        "import ranvier.backend instead: the bare name makes a second copy of each class"
    )
