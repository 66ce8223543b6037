"""The schedule study: its replicas carry every hour, its money adds up by hand, and its proof decides the counts."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

import accelmodel as am
from accelmodel.errors import InputError

SCENARIO = """
title = "A week"
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
weights = "fp8"
input_tokens = 1155
output_tokens = 211
concurrency = 48
offer = ["on-demand", "bedrock:meta.llama3-1-8b-instruct-v1:0"]
[cases.owned]
books = "cloud"
offer = "bedrock:meta.llama3-1-8b-instruct-v1:0"
[cases.rented]
[studies.week]
kind = "schedule"
tokens_per_day = 4e10
shape = "azure-conversation-2024"
headroom_fraction = 0.1
troughs = { tier = "standard", usable_fraction = 0.5, minimum_h = 2 }
"""


def run(folder: Path, text: str = SCENARIO, **overrides: object):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return am.run(path, set={f"studies.week.{key}": value for key, value in overrides.items()}).studies["week"]


def rows(folder: Path, **overrides: object) -> dict[tuple[str, str], dict]:
    return {(row["case"], row["policy"]): row for row in run(folder, **overrides).table.to_pylist()}


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    return rows(tmp_path_factory.mktemp("week"))


@pytest.fixture(scope="module")
def load():
    """Replicas busy hour by hour, from the point's own requests a second and the published hours."""
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, weights="fp8")
    point = am.evaluate(replica, input_tokens=1155, output_tokens=211, concurrency=48)
    hours = np.array(am.Library().shape("azure-conversation-2024").hours.values)
    return 4e10 / 1366 / 86_400 / (point.output_tokens_per_s / 211) * hours / hours.mean()


@functools.cache
def whole_hosts(needed: int) -> int:
    """Hosts of eight accelerators, each a replica, of which so many replicas are up 99.9 % of the time, added up case by case: of h hosts, i are up, and of
    their accelerators no more than are allowed to be down are."""
    own = am.Library().ownership("default").figures
    chip = 1 / (1 + own.failures_per_year.si * own.repair_time.si)
    host = 1 / (1 + own.host_failures_per_year.si * 8 * own.host_repair_time.si)

    def enough(hosts: int) -> float:
        return float(sum(binom.pmf(up, hosts, host) * binom.sf(needed - 1, 8 * up, chip) for up in range(hosts + 1)))

    return next(hosts for hosts in range(math.ceil(needed / 8), needed) if enough(hosts) >= 0.999)


def test_every_hour_is_carried(week, load, tmp_path):
    for found in run(tmp_path).summary["hours"]:
        assert found["load"] == pytest.approx(load.tolist())
        assert all(
            on >= needed >= bound >= busy for on, needed, bound, busy in zip(found["on"], found["needed"], found["lower_bound"], found["load"], strict=True)
        )
    static = week["owned", "static"]
    assert static["replicas_planned"] == math.ceil(load.max() / 0.9)
    assert static["replicas_at_peak"] == math.ceil(static["replicas_planned"] / 0.98)
    assert static["replicas"] == whole_hosts(static["replicas_at_peak"]) * 8
    assert static["lower_bound_replicas"] == math.ceil(load.max())
    assert static["lower_bound_mean_replicas"] == pytest.approx(np.ceil(load).mean())
    assert static["mean_occupancy_fraction"] == pytest.approx(load.mean() / static["replicas"])
    assert static["systems"] == math.ceil(static["replicas"] / 8)


def test_without_delays_an_hour_costs_its_need(load, tmp_path):
    found = rows(tmp_path, startup_s=0, reaction_s=0, forecast_error_fraction=0)["rented", "autoscaled"]
    systems = np.array([whole_hosts(math.ceil(math.ceil(busy / 0.9) / 0.98)) for busy in load])
    assert found["replica_hours_per_day"] == pytest.approx(systems.mean() * 8 * 24)
    # A tenant pays for whole systems of eight: 55.04 USD an hour (on demand, us-east-1).
    assert found["cost_usd_per_day"] == pytest.approx(systems.mean() * 24 * 55.04)
    assert found["of_static_fraction"] == pytest.approx(systems.mean() / systems.max())


def test_a_tenant_saves_hours_and_an_owner_energy_alone(week):
    owned, rented = (week[case, "autoscaled"] for case in ("owned", "rented"))
    assert owned["of_static_fraction"] == rented["of_static_fraction"] < 0.75
    assert rented["saved_fraction"] == pytest.approx(1 - rented["of_static_fraction"], abs=0.03)  # whole systems
    energy = week["owned", "static"]["energy_mwh_per_day"] - owned["energy_mwh_per_day"]
    # New Carlisle's tariff per MWh at the meter.
    site = am.Library().site("new-carlisle").figures
    tariff = site.tariff.si * 3.6e9
    saved = week["owned", "static"]["cost_usd_per_day"] - owned["cost_usd_per_day"]
    assert saved == pytest.approx(energy * tariff, rel=1e-6)
    assert 0 < owned["saved_fraction"] < 0.1


