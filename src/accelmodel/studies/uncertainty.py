"""The uncertainty study: percentiles of cost, margin, fleet and net present value, the chance that a case is the best, and that a margin is reached."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from accelmodel.columns import column
from accelmodel.errors import InputError
from accelmodel.results.table import table
from accelmodel.studies.alternatives import MORE_IS_BETTER, OF_FLEET, OF_INVESTMENT, Alternative
from accelmodel.studies.draws import Array, Design, Points, whole_power
from accelmodel.studies.grid import misfit
from accelmodel.studies.inputs import Input, design_of, inputs_of
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.scenario import CashFlowStudy, DemandStudy
from accelmodel.studies.uncertain import Asked, Uncertainly, UncertaintyStudy

PERCENTILES = (10, 50, 90)
_USUAL_DRAWS = 1 << 17  # fewer leave some pairs of twenty dimensions of Sobol points unbalanced
_USUAL_REPLICAS = 1 << 10  # where each draw is a replica of its own, of some milliseconds
_CHUNK = 1 << 15  # draws that one thread takes through the whole chain: its arrays stay in the cache
_THREADS = min(os.cpu_count() or 1, 8)


def study(context: Context, asked: UncertaintyStudy) -> StudyResult:
    """A row per case: each outcome at the inputs' own values and its percentiles over draws, all cases under the same draws."""
    name = name_of(context, asked)
    alternatives, notes = running(context, name, asked, context.scenario.chosen(asked.cases))
    decisive = asked.decide_by or "cost_usd_per_mtok"
    inputs = inputs_of(context, name, asked, [one.cell for one in alternatives], (*asked.columns, decisive))
    check_inputs(asked, inputs, alternatives)
    design, draws = design_of(context, asked, inputs), draws_of(asked, alternatives, inputs)
    for one in alternatives:
        one.check((*asked.columns, decisive), "columns")
    rows, found = [], []
    wanted = [list(dict.fromkeys((*(asked.columns or _usual(one)), decisive, *(["margin_fraction"] if one.sells else [])))) for one in alternatives]
    drawn = draw(context, design, alternatives, wanted, draws, min(whole_power(asked.fleet_draws), draws))
    for one, outcomes, names in zip(alternatives, drawn, wanted, strict=True):
        central = central_of(one, inputs, names)
        found.append(outcomes)
        rows.append({"case": one.name} | _percentiles(outcomes, central, names) | _chances(one, outcomes, asked))
    beats = _beats([one.name for one in alternatives], [outcomes[decisive] for outcomes in found], decisive)
    for row in rows:
        row |= beats["rows"][row["case"]]
    names = list(dict.fromkeys(key for row in rows for key in row))
    summary = {
        "seed": context.seed,
        "draws": draws,
        "inputs": [_told(one) for one in inputs.values()],
        "cases": {row["case"]: plain({key: value for key, value in row.items() if key != "case"}) for row in rows},
        "decided_by": decisive,
        "beats": beats["pairs"],
    }
    notes += _notes(context, asked, inputs, draws, beats["pairs"], decisive)
    if any(row["runs_fraction"] < 1.0 for row in rows):
        notes.append("percentiles are of the draws in which a case runs; where it does not, it reaches no target and is no case's better")
    columns = {key: [row.get(key) for row in rows] for key in names} | {"draws": [draws] * len(rows)}
    metadata = {"seed": str(context.seed), "draws": str(draws)}
    return StudyResult("uncertainty", table(columns, metadata), summary, notes, [key for key in names if not key.endswith("_mean")])


def name_of(context: Context, asked: Asked) -> str:
    """The name under which the scenario has a study; InputError where the studies that it names are of another kind."""
    for key, kind in (("fleet", DemandStudy), ("investment", CashFlowStudy)):
        named = getattr(asked, key)
        if named is not None and not isinstance(context.scenario.studies.get(named), kind):
            fitting = [name for name, study in context.scenario.studies.items() if isinstance(study, kind)]
            raise InputError(f"names no {'demand' if key == 'fleet' else 'cash-flow'} study of the scenario", key=key, value=named, allowed=fitting)
    return next(name for name, study in context.scenario.studies.items() if study is asked)


