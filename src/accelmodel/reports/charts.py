"""Charts of a run, free of any format: what is drawn from which numbers. The page, the workbook and the explorer draw the same ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accelmodel.columns import HIGH, LOW
from accelmodel.numbers import number, text
from accelmodel.reports.terminal import in_words, label, with_unit
from accelmodel.reports.words import SPEED_OF_INTEREST

if TYPE_CHECKING:
    from accelmodel.studies.roofline import Operator, Roofline

Row = Mapping[str, Any]
Kind = Literal["line", "scatter", "bar", "stack", "waterfall", "range", "tornado"]
LOADS = ("concurrency", "requests_per_s")  # axes along which a frontier runs; every other axis is a line of its own
_FEW = 3  # points from which a line is worth drawing
_LINES, _BARS, _WATERFALLS, _INPUTS = 12, 40, 6, 15


@dataclass(frozen=True)
class Axis:
    """What an axis shows: words, unit, and whether it is logarithmic; `is_share` has fractions that are read in percent."""

    words: str
    unit: str = ""
    is_log: bool = False
    is_share: bool = False

    @property
    def title(self) -> str:
        """Words and unit."""
        unit = "%" if self.is_share else self.unit
        return ", ".join(filter(None, (self.words, unit)))


@dataclass(frozen=True)
class Series:
    """Numbers of one name: places (numbers or categories), values, what is said of each, and where known the ends of its range.

    `of` is the place of the series that its dots belong to, whose colour and symbol they have.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]
    words: Sequence[str]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    dots: bool = False
    of: int | None = None


@dataclass(frozen=True)
class Chart:
    """One chart. Of bars, ranges and tornados `x` holds values and `y` categories; a stack stands upright.

    `centre` is where a tornado's bars begin, `mark` a place on the x axis that a line marks.
    """

    title: str
    caption: str
    kind: Kind
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    centre: float | None = None
    mark: float | None = None

    @property
    def is_split(self) -> bool:
        """Whether several series of bars share the categories out among them: one bar a category."""
        names = [name for one in self.series for name in one.y]
        return self.kind == "bar" and len(self.series) > 1 and len(names) == len(set(names))

    @property
    def alternative(self) -> str:
        """The chart in words, for who does not see it."""
        names = ", ".join(one.name for one in self.series[:_LINES])
        values = [value for one in self.series for value in (one.y if self.kind in ("line", "scatter", "stack", "waterfall") else one.x) if value is not None]
        axis = self.y if self.kind in ("line", "scatter", "stack", "waterfall") else self.x
        if not values:
            return self.title
        ends = f"{_spoken(axis, min(values))} to {_spoken(axis, max(values))}"
        return f"{self.title}. {axis.words or 'Values'} from {ends}: {names}. The numbers stand in the table."


def _spoken(axis: Axis, value: float) -> str:
    return f"{number(round(value * 100, 9))} %" if axis.is_share else text(value, axis.unit or "1")


def axis_of(name: str, *, is_log: bool = False) -> Axis:
    """An axis that shows a column of the dictionary."""
    words, unit = label(name)
    return Axis(words, "" if unit == "%" else unit, is_log, is_share=unit == "%")


def charts(kind: str, rows: Sequence[Row], summary: Mapping[str, Any], axes: Sequence[str] = ()) -> list[Chart]:
    """The charts of a study of a kind; none for a kind, or columns, that have no chart. `axes` are the scenario's."""
    drawn = [chart for make in _DRAWN.get(kind, ()) for chart in make(rows, summary, axes)] if rows else []
    return [chart for chart in drawn if any(value is not None for one in chart.series for value in (*one.x, *one.y) if not isinstance(value, str))]


# Operating points


def _has(rows: Sequence[Row], *names: str) -> list[Row]:
    return [row for row in rows if all(row.get(name) is not None for name in names)]


