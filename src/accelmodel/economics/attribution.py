"""What a million input, cached-input and output tokens cost: a replica's hour attributed to its streams by a named convention."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from accelmodel.economics import Values, ratio
from accelmodel.economics.tokens import BusyShares, TokenCosts, TokenPrices, TokenRates
from accelmodel.errors import InputError
from accelmodel.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

Convention = Literal["device-time", "price-weights", "blended", "output-only"]

_MTOK_PER_H = SECONDS_PER_HOUR / TOKENS_PER_MTOK  # million tokens an hour, of one token per second


def attribute(
    cost_usd_per_h: Values,
    rates: TokenRates,
    *,
    convention: Convention = "device-time",
    busy: BusyShares | None = None,
    prices: TokenPrices | None = None,
) -> TokenCosts:
    """Cost per million tokens of each stream and of all together.

    cost_i = cost x (w_i / sum w) / (rate_i x 3600 / 10^6). The weights w are, by convention: "device-time", the busy
    share that each stream causes (so that idle time is borne in proportion); "price-weights", rate x price;
    "blended", the rate (every token costs the same); "output-only", output alone. A stream without tokens bears
    nothing. So whatever the convention, sum of rate_i x 3600 / 10^6 x cost_i = cost: streams' costs are parts of one
    whole, never two full costs to be added.

    Arrays broadcast; a stream without tokens costs NaN, and all do where nothing has a weight. InputError for an unknown convention, or
    one that lacks its `busy` shares or `prices`.
    """
    rate = [np.asarray(stream, float) for stream in rates.streams]
    weight = [np.where(r > 0, w, 0.0) for r, w in zip(rate, _weights(convention, rates, busy, prices), strict=True)]
    total = np.asarray(sum(weight))
    uncached, cached, output = (cost_per_mtok_usd(cost_usd_per_h * ratio(w, total), r) for r, w in zip(rate, weight, strict=True))
    return TokenCosts(uncached, cached, output, cost_per_mtok_usd(cost_usd_per_h, rates.tokens_per_s))


def token_weights(convention: Convention, prices: TokenPrices | None = None) -> tuple[Values, Values, Values]:
    """What one token of each stream (uncached input, cached input, output) weighs, under the conventions that go by tokens rather than by time."""
    if convention == "price-weights":
        if prices is None:
            raise InputError("attribution by price weights needs the token prices", key="prices")
        return prices.streams
    if convention == "blended":
        return 1.0, 1.0, 1.0
    if convention == "output-only":
        return 0.0, 0.0, 1.0
    allowed = [name for name in get_args(Convention) if name != "device-time"]
    raise InputError(f"'{convention}' is no convention of attribution by tokens", key="convention", value=convention, allowed=allowed)


def cost_per_mtok_usd(cost_usd_per_h: Values, tokens_per_s: Values) -> Values:
    """USD per million tokens where all tokens are alike: (USD/h) / (tokens/s x 3600 / 10^6); NaN without tokens."""
    return ratio(cost_usd_per_h, tokens_per_s * _MTOK_PER_H)


def _weights(convention: Convention, rates: TokenRates, busy: BusyShares | None, prices: TokenPrices | None) -> tuple[Values, Values, Values]:
    """Weights of the streams, uncached input first."""
    if convention == "device-time":
        if busy is None:
            raise InputError("attribution by device time needs the busy shares", key="busy")
        return busy.streams
    if convention in get_args(Convention):
        uncached, cached, output = (rate * weight for rate, weight in zip(rates.streams, token_weights(convention, prices), strict=True))
        return uncached, cached, output
    raise InputError(f"'{convention}' is no convention of attribution", key="convention", value=convention, allowed=get_args(Convention))
