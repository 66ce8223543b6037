"""What an answer rests on: the assumptions that matter most, in words, and every source used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accelmodel.catalog.figures import Figure
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.numbers import number, text
from accelmodel.studies.money import DEVICE_TIME, Money


@dataclass(frozen=True)
class Assumption:
    """One thing that an answer rests on and a reader may doubt; `rank` orders them, the weightiest (0) first."""

    rank: int
    name: str
    text: str
    source: str | None = None


def how_known(figure: Figure) -> str:
    """A figure's kind, and its range where it has one, in its unit."""
    spread = "" if figure.low is None or figure.high is None else f", {number(figure.low)} to {number(figure.high)}"
    return f"{figure.kind}{spread}"


def _range(figure: Figure) -> str:
    return f"{text(figure.value, figure.unit)} ({how_known(figure)})"


def of_replica(replica: Replica) -> Iterator[Assumption]:
    """Assumptions about model, accelerator and engine."""
    if replica.model.is_estimate:
        yield Assumption(0, "model", f"'{replica.model.name}' is an estimate in every figure: {replica.model.note or 'its architecture is not published'}")
    if replica.is_extrapolated:
        yield Assumption(
            1,
            "extrapolated",
            f"nothing measured on '{replica.accelerator.name}' was used: efficiencies are carried over from other accelerators",
            replica.calibration.name,
        )
    if replica.has_experts and "moe" in replica.calibration.spreads:
        width = replica.calibration.spreads["moe"].time_to_first_token.si
        few = f"few mixtures of experts were measured on the software of '{replica.accelerator.name}', first tokens up to {width:g} times later than predicted"
        yield Assumption(1, "experts", few, replica.calibration.name)
    if replica.accelerator.derivation is not None:
        derivation = replica.accelerator.derivation
        factors = ", ".join(f"{name} x {figure.value:g}" for name, figure in derivation.factors.items())
        sources = {figure.source for figure in derivation.factors.values()}
        yield Assumption(1, "derived profile", f"'{replica.accelerator.name}' is '{derivation.base}' with {factors}", ", ".join(sorted(filter(None, sources))))
    spread = replica.spread
    if spread is not None:
        ttft, tpot, throughput = (figure.si for figure in (spread.time_to_first_token, spread.time_per_output_token, spread.throughput))
        within = f"90 % of measurements lie within x/ {ttft:g} of TTFT, x/ {tpot:g} of TPOT, x/ {throughput:g} of throughput"
        yield Assumption(4, "accuracy", f"{replica.model.name} on {replica.accelerator.name}: {within}", replica.calibration.name)


def of_money(replica: Replica, terms: Money) -> Iterator[Assumption]:
    """Assumptions about cost, prices and load."""
    occupancy = terms.catalog.ownership(terms.owner).figures.occupancy
    given = "as given" if terms.occupancy != occupancy.si else _range(occupancy)
    yield Assumption(3, "occupancy", f"the replica carries its load in {terms.occupancy:.0%} of the hours; {given}", occupancy.source)
    if terms.rents and terms.hour is not None:
        hour = terms.hour
        yield Assumption(
            3,
            "offer",
            f"hardware is rented at {hour.price:,g} {hour.unit} a {'system' if hour.system else 'accelerator'} ({hour.id}, {hour.date})",
            hour.source,
        )
    elif (missing := _no_cost(replica, terms)) is not None:
        yield Assumption(0, "cost", f"cost and margin are left out: {missing}")
    else:
        yield _purchase(replica, terms)
        site = terms.catalog.site(terms.site)
        yield Assumption(5, "site", f"{site.title}: {_range(site.figures.tariff)}, PUE {_range(site.figures.pue)}", site.figures.tariff.source)
    if terms.attribution != DEVICE_TIME:
        yield Assumption(4, "attribution", f"cost is shared out among input, cached input and output by '{terms.attribution}', not by device time")
    if terms.token is not None:
        prices = terms.token.tier(terms.tier)
        cached = "" if prices.cached_input_usd_per_mtok is None else f", cached {prices.cached_input_usd_per_mtok:g}"
        sold = f"tokens sell at {prices.input_usd_per_mtok:g} (input{cached}) and {prices.output_usd_per_mtok:g} (output) USD/Mtok"
        yield Assumption(4, "price", f"{sold} ({terms.token.id}, {terms.token.date})", terms.token.source)


def _purchase(replica: Replica, terms: Money) -> Assumption:
    """What an accelerator is bought for: the owner's figure with its range, or what was given."""
    words = f"'{replica.accelerator.name}' with its share of the server costs"
    if terms.purchase_usd is not None:
        return Assumption(2, "purchase", f"{words} {text(terms.purchase_usd, 'USD')}; as given")
    purchase = terms.catalog.ownership(terms.owner).purchase_price(replica.accelerator.name)
    return Assumption(2, "purchase", f"{words} {_range(purchase)}", purchase.source)


def _no_cost(replica: Replica, terms: Money) -> str | None:
    """Why the cost of ownership of a replica cannot be told; None where it can."""
    try:
        terms.replica_cost_usd_per_h(replica, np.zeros(1))
    except InputError as error:
        return error.message
    return None


def assumptions(replica: Replica, terms: Money | None) -> list[Assumption]:
    """Everything a replica's points rest on, the weightiest first."""
    found = [*of_replica(replica), *(of_money(replica, terms) if terms is not None else ())]
    return sorted(found, key=lambda assumption: assumption.rank)


def sources(replica: Replica, terms: Money | None) -> set[str]:
    """Keys of the sources behind a replica's points: accelerator, system, model, calibration, offers, ownership, site."""
    figures = [figure for _, figure in replica.accelerator.figures if figure is not None]
    figures += [figure for _, figure in replica.calibration.parameters]
    found = {figure.source for figure in figures} | {replica.system.source, replica.model.config_source}
    if terms is not None:
        found |= {offer.source for offer in (terms.hour, terms.token) if offer is not None}
        if not terms.rents:
            owner, site = terms.catalog.ownership(terms.owner), terms.catalog.site(terms.site)
            found |= {figure.source for _, figure in owner.figures if figure is not None}
            found |= {figure.source for figure in (site.figures.tariff, site.figures.pue, site.figures.demand_charge) if figure is not None}
            if replica.accelerator.name in owner.purchase:
                found.add(owner.purchase_price(replica.accelerator.name).source)
    return {source for source in found if source}
