"""The last steps of the money as formulas of a workbook: what finance may change, and what follows from it.

The formulas restate equations that `economics` computes; tests hold them against the engine's figures. They are chosen by the kind of study, because a column
of one name rests on other columns elsewhere. Everything before them, such as how many tokens a replica serves, is the engine's and stands as a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accelmodel.reports.charts import LEVELS
from accelmodel.reports.content import Study

Row = Mapping[str, Any]
_MOST_ROWS = 1000  # of a block
_SHARE, _PRICE, _HOURLY, _WHOLE = "0.0%", "0.0000", "#,##0.0000", "#,##0"


@dataclass(frozen=True)
class Cell:
    """A column of a block: its key, head, unit and number format; `formula` is over the keys of its row in braces, `is_input` may be changed."""

    key: str
    head: str
    unit: str = ""
    form: str = ""
    formula: str | None = None
    is_input: bool = False


@dataclass(frozen=True)
class Block:
    """A small table with live formulas: columns, and rows of values; a formula's value is what the engine found."""

    title: str
    columns: tuple[Cell, ...]
    rows: tuple[tuple[Any, ...], ...]


def blocks(study: Study) -> Iterator[Block]:
    """The live blocks of a study; none for kinds whose money has no such last step."""
    if study.kind == "waterfall":
        yield from _waterfalls(study)
    elif study.kind in _COLUMNS:
        make, needed = _COLUMNS[study.kind]
        if not set(needed) <= set(study.table.column_names):
            return
        columns = make(study)
        if all(cell.formula is None for cell in columns):
            return
        rows = [row for row in study.rows(_MOST_ROWS) if all(_is_number(row.get(name)) for name in needed)]
        if rows:
            yield Block(f"{study.name} ({study.kind})", columns, tuple(tuple(_value(cell, row) for cell in columns) for row in rows))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _value(cell: Cell, row: Row) -> Any:
    if cell.key == "price_change":
        return 0.0
    value = row.get(cell.key.removesuffix("__computed"))
    return value if value is None or value == value else None


def _labels(study: Study, *names: str) -> list[Cell]:
    found = [Cell("case", "case")] if "case" in study.table.column_names else []
    return found + [
        Cell(name, study.described(name)[0], _unit(study, name), _SHARE if name.endswith("_fraction") else _WHOLE)
        for name in names
        if name in study.table.column_names
    ]


def _unit(study: Study, name: str) -> str:
    unit = study.described(name)[1]
    return "%" if name.endswith("_fraction") and unit == "1" else "" if unit == "1" else unit


def _input(study: Study, name: str, form: str) -> Cell:
    return Cell(name, study.described(name)[0], _unit(study, name), form, is_input=True)


def _plain(study: Study, name: str, form: str) -> Cell:
    return Cell(name, study.described(name)[0], _unit(study, name), form)


def _followed(study: Study, name: str, form: str, formula: str) -> list[Cell]:
    """A formula's column, and beside it what the engine found."""
    words, unit = study.described(name)[0], _unit(study, name)
    return [Cell(name, words, unit, form, formula), Cell(f"{name}__computed", f"{words} as computed", unit, form)]


_CHANGE = Cell("price_change", "change of price", "%", _SHARE, is_input=True)


def _of_points(study: Study) -> tuple[Cell, ...]:
    known = set(study.table.column_names)
    columns = [*_labels(study, "concurrency"), _input(study, "replica_cost_usd_per_h", _HOURLY)]
    if {"input_tokens_per_s", "output_tokens_per_s", "occupancy", "cost_usd_per_mtok"} <= known:
        cost = "{replica_cost_usd_per_h}/(({input_tokens_per_s}+{output_tokens_per_s})*3600/1000000*{occupancy})"
        columns += [_plain(study, name, "#,##0.00") for name in ("input_tokens_per_s", "output_tokens_per_s")]
        columns += [_plain(study, "occupancy", _SHARE), *_followed(study, "cost_usd_per_mtok", _PRICE, cost)]
    if {"revenue_usd_per_h", "margin_fraction"} <= known:
        margin = "1-{replica_cost_usd_per_h}/({revenue_usd_per_h}*(1+{price_change}))"
        columns += [_input(study, "revenue_usd_per_h", _HOURLY), _CHANGE, *_followed(study, "margin_fraction", _SHARE, margin)]
    return tuple(columns)


def _of_margins(study: Study) -> tuple[Cell, ...]:
    price, cost = "{list_price_usd_per_mtok}*(1-{discount_fraction})", "{cost_usd_per_mtok}"
    if "replica_cost_usd_per_h" in study.table.column_names:
        hourly = [_input(study, "replica_cost_usd_per_h", _HOURLY), _plain(study, "capacity_mtok_per_day", "#,##0.00"), _plain(study, "occupancy", _SHARE)]
        hourly += _followed(study, "cost_usd_per_mtok", _PRICE, "{replica_cost_usd_per_h}*24/({capacity_mtok_per_day}*{occupancy})")
    else:
        hourly = [_input(study, "cost_usd_per_mtok", _PRICE)]
    return (
        *_labels(study, "share_fraction"),
        *hourly,
        _input(study, "list_price_usd_per_mtok", _PRICE),
        _input(study, "discount_fraction", _SHARE),
        *_followed(study, "price_usd_per_mtok", _PRICE, price),
        *_followed(study, "margin_fraction", _SHARE, f"1-{cost}/{{price_usd_per_mtok}}"),
    )


