"""The compiled grid: engine and money of a block of points while they lie in the cache, and only the wanted columns written out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.core.fold import Constants
from accelmodel.core.jit import jit
from accelmodel.core.kernels import BLOCK, Array, Integers, broadcast
from accelmodel.core.stores import PAST_CACHE_FROM, store_past_cache
from accelmodel.economics import kernels as money
from accelmodel.results.memory import empty
from accelmodel.serving.steady_state import INPUTS, OUTPUTS, ROWS, STRIDE, Grid, forget, in_threads, scratch, served_block
from accelmodel.serving.steady_state import PLACE as ENGINE_PLACE

# What is made of a block's outputs, in rows behind those of the engine.
_MADE = (
    "output_tokens_per_s_per_user",
    "replica_cost_usd_per_h",
    "cost_usd_per_mtok_input",
    "cost_usd_per_mtok_cached_input",
    "cost_usd_per_mtok_output",
    "cost_usd_per_mtok",
    "revenue_usd_per_h",
    "margin_fraction",
)
_MONEY, _SPLIT, _SOLD = _MADE[1:], _MADE[2:5], _MADE[6:]
PLACE = {**{name: ENGINE_PLACE[name] for name in (*INPUTS, *OUTPUTS)}, **{name: (ROWS + row) * STRIDE for row, name in enumerate(_MADE)}}

_USER, _COST, _COST_INPUT, _COST_CACHED, _COST_OUTPUT, _COST_ALL, _REVENUE, _MARGIN = (PLACE[name] for name in _MADE)
_INPUT_ROWS = tuple(PLACE[name] for name in INPUTS)
_HIT, _OUT, _TPOT, _IN = (PLACE[name] for name in ("prefix_hit_fraction", "output_tokens_per_s", "time_per_output_token_s", "input_tokens_per_s"))
_POWER, _PREFILL, _CACHED, _FITS = (PLACE[name] for name in ("power_w", "prefill_time_fraction", "cached_time_fraction", "fits"))

# Money of a replica: cost per hour is fixed + per watt x its draw; prices are NaN where no tokens are sold, the hours' revenue NaN where no hours are.
# Cost is attributed by device time, or, with `by_weights`, by a weight per token of each stream: its price, 1, or 0.
TERMS = np.dtype(
    [
        ("fixed_usd_per_h", "f8"),
        ("usd_per_h_per_w", "f8"),
        ("occupancy", "f8"),
        ("input_usd_per_mtok", "f8"),
        ("cached_usd_per_mtok", "f8"),
        ("output_usd_per_mtok", "f8"),
        ("hours_usd_per_h", "f8"),
        ("sells_tokens", "i8"),
        ("by_weights", "i8"),
        ("input_weight", "f8"),
        ("cached_weight", "f8"),
        ("output_weight", "f8"),
    ]
)

_cost_usd_per_mtok = jit(money.cost_usd_per_mtok)
_revenue_usd_per_h = jit(money.revenue_usd_per_h)
_margin_fraction = jit(money.margin_fraction)


@dataclass(frozen=True)
class Wanted:
    """Columns to write: each is offset + scale x a row of the block, given by its place.

    `needs` says what may not be left out: power, binding, cost, its split, margin, speed per user.
    """

    names: tuple[str, ...]
    places: Integers
    scale: Array
    offset: Array
    needs: Integers


def wanted(columns: Mapping[str, tuple[str, float, float]], cost_needs_power: bool) -> Wanted:
    """What to write for columns given as name -> (row, offset, scale)."""
    rows = {row for row, _, _ in columns.values()}
    needs_money = not rows.isdisjoint(_MONEY)
    needs_power = not rows.isdisjoint(("power_w", "energy_j_per_output_token")) or (needs_money and cost_needs_power)
    return Wanted(
        tuple(columns),
        np.array([PLACE[row] for row, _, _ in columns.values()], dtype=np.int64),
        np.array([scale for _, _, scale in columns.values()]),
        np.array([offset for _, offset, _ in columns.values()]),
        np.array([needs_power, "binding" in rows, needs_money, not rows.isdisjoint(_SPLIT), not rows.isdisjoint(_SOLD), _MADE[0] in rows], dtype=np.int64),
    )


@jit
def _add_cost(t: Any, f: Array, n: int) -> None:
    """Cost of the replica, linear in its draw, and of a million tokens, input and output alike."""
    fixed, per_w, occupancy = t["fixed_usd_per_h"], t["usd_per_h_per_w"], t["occupancy"]
    if per_w == 0.0:
        for i in range(n):
            f[_COST + i] = fixed if f[_FITS + i] == 1.0 else math.nan
    else:
        for i in range(n):
            f[_COST + i] = fixed + per_w * f[_POWER + i]
    for i in range(n):
        f[_COST_ALL + i] = _cost_usd_per_mtok(f[_COST + i], occupancy * (f[_IN + i] + f[_OUT + i]))


@jit
def _add_split(occupancy: float, f: Array, n: int) -> None:
    """Cost by device time: each stream bears the share of the replica's time that it keeps it busy."""
    for i in range(n):
        hit, uncached_share = f[_HIT + i], f[_PREFILL + i] - f[_CACHED + i]
        # Where all input is cached, what the one token that is computed anyway takes is borne by the streams that have tokens.
        cost = f[_COST + i] / (1.0 - uncached_share) if hit >= 1.0 else f[_COST + i]
        f[_COST_INPUT + i] = _cost_usd_per_mtok(cost * uncached_share, occupancy * f[_IN + i] * (1.0 - hit))
        f[_COST_CACHED + i] = _cost_usd_per_mtok(cost * f[_CACHED + i], occupancy * f[_IN + i] * hit)
        f[_COST_OUTPUT + i] = _cost_usd_per_mtok(cost * (1.0 - f[_PREFILL + i]), occupancy * f[_OUT + i])