def _groups(rows: Sequence[Row], axes: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of one line together: of one case and one value of every axis that is no load."""
    fixed = [name for name in axes if name not in LOADS and len({row.get(name) for row in rows}) > 1]
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = ", ".join([str(row.get("case", "")), *(f"{label(key)[0]} {with_unit(key, row.get(key))}" for key in fixed)])
        found.setdefault(name, []).append(row)
    return found


def _told(row: Row, names: Sequence[str], first: str) -> str:
    """What is said of one point, a line each."""
    return "\n".join([first, *(f"{label(name)[0]}: {with_unit(name, row[name])}" for name in names if row.get(name) is not None)])


_TOLD = ("cost_usd_per_mtok", "output_tokens_per_s_per_user", "output_tokens_per_s_per_accelerator", "concurrency", "time_to_first_token_s", "margin_fraction")


def _frontier(rows: Sequence[Row], _summary: Mapping[str, Any], axes: Sequence[str]) -> Iterator[Chart]:
    speed = "output_tokens_per_s_per_user"
    for name, title, why in (
        ("cost_usd_per_mtok", "Cost against speed", "Lower and further right is better: what a million tokens cost at the speed that one user sees."),
        ("output_tokens_per_s_per_accelerator", "Throughput against speed", "Higher and further right is better."),
    ):
        lines = {key: sorted(some, key=lambda row: row[speed]) for key, some in _groups(_has(rows, speed, name), axes).items()}
        if max((len(some) for some in lines.values()), default=0) < _FEW:
            continue
        series = tuple(
            Series(
                key,
                [row[speed] for row in some],
                [row[name] for row in some],
                [_told(row, _TOLD, key) for row in some],
                *_ends(some, name),
            )
            for key, some in list(lines.items())[:_LINES]
        )
        left = f" {len(lines) - _LINES} more lines are in the table only." if len(lines) > _LINES else ""
        caption = f"{why} The dotted line stands at {SPEED_OF_INTEREST:g} tokens/s per user.{left}"
        yield Chart(f"{title}, at each load", caption, "line", axis_of(speed), axis_of(name, is_log=True), series, mark=SPEED_OF_INTEREST)


def _ends(rows: Sequence[Row], name: str) -> tuple[list[float | None], list[float | None]] | tuple[None, None]:
    if not all(name + LOW in row for row in rows):
        return None, None
    return [row[name + LOW] for row in rows], [row[name + HIGH] for row in rows]


def _cloud(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    """A sweep's rows as dots: they lie in more dimensions than two, so that no line joins them."""
    x, y = "output_tokens_per_s_per_user", "cost_usd_per_mtok"
    some = _has(rows, x, y)
    if len(some) < _FEW:
        return
    series = tuple(dataclasses.replace(one, dots=True) for one in _lines(some, x, y, ("case",)))
    caption = f"Rows of the table; lower and further right is better. The dotted line stands at {SPEED_OF_INTEREST:g} tokens/s per user."
    yield Chart("Cost against speed", caption, "scatter", axis_of(x), axis_of(y, is_log=True), series, mark=SPEED_OF_INTEREST)


def _single(rows: Sequence[Row], _summary: Mapping[str, Any], axes: Sequence[str]) -> Iterator[Chart]:
    lines = _groups(rows, axes)
    if max(map(len, lines.values()), default=0) >= _FEW:
        return
    for name, title in (("cost_usd_per_mtok", "Cost of a million tokens"), ("margin_fraction", "Gross margin")):
        yield from _bars(rows, [name], title, "Whiskers: the central 90 % of what the engine believes.", axes=axes)


def _bars(
    rows: Sequence[Row], names: Sequence[str], title: str, caption: str, axes: Sequence[str] = (), name_of: Callable[[Row], str] | None = None
) -> Iterator[Chart]:
    """Columns of one unit as bars, a row each."""
    some = _has(rows, names[0])[:_BARS]
    if len(some) < 2:
        return
    telling = [key for key in axes if len({row.get(key) for row in some}) > 1]
    name = name_of or (lambda row: ", ".join([str(row.get("case", "")), *(with_unit(key, row.get(key)) for key in telling)]))
    places = _distinct([name(row) for row in some])
    series = tuple(
        Series(
            label(key)[0],
            [row.get(key) for row in some],
            places,
            [_told(row, [key], place) for row, place in zip(some, places, strict=True)],
            *_ends(some, key),
        )
        for key in names
        if any(row.get(key) is not None for row in some)
    )
    left = f" The first {_BARS} of {len(rows)} rows." if len(rows) > _BARS else ""
    bounds = caption if series[0].low is not None or "Whiskers" not in caption else ""
    axis = axis_of(names[0])
    words = axis.words if len(series) == 1 or axis.is_share else ""
    yield Chart(title, f"{bounds}{left}".strip(), "bar", Axis(words, axis.unit, axis.is_log, axis.is_share), Axis(""), series)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that no two places share."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


# Money


def _margins(rows: Sequence[Row], _summary: Mapping[str, Any], axes: Sequence[str]) -> Iterator[Chart]:
    by = next((name for name in ("occupancy", "discount_fraction") if len({row.get(name) for row in _has(rows, name)}) >= _FEW), None)
    if by is not None:
        fixed = [name for name in ("occupancy", "discount_fraction", *axes) if name != by and len({row.get(name) for row in rows}) > 1]
        series = _lines(_has(rows, by, "margin_fraction"), by, "margin_fraction", ("case", *fixed))
        yield Chart(
            "Gross margin of each offer", "What is left of the price after the cost of serving.", "line", axis_of(by), axis_of("margin_fraction"), series
        )
        return
    telling = [name for name in ("occupancy", "discount_fraction") if len({row.get(name) for row in rows}) > 1]
    yield from _bars(
        rows, ["margin_fraction", "operating_margin_fraction"], "Margin by offer", "Whiskers: the central 90 % of what the engine believes.", [*telling, *axes]
    )


def _lines(rows: Sequence[Row], x: str, y: str, by: Sequence[str]) -> tuple[Series, ...]:
    """A line for each value of `by`, a row a point."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(", ".join(_worded(name, row.get(name)) for name in dict.fromkeys(by) if row.get(name) is not None), []).append(row)
    return tuple(
        Series(name, [row[x] for row in some], [row[y] for row in some], [_told(row, [x, y], name) for row in some])
        for name, some in list(groups.items())[:_LINES]
    )


def _worded(name: str, value: object) -> str:
    return str(value) if isinstance(value, str) else f"{label(name)[0]} {with_unit(name, value)}"


def _shocks(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    x, y = "vendor_price_shock_fraction", "margin_fraction"
    series = _lines(_has(rows, x, y), x, y, ("in_house_fraction",))
    yield Chart("Margin when the vendor's price moves", "The flatter the line, the better the margin is shielded.", "line", axis_of(x), axis_of(y), series)


def _waterfalls(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    value = "step_usd_per_mtok"
    for case in list(dict.fromkeys(row["case"] for row in rows))[:_WATERFALLS]:
        some = [row for row in rows if row["case"] == case]
        series = Series(
            str(case), [row["step"] for row in some], [row[value] for row in some], [_told(row, [value, "step_of_price_fraction"], row["step"]) for row in some]
        )
        caption = "From the list price down to the operating margin; every line of the cost is a step."
        yield Chart(f"Where the price of a million tokens goes: {case}", caption, "waterfall", Axis(""), Axis("step or level", "USD/Mtok"), (series,))


LEVELS = ("list price", "price", "gross margin", "operating margin")  # of a waterfall: what stands on the ground


def _hour(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    parts = [name for name in rows[0] if name.endswith("_usd_per_h") and not name.startswith(("cost_", "published_", "chip_"))]
    views = list(dict.fromkeys(row.get("view") for row in rows))
    for view in views[:2]:
        some = [row for row in rows if row.get("view") == view]
        series = tuple(
            Series(
                label(part)[0],
                [row["accelerator"] for row in some],
                [row[part] for row in some],
                [_told(row, [part, "cost_usd_per_h"], row["accelerator"]) for row in some],
            )
            for part in parts
            if any(row[part] for row in some)
        )
        yield Chart(
            f"What an accelerator-hour costs its owner ({view})", "Lines of the cost of a powered hour.", "stack", Axis(""), Axis("cost", "USD/h"), series
        )


def _cash(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    x, y = "time_years", "cumulative_cash_flow_usd"
    yield Chart("Cash so far", "Where a line crosses zero the investment has paid back.", "line", axis_of(x), axis_of(y), _lines(rows, x, y, ("case",)))


def _lives(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    x, y = "life_years", "net_present_value_usd"
    series = _lines(_has(rows, x, y), x, y, ("case", "fleet_accelerators"))
    yield Chart("Net present value by the life of the equipment", "", "line", axis_of(x), axis_of(y), series)


def _refreshes(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    x, y = "horizon_years", "net_present_value_usd"
    yield Chart("Keep or refresh, at equal power", "Present value of each choice.", "line", axis_of(x), axis_of(y), _lines(_has(rows, x, y), x, y, ("case",)))


# Fleets


def _fleets(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    def name(row: Row) -> str:
        return f"{row['case']}, {number(row['fleet_accelerators'])} accelerators"

    yield from _bars(rows, ["annual_cost_usd", "annual_revenue_usd"], "Cost and revenue of a year", "", name_of=name)


def _demands(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    ladder = ["lower_bound_replicas", "replicas_planned", "replicas_proven", "replicas"]

    def name(row: Row) -> str:
        return f"{row['case']}, {with_unit('tokens_per_day', row['tokens_per_day'])}"

    caption = "The bare peak; with headroom for bursts; what the simulator proved; with drained and failed ones and whole systems."
    yield from _bars(rows, [step for step in ladder if rows[0].get(step) is not None], "From the bare peak to the fleet", caption, name_of=name)


def _by_quarter(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    """Fleet and power by quarter: stacked by site and system where the rows tell them apart."""
    if not {"quarter", "systems"} <= rows[0].keys():
        return
    by = [name for name in ("site", "system", "generation") if name in rows[0]]
    quarters = list(dict.fromkeys(str(row["quarter"]) for row in rows))
    for name, title in (("fleet_accelerators", "Fleet by quarter"), ("it_power_mw", "Power by quarter"), ("cost_usd", "Cost by quarter")):
        some = _has(rows, name)
        if len(quarters) < 2 or not some:
            continue
        groups: dict[str, dict[str, float]] = {}
        for row in some:
            group = ", ".join(str(row[key]) for key in by) or label(name)[0]
            groups.setdefault(group, {})[str(row["quarter"])] = row[name]
        series = tuple(
            Series(
                group,
                quarters,
                [values.get(quarter) for quarter in quarters],
                [f"{group}\n{quarter}: {with_unit(name, values.get(quarter))}" for quarter in quarters],
            )
            for group, values in groups.items()
            if any(values.values())
        )
        yield Chart(title, "", "stack", Axis("quarter"), axis_of(name), series)


def _ladder(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    if {"plan_step", "present_cost_usd"} <= rows[0].keys():
        caption = "Each step adds one more thing that a real fleet needs."
        yield from _bars(rows, ["present_cost_usd"], "From the bare demand to the plan", caption, name_of=lambda row: str(row["plan_step"]))


def _hours(_rows: Sequence[Row], summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    for found in summary.get("hours", [])[:_WATERFALLS]:
        lists = {key: value for key, value in found.items() if isinstance(value, list) and value and all(isinstance(one, (int, float)) for one in value)}
        length = max(map(len, lists.values()), default=0)
        series = tuple(
            Series(in_words(key), list(range(length)), value, [f"{in_words(key)}\nhour {hour}: {number(one)}" for hour, one in enumerate(value)])
            for key, value in lists.items()
            if len(value) == length
        )
        if series:
            demand = f", {with_unit('tokens_per_day', found['tokens_per_day'])}" if found.get("tokens_per_day") else ""
            yield Chart(f"Replicas by the hour: {found.get('case', '')}{demand}", "", "line", Axis("hour"), Axis("replicas"), series)


# What is uncertain


def _fans(rows: Sequence[Row], _summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    for name in [key.removesuffix("_p50") for key in rows[0] if key.endswith("_p50")]:
        some = _has(rows, f"{name}_p10", f"{name}_p50", f"{name}_p90")
        if not some:
            continue
        told = [_told(row, [f"{name}_p10", f"{name}_p50", f"{name}_p90"], str(row["case"])) for row in some]
        low, high = ([row[f"{name}_{end}"] for row in some] for end in ("p10", "p90"))
        middle = Series("p50", [row[f"{name}_p50"] for row in some], [str(row["case"]) for row in some], told, low, high)
        axis = axis_of(name)
        yield Chart(
            f"{axis.words}: p10, p50, p90".capitalize(),
            "A tenth of the draws lie below p10, half below p50, nine tenths below p90.",
            "range",
            axis,
            Axis(""),
            (middle,),
        )


def _tornado(rows: Sequence[Row], summary: Mapping[str, Any], _axes: Sequence[str]) -> Iterator[Chart]:
    centre = summary.get("central")
    for name in [key.removesuffix("_at_low") for key in rows[0] if key.endswith("_at_low")]:
        ends = {"at its low end": f"{name}_at_low", "at its high end": f"{name}_at_high"}
        some = sorted(rows, key=lambda row: -_reach(row, tuple(ends.values()), centre))[:_INPUTS]
        names = [str(row["input_name"]) for row in some]
        series = tuple(
            Series(
                words,
                [row.get(end) for row in some],
                names,
                [f"{row['input_name']} {words}\n{label(name)[0]}: {with_unit(name, row.get(end))}" for row in some],
            )
            for words, end in ends.items()
        )
        caption = "What one input at either end of its range makes of the outcome, the others at their values."
        caption += " No bar: nothing runs there." if any(row.get(end) is None for row in some for end in ends.values()) else ""
        caption += f" {len(rows) - len(some)} inputs are in the table only." if len(rows) > len(some) else ""
        yield Chart(f"What moves {label(name)[0]} most", caption, "tornado", axis_of(name), Axis(""), series, centre if isinstance(centre, float) else None)


def _reach(row: Row, ends: Sequence[str], centre: object) -> float:
    """How far the ends lie from the centre, or from each other; where nothing runs at an end, as far as the other does."""
    known = [row[end] for end in ends if row.get(end) is not None]
    around = [*known, centre] if isinstance(centre, float) else known
    return float(max(around) - min(around)) if around else 0.0


_DRAWN: dict[str, tuple[Callable[[Sequence[Row], Mapping[str, Any], Sequence[str]], Iterator[Chart]], ...]] = {
    "points": (_frontier, _single),
    "sweep": (_cloud,),
    "margin": (_margins,),
    "price-shock": (_shocks,),
    "waterfall": (_waterfalls,),
    "ownership": (_hour,),
    "cash-flow": (_cash,),
    "capital": (_lives,),
    "refresh": (_refreshes,),
    "fleet": (_fleets,),
    "demand": (_demands,),
    "plan": (_by_quarter,),
    "plan-part": (_by_quarter, _ladder),
    "schedule": (_hours,),
    "uncertainty": (_fans,),
    "sensitivity": (_tornado,),
}


# The chosen replica


def roofline_charts(found: Roofline) -> list[Chart]:
    """Where the time of a decode step goes, and how far each operator is from the accelerator's peaks."""
    bounds = list(dict.fromkeys(one.bound_by for one in found.operators))
    times = tuple(_bounded(found, by) for by in bounds)
    caption = f"One decode step takes {text(found.step_s, 's')}: {number(found.batch)} requests at a mean context of {number(found.context_tokens)} tokens."
    where = Chart("Where the time goes, by operator", caption, "bar", Axis("time in a decode step", "s"), Axis(""), times)
    working = [one for one in found.operators if one.flop_per_byte is not None]
    dots = Series("operators", [one.flop_per_byte for one in working], [one.flop_per_s for one in working], [_operator_told(one) for one in working], dots=True)
    least, most = min(one.flop_per_byte or 0.0 for one in working), max(one.flop_per_byte or 0.0 for one in working)
    memory, peaks = found.memory_peak_byte_per_s, found.compute_peak_flop_per_s
    far = max(most, *(peak / memory for peak in peaks.values())) * 4.0
    roofs = tuple(_roof(dtype, peak, memory, least / 2.0, far) for dtype, peak in peaks.items())
    caption = (
        "Lines: the vendor's peaks of one rank. Dots: operators as modelled, with bandwidth and compute as software reaches them, links and overheads included."
    )
    axes = Axis("FLOP for each byte read", "FLOP/byte", is_log=True), Axis("rate of one rank", "FLOP/s", is_log=True)
    return [where, Chart("Roofline of the decode step", caption, "scatter", *axes, (*roofs, dots))]


def _bounded(found: Roofline, by: str) -> Series:
    some = [one for one in found.operators if one.bound_by == by]
    words = [f"{in_words(one.kind)}\n{text(one.seconds, 's')}, {with_unit('decode_fraction', one.share_fraction)} of the step, mostly {by}" for one in some]
    return Series(f"mostly {by}", [one.seconds for one in some], [in_words(one.kind) for one in some], words)


def _operator_told(one: Operator) -> str:
    return f"{in_words(one.kind)}\n{number(one.flop_per_byte)} FLOP/byte, {text(one.flop_per_s, 'FLOP/s')}"


def _roof(dtype: str, peak: float, memory: float, first: float, last: float) -> Series:
    """The roof over the operators: along the memory's bandwidth up to the ridge, then flat."""
    words = f"peak {dtype.upper()}: {text(peak, 'FLOP/s')}, memory {text(memory, 'byte/s')}"
    return Series(f"peak {dtype.upper()}", [first, peak / memory, last], [first * memory, peak, peak], [words] * 3)
