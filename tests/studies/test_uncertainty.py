"""Draws against the deterministic engine: one at a time, by other ways, with the same inputs; and what must hold of percentiles and chances."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accelmodel as am
from accelmodel.catalog.figures import Figure
from accelmodel.catalog.library import Library
from accelmodel.studies.alternatives import OF_FLEET, Alternative
from accelmodel.studies.draws import Points
from accelmodel.studies.inputs import design_of, inputs_of, of_figure
from accelmodel.studies.run import Context
from accelmodel.studies.scenario import load
from accelmodel.studies.uncertainty import central_of, draw, running

BASE = """
title = "x"
[base]
model = "llama-3.3-70b"
weights = "fp8"
kv = "fp8"
workload = "chat"
ttft_s = 2.0
tpot_s = 0.05
books = "cloud"
accelerators = 2
offer = "bedrock"
[cases.trainium3]
system = "trn3-ultraserver-gen2"
[cases.h200]
system = "p5en.48xlarge"
[studies.sizing]
kind = "demand"
tokens_per_day = [5e10]
peak_to_mean = 1.7
headroom_fraction = 0.1
growth_fraction_per_year = 0.3
years = 1.0
[studies.cash]
kind = "cash-flow"
fleet_accelerators = 6400
purchase_fractions = [0.5, 0.0, 0.5]
ramp_years = 0.5
price_change_fraction_per_year = -0.3
speedup_fraction_per_year = 0.1
tax_fraction = 0.21
price_cuts = [{ year = 1.5, fraction = 0.2 }]
[studies.sure]
kind = "uncertainty"
draws = 64
fleet_draws = 16
fleet = "sizing"
investment = "cash"
"""


def scenario(folder: Path, more: str = "", base: str = BASE) -> Path:
    path = folder / "unsure.toml"
    path.write_text(base + more)
    return path


def prepared(path: Path, study: str = "sure", catalog: Library | None = None, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Alternatives, inputs and their design of a study, and its context."""
    lib = catalog or Library()
    at, parsed = load(path, lib)
    context = Context(parsed, lib, at.parent, seed)
    asked = parsed.studies[study]
    alternatives, _ = running(context, study, asked, parsed.chosen(asked.cases))
    inputs = inputs_of(context, study, asked, [one.cell for one in alternatives])
    return alternatives, inputs, design_of(context, asked, inputs), context