@jit
def _add_split_by_weights(t: Any, f: Array, n: int) -> None:
    """Cost by weights: a million tokens of a stream bear weight x cost / (sum over streams of weight x million tokens an hour)."""
    occupancy, input_weight, cached_weight, output_weight = t["occupancy"], t["input_weight"], t["cached_weight"], t["output_weight"]
    for i in range(n):
        inputs, hit, outputs = occupancy * f[_IN + i], f[_HIT + i], occupancy * f[_OUT + i]
        uncached, cached = inputs * (1.0 - hit), inputs * hit
        per_weight = _cost_usd_per_mtok(f[_COST + i], input_weight * uncached + cached_weight * cached + output_weight * outputs)
        f[_COST_INPUT + i] = input_weight * per_weight if uncached > 0.0 else math.nan
        f[_COST_CACHED + i] = cached_weight * per_weight if cached > 0.0 else math.nan
        f[_COST_OUTPUT + i] = output_weight * per_weight


@jit
def _add_margin(t: Any, f: Array, n: int) -> None:
    """Revenue of tokens, or of hours, and the margin of it."""
    occupancy, sells_tokens, hours = t["occupancy"], t["sells_tokens"], t["hours_usd_per_h"]
    input_price, cached_price, output_price = t["input_usd_per_mtok"], t["cached_usd_per_mtok"], t["output_usd_per_mtok"]
    for i in range(n):
        inputs, hit = occupancy * f[_IN + i], f[_HIT + i]
        tokens = _revenue_usd_per_h(inputs * (1.0 - hit), inputs * hit, occupancy * f[_OUT + i], input_price, cached_price, output_price)
        revenue = tokens if sells_tokens == 1 else hours
        f[_REVENUE + i] = revenue
        f[_MARGIN + i] = _margin_fraction(revenue, f[_COST + i])


@jit
def _fill_block(constants: Constants, capped: Constants, terms: Constants, r: int, f: Array, spare: Array, bits: Integers, n: int, needs: Integers) -> None:
    """Engine and money of a block of replica `r`, whose INPUTS lie in `f`, as far as needed."""
    t = terms[r]
    served_block(constants, capped, r, f, spare, bits, n, needs[0], needs[1])
    if needs[2] == 1:
        _add_cost(t, f, n)
    if needs[3] == 1 and t["by_weights"] == 0:
        _add_split(t["occupancy"], f, n)
    elif needs[3] == 1:
        _add_split_by_weights(t, f, n)
    if needs[4] == 1:
        _add_margin(t, f, n)
    if needs[5] == 1:
        for i in range(n):
            f[_USER + i] = 1.0 / f[_TPOT + i]


