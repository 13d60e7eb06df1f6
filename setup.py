"""Map the root folders to `ranvier.*`; everything static stands in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ("dialects", "passes", "importers", "backend", "tools")

setup(
    package_dir={"ranvier": "src/ranvier"} | {f"ranvier.{folder}": folder for folder in FOLDERS},
    packages=["ranvier"]
    + [f"ranvier.{package}" for package in find_packages("src/ranvier")]
    + [f"ranvier.{folder}" for folder in FOLDERS]
    + [f"ranvier.{folder}.{package}" for folder in FOLDERS for package in find_packages(folder)],
)