ALL = ("concurrency", "time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "power_w", "replica_cost_usd_per_h")
ALL += ("cost_usd_per_mtok", "revenue_usd_per_h", "margin_fraction")


def test_a_draw_at_the_central_values_is_the_deterministic_engine(tmp_path):
    alternatives, inputs, _, context = prepared(scenario(tmp_path))
    assert len(inputs) > 15
    for one in alternatives:
        point = context.point(one.cell)
        found = central_of(one, inputs, ALL)
        engine = ALL[:5]
        assert {name: found[name] for name in engine} == {name: getattr(point, name) for name in engine}  # to the last bit
        for name in ALL[5:]:
            assert found[name] == pytest.approx(getattr(point, name), rel=1e-13), name


def test_central_fleet_and_npv_are_those_of_their_studies(tmp_path):
    # Without latency targets the demand study simulates nothing, and sizes by the closed form alone.
    path = scenario(tmp_path, base=BASE.replace("ttft_s = 2.0\ntpot_s = 0.05\n", "concurrency = 24\n"))
    alternatives, inputs, _, _ = prepared(path)
    ran = am.run(path, studies=["sizing", "cash"])
    for one in alternatives:
        found = central_of(one, inputs, (*OF_FLEET, "net_present_value_usd"))
        row = next(row for row in ran.tables["sizing"].to_pylist() if row["case"] == one.name)
        for name in OF_FLEET:
            assert found[name] == pytest.approx(row[name], rel=1e-12), name
        assert found["net_present_value_usd"] == pytest.approx(ran.summary["cash"]["worth"][one.name]["net_present_value_usd"], rel=1e-12)


def test_a_shapes_peak_is_an_input_and_its_hours_stay_what_they_are(tmp_path):
    base = BASE.replace("ttft_s = 2.0\ntpot_s = 0.05\n", "concurrency = 24\n").replace("peak_to_mean = 1.7", 'shape = "azure-conversation-2024"')
    path = scenario(tmp_path, base=base)
    alternatives, inputs, _, _ = prepared(path)
    key = "shapes.azure-conversation-2024.peak_to_mean"
    one, peak = alternatives[0], inputs[key]
    rows = {row["case"]: row for row in am.run(path, studies=["sizing"]).tables["sizing"].to_pylist()}
    found = one.outcomes({key: np.array([peak.low, peak.value, peak.high])}, 3, ["replicas", "capital_usd"])
    assert found["replicas"][1] == rows[one.name]["replicas"]
    assert found["capital_usd"][1] == pytest.approx(rows[one.name]["capital_usd"], rel=1e-12)
    assert found["replicas"][0] <= found["replicas"][1] <= found["replicas"][2]
    assert found["replicas"][2] > found["replicas"][0]


def written(folder: Path, values: dict[str, float]) -> Library:
    """A catalogue in a folder in which the figures of these keys stand at these values, as somebody would write it by hand."""
    import tomllib

    shipped = Library()
    for kind, entry in (("ownership", "default"), ("sites", "new-carlisle"), ("accelerators", "trainium3"), ("accelerators", "h200-sxm")):
        data = tomllib.loads(shipped.path(kind, entry).read_text())
        for key, value in values.items():
            if key.startswith(f"{kind}.{entry}."):
                path = key.removeprefix(f"{kind}.{entry}.").split(".", 1)
                table = data[path[0]] if len(path) == 2 else data["figures"]
                kept = table[path[-1]]
                table[path[-1]] = {"value": value, "unit": kept["unit"], "kind": "estimated", "low": value, "high": value}
        target = folder / kind / f"{entry}.toml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(_lines(data)))
    return Library(folder)


def _lines(data: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in data.items()]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(each)}' for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def test_draws_are_a_plain_loop_over_evaluate_with_the_same_inputs(tmp_path):
    alternatives, _, design, _ = prepared(scenario(tmp_path))
    count = 24
    values = design.values(Points(len(design.dimensions), 3).next(32))
    drawn = {key: value[:count] for key, value in values.items()}
    for one in alternatives:
        found = one.outcomes(drawn, count, ALL)
        system = one.cell.replica.system.name
        for i in range(count):
            lib = written(tmp_path / "catalog", {key: float(value[i]) for key, value in drawn.items()})
            replica = am.replica(model="llama-3.3-70b", system=system, accelerators=2, weights="fp8", kv="fp8", catalog=lib)
            spread, error = replica.spread, drawn[f"engine.{replica.calibration.name}.{replica.accelerator.generation}"][i]
            percentile = -math.log(error) / math.log(spread.throughput.si)  # 1 where the engine is at the slow end of its 90 %
            first, later = spread.time_to_first_token.si**percentile, spread.time_per_output_token.si**percentile
            point = am.evaluate(
                replica, input_tokens=1155, output_tokens=211, ttft_s=2.0 / first, tpot_s=0.05 / later, books="cloud", offer="bedrock", catalog=lib
            )
            if not point.fits:
                assert all(math.isnan(found[name][i]) for name in ALL)
                continue
            assert found["concurrency"][i] == point.concurrency
            assert found["time_to_first_token_s"][i] == pytest.approx(point.time_to_first_token_s * first, rel=1e-12)
            assert found["time_per_output_token_s"][i] == pytest.approx(point.time_per_output_token_s * later, rel=1e-12)
            assert found["output_tokens_per_s"][i] == pytest.approx(point.output_tokens_per_s * error, rel=1e-12)
            assert found["power_w"][i] == point.power_w
            assert found["replica_cost_usd_per_h"][i] == pytest.approx(point.replica_cost_usd_per_h, rel=1e-12)
            assert found["cost_usd_per_mtok"][i] == pytest.approx(point.cost_usd_per_mtok / error, rel=1e-12)
            assert found["revenue_usd_per_h"][i] == pytest.approx(point.revenue_usd_per_h * error, rel=1e-12)
            assert 1.0 - found["margin_fraction"][i] == pytest.approx((1.0 - point.margin_fraction) / error, rel=1e-12)


