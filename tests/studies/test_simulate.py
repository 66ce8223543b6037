"""`am.simulate`, traces and the command: what they read and draw, what they report, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelmodel as am
from accelmodel.cli.main import execute
from accelmodel.columns import column
from accelmodel.studies.simulate import Simulation, simulate
from accelmodel.studies.traces import Client, Trace

LLAMA = {"model": "llama-3.1-70b", "system": "p5.48xlarge", "weights": "fp8", "kv": "fp8"}
REPLICA = am.replica(**LLAMA)
AZURE, MOONCAKE = Trace.of("azure_llm_2023_conv"), Trace.of("mooncake_conversation")
SMALL = {"arrival_s": [0.0, 0.5, 0.5, 2.0], "input_tokens": [100, 2000, 50, 700], "output_tokens": [10, 1, 40, 3]}


# --- traces


def test_shipped_traces_are_the_published_ones() -> None:
    assert (AZURE.requests, MOONCAKE.requests) == (19_366, 12_031)
    assert AZURE.input_tokens.mean() == pytest.approx(1155, abs=1)
    assert np.percentile(AZURE.output_tokens, [50, 90, 99]) == pytest.approx([129, 424, 601], abs=1)
    assert MOONCAKE.block_tokens == 512
    assert MOONCAKE.first_hash is not None
    assert MOONCAKE.first_hash[-1] == MOONCAKE.hash_ids.size  # type: ignore[union-attr]


def test_one_trace_in_every_form_is_the_same(tmp_path: Path) -> None:
    table = pa.table(SMALL)
    pq.write_table(table, tmp_path / "t.parquet")
    pa.csv.write_csv(table, tmp_path / "t.csv")
    forms = [SMALL, table, pd.DataFrame(SMALL), tmp_path / "t.parquet", str(tmp_path / "t.csv"), Trace.of(SMALL)]
    found = [simulate(REPLICA, form, replicas=2).requests.to_pydict() for form in forms]
    assert all(one == found[0] for one in found)


def test_hashes_in_lists_and_in_words_are_the_same() -> None:
    lists = Trace.of(pa.table(SMALL | {"hash_ids_64": [[1], [1, 2], [], [7, 9]]}))
    words = Trace.of(SMALL | {"hash_ids_64": ["a", "a b", "", "x z"]})
    for one in (lists, words):
        assert one.hash_ids is not None
        assert one.hash_ids.tolist() == [0, 0, 1, 2, 3]
        assert one.block_tokens == 64


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 3))
def test_the_order_of_rows_does_not_matter(order: list[int], replicas: int) -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"arrival_s": np.cumsum(rng.exponential(0.1, 12)), "input_tokens": rng.integers(1, 3000, 12), "output_tokens": rng.integers(1, 60, 12)})
    rows["hash_ids"] = [[int(block)] for block in rng.integers(0, 3, 12)]
    whole = simulate(REPLICA, rows, replicas=replicas, samples=3)
    shuffled = simulate(REPLICA, rows.iloc[order], replicas=replicas, samples=3)
    assert shuffled.requests.equals(whole.requests)
    assert shuffled.summary.to_dict() == whole.summary.to_dict()


def test_clients_send_what_they_say() -> None:
    for pattern in ("gamma", "weibull"):
        one = Trace.generate(Client(20.0, 1000.0, 200.0, burstiness=2.0, pattern=pattern, input_variation=1.0, output_variation=0.5), duration_s=3000.0, seed=4)
        gaps = np.diff(one.arrival_s)
        assert one.requests / 3000.0 == pytest.approx(20.0, rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.03)
        for tokens, mean, variation in ((one.input_tokens, 1000.0, 1.0), (one.output_tokens, 200.0, 0.5)):
            assert tokens.mean() == pytest.approx(mean, rel=0.02)
            assert tokens.std() / tokens.mean() == pytest.approx(variation, rel=0.03)


def test_draws_follow_from_the_seed_and_from_nothing_else() -> None:
    first, second = Client(2.0, 500.0, 50.0, input_variation=0.5), Client(3.0, 900.0, 20.0, burstiness=3.0)
    alone = Trace.generate(first, duration_s=100.0, seed=1)
    both = Trace.generate([first, second], duration_s=100.0, seed=1)
    assert both.session is not None
    np.testing.assert_array_equal(both.arrival_s[both.session == 0], alone.arrival_s)
    np.testing.assert_array_equal(both.input_tokens[both.session == 0], alone.input_tokens)
    assert (np.diff(both.arrival_s) >= 0.0).all()
    again, other = (Trace.generate([first, second], duration_s=100.0, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(again.arrival_s, both.arrival_s)
    assert other.requests != both.requests or (other.arrival_s != both.arrival_s).any()


def test_thickened_traces_hold_each_request_so_often_in_the_same_time() -> None:
    thick = MOONCAKE.thickened(3, seed=1)
    assert thick.requests == 3 * MOONCAKE.requests
    assert thick.duration_s <= MOONCAKE.duration_s * (1 + 1e-9)
    assert (np.diff(thick.arrival_s) >= 0.0).all()
    assert thick.input_tokens.sum() == 3 * MOONCAKE.input_tokens.sum()
    assert thick.first_hash is not None
    counts = np.diff(thick.first_hash)
    # Each request has kept its own blocks: as many as its prompt is long.
    np.testing.assert_array_equal(counts, np.ceil(thick.input_tokens / 512))
    assert Trace.of(SMALL | {"session": [1, 2, 2, 3]}).thickened(2).session.tolist() != []  # type: ignore[union-attr]
    assert AZURE.between(60.0, 120.0).arrival_s.min() >= 60.0
    assert AZURE.stretched(2.0).duration_s == pytest.approx(2 * AZURE.duration_s)


def test_requests_of_a_file_at_another_pace(tmp_path: Path) -> None:
    pq.write_table(pa.table({name: SMALL[name] * 2000 for name in ("input_tokens", "output_tokens")}), tmp_path / "lengths.parquet")
    paced = Trace.paced(tmp_path / "lengths.parquet", requests_per_s=5.0, burstiness=2.0, seed=1)
    assert paced.requests / paced.duration_s == pytest.approx(5.0, rel=0.1)
    assert paced.input_tokens[:4].tolist() == SMALL["input_tokens"]
    again = Trace.paced(MOONCAKE, requests_per_s=5.0)
    assert again.hash_ids is MOONCAKE.hash_ids
    assert again.requests / again.duration_s == pytest.approx(5.0, rel=0.05)


def test_clients_of_a_servegen_file(tmp_path: Path) -> None:
    rows = [
        (client, start, rate, cv, pattern) for start in (0, 600, 1200) for client, rate, cv, pattern in ((0, 1.0, 0.5, "Gamma"), (1, 0.25, 900.0, "Weibull"))
    ]
    names = ("client", "window_start_s", "rate_rps", "cv", "pattern")
    pq.write_table(pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)}), tmp_path / "c.parquet")
    fields = ["input_tokens"] * 2 + ["output_tokens"]
    lengths = {"field": fields, "prob": [0.75, 0.25, 1.0], "mean_tokens_in_bin": [100.0, 500.4, 20.0]}
    pq.write_table(pa.table(lengths), tmp_path / "l.parquet")
    whole = Trace.servegen(tmp_path / "c.parquet", tmp_path / "l.parquet", duration_s=1800.0)
    assert whole.requests == 3 * (600 + 150)
    assert set(whole.input_tokens) == {100.0, 500.0}
    assert whole.input_tokens.mean() == pytest.approx(200.0, rel=0.05)
    assert (whole.output_tokens == 20.0).all()
    assert (np.diff(whole.arrival_s) >= 0.0).all()
    part = Trace.servegen(tmp_path / "c.parquet", tmp_path / "l.parquet", start_s=500.0, duration_s=300.0)
    inside = (whole.arrival_s >= 500.0) & (whole.arrival_s < 800.0)
    np.testing.assert_allclose(part.arrival_s, whole.arrival_s[inside] - 500.0, atol=1e-9)
    with pytest.raises(am.InputError, match="field"):
        Trace.servegen(tmp_path / "c.parquet", tmp_path / "c.parquet", duration_s=10.0)
    with pytest.raises(am.InputError, match="no request"):
        Trace.servegen(tmp_path / "c.parquet", tmp_path / "l.parquet", start_s=9e9, duration_s=10.0)


# --- simulations


@pytest.fixture(scope="module")
def azure() -> Simulation:
    return simulate(REPLICA, AZURE, replicas=1, stretch=2.0, ttft_s=0.5, tpot_s=0.02)


def test_summary_follows_from_the_requests(azure: Simulation) -> None:
    rows, one = azure.requests.to_pandas(), azure.summary
    assert len(rows) == one.requests == AZURE.requests
    for name in ("time_to_first_token", "time_per_output_token", "request_latency"):
        known = rows[f"{name}_s"].dropna()
        assert getattr(one, f"{name}_s") == pytest.approx(known.mean())
        assert getattr(one, f"{name}_p99_s") == pytest.approx(np.percentile(known, 99))
    good = (rows.time_to_first_token_s <= 0.5) & ~(rows.time_per_output_token_s > 0.02)
    assert one.goodput_fraction == pytest.approx(good.mean())
    assert 0.0 < one.goodput_fraction < 1.0
    assert one.output_tokens_per_s * one.duration_s == pytest.approx(AZURE.output_tokens.sum())
    decoded = rows.time_to_first_token_s + (rows.output_tokens - 1) * rows.time_per_output_token_s.fillna(0.0)
    np.testing.assert_allclose(decoded, rows.request_latency_s, rtol=1e-9)
    assert azure.requests.schema.field("time_to_first_token_s").metadata[b"description"] == b"time to first token, waiting included"
    for name in one.to_dict():
        assert column(name).description


def test_little_and_the_series_agree(azure: Simulation) -> None:
    series = simulate(REPLICA, AZURE, replicas=1, stretch=2.0, samples=20_000).series.to_pandas()
    for name in ("running_requests", "waiting_requests", "kv_used_fraction"):
        assert series[name].mean() == pytest.approx(getattr(azure.summary, name), rel=0.1 if name == "waiting_requests" else 0.01)
    assert series.kv_used_fraction.between(0.0, 1.0).all()
    assert series.waiting_requests.iloc[-1] == series.running_requests.iloc[-1] == 0.0


def test_energy_and_cost_add_up(azure: Simulation) -> None:
    one = azure.summary
    assert one.energy_j == pytest.approx(one.power_w * one.duration_s)
    assert one.cost_usd == pytest.approx(one.replica_cost_usd_per_h * one.duration_s / 3600)
    tokens = AZURE.input_tokens.sum() + AZURE.output_tokens.sum()
    assert one.cost_usd_per_mtok == pytest.approx(one.cost_usd / tokens * 1e6)
    rented = simulate(REPLICA, SMALL, replicas=3, offer="on-demand").summary
    hour = am.evaluate(REPLICA, input_tokens=100, output_tokens=10, concurrency=1, offer="on-demand").replica_cost_usd_per_h
    assert rented.replica_cost_usd_per_h == pytest.approx(hour)
    assert rented.cost_usd == pytest.approx(3 * hour * rented.duration_s / 3600)


def test_prefix_hits_of_mooncake_are_the_published_ones() -> None:
    """Shares of input tokens that an LRU cache of so many tokens serves, and one without bound."""
    for tokens, published in ((0.5e6, 0.045), (2.6e6, 0.113), (5.1e6, 0.215), (15e6, 0.332), (26e6, 0.362), (1e12, 0.3736)):
        found = simulate(REPLICA, MOONCAKE, stretch=3.0, prefix_cache_tokens=tokens).prefix_hit_fraction
        assert found == pytest.approx(published, abs=0.006)
    assert simulate(REPLICA, MOONCAKE, stretch=3.0, prefix_cache_tokens=0.0).prefix_hit_fraction == 0.0


def test_affinity_finds_more_prefixes_and_urgent_requests_wait_less() -> None:
    spread, affine = (simulate(REPLICA, MOONCAKE, replicas=4, routing=routing).prefix_hit_fraction for routing in ("round-robin", "prefix-affine"))
    assert affine > spread + 0.05
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"arrival_s": AZURE.arrival_s, "input_tokens": AZURE.input_tokens, "output_tokens": AZURE.output_tokens})
    rows["priority"], rows["session"] = rng.integers(0, 2, len(rows)), rng.integers(0, 500, len(rows))
    found = simulate(REPLICA, rows, replicas=1, stretch=0.28, largest_batch=256).requests.to_pandas()
    queue = found.groupby("priority").queue_s.mean()
    assert queue[0] < 0.5 * queue[1]
    of_session = simulate(REPLICA, rows, replicas=4, routing="session").requests.to_pandas().assign(session=rows.session)
    assert (of_session.groupby("session").replica.nunique() == 1).all()
    assert of_session.replica.nunique() == 4


def test_a_closed_loop_keeps_its_clients() -> None:
    found = simulate(REPLICA, AZURE, clients=32)
    assert found.summary.running_requests + found.summary.waiting_requests < 32
    assert found.requests["replica"].to_pylist() == [0] * AZURE.requests
    assert found.summary.requests_per_s == pytest.approx(32 / found.summary.request_latency_s, rel=0.02)


def test_preemption_is_in_the_tables() -> None:
    tight = am.replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=2, weights="fp8", kv="fp8")
    requests = {"arrival_s": np.arange(120) * 0.01, "input_tokens": np.full(120, 4000), "output_tokens": np.full(120, 3000)}
    wait, preempt = (simulate(tight, requests, when_full=when_full, samples=2000) for when_full in ("wait", "preempt"))
    assert wait.preemptions == 0
    assert preempt.preemptions == sum(preempt.requests["preemptions"].to_pylist()) > 5
    for found in (wait, preempt):
        series = found.series.to_pandas()
        assert (series.waiting_requests >= 0.0).all()
        # What is sampled has the means that the summary has by Little's law, and all who are there either wait or run.
        for name in ("waiting_requests", "running_requests", "kv_used_fraction"):
            assert np.trapezoid(series[name], series.time_s) / found.duration_s == pytest.approx(getattr(found, name), rel=0.03)
        assert 0.9 < series.kv_used_fraction.max() <= 1.0
        in_system = (found.requests.to_pandas().request_latency_s.sum()) / found.duration_s
        assert found.waiting_requests + found.running_requests == pytest.approx(in_system, rel=0.01)
    assert preempt.energy_j > wait.energy_j * 0.9
    assert preempt.output_tokens_per_s * preempt.duration_s == pytest.approx(wait.output_tokens_per_s * wait.duration_s)


# --- what is refused


@pytest.mark.parametrize(
    ("options", "key", "says"),
    [
        ({"routing": "least-lodaed"}, "routing", "least-loaded"),
        ({"routing": "session"}, "routing", "session"),
        ({"routing": "prefix-affine"}, "routing", "hash_ids"),
        ({"replicas": 0}, "replicas", "at least 1"),
        ({"replicas": 2.5}, "replicas", "whole number"),
        ({"clients": -1}, "clients", "at least 1"),
        ({"largest_batch": 0}, "largest_batch", "at least 1"),
        ({"when_full": "evict"}, "when_full", "preempt"),
        ({"stretch": 0.0}, "stretch", "above 0"),
        ({"thicken": 0}, "thicken", "at least 1"),
        ({"ttft_s": 0.0}, "ttft_s", "above 0"),
        ({"prefix_cache_tokens": -1.0}, "prefix_cache_tokens", "at least 0"),
        ({"offer": "no-such-offer"}, "offer", "no"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(am.InputError, match=says) as error:
        simulate(REPLICA, SMALL, **options)
    assert error.value.key == key


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"arrival_s": [0.0, -1.0, 1.0, 2.0]}, "arrival_s", "row 1"),
        ({"arrival_s": [0.0, float("nan"), 1.0, 2.0]}, "arrival_s", "row 1"),
        ({"input_tokens": [1.5, 1, 1, 1]}, "input_tokens", "whole"),
        ({"output_tokens": [0, 1, 1, 1]}, "output_tokens", "at least 1"),
        ({"output_tokens": ["a", "b", "c", "d"]}, "output_tokens", "numbers"),
        ({"priority": [0, 0, 0, 9]}, "priority", "below 4"),
        ({"hash_ids": [1, 2, 3, 4]}, "hash_ids", "lists"),
        ({"hash_ids_x": [[1]] * 4}, "hash_ids_x", "512"),
        ({"input_tokens": [200_000, 1, 1, 1]}, "input_tokens", "context"),
        ({name: [] for name in SMALL}, "trace", "no requests"),
    ],
)
def test_traces_that_are_wrong_are_named(change: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(am.InputError, match=says) as error:
        simulate(REPLICA, SMALL | change)
    assert error.value.key == key


def test_files_that_are_wrong_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet", encoding="utf-8")
    (tmp_path / "short.csv").write_text("arrival,input_tokens,output_tokens\n0,1,1\n", encoding="utf-8")
    (tmp_path / "t.xlsx").write_text("", encoding="utf-8")
    for name, says in (("text.parquet", "cannot be read"), ("short.csv", "did you mean 'arrival'"), ("t.xlsx", "no kind of trace"), ("none", "azure_llm")):
        with pytest.raises(am.InputError, match=says):
            Trace.read(tmp_path / name)
    with pytest.raises(am.InputError, match="mooncake_conversation"):
        Trace.of("mooncake_conversatoin")


@pytest.mark.parametrize(
    ("change", "options", "key"),
    [
        ({"power_cap_w": 500.0}, {}, "power_cap_w"),
        ({"mode": "disaggregated"}, {}, "prefill_replicas"),
        ({"mode": "disaggregated"}, {"prefill_replicas": 1, "clients": 3}, "clients"),
        ({}, {"prefill_replicas": 1}, "prefill_replicas"),
        ({"mode": "static"}, {"when_full": "preempt"}, "when_full"),
        ({"mode": "disaggregated"}, {"prefill_replicas": 1, "when_full": "preempt"}, "when_full"),
    ],
)
def test_ways_of_serving_that_are_not_simulated_are_refused(change: dict[str, Any], options: dict[str, Any], key: str) -> None:
    with pytest.raises(am.InputError) as error:
        simulate(am.replica(**LLAMA, **change), SMALL, **options)
    assert error.value.key == key


def test_pools_apart_stall_no_decode_and_wait_for_prefill() -> None:
    """The closed form's latencies where its prefill pool is as loaded as it says, and requests are alike."""
    replica = am.replica(**LLAMA, mode="disaggregated")
    form = am.evaluate(replica, input_tokens=2000, output_tokens=300, concurrency=60)
    # Of all replicas, a share prefill_time_fraction is the pool's that prefills; rates are those of one replica of the mix.
    prefilling = 10
    decoding = round(prefilling * (1.0 / form.prefill_time_fraction - 1.0))
    rate = form.output_tokens_per_s / 300 * (prefilling + decoding)
    trace = Trace.generate(Client(rate, 2000.0, 300.0), duration_s=200.0)
    trace = replace(trace, session=np.arange(trace.requests))  # each at a random replica: Poisson arrivals at every one
    found = simulate(replica, trace, replicas=decoding, prefill_replicas=prefilling, routing="session")
    assert found.time_per_output_token_s == pytest.approx(form.time_per_output_token_s, rel=0.1)
    # The closed form's wait is that of clients who start together.
    lone = simulate(replica, {"arrival_s": [0.0], "input_tokens": [2000], "output_tokens": [300]}, prefill_replicas=1)
    assert lone.time_to_first_token_s < found.time_to_first_token_s < form.time_to_first_token_s
    assert found.energy_j_per_output_token == pytest.approx(form.energy_j_per_output_token, rel=0.15)
    assert set(found.requests["prefill_replica"].to_pylist()) == set(range(prefilling))


