"""Accelerators (one chip as the serving engine sees it) and systems (what one buys or rents)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from accelmodel.catalog.figures import Figure, Name, Strict, of
from accelmodel.errors import InputError

Stack = Literal["cuda", "rocm", "neuron", "xla"]
Topology = Literal["single", "switch", "mesh", "ring", "torus-2d", "torus-3d", "pcie"]

_Peak = Annotated[Figure, of("compute", 1, 100_000, "TFLOP/s")]
_Memory = Annotated[Figure, of("memory", 1, 100_000, "GB")]
_MemoryBandwidth = Annotated[Figure, of("bandwidth", 0.1, 100, "TB/s")]
_LinkBandwidth = Annotated[Figure, of("bandwidth", 0.5, 10_000, "GB/s")]
_ChipPower = Annotated[Figure, of("power", 10, 10_000, "W")]


class AcceleratorFigures(Strict):
    """Figures of one accelerator. Peaks are dense; link bandwidth is one way per accelerator; an unknown figure is absent.

    `hbm_capacity` is what the vendor prints; `hbm_usable` what a driver or runtime reports (preferred where present).
    `scale_up_bandwidth` is one-way; `scale_out_bandwidth` the network's share per accelerator, one way.
    `tdp` is the design power of the chip or board; `it_power` the all-in IT power per accelerator (host, network and cooling inside the rack).
    """

    peak_bf16: _Peak | None = None
    peak_fp8: _Peak | None = None
    peak_fp4: _Peak | None = None
    peak_int8: _Peak | None = None
    peak_fp32: _Peak | None = None
    sparse_bf16: _Peak | None = None
    sparse_fp8: _Peak | None = None
    sparse_fp4: _Peak | None = None
    hbm_capacity: _Memory | None = None
    hbm_usable: _Memory | None = None
    hbm_bandwidth: _MemoryBandwidth | None = None
    dma_bandwidth: _MemoryBandwidth | None = None
    sram_capacity: Annotated[Figure | None, of("memory", 1, 10_000, "MB")] = None
    scale_up_bandwidth: _LinkBandwidth | None = None
    scale_out_bandwidth: _LinkBandwidth | None = None
    tdp: _ChipPower | None = None
    it_power: _ChipPower | None = None


class Derivation(Strict):
    """How a derived profile comes from its base: named factors, and which figures each scales or which are taken from another profile."""

    base: Name
    factors: dict[str, Figure]
    scaled: dict[str, str]
    taken: dict[str, str] = Field(default_factory=dict)


class Accelerator(Strict):
    """One chip. `ranks` is how many tensor-parallel ranks the serving engine sees on it (logical cores on some stacks)."""

    name: Name
    title: str
    vendor: str
    stack: Stack
    generation: Name
    aliases: tuple[str, ...] = ()
    launched: str | None = None
    process: str | None = None
    link: str | None = None
    ranks: int = Field(default=1, ge=1, le=64)
    note: str | None = None
    derivation: Derivation | None = None
    figures: AcceleratorFigures

    def need(self, figure: str) -> Figure:
        """A figure that the caller cannot do without; InputError with profile and figure where it is unknown."""
        found: Figure | None = getattr(self.figures, figure)
        if found is None:
            raise InputError(f"accelerator '{self.name}' has no figure '{figure}', which this needs", key=figure)
        return found

    @property
    def memory(self) -> Figure:
        """Memory of one accelerator that software can use: `hbm_usable`, or else `hbm_capacity`."""
        return self.figures.hbm_usable or self.need("hbm_capacity")


class Level(Strict):
    """One level of a system's scale-up network, innermost first.

    `accelerators` is the size of one group at this level; `shape` the sides of a torus; `bandwidth` one-way per accelerator at this
    level, the accelerator's `scale_up_bandwidth` where absent.
    """

    topology: Topology
    accelerators: int = Field(ge=1)
    shape: tuple[int, ...] = ()
    bandwidth: _LinkBandwidth | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _shape_holds_the_group(self) -> Level:
        if self.shape:
            product = 1
            for side in self.shape:
                product *= side
            if product != self.accelerators:
                raise ValueError(f"shape {list(self.shape)} holds {product} accelerators, not {self.accelerators}")
        return self


class SystemFigures(Strict):
    """Published figures of a whole system; totals are cross-checked against accelerators x accelerator."""

    vcpus: Annotated[Figure | None, of("ratio", 1, 100_000)] = None
    host_memory: Annotated[Figure | None, of("memory", 1, 1_000_000, "GB")] = None
    network_bandwidth: Annotated[Figure | None, of("bandwidth", 0.1, 100_000, "GB/s")] = None
    total_hbm_capacity: Annotated[Figure | None, of("memory", 1, 10_000_000, "GB")] = None
    total_hbm_bandwidth: Annotated[Figure | None, of("bandwidth", 0.1, 100_000, "TB/s")] = None
    total_peak_bf16: Annotated[Figure | None, of("compute", 1, 100_000_000, "TFLOP/s")] = None
    total_peak_fp8: Annotated[Figure | None, of("compute", 1, 100_000_000, "TFLOP/s")] = None
    total_peak_fp4: Annotated[Figure | None, of("compute", 1, 100_000_000, "TFLOP/s")] = None
    it_power: Annotated[Figure | None, of("power", 10, 100_000_000, "W")] = None


class System(Strict):
    """What one buys or rents: an instance, an UltraServer, a rack, a slice.

    `host_accelerators` are those of one host (board, tray), which goes down with it; the innermost level of the network where absent.
    """

    name: Name
    title: str
    provider: str
    accelerator: Name
    accelerators: int = Field(ge=1, le=100_000, description="number of accelerators in the system")
    host_accelerators: int | None = Field(default=None, ge=1, le=1_000)
    aliases: tuple[str, ...] = ()
    sold_within: Name | None = None
    source: str
    note: str | None = None
    scale_up: tuple[Level, ...] = Field(min_length=1)
    figures: SystemFigures = SystemFigures()

    @model_validator(mode="after")
    def _levels_grow(self) -> System:
        sizes = [level.accelerators for level in self.scale_up]
        if sizes != sorted(sizes):
            raise ValueError("scale_up levels go from the innermost (smallest) to the outermost")
        return self
