"""These tests need TensorFlow: where it is absent pytest collects none of them."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore_glob = [] if find_spec("tensorflow") else ["test_*.py"]
