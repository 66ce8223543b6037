"""The day study: a published day of serving worked again from its own tokens, prices and hours."""

from __future__ import annotations

from typing import Any

from accelmodel.economics.margin import margin_fraction, markup_on_cost_fraction, token_revenue_usd_per_h
from accelmodel.economics.offers import replica_cost_usd_per_h
from accelmodel.economics.tokens import TokenPrices, TokenRates
from accelmodel.results.table import table
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import Day
from accelmodel.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

_HOURS = SECONDS_PER_DAY / SECONDS_PER_HOUR
_SHOWN = ["quantity", "value", "published", "unit", "difference_fraction"]


def study(context: Context, asked: Day) -> StudyResult:
    """A row per quantity: computed, published, and how far they lie apart."""
    reference = context.catalog.reference(asked.reference)

    def need(name: str) -> float:
        return reference.need(name).value

    gpus = need("gpus_per_node")
    cost = float(need("nodes_mean") * _HOURS * replica_cost_usd_per_h(int(gpus), int(gpus), gpus * need("gpu_hour")))
    rates = TokenRates(
        *(tokens / SECONDS_PER_DAY for tokens in (need("input_tokens") - need("cached_input_tokens"), need("cached_input_tokens"), need("output_tokens")))
    )
    prices = TokenPrices(need("price_input"), need("price_cached_input"), need("price_output"))
    revenue = float(token_revenue_usd_per_h(rates, prices)) * _HOURS
    published_revenue = need("revenue")
    prefill_h = need("input_tokens") / need("input_tokens_per_s_per_node") / SECONDS_PER_HOUR
    decode_h = need("output_tokens") / need("output_tokens_per_s_per_node") / SECONDS_PER_HOUR
    lines: list[tuple[str, float, float | None, str, str | None]] = [
        ("cost", cost, need("cost"), "USD", "cost"),
        ("revenue from the rounded token totals", revenue, published_revenue, "USD", "revenue"),
        ("mark-up on cost, from the published revenue", float(markup_on_cost_fraction(published_revenue, cost)), need("margin_on_cost"), "1", "margin_on_cost"),
        ("margin of revenue, from the published revenue", float(margin_fraction(published_revenue, cost)), need("margin_of_revenue"), "1", "margin_of_revenue"),
        ("share of node-hours in prefill", prefill_h / (prefill_h + decode_h), None, "1", None),
        ("share of node-hours in decode", decode_h / (prefill_h + decode_h), None, "1", None),
        ("node-hours that the stated rates account for", prefill_h + decode_h, need("nodes_mean") * _HOURS, "h", "nodes_mean"),
    ]
    columns: dict[str, list[Any]] = {
        "quantity": [line[0] for line in lines],
        "value": [line[1] for line in lines],
        "published": [line[2] for line in lines],
        "unit": [line[3] for line in lines],
        "difference_fraction": [None if line[2] is None else line[1] / line[2] - 1 for line in lines],
        "source": [None if line[4] is None else reference.need(line[4]).source for line in lines],
    }
    summary = {
        "cost_usd": cost,
        "revenue_usd": revenue,
        "published_revenue_usd": published_revenue,
        "markup_on_cost_fraction": lines[2][1],
        "margin_fraction": lines[3][1],
        "prefill_fraction": lines[4][1],
        "decode_fraction": lines[5][1],
    }
    context.rest_on_reference(reference)
    return StudyResult("day", table(columns), summary, [note for note in (reference.note,) if note], _SHOWN)
