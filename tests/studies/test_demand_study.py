"""The demand study: its fleet carries the demand, its money adds up, and it answers as a planner expects when the demand or the reserves change."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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


def test_energy_goes_by_the_load_that_the_fleet_has(tmp_path):
    """Not by whatever share of loaded hours the situation assumes."""
    one, other = (rows(tmp_path, base__occupancy=share) for share in (0.2, 1.0))
    for low, high in zip(one, other, strict=True):
        assert low["annual_cost_usd"] == pytest.approx(high["annual_cost_usd"], rel=1e-12)
        assert low["annual_revenue_usd"] == pytest.approx(high["annual_revenue_usd"], rel=1e-12)


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


def proven(folder: Path, scenario: str = SCENARIO, **overrides: object) -> object:
    path = folder / "proven.toml"
    path.write_text(scenario.replace("concurrency = 64", "ttft_s = 1.0\ntpot_s = 0.03"), encoding="utf-8")
    return am.run(path, set={key.replace("__", "."): value for key, value in overrides.items()}).studies["fleet"]


def test_with_latency_targets_the_fleet_is_proven_and_repaired(tmp_path):
    found = proven(tmp_path)
    for row in found.table.to_pylist():
        assert row["lower_bound_replicas"] <= row["replicas_planned"] <= row["replicas_proven"] <= row["replicas_at_peak"] <= row["replicas"]
        assert row["short_fraction"] == pytest.approx(row["replicas_proven"] / row["replicas_planned"] - 1)
        assert row["time_to_first_token_p99_s"] <= 1.0
        assert row["time_per_output_token_p99_s"] <= 0.03
        assert row["replicas_at_peak"] == math.ceil(row["replicas_proven"] / 0.98)
    for fleet, row in zip(found.summary["fleets"], found.table.to_pylist(), strict=True):
        assert row["lower_bound_replicas"] + sum(fleet["gap"].values()) == row["replicas"]
    assert any("simulated" in note for note in found.notes)
    assert any("lower bound" in note for note in found.notes)


def test_a_proven_number_holds_in_a_simulation_of_its_own(tmp_path):
    # 2,000 chats a minute as a trace of their own, twice as many: what the study proves is simulated again, whole.
    chats = am.Trace.generate(am.Client(33.0, 800, 150, input_variation=0.5, output_variation=0.5), duration_s=400, seed=5)
    pq.write_table(pa.table({name: getattr(chats, name) for name in ("arrival_s", "input_tokens", "output_tokens")}), tmp_path / "chats.parquet")
    asked = 'trace = "chats.parquet"\ntrace_rate_factor = 2\nwindow_s = 1e9\npeak_to_mean = 1\n'
    found = proven(tmp_path, SCENARIO.replace("tokens_per_day = [1e11, 2e11]\npeak_to_mean = 2\n", asked))
    (row,) = found.table.to_pylist()
    replica = am.replica(model="llama-3.1-70b", system="p5.48xlarge", weights="fp8")
    enough, few = (am.simulate(replica, chats.at_rate(2.0), replicas=row["replicas_proven"] - less, ttft_s=1.0, tpot_s=0.03) for less in (0, 1))
    assert enough.time_to_first_token_p99_s == pytest.approx(row["time_to_first_token_p99_s"])
    assert enough.time_per_output_token_p99_s <= 0.03 < few.time_per_output_token_p99_s or row["replicas_proven"] == row["replicas_planned"]
    assert row["requests_per_s"] == pytest.approx(2 * chats.requests / chats.duration_s)
    assert row["tokens_per_day"] == pytest.approx(row["requests_per_s"] * 86_400 * (chats.input_tokens.mean() + chats.output_tokens.mean()))


def test_prefix_hits_that_are_stated_are_those_of_the_trace_too(tmp_path):
    """Of a trace that knows nothing of prefixes, the simulator and the closed form have the same hits; those that a trace states are the closed form's."""
    chats = am.Trace.generate(am.Client(40.0, 3000, 60, input_variation=0.5, output_variation=0.5), duration_s=200, seed=5)
    columns = {name: getattr(chats, name) for name in ("arrival_s", "input_tokens", "output_tokens")}
    pq.write_table(pa.table(columns), tmp_path / "plain.parquet")
    pq.write_table(pa.table(columns | {"cached_tokens": (0.8 * chats.input_tokens).astype(int)}), tmp_path / "cached.parquet")
    asked = 'trace = "{}.parquet"\nwindow_s = 1e9\npeak_to_mean = 1\n'
    without, stated, found = (
        proven(tmp_path, SCENARIO.replace("tokens_per_day = [1e11, 2e11]\npeak_to_mean = 2\n", asked.format(name)), **hits).table.to_pylist()[0]
        for name, hits in (("plain", {}), ("plain", {"base__prefix_hit_fraction": 0.8}), ("cached", {}))
    )
    assert stated["prefix_hit_fraction"] == 0.8
    assert found["prefix_hit_fraction"] == pytest.approx(0.8, abs=1e-3)
    assert stated["replicas_proven"] < without["replicas_proven"]
    for name in ("lower_bound_replicas", "replicas_planned", "replicas_proven"):
        assert stated[name] == found[name]
    assert stated["time_to_first_token_p99_s"] == found["time_to_first_token_p99_s"]


