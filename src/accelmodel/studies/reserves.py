"""What a fleet holds beyond its peak: failures and repairs as its owner has them, the rest as a study asks for it."""

from __future__ import annotations

import dataclasses
import functools

from accelmodel.catalog.figures import Figure
from accelmodel.errors import InputError
from accelmodel.fleet.availability import FailureDomain
from accelmodel.fleet.demand import Demand
from accelmodel.fleet.sizing import FleetPlan, Held, Reserve, priced, size_fleet
from accelmodel.studies.fleet import supply_of, unit_of
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell
from accelmodel.studies.scenario import DemandStudy, Reserved
from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_HOUR


def reserve_of(cell: Cell, asked: Reserved) -> Reserve:
    """The reserve of a fleet of a situation's replicas; a tenant holds no spares.

    Two nested domains fail: the accelerator, and the host with all of its accelerators where the owner has figures of hosts.
    """
    failures_per_year, repair_h = _failures(cell, "failures_per_year", "repair_time")
    return Reserve(
        headroom_fraction=asked.headroom_fraction or 0.0,
        maintenance_fraction=asked.maintenance_fraction,
        availability_target_fraction=asked.availability_target_fraction,
        domains=failure_domains(cell),
        failures_per_accelerator_year=0.0 if cell.money.rents else failures_per_year,
        repair_turnaround_h=repair_h,
        spares_service_fraction=asked.spares_service_fraction,
        correlated_accelerators=asked.correlated_accelerators,
    )


def held_for(cell: Cell, point: Point, asked: Reserved, serving: int) -> Held:
    """What is installed for so many replicas that serve."""
    return _held(serving, supply_of(cell, point), reserve_of(cell, asked))


_held = functools.lru_cache(maxsize=4096)(Held)  # what it works out is kept with it: hours and rounds of proofs ask for the same


def sized(cell: Cell, point: Point, demand: Demand, asked: DemandStudy, serving: int | None = None) -> FleetPlan:
    """The fleet of a demand, which draws by its own mean load, whatever share of loaded hours the situation assumes; stranded accelerators idle."""
    supply = supply_of(cell, point)
    plan = size_fleet(demand, supply, reserve_of(cell, asked), unit_of(cell, point), asked.years, serving=serving)
    loaded_fraction = plan.replicas_mean * supply.accelerators / plan.accelerators
    loaded = dataclasses.replace(cell, money=dataclasses.replace(cell.money, occupancy=loaded_fraction))
    return priced(plan, supply, unit_of(loaded, point))


def failure_domains(cell: Cell) -> tuple[FailureDomain, ...]:
    """What fails as one in the system of a situation's replica, as its owner's figures have it."""
    system, owner = cell.replica.system, cell.money.catalog.ownership(cell.money.owner)
    domains = [_domain("accelerator", 1, *_failures(cell, "failures_per_year", "repair_time"))]
    if owner.figures.host_failures_per_year is not None:
        host = system.host_accelerators or system.scale_up[0].accelerators
        per_year, repair_h = _failures(cell, "host_failures_per_year", "host_repair_time")
        domains.append(_domain("host", host, per_year * host, repair_h))
    return tuple(domain for domain in domains if domain is not None)


def _domain(name: str, accelerators: int, failures_per_year: float, repair_h: float) -> FailureDomain | None:
    return FailureDomain(name, accelerators, HOURS_PER_YEAR / failures_per_year, repair_h) if failures_per_year > 0.0 else None


def _failures(cell: Cell, rate: str, repair: str) -> tuple[float, float]:
    """Failures a year and hours to repair, of the owner; InputError where it has no such figures."""
    owner = cell.money.catalog.ownership(cell.money.owner)
    found: list[Figure | None] = [getattr(owner.figures, name) for name in (rate, repair)]
    if found[0] is None or found[1] is None:
        raise InputError(f"owner '{owner.name}' has no figures '{rate}' and '{repair}', which sizing a fleet needs", key="owner")
    return found[0].si * HOURS_PER_YEAR * SECONDS_PER_HOUR, found[1].si / SECONDS_PER_HOUR
