"""How a powered hour is used, and what each use costs: loaded, kept warm, idle, drained, failed. None of them is free, and none is left out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from accelmodel.economics import Values, check_range


@dataclass(frozen=True)
class TimeUse:
    """Shares of the powered hours; they sum to 1.

    loaded      carries its load
    keep_warm   up without load, the model resident, ready at once
    idle        up without load, free for something else
    drained     taken out on purpose: maintenance, upgrades
    failed      down until repaired
    """

    loaded_fraction: Values
    keep_warm_fraction: Values
    idle_fraction: Values
    drained_fraction: Values
    failed_fraction: Values

    @property
    def available_fraction(self) -> Values:
        """Up: loaded, kept warm or idle."""
        return self.loaded_fraction + self.keep_warm_fraction + self.idle_fraction


def time_use(availability_fraction: Values, occupancy_fraction: Values, *, keep_warm_fraction: Values = 0.0, failed_fraction: Values = 0.0) -> TimeUse:
    """Shares of the powered hours from what owners state.

    Occupancy is of the available hours, `keep_warm_fraction` of those without load. `failed_fraction` (failures a year x hours of repair / 8760) is at
    most what availability leaves; the rest of it is drained.

    >>> round(float(time_use(0.95, 0.6, keep_warm_fraction=0.5, failed_fraction=0.01).drained_fraction), 9)
    0.04
    """
    check_range("availability_fraction", availability_fraction, above=0, at_most=1)
    for key, value in (("occupancy_fraction", occupancy_fraction), ("keep_warm_fraction", keep_warm_fraction), ("failed_fraction", failed_fraction)):
        check_range(key, value, at_least=0, at_most=1)
    down = 1.0 - np.asarray(availability_fraction)[()]
    failed = np.minimum(failed_fraction, down)[()]
    unloaded = availability_fraction * (1.0 - np.asarray(occupancy_fraction)[()])
    return TimeUse(availability_fraction * occupancy_fraction, unloaded * keep_warm_fraction, unloaded * (1.0 - keep_warm_fraction), down - failed, failed)


def occupancy_by_hour_fraction(accelerators_by_hour: Values, headroom_fraction: float = 0.0) -> float:
    """Mean occupancy of a fleet that is sized for its busiest hour: (1 - headroom) x mean / peak of the accelerators that the load needs hour by hour.

    >>> round(occupancy_by_hour_fraction(np.array([4.0, 8.0]), headroom_fraction=0.2), 9)
    0.6
    """
    check_range("accelerators_by_hour", accelerators_by_hour, at_least=0)
    check_range("headroom_fraction", headroom_fraction, at_least=0, below=1)
    return float((1.0 - headroom_fraction) * np.mean(accelerators_by_hour) / np.max(accelerators_by_hour))


@dataclass(frozen=True)
class TimeCost:
    """USD per available hour, by the use that is made of the powered hours behind it."""

    loaded_usd_per_h: Values
    keep_warm_usd_per_h: Values
    idle_usd_per_h: Values
    drained_usd_per_h: Values
    failed_usd_per_h: Values

    @property
    def lines(self) -> dict[str, Values]:
        """Use -> USD per available hour."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def total_usd_per_h(self) -> Values:
        """Sum of the lines: the cost of a powered hour / availability."""
        return sum(self.lines.values(), start=0.0)


def cost_by_use(use: TimeUse, loaded_usd_per_h: Values, unloaded_usd_per_h: Values) -> TimeCost:
    """What each use of the hours costs, borne by the available ones: share x cost of such an hour / availability.

    A loaded hour costs more by the energy of its load; hours without load, warm or idle, cost `unloaded_usd_per_h`; hours drained or failed cost what
    an available hour costs on average, as they fall on it whatever it does.
    """
    available = use.available_fraction
    unloaded = use.keep_warm_fraction + use.idle_fraction
    mean = (use.loaded_fraction * loaded_usd_per_h + unloaded * unloaded_usd_per_h) / available
    hours = (loaded_usd_per_h, unloaded_usd_per_h, unloaded_usd_per_h, mean, mean)
    shares = (use.loaded_fraction, use.keep_warm_fraction, use.idle_fraction, use.drained_fraction, use.failed_fraction)
    return TimeCost(*(share * hour / available for share, hour in zip(shares, hours, strict=True)))
