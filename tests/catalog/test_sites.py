"""Sites, workloads and reference figures: hand-typed published values, the lists and traces they come from, bad input."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from accelmodel.catalog.figures import Figure, parse
from accelmodel.catalog.library import Library
from accelmodel.catalog.sites import Site
from accelmodel.catalog.workloads import Workload
from accelmodel.errors import InputError
from accelmodel.studies.money import demand_usd_per_kw_h, tariff_usd_per_kwh

FACTS = Path(__file__).parents[2] / "../shared/facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")

USD_PER_KWH = 1 / 3.6e6  # USD/J


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_new_carlisle(library: Library) -> None:
    site = library.site("new-carlisle")
    assert site.figures.tariff.si == pytest.approx(0.0901 * USD_PER_KWH)  # EIA, Indiana, industrial, April 2025
    assert (site.figures.pue.value, site.figures.pue.low, site.figures.pue.high) == (1.15, 1.10, 1.15)
    assert site.figures.power is not None
    assert site.figures.power.si == 2.2e9
    assert [phase.it_power.si for phase in site.phases] == [455e6, 1040e6]  # 7 x 65 MW, 16 x 65 MW


@pytest.mark.parametrize(("name", "tariff"), [("northern-virginia", 0.0892), ("central-ohio", 0.0790), ("oregon", 0.0752), ("texas", 0.0660), ("iowa", 0.0604)])
def test_tariffs_are_those_of_the_energy_information_administration(library: Library, name: str, tariff: float) -> None:
    assert library.site(name).figures.tariff.si == pytest.approx(tariff * USD_PER_KWH)


@pytest.mark.parametrize(
    ("name", "intensity"),
    # EIA, Electric Power Annual 2023: CO2 of a state's power plants (table 9.5, kt) over their net generation (table 3.7, GWh).
    [("new-carlisle", 61_252 / 90_047), ("central-ohio", 63_226 / 133_223), ("pennsylvania", 70_207 / 235_925), ("new-york", 29_418 / 124_040)],
)
def test_carbon_and_water_are_published_figures(library: Library, name: str, intensity: float) -> None:
    figures = library.site(name).figures
    assert figures.carbon_intensity is not None
    assert figures.carbon_intensity.value == pytest.approx(intensity, abs=5e-4)
    assert figures.water_usage is not None
    assert figures.water_usage.value == 0.12  # L/kWh, AWS worldwide, 2025


def test_an_unknown_intensity_is_absent(library: Library) -> None:
    assert library.site("texas").figures.carbon_intensity is None


SITE = """
name = "here"
title = "Here"
country = "US"
[figures]
tariff = { value = 0.08, unit = "USD/kWh", kind = "estimated", low = 0.06, high = 0.10 }
pue = { value = 1.2, unit = "1", kind = "estimated", low = 1.1, high = 1.3 }
demand_charge = { value = 12, unit = "USD/kW/month", kind = "estimated", low = 8, high = 20 }
[[hour_classes]]
name = "on-peak"
hours = { value = 0.25, unit = "1", kind = "estimated", low = 0.2, high = 0.3 }
tariff = { value = 0.14, unit = "USD/kWh", kind = "estimated", low = 0.1, high = 0.2 }
[[hour_classes]]
name = "off-peak"
hours = { value = 0.75, unit = "1", kind = "estimated", low = 0.7, high = 0.8 }
tariff = { value = 0.06, unit = "USD/kWh", kind = "estimated", low = 0.05, high = 0.07 }
"""


def test_classes_of_hours_and_a_demand_charge(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    path = tmp_path / "sites" / "here.toml"
    path.write_text(SITE, encoding="utf-8")
    site = Library(tmp_path).site("here")
    assert tariff_usd_per_kwh(site) == pytest.approx(0.25 * 0.14 + 0.75 * 0.06)
    assert demand_usd_per_kw_h(site) == pytest.approx(12 / 730)
    assert tariff_usd_per_kwh(Library().site("texas")) == pytest.approx(0.066)
    assert demand_usd_per_kw_h(Library().site("texas")) == 0
    path.write_text(SITE.replace("value = 0.25", "value = 0.3"), encoding="utf-8")
    with pytest.raises(InputError, match="must sum to 1"):
        Library(tmp_path).site("here")


@needs_facts
def test_every_states_price_is_carried(library: Library) -> None:
    with (FACTS / "tco.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] == "power_price"]
    sites = {library.site(name).state: library.site(name) for name in library.files("sites")}
    assert {row["item"] for row in rows} == set(sites)
    for row in rows:
        tariff = sites[row["item"]].figures.tariff
        assert pytest.approx(float(row["value"])) in [tariff.value, *(other.value for other in tariff.alternatives)], row


def test_sources_of_sites_workloads_and_references_exist(library: Library) -> None:
    figures: list[Figure] = []
    for name in library.files("sites"):
        site = library.site(name)
        figures += [figure for figure in (site.figures.tariff, site.figures.pue, site.figures.power) if figure is not None]
        figures += [phase.it_power for phase in site.phases]
    for name in library.files("workloads"):
        traffic = library.workload(name).figures
        figures += [figure for figure in (traffic.input_tokens, traffic.output_tokens, traffic.prefix_hit_fraction) if figure is not None]
    named: set[str | None] = set()
    for name in library.files("reference"):
        reference = library.reference(name)
        figures += reference.figures.values()
        named |= {statement.source for statement in reference.statements.values()}
    named |= {figure.source for figure in figures} | {other.source for figure in figures for other in figure.alternatives}
    assert named - {None} <= set(library.sources)


def test_a_faulty_site_is_refused() -> None:
    tariff = {"value": 0.09, "unit": "USD/kWh", "kind": "published", "source": "s"}
    pue = {"value": 1.15, "unit": "1", "kind": "published", "source": "s"}

    def site(**figures: object) -> Site:
        return parse(Site, {"name": "a", "title": "A", "country": "US", "figures": {"tariff": tariff, "pue": pue} | figures}, "a.toml")

    assert site().figures.pue.si == 1.15
    with pytest.raises(InputError, match=r"figures\.pue.*outside the plausible 1 to 3"):
        site(pue=pue | {"value": 0.9})
    with pytest.raises(InputError, match="'USD/MW' is a unit of money per power; expected one of money per energy"):
        site(tariff=tariff | {"unit": "USD/MW"})
    with pytest.raises(InputError, match=r"figures\.tarif: unknown key; did you mean 'tariff'"):
        site(tarif=tariff)


# --- workloads ---


@pytest.mark.parametrize(
    ("name", "input_tokens", "output_tokens"),
    # Means that the authors of the traces, or the statistics published with them, give.
    [("chat", 1155, 211), ("mooncake-conversation", 12_035, 343)],
)
def test_workloads_have_the_published_means(library: Library, name: str, input_tokens: int, output_tokens: int) -> None:
    figures = library.workload(name).figures
    assert (figures.input_tokens.si, figures.output_tokens.si) == (input_tokens, output_tokens)


@needs_facts
@pytest.mark.parametrize(
    ("name", "trace"),
    [
        ("chat", "azure_llm_2023_conv"),
        ("mooncake-conversation", "mooncake_conversation"),
        ("summarization", "vidur_arxiv_summarization_lengths"),
    ],
)
def test_workloads_have_the_means_of_their_traces(library: Library, name: str, trace: str) -> None:
    figures = library.workload(name).figures
    table = pq.read_table(FACTS / "traces" / f"{trace}.parquet").to_pandas()
    assert figures.input_tokens.si == pytest.approx(table["input_tokens"].mean(), abs=0.5)
    assert figures.output_tokens.si == pytest.approx(table["output_tokens"].mean(), abs=0.5)
    if "prefix_hit_tokens_inf" in table:
        assert figures.prefix_hit_fraction is not None
        assert figures.prefix_hit_fraction.si == pytest.approx(table["prefix_hit_tokens_inf"].sum() / table["input_tokens"].sum(), abs=5e-4)


@needs_facts
def test_reasoning_has_the_means_of_its_distributions(library: Library) -> None:
    figures = library.workload("reasoning").figures
    table = pq.read_table(FACTS / "traces" / "servegen_deepseek-r1_lengths.parquet").to_pandas()
    for field, figure in (("input_tokens", figures.input_tokens), ("output_tokens", figures.output_tokens)):
        bins = table[table["field"] == field]
        assert figure.si == pytest.approx((bins["prob"] * bins["mean_tokens_in_bin"]).sum(), abs=0.5)


def test_what_is_guessed_says_so(library: Library) -> None:
    for name in ("rag", "claude-class-traffic"):
        workload = library.workload(name)
        assert "estimate" in workload.title
        for figure in (workload.figures.input_tokens, workload.figures.output_tokens, workload.figures.prefix_hit_fraction):
            assert figure is not None
            assert figure.kind == "estimated"


def test_a_faulty_workload_is_refused() -> None:
    tokens = {"value": 100, "unit": "token", "kind": "published", "source": "s"}
    with pytest.raises(InputError, match="expected one of tokens"):
        parse(Workload, {"name": "a", "title": "A", "figures": {"input_tokens": tokens, "output_tokens": tokens | {"unit": "1"}}}, "a.toml")


# --- references ---


def test_rainier_facts(library: Library) -> None:
    rainier = library.reference("rainier")
    published = {
        "chips_at_activation": 500_000,
        "chips_target": 1_000_000,
        "investment": 11e9,
        "site_power": 2.2e9,
        "phase1_it_power": 455e6,
        "aws_revenue_q3_2025": 33.0e9,
        "ultraservers": 7813,
        "compute_fp8": 649.5e18,
        "it_power": 375e6,
        "facility_power": 431.25e6,
        "trainium3_announced_throughput": 4.4,
        "trainium3_announced_power": 0.6,
    }
    for name, value in published.items():
        assert rainier.need(name).si == pytest.approx(value), name
    # 7,812.5 UltraServers of 64 chips; 1,299 TFLOP/s and 750 W a chip; PUE 1.15
    assert rainier.need("ultraservers").si == math.ceil(500_000 / 64)
    assert rainier.need("chips_per_gw").si == pytest.approx(1e9 / (750 * 1.15), rel=1e-6)


@needs_facts
def test_every_rainier_fact_is_carried(library: Library) -> None:
    rainier = library.reference("rainier")
    carried = {name: figure.si for name, figure in rainier.figures.items()}
    scale = {"GW": 1e9, "MW": 1e6, "MW IT": 1e6, "acres": 4046.8726, "EFLOP/s dense FP8": 1e18, "PiB": 2.0**50}
    scale |= {"% of revenue": 0.01, "% of AWS revenue": 0.01}
    with (FACTS / "rainier.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["unit"] in ("bool", "name"):
                continue
            value = float(row["value"]) * scale.get(row["unit"], 1.0)
            expected = {"-40": 0.6, "7812.5": 7813}.get(row["value"], value)
            others = [other.value for figure in rainier.figures.values() for other in figure.alternatives]
            assert pytest.approx(expected, rel=2e-4) in [*carried.values(), *others], row["field"]


def test_deepseeks_day_is_consistent_with_itself(library: Library) -> None:
    day = {name: figure.value for name, figure in library.reference("deepseek_day").figures.items()}
    assert day["nodes_mean"] * day["gpus_per_node"] * day["gpu_hour"] * 24 == day["cost"] == 87_072
    mtok = {name: day[name] / 1e6 for name in ("input_tokens", "cached_input_tokens", "output_tokens")}
    revenue = mtok["cached_input_tokens"] * day["price_cached_input"] + mtok["output_tokens"] * day["price_output"]
    revenue += (mtok["input_tokens"] - mtok["cached_input_tokens"]) * day["price_input"]
    assert revenue == pytest.approx(562_100)
    assert day["revenue"] == 562_027
    assert day["revenue"] / day["cost"] - 1 == pytest.approx(day["margin_on_cost"], abs=0.006)
    assert 1 - day["cost"] / day["revenue"] == pytest.approx(day["margin_of_revenue"], abs=5e-4)