RANGES = """
engine = "none"
[studies.sure.inputs]
"base.occupancy" = { low = 0.4, high = 0.8 }
"base.input_tokens" = { low = 500, high = 3000 }
"base.output_tokens" = { low = 100, high = 400 }
"base.concurrency" = { low = 8, high = 40 }
"cases.h200.purchase_usd" = { low = 40_000, high = 60_000 }
"studies.sizing.tokens_per_day" = { low = 3e10, high = 9e10, distribution = "log-normal" }
"studies.sizing.peak_to_mean" = { low = 1.4, high = 2.2 }
"studies.cash.price_change_fraction_per_year" = { low = -0.6, high = -0.1 }
"studies.cash.speedup_fraction_per_year" = { low = 0.0, high = 0.3 }
"ownership.default.server_life" = { low = 3, high = 6 }
"""


def test_draws_are_a_plain_loop_over_run_with_the_same_inputs(tmp_path):
    base = BASE.replace('workload = "chat"\nttft_s = 2.0\ntpot_s = 0.05\n', "input_tokens = 1000\noutput_tokens = 200\nconcurrency = 24\noccupancy = 0.6\n")
    base = base.replace('[cases.h200]\nsystem = "p5en.48xlarge"\n', '[cases.h200]\nsystem = "p5en.48xlarge"\npurchase_usd = 50_000\n')
    path = scenario(tmp_path, RANGES, base)
    alternatives, _, design, _ = prepared(path)
    count = 12
    values = {key: value[:count] for key, value in design.values(Points(len(design.dimensions), 8).next(16)).items()}
    named = ("base", "cases", "studies")
    wanted = ("cost_usd_per_mtok", "margin_fraction", "net_present_value_usd", *OF_FLEET)
    found = {one.name: one.outcomes(values, count, wanted) for one in alternatives}
    bare = scenario(
        tmp_path / "catalog" if (tmp_path / "catalog").mkdir() is None else tmp_path, '[studies.margin]\nkind = "margin"\n', base.split("[studies.sure]")[0]
    )
    for i in range(count):
        at = {key: float(value[i]) for key, value in values.items()}
        lib = written(tmp_path / "catalog", {key: value for key, value in at.items() if key.split(".")[0] not in named})
        overrides: dict[str, Any] = {key: value for key, value in at.items() if key.split(".")[0] in named}
        overrides["studies.sizing.tokens_per_day"] = [overrides["studies.sizing.tokens_per_day"]]
        quarters = round(at["ownership.default.server_life"] * 4)
        overrides |= {"studies.cash.equipment_life_years": quarters / 4, "studies.cash.years": quarters / 4}
        ran = am.run(bare, set=overrides, catalog=lib)
        for name, outcomes in found.items():
            margin, fleet = (next(row for row in ran.tables[study].to_pylist() if row["case"] == name) for study in ("margin", "sizing"))
            assert outcomes["cost_usd_per_mtok"][i] == pytest.approx(margin["cost_usd_per_mtok"], rel=1e-12)
            assert outcomes["margin_fraction"][i] == pytest.approx(margin["margin_fraction"], rel=1e-11)
            for column in OF_FLEET:
                assert outcomes[column][i] == pytest.approx(fleet[column], rel=1e-12), column
            worth = ran.summary["cash"]["worth"][name]["net_present_value_usd"]
            assert outcomes["net_present_value_usd"][i] == pytest.approx(worth, rel=1e-9)


def test_inputs_that_change_the_replica_are_built_anew(tmp_path):
    more = """
[studies.physics]
kind = "uncertainty"
engine = "none"
draws = 16
[studies.physics.inputs]
"accelerators.h200-sxm.hbm_bandwidth" = { low = 4.0, high = 4.8 }
"accelerators.h200-sxm.tdp" = { low = 600, high = 700 }
"""
    alternatives, _, design, _ = prepared(scenario(tmp_path, more), "physics")
    values = design.values(Points(len(design.dimensions), 1).next(16))
    one = next(each for each in alternatives if each.name == "h200")
    found = one.outcomes(values, 16, ALL)
    for i in range(16):
        lib = written(tmp_path / "catalog", {key: float(value[i]) for key, value in values.items()})
        replica = am.replica(model="llama-3.3-70b", system="p5en.48xlarge", accelerators=2, weights="fp8", kv="fp8", catalog=lib)
        point = am.evaluate(replica, input_tokens=1155, output_tokens=211, ttft_s=2.0, tpot_s=0.05, books="cloud", offer="bedrock", catalog=lib)
        for name in ALL:
            assert found[name][i] == pytest.approx(getattr(point, name), rel=1e-11), name
    assert np.ptp(found["time_per_output_token_s"]) > 0.0


