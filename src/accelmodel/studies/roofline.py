"""The roofline of the replica that a run chose: where the time of its decode step goes, operator by operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelmodel.core.breakdown import Part, decode_step
from accelmodel.core.replica import Replica
from accelmodel.errors import InputError
from accelmodel.serving.pieces import pieces
from accelmodel.studies import grid
from accelmodel.studies.points import Point
from accelmodel.studies.run import Cell, Context

_DTYPES = ("bf16", "fp8", "fp4", "int8")


@dataclass(frozen=True)
class Operator:
    """One kind of operator in a decode step: seconds of it, their share of the step, what takes most of them, and of one rank FLOP a byte read and FLOP/s."""

    kind: str
    seconds: float
    share_fraction: float
    bound_by: str
    flop_per_byte: float | None
    flop_per_s: float | None


@dataclass(frozen=True)
class Roofline:
    """A decode step of one operating point: `batch` requests at a mean context (tokens), with the vendor's peaks of one rank, compute by dtype."""

    case: str
    replica: Replica
    point: Point
    batch: float
    context_tokens: float
    step_s: float
    operators: tuple[Operator, ...]
    memory_peak_byte_per_s: float
    compute_peak_flop_per_s: Mapping[str, float]


def roofline(context: Context, case: str | None = None) -> Roofline:
    """The decode step of a case at its own load, or of the replica with the cheapest tokens among the run's first study of points, or else among its cases.

    InputError where none runs.
    """
    cell, load = _cheapest(context) if case is None else (context.cell(case, context.scenario.situation(case)), {})
    point = context.point_at(cell, load)
    tokens = float(point.input_tokens), float(point.output_tokens)
    of = pieces(cell.replica.constants, *(np.array([value]) for value in (*tokens, float(point.concurrency), float(point.prefix_hit_fraction))))
    batch, context_tokens = float(of.batch[0]), tokens[0] + 0.5 * tokens[1]
    parts = decode_step(cell.replica, batch, context_tokens)
    whole = sum(part.seconds for part in parts)
    working = [part for part in parts if part.flop > 0.0]
    name = cell.case or cell.replica.system.name
    return Roofline(
        name,
        cell.replica,
        point,
        batch,
        context_tokens,
        whole,
        tuple(_operator(part, whole) for part in parts),
        working[0].memory_peak,
        _peaks(cell.replica, working),
    )


def _cheapest(context: Context) -> tuple[Cell, dict[str, Any]]:
    best: tuple[float, Cell, dict[str, Any]] | None = None
    for cell, loads in _candidates(context):
        try:
            columns = context.points(cell, loads)
        except InputError:
            continue
        fits = np.asarray(columns["fits"])
        costs = np.asarray(columns["cost_usd_per_mtok"], dtype=float) if "cost_usd_per_mtok" in columns else np.zeros(len(loads))
        for place, load in enumerate(loads):
            if fits[place] and (best is None or costs[place] < best[0]):
                best = float(costs[place]), cell, load
    if best is None:
        raise InputError("no case of the run is by itself a replica under a load that runs", key="cases")
    return best[1], best[2]


def _candidates(context: Context) -> Iterator[tuple[Cell, list[dict[str, Any]]]]:
    points: Any = next((study for study in context.scenario.studies.values() if study.kind == "points"), None)
    if points is not None:
        yield from grid.parts(context, points)
        return
    for case in context.scenario.chosen(()):
        with contextlib.suppress(InputError):  # a case may be whole only with what a study adds to it
            yield context.cell(case, context.scenario.situation(case)), [{}]


def _operator(part: Part, whole_s: float) -> Operator:
    read = part.weight_bytes + part.cache_bytes
    by = {"memory": part.memory_s, "compute": part.compute_s, "network": part.link_s, "overhead": part.overhead_s}
    has_both = read > 0.0 and part.flop > 0.0
    return Operator(
        part.kind,
        part.seconds,
        part.seconds / whole_s,
        max(by, key=by.__getitem__),
        part.flop / read if has_both else None,
        part.flop / part.seconds if has_both else None,
    )


def _peaks(replica: Replica, parts: list[Part]) -> dict[str, float]:
    """Compute peaks in use, of one rank, by dtype."""
    used = {part.compute_peak for part in parts}
    figures = {dtype: getattr(replica.accelerator.figures, f"peak_{dtype}") for dtype in _DTYPES}
    peaks = {dtype: figure.si / replica.accelerator.ranks for dtype, figure in figures.items() if figure is not None}
    return {dtype: peak for dtype, peak in peaks.items() if any(abs(peak / one - 1.0) < 1e-9 for one in used)}
