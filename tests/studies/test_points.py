"""Replicas by name and operating points: columns, broadcasting, money on either party's books, loads, limits and wrong input."""

from __future__ import annotations

import functools
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import accelmodel as am
from accelmodel.core.replica import Replica
from accelmodel.studies.points import library

ROOT = Path(__file__).parents[2]
LOAD = {"input_tokens": 1024, "output_tokens": 256, "concurrency": 32}

# As the interface lists them, plus the load itself.
EVERY_POINT_HAS = [
    "input_tokens",
    "output_tokens",
    "concurrency",
    "prefix_hit_fraction",
    "occupancy",
    "time_to_first_token_s",
    "time_per_output_token_s",
    "request_latency_s",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "output_tokens_per_s_per_accelerator",
    "running_requests",
    "waiting_requests",
    "kv_capacity_tokens",
    "weight_bytes_per_accelerator",
    "fits",
    "binding",
    "power_w",
    "energy_j_per_output_token",
    "replica_cost_usd_per_h",
    "cost_usd_per_mtok_input",
    "cost_usd_per_mtok_cached_input",
    "cost_usd_per_mtok_output",
    "cost_usd_per_mtok",
    "cost_basis",
]
UNITS = {
    "input_tokens": "token",
    "concurrency": "request",
    "prefix_hit_fraction": "1",
    "time_to_first_token_s": "s",
    "time_per_output_token_s_low90": "s",
    "output_tokens_per_s": "token/s",
    "kv_capacity_tokens": "token",
    "weight_bytes_per_accelerator": "byte",
    "power_w": "W",
    "energy_j_per_output_token": "J",
    "replica_cost_usd_per_h": "USD/h",
    "cost_usd_per_mtok": "USD/Mtok",
    "cost_usd_per_mtok_high90": "USD/Mtok",
    "revenue_usd_per_h": "USD/h",
    "margin_fraction": "1",
    "binding": "1",
}


@functools.cache
def replica(system: str = "p5.48xlarge", accelerators: int = 8, model: str = "llama-3.3-70b", **options: Any) -> Replica:
    return am.replica(model=model, system=system, accelerators=accelerators, **{"weights": "fp8", "kv": "fp8"} | options)


def trainium2() -> Replica:
    return replica("trn2-ultraserver", 2)


