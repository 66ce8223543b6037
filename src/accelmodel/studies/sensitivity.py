"""The sensitivity study: a tornado, rank correlations, what knowing each input would be worth, and Sobol indices on request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelmodel.columns import column
from accelmodel.errors import InputError
from accelmodel.numbers import is_share, measured
from accelmodel.results.table import table
from accelmodel.studies.alternatives import MORE_IS_BETTER, OF_FLEET, Alternative
from accelmodel.studies.draws import Array, Design, Points, whole_power
from accelmodel.studies.indices import rank_correlation, sobol_indices, value_of_knowing, value_of_knowing_all, variance_reduction_fraction
from accelmodel.studies.inputs import Input, design_of, inputs_of
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.uncertain import BreakEvenStudy, SensitivityStudy
from accelmodel.studies.uncertainty import benefits_of, check_inputs, draw, draws_of, in_words, name_of, plain, running, varied_in_words


def study(context: Context, asked: SensitivityStudy) -> StudyResult:
    """A row per input, the largest swing first; the outcome is the case's own, or its difference to the best of the alternatives."""
    name = name_of(context, asked)
    alternatives = named_alternatives(context, name, asked)
    inputs = inputs_of(context, name, asked, [one.cell for one in alternatives], [asked.outcome])
    check_inputs(asked, inputs, alternatives)
    for one in alternatives:
        one.check([asked.outcome], "outcome")
    design = design_of(context, asked, inputs)
    draws = whole_power(asked.fleet_draws) if asked.outcome in OF_FLEET else draws_of(asked, alternatives, inputs)
    central, swings = _tornado(alternatives, inputs, asked.outcome)
    drawn, values = _drawn(context, design, alternatives, asked.outcome, draws)
    knowing = _knowing(inputs, values, drawn, asked.outcome, [one.name for one in alternatives])
    indices = _indices(context, asked, design, alternatives) if asked.indices else {}
    rows = [_row(one, asked.outcome, swings[key], knowing["inputs"][key], indices.get(key, {})) for key, one in inputs.items()]
    rows.sort(key=lambda row: -abs(row[f"{asked.outcome}_swing"] if math.isfinite(row[f"{asked.outcome}_swing"]) else math.inf))
    names = list(dict.fromkeys(key for row in rows for key in row))
    summary = {"seed": context.seed, "draws": draws, "central": central, "inputs": [plain(row) for row in rows], **knowing["whole"]}
    notes = [*_notes(asked, alternatives, central, knowing, rows), varied_in_words(asked, inputs, draws, context.seed)]
    columns = {key: [row.get(key) for row in rows] for key in names}
    return StudyResult("sensitivity", table(columns, {"seed": str(context.seed), "draws": str(draws)}), summary, notes, _shown(asked, names))


def named_alternatives(context: Context, study: str, asked: SensitivityStudy | BreakEvenStudy) -> list[Alternative]:
    """The study's case and what it is set against; InputError where one of them does not run."""
    found, notes = running(context, study, asked, [asked.case, *asked.against])
    if notes:
        raise InputError(notes[0], key="against")
    return found


def difference(outcomes: Sequence[Array], name: str) -> Array:
    """The first alternative's outcome, less that of the best of the others where there are some."""
    if len(outcomes) == 1:
        return outcomes[0]
    best = np.maximum if name in MORE_IS_BETTER else np.minimum
    lead: Array = outcomes[0] - best.reduce(list(outcomes[1:]))
    return lead


def _tornado(alternatives: Sequence[Alternative], inputs: Mapping[str, Input], outcome: str) -> tuple[float, dict[str, tuple[float, float]]]:
    """The outcome with every input at its value, and with each at its low and its high end, all in one batch."""
    count = 2 * len(inputs) + 1
    values = {key: np.full(count, one.value) for key, one in inputs.items()}
    for place, (key, one) in enumerate(inputs.items()):
        values[key][2 * place + 1 : 2 * place + 3] = one.low, one.high
    found = difference([one.outcomes(values, count, [outcome])[outcome] for one in alternatives], outcome)
    return float(found[0]), {key: (float(found[2 * place + 1]), float(found[2 * place + 2])) for place, key in enumerate(inputs)}


def _drawn(context: Context, design: Design, alternatives: Sequence[Alternative], outcome: str, draws: int) -> tuple[list[Array], dict[str, Array]]:
    """The outcome of every alternative, and the inputs, under the same draws."""
    found = draw(context, design, alternatives, [[outcome]] * len(alternatives), draws, draws)
    points = Points(len(design.dimensions), context.seed)
    return [one[outcome] for one in found], design.values(points.next(draws))


