"""Identities: every number of every study that has them is what its equation says, in every row of the shipped scenarios, down to sources that exist."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy_financial as npf
import pyarrow.parquet as pq
import pytest

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.studies import walks_money
from accelmodel.studies.equations import Equation, Term, made
from accelmodel.studies.explain import IDENTITIES, walked
from accelmodel.studies.money import library
from accelmodel.studies.run import Context, study_kinds
from accelmodel.studies.scenario import load

RENTED_AND_OWNED = {"studies.week.cases": ["trainium2", "h200-rented"], "studies.week.window_s": 20.0}
SHIPPED = [
    *(
        ("thirty-percent", "thirty"),
        ("traffic-mix", "mix"),
        ("traffic-mix", "books"),
        ("margin-shield", "margin"),
        ("vertical-integration", "margin-trainium3"),
    ),
    *(("cost-of-ownership", "hour"), ("thirty-percent", "waterfall"), ("trainium3-price", "owned"), ("trainium3-price", "rented")),
    *(("vertical-integration", "parity"), ("diurnal-chat", "week"), ("fleet-capital", "cash"), ("fleet-capital", "life")),
    *(("keep-or-refresh", "refresh"), ("keep-or-refresh", "kept"), ("keep-or-refresh", "refreshed")),
    *(("mixed-fleet", "tight"), ("mixed-fleet", "tight-by-length"), ("mixed-fleet", "tight-alone")),
    *(("rainier-buildout", name) for name in ("plan", "sites", "workloads", "bound")),
]


# What the scenario or the solver decides, or a simulation finds, and nothing gives; energy of what a tenant rents, whose draw is its owner's.
DECIDED = {"share_fraction", "occupancy", "discount_fraction", "life_years", "horizon_years", "present_cost_usd", "gap_fraction", "largest_short_fraction"}
DECIDED |= {"troughs_used_fraction", "troughs_tokens_per_day", "troughs_revenue_usd_per_day", "site_energy_kwh_per_mtok"}


@functools.cache
def context_of(scenario: str) -> Context:
    path, parsed = load(scenario, library(), RENTED_AND_OWNED if scenario == "diurnal-chat" else None)
    return Context(parsed, library(), path.parent)


@functools.cache
def table_of(scenario: str, study: str):
    asked = context_of(scenario).scenario.studies[study]
    return asked, study_kinds()[asked.kind](context_of(scenario), asked).table


def terms_of(scenario: str, study: str) -> Iterator[tuple[Any, Term]]:
    """Every number of a study as it stands in its table, and its term."""
    asked, table = table_of(scenario, study)
    for number, row in enumerate(table.to_pylist()):
        walk = IDENTITIES[asked.kind](context_of(scenario), asked, table.to_pylist(), number)
        for column in table.column_names:
            yield row[column], walk.term(column)


def every(term: Term, seen: set[int] | None = None) -> Iterator[Term]:
    """The term and all below it, each once."""
    seen = set() if seen is None else seen
    if id(term) not in seen:
        seen.add(id(term))
        yield term
        for part in term.parts:
            yield from every(part, seen)


def reckoned(term: Term) -> Any:
    """What an equation comes to, read by Python itself with every part by its symbol; payments by numpy-financial."""
    functions = {"CRF": lambda rate, years: -npf.pmt(rate, years, 1.0), "ceil": lambda x: math.ceil(x * (1 - 1e-12)), "floor": math.floor}
    return eval(term.equation, functions, {part.symbol: part.value for part in term.parts})


@pytest.mark.parametrize(("scenario", "study"), SHIPPED)
def test_every_identity_holds_in_every_row_of_the_shipped_scenarios(scenario: str, study: str):
    checked, known = set(), context_of(scenario).catalog.sources
    for value, term in terms_of(scenario, study):
        assert not isinstance(value, float) or value == 0.0 or term.parts or term.source or term.kind or term.name in DECIDED, term.name
        assert term.value == value or math.isclose(term.value, value, rel_tol=1e-9)
        for one in every(term):
            assert one.gives is None, (one.name, one.value, one.gives)
            assert one.source is None or one.source in known
            if one.parts and all(part.symbol for part in one.parts) and id(one) not in checked:
                checked.add(id(one))
                size = max(abs(float(part.value)) for part in one.parts)
                assert math.isclose(reckoned(one), one.value, rel_tol=1e-9, abs_tol=1e-9 * size), one.name
            if not one.parts and isinstance(one.value, float):
                assert one.source or one.kind or one.note, one.name
    assert checked


@pytest.mark.parametrize(
    ("scenario", "study", "columns"),
    [
        ("cost-of-ownership", "hour", ("cost_usd_per_h",)),
        ("thirty-percent", "waterfall", ("step_usd_per_mtok",)),
        ("trainium3-price", "owned", ("parity_price_usd_per_accelerator_h", "purchase_at_parity_usd")),
        ("diurnal-chat", "week", ("cost_usd_per_day", "margin_fraction", "energy_mwh_per_day", "replicas")),
        ("fleet-capital", "life", ("net_present_value_usd", "levelised_cost_usd_per_mtok")),
        ("keep-or-refresh", "refresh", ("margin_usd_per_mw_year", "net_present_value_usd")),
        ("keep-or-refresh", "refreshed", ("cumulative_cash_flow_usd",)),
        ("mixed-fleet", "tight", ("cost_usd_per_mtok", "capital_charge_usd", "running_cost_usd")),
        ("rainier-buildout", "plan", ("running_cost_usd", "capital_charge_usd", "margin_fraction", "it_power_mw")),
        ("rainier-buildout", "workloads", ("replicas_with_reserves", "replica_goodput_requests_per_s")),
    ],
)
def test_what_a_planner_asks_for_goes_down_to_sources(scenario: str, study: str, columns: tuple[str, ...]):
    asked, table = table_of(scenario, study)
    for column in columns:
        rows = [number for number, value in enumerate(table[column].to_pylist()) if value]
        for row in rows[:1] + rows[-1:]:
            assert list(walked(context_of(scenario), asked, table, row, column).sources), (column, row)


def test_an_owners_server_is_an_annuity_of_its_purchase():
    asked, table = table_of("cost-of-ownership", "hour")
    row = table["view"].to_pylist().index("annuity")
    term = walked(context_of("cost-of-ownership"), asked, table, row, "server_capital_usd_per_h")
    purchase, rate, life, residual = term.parts
    by_hand = -npf.pmt(rate.value, life.value, purchase.value, -residual.value * purchase.value) / 8760
    assert term.value == pytest.approx(by_hand, rel=1e-9)
    assert (rate.symbol, life.unit, purchase.kind) == ("cost_of_capital", "year", "estimated")


def test_a_waterfalls_steps_go_from_list_price_to_operating_margin():
    asked, table = table_of("thirty-percent", "waterfall")
    rows = table.to_pylist()
    row = next(number for number, one in enumerate(rows) if one["step"] == "gross margin")
    price, *costs = walked(context_of("thirty-percent"), asked, table, row, "step_usd_per_mtok").parts
    assert price.value + sum(cost.value for cost in costs) == pytest.approx(rows[row]["step_usd_per_mtok"], rel=1e-9)
    assert {cost.unit for cost in costs} == {"USD/Mtok"}
    assert all(cost.value < 0 for cost in costs)


def test_a_present_value_is_the_discounted_cash_of_its_quarters():
    asked, table = table_of("fleet-capital", "life")
    term = walked(context_of("fleet-capital"), asked, table, 0, "net_present_value_usd")
    signs = {"present_revenue_usd": 1, "present_proceeds_usd": 1}
    assert sum(signs.get(part.symbol, -1) * part.value for part in term.parts) == pytest.approx(term.value, rel=1e-9)
    tax = next(part for part in term.parts if part.symbol == "present_tax_usd")
    assert any(one.name == "equipment written off" for one in every(tax))


SWEEP = {"axes.input_tokens": [1024], "axes.output_tokens": [256], "axes.concurrency": [1, 8, 64]}


def test_a_point_of_a_sweep_is_walked_down_as_a_point(tmp_path: Path):
    am.run("billion-point-frontier", set=SWEEP).save(tmp_path)
    table = pq.read_table(tmp_path / "frontier.parquet")
    for row in (0, table.num_rows - 1):
        for column in table.column_names:
            found = am.explain(tmp_path, study="frontier", row=row, column=column).term
            value = table[column][row].as_py()
            assert found.value == value or math.isclose(found.value, value, rel_tol=1e-9)
    cost = am.explain(tmp_path, study="frontier", row=0, column="cost_usd_per_mtok")
    assert cost.sources
    assert all(one.gives is None for one in every(cost.term))


def test_a_number_that_its_parts_do_not_give_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    am.run("trainium3-price", studies=["owned"]).save(tmp_path)
    asked = ["explain", str(tmp_path), "--study", "owned", "--column", "subject_mtok_per_accelerator_h", "--depth", "1", "--quiet"]
    assert execute(asked) == 0
    right = capsys.readouterr().out
    assert "= capacity x occupancy / accelerators" in right
    assert "which is not this number" not in right
    monkeypatch.setitem(walks_money.CAPACITY, "capacity_mtok_per_h", "input_tokens_per_s * 3600 / 1000000")
    assert execute(asked) == 0
    assert "which is not this number" in capsys.readouterr().out


def test_an_equation_is_arithmetic_and_nothing_else():
    assert Equation("-a ** 2 + max(b, 3) * round(c / 2)").value({"a": 3.0, "b": 4.0, "c": 5.2}) == -9.0 + 4.0 * 3
    assert Equation("CRF(rate, years)").value({"rate": 0.0, "years": 4.0}) == 0.25
    for text in ("price.real", "[price]", "price if price else 1", "price and 1"):
        with pytest.raises(ValueError, match="more than arithmetic"):
            Equation(text).value({"price": 1.0})


def test_what_parts_give_is_measured_by_their_size():
    parts = {"a": Term("a", 1e9, kind="given"), "b": Term("b", 1e9 - 0.1, kind="given")}
    assert made("c", "a - b", parts, 0.1).gives is None
    assert made("c", "a - b", parts, 2.0).gives == pytest.approx(0.1)
    assert made("c", "a / b", parts, 1.001).gives == pytest.approx(1.0)