def test_what_no_fleet_can_do_is_no_row(tmp_path):
    found = proven(tmp_path, studies__fleet__input_variation=2.0, studies__fleet__percentile=99, base__ttft_s=0.12)
    assert found.table.num_rows == 0
    assert all("not feasible" in note and "alone on a replica" in note for note in found.notes)


def test_sites_take_whole_systems_or_say_what_is_short(tmp_path):
    sites = "[[studies.fleet.sites]]\nsite = 'oregon'\nfacility_power_mw = 0.5\n[[studies.fleet.sites]]\nsite = 'new-carlisle'\n"
    found = proven(tmp_path, SCENARIO + sites)
    for row in found.summary["fleets"]:
        oregon, rest = row["sites"]
        watts = row["it_power_mw"] * 1e6 / row["systems"]
        assert oregon["systems"] == math.floor(0.5e6 / (1.14 * watts))  # PUE 1.14
        assert oregon["systems"] + rest["systems"] == row["systems"]
    with pytest.raises(am.InputError, match="MW at the meter, are short"):
        proven(tmp_path, SCENARIO + sites.split("[[studies.fleet.sites]]\nsite = 'new")[0])


def test_prefixes_save_replicas():
    found = am.run("trace-sizing", set={"studies.with-cache.trace_rate_factor": 2, "studies.without-cache.trace_rate_factor": 2})
    cached, fresh = (found.tables[name].to_pylist() for name in ("with-cache", "without-cache"))
    for one, other in zip(cached, fresh, strict=True):
        assert 0.05 < one["prefix_hit_fraction"] <= 0.374  # the trace's own hits with a cache without limit
        assert other["prefix_hit_fraction"] == 0.0
        assert one["replicas_proven"] <= other["replicas_proven"]


@pytest.mark.parametrize(("text", "match"), [("percentile = 100", "percentile"), ("routing = 'least-load'", "routing"), ("trace = 'azure'", "trace")])
def test_a_wrong_key_is_one_message(tmp_path, text, match):
    with pytest.raises(am.InputError, match=match):
        proven(tmp_path, SCENARIO + text + "\n")


def test_without_a_demand_the_file_is_refused(tmp_path):
    with pytest.raises(am.InputError, match="exactly one of tokens_per_day"):
        proven(tmp_path, SCENARIO.replace("tokens_per_day = [1e11, 2e11]\n", ""))


def test_demands_in_requests_and_of_users(tmp_path):
    base = SCENARIO.replace("tokens_per_day = [1e11, 2e11]\n", "requests_per_day = 8e7\n")
    (requests,) = proven(tmp_path, base).table.to_pylist()
    tokens = proven(tmp_path).table.to_pylist()[0]  # 1e11 tokens of 1,250 a request are 8e7 requests
    assert requests.pop("requests_per_day") == 8e7
    assert requests.pop("tokens_per_day") == pytest.approx(tokens.pop("tokens_per_day"), rel=1e-12)
    numbers = [name for name, value in tokens.items() if isinstance(value, (int, float))]
    assert [requests[name] for name in numbers] == pytest.approx([tokens[name] for name in numbers], rel=1e-12)
    of_users = "users = 1e6\nsessions_per_user_day = 2\nturns_per_session = 4\ninput_tokens_per_turn = 100\noutput_tokens_per_turn = 250\n"
    (users,) = proven(tmp_path, SCENARIO.replace("tokens_per_day = [1e11, 2e11]\n", of_users)).table.to_pylist()
    assert users["input_tokens"] == 100 + 350 * 1.5  # half of three turns before, in the mean
    assert users["requests_per_s"] == pytest.approx(1e6 * 2 * 4 / 86_400 * 2)  # at twice the mean
    assert 0.5 < users["prefix_hit_fraction"] < 1


def test_a_shape_gives_the_peak_and_the_bound_of_every_hour(tmp_path):
    shaped = proven(tmp_path, SCENARIO.replace("peak_to_mean = 2", "shape = 'deepseek-nodes-2025-02'")).table.to_pylist()[0]
    weights = am.Library().shape("deepseek-nodes-2025-02").hours.values
    peak = max(weights) / (sum(weights) / len(weights))
    flat = proven(tmp_path, SCENARIO.replace("peak_to_mean = 2", f"peak_to_mean = {peak}")).table.to_pylist()[0]
    assert shaped["replicas"] == flat["replicas"]
    mean = shaped["lower_bound_accelerator_h_per_day"] / 8 / 24
    assert flat["lower_bound_accelerator_h_per_day"] / 8 / 24 <= mean + 1
    assert shaped["lower_bound_replicas"] / peak <= mean <= shaped["lower_bound_replicas"] / peak + 1