def test_fitted_parameters_are_drawn_with_their_correlations(tmp_path):
    more = '[studies.fitted]\nkind = "uncertainty"\nengine = "parameters"\ncases = ["h200"]\ndraws = 256\n'
    alternatives, inputs, design, context = prepared(scenario(tmp_path, more), "fitted")
    calibration = alternatives[0].cell.replica.calibration
    among = [one for one in calibration.correlations if all(f"calibrations.{calibration.name}.{name}" in inputs for name in one.between)]
    assert among
    values = design.values(Points(len(design.dimensions), 0).next(1 << 12))
    strongest = max(among, key=lambda one: abs(one.value))
    x, y = (np.log(values[f"calibrations.{calibration.name}.{name}"]) for name in strongest.between)
    assert np.sign(np.corrcoef(x, y)[0, 1]) == np.sign(strongest.value)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(strongest.value, abs=0.12)  # the recorded matrix is of the stronger pairs alone, and made whole
    found = am.run(scenario(tmp_path, more), studies=["fitted"]).tables["fitted"].to_pylist()[0]
    assert found["cost_usd_per_mtok_p10"] < found["cost_usd_per_mtok_p50"] < found["cost_usd_per_mtok_p90"]
    assert found["cost_usd_per_mtok_central"] == pytest.approx(context.point(alternatives[0].cell).cost_usd_per_mtok, rel=1e-12)


def test_percentiles_are_of_the_quantity_itself(tmp_path):
    path = scenario(tmp_path)
    row = am.run(path, studies=["sure"], seed=5).tables["sure"].to_pylist()[0]
    alternatives, _, design, context = prepared(path, seed=5)
    drawn = draw(context, design, alternatives[:1], [["margin_fraction", "cost_usd_per_mtok"]], 64, 16)[0]
    for name in ("margin_fraction", "cost_usd_per_mtok"):
        below = float((drawn[name][np.isfinite(drawn[name])] < row[f"{name}_p10"]).mean())
        assert below == pytest.approx(0.1, abs=1.5 / 64)
    # A tenth of the draws have less margin than p10, and those are the dear ones
    assert row["margin_fraction_p10"] < row["margin_fraction_p50"] < row["margin_fraction_p90"]
    assert row["target_chance_fraction"] == pytest.approx(float((drawn["margin_fraction"] > 0.30).mean()))


def test_common_draws_reduce_the_variance_of_a_difference(tmp_path):
    alternatives, _, design, context = prepared(scenario(tmp_path, 'engine = "none"\n'))  # the engine's errors are each generation's own
    names = [["cost_usd_per_mtok"]] * 2
    both = draw(context, design, alternatives, names, 1 << 10, 16)
    shared = [outcomes["cost_usd_per_mtok"] for outcomes in both]
    other = Context(context.scenario, context.catalog, context.folder, seed=99)
    apart = draw(other, design, alternatives, names, 1 << 10, 16)[1]["cost_usd_per_mtok"]
    runs = np.isfinite(shared[0]) & np.isfinite(shared[1]) & np.isfinite(apart)
    common, independent = np.var((shared[0] - shared[1])[runs]), np.var((shared[0] - apart)[runs])
    assert common < 0.5 * independent  # prices, occupancy, capital and lives move both


def test_the_seed_alone_decides(tmp_path):
    path = scenario(tmp_path)
    one, again, other = (am.run(path, studies=["sure"], seed=seed).tables["sure"] for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)
    assert one.schema.metadata[b"seed"] == b"1"


def test_results_do_not_depend_on_chunks(tmp_path, monkeypatch):
    alternatives, _, design, context = prepared(scenario(tmp_path))
    names = [["cost_usd_per_mtok", "replicas"]] * 2
    whole = draw(context, design, alternatives, names, 256, 64)
    monkeypatch.setattr("accelmodel.studies.uncertainty._CHUNK", 32)
    parts = draw(context, design, alternatives, names, 256, 64)
    for one, other in zip(whole, parts, strict=True):
        for name in one:
            assert np.array_equal(one[name], other[name], equal_nan=True)


