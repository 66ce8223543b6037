"""The break-even study: the value of an input at which two alternatives are equal, or at which a case reaches a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accelmodel.columns import column
from accelmodel.errors import InputError
from accelmodel.numbers import is_share, measured
from accelmodel.results.table import table
from accelmodel.studies.alternatives import MORE_IS_BETTER, OF_FLEET, Alternative
from accelmodel.studies.draws import Array
from accelmodel.studies.inputs import ENGINE, Input, inputs_of, named_input
from accelmodel.studies.run import Context, StudyResult
from accelmodel.studies.sensitivity import named_alternatives
from accelmodel.studies.uncertain import Asked, BreakEvenStudy, Uncertainly
from accelmodel.studies.uncertainty import in_words, name_of

_LOOKED_AT = 65  # values between the ends at which the sign is taken before a root is refined
_EQUAL = 1e-6  # of the outcome: what lies further apart at a crossing has jumped across
_TARGET = "target "  # what the other side is called where it is a number
_WIDER = 10.0  # than the value, either way, is searched where the study gives no ends
_SHOWN = ("baseline", "input_value", "break_even_value", "better_below", "better_above", "searched_low", "searched_high", "crossings", "unit")


def study(context: Context, asked: BreakEvenStudy) -> StudyResult:
    """A row per alternative, or one for the target; a break-even value is null where there is none between the ends, and a note says so."""
    name = name_of(context, asked)
    alternatives = named_alternatives(context, name, asked)
    for one in alternatives:
        one.check([asked.outcome], "outcome")
    if asked.outcome in OF_FLEET:
        raise InputError("a fleet of whole systems jumps: search by another outcome", key="outcome", value=asked.outcome)
    subject = alternatives[0]
    varied = _input(context, name, asked, alternatives)
    ends = _ends(asked, varied)
    others: list[Alternative | None] = [*alternatives[1:]] or [None]
    rows = [{"subject": subject.name, "baseline": asked_name(asked, other), **_crossing(asked, varied, subject, other, ends)} for other in others]
    notes = [_in_words(row, varied, in_words(asked.outcome)) for row in rows]
    columns = {key: [row[key] for row in rows] for key in rows[0] if key != "jumps"}
    shown = [key for key in _SHOWN if key != "crossings" or any(row["crossings"] > 1 for row in rows)]
    return StudyResult("break-even", table(columns), {"outcome": asked.outcome, "target": asked.target, "break_even": rows}, notes, shown)


def asked_name(asked: BreakEvenStudy, other: Alternative | None) -> str:
    """What the case is set against."""
    if other is not None:
        return other.name
    return _TARGET + measured(asked.target, column(asked.outcome).unit, as_share=is_share(asked.outcome, asked.target))


def roots(difference: Callable[[Array], Array], low: float, high: float) -> tuple[list[float], Array, Array]:
    """Where a function changes its sign between two ends, and the values and signs looked at.

    Values evenly spaced, by a constant ratio where the ends are a factor of 10 apart or more, bracket each change; Brent's method (Brent, Algorithms for
    Minimization without Derivatives, 1973, chapter 4; scipy's brentq) refines it to 1e-12 of the value. A pair of roots closer than two neighbouring values
    may be missed; where the function is NaN there is no root.
    """
    from scipy.optimize import brentq

    spaced = np.geomspace if low > 0.0 and high >= 10.0 * low else np.linspace
    looked_at: Array = spaced(low, high, _LOOKED_AT)
    looked_at[0], looked_at[-1] = low, high
    signs = np.sign(difference(looked_at))
    found = [float(value) for value in looked_at[signs == 0.0]]
    for place in np.flatnonzero(signs[:-1] * signs[1:] < 0.0):
        root = brentq(lambda value: float(difference(np.array([value]))[0]), looked_at[place], looked_at[place + 1], xtol=1e-300, rtol=1e-12)
        found.append(float(root))
    return sorted(found), looked_at, signs


def _input(context: Context, name: str, asked: BreakEvenStudy, alternatives: list[Alternative]) -> Input:
    """The input that is searched, with or without a range of its own; InputError where it moves none of the alternatives."""
    terms = asked.model_dump(include=set(Asked.model_fields))
    wide = Uncertainly(**terms, engine="spread" if asked.input.startswith(f"{ENGINE}.") else "none")
    found = inputs_of(context, name, wide, [one.cell for one in alternatives], [asked.outcome])
    if asked.input not in found:
        found = {asked.input: named_input(context, name, asked.input)}
    if not any(one.is_touched_by(asked.input) for one in alternatives):
        raise InputError("changes none of the alternatives", key="input", value=asked.input, allowed=found)
    return found[asked.input]


def _ends(asked: BreakEvenStudy, varied: Input) -> tuple[float, float]:
    """Between which values is searched: as asked, else a factor of 10 either way, a share from near 0 to 1."""
    value, is_share = varied.value, varied.unit == "1" and not varied.key.startswith(ENGINE) and 0.0 < varied.value <= 1.0
    if value <= 0.0 and (asked.low is None or asked.high is None):
        raise InputError(f"stands at {value:g}: give 'low' and 'high' between which to search", key="input", value=asked.input)
    low = (1e-3 if is_share else value / _WIDER) if asked.low is None else asked.low
    high = (1.0 if is_share else value * _WIDER) if asked.high is None else asked.high
    if not low < high:
        raise InputError(f"the search needs a low end below its high end, not {low:g} to {high:g}", key="low", value=low)
    return low, high


def _crossing(asked: BreakEvenStudy, varied: Input, subject: Alternative, other: Alternative | None, ends: tuple[float, float]) -> dict[str, Any]:
    """The break-even value nearest the input's own, and who is better on either side of all that was searched."""
    sign = 1.0 if asked.outcome in MORE_IS_BETTER else -1.0

    def lead(values: Array) -> Array:
        """By how much the subject is better."""
        own, others = (
            asked.target if one is None else one.outcomes({varied.key: values}, len(values), [asked.outcome])[asked.outcome] for one in (subject, other)
        )
        return np.asarray(sign * (own - others))  # type: ignore[operator]

    found, _, signs = roots(lead, *ends)
    nearest = min(found, key=lambda value: abs(value - varied.value), default=None)
    jumps = False
    if nearest is not None:
        own = subject.outcomes({varied.key: np.array([nearest])}, 1, [asked.outcome])[asked.outcome]
        jumps = not abs(float(lead(np.array([nearest]))[0])) <= _EQUAL * abs(float(own[0]))
    rivals = {1.0: subject.name, -1.0: asked_name(asked, other)}
    known = signs[np.isfinite(signs) & (signs != 0.0)]
    below, above = (rivals[float(known[place])] if len(known) else None for place in (0, -1))
    return {
        "input": varied.key,
        "input_name": varied.name,
        "unit": varied.unit,
        "input_value": varied.value,
        "break_even_value": nearest,
        "better_below": below,
        "better_above": above,
        "searched_low": ends[0],
        "searched_high": ends[1],
        "crossings": len(found),
        "jumps": jumps,
    }