def test_static_waves_take_what_the_closed_form_says() -> None:
    """A closed loop of as many alike clients as the wave holds, each prompt a full pass."""
    replica = am.replica(model="llama-3.1-8b", system="p5.48xlarge", accelerators=1, mode="static", compiled_batch=16)
    form = am.evaluate(replica, input_tokens=8192, output_tokens=200, concurrency=16)
    trace = {"arrival_s": np.zeros(1600), "input_tokens": np.full(1600, 8192), "output_tokens": np.full(1600, 200)}
    found = simulate(replica, trace, clients=16)
    assert found.time_per_output_token_s == pytest.approx(form.time_per_output_token_s, rel=1e-6)
    assert found.time_to_first_token_s == pytest.approx(form.time_to_first_token_s, rel=0.02)
    assert found.output_tokens_per_s == pytest.approx(form.output_tokens_per_s, rel=0.02)


def test_a_request_that_fits_no_replica_is_named() -> None:
    tight = am.replica(model="llama-3.1-70b", system="p5.48xlarge", accelerators=1, weights="fp8")
    with pytest.raises(am.InputError, match="request 1 of"):
        simulate(tight, {"arrival_s": [0.0, 1.0], "input_tokens": [10, 120_000], "output_tokens": [1, 1]})


# --- the command

