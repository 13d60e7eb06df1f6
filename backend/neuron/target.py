"""The NeuronCore targets as the passes see them."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Operation

from ranvier.backend.neuron import limits
from ranvier.backend.neuron.lowering.registry import why_unsupported
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.interfaces import ReferenceSemantics
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.types import size_of


@dataclass(frozen=True)
class NeuronTarget:
    """One generation of NeuronCore. Implements `ranvier.passes.target.Target`."""

    machine: limits.Machine

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def weight_capacity(self) -> int:
        """Bytes of weights that one core can keep on chip."""
        return self.machine.sbuf_total

    @property
    def max_cores(self) -> int:
        return self.machine.max_cores

    def why_unsupported(self, op: Operation) -> Reason | None:
        """Why the op does not run on a core, or None if it does."""
        return why_unsupported(op, self.machine)

    def cost(self, op: Operation) -> float:
        """Estimated seconds on one core: arithmetic at full rate, operands and results by DMA."""
        if not isinstance(op, ReferenceSemantics):
            return 0.0
        work = op.work()
        arithmetic = work.macs / (PARTITIONS * self.machine.pe_columns * self.machine.pe_clock)
        arithmetic += work.elements / (PARTITIONS * self.machine.dve_clock)
        # A lookup reads the rows that it picks, not its whole table.
        lookup = isinstance(op, nn.GatherOp | nn.GatherElementsOp | nn.GatherNdOp)
        read = (op.indices, op.result) if lookup else op.operands
        moved = 2 * sum(size_of(value) for value in (*read, *op.results))
        bandwidth = self.machine.dma_engines * self.machine.dma_bytes_per_second
        return max(arithmetic, moved / bandwidth)

    def host_cost(self, op: Operation) -> float:
        """Estimated seconds on the host, by the assumed speeds of `limits`."""
        if not isinstance(op, ReferenceSemantics):
            return 0.0
        work = op.work()
        return work.macs / limits.HOST_MACS + work.elements / limits.HOST_ELEMENTS

    def transfer_cost(self, nbytes: int) -> float:
        """Estimated seconds to move bytes over the host's bus, by the assumed numbers."""
        return limits.HOST_LATENCY + nbytes / limits.HOST_BYTES if nbytes else 0.0

    def pipeline(self, cores: int) -> str:
        return "lower-nn-to-nc,keep-on-chip,double-buffer,allocate,schedule"


INF1 = NeuronTarget(limits.INF1)
INF2 = NeuronTarget(limits.INF2)
