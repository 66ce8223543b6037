"""One situation has one fleet: a study of a demand, of a schedule and of a plan agree on replicas, spares and money."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import accelmodel as am
from accelmodel.studies.money import library

SHAPE = """
name = "flat"
title = "A load that never changes"
starts = "any hour"
[figures]
peak_to_mean = {{ value = {peak}, unit = "1", kind = "estimated", low = {peak}, high = {peak} }}
[hours]
unit = "1"
kind = "estimated"
values = [{hours}]
"""
SCENARIO = """
title = "One fleet, asked for in three ways"
[base]
model = "llama-3.1-8b"
input_tokens = 1155
output_tokens = 211
concurrency = 48
[cases.owned]
system = "{system}"
accelerators = {accelerators}
offer = "bedrock"
books = "cloud"
[cases.rented]
system = "p5.48xlarge"
accelerators = {accelerators}
offer = ["on-demand", "bedrock"]
books = "tenant"
[cases.planned]
system = "{system}"
accelerators = {accelerators}
[studies.demand]
kind = "demand"
cases = ["{case}"]
tokens_per_day = 4e10
shape = "flat"
headroom_fraction = 0.1
[studies.schedule]
kind = "schedule"
cases = ["{case}"]
tokens_per_day = 4e10
shape = "flat"
headroom_fraction = 0.1
[studies.plan]
kind = "plan"
first_quarter = "2026Q1"
quarters = 1
gap_fraction = 0.0
[studies.plan.workloads.chat]
replicas = ["planned"]
tokens_per_day = 4e10
shape = "flat"
[studies.plan.systems]
"{system}" = {{{rent}}}
[studies.plan.sites]
new-carlisle = {{}}
[studies.workloads]
kind = "plan-part"
of = "plan"
part = "workloads"
"""
# Replicas of a whole system, of a part of one, and with accelerators that no replica uses.
CASES = [("owned", "p5.48xlarge", 8), ("owned", "p5.48xlarge", 1), ("owned", "trn2.48xlarge", 6), ("rented", "p5.48xlarge", 8), ("rented", "p5.48xlarge", 1)]


def run(folder: Path, case: str, system: str, accelerators: int, peak: float = 1.0, **changed: Any) -> am.Run:
    hours = [peak, *[(24 - peak) / 23] * 23]
    (folder / "shapes").mkdir(exist_ok=True)
    (folder / "shapes" / "flat.toml").write_text(SHAPE.format(peak=peak, hours=", ".join(str(hour) for hour in hours)), encoding="utf-8")
    rent = 'rent = "on-demand"' if case == "rented" else ""
    file = folder / "mine.toml"
    file.write_text(SCENARIO.format(case=case, system=system, accelerators=accelerators, rent=rent), encoding="utf-8")
    return am.run(file, set=changed, catalog=am.Library(folder))


@pytest.mark.parametrize("given", CASES, ids=lambda given: f"{given[0]}-{given[1]}-{given[2]}")
@pytest.mark.parametrize("reserves", [{}, {"maintenance_fraction": 0.07, "availability_target_fraction": 0.99999, "spares_service_fraction": 0.9999}])
def test_a_flat_load_has_one_fleet(tmp_path, given, reserves):
    found = run(tmp_path, *given, **{f"studies.{study}.{key}": value for study in ("demand", "schedule", "plan") for key, value in reserves.items()})
    demand, static = found.tables["demand"].to_pylist()[0], found.tables["schedule"].to_pylist()[0]
    assert static["policy"] == "static"
    for name in ("replicas_planned", "replicas_at_peak", "replicas", "systems", "fleet_accelerators", "spare_accelerators", "lower_bound_replicas"):
        assert static[name] == demand[name]
    assert static["mean_occupancy_fraction"] == pytest.approx(demand["mean_occupancy_fraction"], rel=1e-12)
    for name in ("cost_usd_per_mtok", "margin_fraction"):
        assert static[name] == pytest.approx(demand[name], rel=1e-12)
    assert static["cost_usd_per_day"] * 365 == pytest.approx(demand["annual_cost_usd"], rel=1e-12)
    assert demand["replicas"] > demand["replicas_at_peak"] > demand["replicas_planned"] > demand["lower_bound_replicas"]  # none of it is idle talk
    assert (demand["spare_accelerators"] > 0) == (given[0] == "owned")
    # The plan counts replicas before the last system is full, and pays for equipment at the end of every quarter in place of every year.
    quarter, workload = found.tables["plan"].to_pylist()[0], found.tables["workloads"].to_pylist()[0]
    assert (quarter["systems"], quarter["fleet_accelerators"]) == (demand["systems"], demand["fleet_accelerators"])
    per_system = demand["replicas"] / demand["systems"]
    assert math.ceil(workload["replicas_with_reserves"] / per_system - 1e-9) * per_system == demand["replicas"]
    assert workload["replicas_with_reserves"] >= demand["replicas_at_peak"]
    rate = library().ownership("default").figures.cost_of_capital.si
    as_a_year = rate / ((1 + rate) ** 0.25 - 1)
    annual = quarter["running_cost_usd"] * 4 + quarter["capital_charge_usd"] * as_a_year
    assert annual == pytest.approx(demand["annual_cost_usd"], rel=1e-5)  # its requests are drawn in whole tokens: 1155.003 in the mean
    assert any("by the quarter" in note for note in found.studies["plan"].notes) == (given[0] == "owned")


def test_an_hour_has_the_fleet_of_a_demand_of_that_hour(tmp_path):
    """A schedule that follows its load without delay has on, in each hour, what a demand of that hour's size would have installed."""
    now = {"studies.schedule.startup_s": 0, "studies.schedule.reaction_s": 0, "studies.schedule.forecast_error_fraction": 0}
    static, scaled = run(tmp_path, "owned", "p5.48xlarge", 1, peak=3.0, **now).tables["schedule"].to_pylist()
    flat = {"studies.demand.peak_to_mean": 1.0, "studies.demand.shape": None}
    high, low = (
        run(tmp_path, "owned", "p5.48xlarge", 1, **flat, **{"studies.demand.tokens_per_day": 4e10 * load}).tables["demand"].to_pylist()[0]["replicas"]
        for load in (3.0, 21 / 23)
    )
    assert static["replicas"] == high > low
    assert scaled["replicas_on"] == pytest.approx((high + 23 * low) / 24)
