"""Power: what an accelerator draws, and the clock that a power cap leaves."""

from __future__ import annotations

from accelmodel.core.replica import Replica
from accelmodel.errors import InputError


def capped_clock_fraction(replica: Replica) -> float:
    """Share of the full clock at which the accelerator's largest draw is its power cap.

    Above the running engine's floor p0 the draw goes with clock x voltage^2, and the voltage with the clock: (cap - p0) / (TDP - p0) = f^3.
    InputError for a cap at or below the floor.
    """
    cap_w = replica.serving.power_cap_w
    tdp_w = replica.accelerator.need("tdp").si
    floor_w = replica.parameters["power_floor_fraction"] * tdp_w
    if cap_w is None or cap_w >= tdp_w:
        return 1.0
    if cap_w <= floor_w:
        message = f"a cap of {cap_w:g} W is below the {floor_w:g} W that '{replica.accelerator.name}' draws before it computes"
        raise InputError(message, key="power_cap_w", value=cap_w)
    return float(((cap_w - floor_w) / (tdp_w - floor_w)) ** (1.0 / 3.0))
