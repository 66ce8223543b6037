"""The answer in words: a sentence or two for each kind of study, made of its numbers. A kind that is not known here has its table alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from accelmodel.numbers import number, percent
from accelmodel.reports.terminal import in_own_unit, in_words, span, with_unit

Row = Mapping[str, Any]
SPEED_OF_INTEREST = 50.0  # tokens/s per user that people who know frontiers ask about
_SENTENCES = 6
_FRONTIER = 3  # points from which one speaks of a frontier


def answer(kind: str, rows: Sequence[Row], summary: Mapping[str, Any]) -> list[str]:
    """Sentences that answer a study of a kind from its rows and its summary; none for a kind that has no words."""
    return [*_SAID[kind](rows, summary)][:_SENTENCES] if kind in _SAID and rows else []


def _q(row: Row, name: str) -> str:
    return with_unit(name, row.get(name))


def _within(row: Row, name: str) -> str:
    """A quantity with the central 90 % of what the engine believes, where the row has it."""
    within = span(name, row)
    return _q(row, name) + (f" (90 % within {within})" if within else "")


def _present(rows: Sequence[Row], name: str) -> list[Row]:
    return [row for row in rows if row.get(name) is not None]


def _least(rows: Sequence[Row], name: str) -> Row | None:
    return min(_present(rows, name), key=lambda row: row[name], default=None)


def _most(rows: Sequence[Row], name: str) -> Row | None:
    return max(_present(rows, name), key=lambda row: row[name], default=None)


def cheapest_at(rows: Sequence[Row], tokens_per_s_per_user: float) -> Row | None:
    """The cheapest of the computed points that give a user at least so many tokens a second; None where none does. Nothing is interpolated."""
    return _least(
        [row for row in _present(rows, "output_tokens_per_s_per_user") if row["output_tokens_per_s_per_user"] >= tokens_per_s_per_user], "cost_usd_per_mtok"
    )


def _points(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    models = list(dict.fromkeys(row.get("model") for row in rows))
    for model in models:
        found = _of_model([row for row in rows if row.get("model") == model])
        if found:
            yield (f"{model}: " if len(models) > 1 else "") + found
    missing = summary.get("points", 0) - summary.get("fitting", 0)
    if missing:
        yield f"{missing} of {summary['points']} points cannot run."


def _sweep(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    if summary.get("ran") is not None:
        yield f"{number(summary['ran'])} points ran; {number(len(rows))} rows came of them."
    found = _of_model(rows)
    if found:
        yield f"Of these rows {found}"


def at_one_load(rows: Sequence[Row]) -> list[str]:
    """The cheapest of some alternatives at one load each, by model."""
    models = dict.fromkeys(row.get("model") for row in rows)
    found = {model: _of_model([row for row in rows if row.get("model") == model], is_frontier=False) for model in models}
    return [(f"{model}: " if len(models) > 1 else "") + said for model, said in found.items() if said]


def _of_model(rows: Sequence[Row], *, is_frontier: bool = True) -> str:
    best = _least(rows, "cost_usd_per_mtok")
    if best is None:
        return ""
    speed, margin = best.get("output_tokens_per_s_per_user"), best.get("margin_fraction")
    said = f"{_at_load(best)} has the cheapest tokens" if len(rows) > 1 else _at_load(best)
    said += f": {_within(best, 'cost_usd_per_mtok')}"
    said += f", {number(speed)} tokens/s per user" if speed is not None else ""
    said += f", margin {_within(best, 'margin_fraction')}" if margin is not None else ""
    return f"{said}.{_at_speed(rows, best) if is_frontier else ''}"


def _at_load(row: Row) -> str:
    return f"'{row['case']}'" + (f" with {number(row['concurrency'])} requests at a time" if row.get("concurrency") is not None else "")


def _at_speed(rows: Sequence[Row], best: Row) -> str:
    """Which is cheapest at the speed that people ask about; nothing where the points lie along no frontier."""
    speeds = {row["output_tokens_per_s_per_user"] for row in _present(rows, "output_tokens_per_s_per_user")}
    if len(rows) < _FRONTIER or len(speeds) < _FRONTIER:
        return ""
    asked, wanted = f"{SPEED_OF_INTEREST:g} tokens/s per user", cheapest_at(rows, SPEED_OF_INTEREST)
    if wanted is None:
        return f" No computed point gives {asked}; the fastest gives {number(max(speeds))}."
    if wanted is best:
        return f" It is the cheapest of those that give {asked} or more, too."
    return f" Of the computed points that give {asked} or more, {_at_load(wanted)} is the cheapest: {_within(wanted, 'cost_usd_per_mtok')}."


def _fleet(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for row in rows:
        said = f"{number(row['fleet_accelerators'])} accelerators ({row['case']}) are {number(row['systems'])} systems that draw "
        said += f"{_q(row, 'it_power_mw')} of IT power, tie up {_q(row, 'capital_usd')} and carry {_q(row, 'tokens_per_day')} "
        said += f"at {_within(row, 'cost_usd_per_mtok')}"
        yield said + (f"; they earn {_q(row, 'annual_revenue_usd')}, a margin of {_within(row, 'margin_fraction')}." if "margin_fraction" in row else ".")


def _demand(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for row in rows:
        said = f"{_q(row, 'tokens_per_day')} ({row['case']}) need {number(row['replicas'])} replicas on {number(row['fleet_accelerators'])} accelerators; "
        said += f"the bare peak needs {number(row['lower_bound_replicas'])}. They cost {_q(row, 'annual_cost_usd')}, {_q(row, 'cost_usd_per_mtok')}"
        yield said + (f", and leave a margin of {_q(row, 'margin_fraction')}." if row.get("margin_fraction") is not None else ".")


def _schedule(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for case in dict.fromkeys(row["case"] for row in rows):
        best = _most([row for row in rows if row["case"] == case], "saved_fraction")
        if best is None:
            continue
        cost = _q(best, "cost_usd_per_mtok")
        if best["saved_fraction"] > 0.0:
            yield f"'{case}': {best['policy']} saves {_q(best, 'saved_fraction')} of the static fleet's cost, net of what troughs earn; {cost}."
        else:
            yield f"'{case}': no policy saves anything over the static fleet at {cost}."


def _price_shock(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    shares = sorted({row["in_house_fraction"] for row in rows})
    for share in dict.fromkeys((shares[0], shares[-1])):
        some = [row for row in rows if row["in_house_fraction"] == share]
        low, high = _least(some, "margin_fraction"), _most(some, "margin_fraction")
        if low is not None and high is not None:
            ends = f"{_q(low, 'margin_fraction')} and {_q(high, 'margin_fraction')}"
            yield f"With {percent(share)} % of inference in house the margin lies between {ends} over the shocks."
    parity = (summary.get("parity") or {}).get("parity_vendor_price_shock_fraction")
    if parity is not None:
        yield f"Both supplies cost the same per token when the vendor's price moves by {percent(parity)} %."


def _margin(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    best, worst = _most(rows, "margin_fraction"), _least(rows, "margin_fraction")
    if best is None or worst is None:
        return
    yield f"The highest gross margin is that of {_which(best)}: {_within(best, 'margin_fraction')} at {_q(best, 'cost_usd_per_mtok')}."
    if worst is not best:
        yield f"The lowest is that of {_which(worst)}: {_within(worst, 'margin_fraction')}."
    target = summary.get("target_margin_fraction")
    if target is not None:
        priced = _present(rows, "margin_fraction")
        reached = sum(row["margin_fraction"] >= target for row in priced)
        yield f"{reached} of {len(priced)} rows reach the target of {percent(target)} %."


def _which(row: Row) -> str:
    remarks = [f"{number(row['concurrency'])} requests at a time"] if row.get("concurrency") is not None else []
    remarks += [f"occupancy {percent(row['occupancy'])} %"] if row.get("occupancy") is not None else []
    remarks += [f"discount {percent(row['discount_fraction'])} %"] if row.get("discount_fraction") else []
    return f"'{row['case']}'" + (f" ({', '.join(remarks)})" if remarks else "")


def _waterfall(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for case in dict.fromkeys(row["case"] for row in rows):
        steps = {row["step"]: row for row in rows if row["case"] == case}
        costs = [row for name, row in steps.items() if name not in ("discount", "overheads") and row["step_usd_per_mtok"] < 0.0]
        largest = _least(costs, "step_usd_per_mtok")
        gross, operating = steps.get("gross margin"), steps.get("operating margin")
        if gross is None or operating is None or largest is None or "price" not in steps:
            continue
        yield (
            f"'{case}': of a price of {_q(steps['price'], 'step_usd_per_mtok')}, {_q(gross, 'step_of_price_fraction')} remain as gross and "
            f"{_q(operating, 'step_of_price_fraction')} as operating margin; the largest cost is {largest['step']}."
        )


def _ownership(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for view in dict.fromkeys(row["view"] for row in rows):
        some = [row for row in rows if row["view"] == view]
        low, high = _least(some, "cost_usd_per_h"), _most(some, "cost_usd_per_h")
        if low is not None and high is not None:
            ends = " and ".join(f"{_q(row, 'cost_usd_per_h')} ({row['accelerator']})" for row in (low, high))
            yield f"By {view}, an accelerator-hour costs between {ends}."


def _cash_flow(_rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    for case, worth in summary.get("worth", {}).items():
        said = f"'{case}': net present value {_q(worth, 'net_present_value_usd')}"
        said += _or_none(worth, "internal_rate_of_return_fraction", ", {} a year internally", ", no internal rate of return")
        yield said + _or_none(worth, "payback_years", ", paid back after {}.", ", not paid back.")


def _or_none(row: Row, name: str, said: str, without: str) -> str:
    return without if row.get(name) is None else said.format(_q(row, name))


def _capital(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    low, high = _least(rows, "net_present_value_usd"), _most(rows, "net_present_value_usd")
    if low is not None and high is not None:
        ends = " and ".join(f"{_q(row, 'net_present_value_usd')} (life of {number(row['life_years'])} years)" for row in (low, high))
        yield f"Net present value lies between {ends}."


def _refresh(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    paying = [row for row in rows if row.get("refresh_pays")]
    asked = [row for row in rows if row.get("refresh_pays") is not None]
    named = ", ".join(dict.fromkeys(f"'{row['case']}' over {_q(row, 'horizon_years')}" for row in paying))
    yield f"At equal power a refresh pays with {named}." if paying else f"At equal power none of {len(asked)} refreshes pays."


def _parity(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for row in rows:
        yield (
            f"'{row['subject']}' costs per token what '{row['baseline']}' costs ({_q(row, 'baseline_cost_usd_per_mtok')}) at "
            f"{_q(row, 'parity_price_usd_per_accelerator_h')}; it costs {_q(row, 'cost_usd_per_accelerator_h')}."
        )


def _day(_rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    if summary.get("margin_fraction") is not None:
        yield (
            f"Revenue of {_q(summary, 'revenue_usd')} over a cost of {_q(summary, 'cost_usd')}: {_q(summary, 'markup_on_cost_fraction')} on cost, "
            f"which is {_q(summary, 'margin_fraction')} of revenue."
        )


def _plan(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    first, last = rows[0], rows[-1]
    over = f"in {first['quarter']}" if len(rows) == 1 else f"from {first['quarter']} to {last['quarter']}"
    said = f"The plan {over} has at last {number(last['systems'])} systems of {number(last['fleet_accelerators'])} accelerators"
    yield said + (f" and {_q(last, 'it_power_mw')} of IT power." if last.get("it_power_mw") is not None else ".")
    if summary.get("present_cost_usd") is not None and summary.get("gap_fraction") is not None:
        above = f"at most {percent(summary['gap_fraction'])} % above the best possible with these reserves"
        yield f"Its present cost is {_q(summary, 'present_cost_usd')}, {above}."
    least = _least(rows, "served_fraction")
    if least is not None:
        yield (
            "Every request is served."
            if least["served_fraction"] > 1 - 1e-9
            else f"At least {_q(least, 'served_fraction')} of the requests are served in every quarter."
        )


def _uncertainty(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    decisive = str(summary.get("decided_by", "cost_usd_per_mtok"))
    words = in_words(decisive.removesuffix("_usd_per_mtok").removesuffix("_fraction"))
    best = _most(rows, "best_chance_fraction")
    if best is not None:
        yield f"'{best['case']}' is the best by {words} in {_q(best, 'best_chance_fraction')} of {number(best['draws'])} draws of the uncertain inputs."
    for row in rows:
        ranks = [row.get(f"{decisive}_p{rank}") for rank in (10, 50, 90)]
        if None not in ranks:
            low, middle, high = (with_unit(decisive, value) for value in ranks)
            yield f"'{row['case']}': {words} {middle} in the middle, from {low} (p10) to {high} (p90)."


def _sensitivity(rows: Sequence[Row], summary: Mapping[str, Any]) -> Iterator[str]:
    most = _most(rows, "variance_reduction_fraction")
    if most is not None:
        yield f"Most of the doubt is about '{most['input_name']}': to know it would take away {_q(most, 'variance_reduction_fraction')} of the variance."
    if summary.get("best_on_average") is not None:
        yield f"On average over the draws '{summary['best_on_average']}' is the best choice."


def _break_even(rows: Sequence[Row], _summary: Mapping[str, Any]) -> Iterator[str]:
    for row in rows:
        if row.get("break_even_value") is None:
            yield f"'{row['subject']}' and '{row['baseline']}' are equal at no value of {row['input_name']} that was searched."
        else:
            value = in_own_unit(row, "break_even_value")
            if str(row["baseline"]).startswith("target "):
                yield f"'{row['subject']}' reaches the {row['baseline']} at {_a(row['input_name'])} of {value}{_met(row)}."
                continue
            better = f"below it '{row['better_below']}' is better, above it '{row['better_above']}'"
            yield f"'{row['subject']}' equals '{row['baseline']}' at {_a(row['input_name'])} of {value}; {better}."


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _met(row: Row) -> str:
    """On which side of the break-even value a target is met; nothing where it is met, or missed, on both."""
    if row["better_below"] == row["better_above"]:
        return ""
    return f"; {'below' if row['better_below'] == row['subject'] else 'above'} it the target is met"


_SAID: dict[str, Callable[[Sequence[Row], Mapping[str, Any]], Iterator[str]]] = {
    "points": _points,
    "sweep": _sweep,
    "fleet": _fleet,
    "demand": _demand,
    "schedule": _schedule,
    "price-shock": _price_shock,
    "margin": _margin,
    "waterfall": _waterfall,
    "ownership": _ownership,
    "cash-flow": _cash_flow,
    "capital": _capital,
    "refresh": _refresh,
    "parity": _parity,
    "day": _day,
    "plan": _plan,
    "uncertainty": _uncertainty,
    "sensitivity": _sensitivity,
    "break-even": _break_even,
}