def _knowing(inputs: Mapping[str, Input], values: Mapping[str, Array], outcomes: Sequence[Array], name: str, names: Sequence[str]) -> dict[str, Any]:
    """What each input's knowledge does: for the variance of the outcome and, of several alternatives, for the choice among them."""
    runs = np.all(np.isfinite(np.column_stack(outcomes)), axis=1)
    chosen = [array[runs] for array in outcomes]
    whole = difference(chosen, name)
    benefits = benefits_of(chosen, name)
    found: dict[str, Any] = {"inputs": {}, "whole": {"runs_fraction": float(runs.mean())}}
    if not runs.any():
        raise InputError("in no draw do all alternatives run", key="against")
    if len(outcomes) > 1:
        found["whole"]["worth_knowing_all"] = value_of_knowing_all(benefits)
        found["whole"]["best_chance_fraction"] = float((np.argmax(benefits, axis=1) == 0).mean())
        found["whole"]["best_on_average"] = names[int(np.argmax(benefits.mean(axis=0)))]
    for key in inputs:
        x = values[key][runs]
        one: dict[str, float] = {"rank_correlation": rank_correlation(x, whole), "variance_reduction_fraction": variance_reduction_fraction(whole, x)}
        if len(outcomes) > 1:
            one[f"{name}_worth_knowing"] = value_of_knowing(benefits, x)
        found["inputs"][key] = one
    return found


def _indices(context: Context, asked: SensitivityStudy, design: Design, alternatives: Sequence[Alternative]) -> dict[str, dict[str, float]]:
    """Sobol indices of independent inputs, and of those that share dimensions as of one."""
    components = [(" + ".join(names), dimensions) for names, dimensions in design.components]

    def evaluate(points: Array) -> Array:
        values = design.values(points)
        return difference([one.outcomes(values, len(points), [asked.outcome])[asked.outcome] for one in alternatives], asked.outcome)

    found = sobol_indices(evaluate, components, whole_power(asked.index_draws), context.seed)
    return {key: index for (names, _), index in zip(design.components, found, strict=True) for key in names}


def _row(one: Input, outcome: str, ends: tuple[float, float], knowing: Mapping[str, float], indices: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = {"input_name": one.name, "input": one.key, "unit": one.unit}
    found |= {"input_low": one.low, "input_value": one.value, "input_high": one.high, "distribution": one.distribution, "group": one.group}
    found |= {f"{outcome}_at_low": ends[0], f"{outcome}_at_high": ends[1], f"{outcome}_swing": ends[1] - ends[0], **knowing}
    return found | {name: indices[name] for name in ("first_order_index", "total_order_index") if name in indices}


def _shown(asked: SensitivityStudy, names: Sequence[str]) -> list[str]:
    outcome = asked.outcome
    wanted = ["input_name", f"{outcome}_at_low", f"{outcome}_at_high", f"{outcome}_worth_knowing", "variance_reduction_fraction", "rank_correlation"]
    wanted += ["first_order_index", "total_order_index", "input_low", "input_high", "unit"]
    return [name for name in wanted if name in names]


def _notes(
    asked: SensitivityStudy, alternatives: Sequence[Alternative], central: float, knowing: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the outcome is, how sure the choice, and which input to measure first."""

    def said(value: float) -> str:
        return measured(value, column(asked.outcome).unit, as_share=is_share(asked.outcome, central))

    first = alternatives[0].name
    if len(alternatives) == 1:
        most = max(rows, key=lambda row: row["variance_reduction_fraction"])
        return [
            f"'{first}': {in_words(asked.outcome)} {said(central)} with every input at its value",
            f"to know {most['input_name']} would take away {most['variance_reduction_fraction']:.0%} of the variance",
        ]
    others = " or ".join(one.name for one in alternatives[1:])
    key = f"{asked.outcome}_worth_knowing"
    most = max(rows, key=lambda row: (row[key], row["variance_reduction_fraction"]))
    notes = [
        f"the outcome is that of '{first}' less that of the best of {others}: {'+' if central > 0 else ''}{said(central)} with every input at its value",
        f"'{first}' is the best in {knowing['whole']['best_chance_fraction']:.0%} of the draws, '{knowing['whole']['best_on_average']}' on average over them; "
        f"to choose knowing every input would be worth {said(knowing['whole']['worth_knowing_all'])} more than that",
    ]
    if most[key] > 0.0:
        notes.append(f"worth measuring first: {most['input_name']}, {said(most[key])} expected, {most['variance_reduction_fraction']:.0%} of the variance")
    else:
        notes.append(
            f"no single input would change the choice; {most['input_name']} takes away most of the variance, {most['variance_reduction_fraction']:.0%}"
        )
    return notes
