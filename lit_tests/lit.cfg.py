"""lit configuration: `lit lit_tests` with the package installed beside this interpreter."""

import os
import sys
from typing import Any

import lit.formats

config: Any = globals()["config"]
config.name = "ranvier"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.test_source_root, "..", "build", "lit")
config.environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
# Print in generic form, parse that, print in pretty form, and check what is left.
config.substitutions.append(
    (
        "RANVIER_ROUNDTRIP",
        "ranvier-opt %s --print-op-generic --split-input-file "
        "| ranvier-opt --split-input-file | filecheck %s",
    )
)
