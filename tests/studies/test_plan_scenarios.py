"""The shipped plans: what they promise is in them, and what they find is proven."""

from __future__ import annotations

import functools

import pytest

import accelmodel as am


@functools.cache
def rows(scenario: str, study: str):
    return ran(scenario).tables[study].to_pylist()


@functools.cache
def ran(scenario: str):
    return am.run(scenario)


def test_rainier_goes_from_half_a_million_to_a_million_with_trainium3_arriving():
    quarters, sites = rows("rainier-buildout", "plan"), rows("rainier-buildout", "sites")
    assert len(quarters) == 12
    assert quarters[0]["fleet_accelerators"] == pytest.approx(500_000, rel=0.05)
    assert quarters[-1]["fleet_accelerators"] == pytest.approx(1_000_000, rel=0.05)
    assert {row["system"] for row in sites} == {"trn2-ultraserver", "trn3-ultraserver-gen1", "trn3-ultraserver-gen2", "p6-b200.48xlarge"}
    assert len({row["site"] for row in sites}) == 5
    first = {row["system"] for row in sites if row["quarter"] == "2025Q4" and row["systems"]}
    last = {row["system"]: 0 for row in sites} | {row["system"]: row["systems"] for row in sites if row["quarter"] == "2028Q3"}
    assert "trn3-ultraserver-gen1" not in first
    assert last["trn3-ultraserver-gen1"] > 0
    assert last["trn2-ultraserver"] < 100  # the generation that stood at the beginning has been replaced
    assert sum(row["retired_systems"] for row in sites if row["system"] == "trn2-ultraserver") >= 7_813
    served = {row["workload"] for row in rows("rainier-buildout", "workloads")}
    assert len(served) == 6


def test_rainier_is_short_of_power_at_some_site_and_the_megawatt_has_a_price():
    sites, prices = rows("rainier-buildout", "sites"), rows("rainier-buildout", "shadow-prices")
    full = {(row["site"], row["quarter"]) for row in sites if row["site_it_power_limit_mw"] and row["site_it_power_mw"] > row["site_it_power_limit_mw"] - 0.2}
    priced = {(row["place"], row["quarter"]) for row in prices if row["unit"] == "USD/MW" and row["value"] > 1e5}
    assert full
    assert priced
    assert {site for site, _ in priced} <= {site for site, _ in full} | {"central-ohio"}  # which opens later: none, and dear


def test_rainiers_gap_is_stated_and_every_proof_held():
    summary = ran("rainier-buildout").summary["plan"]
    assert 0 <= summary["gap_fraction"] <= 0.005
    assert summary["bound_usd"] <= summary["present_cost_usd"]
    for row in rows("rainier-buildout", "proofs"):
        assert row["percentile_ttft_s"] <= row["ttft_s"]
        assert row["percentile_tpot_s"] <= row["tpot_s"]


@pytest.mark.parametrize("target", ["tight", "loose"])
def test_no_fleet_of_one_kind_is_cheaper_than_the_plan(target):
    plan, *others = rows("mixed-fleet", f"{target}-alone")
    assert len(others) >= 3
    assert all(row["present_cost_usd"] >= plan["present_cost_usd"] for row in others)
    assert max(row["saving_fraction"] for row in others) > 0.3
    assert sum(row["share_fraction"] for row in rows("mixed-fleet", f"{target}-by-length")) == pytest.approx(4)  # slices, each wholly served
