"""Sizing: a demand becomes replicas, reserves, whole systems, megawatts and money; and the inverse, what given accelerators carry.

Counts of one fleet are integers, so these functions take one fleet at a time.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from accelmodel.economics import check_range
from accelmodel.economics.offers import Block, block
from accelmodel.economics.ownership import Capital, OwnershipCost
from accelmodel.economics.tokens import TokenRates
from accelmodel.errors import InputError
from accelmodel.fleet.availability import FailureDomain, blocks_for_availability, fewest_in_blocks, mean_in_repair, replicas_up, spare_stock
from accelmodel.fleet.counts import whole
from accelmodel.fleet.demand import Demand
from accelmodel.units import HOURS_PER_YEAR, SECONDS_PER_DAY

Array = npt.NDArray[np.float64]

_W_PER_MW = 1e6
_FLOP_PER_EFLOP = 1e18


@dataclass(frozen=True)
class ReplicaSupply:
    """One replica: its accelerators, those of the system that it stands in, and its goodput.

    `goodput` is the tokens per second of each stream that it carries at once within its latency targets.
    """

    accelerators: int
    accelerators_per_system: int
    goodput: TokenRates

    @property
    def block(self) -> Block:
        """The least set of systems that holds whole replicas."""
        return block(self.accelerators, self.accelerators_per_system)


@dataclass(frozen=True)
class Reserve:
    """What a fleet holds beyond its peak.

    `headroom_fraction` of the replicas is left for queueing, `maintenance_fraction` is drained; enough of the rest is up with probability
    `availability_target_fraction`; beside them stand `correlated_accelerators`, as many as fail at once with what many systems share (a building's power);
    spares for accelerators that fail and are away for `repair_turnaround_h` are there with probability `spares_service_fraction`.
    """

    headroom_fraction: float
    maintenance_fraction: float
    availability_target_fraction: float
    domains: tuple[FailureDomain, ...]
    failures_per_accelerator_year: float
    repair_turnaround_h: float
    spares_service_fraction: float
    correlated_accelerators: int = 0

    def __post_init__(self) -> None:
        check_range("correlated_accelerators", self.correlated_accelerators, at_least=0)
        check_range("headroom_fraction", self.headroom_fraction, at_least=0, below=1)
        check_range("maintenance_fraction", self.maintenance_fraction, at_least=0, below=1)
        check_range("failures_per_accelerator_year", self.failures_per_accelerator_year, at_least=0)
        check_range("repair_turnaround_h", self.repair_turnaround_h, at_least=0)


@dataclass(frozen=True)
class Held:
    """What is installed so that `serving` replicas are up and not drained as often as asked: the one equation of reserves, of every study of a fleet.

    with_maintenance              ceil(serving / (1 - drained))
    blocks_for_failures           fewest blocks of which that many replicas are up with the target's probability
    blocks                        those, and as many as fail together
    accelerators                  of all systems; spares are for them
    """

    serving: int
    replica: ReplicaSupply
    reserve: Reserve

    @functools.cached_property
    def with_maintenance(self) -> int:
        """Replicas so that enough are left where some are drained."""
        return int(whole(self.serving / (1 - self.reserve.maintenance_fraction)))

    @functools.cached_property
    def states(self) -> Array:
        """Probabilities that 0, 1 ... all replicas of a block are up."""
        return replicas_up(self.replica.block.replicas, self.replica.accelerators, self.reserve.domains)

    @functools.cached_property
    def blocks_for_failures(self) -> int:
        """Whole blocks of which enough replicas are up."""
        return blocks_for_availability(self.with_maintenance, self.states, self.reserve.availability_target_fraction)

    @functools.cached_property
    def fewest_replicas(self) -> int:
        """Replicas of which enough are up where the last block may be filled in part, the rest of it being another pool's."""
        reserve = self.reserve
        return fewest_in_blocks(
            self.with_maintenance, self.blocks_for_failures, self.states, self.replica.accelerators, reserve.domains, reserve.availability_target_fraction
        )

    @property
    def blocks(self) -> int:
        """Blocks installed."""
        in_block = self.replica.block.systems * self.replica.accelerators_per_system
        return self.blocks_for_failures + (-(-self.reserve.correlated_accelerators // in_block) if self.blocks_for_failures else 0)

    @property
    def replicas(self) -> int:
        """Replicas installed."""
        return self.blocks * self.replica.block.replicas

    @property
    def systems(self) -> int:
        """Systems installed, spares not among them."""
        return self.blocks * self.replica.block.systems

    @property
    def accelerators(self) -> int:
        """Accelerators of these systems."""
        return self.systems * self.replica.accelerators_per_system

    @property
    def gap(self) -> dict[str, int]:
        """Replicas beyond those that serve, by what they are for; they sum to `replicas` less `serving`."""
        for_failures = self.blocks_for_failures * self.replica.block.replicas
        return {
            "drained": self.with_maintenance - self.serving,
            "failures and whole systems": for_failures - self.with_maintenance,
            "correlated failures": self.replicas - for_failures,
        }

    @functools.cached_property
    def spares(self) -> Spares:
        """What waits on the shelf."""
        return spares_for(self.accelerators, self.replica.accelerators_per_system, self.reserve)


@dataclass(frozen=True)
class Spares:
    """Accelerators that wait on the shelf, bought as whole systems."""

    accelerators: int
    systems: int


def spares_for(accelerators: int, accelerators_per_system: int, reserve: Reserve) -> Spares:
    """The stock for so many accelerators in place: fewest with P(in repair <= stock) >= service, in whole systems."""
    in_repair = mean_in_repair(accelerators, reserve.failures_per_accelerator_year, reserve.repair_turnaround_h)
    stock = spare_stock(in_repair, reserve.spares_service_fraction)
    return Spares(stock, -(-stock // accelerators_per_system))


@dataclass(frozen=True)
class UnitFigures:
    """What one installed accelerator draws, computes, ties up and costs; and what a spare on the shelf ties up and costs.

    IT power is all-in (host and network included), the peak NaN where unknown; cost is per hour powered, all 8760 of a year.
    """

    it_power_w: float
    pue: float
    peak_flop_per_s: float
    capital_usd: float
    cost_usd_per_h: float
    spare_capital_usd: float
    spare_cost_usd_per_h: float

    def __post_init__(self) -> None:
        if not math.isnan(self.it_power_w):
            check_range("it_power_w", self.it_power_w, above=0)
        check_range("pue", self.pue, at_least=1)


def owned_unit(it_power_w: float, pue: float, peak_flop_per_s: float, capital: Capital, cost: OwnershipCost) -> UnitFigures:
    """An accelerator that its owner pays for. The fleet's own stock of spares stands in place of the ownership terms' share of spares."""
    if cost.basis != "powered":
        raise InputError("a fleet pays for every powered hour", key="cost.basis", value=cost.basis, allowed=("powered",))
    return UnitFigures(
        it_power_w=it_power_w,
        pue=pue,
        peak_flop_per_s=peak_flop_per_s,
        capital_usd=float(capital.server_usd + capital.network_usd + capital.facility_usd),
        cost_usd_per_h=float(cost.total_usd_per_h - cost.spares_usd_per_h),
        spare_capital_usd=float(capital.server_usd),
        spare_cost_usd_per_h=float(cost.server_capital_usd_per_h),
    )


def rented_unit(it_power_w: float, pue: float, peak_flop_per_s: float, price_usd_per_accelerator_h: float) -> UnitFigures:
    """An accelerator rented around the clock: its price is all that it costs the tenant, who buys nothing.

    A tenant holds no spares: give `Reserve` a failure rate of 0.
    """
    return UnitFigures(it_power_w, pue, peak_flop_per_s, 0.0, price_usd_per_accelerator_h, 0.0, 0.0)


@dataclass(frozen=True)
class FleetPlan:
    """A fleet for a demand, each step of its sizing kept.

    replicas_mean, replicas_peak       demand / goodput, before rounding
    lower_bound_*                      the honest lower bound: ceil(rate / goodput) at mean and peak, no reserve at all
    replicas_with_headroom             ceil(peak / (1 - headroom)), or what a simulation proved
    replicas_with_maintenance          ceil(that / (1 - drained))
    replicas_for_failures              in blocks of which enough are up as often as asked
    replicas                           installed: those, and the correlated ones
    up_fraction                        mean share of a block's replicas that are up
    systems, accelerators              whole systems; stranded accelerators are in no replica
    spare_accelerators, spare_systems  beside them, on the shelf, unpowered; bought as whole systems
    mean_occupancy_fraction            mean demand over what all installed replicas could carry
    capital_usd, annual_cost_usd       of systems and spares; every powered hour is paid for, idle or not
    held                               what its counts follow from
    """

    replicas_mean: float
    replicas_peak: float
    lower_bound_replicas_mean: int
    lower_bound_replicas_peak: int
    replicas_with_headroom: int
    replicas_with_maintenance: int
    replicas_for_failures: int
    up_fraction: float
    replicas: int
    systems: int
    accelerators: int
    stranded_accelerators: int
    spare_accelerators: int
    spare_systems: int
    mean_occupancy_fraction: float
    it_power_mw: float
    facility_power_mw: float
    peak_eflop_per_s: float
    capital_usd: float
    annual_cost_usd: float
    held: Held

    @property
    def gap(self) -> dict[str, int]:
        """Replicas beyond the lower bound at the peak, by what they are for; they sum to `replicas` less the bound."""
        return {"headroom": self.replicas_with_headroom - self.lower_bound_replicas_peak} | self.held.gap


@dataclass(frozen=True)
class FleetCapacity:
    """What a given number of accelerators carries, draws, ties up and costs."""

    accelerators: int
    systems: int
    replicas: int
    stranded_accelerators: int
    uncached_input_tokens_per_day: float
    cached_input_tokens_per_day: float
    output_tokens_per_day: float
    it_power_mw: float
    facility_power_mw: float
    peak_eflop_per_s: float
    capital_usd: float
    annual_cost_usd: float

    @property
    def tokens_per_day(self) -> float:
        """All tokens, input and output."""
        return self.uncached_input_tokens_per_day + self.cached_input_tokens_per_day + self.output_tokens_per_day


def replicas_to_carry(rates: TokenRates, goodput: TokenRates) -> float:
    """Replicas, not rounded, that carry these rates: the largest of rate / goodput over the streams.

    Where demand and goodput have one mix, all streams agree. Where not, this is enough: no replica is given more of
    any stream than it can carry of all at once. InputError for a stream in demand of which a replica carries none.
    """
    shares = [0.0]
    for name, rate, carried in zip(("uncached input", "cached input", "output"), rates.streams, goodput.streams, strict=True):
        if rate > 0 and not carried > 0:
            raise InputError(f"the demand has {name} tokens, of which the replica's goodput has none", key="goodput", value=carried)
        if rate > 0:
            shares.append(float(rate / carried))
    return max(shares)


def size_fleet(demand: Demand, replica: ReplicaSupply, reserve: Reserve, unit: UnitFigures, years: float = 0.0, *, serving: int | None = None) -> FleetPlan:
    """Size a fleet for a demand `years` from now.

    Demand at its peak -> / goodput -> / (1 - headroom) -> / (1 - drained) -> smallest number of blocks (the least set of systems that holds whole replicas)
    with P(enough replicas up) >= target -> those that fail together -> spares -> power and money. Each step rounds up to whole things. `serving` replicas, as
    a simulation proved them, take the place of peak / (1 - headroom).
    """
    mean, peak = (replicas_to_carry(rates, replica.goodput) for rates in (demand.mean_rates(years), demand.peak_rates(years)))
    with_headroom = int(whole(peak / (1 - reserve.headroom_fraction))) if serving is None else serving
    held = Held(with_headroom, replica, reserve)
    least, accelerators = replica.block, held.accelerators
    capital_usd, annual_cost_usd = fleet_money(unit, accelerators, held.spares.systems * replica.accelerators_per_system)
    return FleetPlan(
        replicas_mean=mean,
        replicas_peak=peak,
        lower_bound_replicas_mean=int(whole(mean)),
        lower_bound_replicas_peak=int(whole(peak)),
        replicas_with_headroom=with_headroom,
        replicas_with_maintenance=held.with_maintenance,
        replicas_for_failures=held.blocks_for_failures * least.replicas,
        up_fraction=float(np.arange(least.replicas + 1) @ held.states) / least.replicas,
        replicas=held.replicas,
        systems=held.systems,
        accelerators=accelerators,
        stranded_accelerators=accelerators - held.replicas * replica.accelerators,
        spare_accelerators=held.spares.accelerators,
        spare_systems=held.spares.systems,
        mean_occupancy_fraction=mean / held.replicas if held.replicas else math.nan,
        it_power_mw=accelerators * unit.it_power_w / _W_PER_MW,
        facility_power_mw=accelerators * unit.it_power_w * unit.pue / _W_PER_MW,
        peak_eflop_per_s=accelerators * unit.peak_flop_per_s / _FLOP_PER_EFLOP,
        capital_usd=capital_usd,
        annual_cost_usd=annual_cost_usd,
        held=held,
    )


def priced(plan: FleetPlan, replica: ReplicaSupply, unit: UnitFigures) -> FleetPlan:
    """The same fleet at other capital and cost of an accelerator."""
    capital_usd, annual_cost_usd = fleet_money(unit, plan.accelerators, plan.spare_systems * replica.accelerators_per_system)
    return replace(plan, capital_usd=capital_usd, annual_cost_usd=annual_cost_usd)


def fleet_capacity(
    accelerators: int,
    replica: ReplicaSupply,
    unit: UnitFigures,
    *,
    occupancy_fraction: float,
    availability_fraction: float,
    spare_accelerators: int = 0,
) -> FleetCapacity:
    """What `accelerators` in place carry: replicas x goodput x availability x occupancy.

    `occupancy_fraction` is the mean load over the replica's goodput, `availability_fraction` the share of time that a
    replica is up. Systems are counted whole, a last one that is partly filled included; power and money go by the
    accelerators themselves.
    """
    check_range("accelerators", accelerators, at_least=0)
    check_range("occupancy_fraction", occupancy_fraction, at_least=0, at_most=1)
    check_range("availability_fraction", availability_fraction, at_least=0, at_most=1)
    replicas = replicas_in(accelerators, replica)
    capital_usd, annual_cost_usd = fleet_money(unit, accelerators, spare_accelerators)
    busy_s_per_day = replicas * availability_fraction * occupancy_fraction * SECONDS_PER_DAY
    uncached, cached, output = (float(rate * busy_s_per_day) for rate in replica.goodput.streams)
    return FleetCapacity(
        accelerators=accelerators,
        systems=-(-accelerators // replica.accelerators_per_system),
        replicas=replicas,
        stranded_accelerators=accelerators - replicas * replica.accelerators,
        uncached_input_tokens_per_day=uncached,
        cached_input_tokens_per_day=cached,
        output_tokens_per_day=output,
        it_power_mw=accelerators * unit.it_power_w / _W_PER_MW,
        facility_power_mw=accelerators * unit.it_power_w * unit.pue / _W_PER_MW,
        peak_eflop_per_s=accelerators * unit.peak_flop_per_s / _FLOP_PER_EFLOP,
        capital_usd=capital_usd,
        annual_cost_usd=annual_cost_usd,
    )


def replicas_in(accelerators: int, replica: ReplicaSupply) -> int:
    """Replicas that so many accelerators hold, none split over two systems that could stand in one."""
    least = replica.block
    blocks, left = divmod(accelerators, least.systems * replica.accelerators_per_system)
    return blocks * least.replicas + left // replica.accelerators


def fleet_money(unit: UnitFigures, accelerators: float, spares: int) -> tuple[float, float]:
    """Capital in USD and annual cost in USD of accelerators and spares."""
    capital = accelerators * unit.capital_usd + spares * unit.spare_capital_usd
    hourly = accelerators * unit.cost_usd_per_h + spares * unit.spare_cost_usd_per_h
    return capital, hourly * HOURS_PER_YEAR
