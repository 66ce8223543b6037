"""Sites: whole systems go where there is power for them, one site after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from accelmodel.economics import check_range
from accelmodel.errors import InputError

_W_PER_MW = 1e6


@dataclass(frozen=True)
class Site:
    """A place for systems: the power that it may draw at the meter (inf: no limit), and the power usage effectiveness."""

    name: str
    facility_power_mw: float
    pue: float

    def __post_init__(self) -> None:
        check_range(f"{self.name}.pue", self.pue, at_least=1)
        if not self.facility_power_mw >= 0.0:
            raise InputError("must be at least 0", key=f"{self.name}.facility_power_mw", value=self.facility_power_mw)

    def room(self, it_power_w: float, diversity_fraction: float = 1.0) -> float:
        """Whole systems of so much IT power each that it feeds: floor(MW / (PUE x W x diversity)); inf without a limit."""
        fed = self.facility_power_mw * _W_PER_MW / (self.pue * it_power_w * diversity_fraction)
        return fed if math.isinf(fed) else math.floor(fed * (1 + 1e-12))


@dataclass(frozen=True)
class Placed:
    """Systems at a site and what they draw at its meter."""

    site: str
    systems: int
    facility_power_mw: float


def place(systems: int, it_power_w: float, sites: Sequence[Site], diversity_fraction: float = 1.0) -> list[Placed]:
    """Fill sites in their order with `systems` of `it_power_w` each; `diversity_fraction` of the design power is drawn at once at most.

    InputError where they do not hold all: how many systems and megawatts are short.
    """
    check_range("power_diversity_fraction", diversity_fraction, above=0, at_most=1)
    left, placed = systems, []
    for site in sites:
        here = int(min(left, site.room(it_power_w, diversity_fraction)))
        left -= here
        placed.append(Placed(site.name, here, here * it_power_w * diversity_fraction * site.pue / _W_PER_MW))
    if left > 0:
        short_mw = left * it_power_w * diversity_fraction * sites[-1].pue / _W_PER_MW
        held = ", ".join(f"{one.site} {one.systems:,}" for one in placed)
        short = f"{left:,} systems, {short_mw:,.1f} MW at the meter, are short"
        message = f"the fleet has {systems:,} systems and its sites feed {systems - left:,} ({held}): {short}"
        raise InputError(message, key="sites")
    return placed