def toml(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def same(first: Replica, second: Replica) -> bool:
    return first.constants.tobytes() == second.constants.tobytes()


# --- replicas by name, alias, object and path ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", "LLAMA 3.3_70b"])
def test_a_model_answers_to_its_aliases(model):
    assert am.replica(model=model, system="p5.48xlarge", weights="fp8", kv="fp8").model.name == "llama-3.3-70b"


def test_a_system_and_an_engine_answer_to_their_aliases():
    one = replica("Trn2 UltraServer (4x trn2u.48xlarge)", 2, engine="NxD Inference")
    assert (one.system.name, one.accelerator.name, one.engine) == ("trn2-ultraserver", "trainium2", "nxdi")


def test_names_objects_and_paths_make_the_same_replica(tmp_path):
    model, system = ROOT / "scenarios/models/llama-3.3-70b.toml", tmp_path / "my-node.toml"
    system.write_text((ROOT / "hardware_profiles/systems/p5.48xlarge.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for one in (
        am.replica(model=library().model("llama-3.3-70b"), system=library().system("p5.48xlarge"), weights="fp8", kv="fp8"),
        am.replica(model=str(model), system=str(system), weights="fp8", kv="fp8"),
    ):
        assert same(one, replica())


def test_what_is_left_out_fills_the_whole_system_and_makes_the_ranks_come_out():
    whole = am.replica(model="llama-3.3-70b", system="p5.48xlarge")
    assert (whole.accelerators, whole.parallelism.tensor, whole.kv_dtype) == (8, 8, "bf16")
    assert am.replica(model="llama-3.3-70b", system="p5.48xlarge", attention_data_parallel=4).parallelism.tensor == 2
    # A Trainium2 shows the serving engine four logical cores.
    assert am.replica(model="llama-3.3-70b", system="trn2.48xlarge", accelerators=4).parallelism.tensor == 16


def test_weights_of_llama_70b_in_fp8():
    # 80 layers of 8192 x (8192 + 1024 + 1024 + 8192) + 3 x 8192 x 28672 bytes, both embeddings of 128256 x 8192 in two bytes, on eight chips.
    per_layer = 8192 * (8192 + 1024 + 1024 + 8192) + 3 * 8192 * 28672
    expected = (80 * per_layer + 2 * 2 * 128256 * 8192) / 8
    assert am.evaluate(replica(), **LOAD).weight_bytes_per_accelerator == pytest.approx(expected, rel=1e-12)


LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def test_a_hugging_face_config_is_a_model(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA), encoding="utf-8")
    one = am.replica(model=str(path), system="p5.48xlarge", accelerators=1)
    point = am.evaluate(one, input_tokens=1000, output_tokens=24, concurrency=4)
    # Per layer Q and O 64 x 64 each, K and V 64 x 16 each, three of 64 x 128; two embeddings of 1000 x 64; two bytes each.
    assert point.weight_bytes_per_accelerator == 2 * (4 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128) + 2 * 1000 * 64)
    assert point.fits
    with pytest.raises(am.InputError, match="2,048 tokens of context"):
        am.evaluate(one, input_tokens=2000, output_tokens=49, concurrency=4)


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"model": "llama-3.3-70bb"}, "model", "did you mean 'llama-3.3-70b'?"),
        ({"model": "no/such/config.json"}, None, "no such file"),
        ({"system": "p5.48xlage"}, "system", "did you mean 'p5.48xlarge'?"),
        ({"engine": "vlm"}, "engine", "did you mean 'vllm'?"),
        ({"weights": "fp7"}, "weights", "'fp7' is not a dtype"),
        ({"kv": "fp4"}, "kv", "'fp4' is not a dtype"),
        ({"accelerators": 0}, "accelerators", "whole number of at least 1"),
        ({"accelerators": 2.5}, "accelerators", "whole number of at least 1"),
        ({"system": "mi350x-8", "accelerators": 16}, "accelerators", "has no figure 'scale_out_bandwidth'"),
        ({"tensor_parallel": True}, "tensor_parallel", "whole number of at least 1"),
        ({"tensor_parallel": 4}, "tensor_parallel", "4 ranks, but 8 accelerators are 8"),
        ({"accelerators": 3}, "tensor_parallel", "does not divide the 64 attention heads"),
        ({"expert_parallel": 2}, "expert_parallel", "has no routed experts"),
        ({"chunk_tokens": -100.0}, "chunk_tokens", "above 0"),
        ({"chunk_tokens": math.nan}, "chunk_tokens", "above 0"),
    ],
)
def test_a_replica_that_cannot_be_made_says_why(options, key, words):
    with pytest.raises(am.InputError, match=re.escape(words)) as caught:
        am.replica(**{"model": "llama-3.3-70b", "system": "p5.48xlarge"} | options)
    assert caught.value.key == key


# --- points and tables -----------------------------------------------------------------------------------------------------------------------


def test_a_point_has_every_column_as_a_plain_attribute():
    point = am.evaluate(replica(), **LOAD, offer="bedrock")
    assert isinstance(point, am.Point)
    values = point.to_dict()
    assert {*EVERY_POINT_HAS, "revenue_usd_per_h", "margin_fraction"} <= values.keys()
    assert {type(value) for value in values.values()} <= {float, str, bool, type(None)}
    assert point.fits is True
    assert point.binding in {"compute", "memory", "network", "overhead", "capacity"}
    assert point.calibrated == "measured"
    assert point.time_to_first_token_s == values["time_to_first_token_s"]
    assert "time_to_first_token_s=" in repr(point)


def test_without_an_offer_by_the_token_nothing_is_sold():
    for offer in (None, "on-demand"):
        values = am.evaluate(replica(), **LOAD, offer=offer).to_dict()
        assert set(EVERY_POINT_HAS) <= values.keys()
        assert not {"revenue_usd_per_h", "margin_fraction"} & values.keys()