def test_chances_of_beating_each_other_sum_to_one(tmp_path):
    ran = am.run(scenario(tmp_path), studies=["sure"])
    rows = ran.tables["sure"].to_pylist()
    assert sum(row["best_chance_fraction"] for row in rows) == pytest.approx(1.0)
    beats = ran.summary["sure"]["beats"]
    assert beats["trainium3"]["h200"] + beats["h200"]["trainium3"] == pytest.approx(1.0)
    assert rows[1]["beats_first_chance_fraction"] == beats["h200"]["trainium3"]
    assert ran.summary["sure"]["draws"] == 64


def test_one_input_alone_gives_its_own_percentiles(tmp_path):
    # Cost is linear in the purchase price, so a percentile of it is the cost at that percentile of the price.
    fixed = '[studies.one]\nkind = "uncertainty"\nengine = "none"\ncases = ["h200"]\ndraws = 4096\ncolumns = ["cost_usd_per_mtok"]\n[studies.one.inputs]\n'
    path = scenario(tmp_path, fixed)
    _, inputs, _, _ = prepared(path, "one")
    only = "ownership.default.purchase.h200-sxm"
    held = "".join(f'"{key}" = {{ fixed = true }}\n' for key in inputs if key != only)
    path = scenario(tmp_path, fixed + held + f'"{only}" = {{ low = 40_000, high = 60_000, distribution = "uniform" }}\n')
    row = am.run(path, studies=["one"]).tables["one"].to_pylist()[0]
    lib = {price: written(tmp_path / str(price), {only: price}) for price in (42_000.0, 50_000.0, 58_000.0)}
    for rank, price in ((10, 42_000.0), (50, 50_000.0), (90, 58_000.0)):
        replica = am.replica(model="llama-3.3-70b", system="p5en.48xlarge", accelerators=2, weights="fp8", kv="fp8", catalog=lib[price])
        point = am.evaluate(replica, input_tokens=1155, output_tokens=211, ttft_s=2.0, tpot_s=0.05, books="cloud", offer="bedrock", catalog=lib[price])
        assert row[f"cost_usd_per_mtok_p{rank}"] == pytest.approx(point.cost_usd_per_mtok, rel=1e-3)


def test_falling_prices_take_from_the_margin(tmp_path):
    now, late = '[studies.now]\nkind = "uncertainty"\ndraws = 64\n', "years = 2\nprice_change_fraction_per_year = -0.5\n"
    rows = am.run(scenario(tmp_path, now + now.replace("now", "late") + late), studies=["now", "late"]).tables
    for today, later in zip(rows["now"].to_pylist(), rows["late"].to_pylist(), strict=True):
        assert 1.0 - later["margin_fraction_p50"] == pytest.approx(4.0 * (1.0 - today["margin_fraction_p50"]), rel=1e-12)
        assert later["target_chance_fraction"] <= today["target_chance_fraction"]


def test_a_percentile_is_explained_by_its_inputs_and_the_point_at_their_values(tmp_path):
    ran = am.run(scenario(tmp_path, '[studies.plain]\nkind = "uncertainty"\ndraws = 64\n'), studies=["plain"], seed=2)
    ran.save(tmp_path / "run")
    names = ran.tables["plain"].column_names
    assert {"cost_usd_per_mtok_p10", "margin_fraction_central", "runs_fraction"} <= set(names)
    for column in names:
        found = am.explain(tmp_path / "run", study="plain", row=1, column=column)
        assert found.term.value == ran.tables["plain"].to_pylist()[1][column]
    central = am.explain(tmp_path / "run", study="plain", row=1, column="cost_usd_per_mtok_central").term
    assert central.parts[0].value == pytest.approx(central.value, rel=1e-12)
    inputs = {part.note: part for part in am.explain(tmp_path / "run", study="plain", row=1, column="cost_usd_per_mtok_p90").term.parts}
    assert (inputs["ownership.default.occupancy"].low, inputs["ownership.default.occupancy"].high) == (0.35, 0.85)
    assert "ownership.default.purchase.trainium3" not in inputs  # the row is H200's