def _of_fleets(study: Study) -> tuple[Cell, ...]:
    return _yearly(study, "fleet_accelerators", "annual_cost_usd", "tokens_per_day", "annual_revenue_usd", "{annual_cost_usd}/({tokens_per_day}*365)*1000000")


def _yearly(study: Study, by: str, cost: str, tokens: str, revenue: str, formula: str) -> tuple[Cell, ...]:
    columns = [*_labels(study, by), _input(study, cost, _WHOLE), _plain(study, tokens, _WHOLE), *_followed(study, "cost_usd_per_mtok", _PRICE, formula)]
    if {revenue, "margin_fraction"} <= set(study.table.column_names):
        margin = f"1-{{{cost}}}/({{{revenue}}}*(1+{{price_change}}))"
        columns += [_input(study, revenue, _WHOLE), _CHANGE, *_followed(study, "margin_fraction", _SHARE, margin)]
    return tuple(columns)


def _of_shocks(study: Study) -> tuple[Cell, ...]:
    return (
        *_labels(study, "in_house_fraction", "vendor_price_shock_fraction"),
        _input(study, "cost_usd_per_mtok", _PRICE),
        _input(study, "price_usd_per_mtok", _PRICE),
        *_followed(study, "margin_fraction", _SHARE, "1-{cost_usd_per_mtok}/{price_usd_per_mtok}"),
    )


def _of_plans(study: Study) -> tuple[Cell, ...]:
    quarter = [Cell("quarter", "quarter")]
    found = _yearly(study, "systems", "cost_usd", "served_mtok", "revenue_usd", "{cost_usd}/{served_mtok}")
    return (*quarter, *found)


_COLUMNS: dict[str, tuple[Callable[[Study], tuple[Cell, ...]], tuple[str, ...]]] = {
    "points": (_of_points, ("replica_cost_usd_per_h",)),
    "margin": (_of_margins, ("list_price_usd_per_mtok", "price_usd_per_mtok", "margin_fraction", "replica_cost_usd_per_h")),
    "fleet": (_of_fleets, ("annual_cost_usd", "tokens_per_day")),
    "demand": (_of_fleets, ("annual_cost_usd", "tokens_per_day")),
    "price-shock": (_of_shocks, ("cost_usd_per_mtok", "price_usd_per_mtok")),
    "plan": (_of_plans, ("cost_usd", "served_mtok")),
}


def _waterfalls(study: Study) -> Iterator[Block]:
    """A row per case: list price and discount may be changed, and every line of the cost; price and margins follow."""
    rows = study.rows()
    by_case: dict[str, dict[str, float]] = {}
    for row in rows:
        by_case.setdefault(str(row["case"]), {})[str(row["step"])] = row["step_usd_per_mtok"]
    for case, steps in by_case.items():
        if not {*LEVELS, "discount", "overheads"} <= steps.keys() or not steps["price"]:
            continue
        lines = [name for name in steps if name not in (*LEVELS, "discount", "overheads")]
        yield Block(f"{study.name} (waterfall): {case}", *_fall(steps, lines))


def _fall(steps: Mapping[str, float], lines: list[str]) -> tuple[tuple[Cell, ...], tuple[tuple[Any, ...], ...]]:
    unit = "USD/Mtok"
    keys = {name: f"line{place}" for place, name in enumerate(lines)}
    price, gross = "{list_price}+{discount}", "{price}+" + "+".join(f"{{{key}}}" for key in keys.values())
    columns = [
        Cell("list_price", "list price", unit, _PRICE, is_input=True),
        Cell("discount", "discount", unit, _PRICE, is_input=True),
        Cell("price", "price", unit, _PRICE, price),
        *(Cell(key, name, unit, _PRICE, is_input=True) for name, key in keys.items()),
        Cell("gross", "gross margin", unit, _PRICE, gross),
        Cell("gross__computed", "gross margin as computed", unit, _PRICE),
        Cell("overheads", "overheads", unit, _PRICE, is_input=True),
        Cell("operating", "operating margin", unit, _PRICE, "{gross}+{overheads}"),
        Cell("operating__computed", "operating margin as computed", unit, _PRICE),
    ]
    values = {"list_price": steps["list price"], "discount": steps["discount"], "price": steps["price"], "overheads": steps["overheads"]}
    values |= {"gross": steps["gross margin"], "operating": steps["operating margin"]} | {key: steps[name] for name, key in keys.items()}
    return tuple(columns), (tuple(values[cell.key.removesuffix("__computed")] for cell in columns),)