def test_rates_and_latencies_agree_with_each_other():
    p = am.evaluate(replica(), **LOAD)
    assert p.output_tokens_per_s_per_accelerator == pytest.approx(p.output_tokens_per_s / 8)
    assert p.output_tokens_per_s_per_user == pytest.approx(1 / p.time_per_output_token_s)
    assert p.input_tokens_per_s == pytest.approx(p.output_tokens_per_s * 1024 / 256)
    assert p.request_latency_s == pytest.approx(p.time_to_first_token_s + 255 * p.time_per_output_token_s)
    assert p.output_tokens_per_s / 256 * p.request_latency_s == pytest.approx(32)  # Little's law
    assert p.energy_j_per_output_token == pytest.approx(p.power_w / p.output_tokens_per_s)
    assert p.running_requests + p.waiting_requests == 32


def test_arrays_make_a_table_whose_fields_say_unit_and_meaning():
    table = am.evaluate(replica(), **LOAD | {"concurrency": [1, 8, 64]}, offer="bedrock")
    assert isinstance(table, pa.Table)
    assert set(EVERY_POINT_HAS) <= set(table.column_names)
    for field in table.schema:
        assert field.metadata[b"unit"]
        assert len(field.metadata[b"description"]) > 5
    assert {name: table.schema.field(name).metadata[b"unit"].decode() for name in UNITS} == UNITS
    assert table.schema.field("fits").type == pa.bool_()
    assert table.schema.field("power_w").type == pa.float64()


def test_every_row_of_a_broadcast_is_its_own_point():
    inputs, loads = np.array([[256.0], [2048.0]]), np.array([1.0, 16.0, 300.0])
    table = am.evaluate(replica(), input_tokens=inputs, output_tokens=128, concurrency=loads, prefix_hit_fraction=0.25, offer="bedrock")
    rows = table.to_pylist()
    assert [(row["input_tokens"], row["concurrency"]) for row in rows] == [(i, c) for i in (256, 2048) for c in (1, 16, 300)]
    for row in rows:
        point = am.evaluate(
            replica(), input_tokens=row["input_tokens"], output_tokens=128, concurrency=row["concurrency"], prefix_hit_fraction=0.25, offer="bedrock"
        )
        assert point.to_dict() == row


def test_lists_series_and_arrays_of_one_or_no_element_are_tables():
    by_list = am.evaluate(replica(), **LOAD | {"concurrency": [8, 16]})
    assert by_list.equals(am.evaluate(replica(), **LOAD | {"concurrency": pd.Series([8, 16])}))
    assert by_list.equals(am.evaluate(replica(), **LOAD | {"concurrency": np.array([8, 16])}))
    assert am.evaluate(replica(), **LOAD | {"concurrency": [8]}).num_rows == 1
    assert am.evaluate(replica(), **LOAD | {"concurrency": []}).num_rows == 0


def test_columns_are_picked_in_the_order_asked_for():
    wanted = ["cost_usd_per_mtok", "fits", "time_per_output_token_s_high90", "concurrency"]
    table = am.evaluate(replica(), **LOAD | {"concurrency": [8, 16]}, columns=wanted)
    assert table.column_names == wanted
    whole = am.evaluate(replica(), **LOAD | {"concurrency": [8, 16]})
    assert table.equals(whole.select(wanted))
    assert list(am.evaluate(replica(), **LOAD, columns=wanted).to_dict()) == wanted
    # Columns without money need no price, so hardware that nobody has a price for still has latencies.
    assert am.evaluate(replica("tpu-v6e-8"), **LOAD, columns=["time_to_first_token_s"]).time_to_first_token_s > 0
    assert am.evaluate(replica("tpu-v6e-8"), **LOAD).cost_usd_per_mtok is None
    with pytest.raises(am.InputError, match="tpu-v6e"):
        am.evaluate(replica("tpu-v6e-8"), **LOAD, columns=["cost_usd_per_mtok"])


