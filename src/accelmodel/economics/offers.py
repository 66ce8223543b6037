"""Arithmetic of offers: a system's hour, an accelerator's hour, a replica's hour, whole systems and what they strand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from accelmodel.economics import Values, check_range
from accelmodel.errors import InputError

Billing = Literal["accelerator", "system"]


@dataclass(frozen=True)
class Block:
    """The least set of whole systems that holds whole replicas: some replicas in one system, or one replica over some systems."""

    replicas: int
    systems: int


def block(accelerators_per_replica: int, accelerators_per_system: int) -> Block:
    """How replicas and systems fit each other; a small replica is never split over two systems.

    >>> block(3, 8), block(96, 64)
    (Block(replicas=2, systems=1), Block(replicas=1, systems=2))
    """
    for key, value in (("accelerators_per_replica", accelerators_per_replica), ("accelerators_per_system", accelerators_per_system)):
        if value < 1:
            raise InputError("must be at least 1", key=key, value=value)
    if accelerators_per_replica <= accelerators_per_system:
        return Block(replicas=accelerators_per_system // accelerators_per_replica, systems=1)
    return Block(replicas=1, systems=math.ceil(accelerators_per_replica / accelerators_per_system))


@dataclass(frozen=True)
class WholeSystems:
    """Whole systems for a number of replicas; `stranded_accelerators` are in them but in no replica."""

    systems: int
    accelerators: int
    stranded_accelerators: int


def whole_systems(replicas: int, accelerators_per_replica: int, accelerators_per_system: int) -> WholeSystems:
    """Systems to buy or rent for `replicas`: whole ones only.

    >>> whole_systems(3, 4, 8)
    WholeSystems(systems=2, accelerators=16, stranded_accelerators=4)
    """
    if replicas < 0:
        raise InputError("must be at least 0", key="replicas", value=replicas)
    unit = block(accelerators_per_replica, accelerators_per_system)
    systems = -(-replicas // unit.replicas) * unit.systems
    accelerators = systems * accelerators_per_system
    return WholeSystems(systems, accelerators, accelerators - replicas * accelerators_per_replica)


def accelerator_price_usd_per_h(system_price_usd_per_h: Values, accelerators_per_system: int) -> Values:
    """USD per accelerator-hour of a system that is priced whole."""
    check_range("accelerators_per_system", accelerators_per_system, at_least=1)
    return system_price_usd_per_h / accelerators_per_system


def discounted_price(price: Values, discount_fraction: Values) -> Values:
    """A price, in whatever unit, less a flat discount."""
    check_range("discount_fraction", discount_fraction, at_least=0, at_most=1)
    return price * (1 - discount_fraction)


def replica_cost_usd_per_h(
    accelerators_per_replica: int, accelerators_per_system: int, system_price_usd_per_h: Values, billing: Billing = "accelerator"
) -> Values:
    """USD per hour of one replica.

    Billed by "accelerator": accelerators x accelerator-hour. Billed by "system", as most are rented: its share of the
    whole systems that hold it and its like, stranded accelerators included (systems / replicas of a `block` x
    system-hour). Both agree where nothing is stranded.
    """
    if billing == "accelerator":
        return accelerators_per_replica * accelerator_price_usd_per_h(system_price_usd_per_h, accelerators_per_system)
    if billing == "system":
        unit = block(accelerators_per_replica, accelerators_per_system)
        return system_price_usd_per_h * unit.systems / unit.replicas
    raise InputError(f"'{billing}' is no way of billing", key="billing", value=billing, allowed=("accelerator", "system"))
