"""Power: what an accelerator draws, and the clock that a power cap leaves."""

from __future__ import annotations

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError


def power_floor(replica: Replica, clock_fraction: float = 1.0) -> float:
    """Share of the design power that a running engine draws before it reads or computes, at a share of the full clock.

    What it draws beyond an idle accelerator is clock x voltage^2, and the voltage goes with the clock: p0(f) = idle + (p0 - idle) f^3.
    """
    idle, floor = replica.parameters["power_idle_fraction"], replica.parameters["power_floor_fraction"]
    return idle + (floor - idle) * clock_fraction**3


def capped_clock_fraction(replica: Replica) -> float:
    """Share of the full clock at which the accelerator's largest draw is its power cap.

    Above the draw of an idle accelerator, its draw goes with clock x voltage^2, and the voltage with the clock: (cap - idle) / (TDP - idle) = f^3.
    InputError for a cap at or below the idle draw.
    """
    cap_w = replica.serving.power_cap_w
    tdp_w = replica.accelerator.need("tdp").si
    idle_w = replica.parameters["power_idle_fraction"] * tdp_w
    if cap_w is None or cap_w >= tdp_w:
        return 1.0
    if cap_w <= idle_w:
        message = f"a cap of {cap_w:g} W is below the {idle_w:g} W that '{replica.accelerator.name}' draws idle"
        raise InputError(message, key="power_cap_w", value=cap_w)
    return float(((cap_w - idle_w) / (tdp_w - idle_w)) ** (1.0 / 3.0))