def draws_of(asked: Uncertainly, alternatives: Sequence[Alternative], inputs: Mapping[str, Input]) -> int:
    """How many draws: as asked, rounded up to a power of two, else as many as the inputs allow at little cost."""
    if asked.draws is not None:
        return whole_power(asked.draws)
    structural = any(one.is_structural(key) for one in alternatives for key in inputs)
    return _USUAL_REPLICAS if structural else _USUAL_DRAWS


def running(context: Context, study: str, asked: Asked, cases: Sequence[str | None]) -> tuple[list[Alternative], list[str]]:
    """The cases that run at the inputs' own values, and why the others do not; InputError where none does."""
    found, notes = [], []
    for case in cases:
        one = Alternative(context, study, asked, case)
        point = context.point(one.cell)
        if point.fits:
            found.append(one)
        else:
            notes.append(misfit(one.cell, 1, 1, point.kv_capacity_tokens > 0))
    if not found:
        raise InputError(notes[0], key="cases")
    return found, notes


def check_inputs(asked: Uncertainly, inputs: Mapping[str, Input], alternatives: Sequence[Alternative]) -> None:
    """InputError for an input that the study names and that changes none of its cases."""
    for key in asked.inputs:
        if key in inputs and not any(one.is_touched_by(key) for one in alternatives):
            known = [other for other in inputs if any(one.is_touched_by(other) for one in alternatives)]
            raise InputError("changes none of the cases, or may not vary", key=f"inputs.{key}", value=key, allowed=known)


def draw(
    context: Context, design: Design, alternatives: Sequence[Alternative], wanted: Sequence[Sequence[str]], draws: int, fleet_draws: int
) -> list[dict[str, Array]]:
    """Outcomes of every alternative under the same draws: name -> array (draws,), of a fleet (fleet_draws,).

    Chunks of draws go through the chain in threads while the next points are made; results depend on the seed alone.
    """
    points, step = Points(len(design.dimensions), context.seed), min(_CHUNK, draws)
    found = [{name: np.empty(fleet_draws if name in OF_FLEET else draws) for name in names} for names in wanted]

    def work(first: int, chunk: Array) -> None:
        values = design.values(chunk)
        for one, names, into in zip(alternatives, wanted, found, strict=True):
            for name, array in one.outcomes(values, len(chunk), [name for name in names if name not in OF_FLEET]).items():
                into[name][first : first + len(chunk)] = array
            of_fleet = [name for name in names if name in OF_FLEET]
            left = min(fleet_draws - first, len(chunk))
            if of_fleet and left > 0:
                few = {key: value[:left] for key, value in values.items()}
                for name, array in one.outcomes(few, left, of_fleet).items():
                    into[name][first : first + left] = array

    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[None]] = deque()
        for first in range(0, draws, step):
            waiting.append(pool.submit(work, first, points.next(step)))
            if len(waiting) > 2 * _THREADS:  # no more points than the threads are about to take
                waiting.popleft().result()
        for one in waiting:
            one.result()
    return [{name: array[: draws if name not in OF_FLEET else fleet_draws] for name, array in outcomes.items()} for outcomes in found]


def central_of(one: Alternative, inputs: Mapping[str, Input], names: Sequence[str]) -> dict[str, float]:
    """Outcomes with every input at its own value."""
    found = one.outcomes({key: np.array([each.value]) for key, each in inputs.items()}, 1, names)
    return {name: float(value[0]) for name, value in found.items()}


def _usual(one: Alternative) -> list[str]:
    """The outcomes that a case is asked for where the study does not say."""
    asked = ["cost_usd_per_mtok", "margin_fraction", "replicas", "fleet_accelerators", "capital_usd", "annual_cost_usd", *OF_INVESTMENT]
    return [name for name in asked if name in one.offered]


def _percentiles(outcomes: Mapping[str, Array], central: Mapping[str, float], names: Sequence[str]) -> dict[str, Any]:
    """Columns of each outcome: its value at the inputs' own, percentiles of the quantity itself (p10: a tenth of the draws lie below) and mean."""
    found: dict[str, Any] = {}
    for name in names:
        runs = outcomes[name][np.isfinite(outcomes[name])]
        ranks = np.percentile(runs, PERCENTILES) if len(runs) else [math.nan] * len(PERCENTILES)
        found[f"{name}_central"] = central[name]
        found |= {f"{name}_p{rank}": float(value) for rank, value in zip(PERCENTILES, ranks, strict=True)}
        found[f"{name}_mean"] = float(runs.mean()) if len(runs) else math.nan
    return found


