"""Explain one number of a run: found again from the run's own frozen inputs, then walked down to figures and their sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelmodel.catalog.figures import Source, parse
from accelmodel.catalog.library import Library
from accelmodel.columns import HIGH, LOW, OF_INPUTS
from accelmodel.columns import column as described
from accelmodel.errors import InputError
from accelmodel.studies import grid
from accelmodel.studies.demanded import lengths_of
from accelmodel.studies.equations import Term, Walk, given, is_same, of_figure, plain
from accelmodel.studies.percentiles import NAMES
from accelmodel.studies.run import Cell, Context, study_kinds
from accelmodel.studies.saved import as_read, read_document, read_table
from accelmodel.studies.scenario import Scenario
from accelmodel.studies.terms import SPREAD_EQUATION, terms_at
from accelmodel.studies.walks_capital import of_capital, of_cash_flow, of_refresh
from accelmodel.studies.walks_money import of_margin, of_ownership, of_parity, of_price_shock, of_waterfall
from accelmodel.studies.walks_plan import of_plan, of_plan_part
from accelmodel.studies.walks_schedule import of_schedule
from accelmodel.studies.walks_sweep import of_sweep

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Explanation:
    """One number of a run as a tree of terms, with the sources at its leaves."""

    scenario: str
    study: str
    row: int
    column: str
    term: Term
    sources: dict[str, Source]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as one document."""
        return {
            "schema": "accelmodel.explanation/1",
            **{name: getattr(self, name) for name in ("scenario", "study", "row", "column")},
            "term": self.term.to_dict(),
            "sources": {key: source.model_dump(exclude_none=True) for key, source in self.sources.items()},
        }


def explain(run_dir: str | Path, *, study: str, row: int, column: str) -> Explanation:
    """What a number in a study's table is made of; `row` counts from 0, as the table's rows stand in its Parquet file.

    The study, or STUDY.NAME for a further table of it, runs again from the inputs frozen in the folder; of a sweep, the point of the row alone. InputError
    where there is no such run, study, row or column, and where the number does not come out again, because this version of the engine is another than the
    one that wrote it.
    """
    folder = Path(run_dir)
    document = read_document(folder)
    tables = {f"{name}.{other}" if other else name: name for name, one in document["studies"].items() for other in ("", *one.get("others", ()))}
    if study not in tables:
        raise InputError(f"the run has no study '{study}'", file=folder / "run.json", key="--study", value=study, allowed=tables)
    written = _row(folder / f"{study}.parquet", row, column)
    catalog = Library(folder / "inputs")
    scenario = parse(Scenario, as_read(document["inputs"]), folder / "run.json")
    asked: Any = scenario.studies[tables[study]]
    again = Context(scenario, catalog, folder / "inputs", document["seed"])
    if asked.kind == "sweep":
        term = of_sweep(again, asked, study.removeprefix(tables[study]).removeprefix("."), written, column)
        found = term.value
    else:
        table = study_kinds()[asked.kind](again, asked).table
        found = table[column][row].as_py() if column in table.column_names and row < table.num_rows else None
    if not is_same(found, written[column]):
        versions = f"version {document['version']} of the engine wrote {written[column]}, this one finds {found}"
        raise InputError(f"the number does not come out again: {versions}; run the scenario anew", file=folder, key="--column", value=column)
    if asked.kind != "sweep":
        term = walked(again, asked, table, row, column)
    sources = {key: catalog.sources[key] for key in dict.fromkeys(term.sources) if key in catalog.sources}
    return Explanation(document["scenario"], study, row, column, term, sources)


def _row(path: Path, row: int, column: str) -> dict[str, Any]:
    """One row of a saved table; InputError for a row or column that it has not."""
    table = read_table(path)
    if not 0 <= row < table.num_rows:
        raise InputError(f"the table has rows 0 to {table.num_rows - 1}", file=path, key="--row", value=row)
    if column not in table.column_names:
        raise InputError(f"the table has no column '{column}'", file=path, key="--column", value=column, allowed=table.column_names)
    found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
    return found


