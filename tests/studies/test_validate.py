"""Measurements read as runs, predicted, and set beside: on small files whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import accelmodel as am
from accelmodel.catalog.readings import Rule
from accelmodel.cli.main import execute
from accelmodel.studies.measured import METRICS, measurements
from accelmodel.studies.validate import errors

FACTS = Path(__file__).parents[2] / "../shared/facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the facts folder lies beside the checkout only in development")

CLOSED = {
    "source": "own bench",
    "engine": "vllm 0.19.0",
    "model": "Llama-3.1-8B-Instruct",
    "accelerator": "H100-SXM-80GB",
    "num_accelerators": 1,
    "tp": 1.0,
    "precision_weights": "fp8",
    "isl": 1024.0,
    "osl": 512.0,
    "load_as_published": "16",
    "concurrency": 16.0,
    "scenario": "online",
    "serving_mode": "aggregated",
    "trust": "B",
    "special": None,
    "note": "",
    "metric": "tpot_ms",
    "value": 10.0,
}


def rows(*changes: dict[str, object]) -> pd.DataFrame:
    """Rows like CLOSED but for the given changes."""
    return pd.DataFrame([CLOSED | change for change in changes])


def point(**changes: object) -> am.Point:
    """The operating point that CLOSED describes."""
    given = {"weights": "fp8", "engine": "vllm", "accelerators": 1, "input_tokens": 1024, "output_tokens": 512, "concurrency": 16} | changes
    load = {name: given.pop(name) for name in ("input_tokens", "output_tokens", "concurrency")}
    return am.evaluate(am.replica(model="llama-3.1-8b", system="p5.48xlarge", **given), **load)


def test_a_closed_loop_is_predicted_by_the_operating_point_that_it_is() -> None:
    report = am.validate(rows({}, {"metric": "ttft_ms"}, {"metric": "output_tok_s"}, {"metric": "req_s"}, {"metric": "total_tok_s"}))
    expected = point()
    per_token = expected.time_per_output_token_s
    rate = expected.output_tokens_per_s
    found = report.rows["predicted"].tolist()
    assert found == pytest.approx([1e3 * per_token, 1e3 * expected.time_to_first_token_s, rate, rate / 512, rate * 1536 / 512])


def test_printed_lengths_that_are_maxima_count_as_their_mean() -> None:
    """A source that draws lengths from 0.8 to 1.0 of the printed one: 0.9 of it on average."""
    report = am.validate(rows({"source": "InferenceX dump"}))
    assert report.rows["predicted"][0] == pytest.approx(1e3 * point(input_tokens=1024 * 0.9, output_tokens=512 * 0.9).time_per_output_token_s)
    assert any("0.9" in text for text in report.assumptions)


def test_a_deployment_of_several_replicas_shares_the_load() -> None:
    """Two replicas of two accelerators with 32 clients are twice one with 16."""
    both = am.validate(rows({"num_accelerators": 2, "tp": 1.0, "dp": 2.0, "concurrency": 32.0, "metric": "output_tok_s"})).rows["predicted"][0]
    assert both == pytest.approx(2 * point().output_tokens_per_s)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trust": "C"}, "trust C"),
        ({"special": "speculative"}, "special: speculative"),
        ({"scenario": "server"}, "a rate that is not published"),
        ({"load_as_published": "qps=8", "concurrency": None, "metric": "output_tok_s"}, "the rate of an open loop is given"),
        ({"load_as_published": "qps=500", "concurrency": None}, "does not carry"),
        ({"metric": "itl_ms_p99"}, "the simulator times requests"),
        ({"metric": "ttft_ms_p99", "note": "1p1d workers of tp1"}, "pools apart"),
        ({"metric": "power_w_system"}, "no such metric"),
        ({"model": "biogpt"}, "unknown architecture"),
        ({"accelerator": "Jetson"}, "unknown accelerator"),
        ({"isl": None}, "input tokens not published"),
        ({"concurrency": None, "load_as_published": None}, "the load is not stated"),
        ({"precision_weights": "fp32"}, "fp32"),
        ({"model": "Llama-3.1-405B", "precision_weights": "bf16"}, "does not fit"),
        ({"tp": 3.0, "num_accelerators": 3}, "does not divide"),
        ({"value": -1.0}, "positive"),
    ],
)
def test_a_row_that_is_left_out_says_why(change: dict[str, object], reason: str) -> None:
    report = am.validate(rows(change, {}))
    assert reason in report.rows["skipped_reason"][0]
    assert math.isnan(report.rows["predicted"][0])
    assert report.summary()["predicted"] == 1
    assert sum(report.summary()["skipped"].values()) == 1


def test_missing_lengths_are_assumed_by_source_and_said() -> None:
    silent = {"source": "MLPerf Inference v5.1", "scenario": "offline", "isl": None, "concurrency": None, "tp": None, "metric": "output_tok_s"}
    report = am.validate(rows(silent))
    assert report.summary()["predicted"] == 1
    assert any("input_tokens of llama-3.1-8b 778" in text for text in report.assumptions)


def test_an_undisclosed_cut_is_the_fastest_that_fits() -> None:
    """A deployment of two accelerators does not say how it is cut: the better of two replicas of one and one replica of two."""
    free = {"source": "MLPerf Inference v5.1", "scenario": "offline", "isl": 1024.0, "concurrency": None, "metric": "output_tok_s", "num_accelerators": 2}
    stated = free | {"source": "own bench"}
    best = am.validate(rows(free | {"tp": None})).rows["predicted"][0]
    each = [am.validate(rows(stated | {"tp": float(tp), "load_as_published": "max"})).rows["predicted"][0] for tp in (1, 2)]
    assert best == pytest.approx(max(each))


def test_compiled_shapes_come_from_the_row() -> None:
    """One user of a model compiled for 32 sequences of 4,096 tokens steps like 32 of them (published: 24.5 to 28.3 ms)."""
    compiled = {
        "engine": "optimum-neuron vLLM",
        "model": "Llama-3.1-8B",
        "accelerator": "Inferentia2",
        "num_accelerators": 4,
        "tp": 8.0,
        "precision_weights": "bf16",
        "load_as_published": "compiled_batch=32; users=1",
        "concurrency": None,
        "note": "4096 compiled seq len",
        "metric": "itl_ms_mean",
    }
    run = measurements(rows(compiled)).runs[0]
    assert (run.replica.serving.compiled_batch, run.replica.serving.sequence_bucket, run.replica.serving.prompt_bucket) == (32, 4096, 4096)
    assert run.concurrency == 1
    assert 24 < am.validate(rows(compiled)).rows["predicted"][0] < 32


def test_pools_decode_without_stalls() -> None:
    """One prefilling and one decoding worker at one client: the step is that of a disaggregated replica."""
    pools = {
        "serving_mode": "disaggregated",
        "disagg_prefill_workers_tp_pp_adp_moetp_moeep": "1, 1, 1, 1, 1, 1",
        "disagg_decode_workers_tp_pp_adp_moetp_moeep": "1, 1, 1, 1, 1, 1",
        "concurrency": 1.0,
        "num_accelerators": 2,
    }
    predicted = am.validate(rows(pools)).rows["predicted"][0]
    assert predicted == pytest.approx(1e3 * point(mode="disaggregated", concurrency=1).time_per_output_token_s, rel=1e-6)


def test_more_decoding_workers_do_not_slow_a_token() -> None:
    pools = {
        "serving_mode": "disaggregated",
        "disagg_prefill_workers_tp_pp_adp_moetp_moeep": "2, 1, 1, 1, 1, 1",
        "concurrency": 64.0,
    }
    decode = "disagg_decode_workers_tp_pp_adp_moetp_moeep"
    one, two = am.validate(rows(pools | {decode: "1, 1, 1, 1, 1, 1"}, pools | {decode: "2, 1, 1, 1, 1, 1"})).rows["predicted"]
    assert two < one


def test_a_wave_takes_its_prefills_and_then_its_steps() -> None:
    """Doubling the output of a wave adds the same number of steps at a longer context: never fewer seconds than its tokens take."""
    wave = {"serving_mode": "static", "scenario": "static", "metric": "e2e_ms_mean", "concurrency": 8.0}
    short, long, token = am.validate(rows(wave, wave | {"osl": 1024.0}, wave | {"metric": "tpot_ms"})).rows["predicted"]
    assert long - short > 512 * token


def trace(n: int, **arrivals: float) -> am.Trace:
    """So many requests of CLOSED's lengths, all at once or at a rate."""
    lengths = {"input_tokens": np.full(n, 1024), "output_tokens": np.full(n, 512)}
    return am.Trace.paced(lengths, seed=0, **arrivals) if arrivals else am.Trace.of({"arrival_s": np.zeros(n), **lengths})