def _chances(one: Alternative, outcomes: Mapping[str, Array], asked: UncertaintyStudy) -> dict[str, Any]:
    """Shares of the draws: that the case runs, that its margin is above the target, that its net present value is above 0."""
    longest = max(outcomes.values(), key=len)  # a fleet is sized for some of the draws alone
    found: dict[str, Any] = {"runs_fraction": float(np.isfinite(longest).mean())}
    if one.sells:
        found |= {
            "target_margin_fraction": asked.target_margin_fraction,
            "target_chance_fraction": float((outcomes["margin_fraction"] > asked.target_margin_fraction).mean()),
        }
    if "net_present_value_usd" in outcomes:
        found["profit_chance_fraction"] = float((outcomes["net_present_value_usd"] > 0.0).mean())
    return found


def benefits_of(outcomes: Sequence[Array], name: str) -> Array:
    """Outcomes of alternatives as benefits, (draws, alternatives): larger is better, and what does not run is worst of all."""
    sign = 1.0 if name in MORE_IS_BETTER else -1.0
    return np.column_stack([np.where(np.isfinite(array), sign * array, -math.inf) for array in outcomes])


def _beats(names: Sequence[str], outcomes: Sequence[Array], decisive: str) -> dict[str, Any]:
    """Share of the draws in which each case is better than each other, than the first and than all."""
    if len(names) < 2:
        return {"rows": {name: {} for name in names}, "pairs": {}}
    benefits = benefits_of(outcomes, decisive)
    pairs = {one: {other: float((benefits[:, i] > benefits[:, j]).mean()) for j, other in enumerate(names) if j != i} for i, one in enumerate(names)}
    best = np.argmax(benefits, axis=1)
    runs = np.isfinite(benefits.max(axis=1))
    rows = {name: {"best_chance_fraction": float(((best == place) & runs).mean())} for place, name in enumerate(names)}
    for name in names[1:]:
        rows[name]["beats_first_chance_fraction"] = pairs[name][names[0]]
    return {"rows": rows, "pairs": pairs}


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as plain values: None where there is no number."""
    return {key: None if value != value else value for key, value in row.items()}


def in_words(outcome: str) -> str:
    """An outcome in a few words."""
    return re.split("[:,]", column(outcome).description)[0]


def _told(one: Input) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(one).items() if value is not None}


def _notes(context: Context, asked: UncertaintyStudy, inputs: Mapping[str, Input], draws: int, pairs: Mapping[str, Any], decisive: str) -> list[str]:
    """What varied and what did not, and who beats whom."""
    found = [varied_in_words(asked, inputs, draws, context.seed)]
    words = in_words(decisive)
    better = "more" if decisive in MORE_IS_BETTER else "less"
    first = next(iter(pairs), None)
    if first is not None:
        chances = ", ".join(f"than {other} in {share:.0%}" for other, share in pairs[first].items())
        found.append(f"'{first}' has {better} {words} {chances} of the draws: every case meets the same draws, so that what they share cancels")
    if asked.fleet is not None:
        found.append(f"the fleet is sized anew, by the closed form without simulation, under each of the first {whole_power(asked.fleet_draws):,} draws")
    return found


def varied_in_words(asked: Uncertainly, inputs: Mapping[str, Input], draws: int, seed: int) -> str:
    """One sentence on what varies: how many inputs, their groups, the draws, and how the engine's error is taken."""
    groups = {one.group for one in inputs.values() if one.group is not None}
    together = f", some of them together ({', '.join(sorted(groups))})," if groups else ""
    engine = {
        "spread": "the engine's error is the spread of measurements about predictions, one factor for a calibration and generation",
        "parameters": "the engine varies by its fitted parameters with their recorded correlations",
        "none": "the engine is taken to be exact",
    }[asked.engine]
    return f"{len(inputs)} inputs vary{together} over {draws:,} draws of seed {seed}; {engine}. Architecture and physics not named as inputs stay as they are"