def test_bounds_enclose_what_they_bound_by_the_calibrations_factor():
    spread = toml("hardware_profiles/calibrations/gpu-fit-2026-11.toml")["spreads"]["seen"]
    row = am.evaluate(replica(), **LOAD, offer=["on-demand", "bedrock"]).to_dict()
    bounded = [name.removesuffix("_low90") for name in row if name.endswith("_low90")]
    assert {"time_to_first_token_s", "time_per_output_token_s", "output_tokens_per_s", "cost_usd_per_mtok", "margin_fraction"} <= set(bounded)
    for name in bounded:
        assert row[f"{name}_low90"] < row[name] < row[f"{name}_high90"]
    for name, metric in (
        ("time_to_first_token_s", "time_to_first_token"),
        ("time_per_output_token_s", "time_per_output_token"),
        ("output_tokens_per_s", "throughput"),
        ("cost_usd_per_mtok", "throughput"),
    ):
        factor = spread[metric]["value"]
        assert row[f"{name}_low90"] == pytest.approx(row[name] / factor)
        assert row[f"{name}_high90"] == pytest.approx(row[name] * factor)
    # Margin at the bounds of the cost, the price unchanged.
    price = row["revenue_usd_per_h"] / (row["replica_cost_usd_per_h"] / row["cost_usd_per_mtok"])
    assert row["margin_fraction_low90"] == pytest.approx(1 - row["cost_usd_per_mtok_high90"] / price)
    assert row["margin_fraction_high90"] == pytest.approx(1 - row["cost_usd_per_mtok_low90"] / price)


# --- money -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accelerators", [1, 2, 4, 8])
def test_a_tenant_pays_the_list_price_of_the_chips_used(accelerators):
    # EC2 list price of p5.48xlarge in us-east-1 since June 2025: 55.04 USD/h for eight.
    p = am.evaluate(replica("p5.48xlarge", accelerators, "llama-3.1-8b"), **LOAD, offer="on-demand", occupancy=0.5)
    assert p.replica_cost_usd_per_h == pytest.approx(55.04 / 8 * accelerators, rel=1e-12)
    assert p.cost_basis == "p5.48xlarge:on-demand:us-east-1"
    tokens_per_h = (p.input_tokens_per_s + p.output_tokens_per_s) * 3600 * 0.5
    assert p.cost_usd_per_mtok == pytest.approx(55.04 / 8 * accelerators / tokens_per_h * 1e6, rel=1e-12)


def test_a_tenant_pays_for_the_chips_that_its_replicas_strand():
    # Two replicas of three go into an instance of eight: each bears half of it.
    one = replica("p5.48xlarge", 3, "llama-3.1-8b", attention_data_parallel=3)
    assert am.evaluate(one, **LOAD, offer="on-demand").replica_cost_usd_per_h == pytest.approx(55.04 / 2)


def test_a_dated_offer_is_the_price_of_that_day():
    # Before June 2025 the same instance was listed at 98.32 USD/h.
    p = am.evaluate(replica(), **LOAD, offer="p5.48xlarge:on-demand:us-east-1@2025-03-31")
    assert p.replica_cost_usd_per_h == pytest.approx(98.32)


def owned_usd_per_h(accelerator: str, mean_power_w: float, site: str = "new-carlisle") -> float:
    """USD of an available hour of one owned accelerator: [sum of capital x CRF + upkeep] / 8760 + kW x PUE x USD/kWh, over availability."""
    owner = toml("hardware_profiles/ownership/default.toml")
    of = {name: figure["value"] for name, figure in owner["figures"].items()}
    place = {name: figure["value"] for name, figure in toml(f"scenarios/sites/{site}.toml")["figures"].items()}
    chip = toml(f"hardware_profiles/accelerators/{accelerator}.toml")["figures"]
    it_power_w, tdp_w = chip["it_power"]["value"], chip["tdp"]["value"]
    rate = of["cost_of_capital"]

    def per_year(capital: float, years: float, residual: float = 0.0) -> float:
        growth = (1 + rate) ** years
        return capital * rate * growth / (growth - 1) - residual * capital * rate / (growth - 1)

    server = owner["purchase"][accelerator]["value"]
    network = server / (1 - of["network_share"]) - server
    yearly = per_year(server * (1 + of["spare_fraction"]), of["server_life"], of["residual_fraction"])
    yearly += per_year(network, of["network_life"])
    yearly += per_year(it_power_w * of["facility_cost"], of["facility_life"])
    yearly += (server + network) * (of["operations_per_year"] + of["maintenance_per_year"])
    drawn_kw = (mean_power_w + it_power_w - tdp_w) / 1000
    return (yearly / 8760 + drawn_kw * place["pue"] * place["tariff"]) / of["availability"]