def test_a_rented_case_draws_its_rent_and_no_owners_figures(tmp_path):
    more = """
[cases.rented]
system = "p5en.48xlarge"
books = "tenant"
offer = ["capacity-block", "bedrock"]
[studies.rent]
kind = "uncertainty"
cases = ["rented"]
draws = 64
engine = "none"
"""
    path = scenario(tmp_path, more)
    alternatives, inputs, _, context = prepared(path, "rent")
    hour = alternatives[0].cell.money.hour
    assert not any("cost_of_capital" in key or "purchase" in key for key in inputs)
    key = f"offers.{hour.id}.price"
    rents = np.array([hour.price, 2.0 * hour.price])
    cost = alternatives[0].outcomes({key: rents}, 2, ["replica_cost_usd_per_h", "margin_fraction"])
    assert cost["replica_cost_usd_per_h"] == pytest.approx(context.point(alternatives[0].cell).replica_cost_usd_per_h * np.array([1.0, 2.0]))


def test_alternatives_of_a_figure_are_its_range_where_it_has_no_other():
    told = {"value": 0.0936, "unit": "1", "kind": "published", "source": "a"}
    figure = Figure(**told, alternatives=({"value": 0.083, "unit": "1", "source": "b"}, {"value": 0.0966, "unit": "1", "source": "c"}))
    one = of_figure("k", "k", figure)
    assert one is not None
    assert (one.low, one.value, one.high, one.distribution) == pytest.approx((0.083, 0.0936, 0.0966, "uniform"))
    assert of_figure("k", "k", Figure(**told)) is None


def test_groups_and_overrides_reach_the_inputs(tmp_path):
    more = """
[studies.told]
kind = "uncertainty"
[studies.told.inputs]
"ownership.default.purchase.trainium3" = { group = "" }
"ownership.default.occupancy" = { low = 0.5, high = 0.7, distribution = "uniform" }
"ownership.default.availability" = { fixed = true }
"sites.new-carlisle.tariff" = { group = "accelerator prices" }
"""
    _, inputs, design, _ = prepared(scenario(tmp_path, more), "told")
    assert inputs["ownership.default.purchase.trainium3"].group is None
    assert inputs["ownership.default.purchase.h200-sxm"].group == "accelerator prices"
    assert inputs["ownership.default.occupancy"].distribution == "uniform"
    assert "ownership.default.availability" not in inputs
    assert design.weights["sites.new-carlisle.tariff"] == design.weights["ownership.default.purchase.h200-sxm"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('"ownership.default.nothing" = {}', "has no such figure"),
        ('"ownership.nobody.occupancy" = {}', "no entry"),
        ('"planets.mars" = {}', "names no input"),
        ('"base.occupancy" = { low = 0.1, high = 0.2 }', "no number of the scenario"),
        ('"base.ttft_s" = {}', "give 'low' and 'high'"),
        ('"base.ttft_s" = { low = 3.0, high = 4.0 }', "does not hold"),
        ('"base.accelerators" = { low = 1, high = 4 }', "may not vary"),
        ('"studies.sizing.peak_to_mean" = { low = 1.2, high = 2.0 }', "may not vary"),
        ('"sites.texas.tariff" = { low = 0.05, high = 0.08 }', "may not vary"),
        ('"accelerators.b200-sxm.hbm_bandwidth" = {}', "may not vary"),
        ('"workloads.rag.input_tokens" = { low = 1, high = 1e5 }', "may not vary"),
        ('"studies.cash.tax_fraction" = { low = 0.0, high = 0.4, distribution = "log-normal" }', "above 0"),
    ],
)
def test_inputs_that_cannot_be_are_refused(tmp_path, told, message):
    more = f'[studies.told]\nkind = "uncertainty"\ndraws = 16\n[studies.told.inputs]\n{told}\n'
    with pytest.raises(am.InputError, match=message):
        am.run(scenario(tmp_path, more), studies=["told"])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('fleet = "cash"', "names no demand study"),
        ('investment = "sizing"', "names no cash-flow study"),
        ('columns = ["replicas"]', "no such outcome"),
        ('decide_by = "nothing"', "no such outcome"),
        ('correlations = { "chip prices" = 0.5 }', "no input is of this group"),
    ],
)
def test_studies_that_cannot_be_are_refused(tmp_path, told, message):
    with pytest.raises(am.InputError, match=message):
        am.run(scenario(tmp_path, f'[studies.told]\nkind = "uncertainty"\n{told}\n'), studies=["told"])


