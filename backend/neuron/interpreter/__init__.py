"""The machine: runs decoded programs on NumPy, engine by engine."""
