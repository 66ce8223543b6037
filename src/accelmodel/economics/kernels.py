"""The arithmetic of cost and margin for one point, in scalar form: what a compiled grid runs, point by point.

Plain functions of floats, without NumPy, so that a study can compile them beside the engine. They say what `attribution.attribute` (by device time)
and `margin` say for arrays; tests hold the two equal.
"""

from __future__ import annotations

import math

from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

MTOK_PER_H = SECONDS_PER_HOUR / TOKENS_PER_MTOK  # million tokens an hour, of one token per second


def cost_usd_per_mtok(cost_usd_per_h: float, tokens_per_s: float) -> float:
    """USD per million tokens: (USD/h) / (tokens/s x 3600 / 10^6); NaN without tokens."""
    return cost_usd_per_h / (tokens_per_s * MTOK_PER_H) if tokens_per_s > 0.0 else math.nan


def revenue_usd_per_h(
    uncached_per_s: float, cached_per_s: float, output_per_s: float, input_usd_per_mtok: float, cached_usd_per_mtok: float, output_usd_per_mtok: float
) -> float:
    """Revenue of tokens sold: sum over streams of tokens/s x 3600 / 10^6 x USD per million."""
    return MTOK_PER_H * (uncached_per_s * input_usd_per_mtok + cached_per_s * cached_usd_per_mtok + output_per_s * output_usd_per_mtok)


def margin_fraction(revenue_usd: float, cost_usd: float) -> float:
    """Gross margin of revenue: 1 - cost / revenue; NaN without revenue."""
    return 1.0 - cost_usd / revenue_usd if revenue_usd > 0.0 else math.nan
