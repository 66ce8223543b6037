"""Workloads: what one request looks like."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from accelmodel.catalog.figures import Figure, Fraction, Name, Strict, of

_Tokens = Annotated[Figure, of("tokens", 1, 10_000_000, "token")]


_CacheTokens = Annotated[Figure, of("tokens", 1, 1e12, "token")]


class WorkloadFigures(Strict):
    """Means over requests; `prefix_hit_fraction` is the share of input tokens that a prefix cache serves, absent where it is unknown."""

    input_tokens: _Tokens
    output_tokens: _Tokens
    prefix_hit_fraction: Fraction | None = None


class PrefixHits(Strict):
    """Share of input tokens that an LRU cache of some size served of a trace; sizes rise."""

    cache: _CacheTokens
    fraction: Fraction


class Workload(Strict):
    """A kind of traffic, by the mean lengths of its requests.

    `prefix_hits` is the measured curve of hits over cache size, at the trace's `requests_per_s`.
    """

    name: Name
    title: str
    aliases: tuple[str, ...] = ()
    note: str | None = None
    figures: WorkloadFigures
    requests_per_s: Annotated[Figure, of("requests per second", 0.001, 1e6)] | None = None
    prefix_hits: tuple[PrefixHits, ...] = ()

    @model_validator(mode="after")
    def _curve_rises(self) -> Workload:
        sizes = [point.cache.si for point in self.prefix_hits]
        if sizes != sorted(set(sizes)):
            raise ValueError("the sizes of 'prefix_hits' must rise")
        fractions = [point.fraction.si for point in self.prefix_hits]
        if fractions != sorted(fractions):
            raise ValueError("the fractions of 'prefix_hits' must not fall")
        if self.prefix_hits and self.requests_per_s is None:
            raise ValueError("'prefix_hits' needs the trace's 'requests_per_s'")
        return self