def _in_words(row: dict[str, Any], varied: Input, outcome: str) -> str:
    """One sentence on a row."""

    def said(value: float) -> str:
        return measured(value, varied.unit, as_share=is_share(varied.key, varied.low, varied.value, varied.high))

    subject, baseline, below, above = (row[key] for key in ("subject", "baseline", "better_below", "better_above"))
    is_target = baseline.startswith(_TARGET)
    if row["break_even_value"] is None:
        span = f"{said(row['searched_low'])} to {said(row['searched_high'])}"
        if below is None:
            return f"no {varied.name} from {span} decides between '{subject}' and {baseline}: they do not run there, or are equal throughout"
        if is_target:
            return f"'{subject}' {'meets' if below == subject else 'misses'} the {baseline} in {outcome} at every {varied.name} from {span}"
        return f"no {varied.name} from {span} makes '{subject}' equal '{baseline}': '{below}' is better throughout"
    what = f"reaches the {baseline}" if is_target else f"equals '{baseline}'"
    sides = f"below it '{below}' is better, above it '{above}'"
    if is_target:
        sides = f"it is met {'below' if below == subject else 'above'}" if below != above else f"at both ends it is {'met' if below == subject else 'missed'}"
    more = "" if row["crossings"] == 1 else f"; {row['crossings']} crossings, this is the nearest to its value"
    more += "; there the outcome jumps from one side to the other, as whole requests do" if row["jumps"] else ""
    at = f"at a {varied.name} of {said(row['break_even_value'])} (it stands at {said(varied.value)})"
    return f"'{subject}' {what} in {outcome} {at}: {sides}{more}"
