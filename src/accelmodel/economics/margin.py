"""Revenue, margin and mark-up, break-even and target prices, and what a vendor's price does to the margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accelmodel.economics import Values, check_range, ratio
from accelmodel.economics.tokens import TokenPrices, TokenRates
from accelmodel.errors import InputError
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK


def token_revenue_usd_per_h(rates: TokenRates, prices: TokenPrices) -> Values:
    """Revenue of tokens sold: sum over streams of tokens/s x 3600 / 10^6 x USD per million.

    A stream without tokens earns nothing, whether it has a price or not (NaN); one with tokens and no price makes the revenue NaN.
    """
    sold = zip(rates.streams, prices.streams, strict=True)
    earned_usd_per_s = sum(np.where(np.equal(rate, 0), 0.0, np.multiply(rate, price) / TOKENS_PER_MTOK) for rate, price in sold)
    revenue: Values = np.multiply(earned_usd_per_s, SECONDS_PER_HOUR)[()]
    return revenue


def hour_revenue_usd_per_h(accelerators: Values, price_usd_per_accelerator_h: Values, occupancy_fraction: Values = 1.0) -> Values:
    """Revenue of hours sold: accelerators x price x the share of the hours that customers pay for."""
    return accelerators * price_usd_per_accelerator_h * occupancy_fraction


def margin_fraction(revenue_usd: Values, cost_usd: Values) -> Values:
    """Gross margin of revenue: 1 - cost / revenue, the cost being that of serving; NaN without revenue."""
    return 1 - ratio(cost_usd, revenue_usd)


def operating_margin_fraction(revenue_usd: Values, cost_usd: Values, overhead_fraction: Values) -> Values:
    """Operating margin of revenue: gross margin less overheads (research, sales, administration) as a share of revenue."""
    return margin_fraction(revenue_usd, cost_usd) - overhead_fraction


def markup_on_cost_fraction(revenue_usd: Values, cost_usd: Values) -> Values:
    """Mark-up on cost: revenue / cost - 1, which is m / (1 - m) of the margin m; NaN without cost."""
    return ratio(revenue_usd, cost_usd) - 1


def price_for_margin_usd(cost_usd: Values, target_margin_fraction: Values, overhead_fraction: Values = 0.0) -> Values:
    """Price that leaves a margin of revenue: cost / (1 - margin - overheads).

    Cost and price are of the same thing: an hour, a million tokens. Without overheads the margin is the gross one, with
    them the operating one. InputError where margin and overheads leave nothing for the cost.
    """
    left = 1 - np.asarray(target_margin_fraction) - overhead_fraction
    if np.any(left <= 0):
        raise InputError("margin and overheads together must stay below 1", key="target_margin_fraction", value=target_margin_fraction)
    price: Values = (cost_usd / left)[()]
    return price


def break_even_price_usd(cost_usd: Values, overhead_fraction: Values = 0.0) -> Values:
    """Price at which the margin is 0: cost / (1 - overheads)."""
    return price_for_margin_usd(cost_usd, 0.0, overhead_fraction)


def break_even_occupancy_fraction(
    revenue_usd_per_h: Values, fixed_cost_usd_per_h: Values, variable_cost_usd_per_h: Values = 0.0, overhead_fraction: Values = 0.0
) -> Values:
    """Occupancy at which the margin is 0: fixed / (revenue (1 - overheads) - variable).

    Revenue and variable cost (energy above idle, say) are those at full occupancy and go with it; the fixed cost runs
    on regardless. Above 1, no occupancy that exists is enough; NaN where not even the variable cost is earned.
    """
    earned = np.asarray(revenue_usd_per_h * (1 - np.asarray(overhead_fraction)) - variable_cost_usd_per_h)
    return ratio(fixed_cost_usd_per_h, np.where(earned > 0, earned, np.nan)[()])


def blended_cost_usd_per_mtok(shares: Values, costs_usd_per_mtok: Values) -> Values:
    """Cost of a mix: sum of share x cost over the last axis. InputError unless the shares are 0 to 1 and sum to 1."""
    check_range("shares", shares, at_least=0, at_most=1)
    if not np.allclose(np.sum(shares, axis=-1), 1.0):
        raise InputError("the shares of a mix must sum to 1", key="shares", value=shares)
    blended: Values = np.sum(np.asarray(shares) * costs_usd_per_mtok, axis=-1)
    return blended


@dataclass(frozen=True)
class SupplyMix:
    """Inference served partly on in-house silicon, the rest on a vendor's accelerators.

    `in_house_share_fraction` is of the tokens; `vendor_price_fraction` is the part of the cost on the vendor's
    accelerators that is the vendor's price (purchase or rent) and moves with it; the rest (power, facility,
    operations) does not.
    """

    in_house_share_fraction: Values
    in_house_cost_usd_per_mtok: Values
    vendor_cost_usd_per_mtok: Values
    vendor_price_fraction: Values

    def __post_init__(self) -> None:
        check_range("in_house_share_fraction", self.in_house_share_fraction, at_least=0, at_most=1)
        check_range("vendor_price_fraction", self.vendor_price_fraction, at_least=0, at_most=1)


def cost_under_price_shock_usd_per_mtok(mix: SupplyMix, vendor_price_shock_fraction: Values) -> Values:
    """Cost of the mix after the vendor's price moved by x (+0.5: 50 % dearer): s c_i + (1 - s) c_v (1 + v x)."""
    vendor = mix.vendor_cost_usd_per_mtok * (1 + mix.vendor_price_fraction * vendor_price_shock_fraction)
    return mix.in_house_share_fraction * mix.in_house_cost_usd_per_mtok + (1 - mix.in_house_share_fraction) * vendor


