"""`mx.contrib.neuron` and `mx.neuron`, as scripts of the first Neuron integration have them."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ranvier.mxnet.compat import import_mxnet

LOG = logging.getLogger("ranvier")


def add_contrib() -> bool:
    """Import MXNet and add both; an MXNet that cannot be imported is logged and left alone."""
    try:
        mx = import_mxnet()
    except (ImportError, OSError) as error:
        LOG.warning("mxnet is installed and cannot be imported: %s", error)
        return False

    def context(device_id: int = 0) -> Any:
        """A NeuronCore: programs run on the reference machine, arrays are the host's."""
        return mx.cpu()

    mx.contrib.neuron = sys.modules["mxnet.contrib.neuron"] = sys.modules["ranvier.mxnet"]
    mx.neuron = context
    return True