@pytest.mark.parametrize(("system", "accelerator", "tdp_w"), [("trn2-ultraserver", "trainium2", 500), ("p5.48xlarge", "h100-sxm", 700)])
@pytest.mark.parametrize("occupancy", [0.3, 1.0])
def test_an_owner_pays_capital_upkeep_and_the_energy_of_loaded_and_idle_hours(system, accelerator, tdp_w, occupancy):
    one = replica(system, 2)
    p = am.evaluate(one, **LOAD, occupancy=occupancy)
    idle_w = one.parameters["power_idle_fraction"] * tdp_w
    mean_w = occupancy * p.power_w / 2 + (1 - occupancy) * idle_w
    assert p.replica_cost_usd_per_h == pytest.approx(2 * owned_usd_per_h(accelerator, mean_w), rel=1e-9)
    assert p.cost_basis == "ownership"
    assert p.occupancy == occupancy


def test_an_owned_trainium2_hour_worked_by_hand():
    # 8,000 USD x CRF(9 %, 5 y) 0.257092 = 2,056.74; network 1,039.55 x 0.257092 = 267.26; spares 3 % = 61.70; facility 750 W x 11.7 USD/W = 8,775 USD
    # x CRF(9 %, 14 y) 0.128433 = 1,127.00; upkeep (0.8 + 1.0) % of 9,039.55 = 162.71; in all 3,675.41 USD a year = 0.41957 USD/h.
    # 1 kW less 500 W: at a mean draw of 400 W, (400 + 250) W x 1.15 x 0.0901 = 0.06735 USD/h; (0.41957 + 0.06735) / 0.98 = 0.49686.
    assert owned_usd_per_h("trainium2", 400.0) == pytest.approx(0.49686, abs=2e-5)


def test_where_the_accelerator_stands_moves_only_the_energy():
    sites = {name: {key: figure["value"] for key, figure in toml(f"scenarios/sites/{name}.toml")["figures"].items()} for name in ("new-carlisle", "texas")}
    here, there = (am.evaluate(trainium2(), **LOAD, occupancy=1.0, site=name) for name in sites)
    kw = (here.power_w + 2 * (750 - 500)) / 1000
    difference = sites["texas"]["tariff"] * sites["texas"]["pue"] - sites["new-carlisle"]["tariff"] * sites["new-carlisle"]["pue"]
    assert there.replica_cost_usd_per_h - here.replica_cost_usd_per_h == pytest.approx(kw * difference / 0.98, rel=1e-9)
    assert there.time_to_first_token_s == here.time_to_first_token_s


def test_tokens_sell_at_the_list_price_in_the_occupied_hours():
    # Bedrock sells Llama 3.3 70B at 0.72 USD/Mtok in and out, by batch at half of it.
    p = am.evaluate(replica(), **LOAD, offer=["on-demand", "bedrock"], occupancy=0.5)
    mtok_per_h = (p.input_tokens_per_s + p.output_tokens_per_s) * 3600 / 1e6 * 0.5
    assert p.revenue_usd_per_h == pytest.approx(0.72 * mtok_per_h, rel=1e-12)
    assert p.margin_fraction == pytest.approx(1 - 55.04 / (0.72 * mtok_per_h), rel=1e-9)
    assert p.cost_basis == "p5.48xlarge:on-demand:us-east-1"
    batch = am.evaluate(replica(), **LOAD, offer=["on-demand", "bedrock"], occupancy=0.5, tier="batch")
    assert batch.revenue_usd_per_h == pytest.approx(0.36 * mtok_per_h, rel=1e-12)
    assert batch.replica_cost_usd_per_h == p.replica_cost_usd_per_h