def test_troughs_earn(week):
    for case in ("owned", "rented"):
        static, scaled, used = (week[case, policy] for policy in ("static", "autoscaled", "troughs used"))
        idle_h = static["replica_hours_per_day"] - scaled["replica_hours_per_day"]
        assert 0.45 < used["troughs_used_fraction"] <= 0.5
        # The same tier at the same load: half a trough's hour earns what an hour of a full replica does.
        busy_h = static["mean_occupancy_fraction"] * static["replica_hours_per_day"]
        per_hour = static["revenue_usd_per_day"] / busy_h
        assert used["troughs_revenue_usd_per_day"] == pytest.approx(idle_h * used["troughs_used_fraction"] * per_hour)
        assert used["revenue_usd_per_day"] == pytest.approx(static["revenue_usd_per_day"] + used["troughs_revenue_usd_per_day"])
        assert used["margin_fraction"] == pytest.approx(1 - used["cost_usd_per_day"] / used["revenue_usd_per_day"])
        assert used["energy_mwh_per_day"] > scaled["energy_mwh_per_day"]
    # Whoever rents by the hour keeps the troughs' hours to fill them.
    assert week["rented", "troughs used"]["cost_usd_per_day"] == week["rented", "static"]["cost_usd_per_day"]


def test_hours_sold_to_training(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SCENARIO.replace('tier = "standard"', "price_usd_per_accelerator_h = 2.0"), encoding="utf-8")
    found = am.run(path).tables["week"].to_pylist()
    used = next(row for row in found if row["policy"] == "troughs used" and row["case"] == "owned")
    scaled = next(row for row in found if row["policy"] == "autoscaled" and row["case"] == "owned")
    idle_h = used["replicas"] * 24 - scaled["replica_hours_per_day"]
    assert used["troughs_revenue_usd_per_day"] == pytest.approx(idle_h * used["troughs_used_fraction"] * 2.0)
    assert used["troughs_tokens_per_day"] == 0


def test_an_offer_for_a_term_is_paid_for_switched_off(tmp_path):
    text = SCENARIO.replace('offer = ["on-demand"', 'offer = ["capacity-block"')
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    result = am.run(path).studies["week"]
    cost = {row["policy"]: row["cost_usd_per_day"] for row in result.table.to_pylist() if row["case"] == "rented"}
    assert cost["static"] == cost["autoscaled"] == cost["troughs used"]
    assert any("the offer is for a term" in note for note in result.notes)


def test_growth_and_words_of_the_demand(tmp_path):
    base = rows(tmp_path)["owned", "static"]
    grown = rows(tmp_path, growth_fraction_per_year=1.0, years=1)["owned", "static"]
    assert grown["lower_bound_replicas"] == pytest.approx(2 * base["lower_bound_replicas"], abs=1)
    assert base["replicas"] < grown["replicas"] <= 2 * base["replicas"]  # twice the fleet holds less than twice the reserve
    as_requests = SCENARIO.replace("tokens_per_day = 4e10", f"requests_per_day = {4e10 / 1366}")
    assert run(tmp_path, as_requests).table.to_pylist()[0]["replicas"] == base["replicas"]
    # Users of one turn: the same requests once more.
    users = f"users = {4e10 / 1366 / 2}\nsessions_per_user_day = 2\nturns_per_session = 1\ninput_tokens_per_turn = 1155\noutput_tokens_per_turn = 211"
    assert run(tmp_path, SCENARIO.replace("tokens_per_day = 4e10", users)).table.to_pylist()[0]["replicas"] == base["replicas"]


def test_users_decide_the_lengths(tmp_path):
    # Four turns of 100 in and 200 out: 550 in the mean of four prompts, 450 of them sent before.
    users = "users = 1e6\nsessions_per_user_day = 2\nturns_per_session = 4\ninput_tokens_per_turn = 100\noutput_tokens_per_turn = 200"
    found = run(tmp_path, SCENARIO.replace("tokens_per_day = 4e10", users)).table.to_pylist()[0]
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, weights="fp8")
    point = am.evaluate(replica, input_tokens=550, output_tokens=200, prefix_hit_fraction=450 / 550, concurrency=48)
    assert found["users"] == 1e6
    mean = 8e6 / 86_400 / (point.output_tokens_per_s / 200)
    assert found["mean_occupancy_fraction"] * found["replicas"] == pytest.approx(mean)