def walked(context: Context, asked: Any, table: pa.Table, row: int, column: str) -> Term:
    """The term of a number in a study's table, which the study made in this context."""
    if asked.kind in IDENTITIES:
        walk = IDENTITIES[asked.kind](context, asked, table.to_pylist(), row)
        return walk.term(column)
    found = table.slice(row, 1).to_pylist()[0]
    return _WALKS[asked.kind](context, asked, row, found, column) if asked.kind in _WALKS else plain(column, found[column])


def _label(cell: Cell, row: Mapping[str, Any], column: str) -> Term:
    """A column that says which replica a row is about."""
    where = f"case '{cell.case}'" if cell.case else "the scenario"
    if column == "accelerator":
        return Term(column, row[column], note=cell.replica.accelerator.title, source=cell.replica.system.source)
    return given(column, row[column], where)


def _of_points(context: Context, asked: Any, row: int, found: Mapping[str, Any], column: str) -> Term:
    left = row
    for cell, loads in grid.parts(context, asked):
        if left < len(loads):
            if column in grid.labels(cell, 1):
                return _label(cell, found, column)
            if column in NAMES:
                return plain(column, found[column])  # a percentile has no parts: the simulation is the equation
            return terms_at(context, cell, loads[left]).term(column)
        left -= len(loads)
    raise AssertionError("the row was found before")


