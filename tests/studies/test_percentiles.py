"""Percentiles of operating points: the simulator's own, of the requests that are said; and searches within latency targets at a percentile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.columns import column
from accelmodel.studies.percentiles import LATENCIES, NAMES, SECTIONS, Draw, Steady, largest_within, measured

LOAD = {"input_tokens": 1024, "output_tokens": 128}
P99 = "time_to_first_token_p99_s"


@pytest.fixture(scope="module")
def replica() -> am.Replica:
    return am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, weights="fp8")


@pytest.mark.parametrize(("key", "value"), [("concurrency", 24), ("requests_per_s", 10.0)])
def test_columns_are_those_of_the_same_requests_simulated(replica: am.Replica, key: str, value: float) -> None:
    """The requests are drawn as anybody can draw them; of these, some before and behind do not count."""
    point = am.evaluate(replica, **LOAD, **{key: value}, columns=["concurrency", *NAMES], input_variation=0.4, output_variation=0.6, seed=3)
    rate = value if key == "requests_per_s" else 1.0
    in_system = int(np.ceil(point.concurrency))
    ahead = 4 * in_system
    trace = am.Trace.generate(am.Client(rate, 1024, 128, input_variation=0.4, output_variation=0.6), duration_s=(ahead + 10_000 + in_system) / rate, seed=3)
    rows = am.simulate(replica, trace, clients=None if key == "requests_per_s" else 24).requests
    for latency in LATENCIES:
        seconds = rows[f"{latency}_s"].to_numpy()[ahead : trace.requests - in_system]
        for rank in (50, 90, 95, 99):
            assert getattr(point, f"{latency}_p{rank}_s") == np.percentile(seconds[~np.isnan(seconds)], rank)


def test_a_table_has_them_beside_the_means_in_the_order_asked_for(replica: am.Replica) -> None:
    names = [P99, "concurrency", "time_per_output_token_p50_s", "time_per_output_token_s"]
    table = am.evaluate(replica, **LOAD, concurrency=np.array([1, 8, 8, 64]), columns=names, input_variation=0.3, seed=7)
    assert table.column_names == names
    assert table.schema.metadata[b"seed"] == b"7"
    assert table.schema.field(P99).metadata[b"unit"] == b"s"
    rows = table.to_pylist()
    assert rows[1] == rows[2]
    single = am.evaluate(replica, **LOAD, concurrency=8, columns=names, input_variation=0.3, seed=7)
    assert single.to_dict() == rows[1]
    assert am.evaluate(replica, **LOAD, concurrency=8, columns=names, input_variation=0.3, seed=8).to_dict()[P99] != rows[1][P99]


def test_without_percentiles_nothing_is_drawn(replica: am.Replica) -> None:
    assert b"seed" not in am.evaluate(replica, **LOAD, concurrency=np.array([1, 2])).schema.metadata


@given(rates=st.lists(st.floats(0.5, 14.0), min_size=2, max_size=2))
@settings(max_examples=8, deadline=None)
def test_tails_grow_with_the_rate_and_with_the_rank(replica: am.Replica, rates: list[float]) -> None:
    names = [f"{latency}_p{rank}_s" for latency in LATENCIES for rank in (50, 90, 99)]
    errors = [f"{latency}_p{rank}_sampling_error_s" for latency in LATENCIES for rank in (50, 90, 99)]
    low, high = am.evaluate(replica, **LOAD, requests_per_s=np.array(sorted(rates)), columns=[*names, *errors], input_variation=0.3).to_pylist()
    for latency in LATENCIES:
        assert low[f"{latency}_p50_s"] <= low[f"{latency}_p90_s"] <= low[f"{latency}_p99_s"]
    for name, error in zip(names, errors, strict=True):
        assert low[name] <= high[name] + 3.0 * (low[error] + high[error]), name


def test_one_client_alone_never_waits(replica: am.Replica) -> None:
    """Equal requests one after the other are all alike: every percentile is the mean of a simulation of one, and nothing is uncertain."""
    point = am.evaluate(replica, **LOAD, concurrency=1, columns=[P99, "time_to_first_token_p50_s", "time_to_first_token_p99_sampling_error_s"])
    alone = am.simulate(replica, am.Trace.of({"arrival_s": [0.0], "input_tokens": [1024], "output_tokens": [128]})).time_to_first_token_s
    assert point.time_to_first_token_p99_s == pytest.approx(alone)
    assert point.time_to_first_token_p50_s == pytest.approx(alone)
    assert point.time_to_first_token_p99_sampling_error_s == pytest.approx(0.0, abs=1e-9)


def test_the_sampling_error_is_that_of_independent_sections() -> None:
    """Of independent exponential times the median is known, and its deviation is 1 / (2 f(m) sqrt(n)), here 1 / sqrt(n)."""
    rng = np.random.default_rng(0)
    stated, off = [], []
    for _ in range(200):
        seconds = {LATENCIES[0]: rng.exponential(1.0, 2000)}
        stated.append(measured("time_to_first_token_p50_sampling_error_s", seconds))
        off.append(measured("time_to_first_token_p50_s", seconds) - np.log(2.0))
    assert np.mean(stated) == pytest.approx(1.833 / np.sqrt(2000), rel=0.1)
    assert np.mean(np.abs(off) <= stated) == pytest.approx(0.9, abs=0.06)


def test_a_latency_that_nobody_has_is_none(replica: am.Replica) -> None:
    """Of one output token there is no time per token after the first."""
    point = am.evaluate(replica, input_tokens=64, output_tokens=1, concurrency=2, columns=["time_per_output_token_p99_s", P99])
    assert point.time_per_output_token_p99_s is None
    assert point.time_to_first_token_p99_s > 0.0
    assert np.isnan(measured("time_per_output_token_p99_s", {LATENCIES[1]: np.ones(SECTIONS - 1)}))


def test_a_rate_that_is_not_carried_has_no_percentiles(replica: am.Replica) -> None:
    table = am.evaluate(replica, **LOAD, requests_per_s=np.array([1.0, 1000.0]), columns=[P99, "fits"])
    assert [row[P99] is None for row in table.to_pylist()] == [False, True]


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"columns": ["time_to_first_token_p98_s"]}, "columns", "did you mean 'time_to_first_token_p99_s'"),
        ({"columns": ["time_to_frist_token_p99_s"]}, "columns", "did you mean 'time_to_first_token_p99_s'"),
        ({"concurrency": 2.5}, "concurrency", "whole number of clients"),
        ({"prefix_hit_fraction": 0.5}, "prefix_hit_fraction", "no prefix cache"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"input_variation": -1.0}, "input_variation", "at least 0"),
        ({"requests_per_s": 2.0, "concurrency": None, "burstiness": 0.0}, "burstiness", "above 0"),
    ],
)
def test_what_cannot_be_asked_for_says_so(replica: am.Replica, change: dict[str, object], key: str, message: str) -> None:
    with pytest.raises(am.InputError, match=message) as error:
        am.evaluate(replica, **{**LOAD, "concurrency": 4, "columns": [P99], **change})
    assert error.value.key == key


def test_pools_apart_are_refused() -> None:
    pools = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, mode="disaggregated")
    with pytest.raises(am.InputError, match="pools apart"):
        am.evaluate(pools, **LOAD, concurrency=4, columns=[P99])


def test_columns_describe_themselves() -> None:
    for name in NAMES:
        assert column(name).unit == "s"
    assert column("request_latency_p90_s").description.startswith("90th percentile over requests of: ")
    assert "what other random numbers would give" in column("request_latency_p90_sampling_error_s").description


def test_steady_requests_are_counted_in_the_middle() -> None:
    steady = Steady.of(100, 10, 7.2, None, Draw())
    assert steady.clients == 8
    assert steady.first == 32
    assert steady.last == steady.trace.requests - 8


@given(edge=st.floats(0.01, 50.0), start=st.floats(0.1, 10.0))
def test_the_largest_load_is_found_from_either_side(edge: float, start: float) -> None:
    assert edge / 1.01 <= largest_within(lambda load: load <= edge, start, 0.01) <= edge


def test_where_no_load_holds_there_is_none() -> None:
    assert largest_within(lambda _: False, 1.0, 0.01) == 0.0


SEARCH = {"model": "llama-3.1-8b", "system": "p5.48xlarge", "weights": "fp8", **LOAD, "ttft_s": 0.5, "tpot_s": 0.02, "top": 3}
VARIED = {"input_variation": 0.5, "output_variation": 0.5}


def test_a_search_at_a_percentile_holds_its_targets_there_and_hardly_at_more_load() -> None:
    found = am.optimize(**SEARCH, **VARIED, percentile=99).to_pylist()
    assert [row["cost_usd_per_mtok"] for row in found] == sorted(row["cost_usd_per_mtok"] for row in found)
    for row in found:
        one = am.replica(**{key: row[key] for key in ("model", "system", "accelerators", "tensor_parallel", "attention_data_parallel", "weights")})
        loads = np.array([row["concurrency"], np.ceil(1.03 * row["concurrency"]) + 1])
        here, beyond = am.evaluate(one, **LOAD, concurrency=loads, columns=[P99, "time_per_output_token_p99_s"], **VARIED).to_pylist()
        assert here[P99] == row[P99] <= 0.5
        assert here["time_per_output_token_p99_s"] == row["time_per_output_token_p99_s"] <= 0.02
        assert beyond[P99] > 0.5 or beyond["time_per_output_token_p99_s"] > 0.02


def test_a_search_without_a_percentile_is_the_closed_forms() -> None:
    plain = am.optimize(**SEARCH)
    assert "mean_target_concurrency" not in plain.column_names
    shown = am.optimize(**SEARCH, **VARIED, percentile=99)
    assert set(shown["mean_target_concurrency"].to_pylist()) == set(plain["concurrency"].to_pylist())
    assert shown.schema.metadata[b"seed"] == b"0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"percentile": 98}, "none of the percentiles"),
        ({"percentile": 99, "ttft_s": None, "tpot_s": None}, "needs a latency target"),
        ({"percentile": 99, "ttft_s": 0.02}, "meets the targets"),
    ],
)
def test_a_search_that_cannot_be_made_says_why(change: dict[str, object], message: str) -> None:
    with pytest.raises(am.InputError, match=message):
        am.optimize(**{**SEARCH, **change})


def test_the_commands_know_percentiles(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--model", "llama-3.1-8b", "--system", "p5.48xlarge", "--input-tokens", "512", "--output-tokens", "64", "--format", "json", "--quiet"]
    assert execute(["evaluate", *common, "--accelerators", "1", "--requests-per-s", "5", "--columns", P99, "--seed", "4"]) == 0
    point = json.loads(capsys.readouterr().out)
    assert point["seed"] == 4
    assert point[P99] > 0.0
    assert execute(["optimize", *common, "--tpot-s", "0.02", "--percentile", "95", "--top", "1", "--input-variation", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["percentile"] == 95
    assert found["replicas"][0]["time_per_output_token_p95_s"] <= 0.02


SCENARIO = """
title = "Tails"
[base]
model = "llama-3.1-8b"
system = "p5.48xlarge"
accelerators = 1
input_tokens = 512
output_tokens = 64
[axes]
concurrency = [4, 16]
[studies.tails]
kind = "points"
columns = ["concurrency", "time_to_first_token_s", "time_to_first_token_p99_s"]
input_variation = 0.5
"""


def test_a_points_study_has_percentiles_from_the_runs_seed(tmp_path: Path) -> None:
    path = tmp_path / "tails.toml"
    path.write_text(SCENARIO)
    first, second = (am.run(path, seed=seed).tables["tails"] for seed in (0, 1))
    one = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1)
    loads = {"input_tokens": 512, "output_tokens": 64, "concurrency": np.array([4, 16])}
    direct = am.evaluate(one, **loads, columns=[P99], input_variation=0.5, seed=1)
    assert second[P99].to_pylist() == direct[P99].to_pylist() != first[P99].to_pylist()
    assert second.column_names.count("concurrency") == 1
    am.run(path, seed=1).save(tmp_path / "out")
    assert am.explain(tmp_path / "out", study="tails", row=1, column=P99).term.value == second[P99][1].as_py()