def simulated(requests: am.Trace, **how: object) -> am.Simulation:
    """CLOSED's replica serving requests."""
    return am.simulate(am.replica(model="llama-3.1-8b", system="p5.48xlarge", weights="fp8", engine="vllm", accelerators=1), requests, **how)


def test_a_tail_of_a_closed_loop_is_that_of_clients_who_start_together() -> None:
    """16 clients, and ten prompts of each where the source does not say how many."""
    tails = [{"metric": f"{name}_ms_p{rank}"} for name in ("ttft", "tpot", "e2e") for rank in (95, 99)]
    by_hand = simulated(trace(160), clients=16)
    latencies = ("time_to_first_token", "time_per_output_token", "request_latency")
    expected = [1e3 * by_hand.summary.to_dict()[f"{latency}_p{rank}_s"] for latency in latencies for rank in (95, 99)]
    report = am.validate(rows(*tails))
    assert report.rows["predicted"].tolist() == pytest.approx(expected)
    short = am.validate(rows(*({**tail, "note": "64 prompts"} for tail in tails)))
    assert short.rows["predicted"][1] == pytest.approx(1e3 * simulated(trace(64), clients=16).time_to_first_token_p99_s)


def test_a_benchmark_at_a_rate_is_served_from_its_first_prompt_to_its_last() -> None:
    asked = {"load_as_published": "qps=20", "concurrency": None, "note": "300 requests"}
    metrics = ("ttft_ms_mean", "ttft_ms_p99", "tpot_ms_mean", "output_tok_s", "req_s")
    by_hand = simulated(trace(300, requests_per_s=20.0)).summary
    expected = [1e3 * by_hand.time_to_first_token_s, 1e3 * by_hand.time_to_first_token_p99_s, 1e3 * by_hand.time_per_output_token_s]
    report = am.validate(rows(*({**asked, "metric": metric} for metric in metrics)))
    assert report.rows["predicted"].tolist() == pytest.approx([*expected, by_hand.output_tokens_per_s, by_hand.requests_per_s])
    burst = am.validate(rows({**asked, "load_as_published": "qps=inf", "metric": "ttft_ms_p99"})).rows["predicted"][0]
    assert burst == pytest.approx(1e3 * simulated(trace(300)).time_to_first_token_p99_s)
    assert burst > expected[1]