class _FleetTerms:
    """Terms of a fleet's row, over those of the operating point that its replicas run at."""

    def __init__(self, context: Context, cell: Cell, asked: Any, row: Mapping[str, Any]) -> None:
        self.context, self.cell, self.asked, self.row = context, cell, asked, row
        of_trace = ("input_tokens", "output_tokens", "prefix_hit_fraction") if getattr(asked, "trace", None) else ()
        self.point = terms_at(context, cell, {name: row[name] for name in of_trace}, "the trace")

    def term(self, column: str) -> Term:
        """The term of a column."""
        maker = getattr(self, f"_{column}", None)
        if column in ("case", "system"):
            return _label(self.cell, self.row, column)
        if column == "fleet_accelerators" and self.asked.kind == "fleet":
            return self.asked_for(column)
        for bound in (LOW, HIGH):
            if column.endswith(bound):
                parts = (self.term(column.removesuffix(bound)), self.point.spread("throughput"))
                return Term(column, self.row[column], described(column).unit, SPREAD_EQUATION, parts)
        if maker is None or self.row.get(column) is None:
            return plain(column, self.row[column])
        equation, parts = maker()
        return Term(column, self.row[column], described(column).unit, equation, tuple(parts))

    def of(self, *columns: str) -> list[Term]:
        """Terms of some of the row's columns."""
        return [self.term(name) for name in columns if name in self.row]

    def asked_for(self, key: str) -> Term:
        """A key of the study."""
        value = self.row[key] if key in self.row else getattr(self.asked, key)
        return given(key, value, f"[studies.*] of kind {self.asked.kind}")

    def _hourly(self) -> Term:
        """What one installed accelerator costs in every powered hour."""
        if self.cell.money.rents:
            return self.point.term("replica_cost_usd_per_h")
        return self.point.cost_per_accelerator_h()

    def _margin_fraction(self) -> tuple[str, list[Term]]:
        return "1 - cost / revenue", self.of("annual_cost_usd", "annual_revenue_usd")

    def _annual_cost_usd(self) -> tuple[str, list[Term]]:
        equation = "accelerators x cost per accelerator-hour x 8760 (spares counted apart)"
        return equation, [*self.of("fleet_accelerators", "spare_accelerators"), self._hourly()]

    def _annual_revenue_usd(self) -> tuple[str, list[Term]]:
        return "revenue of a replica per hour x replicas x availability x 8760", [self.point.term("revenue_usd_per_h"), *self.of("replicas"), *self._up()]

    def _cost_usd_per_mtok(self) -> tuple[str, list[Term]]:
        return "cost of a year / tokens of a year x 10^6", self.of("annual_cost_usd", "tokens_per_day")

    def _tokens_per_day(self) -> tuple[str, list[Term]]:
        if self.asked.kind == "demand":
            return "as demanded, grown over the years", [self.asked_for("growth_fraction_per_year"), self.asked_for("years")]
        rates = [self.point.term(name) for name in ("input_tokens_per_s", "output_tokens_per_s")]
        return "replicas x availability x occupancy x tokens/s x 86400", [*self.of("replicas"), *self._up(), self.point.occupancy(), *rates]

    def _up(self) -> list[Term]:
        return [] if self.cell.money.rents else [self.point.owner("availability")]

    def _fleet_accelerators(self) -> tuple[str, list[Term]]:
        return "whole systems for the replicas", self.of("replicas", "stranded_accelerators")

    def _replicas(self) -> tuple[str, list[Term]]:
        if self.asked.kind != "demand":
            return "replicas that whole systems hold", [self.point.term("accelerators"), *self.of("fleet_accelerators")]
        reserves = [self.asked_for(name) for name in ("availability_target_fraction", "correlated_accelerators")]
        names = ("failures_per_year", "repair_time", "host_failures_per_year", "host_repair_time")
        known = self.cell.money.catalog.ownership(self.cell.money.owner).figures
        figures = [self.point.owner(name) for name in names if getattr(known, name) is not None]
        return "the smallest number of which enough are up with the target's probability", [*self.of("replicas_at_peak"), *reserves, *figures]

    def _replicas_at_peak(self) -> tuple[str, list[Term]]:
        proven = "replicas_planned" if self.row.get("replicas_proven") is None else "replicas_proven"
        return "replicas that serve the peak / (1 - drained)", [*self.of(proven), self.asked_for("maintenance_fraction")]

    def _replicas_proven(self) -> tuple[str, list[Term]]:
        equation = "the planned number, or the least beyond it with which so many percent of the requests meet the targets in the simulator"
        situation = self.cell.situation
        targets = [given(key, situation[key], "[base] or the case") for key in ("ttft_s", "tpot_s") if key in situation]
        return equation, [*self.of("replicas_planned"), *targets, *(self.asked_for(key) for key in ("percentile", "window_s", "routing"))]

    def _replicas_planned(self) -> tuple[str, list[Term]]:
        if self.asked.headroom_fraction is not None:
            return "replicas that the peak needs / (1 - headroom)", [*self.of("lower_bound_replicas"), self.asked_for("headroom_fraction")]
        keys = ("burstiness", "input_variation", "output_variation") if self.asked.trace is None else ("trace", "trace_rate_factor")
        equation = "replicas that the peak needs x the percentile of the work in windows as long as the TTFT target (10 s at most) / its mean"
        return equation, [*self.of("lower_bound_replicas"), self.asked_for("percentile"), *(self.asked_for(key) for key in keys)]

    def _lower_bound_replicas(self) -> tuple[str, list[Term]]:
        rates = [self.point.term(name) for name in ("input_tokens_per_s", "output_tokens_per_s")]
        peak = "peak_to_mean" if self.asked.shape is None else "shape"
        return "tokens a second at the peak / what a replica carries", [*self.of("tokens_per_day"), self.asked_for(peak), *rates]

    def _it_power_mw(self) -> tuple[str, list[Term]]:
        return "accelerators x all-in IT power", [*self.of("fleet_accelerators"), self.point.accelerator("it_power")]

    def _facility_power_mw(self) -> tuple[str, list[Term]]:
        return "IT power x PUE", [*self.of("it_power_mw"), self.point.site("pue")]

    def _peak_fp8_eflop_per_s(self) -> tuple[str, list[Term]]:
        return "accelerators x dense FP8 peak", [*self.of("fleet_accelerators"), self.point.accelerator("peak_fp8")]

    def _capital_usd(self) -> tuple[str, list[Term]]:
        return "accelerators x (server + network + facility), and spares", [*self.of("fleet_accelerators"), self._hourly(), self.point.accelerator("it_power")]

    def _facility_power_of_site_fraction(self) -> tuple[str, list[Term]]:
        return "power at the meter / the site's ultimate draw", [*self.of("facility_power_mw"), self.point.site("power")]

    def _revenue_of_segment_fraction(self) -> tuple[str, list[Term]]:
        published = self.context.catalog.reference(self.asked.reference).need("aws_revenue_q3_2025")
        return "revenue of a quarter / the segment's", [*self.of("annual_revenue_usd"), of_figure("revenue of the segment", published)]


