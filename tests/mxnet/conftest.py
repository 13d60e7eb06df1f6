"""These tests need MXNet: where it is absent pytest collects none of them."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

# MXNet's own subgraph backend announces itself at each bind.
os.environ.setdefault("MXNET_SUBGRAPH_BACKEND", "NONE")
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore_glob = [] if find_spec("mxnet") else ["test_*.py"]