@jit
def _run(
    constants: Constants,
    capped: Constants,
    terms: Constants,
    input_tokens: Array,
    output_tokens: Array,
    concurrency: Array,
    prefix_hit_fraction: Array,
    shape: Integers,
    strides: Integers,
    places: Integers,
    scale: Array,
    offset: Array,
    needs: Integers,
    out: Array,
    misfits: Integers,
    begin: int,
    end: int,
    to: int,
) -> None:
    """The wanted columns of the points from `begin` to `end` into `out` (columns, width) from column `to` on; counts points that do not fit."""
    f, spare, bits = scratch(ROWS + len(_MADE)), scratch(ROWS), np.empty(BLOCK, np.int64)
    missing, flat, is_large = 0, out.reshape(-1), out.size * out.itemsize >= PAST_CACHE_FROM
    for start in range(begin, end, BLOCK):
        n = min(BLOCK, end - start)
        broadcast(input_tokens, output_tokens, concurrency, prefix_hit_fraction, shape, strides, start, n, f, STRIDE)
        _fill_block(constants, capped, terms, 0, f, spare, bits, n, needs)
        for i in range(n):
            missing += 1 if f[_FITS + i] == 0.0 else 0
        for k in range(places.shape[0]):
            place, a, b, first = places[k], offset[k], scale[k], k * out.shape[1] + to + start - begin
            if is_large:
                for i in range(n):
                    store_past_cache(flat, first + i, a + b * f[place + i])
            else:
                for i in range(n):
                    flat[first + i] = a + b * f[place + i]
    misfits[0] = missing


def run(constants: Constants, capped: Constants, terms: Constants, grid: Grid, columns: Wanted, threads: int) -> tuple[Array, int]:
    """Wanted columns of a grid, shape (columns, grid.size), and how many points do not fit."""
    size = grid.size
    out, counts = empty(len(columns.names), size), []

    def work(begin: int, end: int) -> None:
        misfits = np.zeros(1, dtype=np.int64)
        given = (*grid.values, grid.shape, grid.strides, columns.places, columns.scale, columns.offset, columns.needs)
        _run(constants, capped, terms, *given, out, misfits, begin, end, begin)
        counts.append(int(misfits[0]))

    in_threads(work, size, threads)
    return out, sum(counts)


def run_span(constants: Constants, capped: Constants, terms: Constants, grid: Grid, columns: Wanted, begin: int, end: int, out: Array, to: int) -> int:
    """Wanted columns of the points of a grid from `begin` to `end` into `out` (columns, width) from column `to` on; how many of them do not fit.

    The same numbers as in `run`, to the last bit, however a grid is cut into spans.
    """
    misfits = np.zeros(1, dtype=np.int64)
    given = (*grid.values, grid.shape, grid.strides, columns.places, columns.scale, columns.offset, columns.needs)
    _run(constants, capped, terms, *given, out, misfits, begin, end, to)
    return int(misfits[0])


@jit
def _compare(constants: Constants, capped: Constants, terms: Constants, loads: Array, place: int, needs: Integers, out: Array) -> None:
    """The row at `place` of every replica at its own load, (replicas, len(INPUTS)), into `out` (replicas,)."""
    f, spare, bits = scratch(ROWS + len(_MADE)), scratch(ROWS), np.empty(BLOCK, np.int64)
    for r in range(constants.shape[0]):
        forget(f)
        forget(spare)
        for k in range(loads.shape[1]):
            f[_INPUT_ROWS[k]] = loads[r, k]
        _fill_block(constants, capped, terms, r, f, spare, bits, 1, needs)
        out[r] = f[place]


def compare(constants: Constants, capped: Constants, terms: Constants, loads: Array, row: str) -> Array:
    """One row of PLACE for many replicas, each at a load of its own: shape (replicas,). `loads` is (replicas, len(INPUTS)), in the order of INPUTS."""
    only = wanted({row: (row, 0.0, 1.0)}, bool(terms["usd_per_h_per_w"].any()))
    out = np.empty(len(constants))
    _compare(constants, capped, terms, np.ascontiguousarray(loads), int(only.places[0]), only.needs, out)
    return out