def test_several_replicas_share_a_rate() -> None:
    """Two replicas at 40 requests a second and 600 prompts are two at 20 and 300."""
    one = {"load_as_published": "qps=20", "concurrency": None, "note": "300 requests", "metric": "ttft_ms_p99"}
    two = one | {"load_as_published": "qps=40", "note": "600 requests", "num_accelerators": 2, "dp": 2.0}
    found = am.validate(rows(one, two)).rows["predicted"]
    assert found[0] == found[1]


def test_a_wave_has_a_tail_as_long_as_its_mean() -> None:
    """Equal requests that start together, and no more: the closed form of a wave holds for each of them, but for the share of prefill it waits for."""
    wave = {"serving_mode": "static", "scenario": "static", "concurrency": 8.0}
    mean, tail, first, last = am.validate(rows(*(wave | {"metric": name} for name in ("tpot_ms", "tpot_ms_p99", "ttft_ms", "ttft_ms_p99")))).rows["predicted"]
    assert tail == pytest.approx(mean, rel=0.03)
    assert last == pytest.approx(first, rel=0.1)


SERVER = {"source": "MLPerf Inference v5.1", "scenario": "server", "load_as_published": None, "concurrency": None, "tp": None, "isl": None, "osl": 128.0}


def test_a_server_benchmark_is_predicted_at_its_limits_and_its_latencies_at_its_rate() -> None:
    """The largest rate does not depend on the rate that was measured; latencies do. First tokens within 2 s, tokens within 100 ms."""
    slow, fast = (
        [SERVER | {"metric": metric, "value": value} for metric, value in (("output_tok_s", rate), ("ttft_ms_p99", 1e3), ("tpot_ms_p99", 50.0))]
        for rate in (2000.0, 4000.0)
    )
    for one in fast:
        one["note"] = "another"
    report = am.validate(rows(*slow, *fast))
    found = report.rows["predicted"].tolist()
    assert found[0] == found[3]
    assert found[2] < found[5]
    made = am.simulate(
        am.replica(model="llama-3.1-8b", system="p5.48xlarge", weights="fp8", accelerators=1, engine="tensorrt-llm"),
        am.Trace.generate(am.Client(1.1 * found[0] / 128, 778, 128), duration_s=60, seed=1),
    )
    assert made.time_to_first_token_p99_s > 2.0 or made.time_per_output_token_p99_s > 0.1  # a tenth more meets the limits no longer
    assert any("Poisson process at the rate of the answers" in text for text in report.assumptions)