def test_too_many_replicas_are_refused_before_they_are_built(tmp_path):
    more = '[studies.told]\nkind = "uncertainty"\ndraws = 8192\n[studies.told.inputs]\n"accelerators.h200-sxm.hbm_bandwidth" = { low = 4.0, high = 4.8 }\n'
    with pytest.raises(am.InputError, match="built anew"):
        am.run(scenario(tmp_path, more), studies=["told"])


def test_a_case_that_never_runs_loses(tmp_path):
    # An engine so slow that no concurrency meets the target is a draw in which the case does not run.
    path = scenario(tmp_path, base=BASE.replace("tpot_s = 0.05", "tpot_s = 0.03"))
    rows = am.run(path, studies=["sure"], set={"studies.sure.draws": 1024}).tables["sure"].to_pylist()
    assert any(row["runs_fraction"] < 1.0 for row in rows)
    assert sum(row["best_chance_fraction"] for row in rows) <= 1.0
    one: Alternative = prepared(path)[0][0]
    assert one.name == rows[0]["case"]


def test_a_slow_engine_carries_a_rate_with_more_requests_at_a_time(tmp_path):
    base = BASE.replace("ttft_s = 2.0\ntpot_s = 0.05\n", "requests_per_s = 0.8\n")
    alternatives, inputs, _, context = prepared(scenario(tmp_path, base=base))
    one = next(each for each in alternatives if each.name == "h200")
    key = next(key for key in inputs if key.startswith("engine.") and one.is_touched_by(key))
    error = np.array([0.8, 1.0, 1.25])
    found = one.outcomes({key: error}, 3, ALL)
    point = context.point(one.cell)
    assert found["output_tokens_per_s"] == pytest.approx(np.full(3, 0.8 * 211.0), rel=1e-9)  # the rate is carried whatever the engine does
    assert found["concurrency"][0] > found["concurrency"][1] == pytest.approx(point.concurrency, rel=1e-9)
    assert found["concurrency"][2] < found["concurrency"][1]
    for i, factor in enumerate(error):  # as the predicted engine carries the rate over the factor
        other = am.evaluate(one.cell.replica, input_tokens=1155, output_tokens=211, requests_per_s=0.8 / factor)
        assert found["concurrency"][i] == pytest.approx(other.concurrency, rel=1e-9)
        assert found["power_w"][i] == pytest.approx(other.power_w, rel=1e-9)


def test_members_of_a_group_correlate_as_told(tmp_path):
    more = '[studies.told]\nkind = "uncertainty"\ncorrelations = { "accelerator prices" = 0.5 }\n'
    _, _, design, _ = prepared(scenario(tmp_path, more), "told")
    values = design.values(Points(len(design.dimensions), 0).next(1 << 14))
    prices = [values[f"ownership.default.purchase.{name}"] for name in ("trainium3", "h200-sxm")]
    # Spearman's correlation of a Gaussian copula: 6 / pi x arcsin(r / 2) (Kruskal 1958)
    ranks = [np.argsort(np.argsort(one)) for one in prices]
    assert np.corrcoef(ranks)[0, 1] == pytest.approx(6.0 / math.pi * math.asin(0.25), abs=0.02)


def test_requests_beyond_the_models_context_do_not_run(tmp_path):
    more = """
[studies.long]
kind = "uncertainty"
cases = ["h200"]
engine = "none"
draws = 256
[studies.long.inputs]
"base.input_tokens" = { low = 1_000, high = 200_000, distribution = "uniform" }
"""
    base = BASE.replace('workload = "chat"\nttft_s = 2.0\ntpot_s = 0.05\n', "input_tokens = 2000\noutput_tokens = 200\nconcurrency = 1\n")
    path = scenario(tmp_path, more, base)
    row = am.run(path, studies=["long"]).tables["long"].to_pylist()[0]
    limit = Library().model("llama-3.3-70b").architecture.max_context_tokens
    assert row["runs_fraction"] <= (limit - 200 - 1_000) / 199_000 + 1 / 256