def _of_fleets(context: Context, asked: Any, row: int, found: Mapping[str, Any], column: str) -> Term:
    del row
    for case in context.scenario.chosen(asked.cases):
        own = {} if asked.kind == "fleet" else lengths_of(asked)
        cell = context.cell(case, context.scenario.situation(case) | own)
        if found["case"] == (cell.case or cell.replica.system.name):
            return _FleetTerms(context, cell, asked, found).term(column)
    raise AssertionError("the row was found before")


def _of_day(context: Context, asked: Any, row: int, found: Mapping[str, Any], column: str) -> Term:
    del row
    reference = context.catalog.reference(asked.reference)
    parts = tuple(of_figure(f"{reference.name}: {name}", figure) for name, figure in reference.figures.items())
    return Term(f"{found['quantity']}: {column}", found[column], str(found["unit"]), "from the day's published figures", parts, source=found.get("source"))


def _of_uncertainty(context: Context, asked: Any, row: int, found: Mapping[str, Any], column: str) -> Term:
    """An outcome under draws: the inputs that vary, and the point at their values where it is asked for."""
    from accelmodel.studies.inputs import inputs_of
    from accelmodel.studies.uncertainty import name_of, running

    name = name_of(context, asked)
    alternatives, _ = running(context, name, asked, context.scenario.chosen(asked.cases))
    outcome = next((column.removesuffix(suffix) for suffix in OF_INPUTS if column.endswith(suffix)), None)
    if outcome is None:
        return plain(column, found[column])
    inputs = inputs_of(context, name, asked, [one.cell for one in alternatives], (*asked.columns, outcome))
    touching = [one for key, one in inputs.items() if alternatives[row].is_touched_by(key)]
    known_sources = context.catalog.sources  # an engine's spread has its calibration's name, which is in its key
    told = [(one, one.source if one.source in known_sources else None) for one in touching]
    parts = [Term(one.name, one.value, one.unit, kind=one.distribution, low=one.low, high=one.high, source=source, note=one.key) for one, source in told]
    if column == f"{outcome}_central":
        parts.insert(0, terms_at(context, alternatives[row].cell, {}).term(outcome))
    known = described(column)
    return Term(column, found[column], known.unit, f"{found['draws']:,} draws of these inputs, seed {context.seed}", tuple(parts), note=known.description)


_WALKS: dict[str, Callable[[Context, Any, int, Mapping[str, Any], str], Term]] = {
    "points": _of_points,
    "fleet": _of_fleets,
    "demand": _of_fleets,
    "day": _of_day,
    "uncertainty": _of_uncertainty,
}

IDENTITIES: dict[str, Callable[[Context, Any, Sequence[Mapping[str, Any]], int], Walk]] = {
    "margin": of_margin,
    "price-shock": of_price_shock,
    "ownership": of_ownership,
    "waterfall": of_waterfall,
    "parity": of_parity,
    "cash-flow": of_cash_flow,
    "capital": of_capital,
    "refresh": of_refresh,
    "schedule": of_schedule,
    "plan": of_plan,
    "plan-part": of_plan_part,
}
