"""The demand study: its fleet carries the demand, its money adds up, and it answers as a planner expects when the demand or the reserves change."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import accelmodel as am

SCENARIO = """
title = "A demand"
[base]
model = "llama-3.1-70b"
system = "p5.48xlarge"
weights = "fp8"
input_tokens = 1000
output_tokens = 250
concurrency = 64
occupancy = 0.5
offer = "bedrock:meta.llama3-1-70b-instruct-v1:0"
[studies.fleet]
kind = "demand"
tokens_per_day = [1e11, 2e11]
peak_to_mean = 2
"""


def rows(folder: Path, **overrides: object) -> list[dict]:
    path = folder / "mine.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return am.run(path, set={key.replace("__", "."): value for key, value in overrides.items()}).tables["fleet"].to_pylist()


@pytest.fixture
def point():
    one = am.replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8")
    return am.evaluate(one, input_tokens=1000, output_tokens=250, concurrency=64)


def test_the_fleet_carries_the_peak(tmp_path, point):
    requests_per_s = point.output_tokens_per_s / 250
    for row in rows(tmp_path):
        peak = row["tokens_per_day"] / 1250 / 86_400 * 2
        assert row["lower_bound_replicas"] == math.ceil(peak / requests_per_s)
        assert row["lower_bound_replicas"] <= row["replicas_at_peak"] <= row["replicas"]
        assert row["mean_occupancy_fraction"] == pytest.approx(peak / 2 / requests_per_s / row["replicas"], rel=0.02)
        assert row["fleet_accelerators"] == row["systems"] * 8 == row["replicas"] * 8 + row["stranded_accelerators"]


def test_its_money_adds_up(tmp_path):
    for row in rows(tmp_path):
        assert row["cost_usd_per_mtok"] == pytest.approx(row["annual_cost_usd"] / (row["tokens_per_day"] * 365 / 1e6), rel=1e-12)
        assert row["margin_fraction"] == pytest.approx(1 - row["annual_cost_usd"] / row["annual_revenue_usd"], rel=1e-12)
        # 0.72 USD per million tokens, in and out: 1e11 tokens a day earn 26.28 M USD a year.
        assert row["annual_revenue_usd"] == pytest.approx(row["tokens_per_day"] / 1e6 * 0.72 * 365, rel=1e-12)


def test_demand_and_reserves_only_add(tmp_path):
    small, large = rows(tmp_path)
    assert small["replicas"] < large["replicas"] <= 2 * small["replicas"]
    for key, value in {"headroom_fraction": 0.4, "maintenance_fraction": 0.2, "availability_target_fraction": 0.999999, "peak_to_mean": 3}.items():
        assert rows(tmp_path, **{f"studies__fleet__{key}": value})[0]["replicas"] > small["replicas"], key
    grown = rows(tmp_path, studies__fleet__growth_fraction_per_year=0.5, studies__fleet__years=2)[0]
    assert grown["tokens_per_day"] == pytest.approx(2.25e11, rel=1e-12)


def test_a_tenant_holds_no_spares(tmp_path):
    owned, rented = (rows(tmp_path, base__offer=offer)[0]["spare_accelerators"] for offer in (["bedrock"], ["on-demand", "bedrock"]))
    assert owned > 0 == rented
