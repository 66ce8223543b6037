"""Workloads: what one request looks like."""

from __future__ import annotations

from typing import Annotated

from accelmodel.catalog.figures import Figure, Fraction, Name, Strict, of

_Tokens = Annotated[Figure, of("tokens", 1, 10_000_000, "token")]


class WorkloadFigures(Strict):
    """Means over requests; `prefix_hit_fraction` is the share of input tokens that a prefix cache serves, absent where it is unknown."""

    input_tokens: _Tokens
    output_tokens: _Tokens
    prefix_hit_fraction: Fraction | None = None


class Workload(Strict):
    """A kind of traffic, by the mean lengths of its requests."""

    name: Name
    title: str
    aliases: tuple[str, ...] = ()
    note: str | None = None
    figures: WorkloadFigures