def test_cached_input_sells_at_its_own_price_or_as_input_where_it_has_none():
    # Claude Sonnet 5: 2 in, 0.2 cached, 10 out.
    assistant = replica("trn2-ultraserver", 16, "claude-class-moe", tensor_parallel=8, attention_data_parallel=8, expert_parallel=16)
    load = LOAD | {"prefix_hit_fraction": 0.75}
    p = am.evaluate(assistant, **load, offer="bedrock:anthropic.claude-sonnet-5", occupancy=1.0)
    usd_per_s = (p.input_tokens_per_s * (0.25 * 2 + 0.75 * 0.2) + p.output_tokens_per_s * 10) / 1e6
    assert p.revenue_usd_per_h == pytest.approx(usd_per_s * 3600, rel=1e-12)
    p = am.evaluate(replica(), **load, offer="bedrock", occupancy=1.0)
    assert p.revenue_usd_per_h == pytest.approx(0.72 * (p.input_tokens_per_s + p.output_tokens_per_s) * 3600 / 1e6, rel=1e-12)


def test_a_cloud_owns_chips_and_sells_their_hours():
    p = am.evaluate(replica("p5.48xlarge", 2), **LOAD, offer="on-demand", books="cloud", occupancy=0.8)
    assert p.cost_basis == "ownership"
    assert p.revenue_usd_per_h == pytest.approx(2 * 55.04 / 8 * 0.8)
    assert p.replica_cost_usd_per_h == am.evaluate(replica("p5.48xlarge", 2), **LOAD, occupancy=0.8).replica_cost_usd_per_h
    assert p.margin_fraction == pytest.approx(1 - p.replica_cost_usd_per_h / (2 * 55.04 / 8 * 0.8))


def test_half_the_occupancy_doubles_a_tenants_cost_of_a_token_and_halves_the_revenue():
    full, half = (am.evaluate(replica(), **LOAD, offer=["on-demand", "bedrock"], occupancy=share) for share in (0.9, 0.45))
    for name in ("cost_usd_per_mtok", "cost_usd_per_mtok_input", "cost_usd_per_mtok_output"):
        assert getattr(half, name) == pytest.approx(2 * getattr(full, name), rel=1e-12)
    assert half.revenue_usd_per_h == pytest.approx(full.revenue_usd_per_h / 2, rel=1e-12)
    assert half.replica_cost_usd_per_h == full.replica_cost_usd_per_h
    assert half.output_tokens_per_s == full.output_tokens_per_s  # the load of an occupied hour, not the mean


def test_occupancy_is_the_owners_unless_given():
    assert am.evaluate(replica(), **LOAD).occupancy == toml("hardware_profiles/ownership/default.toml")["figures"]["occupancy"]["value"]


@pytest.mark.parametrize("offer", [None, "on-demand"])
def test_attribution_conserves_the_cost(offer):
    rng = np.random.default_rng(7)
    hit = np.where(rng.random(200) < 0.5, rng.random(200), 0.0)
    table = am.evaluate(
        replica(),
        input_tokens=rng.integers(16, 20_000, 200),
        output_tokens=rng.integers(1, 4_000, 200),
        concurrency=np.exp(rng.uniform(0, 6, 200)),
        prefix_hit_fraction=hit,
        offer=offer,
        occupancy=0.4,
    )
    c = {name: np.nan_to_num(table[name].to_numpy()) for name in table.column_names if name not in ("binding", "cost_basis", "calibrated")}
    mtok = 0.4 * 3600 / 1e6  # Mtok a mean hour, of one token per second in an occupied one
    found = c["input_tokens_per_s"] * (1 - hit) * c["cost_usd_per_mtok_input"]
    found += c["input_tokens_per_s"] * hit * c["cost_usd_per_mtok_cached_input"]
    found += c["output_tokens_per_s"] * c["cost_usd_per_mtok_output"]
    np.testing.assert_allclose(found * mtok, c["replica_cost_usd_per_h"], rtol=1e-12)
    np.testing.assert_allclose((c["input_tokens_per_s"] + c["output_tokens_per_s"]) * c["cost_usd_per_mtok"] * mtok, c["replica_cost_usd_per_h"], rtol=1e-12)
    # A stream without tokens has no cost, rather than a cost of 0.
    assert [value is None for value in table["cost_usd_per_mtok_cached_input"].to_pylist()] == (hit == 0).tolist()