def margin_under_price_shock_fraction(mix: SupplyMix, price_usd_per_mtok: Values, vendor_price_shock_fraction: Values) -> Values:
    """Gross margin after the shock, the selling price unchanged: 1 - [s c_i + (1 - s) c_v (1 + v x)] / price.

    Its slope in x is -(1 - s) c_v v / price: what is served in house is out of the shock's reach.
    """
    return margin_fraction(price_usd_per_mtok, cost_under_price_shock_usd_per_mtok(mix, vendor_price_shock_fraction))


def occupancy_for_margin_fraction(
    revenue_usd_per_h: Values,
    fixed_cost_usd_per_h: Values,
    variable_cost_usd_per_h: Values = 0.0,
    target_margin_fraction: Values = 0.0,
    overhead_fraction: Values = 0.0,
) -> Values:
    """Occupancy that leaves a margin: fixed / (revenue (1 - margin - overheads) - variable), the break-even one at a margin of 0.

    Revenue and variable cost are those at full occupancy. Above 1 no occupancy is enough; NaN where the price leaves too little at any.
    """
    return break_even_occupancy_fraction(revenue_usd_per_h, fixed_cost_usd_per_h, variable_cost_usd_per_h, np.add(target_margin_fraction, overhead_fraction))


@dataclass(frozen=True)
class Step:
    """A step of a waterfall: what it takes away (negative) or where it stands (a level)."""

    name: str
    usd: float
    is_level: bool = False


def waterfall(list_price_usd: float, discount_fraction: float, costs_usd: Mapping[str, float], overhead_fraction: float) -> list[Step]:
    """From list price to operating margin, per unit of whatever the price is of: each level is the one before it plus the steps between.

    list price - discount = price; - each cost = gross margin; - overheads, a share of the price paid = operating margin.
    """
    price = list_price_usd * (1.0 - discount_fraction)
    gross = price - sum(costs_usd.values())
    overheads = price * overhead_fraction
    return [
        Step("list price", list_price_usd, is_level=True),
        Step("discount", price - list_price_usd),
        Step("price", price, is_level=True),
        *(Step(name, -usd) for name, usd in costs_usd.items()),
        Step("gross margin", gross, is_level=True),
        Step("overheads", -overheads),
        Step("operating margin", gross - overheads, is_level=True),
    ]


def parity_price_shock_fraction(mix: SupplyMix) -> Values:
    """Move of the vendor's price at which both supplies cost the same: (c_i / c_v - 1) / v; NaN where nothing of the cost moves with it.

    Above it the vendor is dearer than the silicon in house, below it cheaper.
    """
    return ratio(np.asarray(mix.in_house_cost_usd_per_mtok) / mix.vendor_cost_usd_per_mtok - 1.0, mix.vendor_price_fraction)


def parity_price_usd_per_h(cost_usd_per_mtok: Values, mtok_per_h: Values) -> Values:
    """Hourly price at which an accelerator's tokens cost a given amount: cost x million tokens an hour."""
    return cost_usd_per_mtok * mtok_per_h
