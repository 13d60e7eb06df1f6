"""What the machine of each target has. Source: `facts` in docs/design/0001-machine.md.

Fields named in `assumed` are guesses of this project, not documentation; reports say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from ranvier.dialects.nc.types import PARTITIONS


@dataclass(frozen=True)
class Machine:
    """One NeuronCore. Clocks in Hz, sizes in bytes per partition, bandwidths in bytes/s."""

    name: str
    pe_clock: float
    act_clock: float
    dve_clock: float
    pool_clock: float | None
    """None where the core has no general purpose engine."""
    pe_columns: int
    pe_f32_passes: int | None
    """Passes of the array for one f32 product; None where it multiplies no f32."""
    sbuf_bytes: int
    dma_engines: int
    dma_bytes_per_second: float
    """Of one DMA engine."""
    device_memory: int
    max_cores: int
    hardware_loops: bool
    assumed: frozenset[str] = frozenset()

    @property
    def sbuf_total(self) -> int:
        return PARTITIONS * self.sbuf_bytes


INF2 = Machine(
    name="inf2",
    pe_clock=2.8e9,
    act_clock=1.4e9,
    dve_clock=1.12e9,
    pool_clock=1.4e9,
    pe_columns=128,
    pe_f32_passes=4,
    sbuf_bytes=180224,
    dma_engines=16,
    dma_bytes_per_second=17e9,
    device_memory=32 << 30,
    max_cores=24,
    hardware_loops=True,
)

INF1 = Machine(
    name="inf1",
    pe_clock=1.0e9,
    act_clock=1.0e9,
    dve_clock=1.0e9,
    pool_clock=None,
    pe_columns=64,
    pe_f32_passes=None,
    sbuf_bytes=96 << 10,
    dma_engines=16,
    dma_bytes_per_second=50e9 / 16,
    device_memory=8 << 30,
    max_cores=64,
    hardware_loops=False,
    assumed=frozenset(
        {"pe_clock", "act_clock", "dve_clock", "pe_columns", "sbuf_bytes", "dma_engines"}
    ),
)

# The host beside the device, all assumed: a processor of a few cores on PCIe 4.0 x8.
HOST_MACS = 200e9
"""Multiply-accumulates per second."""
HOST_ELEMENTS = 4e9
"""Other element operations per second."""
HOST_BYTES = 12e9
"""Bytes per second between the host's memory and the device's."""
HOST_LATENCY = 15e-6
"""Seconds until a transfer and its launch are under way."""

MACHINES = {machine.name: machine for machine in (INF2, INF1)}
