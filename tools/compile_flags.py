"""The flags of neuron-cc that are not in its reference, and what ranvier makes of them.

Scripts pass them, so none is a usage error: one that means something here is mapped, any other is
accepted with a warning that names it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ranvier.tools.log import LOG

SAVE_TEMPS = "SaveTemps"
JOBS = ("compile", SAVE_TEMPS)
"""Jobs of `--pipeline` that mean something here."""

SWITCHES = (
    "--static-weights",
    "--batching_en",
    "--rematerialization_en",
    "--spill_dis",
    "--enable-experimental-bir-backend",
    "-O1",
    "-O3",
)
SETTINGS = (
    "--sb_size",
    "--enable-replication",
    "--arith_intensity_target",
    "--tensor-layout-heuristics",
    "--model-type",
    "--auto-cast",
    "--optlevel",
    "--state",
)
"""Flags without an effect, alone and with a value."""


class Ignored(argparse.Action):
    """Notes the flag as it was written."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.ignored = [*namespace.ignored, option_string]


def add_undocumented_flags(parser: argparse.ArgumentParser) -> None:
    """Accept them without a line in the help text."""
    hidden = argparse.SUPPRESS
    parser.set_defaults(ignored=[])
    for flag in SWITCHES:
        parser.add_argument(flag, action=Ignored, nargs=0, help=hidden)
    for flag in SETTINGS:
        parser.add_argument(flag, action=Ignored, help=hidden)
    parser.add_argument("--pipeline", nargs="+", default=[], metavar="JOB", help=hidden)
    parser.add_argument("--must-compile", action="store_true", help=hidden)
    parser.add_argument("--debug", action="store_true", help=hidden)
    parser.add_argument("-O2", "--O2", action="store_true", help=hidden)


def apply_undocumented_flags(arguments: argparse.Namespace) -> None:
    """Map what means something here, and warn of the rest by name."""
    if arguments.debug:
        LOG.setLevel(logging.DEBUG)
    if arguments.must_compile:
        arguments.fallback = "error"
    if SAVE_TEMPS in arguments.pipeline and arguments.save_temps is None:
        arguments.save_temps = Path()
    warn_ignored(arguments.ignored)
    warn_ignored([f"--pipeline {job}" for job in arguments.pipeline if job not in JOBS])


def warn_ignored(flags: Sequence[str]) -> None:
    for flag in dict.fromkeys(flags):
        LOG.warning("%s is accepted for the sake of scripts and has no effect", flag)