def test_each_stream_bears_the_cost_of_the_device_time_that_it_takes():
    p = am.evaluate(replica(), **LOAD | {"prefix_hit_fraction": 0.25}, occupancy=1.0)
    per_mtok = p.replica_cost_usd_per_h / 3600 * 1e6
    fresh = (p.prefill_time_fraction - p.cached_time_fraction) * per_mtok / (0.75 * p.input_tokens_per_s)
    assert p.cost_usd_per_mtok_input == pytest.approx(fresh, rel=1e-12)
    assert p.cost_usd_per_mtok_cached_input == pytest.approx(p.cached_time_fraction * per_mtok / (0.25 * p.input_tokens_per_s), rel=1e-12)
    assert p.cost_usd_per_mtok_output == pytest.approx((1 - p.prefill_time_fraction) * per_mtok / p.output_tokens_per_s, rel=1e-12)
    assert 0 < p.cost_usd_per_mtok_cached_input < p.cost_usd_per_mtok_input < p.cost_usd_per_mtok_output


# --- loads -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1.0, 7.5, 64.0, 400.0])
def test_a_rate_and_the_concurrency_that_carries_it_are_one_load(concurrency):
    lengths = {"input_tokens": 1024, "output_tokens": 256}
    by_count = am.evaluate(replica(), **lengths, concurrency=concurrency)
    by_rate = am.evaluate(replica(), **lengths, requests_per_s=by_count.output_tokens_per_s / 256)
    assert by_rate.concurrency == pytest.approx(concurrency, rel=1e-9)
    assert by_rate.time_to_first_token_s == pytest.approx(by_count.time_to_first_token_s, rel=1e-9)


def test_a_rate_beyond_the_replica_is_a_point_that_does_not_fit():
    table = am.evaluate(replica(), input_tokens=1024, output_tokens=256, requests_per_s=[1.0, 1e6])
    assert table["fits"].to_pylist() == [True, False]
    assert table["binding"].to_pylist()[1] == "capacity"
    assert table["concurrency"].to_pylist()[1] is None


@pytest.mark.parametrize(("ttft_s", "tpot_s"), [(2.0, 0.05), (0.3, 0.05), (2.0, 0.015), (0.3, None), (None, 0.03)])
def test_the_largest_load_within_latency_targets(ttft_s, tpot_s):
    lengths = {"input_tokens": 1155, "output_tokens": 211}
    best = am.evaluate(replica(), **lengths, ttft_s=ttft_s, tpot_s=tpot_s)

    def meets(point: am.Point) -> bool:
        return point.time_to_first_token_s <= (ttft_s or math.inf) and point.time_per_output_token_s <= (tpot_s or math.inf)

    assert best.concurrency == round(best.concurrency) >= 1
    assert meets(best)
    assert not meets(am.evaluate(replica(), **lengths, concurrency=best.concurrency + 1))


def test_loose_targets_stop_where_requests_would_wait():
    best = am.evaluate(replica(), input_tokens=60_000, output_tokens=200, ttft_s=1e6)
    assert best.waiting_requests == 0
    assert am.evaluate(replica(), input_tokens=60_000, output_tokens=200, concurrency=best.concurrency + 1).waiting_requests > 0


def test_targets_that_not_even_one_client_meets_leave_no_point():
    p = am.evaluate(replica(), input_tokens=1024, output_tokens=256, tpot_s=1e-6)
    assert (p.fits, p.binding, p.concurrency, p.time_per_output_token_s, p.cost_usd_per_mtok) == (False, "capacity", None, None, None)


