"""Capital over time: cash by period of a fleet that is bought, ramped, worked and sold, and what an investor asks of it.

Time runs in periods (quarters, years). What is bought for period p is paid at its start, time p; what period p earns and costs comes at its end, time
p + 1. So n periods have n + 1 times.

A fleet's amounts and its course's rates may be arrays of one shape, a value a draw: time is then the first axis of every flow. Only the life of equipment is
one number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from accelmodel.economics import Values, check_range
from accelmodel.economics.curves import compounded, learning_curve_fraction, ramp_fraction
from accelmodel.economics.depreciation import macrs_fractions
from accelmodel.errors import InputError

Array = npt.NDArray[np.float64]


def per_period_fraction(fraction_per_year: float, periods_per_year: int) -> float:
    """Rate per period that compounds to a yearly one: (1 + r)^(1/m) - 1.

    >>> round(per_period_fraction(0.08243216, 4), 9)
    0.02
    """
    return float((1.0 + fraction_per_year) ** (1.0 / periods_per_year) - 1.0)


def per_year_fraction(fraction_per_period: float, periods_per_year: int) -> float:
    """Yearly rate that a rate per period compounds to: (1 + i)^m - 1."""
    return float((1.0 + fraction_per_period) ** periods_per_year - 1.0)


def net_present_value_usd(flows_usd: Sequence[float] | Array, discount_fraction: float) -> float:
    """NPV: sum of flow_t / (1 + r)^t, the first flow at once."""
    import numpy_financial as npf

    return float(npf.npv(discount_fraction, np.asarray(flows_usd, float)))


def internal_rate_of_return_fraction(flows_usd: Sequence[float] | Array) -> float:
    """IRR: the rate per period at which the NPV is 0, of several the one closest to 0; NaN where flows never change sign."""
    import numpy_financial as npf

    flows = np.asarray(flows_usd, float)
    if not (np.any(flows > 0) and np.any(flows < 0)):
        return math.nan
    return float(npf.irr(flows))


def present_values_usd(flows_usd: Array, discount_fractions: Values) -> Array:
    """NPV of many cash flows at once, each at a rate of its own: sum over the first axis of flow_t / (1 + r)^t; shape that of the other axes.

    >>> present_values_usd(np.array([[-100.0, -100.0], [110.0, 110.0]]), np.array([0.1, 0.0])).round(9).tolist()
    [0.0, 10.0]
    """
    growth, total = 1.0 + np.asarray(discount_fractions, float), np.zeros(np.shape(flows_usd)[1:])
    for flow in flows_usd[::-1]:  # Horner's rule: a power for every time would cost more than the flows themselves
        total = total / growth + flow
    return total


def payback_periods(flows_usd: Sequence[float] | Array, discount_fraction: float = 0.0) -> float:
    """Periods until the flows, discounted where a rate is given, have paid back, to the fraction of the last one; NaN where they never do.

    Money that is spent later counts: what is paid back must stay so.

    >>> round(payback_periods([-100.0, 40.0, 40.0, 40.0]), 3)
    2.5
    """
    flows = np.asarray(flows_usd, float)
    total = np.cumsum(flows / (1.0 + discount_fraction) ** np.arange(len(flows)))
    if total[-1] < 0 or total.min() >= 0:
        return math.nan if total[-1] < 0 else 0.0
    last = int(np.flatnonzero(total < 0)[-1])
    return last + float(-total[last] / (total[last + 1] - total[last]))


def profitability_index(flows_usd: Sequence[float] | Array, investments_usd: Sequence[float] | Array, discount_fraction: float) -> float:
    """PI: present value of what an investment returns over that of what is invested, 1 + NPV / PV(investments); `investments_usd` are positive."""
    invested = net_present_value_usd(investments_usd, discount_fraction)
    return 1.0 + net_present_value_usd(flows_usd, discount_fraction) / invested if invested > 0 else math.nan


def levelised_cost(costs_usd: Sequence[float] | Array, output: Sequence[float] | Array, discount_fraction: float) -> float:
    """PV of costs over PV of output: the constant price at which the NPV is 0; NaN without output."""
    made = net_present_value_usd(output, discount_fraction)
    return net_present_value_usd(costs_usd, discount_fraction) / made if made > 0 else math.nan


@dataclass(frozen=True)
class Fleet:
    """A fleet as it is on the first day: what it costs to buy, and, per year at full ramp, what it earns, takes and makes.

    Energy is in two parts: what hours without load take, all the year, and what load adds. `accelerator_h_per_year` are available hours.
    """

    equipment_usd: Values
    facility_usd: Values = 0.0
    revenue_usd_per_year: Values = 0.0
    unloaded_energy_usd_per_year: Values = 0.0
    load_energy_usd_per_year: Values = 0.0
    upkeep_usd_per_year: Values = 0.0
    mtok_per_year: Values = 0.0
    accelerator_h_per_year: Values = 0.0


@dataclass(frozen=True)
class Course:
    """How a fleet goes through time.

    purchase_fractions        share of the fleet that is bought for each period from `first_period` on; they sum to 1
    ramp_years                from purchase to full load
    *_change_fraction_per_year  prices of tokens, of equipment, and tokens that the same equipment makes (software), each compounding from time 0
    price_cuts                (year, fraction): the price of tokens falls by that much at once, as EC2's did in June 2025
    progress_fraction         price of equipment that a doubling of all bought so far leaves (learning curve)
    sold_at_book              what the horizon cuts off is worth its straight-line book value (the business goes on); otherwise its residual value
    """

    periods: int
    periods_per_year: int = 4
    first_period: int = 0
    purchase_fractions: tuple[float, ...] = (1.0,)
    ramp_years: Values = 0.0
    price_change_fraction_per_year: Values = 0.0
    equipment_price_change_fraction_per_year: Values = 0.0
    speedup_fraction_per_year: Values = 0.0
    equipment_life_years: Values = 5.0
    facility_life_years: Values = 14.0
    residual_fraction: Values = 0.0
    decommissioning_fraction: Values = 0.0
    tax_fraction: Values = 0.0
    sold_at_book: bool = True
    price_cuts: tuple[tuple[float, float], ...] = ()
    progress_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_range("periods", self.periods, above=self.first_period)
        check_range("equipment_life_years", self.equipment_life_years, above=0)
        check_range("facility_life_years", self.facility_life_years, above=0)
        check_range("purchase_fractions", np.array(self.purchase_fractions), at_least=0, at_most=1)
        check_range("progress_fraction", self.progress_fraction, above=0)
        check_range("price_cuts", np.array([fraction for _, fraction in self.price_cuts]), at_least=0, at_most=1)
        check_range("tax_fraction", self.tax_fraction, at_least=0, below=1)
        if abs(sum(self.purchase_fractions) - 1.0) > 1e-9:
            raise InputError("must sum to 1", key="purchase_fractions", value=self.purchase_fractions)
        if self.first_period + len(self.purchase_fractions) > self.periods:
            raise InputError("the purchases outlast the horizon", key="purchase_fractions", value=self.purchase_fractions)

    def token_price_factor(self, years: Array) -> Array:
        """Price of tokens over that of the first day: (1 + change)^t, less every cut so far."""
        factor: Array = np.asarray(compounded(self.price_change_fraction_per_year, years))
        for year, fraction in self.price_cuts:
            factor = factor * np.where(years >= year, 1.0 - fraction, 1.0)
        return factor

    def equipment_price_factor(self, number: int) -> float:
        """Price of the equipment of purchase `number` over that of the first, by learning alone."""
        bought = np.cumsum(self.purchase_fractions)
        return float(learning_curve_fraction(bought[number] / bought[bought > 0][0], self.progress_fraction))


def _zeros() -> Array:
    return np.zeros(0)


@dataclass(frozen=True)
class CashFlow:
    """Cash and output by time (index t of n + 1). Revenue and proceeds are received, the rest is paid; all are positive as a rule."""

    revenue_usd: Array = field(default_factory=_zeros)
    investment_usd: Array = field(default_factory=_zeros)
    energy_usd: Array = field(default_factory=_zeros)
    upkeep_usd: Array = field(default_factory=_zeros)
    proceeds_usd: Array = field(default_factory=_zeros)
    tax_usd: Array = field(default_factory=_zeros)
    mtok: Array = field(default_factory=_zeros)
    accelerator_h: Array = field(default_factory=_zeros)

    @property
    def net_usd(self) -> Array:
        """Cash flow: revenue + proceeds - investment - energy - upkeep - tax."""
        return self.revenue_usd - self.cost_usd

    @property
    def cost_usd(self) -> Array:
        """All that is paid, less proceeds."""
        return self.investment_usd + self.energy_usd + self.upkeep_usd + self.tax_usd - self.proceeds_usd

    def __add__(self, other: CashFlow) -> CashFlow:
        return CashFlow(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in dataclasses.fields(self)})


def cash_flow(fleet: Fleet, course: Course) -> CashFlow:
    """Cash by time of a fleet: the sum over its purchases, each replaced at the end of its life while the horizon lasts."""
    empty = [np.zeros((course.periods + 1, *_draws(fleet, course))) for _ in dataclasses.fields(CashFlow)]
    found = CashFlow(*empty)
    for number, share in enumerate(course.purchase_fractions):
        if share:
            cheaper = dataclasses.replace(fleet, equipment_usd=fleet.equipment_usd * course.equipment_price_factor(number))
            found = found + _purchase(cheaper, course, share, course.first_period + number)
    return found


def _draws(fleet: Fleet, course: Course) -> tuple[int, ...]:
    """The shape that a fleet and its course have beside time: that of the draws, none as a rule."""
    return np.broadcast_shapes(*(value.shape for of in (fleet, course) for value in vars(of).values() if isinstance(value, np.ndarray)))


def _purchase(fleet: Fleet, course: Course, share: float, start: int) -> CashFlow:
    """Cash of one purchase: equipment, renewed until the horizon, in a facility of its own size."""
    n, per_year, draws = course.periods, course.periods_per_year, _draws(fleet, course)
    period = np.arange(n).reshape(-1, *(1 for _ in draws))
    working, years = (period >= start).astype(float) * share / per_year, period / per_year
    load = working * ramp_fraction((period - start + 0.5) / per_year, course.ramp_years)
    faster = compounded(course.speedup_fraction_per_year, years)
    revenue = load * faster * course.token_price_factor(years) * fleet.revenue_usd_per_year
    energy = working * fleet.unloaded_energy_usd_per_year + load * fleet.load_energy_usd_per_year
    upkeep = working * fleet.upkeep_usd_per_year
    bought, sold, written_off = _equipment(fleet.equipment_usd * share, course, start, draws)
    buildings, kept, worn = _building(fleet.facility_usd * share, course, start, draws)

    def ends(values: Array) -> Array:
        return np.concatenate([np.zeros((1, *values.shape[1:])), values])

    taxable = ends(revenue - energy - upkeep) + (sold + kept) - (written_off + worn)
    return CashFlow(
        revenue_usd=ends(revenue),
        investment_usd=bought + buildings,
        energy_usd=ends(energy),
        upkeep_usd=ends(upkeep),
        proceeds_usd=sold + kept,
        tax_usd=course.tax_fraction * taxable,
        mtok=ends(load * faster * fleet.mtok_per_year),
        accelerator_h=ends(working * fleet.accelerator_h_per_year),
    )


def _equipment(price_usd: Values, course: Course, start: int, draws: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Cash paid, cash received and tax depreciation of equipment by time, bought anew at each end of life.

    Tax depreciation is MACRS over 5 years; what is left of it when the equipment goes is written off then. Losses count against other profits of the owner.
    """
    life = round(float(course.equipment_life_years) * course.periods_per_year)
    paid, received, written = (np.zeros((course.periods + 1, *draws)) for _ in range(3))
    by_year = macrs_fractions(5)
    for first in range(start, course.periods, life):
        price = price_usd * compounded(course.equipment_price_change_fraction_per_year, first / course.periods_per_year)
        end = min(first + life, course.periods)
        age = end - first
        paid[first] += price
        worth: Values = course.residual_fraction
        if age < life and course.sold_at_book:
            worth = 1.0 - (1.0 - course.residual_fraction) * age / life
        received[end] += price * (worth - (course.decommissioning_fraction if age == life or not course.sold_at_book else 0.0))
        shares = np.array([by_year[min(k // course.periods_per_year, 6 - 1)] / course.periods_per_year for k in range(min(age, 6 * course.periods_per_year))])
        written[first + 1 : first + 1 + len(shares)] += np.multiply.outer(shares, price)
        written[end] += price * (1.0 - shares.sum())
    return paid, received, written


def _building(price_usd: Values, course: Course, start: int, draws: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Cash paid, value kept and depreciation of the facility, which outlives the equipment: straight line, worth its book value at the horizon."""
    paid, kept, written = (np.zeros((course.periods + 1, *draws)) for _ in range(3))
    life = course.facility_life_years * course.periods_per_year
    age = course.periods - start
    worn = np.minimum(age / life, 1.0)
    paid[start] = price_usd
    kept[-1] = price_usd * (1.0 - worn)
    written[start + 1 :] = price_usd * worn / age
    written[-1] += kept[-1]
    return paid, kept, written


@dataclass(frozen=True)
class Worth:
    """What an investor asks of a cash flow; rates are per year, NaN where there is no answer."""

    net_present_value_usd: float
    internal_rate_of_return_fraction: float
    payback_years: float
    discounted_payback_years: float
    profitability_index: float
    levelised_cost_usd_per_accelerator_h: float
    levelised_cost_usd_per_mtok: float


def worth(flow: CashFlow, cost_of_capital_fraction: float, periods_per_year: int) -> Worth:
    """NPV, IRR, payback, profitability index and levelised cost at a yearly cost of capital."""
    rate = per_period_fraction(cost_of_capital_fraction, periods_per_year)
    internal = internal_rate_of_return_fraction(flow.net_usd)
    return Worth(
        net_present_value_usd=net_present_value_usd(flow.net_usd, rate),
        internal_rate_of_return_fraction=math.nan if math.isnan(internal) else per_year_fraction(internal, periods_per_year),
        payback_years=payback_periods(flow.net_usd) / periods_per_year,
        discounted_payback_years=payback_periods(flow.net_usd, rate) / periods_per_year,
        profitability_index=profitability_index(flow.net_usd, flow.investment_usd, rate),
        levelised_cost_usd_per_accelerator_h=levelised_cost(flow.cost_usd, flow.accelerator_h, rate),
        levelised_cost_usd_per_mtok=levelised_cost(flow.cost_usd, flow.mtok, rate),
    )