def test_more_is_carried_where_limits_are_looser() -> None:
    interactive = {"scenario": "online", "note": "MLPerf scenario=Interactive"}
    tight, loose = am.validate(rows(*(SERVER | {"metric": "output_tok_s", "value": 4000.0} | change for change in (interactive, {})))).rows["predicted"]
    assert tight < loose


def test_simulated_rows_play_no_part_in_a_fit_and_are_told_apart() -> None:
    found = measurements(rows({}, {"metric": "ttft_ms_p99"}, {"load_as_published": "qps=8", "concurrency": None}))
    assert found.run_of == (0, -1, -1)
    assert sorted(found.simulations) == [1, 2]
    summary = am.validate(rows({}, {"metric": "ttft_ms_p99"}, {"load_as_published": "qps=8", "concurrency": None})).summary()
    assert {load: set(metrics) for load, metrics in summary["by_simulated_load"].items()} == {"closed": {"ttft_ms_p99"}, "open": {"tpot_ms"}}
    assert set(summary["by_metric"]) == {"tpot_ms", "ttft_ms_p99"}


def test_errors_by_hand() -> None:
    """Off by +10 % and -25 %: median and mean 17.5 %, median signed -7.5 %; 90th percentile between them; one of two inside its interval."""
    found = errors(np.array([100.0, 200.0]), np.array([110.0, 150.0]), np.array([90.0, 140.0]), np.array([120.0, 160.0]))
    assert found == {
        "n": 2,
        "median_ape": pytest.approx(0.175),
        "mape": pytest.approx(0.175),
        "p90_ape": pytest.approx(0.235),
        "bias": pytest.approx(-0.075),
        "coverage_90": 0.5,
    }


def test_a_rule_holds_where_each_column_has_one_of_its_words() -> None:
    rule = Rule(when={"source": ("Bench",), "note": ("warm", "hot")}, unless={"engine": ("old",)})
    assert rule.holds({"source": "my bench", "note": "hot cache", "engine": "new"})
    assert not rule.holds({"source": "my bench", "note": "cold", "engine": "new"})
    assert not rule.holds({"source": "my bench", "note": "hot", "engine": "old"})


def test_the_command_prints_counts_that_add_up_and_writes_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, written = tmp_path / "measured.csv", tmp_path / "predictions.parquet"
    rows({}, {"metric": "ttft_ms"}, {"trust": "C"}).to_csv(measured, index=False)
    assert execute(["validate", str(measured), "--predictions", str(written), "--format", "json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rows"] == summary["predicted"] + sum(summary["skipped"].values()) == 3
    assert set(summary["by_metric"]) == {"tpot_ms", "ttft_ms"}
    assert set(summary["by_accelerator"]) == {"h100-sxm"}
    assert set(summary["by_metric"]["tpot_ms"]) == {"n", "median_ape", "mape", "p90_ape", "bias", "coverage_90"}
    table = pd.read_parquet(written)
    assert [*CLOSED, "predicted", "predicted_low90", "predicted_high90", "skipped_reason"] == list(table.columns)
    assert table["skipped_reason"].notna().tolist() == [False, False, True]
    assert table["predicted_low90"][0] < table["predicted"][0] < table["predicted_high90"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [("model,accelerator\na,b\n", "num_accelerators"), ("model,accelerator,num_accelerators,metric,value\na,b,1,tpot_ms,fast\n", "must be numbers")],
)
def test_a_file_that_is_no_measurements_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(text)
    assert execute(["validate", str(path)]) == 2
    assert message in capsys.readouterr().err


@needs_facts
def test_the_published_measurements_are_handled_row_by_row() -> None:
    report = am.validate(FACTS / "measured_calibration.parquet")
    rows = report.rows
    assert rows["skipped_reason"].notna().eq(rows["predicted"].isna()).all()
    reasons = rows["skipped_reason"].fillna("")
    eligible = rows["trust"].isin(["A", "B"]) & rows["special"].isna() & ~reasons.str.contains("simulator|unknown architecture")
    assert rows.loc[eligible, "predicted"].notna().mean() >= 0.95
    errors_of = report.summary()["by_metric"]
    assert {METRICS.get(name) for name in errors_of} >= {"tpot_ms", "ttft_ms", "output_tok_s", "power_w"}
    closed = report.predicted[(report.predicted["load"] == "closed") & (report.predicted["metric"] == "tpot_ms")]
    assert (closed["predicted"] / closed["value"] - 1).abs().median() < 0.15