TARGETS = SCENARIO.replace("concurrency = 48", "ttft_s = 1.0\ntpot_s = 0.02").replace("headroom_fraction = 0.1", 'trace = "azure_llm_2023_conv"')


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    return run(tmp_path_factory.mktemp("proven"), TARGETS, tokens_per_day=5e9)


def test_the_proof_decides_the_counts(proven):
    row, found = proven.table.to_pylist()[0], proven.summary["hours"][0]
    assert row["replicas_planned"] > 1.2 * max(found["load"])  # the trace's busiest second
    assert found["proof"]["planned"] == row["replicas_planned"] <= row["replicas_proven"] == found["proof"]["proven"] < row["replicas"]
    assert row["short_fraction"] == pytest.approx(row["replicas_proven"] / row["replicas_planned"] - 1)
    assert max(found["needed"]) == row["replicas_proven"]
    assert sum("simulated" in note for note in proven.notes) == 2


def test_the_proven_count_is_the_least_that_holds(proven):
    # Simulated once more, on its own: the proven number holds, and where the plan was short, the plan does not.
    from accelmodel.studies.proof import Targets, prove
    from accelmodel.studies.traces import Trace

    row = proven.table.to_pylist()[0]
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, weights="fp8")
    trace = Trace.of("azure_llm_2023_conv")
    hours = np.array(am.Library().shape("azure-conversation-2024").hours.values)
    rate = 5e9 / float(trace.input_tokens.mean() + trace.output_tokens.mean()) / 86_400 * hours.max() / hours.mean()
    assert prove(replica, trace, rate, row["replicas_proven"], Targets(1.0, 0.02, 99)).held
    assert prove(replica, trace, rate, row["replicas_planned"], Targets(1.0, 0.02, 99)).held == (row["short_fraction"] == 0)


def test_requests_are_drawn_where_no_trace_is_given(tmp_path):
    users = "users = 1e6\nsessions_per_user_day = 2\nturns_per_session = 4\ninput_tokens_per_turn = 100\noutput_tokens_per_turn = 200"
    found = run(tmp_path, TARGETS.replace("tokens_per_day = 4e10", users).replace('trace = "azure_llm_2023_conv"', ""))
    rows = found.table.to_pylist()
    assert len({row["replicas"] for row in rows}) == 1
    assert 0 < rows[0]["replicas_proven"] < rows[0]["replicas"]


def test_what_the_simulation_refuses_is_no_plan(tmp_path):
    text = TARGETS.replace("ttft_s = 1.0\ntpot_s = 0.02", "concurrency = 4\ntpot_s = 0.0005")
    with pytest.raises(InputError, match="not feasible"):
        run(tmp_path, text, tokens_per_day=5e9)


def test_a_saved_run_explains_its_numbers(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    made = am.run(path)
    made.save(tmp_path / "out")
    found = am.explain(tmp_path / "out", study="week", row=1, column="cost_usd_per_day")
    assert found.term.value == made.tables["week"]["cost_usd_per_day"][1].as_py()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tokens_per_day = 4e10", "", "exactly one of tokens_per_day, requests_per_day, users, not none"),
        ("tokens_per_day = 4e10", "tokens_per_day = 4e10\nusers = 5", "not tokens_per_day and users"),
        ("tokens_per_day = 4e10", "users = 5", "needs sessions_per_user_day, turns_per_session"),
        ("tokens_per_day = 4e10", "tokens_per_day = 4e10\nturns_per_session = 3", "turns_per_session is of users"),
        ('shape = "azure-conversation-2024"', "peak_to_mean = 2", "needs a shape"),
        ('shape = "azure-conversation-2024"', 'shape = "azure-conversation"', "azure-conversation-2024"),
        ('shape = "azure-conversation-2024"', 'shape = "azure-conversation-2024"\npeak_to_mean = 2', "one of them"),
        ('tier = "standard"', 'tier = "standard", price_usd_per_accelerator_h = 1', "leave out tier"),
        ("troughs =", "trace = 'azure_llm_2023_con'\ntroughs =", "azure_llm_2023_conv"),
        ("troughs =", "trace = 'mooncake_conversation'\ntroughs =", "has prefixes"),
        ("troughs =", "trace_rate_factor = 2\ntroughs =", "the demand decides the rate"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, old, new, message):
    assert old in SCENARIO
    with pytest.raises(InputError, match=message):
        run(tmp_path, SCENARIO.replace(old, new))