COMMAND = ["simulate", "--model", "llama-3.1-70b", "--system", "p5.48xlarge", "--weights", "fp8"]


def test_the_command_prints_what_the_function_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table(SMALL), tmp_path / "t.parquet")
    files = ["--requests", str(tmp_path / "r.parquet"), "--series", str(tmp_path / "s.parquet")]
    assert execute([*COMMAND, "--kv", "fp8", "--trace", str(tmp_path / "t.parquet"), "--replicas", "2", "--format", "json", "--quiet", *files]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = simulate(REPLICA, SMALL, replicas=2)
    assert {name: printed[name] for name in found.summary.to_dict()} == found.summary.to_dict()
    assert printed["schema"] == "accelmodel.simulation/1"
    assert pq.read_table(tmp_path / "r.parquet").equals(found.requests)
    assert pq.read_table(tmp_path / "s.parquet").equals(found.series)


def test_the_command_draws_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = ["--requests-per-s", "4", "--duration-s", "30", "--input-tokens", "500", "--output-tokens", "50", "--burstiness", "2", "--seed", "3"]
    assert execute([*COMMAND, *drawn]) == 0
    assert "time_to_first_token_p99_s" in capsys.readouterr().out


def test_an_interrupted_run_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("accelmodel.cli.simulate._progress", interrupted)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert execute([*COMMAND, "--trace", "azure_llm_2023_conv"]) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trace", "nothing.parquet"], "nothing.parquet"),
        (["--trace", "azure_llm_2023_conv", "--routing", "round"], "did you mean 'round-robin'"),
        (["--trace", "azure_llm_2023_conv", "--input-tokens", "5"], "input_tokens"),
        (["--requests-per-s", "1"], "input_tokens"),
        ([], "trace"),
        (["--trace", "azure_llm_2023_conv", "--mode", "disaggregated"], "prefill_replicas"),
        (["--trace", "azure_llm_2023_conv", "--format", "xml"], "--format"),
    ],
)
def test_the_command_refuses_in_one_message(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([*COMMAND, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err