def test_a_model_that_does_not_fit_has_nulls_and_never_a_number():
    # 671 B parameters in FP8 with attention copied eight times are more than the 8 x 80 GiB of a p5.
    one = replica("p5.48xlarge", 8, "deepseek-v3.2", tensor_parallel=1, attention_data_parallel=8, expert_parallel=8)
    table = am.evaluate(one, **LOAD | {"concurrency": [1, 8]}, offer="bedrock")
    row = table.to_pylist()[0]
    assert (row["fits"], row["binding"]) == (False, "capacity")
    known = {*LOAD, "prefix_hit_fraction", "occupancy", "fits", "binding", "cost_basis", "calibrated", "weight_bytes_per_accelerator", "kv_capacity_tokens"}
    assert {name for name, value in row.items() if value is not None} == known
    assert row["weight_bytes_per_accelerator"] > 80 * 2**30
    assert table["cost_usd_per_mtok"].null_count == table["margin_fraction"].null_count == 2
    point = am.evaluate(one, **LOAD, offer="bedrock")
    assert point.to_dict() == {**row, "concurrency": 32.0}


# --- wrong input -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"requests_per_s": 1.0}, "requests_per_s", "not both"),
        ({"concurrency": None}, "concurrency", "give a load"),
        ({"concurrency": -3}, "concurrency", "above 0, not -3"),
        ({"concurrency": 0}, "concurrency", "above 0, not 0"),
        ({"concurrency": [1.0, math.nan]}, "concurrency", "finite"),
        ({"concurrency": math.inf}, "concurrency", "finite"),
        ({"concurrency": "many"}, "concurrency", "a number"),
        ({"concurrency": None, "requests_per_s": -1.0}, "requests_per_s", "above 0"),
        ({"concurrency": None, "tpot_s": -0.05}, "tpot_s", "above 0"),
        ({"concurrency": None, "ttft_s": math.nan}, "ttft_s", "above 0"),
        ({"input_tokens": math.nan}, "input_tokens", "finite"),
        ({"input_tokens": 0.5}, "input_tokens", "at least 1"),
        ({"output_tokens": 0}, "output_tokens", "at least 1"),
        ({"output_tokens": [1, 2], "input_tokens": [1, 2, 3]}, "input_tokens", "do not broadcast"),
        ({"prefix_hit_fraction": 1.01}, "prefix_hit_fraction", "from 0 to 1"),
        ({"prefix_hit_fraction": math.nan}, "prefix_hit_fraction", "from 0 to 1"),
        ({"input_tokens": 131_000, "output_tokens": 73}, "input_tokens", "131,073 tokens of input and output exceed the 131,072"),
        ({"offer": "on-demnd"}, "offer", "did you mean 'on-demand'?"),
        ({"offer": "bedrock", "tier": "bulk"}, "tier", "has no tier 'bulk'"),
        ({"books": "tenants"}, "books", "did you mean 'tenant'?"),
        ({"books": "tenant"}, "offer", "rents by the hour"),
        ({"books": "tenant", "offer": "bedrock"}, "offer", "rents by the hour"),
        ({"occupancy": 0.0}, "occupancy", "above 0 and at most 1"),
        ({"occupancy": 1.2}, "occupancy", "above 0 and at most 1"),
        ({"occupancy": math.nan}, "occupancy", "above 0 and at most 1"),
        ({"site": "new-carlise"}, "site", "did you mean 'new-carlisle'?"),
        ({"owner": "nobody"}, "ownership", "no ownership is called 'nobody'"),
        ({"columns": ["time_to_first_tokn_s"]}, "columns", "did you mean 'time_to_first_token_s'?"),
        ({"columns": ["margin_fraction"]}, "offer", "needs an offer that sells tokens"),
    ],
)
def test_wrong_input_names_the_key_and_the_fault(options, key, words):
    with pytest.raises(am.InputError, match=re.escape(words)) as caught:
        am.evaluate(replica(), **LOAD | options)
    assert caught.value.key == key


def test_a_column_that_points_never_have_is_not_blamed_on_an_offer():
    with pytest.raises(am.InputError, match="fleet_accelerators") as caught:
        am.evaluate(replica(), **LOAD, columns=["fleet_accelerators"])
    assert "offer" not in str(caught.value)


def test_trainium2_has_no_on_demand_price():
    with pytest.raises(am.InputError, match="no public on-demand price"):
        am.evaluate(replica("trn2.48xlarge", 4), **LOAD, offer="on-demand")
